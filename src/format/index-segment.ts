/**
 * An index segment: an immutable sorted run, name → chunk and block, with all that a restore needs to
 * find the block (M8). In clear (names are keyed hashes), authenticated by a keyed hash.
 *
 *   head (128 bytes):
 *     0  8 magic "PSTKINDX"   8 1 version (1)  9 1 fanout bits  10 6 zero
 *    16  4 compat  20 4 read-only compat  24 4 incompat
 *    28  4 number of chunks  32 4 number of blocks  36 4 number of pages
 *    40  8 number of names   48 4 bytes of the filter  52 12 zero
 *    64 16 segment id        80 4 zero  84 4 key generation of the seal  88 8 zero
 *    96 32 keyed BLAKE3 of the head with these bytes zero, and of all up to the records
 *   chunk table: per chunk 48 bytes: id (16) | session (16) | u8 class | 3 zero | u32 number of blocks |
 *                u64 bytes of the chunk
 *   block table: per block, chunk by chunk: u64 offset | u32 bytes with header | u32 number of blobs
 *   fanout:      u32 × (2^bits + 1): first record whose name's top bits are >= i
 *   filter:      blocked Bloom filter, 64-byte lines, FILTER_PROBES bits a name in one line
 *   page hashes: 16 bytes a page of PAGE_RECORDS records: keyed BLAKE3, cut
 *   records:     40 bytes: name (32) | u32 chunk | u32 block; ascending by name, then chunk
 *
 * Valid if and only if magic and version match, the sizes add up, the hash matches; a page's records
 * are believed once its hash matches.
 */
import { PenstockError } from '../base/errors.ts';
import type { Features } from './record.ts';
import { readU64, writeU64 } from './tag-header.ts';

export const INDEX_HEAD_BYTES = 128;
export const INDEX_CHUNK_BYTES = 48;
export const INDEX_BLOCK_BYTES = 16;
export const INDEX_RECORD_BYTES = 40;
export const PAGE_RECORDS = 1024;
export const PAGE_BYTES: number = PAGE_RECORDS * INDEX_RECORD_BYTES;
export const PAGE_HASH_BYTES = 16;
export const FILTER_PROBES = 6;
const FILTER_BITS_PER_NAME = 10;
const MAGIC = Buffer.from('PSTKINDX', 'latin1');
const SEGMENT_NAMES_MAX = 2 ** 31;

export interface SegmentShape {
  readonly fanoutBits: number;
  readonly chunkCount: number;
  readonly blockCount: number;
  readonly pageCount: number;
  readonly nameCount: number;
  readonly filterBytes: number;
  readonly features: Features;
  readonly keyGeneration: number;
}

/** Offsets of the sections, each computed from the last. */
export interface SegmentLayout {
  readonly chunks: number;
  readonly blocks: number;
  readonly fanout: number;
  readonly filter: number;
  readonly pageHashes: number;
  readonly records: number;
  readonly end: number;
}

export function shapeFor(nameCount: number, chunkCount: number, blockCount: number): SegmentShape {
  // About 16 records a fanout bucket.
  const fanoutBits = Math.min(24, Math.max(0, Math.ceil(Math.log2(Math.max(1, nameCount) / 16))));
  return {
    fanoutBits,
    chunkCount,
    blockCount,
    pageCount: Math.ceil(nameCount / PAGE_RECORDS),
    nameCount,
    filterBytes: Math.max(1, Math.ceil((nameCount * FILTER_BITS_PER_NAME) / 512)) * 64,
    features: { compat: 0, readOnlyCompat: 0, incompat: 0 },
    keyGeneration: 0,
  };
}

export function layoutOf(shape: SegmentShape): SegmentLayout {
  const chunks = INDEX_HEAD_BYTES;
  const blocks = chunks + shape.chunkCount * INDEX_CHUNK_BYTES;
  const fanout = blocks + shape.blockCount * INDEX_BLOCK_BYTES;
  const filter = fanout + (2 ** shape.fanoutBits + 1) * 4;
  const pageHashes = filter + shape.filterBytes;
  const records = pageHashes + shape.pageCount * PAGE_HASH_BYTES;
  return {
    chunks,
    blocks,
    fanout,
    filter,
    pageHashes,
    records,
    end: records + shape.nameCount * INDEX_RECORD_BYTES,
  };
}

/** Writes the head (without its hash). */
export function writeIndexHead(bytes: Buffer, shape: SegmentShape, id: Uint8Array): void {
  bytes.fill(0, 0, INDEX_HEAD_BYTES);
  MAGIC.copy(bytes, 0);
  bytes[8] = 1;
  bytes[9] = shape.fanoutBits;
  bytes.writeUInt32LE(shape.features.compat, 16);
  bytes.writeUInt32LE(shape.features.readOnlyCompat, 20);
  bytes.writeUInt32LE(shape.features.incompat, 24);
  bytes.writeUInt32LE(shape.chunkCount, 28);
  bytes.writeUInt32LE(shape.blockCount, 32);
  bytes.writeUInt32LE(shape.pageCount, 36);
  writeU64(bytes, 40, shape.nameCount);
  bytes.writeUInt32LE(shape.filterBytes, 48);
  bytes.set(id, 64);
  bytes.writeUInt32LE(shape.keyGeneration, 84);
}

/**
 * Reads a head of a segment of `fileBytes`. DAMAGED or REPO_FEATURE when it cannot be used; the
 * keyed hash is checked by the caller, who has the key.
 */
export function readIndexHead(bytes: Buffer, fileBytes: number, subject: string): SegmentShape {
  const wrong = (reason: string): PenstockError =>
    new PenstockError('DAMAGED', `${subject} is damaged: ${reason}`, {
      subject,
      hint: 'run `penstock catalog rebuild` to make the index again from the chunks',
    });
  if (bytes.length < INDEX_HEAD_BYTES) throw wrong('its head is cut off');
  if (!bytes.subarray(0, 8).equals(MAGIC)) throw wrong('it is not an index segment');
  const features = {
    compat: bytes.readUInt32LE(16),
    readOnlyCompat: bytes.readUInt32LE(20),
    incompat: bytes.readUInt32LE(24),
  };
  if (features.incompat !== 0) {
    throw new PenstockError('REPO_FEATURE', `${subject} needs features that are unknown`, {
      subject,
    });
  }
  if (bytes[8] !== 1) throw wrong(`version ${bytes[8]} is unknown`);
  const shape: SegmentShape = {
    fanoutBits: bytes.readUInt8(9),
    chunkCount: bytes.readUInt32LE(28),
    blockCount: bytes.readUInt32LE(32),
    pageCount: bytes.readUInt32LE(36),
    nameCount: readU64(bytes, 40),
    filterBytes: bytes.readUInt32LE(48),
    features,
    keyGeneration: bytes.readUInt32LE(84),
  };
  if (
    shape.fanoutBits > 24 ||
    shape.nameCount > SEGMENT_NAMES_MAX ||
    shape.filterBytes % 64 !== 0
  ) {
    throw wrong('its sizes are impossible');
  }
  if (shape.pageCount !== Math.ceil(shape.nameCount / PAGE_RECORDS) || shape.filterBytes === 0) {
    throw wrong('its sizes do not add up');
  }
  if (layoutOf(shape).end !== fileBytes)
    throw wrong(`it has ${fileBytes} bytes, not ${layoutOf(shape).end}`);
  return shape;
}

/** Sets the bits of the name at `at` of `names` in a filter that begins at `filterAt`. */
export function filterAdd(
  filter: Buffer,
  filterAt: number,
  filterBytes: number,
  names: Buffer,
  at: number,
): void {
  const line = filterAt + lineOf(names, at, filterBytes);
  let probe = names.readUInt32LE(at + 8);
  const step = names.readUInt32LE(at + 12) | 1;
  for (let i = 0; i < FILTER_PROBES; i++) {
    const bit = probe & 511;
    const byte = line + (bit >>> 3);
    filter[byte] = (filter[byte] ?? 0) | (1 << (bit & 7));
    probe = (probe >>> 9) ^ Math.imul(step, i + 0x9e3779b1);
  }
}

/** Whether the name may be in the segment (false: it is not). */
export function filterHas(
  filter: Buffer,
  filterAt: number,
  filterBytes: number,
  names: Buffer,
  at: number,
): boolean {
  const line = filterAt + lineOf(names, at, filterBytes);
  let probe = names.readUInt32LE(at + 8);
  const step = names.readUInt32LE(at + 12) | 1;
  for (let i = 0; i < FILTER_PROBES; i++) {
    const bit = probe & 511;
    if (((filter[line + (bit >>> 3)] ?? 0) & (1 << (bit & 7))) === 0) return false;
    probe = (probe >>> 9) ^ Math.imul(step, i + 0x9e3779b1);
  }
  return true;
}

function lineOf(names: Buffer, at: number, filterBytes: number): number {
  return (names.readUInt32LE(at + 4) % (filterBytes / 64)) * 64;
}

/** The fanout bucket of a name: its top bits, big-endian so that order is kept. */
export function bucketOf(names: Buffer, at: number, fanoutBits: number): number {
  return fanoutBits === 0 ? 0 : names.readUInt32BE(at) >>> (32 - fanoutBits);
}
