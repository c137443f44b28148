/**
 * Situation: a chunk whose end is gone, whose headers are damaged, or whose content looks like headers.
 * Goal: all parts whose headers are whole are found, what lies between them is told byte by byte, and
 * nothing that is not this chunk's own is taken for a part.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { openCodec } from '../host/mod.ts';
import { encodeFooter, encodeTrailer } from './chunk.ts';
import type { ChunkSource } from './chunk-media.ts';
import { readChunkEnd, readRange, scanChunk, scanParts } from './chunk-scan.ts';
import {
  type Crc,
  finishTag,
  PART,
  setPayloadCrc,
  setPlace,
  TAG_FIXED_BYTES,
  writeTag,
} from './tag-header.ts';

const codec = openCodec(Buffer.alloc(32));
const crc: Crc = (view, offset, length, seed) => codec.crc32c(view, offset, length, seed);
const ID = Buffer.alloc(16, 0xc1);
const SESSION = Buffer.alloc(16, 0x5e);

function part(kind: number, offset: number, number: number, payload: Buffer, id = ID): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(TAG_FIXED_BYTES), payload]);
  writeTag(bytes, 0, TAG_FIXED_BYTES, {
    part: kind,
    contentClass: 1,
    compression: 0,
    encryption: 0,
    flags: 0,
    keyGeneration: 1,
    rawBytes: payload.length,
    storedBytes: payload.length,
    blobCount: kind === PART.block ? 1 : 0,
  });
  setPayloadCrc(bytes, 0, crc(payload, 0, payload.length));
  setPlace(bytes, 0, id, SESSION, number, offset, number);
  finishTag(bytes, 0, crc);
  return bytes;
}

/** A chunk of a header, blocks of these payloads, a footer and a trailer. */
function makeChunk(payloads: readonly Buffer[]): {
  bytes: Buffer;
  offsets: number[];
  footerAt: number;
} {
  const pieces = [part(PART.chunkHeader, 0, 0, Buffer.from('{}'))];
  let at = pieces[0]?.length ?? 0;
  const blocks: { offset: number; bytes: number; blobCount: number }[] = [];
  for (const [number, payload] of payloads.entries()) {
    const block = part(PART.block, at, number, payload);
    blocks.push({ offset: at, bytes: block.length, blobCount: 1 });
    pieces.push(block);
    at += block.length;
  }
  const footer = part(
    PART.chunkFooter,
    at,
    blocks.length,
    Buffer.concat(encodeFooter({ blocks, names: Buffer.alloc(blocks.length * 32, 1) })),
  );
  pieces.push(footer, encodeTrailer(at, footer.length, crc));
  return {
    bytes: Buffer.concat(pieces),
    offsets: blocks.map(({ offset }) => offset),
    footerAt: at,
  };
}

function sourceOf(bytes: Buffer): ChunkSource {
  return {
    bytes: bytes.length,
    read: (view, offset, length, position) => bytes.copy(view, offset, position, position + length),
    close: () => undefined,
  };
}

const payloads = fc.array(
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  { maxLength: 8 },
);

test('a whole chunk is read from its end and from its start alike', () => {
  fc.assert(
    fc.property(payloads, (list) => {
      const { bytes, footerAt } = makeChunk(list);
      const end = readChunkEnd(sourceOf(bytes), ID, crc);
      assert.ok('footer' in end);
      assert.equal(end.footerOffset, footerAt);
      const scanned = scanChunk(sourceOf(bytes), ID, crc);
      assert.deepEqual(scanned.blocks, end.footer.blocks);
      assert.deepEqual(
        scanned.parts.map(({ part: kind }) => kind),
        [PART.chunkHeader, PART.chunkFooter],
      );
      assert.equal(scanned.first?.session, SESSION.toString('hex'));
      // The trailer is no part.
      assert.deepEqual(
        scanned.damage.map(({ offset, bytes: length }) => [offset, length]),
        [[bytes.length - 32, 32]],
      );
    }),
  );
});

test('parts and damage together cover every byte, whatever was changed', () => {
  fc.assert(
    fc.property(
      payloads,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { maxLength: 6 }),
      fc.nat(600),
      (list, edits, cut) => {
        const whole = makeChunk(list);
        const bytes = Buffer.from(
          whole.bytes.subarray(0, Math.max(1, whole.bytes.length - (cut > 300 ? cut - 300 : 0))),
        );
        const changed = new Set<number>();
        for (const [at, mask] of edits) {
          bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ mask;
          changed.add(at % bytes.length);
        }
        let at = 0;
        const found = new Set<number>();
        for (const scanned of scanParts(sourceOf(bytes), ID, 0, bytes.length, crc)) {
          if ('part' in scanned) {
            assert.equal(scanned.part.offset, at);
            found.add(at);
            at += scanned.part.headerBytes + scanned.part.storedBytes;
          } else {
            assert.equal(scanned.offset, at);
            assert.ok(scanned.bytes > 0);
            at += scanned.bytes;
          }
        }
        assert.equal(at, bytes.length);
        for (const offset of whole.offsets) {
          const isWhole =
            offset + TAG_FIXED_BYTES <= bytes.length &&
            [...changed].every((place) => place < offset || place >= offset + TAG_FIXED_BYTES);
          const fits =
            offset + TAG_FIXED_BYTES + (list[whole.offsets.indexOf(offset)]?.length ?? 0) <=
            bytes.length;
          if (isWhole && fits) assert.ok(found.has(offset), `the block at ${offset} is found`);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('every single flipped bit of trailer and footer is noticed', () => {
  const { bytes, footerAt } = makeChunk([Buffer.from('one'), Buffer.from('two')]);
  for (let bit = footerAt * 8; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
    assert.ok('damage' in readChunkEnd(sourceOf(changed), ID, crc), `bit ${bit}`);
  }
  for (let length = 0; length < bytes.length; length++) {
    assert.ok(
      'damage' in readChunkEnd(sourceOf(bytes.subarray(0, length)), ID, crc),
      `${length} bytes`,
    );
  }
});

test('content that holds a whole chunk is not taken for parts', () => {
  const inner = makeChunk([Buffer.from('inner block')]).bytes;
  const other = part(PART.block, 5, 0, Buffer.from('of another chunk'), Buffer.alloc(16, 2));
  const { bytes, offsets } = makeChunk([inner, other, Buffer.from('last')]);
  // The header of the block that holds it all is damaged: what follows is searched.
  bytes[(offsets[0] ?? 0) + 20] = 0xff;
  bytes[(offsets[1] ?? 0) + 20] = 0xff;
  const { blocks, damage } = scanChunk(sourceOf(bytes), ID, crc);
  assert.deepEqual(
    blocks.filter((block) => block.bytes > 0).map(({ offset }) => offset),
    [offsets[2]],
  );
  assert.equal(blocks.length, 3, 'the others keep their numbers');
  assert.equal(damage[0]?.offset, offsets[0]);
});

test('a header is found again far behind a damaged one, and across the windows of the search', () => {
  for (const distance of [256 * 1024 - 3, 256 * 1024 - 200, 256 * 1024, 700_001]) {
    const { bytes, offsets } = makeChunk([randomBytes(distance), Buffer.from('behind')]);
    bytes[(offsets[0] ?? 0) + 1] = 0;
    const { blocks } = scanChunk(sourceOf(bytes), ID, crc);
    assert.equal(blocks[1]?.offset, offsets[1], `${distance} bytes on`);
  }
});

test('a chunk under the name of another is all damage', () => {
  const { bytes } = makeChunk([Buffer.from('one')]);
  const other = Buffer.alloc(16, 7);
  assert.ok('damage' in readChunkEnd(sourceOf(bytes), other, crc));
  const { parts, blocks, damage } = scanChunk(sourceOf(bytes), other, crc);
  assert.equal(parts.length + blocks.length, 0);
  assert.match(damage[0]?.damage ?? '', /chunk c1c1/);
});

test('nothing beyond the end of a chunk is read', () => {
  const source = sourceOf(Buffer.alloc(100));
  assert.equal(readRange(source, 90, 11), undefined);
  assert.equal(readRange(source, -1, 5), undefined);
  assert.equal(readRange(source, 90, 10)?.length, 10);
});
