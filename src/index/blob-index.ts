/**
 * Looking up blobs: name → chunk and block, over all segments of a repository.
 *
 * The main thread loads the segments once (load.ts); every thread then makes a BlobIndex of what is
 * shared. Heads (tables, fanout, filter) are in memory; records too while all of them together stay
 * below LIMITS.indexMemoryBytes, else pages of records are read on demand and checked against their
 * hashes. Chunks that must not be used (missing; for a backup condemned ones) have number -1. Places of
 * last resort (in chunks that are condemned, for a reader; in blocks that were found damaged) come after
 * all others.
 */

import { must } from '../base/assert.ts';
import { compareBytes } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import {
  bucketOf,
  filterHas,
  INDEX_BLOCK_BYTES,
  INDEX_RECORD_BYTES,
  layoutOf,
  PAGE_BYTES,
  PAGE_HASH_BYTES,
  PAGE_RECORDS,
  type SegmentLayout,
  type SegmentShape,
} from '../format/index-segment.ts';
import type { Files, KeyedHash } from '../host/mod.ts';

export interface SegmentShare {
  readonly id: string;
  readonly shape: SegmentShape;
  /** The whole segment, or all up to the records. */
  readonly bytes: SharedArrayBuffer;
  /** An open file to read pages from, where the records are not in `bytes`. */
  readonly fd: number;
  /** Global number of each chunk of the segment; -1: not to be used. */
  readonly chunkNumbers: Int32Array;
  /** First block of each chunk in the block table. */
  readonly firstBlocks: Uint32Array;
}

export interface IndexShare {
  readonly segments: readonly SegmentShare[];
  /** Ids of the chunks by global number, hex. */
  readonly chunkIds: readonly string[];
  /** One bit a chunk: an entry of the archive being made refers to it. */
  readonly used: SharedArrayBuffer;
  /** One byte a chunk: which of its blocks are of last resort (LAST_RESORT). Absent: none of any. */
  readonly lastResort?: SharedArrayBuffer | undefined;
  /** Numbers of the blocks of last resort, of chunks of which only some are. */
  readonly lastBlocks?: ReadonlyMap<number, ReadonlySet<number>> | undefined;
}

/** Places that count only where a blob has no other one. */
export const LAST_RESORT = { none: 0, chunk: 1, blocks: 2 } as const;

const PAGES_CACHED = 128;

export class BlobIndex {
  /** Of the last lookup that found something. */
  chunk = -1;
  block = 0;
  /** Number of the segment in which it was found, and of the record in it. */
  segment = -1;
  record = -1;
  #offset = 0;
  #bytes = 0;
  readonly #segments: SegmentReader[];
  readonly #used: Int32Array;
  readonly #hasLastResort: boolean;

  /** `hash` is keyed with the keyring's index key; `files` serves pages of large segments. */
  constructor(share: IndexShare, files: Files, hash: KeyedHash) {
    this.#segments = share.segments.map(
      (segment) => new SegmentReader(segment, files, hash, share),
    );
    this.#used = new Int32Array(share.used);
    this.#hasLastResort = share.lastResort !== undefined;
  }

  /**
   * Finds the name at `at`; false when no usable chunk has it. A blob may have several places: `skip`
   * passes over that many of them.
   */
  find(names: Buffer, at: number, skip = 0): boolean {
    if (this.#findSound(names, at, skip)) return true;
    return this.#hasLastResort && this.#search(names, at, true);
  }
  /** As find, without places of last resort. */
  #findSound(names: Buffer, at: number, skip: number): boolean {
    this.#left = skip;
    return this.#search(names, at, false);
  }
  #left = 0;
  #search(names: Buffer, at: number, lastResort: boolean): boolean {
    for (let i = this.#segments.length - 1; i >= 0; i--) {
      const segment = must(this.#segments[i], 'segment');
      if (!segment.find(names, at, this.#left, lastResort)) {
        this.#left -= segment.passed;
        continue;
      }
      this.chunk = segment.chunk;
      this.block = segment.block;
      this.segment = i;
      this.record = segment.record;
      this.#offset = segment.blockOffset();
      this.#bytes = segment.blockBytes();
      return true;
    }
    return false;
  }
  /** Offset of the found block's tag header in its chunk. */
  get blockOffset(): number {
    return this.#offset;
  }
  /** Bytes of the found block with its tag header. */
  get blockBytes(): number {
    return this.#bytes;
  }
  /** The block of the last place found is damaged: `use` passes over it from now on. */
  distrust(): void {
    this.#distrusted.add(this.#place());
  }
  readonly #distrusted = new Set<string>();
  #place(): string {
    return `${this.chunk}:${this.block}`;
  }
  /** As find, but not at a place of last resort; notes that the archive being made needs the chunk. */
  use(names: Buffer, at: number): boolean {
    for (let skip = 0; ; skip++) {
      if (!this.#findSound(names, at, skip)) return false;
      if (this.#distrusted.size === 0 || !this.#distrusted.has(this.#place())) break;
    }
    const word = this.chunk >>> 5;
    const bit = 1 << (this.chunk & 31);
    if (((this.#used[word] ?? 0) & bit) === 0) Atomics.or(this.#used, word, bit);
    return true;
  }
}

/** Ids of the chunks whose bits are set. */
export function usedChunks(share: IndexShare): string[] {
  const words = new Int32Array(share.used);
  return share.chunkIds.filter((_, i) => (Atomics.load(words, i >>> 5) & (1 << (i & 31))) !== 0);
}

class SegmentReader {
  chunk = -1;
  block = 0;
  record = -1;
  /** Places that the last lookup passed over. */
  passed = 0;
  #blockAt = 0;
  readonly #share: SegmentShare;
  readonly #shape: SegmentShape;
  readonly #layout: SegmentLayout;
  readonly #bytes: Buffer;
  readonly #files: Files;
  readonly #hash: KeyedHash;
  readonly #pages = new Map<number, Buffer>();
  readonly #lastResort: Uint8Array | undefined;
  readonly #lastBlocks: IndexShare['lastBlocks'];

  constructor(
    share: SegmentShare,
    files: Files,
    hash: KeyedHash,
    { lastResort, lastBlocks }: IndexShare,
  ) {
    this.#lastResort = lastResort && new Uint8Array(lastResort);
    this.#lastBlocks = lastBlocks;
    this.#share = share;
    this.#shape = share.shape;
    this.#layout = layoutOf(share.shape);
    this.#bytes = Buffer.from(share.bytes);
    this.#files = files;
    this.#hash = hash;
  }

  find(names: Buffer, at: number, skip: number, lastResort: boolean): boolean {
    this.passed = 0;
    const { filter, fanout } = this.#layout;
    if (!filterHas(this.#bytes, filter, this.#shape.filterBytes, names, at)) return false;
    const bucket = bucketOf(names, at, this.#shape.fanoutBits);
    let low = this.#bytes.readUInt32LE(fanout + bucket * 4);
    const end = this.#bytes.readUInt32LE(fanout + bucket * 4 + 4);
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(middle, names, at) < 0) low = middle + 1;
      else high = middle;
    }
    for (; low < end && this.#compare(low, names, at) === 0; low++) {
      if (this.#take(low, lastResort) && this.passed++ === skip) return true;
    }
    return false;
  }
  blockOffset(): number {
    return (
      this.#bytes.readUInt32LE(this.#blockAt + 4) * 0x1_0000_0000 +
      this.#bytes.readUInt32LE(this.#blockAt)
    );
  }
  blockBytes(): number {
    return this.#bytes.readUInt32LE(this.#blockAt + 8);
  }

  #take(record: number, lastResort: boolean): boolean {
    const bytes = this.#recordBytes(record);
    const at = this.#recordAt(record);
    const chunk = bytes.readUInt32LE(at + 32);
    const number = this.#share.chunkNumbers[chunk] ?? -1;
    if (number < 0) return false;
    const block = bytes.readUInt32LE(at + 36);
    if (this.#lastResort !== undefined && this.#isLast(number, block) !== lastResort) return false;
    this.record = record;
    this.chunk = number;
    this.block = block;
    this.#blockAt =
      this.#layout.blocks +
      ((this.#share.firstBlocks[chunk] ?? 0) + this.block) * INDEX_BLOCK_BYTES;
    return this.#blockAt + INDEX_BLOCK_BYTES <= this.#layout.fanout;
  }
  #isLast(chunk: number, block: number): boolean {
    const which = this.#lastResort?.[chunk] ?? LAST_RESORT.none;
    if (which !== LAST_RESORT.blocks) return which === LAST_RESORT.chunk;
    return this.#lastBlocks?.get(chunk)?.has(block) === true;
  }
  #compare(record: number, names: Buffer, at: number): number {
    const from = this.#recordAt(record);
    return compareBytes(this.#recordBytes(record), from, names, at, 32);
  }
  #recordAt(record: number): number {
    if (this.#share.fd < 0) return this.#layout.records + record * INDEX_RECORD_BYTES;
    return (record % PAGE_RECORDS) * INDEX_RECORD_BYTES;
  }
  #recordBytes(record: number): Buffer {
    if (this.#share.fd < 0) return this.#bytes;
    const number = Math.floor(record / PAGE_RECORDS);
    return this.#pages.get(number) ?? this.#readPage(number);
  }
  #readPage(number: number): Buffer {
    // The oldest page makes room, and its memory is used again.
    let page: Buffer | undefined;
    if (this.#pages.size >= PAGES_CACHED) {
      const oldest = this.#pages.keys().next().value ?? 0;
      page = this.#pages.get(oldest);
      this.#pages.delete(oldest);
    }
    page ??= Buffer.alloc(PAGE_BYTES);
    readIndexPage(this.#share, this.#layout, number, page, this.#files, this.#hash);
    this.#pages.set(number, page);
    return page;
  }
}

const pageDigest = Buffer.alloc(32);

/** Reads one page of records of a segment that is not in memory into `page`. DAMAGED. */
export function readIndexPage(
  share: SegmentShare,
  layout: SegmentLayout,
  number: number,
  page: Buffer,
  files: Files,
  hash: KeyedHash,
): void {
  const start = layout.records + number * PAGE_BYTES;
  const length = Math.min(PAGE_BYTES, layout.end - start);
  const got = files.read(share.fd, page, 0, length, start);
  const hashAt = layout.pageHashes + number * PAGE_HASH_BYTES;
  if (got === length) hash.digestInto(page, 0, length, pageDigest, 0);
  const wanted = Buffer.from(share.bytes, hashAt, PAGE_HASH_BYTES);
  if (got !== length || pageDigest.compare(wanted, 0, PAGE_HASH_BYTES, 0, PAGE_HASH_BYTES) !== 0) {
    throw new PenstockError('DAMAGED', `index segment ${share.id} is damaged: page ${number}`, {
      subject: share.id,
      hint: 'run `penstock catalog rebuild`',
    });
  }
}
