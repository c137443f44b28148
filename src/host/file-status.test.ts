/** A status holds every field exactly; a listing grows and is used again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DirectoryListing, FileStatus, KIND } from './file-status.ts';

test('every field comes back as it was set', () => {
  const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
  const u53 = fc.maxSafeNat();
  const seconds = fc.maxSafeInteger();
  const nanos = fc.integer({ min: 0, max: 999_999_999 });
  const fields = fc.record({
    kind: fc.constantFrom(...Object.values(KIND)),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: u32,
    gid: u32,
    size: u53,
    nlink: u32,
    inode: u53,
    deviceMajor: u32,
    deviceMinor: u32,
    rdevMajor: u32,
    rdevMinor: u32,
    atimeSeconds: seconds,
    atimeNanos: nanos,
    mtimeSeconds: seconds,
    mtimeNanos: nanos,
    ctimeSeconds: seconds,
    ctimeNanos: nanos,
    blocks512: u53,
  });
  const status = new FileStatus();
  fc.assert(
    fc.property(fields, (expected) => {
      status.set(expected);
      for (const name of Object.keys(expected) as (keyof typeof expected)[]) {
        assert.equal(status[name], expected[name], name);
      }
      assert.equal(status.mountId, 0);
    }),
  );
});

test('an inode of all bits has exact words', () => {
  const status = new FileStatus();
  status.bytes.fill(0xff, 32, 40);
  assert.deepEqual([status.inodeLow, status.inodeHigh], [0xffff_ffff, 0xffff_ffff]);
  assert.equal(status.inode, Number.MAX_SAFE_INTEGER);
});

test('times beyond what numbers hold exactly stay whole numbers that can be stored', () => {
  const status = new FileStatus();
  status.bytes.fill(0xff, 112, 120);
  assert.equal(status.mtimeSeconds, -1);
  status.bytes[119] = 0x7f;
  assert.equal(status.mtimeSeconds, Number.MAX_SAFE_INTEGER);
  status.bytes.fill(0, 112, 119);
  status.bytes[119] = 0x80;
  assert.equal(status.mtimeSeconds, Number.MIN_SAFE_INTEGER);
});

test('a listing grows and is used again', () => {
  const listing = new DirectoryListing();
  for (let i = 0; i < 1000; i++) listing.add(`n${i}`, i % 13);
  assert.equal(listing.count, 1000);
  assert.equal(listing.names[999], 'n999');
  assert.equal(listing.kinds[999], 999 % 13);
  listing.clear();
  assert.equal(listing.count, 0);
  listing.add('again', KIND.fifo);
  assert.deepEqual([listing.names, listing.kinds[0]], [['again'], KIND.fifo]);
});
