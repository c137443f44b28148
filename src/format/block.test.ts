/**
 * Goal: the directory of a block is read as it was appended, and lengths that do not fill the block
 * exactly are refused.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LIMITS } from '../base/limits.ts';
import {
  appendDirectory,
  BLOB,
  BlockReader,
  DIRECTORY_RECORD_BYTES,
  NAME_BYTES,
  STORED_RECORD_BYTES,
} from './block.ts';

const blobs = fc.array(
  fc.record({
    bytes: fc.uint8Array({ maxLength: 200 }),
    type: fc.constantFrom(...Object.values(BLOB)),
  }),
  { maxLength: 30 },
);

function build(
  list: readonly { bytes: Uint8Array; type: number }[],
  at: number,
): { view: Buffer; rawBytes: number } {
  const payload = Buffer.alloc(20_000);
  const directory = Buffer.alloc(list.length * DIRECTORY_RECORD_BYTES);
  let used = 0;
  for (const [i, blob] of list.entries()) {
    payload.set(blob.bytes, used);
    used += blob.bytes.length;
    const record = i * DIRECTORY_RECORD_BYTES;
    directory.fill(0xee, record, record + NAME_BYTES);
    directory.writeUInt32LE(blob.bytes.length, record + NAME_BYTES);
    directory.writeUInt32LE(blob.type, record + NAME_BYTES + 4);
  }
  const rawBytes = appendDirectory(payload, used, directory, list.length);
  return { view: Buffer.concat([Buffer.alloc(at, 0xff), payload.subarray(0, rawBytes)]), rawBytes };
}

test('blobs are read as they were packed, and names are not stored', () => {
  const reader = new BlockReader();
  fc.assert(
    fc.property(blobs, fc.nat(50), (list, at) => {
      const { view, rawBytes } = build(list, at);
      assert.equal(reader.read(view, at, rawBytes, list.length), undefined);
      assert.equal(reader.count, list.length);
      for (const [i, blob] of list.entries()) {
        const from = reader.offsets[i] ?? 0;
        assert.deepEqual(
          [...view.subarray(from, from + (reader.lengths[i] ?? 0))],
          [...blob.bytes],
        );
        assert.equal(reader.types[i], blob.type);
      }
      const stored = view.subarray(at + rawBytes - list.length * STORED_RECORD_BYTES);
      assert.equal(stored.length, list.length * STORED_RECORD_BYTES);
      assert.ok(!stored.includes(Buffer.alloc(4, 0xee)));
    }),
  );
});

test('a directory that does not fill its block exactly is refused', () => {
  const reader = new BlockReader();
  const { view, rawBytes } = build(
    [
      { bytes: Buffer.alloc(10), type: 1 },
      { bytes: Buffer.alloc(20), type: 1 },
    ],
    0,
  );
  assert.match(reader.read(view, 0, rawBytes, 1) ?? '', /do not fill/);
  assert.match(reader.read(view, 0, rawBytes, 3) ?? '', /do not fill/);
  assert.match(reader.read(view, 0, rawBytes - 1, 2) ?? '', /do not fill/);
  assert.match(reader.read(view, 0, 15, 2) ?? '', /does not fit/);
  assert.match(reader.read(view, 0, rawBytes, LIMITS.blobsPerBlockMax + 1) ?? '', /blobs/);
  for (const length of [0xffff_ffff, 31, 9, 11]) {
    const changed = Buffer.from(view);
    changed.writeUInt32LE(length, rawBytes - 16);
    assert.match(reader.read(changed, 0, rawBytes, 2) ?? '', /do not fill/, String(length));
  }
  assert.equal(reader.read(view, 0, rawBytes, 2), undefined, 'it can be used again');
});

test('no bytes make a blob leave its block', () => {
  const reader = new BlockReader();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(30), (noise, count) => {
      const view = Buffer.from(noise);
      if (reader.read(view, 0, view.length, count) !== undefined) return;
      for (let i = 0; i < reader.count; i++) {
        assert.ok(
          (reader.offsets[i] ?? 0) + (reader.lengths[i] ?? 0) <=
            view.length - count * STORED_RECORD_BYTES,
        );
      }
    }),
  );
});
