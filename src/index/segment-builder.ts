/**
 * Builds index segments: from what a session wrote, or by merging older segments.
 *
 * Sorting is by the whole name. The result is one buffer, ready to be stored (format/index-segment.ts).
 */
import { must } from '../base/assert.ts';
import type { BlockPlace } from '../format/chunk.ts';
import {
  bucketOf,
  filterAdd,
  INDEX_BLOCK_BYTES,
  INDEX_CHUNK_BYTES,
  INDEX_HEAD_BYTES,
  INDEX_RECORD_BYTES,
  layoutOf,
  PAGE_BYTES,
  PAGE_HASH_BYTES,
  type SegmentLayout,
  type SegmentShape,
  shapeFor,
  writeIndexHead,
} from '../format/index-segment.ts';
import { writeU64 } from '../format/tag-header.ts';
import type { KeyedHash } from '../host/mod.ts';

/** A chunk as the index knows it. */
export interface IndexedChunk {
  readonly id: Buffer;
  readonly session: Buffer;
  readonly contentClass: number;
  readonly bytes: number;
  readonly blocks: readonly BlockPlace[];
}

/** A chunk with the names of its blobs, 32 bytes each, block by block. */
export interface ChunkNames extends IndexedChunk {
  readonly names: Buffer;
}

/** One segment of all blobs of some chunks. */
export function buildSegment(id: Buffer, chunks: readonly ChunkNames[], hash: KeyedHash): Buffer {
  let count = 0;
  for (const chunk of chunks) count += chunk.names.length / 32;
  const records = Buffer.alloc(count * INDEX_RECORD_BYTES);
  let at = 0;
  for (const [number, chunk] of chunks.entries()) {
    let name = 0;
    for (const [block, place] of chunk.blocks.entries()) {
      for (let i = 0; i < place.blobCount; i++) {
        chunk.names.copy(records, at, name, name + 32);
        records.writeUInt32LE(number, at + 32);
        records.writeUInt32LE(block, at + 36);
        at += INDEX_RECORD_BYTES;
        name += 32;
      }
    }
  }
  return assembleSegment(id, chunks, sortRecords(records), hash);
}

/** Sorts 40-byte records by name, then chunk: names are evenly spread, so by their first bits first. */
export function sortRecords(records: Buffer): Buffer {
  const count = records.length / INDEX_RECORD_BYTES;
  const bits = Math.min(20, Math.max(0, Math.ceil(Math.log2(Math.max(1, count) / 4))));
  const ends = new Uint32Array(2 ** bits + 1);
  for (let i = 0; i < count; i++) {
    const bucket = bucketOf(records, i * INDEX_RECORD_BYTES, bits) + 1;
    ends[bucket] = (ends[bucket] ?? 0) + 1;
  }
  for (let i = 1; i < ends.length; i++) ends[i] = (ends[i] ?? 0) + (ends[i - 1] ?? 0);
  const order = new Uint32Array(count);
  const next = ends.slice(0, -1);
  for (let i = 0; i < count; i++) {
    const bucket = bucketOf(records, i * INDEX_RECORD_BYTES, bits);
    const to = next[bucket] ?? 0;
    next[bucket] = to + 1;
    order[to] = i;
  }
  for (let bucket = 0; bucket + 1 < ends.length; bucket++) {
    const from = ends[bucket] ?? 0;
    const to = ends[bucket + 1] ?? 0;
    if (to - from < 2) continue;
    order
      .subarray(from, to)
      .sort((x, y) =>
        compareRecords(records, x * INDEX_RECORD_BYTES, records, y * INDEX_RECORD_BYTES),
      );
  }
  const sorted = Buffer.alloc(records.length);
  for (let i = 0; i < count; i++) {
    const from = (order[i] ?? 0) * INDEX_RECORD_BYTES;
    records.copy(sorted, i * INDEX_RECORD_BYTES, from, from + INDEX_RECORD_BYTES);
  }
  return sorted;
}

export function compareRecords(a: Buffer, x: number, b: Buffer, y: number): number {
  const names = a.compare(b, y, y + 32, x, x + 32);
  if (names !== 0) return names;
  return a.readUInt32LE(x + 32) - b.readUInt32LE(y + 32);
}

/** Puts a segment together from its chunks and its sorted records. */
export function assembleSegment(
  id: Buffer,
  chunks: readonly IndexedChunk[],
  sorted: Buffer,
  hash: KeyedHash,
): Buffer {
  const nameCount = sorted.length / INDEX_RECORD_BYTES;
  let blockCount = 0;
  for (const chunk of chunks) blockCount += chunk.blocks.length;
  const shape = shapeFor(nameCount, chunks.length, blockCount);
  const layout = layoutOf(shape);
  const bytes = Buffer.alloc(layout.end);
  writeIndexHead(bytes, shape, id);
  writeTables(bytes, layout, chunks);
  sorted.copy(bytes, layout.records);
  writeFanoutAndFilter(bytes, shape, layout);
  for (let page = 0; page < shape.pageCount; page++) {
    const start = layout.records + page * PAGE_BYTES;
    const digest = Buffer.alloc(32);
    hash.digestInto(bytes, start, Math.min(PAGE_BYTES, layout.end - start), digest, 0);
    digest.copy(bytes, layout.pageHashes + page * PAGE_HASH_BYTES, 0, PAGE_HASH_BYTES);
  }
  segmentHash(bytes, layout, hash).copy(bytes, 96);
  return bytes;
}

/** The keyed hash of all up to the records, with the hash's own place taken as zero. */
export function segmentHash(bytes: Buffer, layout: SegmentLayout, hash: KeyedHash): Buffer {
  const copy = Buffer.from(bytes.subarray(0, layout.records));
  copy.fill(0, 96, INDEX_HEAD_BYTES);
  const digest = Buffer.alloc(32);
  hash.digestInto(copy, 0, copy.length, digest, 0);
  return digest;
}

function writeTables(bytes: Buffer, layout: SegmentLayout, chunks: readonly IndexedChunk[]): void {
  let at = layout.chunks;
  let block = layout.blocks;
  for (const chunk of chunks) {
    chunk.id.copy(bytes, at);
    chunk.session.copy(bytes, at + 16);
    bytes[at + 32] = chunk.contentClass;
    bytes.writeUInt32LE(chunk.blocks.length, at + 36);
    writeU64(bytes, at + 40, chunk.bytes);
    at += INDEX_CHUNK_BYTES;
    for (const place of chunk.blocks) {
      writeU64(bytes, block, place.offset);
      bytes.writeUInt32LE(place.bytes, block + 8);
      bytes.writeUInt32LE(place.blobCount, block + 12);
      block += INDEX_BLOCK_BYTES;
    }
  }
}

function writeFanoutAndFilter(bytes: Buffer, shape: SegmentShape, layout: SegmentLayout): void {
  const buckets = 2 ** shape.fanoutBits;
  let bucket = 0;
  for (let i = 0; i < shape.nameCount; i++) {
    const at = layout.records + i * INDEX_RECORD_BYTES;
    const own = bucketOf(bytes, at, shape.fanoutBits);
    while (bucket <= own) bytes.writeUInt32LE(i, layout.fanout + bucket++ * 4);
    filterAdd(bytes, layout.filter, shape.filterBytes, bytes, at);
  }
  while (bucket <= buckets) bytes.writeUInt32LE(shape.nameCount, layout.fanout + bucket++ * 4);
}

/** Reads the chunk and block tables of a segment back. */
export function readTables(bytes: Buffer, shape: SegmentShape): IndexedChunk[] {
  const layout = layoutOf(shape);
  const chunks: IndexedChunk[] = [];
  let block = layout.blocks;
  for (let i = 0; i < shape.chunkCount; i++) {
    const at = layout.chunks + i * INDEX_CHUNK_BYTES;
    const count = bytes.readUInt32LE(at + 36);
    const blocks: BlockPlace[] = [];
    for (let k = 0; k < count && block + INDEX_BLOCK_BYTES <= layout.fanout; k++) {
      blocks.push({
        offset: bytes.readUInt32LE(block + 4) * 0x1_0000_0000 + bytes.readUInt32LE(block),
        bytes: bytes.readUInt32LE(block + 8),
        blobCount: bytes.readUInt32LE(block + 12),
      });
      block += INDEX_BLOCK_BYTES;
    }
    chunks.push({
      id: Buffer.from(bytes.subarray(at, at + 16)),
      session: Buffer.from(bytes.subarray(at + 16, at + 32)),
      contentClass: bytes.readUInt8(at + 32),
      bytes: bytes.readUInt32LE(at + 44) * 0x1_0000_0000 + bytes.readUInt32LE(at + 40),
      blocks,
    });
  }
  return chunks;
}

/**
 * Merges segments into one. Chunks named in `dropped` (hex) are left out with their records; equal
 * records are kept once.
 */
export function mergeSegments(
  id: Buffer,
  segments: readonly { shape: SegmentShape; bytes: Buffer }[],
  dropped: ReadonlySet<string>,
  hash: KeyedHash,
): Buffer {
  const chunks: IndexedChunk[] = [];
  const numbers = new Map<string, number>();
  const translations: Int32Array[] = [];
  let count = 0;
  for (const segment of segments) {
    const translation = new Int32Array(segment.shape.chunkCount);
    for (const [i, chunk] of readTables(segment.bytes, segment.shape).entries()) {
      const key = chunk.id.toString('hex');
      if (!dropped.has(key) && !numbers.has(key)) {
        numbers.set(key, chunks.length);
        chunks.push(chunk);
      }
      translation[i] = numbers.get(key) ?? -1;
    }
    translations.push(translation);
    count += segment.shape.nameCount;
  }
  const records = Buffer.alloc(count * INDEX_RECORD_BYTES);
  let at = 0;
  for (const [s, segment] of segments.entries()) {
    const layout = layoutOf(segment.shape);
    const translation = must(translations[s], 'each segment has a translation');
    for (let from = layout.records; from < layout.end; from += INDEX_RECORD_BYTES) {
      const number = translation[segment.bytes.readUInt32LE(from + 32)] ?? -1;
      if (number < 0) continue;
      segment.bytes.copy(records, at, from, from + INDEX_RECORD_BYTES);
      records.writeUInt32LE(number, at + 32);
      at += INDEX_RECORD_BYTES;
    }
  }
  const kept = records.subarray(0, at);
  // Chunks keep their order, so the records of a single segment are in theirs already.
  const sorted = segments.length === 1 ? kept : dropEqual(sortRecords(kept));
  return assembleSegment(id, chunks, sorted, hash);
}

function dropEqual(sorted: Buffer): Buffer {
  let to = 0;
  for (let from = 0; from < sorted.length; from += INDEX_RECORD_BYTES) {
    const previous = to - INDEX_RECORD_BYTES;
    if (previous >= 0 && compareRecords(sorted, previous, sorted, from) === 0) continue;
    if (to !== from) sorted.copy(sorted, to, from, from + INDEX_RECORD_BYTES);
    to += INDEX_RECORD_BYTES;
  }
  return sorted.subarray(0, to);
}
