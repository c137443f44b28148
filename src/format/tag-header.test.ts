/**
 * Goal: tag headers have the bytes that the table in the source says, and no flipped bit or cut passes.
 * Method: one header written out by hand, and property tests over random fields.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LIMITS } from '../base/limits.ts';
import { openCodec } from '../host/mod.ts';
import {
  ASSOCIATED_BYTES,
  addPlaceFlags,
  blobCountOf,
  blockNumberOf,
  type Crc,
  checkTag,
  chunkIdOf,
  chunkOffsetOf,
  classOf,
  compressionOf,
  encryptionOf,
  finishTag,
  flagsOf,
  headerBytesOf,
  keyGenerationOf,
  partOf,
  payloadCrcOf,
  rawBytesOf,
  readU64,
  saltOf,
  sealOf,
  sequenceOf,
  sessionIdOf,
  setPayloadCrc,
  setPlace,
  storedBytesOf,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  type TagIdentity,
  writeAssociatedData,
  writeTag,
  writeU64,
} from './tag-header.ts';

const codec = openCodec(Buffer.alloc(32));
const crc: Crc = (view, offset, length, seed) => codec.crc32c(view, offset, length, seed);

const u8 = fc.integer({ min: 0, max: 255 });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const identity: fc.Arbitrary<TagIdentity> = fc.record({
  part: u8,
  contentClass: u8,
  compression: u8,
  encryption: u8,
  flags: u32,
  keyGeneration: u32,
  rawBytes: u32,
  storedBytes: u32,
  blobCount: u32,
});
const place = fc.record({
  chunk: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  session: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  number: u32,
  offset: fc.maxSafeNat(),
  sequence: fc.maxSafeNat(),
  /** Length of the special headers, in eights. */
  eights: fc.integer({ min: 0, max: 20 }),
});

/** Writes a header with some of everything at `at` of a view. */
function write(
  view: Buffer,
  at: number,
  tag: TagIdentity,
  where: {
    chunk: Uint8Array;
    session: Uint8Array;
    number: number;
    offset: number;
    sequence: number;
    eights: number;
  },
): number {
  const bytes = TAG_FIXED_BYTES + where.eights * 8;
  view.fill(0xa5, at + TAG_FIXED_BYTES, at + bytes);
  writeTag(view, at, bytes, tag);
  setPayloadCrc(view, at, 0x01020304);
  setPlace(view, at, where.chunk, where.session, where.number, where.offset, where.sequence);
  finishTag(view, at, crc);
  return bytes;
}

test('a header has the bytes of the table', () => {
  const view = Buffer.alloc(TAG_FIXED_BYTES);
  const tag = {
    part: 1,
    contentClass: 2,
    compression: 1,
    encryption: 1,
    flags: 0x0102,
    keyGeneration: 3,
    rawBytes: 0x10000,
    storedBytes: 0x8000,
    blobCount: 7,
  };
  writeTag(view, 0, TAG_FIXED_BYTES, tag);
  saltOf(view, 0).fill(0x5a);
  sealOf(view, 0).fill(0x5e);
  setPayloadCrc(view, 0, 0xdeadbeef);
  setPlace(view, 0, Buffer.alloc(16, 0xcc), Buffer.alloc(16, 0xdd), 5, 0x1_0000_0002, 9);
  finishTag(view, 0, crc);
  const expected = [
    '50544147', // "PTAG"
    '9000', // 144 bytes
    '01', // version
    '01', // block
    '02', // class
    '01', // zstd
    '01', // AES-256-GCM
    '00',
    '02010000', // flags
    '03000000', // key generation
    '00000100', // raw
    '00800000', // stored
    '05000000', // block number
    '0900000000000000', // sequence
    '0200000001000000', // offset
    'cc'.repeat(16),
    'dd'.repeat(16),
    '5a'.repeat(32),
    '5e'.repeat(16),
    '07000000', // blobs
    'efbeadde', // CRC of the payload
    '00000000',
  ].join('');
  assert.equal(view.toString('hex', 0, 140), expected);
  assert.equal(view.readUInt32LE(140), crc(view, 0, 140));
});

test('what was written is read again, at any place of any view', () => {
  fc.assert(
    fc.property(identity, place, fc.integer({ min: 0, max: 100 }), (tag, where, at) => {
      const view = Buffer.alloc(at + 1024, 0xff);
      const bytes = write(view, at, tag, where);
      assert.equal(checkTag(view, at, view.length - at, crc), undefined);
      assert.equal(headerBytesOf(view, at), bytes);
      assert.deepEqual(
        {
          part: partOf(view, at),
          contentClass: classOf(view, at),
          compression: compressionOf(view, at),
          encryption: encryptionOf(view, at),
          flags: flagsOf(view, at),
          keyGeneration: keyGenerationOf(view, at),
          rawBytes: rawBytesOf(view, at),
          storedBytes: storedBytesOf(view, at),
          blobCount: blobCountOf(view, at),
        },
        { ...tag },
      );
      assert.equal(blockNumberOf(view, at), where.number);
      assert.equal(chunkOffsetOf(view, at), where.offset);
      assert.equal(sequenceOf(view, at), where.sequence);
      assert.equal(payloadCrcOf(view, at), 0x01020304);
      assert.deepEqual([...chunkIdOf(view, at)], [...where.chunk]);
      assert.deepEqual([...sessionIdOf(view, at)], [...where.session]);
      assert.ok(
        view.subarray(0, at).every((byte) => byte === 0xff),
        'nothing before it is touched',
      );
      assert.ok(
        view.subarray(at + bytes).every((byte) => byte === 0xff),
        'nor behind it',
      );
    }),
  );
});

test('every single flipped bit of a header is noticed', () => {
  const where = {
    chunk: Buffer.alloc(16, 1),
    session: Buffer.alloc(16, 2),
    number: 3,
    offset: 4,
    sequence: 5,
    eights: 3,
  };
  const tag = {
    part: 1,
    contentClass: 1,
    compression: 1,
    encryption: 1,
    flags: 2,
    keyGeneration: 1,
    rawBytes: 10,
    storedBytes: 9,
    blobCount: 2,
  };
  const view = Buffer.alloc(LIMITS.headerRoomBytes + 100);
  const bytes = write(view, 0, tag, where);
  for (let bit = 0; bit < bytes * 8; bit++) {
    const at = bit >>> 3;
    view[at] = (view[at] ?? 0) ^ (1 << (bit & 7));
    assert.notEqual(checkTag(view, 0, view.length, crc), undefined, `bit ${bit}`);
    view[at] = (view[at] ?? 0) ^ (1 << (bit & 7));
  }
  assert.equal(checkTag(view, 0, view.length, crc), undefined);
  for (let available = 0; available < bytes; available++) {
    assert.notEqual(checkTag(view, 0, available, crc), undefined, `${available} bytes`);
  }
});

test('bytes that are no header never pass, and nothing beyond them is read', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (noise, withMagic) => {
      const view = Buffer.from(noise);
      if (withMagic && view.length >= 6) view.write('PTAG', 0, 'latin1');
      assert.notEqual(checkTag(view, 0, view.length, crc), undefined);
    }),
  );
});

test('the identity is authenticated, the place is not', () => {
  const tag = {
    part: 1,
    contentClass: 1,
    compression: 1,
    encryption: 1,
    flags: TAG_FLAG.grouped,
    keyGeneration: 1,
    rawBytes: 10,
    storedBytes: 9,
    blobCount: 2,
  };
  const associated = (change: (view: Buffer) => void): string => {
    const view = Buffer.alloc(TAG_FIXED_BYTES);
    writeTag(view, 0, TAG_FIXED_BYTES, tag);
    change(view);
    const data = Buffer.alloc(ASSOCIATED_BYTES, 0xff);
    writeAssociatedData(view, 0, data);
    return data.toString('hex');
  };
  const own = associated(() => undefined);
  const moved = associated((view) => {
    setPlace(view, 0, Buffer.alloc(16, 9), Buffer.alloc(16, 8), 7, 6, 5);
    addPlaceFlags(view, 0, TAG_FLAG.lastBlock | TAG_FLAG.restartPoint);
  });
  assert.equal(moved, own, 'a block can be moved as it is sealed');
  for (const at of [6, 7, 8, 9, 10, 12, 16, 20, 24, 128]) {
    const other = associated((view) => {
      view[at] = (view[at] ?? 0) ^ 2;
    });
    assert.notEqual(other, own, `byte ${at} is authenticated`);
  }
  assert.throws(() => addPlaceFlags(Buffer.alloc(TAG_FIXED_BYTES), 0, TAG_FLAG.grouped));
  // A flag of a later version stays as it is.
  const later = Buffer.alloc(TAG_FIXED_BYTES);
  writeTag(later, 0, TAG_FIXED_BYTES, { ...tag, flags: 0x8000_0000 });
  addPlaceFlags(later, 0, TAG_FLAG.lastBlock);
  assert.equal(flagsOf(later, 0), 0x8000_0001);
});

test('a u64 holds every safe integer and nothing else', () => {
  const view = Buffer.alloc(8);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      writeU64(view, 0, value);
      assert.equal(readU64(view, 0), value);
      assert.equal(view.readBigUInt64LE(0), BigInt(value));
    }),
  );
  for (const wrong of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => writeU64(view, 0, wrong));
});
