/**
 * Goal: footers and trailers are read as they were written; no flipped bit or cut of a trailer passes,
 * and no footer makes a reader look outside of its chunk.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import { openCodec } from '../host/mod.ts';
import {
  type BlockPlace,
  decodeFooter,
  decodeTrailer,
  encodeFooter,
  encodeTrailer,
  TRAILER_BYTES,
} from './chunk.ts';
import type { Crc } from './tag-header.ts';

const codec = openCodec(Buffer.alloc(32));
const crc: Crc = (view, offset, length, seed) => codec.crc32c(view, offset, length, seed);

/** Blocks behind one another, with gaps. */
const blocks: fc.Arbitrary<BlockPlace[]> = fc
  .array(
    fc.record({
      gap: fc.nat(500),
      bytes: fc.integer({ min: 1, max: 2 ** 21 }),
      blobCount: fc.nat(20),
    }),
    { maxLength: 30 },
  )
  .map((list) => {
    let offset = 0;
    return list.map(({ gap, bytes, blobCount }) => {
      const place = { offset: offset + gap, bytes, blobCount };
      offset = place.offset + bytes;
      return place;
    });
  });
const endOf = (list: readonly BlockPlace[]): number =>
  list.reduce((end, { offset, bytes }) => Math.max(end, offset + bytes), 0);
function namesFor(list: readonly BlockPlace[]): Buffer {
  const names = Buffer.alloc(list.reduce((sum, { blobCount }) => sum + blobCount, 0) * 32);
  return names.map((_, i) => i * 7) as Buffer;
}

test('a footer has the bytes of the table', () => {
  const pieces = encodeFooter({
    blocks: [{ offset: 0x1_0000_0001, bytes: 2, blobCount: 1 }],
    names: Buffer.alloc(32, 0xab),
  });
  const bytes = Buffer.concat(pieces);
  assert.equal(
    bytes.toString('hex'),
    `0100000001000000${'0100000001000000'}0200000001000000${'ab'.repeat(32)}`,
  );
});

test('a footer is read as it was written', () => {
  fc.assert(
    fc.property(blocks, (list) => {
      const names = namesFor(list);
      const read = decodeFooter(Buffer.concat(encodeFooter({ blocks: list, names })), endOf(list));
      assert.deepEqual(read.blocks, list);
      assert.ok(read.names.equals(names));
    }),
  );
});

test('a footer never leads outside of its chunk, whatever is in it', () => {
  fc.assert(
    fc.property(
      blocks,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      fc.nat(40),
      (list, changes, cut) => {
        const whole = Buffer.concat(encodeFooter({ blocks: list, names: namesFor(list) }));
        const bytes = Buffer.from(
          whole.subarray(0, Math.max(0, whole.length - (cut > 30 ? cut : 0))),
        );
        for (const [at, value] of changes)
          if (bytes.length > 0) bytes[at % Math.min(bytes.length, 200)] = value;
        const end = endOf(list);
        try {
          const read = decodeFooter(bytes, end);
          let last = 0;
          let blobs = 0;
          for (const block of read.blocks) {
            assert.ok(block.offset >= last && block.offset + block.bytes <= end);
            last = block.offset + block.bytes;
            blobs += block.blobCount;
          }
          assert.equal(read.names.length, blobs * 32);
        } catch (error) {
          assert.ok(error instanceof PenstockError && error.code === 'DAMAGED', String(error));
        }
      },
    ),
  );
});

test('a trailer is read for the chunk that it ends, and for no other', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 40),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.integer({ min: 1, max: 1000 }),
      (offset, bytes, more) => {
        const trailer = encodeTrailer(offset, bytes, crc);
        const length = offset + bytes + TRAILER_BYTES;
        assert.deepEqual(decodeTrailer(trailer, length, crc), {
          footerOffset: offset,
          footerBytes: bytes,
        });
        assert.equal(decodeTrailer(trailer, length + more, crc), undefined);
        assert.equal(decodeTrailer(trailer, length - more, crc), undefined);
      },
    ),
  );
});

test('every single flipped bit and every cut of a trailer is noticed', () => {
  const trailer = encodeTrailer(1000, 200, crc);
  for (let bit = 0; bit < TRAILER_BYTES * 8; bit++) {
    const changed = Buffer.from(trailer);
    changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(decodeTrailer(changed, 1000 + 200 + TRAILER_BYTES, crc), undefined, `bit ${bit}`);
  }
  for (let length = 0; length < TRAILER_BYTES; length++) {
    assert.equal(
      decodeTrailer(trailer.subarray(0, length), 1000 + 200 + TRAILER_BYTES, crc),
      undefined,
    );
  }
});
