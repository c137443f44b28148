/**
 * Goal: an entry keeps everything about a file, and no bytes that pass `checkEntry` make a reader look
 * outside of the entry or name something outside of its directory.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LIMITS } from '../base/limits.ts';
import {
  CONTENT_RECORD_BYTES,
  contentIsHole,
  contentLength,
  writeBlobRecord,
  writeHoleRecord,
} from './content.ts';
import {
  checkEntry,
  ENTRY,
  ENTRY_FIXED_BYTES,
  type EntryFields,
  EntryView,
  EntryWriter,
  EXTRA,
  readAttribute,
  readI64,
  writeI64,
} from './entry.ts';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const seconds = fc.integer({ min: -(2 ** 52), max: 2 ** 52 });
const fields: fc.Arbitrary<EntryFields> = fc.record({
  kind: fc.integer({ min: ENTRY.file, max: ENTRY.blockDevice }),
  flags: fc.nat(255),
  mode: fc.nat(0o7777),
  depth: u32,
  uid: u32,
  gid: u32,
  mtimeSeconds: seconds,
  mtimeNanos: fc.nat(999_999_999),
  ctimeSeconds: seconds,
  ctimeNanos: fc.nat(999_999_999),
  links: u32,
  inode: fc.maxSafeNat(),
  size: fc.maxSafeNat(),
  deviceMajor: u32,
  deviceMinor: u32,
});
/** Any bytes that a file system takes. */
const name = fc
  .uint8Array({ minLength: 1, maxLength: LIMITS.nameBytesMax })
  .map((bytes) =>
    Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x78 : byte))).toString(
      'latin1',
    ),
  )
  .filter((text) => text !== '.' && text !== '..');
const content = fc.array(fc.record({ length: fc.maxSafeNat(), hole: fc.boolean() }), {
  maxLength: 20,
});
const extras = fc.array(
  fc.record({
    type: fc.integer({ min: 6, max: 60_000 }),
    value: fc.uint8Array({ maxLength: 100 }),
  }),
  { maxLength: 5 },
);
const attributes = fc.array(
  fc.record({
    name: fc.stringMatching(/^user\.[a-z]{1,20}$/),
    value: fc.uint8Array({ maxLength: 100 }),
  }),
  { maxLength: 4 },
);

function write(
  writer: EntryWriter,
  about: EntryFields,
  own: string,
  records: readonly { length: number; hole: boolean }[],
): void {
  writer.begin(about, own);
  for (const [i, record] of records.entries()) {
    const at = writer.content();
    if (record.hole) writeHoleRecord(writer.bytes, at, record.length);
    else writeBlobRecord(writer.bytes, at, record.length, Buffer.alloc(32, i + 1));
  }
}

test('an entry is read as it was written, wherever it stands', () => {
  fc.assert(
    fc.property(
      fields,
      name,
      content,
      extras,
      attributes,
      fc.nat(5),
      (about, own, records, others, list, before) => {
        const writer = new EntryWriter();
        for (let i = 0; i < before; i++) {
          writer.begin(about, 'x'.repeat(i + 1));
          writer.end();
        }
        write(writer, about, own, records);
        for (const one of list) writer.attribute(one.name, one.value);
        for (const one of others) writer.extra(one.type, one.value);
        writer.setAnalysis(2, 3);
        const at = writer.end();
        assert.equal(checkEntry(writer.bytes, at, writer.length - at), undefined);
        const entry = new EntryView().set(writer.bytes, at);
        for (const [field, value] of Object.entries(about))
          assert.equal(entry[field as keyof EntryFields], value, field);
        assert.equal(entry.name, own);
        assert.deepEqual([entry.decision, entry.reason], [2, 3]);
        assert.equal(entry.entryBytes, writer.length - at);
        assert.equal(entry.entryBytes % 8, 0);
        assert.equal(entry.contentCount, records.length);
        for (const [i, record] of records.entries()) {
          const place = entry.contentAt + i * CONTENT_RECORD_BYTES;
          assert.equal(contentLength(entry.bytes, place), record.length);
          assert.equal(contentIsHole(entry.bytes, place), record.hole);
        }
        const found: unknown[] = [];
        entry.eachExtra((type, value) => {
          const attribute = type === EXTRA.attribute ? readAttribute(value) : undefined;
          found.push(
            attribute === undefined
              ? { type, value: [...value] }
              : { name: attribute.name, value: [...attribute.value] },
          );
        });
        assert.deepEqual(found, [
          ...list.map((one) => ({ name: one.name, value: [...one.value] })),
          ...others.map((one) => ({ type: one.type, value: [...one.value] })),
        ]);
      },
    ),
  );
});

test('whatever passes the check is read within the entry', () => {
  const writer = new EntryWriter();
  fc.assert(
    fc.property(
      fields,
      name,
      content,
      attributes,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      fc.nat(64),
      (about, own, records, list, changes, cut) => {
        writer.reset();
        write(writer, about, own, records);
        for (const one of list) writer.attribute(one.name, one.value);
        writer.end();
        const bytes = Buffer.from(writer.bytes.subarray(0, writer.length));
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        const available = bytes.length - (cut > 32 ? cut - 32 : 0);
        if (checkEntry(bytes, 0, available) !== undefined) return;
        const entry = new EntryView().set(bytes, 0);
        assert.ok(entry.entryBytes >= ENTRY_FIXED_BYTES && entry.entryBytes <= available);
        assert.ok(entry.contentAt + entry.contentCount * CONTENT_RECORD_BYTES <= entry.entryBytes);
        assert.ok(
          !entry.name.includes('/') &&
            !entry.name.includes('\0') &&
            !['', '.', '..'].includes(entry.name),
        );
        entry.eachExtra((type, value) => {
          assert.ok(value.byteOffset + value.length <= bytes.byteOffset + entry.entryBytes);
          if (type === EXTRA.attribute) readAttribute(value);
        });
        assert.ok(entry.contentLevels >= 0);
      },
    ),
    { numRuns: 2000 },
  );
});

test('names that would leave the directory are refused', () => {
  for (const wrong of ['.', '..', 'a/b', '/', 'a\0b']) {
    const writer = new EntryWriter();
    writer.begin(
      {
        kind: 1,
        flags: 0,
        mode: 0,
        depth: 0,
        uid: 0,
        gid: 0,
        mtimeSeconds: 0,
        mtimeNanos: 0,
        ctimeSeconds: 0,
        ctimeNanos: 0,
        links: 1,
        inode: 1,
        size: 0,
        deviceMajor: 0,
        deviceMinor: 0,
      },
      wrong,
    );
    writer.end();
    assert.match(checkEntry(writer.bytes, 0, writer.length) ?? '', /leave its directory/, wrong);
  }
});

test('an extra of an impossible length is refused, at once', () => {
  for (const length of [0xffff_ffff, 0xffff_fff8, 0x7fff_ffff, 9]) {
    const writer = new EntryWriter();
    writer.begin(
      {
        kind: 1,
        flags: 0,
        mode: 0,
        depth: 0,
        uid: 0,
        gid: 0,
        mtimeSeconds: 0,
        mtimeNanos: 0,
        ctimeSeconds: 0,
        ctimeNanos: 0,
        links: 1,
        inode: 1,
        size: 0,
        deviceMajor: 0,
        deviceMinor: 0,
      },
      'name',
    );
    writer.extra(EXTRA.linkTarget, Buffer.alloc(8));
    writer.end();
    writer.bytes.writeUInt32LE(length, 88 + 4);
    assert.match(
      checkEntry(writer.bytes, 0, writer.length) ?? '',
      /leaves its entry/,
      String(length),
    );
  }
});

test('a device without its numbers is refused', () => {
  const writer = new EntryWriter();
  writer.begin(
    {
      kind: ENTRY.blockDevice,
      flags: 0,
      mode: 0,
      depth: 0,
      uid: 0,
      gid: 0,
      mtimeSeconds: 0,
      mtimeNanos: 0,
      ctimeSeconds: 0,
      ctimeNanos: 0,
      links: 1,
      inode: 1,
      size: 0,
      deviceMajor: 0,
      deviceMinor: 0,
    },
    'sda',
  );
  writer.extra(EXTRA.node, Buffer.alloc(4));
  writer.end();
  assert.match(checkEntry(writer.bytes, 0, writer.length) ?? '', /device/);
});

test('times before 1970 and after 2100 keep every second', () => {
  const view = Buffer.alloc(8);
  for (const value of [
    0,
    -1,
    -2,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    -(2 ** 32),
    -(2 ** 32) - 1,
    2 ** 52,
    -(2 ** 52),
    4_102_444_800,
  ]) {
    writeI64(view, 0, value);
    assert.equal(view.readBigInt64LE(0), BigInt(value));
    assert.equal(readI64(view, 0), value);
  }
});
