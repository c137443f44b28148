/**
 * Goes through the records of all segments in the order of the names: all places of one blob together.
 *
 * Contract: reads every segment once, forward, with one page of it in memory (or none, where its
 * records are in memory anyway); no allocation per record. Places in chunks that must not be used
 * are left out; a place of which several segments tell (a merge was cut off) comes once for each.
 */
import { must } from '../base/assert.ts';
import {
  INDEX_RECORD_BYTES,
  layoutOf,
  PAGE_BYTES,
  PAGE_RECORDS,
  type SegmentLayout,
} from '../format/index-segment.ts';
import type { Files, KeyedHash } from '../host/mod.ts';
import { type IndexShare, readIndexPage, type SegmentShare } from './blob-index.ts';

/** One place of a blob. */
export interface BlobPlace {
  /** Number of the segment, and of the record in it. */
  segment: number;
  record: number;
  /** Global number of the chunk. */
  chunk: number;
  block: number;
  /** The same place as an earlier one of the group. */
  isRepeat: boolean;
}

/** The places of one blob; used again for the next. */
export interface PlaceGroup {
  /** How many of `places` are of this blob. */
  count: number;
  readonly places: readonly BlobPlace[];
}

/** Walks the blobs that have a usable place, once. DAMAGED for a page that is. */
export class PlaceWalk {
  readonly #cursors: SegmentCursor[];
  /** A heap of cursors, the least name first. */
  readonly #heap: SegmentCursor[] = [];
  readonly #places: BlobPlace[] = [];
  readonly #group: { count: number; readonly places: BlobPlace[] };

  constructor(share: IndexShare, files: Files, hash: KeyedHash) {
    this.#cursors = share.segments.map((segment, i) => new SegmentCursor(segment, i, files, hash));
    this.#group = { count: 0, places: this.#places };
    for (const cursor of this.#cursors) if (cursor.next()) this.#push(cursor);
  }

  /** The places of the next blob, valid until the next call; undefined after the last. */
  next(): PlaceGroup | undefined {
    const group = this.#group;
    do {
      const first = this.#heap[0];
      if (first === undefined) return undefined;
      group.count = 0;
      first.nameInto(this.#name);
      for (let top = this.#heap[0]; top?.isAt(this.#name); top = this.#heap[0]) {
        this.#take(top);
        if (top.next()) this.#sink();
        else this.#pop();
      }
    } while (group.count === 0);
    return group;
  }
  readonly #name = Buffer.alloc(32);

  #take(cursor: SegmentCursor): void {
    const group = this.#group;
    const chunk = cursor.chunk;
    if (chunk < 0) return;
    const block = cursor.block;
    let isRepeat = false;
    for (let i = 0; i < group.count; i++) {
      const place = this.#places[i];
      if (place?.chunk === chunk && place.block === block) isRepeat = true;
    }
    if (group.count === this.#places.length) {
      this.#places.push({ segment: 0, record: 0, chunk: 0, block: 0, isRepeat: false });
    }
    const place = must(this.#places[group.count++], 'room for a place');
    place.segment = cursor.segment;
    place.record = cursor.record;
    place.chunk = chunk;
    place.block = block;
    place.isRepeat = isRepeat;
  }

  #push(cursor: SegmentCursor): void {
    const heap = this.#heap;
    let at = heap.push(cursor) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = must(heap[parent], 'a parent');
      if (above.compare(cursor) <= 0) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = cursor;
  }
  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#sink();
  }
  /** The first one has moved on: it goes down to where it belongs. */
  #sink(): void {
    const heap = this.#heap;
    const moved = must(heap[0], 'a first cursor');
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && right.compare(must(heap[child], 'a child')) < 0) child++;
      const least = must(heap[child], 'a child');
      if (moved.compare(least) <= 0) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = moved;
  }
}

/** Stands on one record of a segment. */
class SegmentCursor {
  readonly segment: number;
  record = -1;
  readonly #share: SegmentShare;
  readonly #layout: SegmentLayout;
  readonly #files: Files;
  readonly #hash: KeyedHash;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(share: SegmentShare, number: number, files: Files, hash: KeyedHash) {
    this.segment = number;
    this.#share = share;
    this.#layout = layoutOf(share.shape);
    this.#files = files;
    this.#hash = hash;
    this.#bytes = share.fd < 0 ? Buffer.from(share.bytes) : Buffer.alloc(PAGE_BYTES);
  }
  next(): boolean {
    const record = ++this.record;
    const { shape, fd } = this.#share;
    if (record >= shape.nameCount) return false;
    if (fd < 0) {
      this.#at = this.#layout.records + record * INDEX_RECORD_BYTES;
      return true;
    }
    const inPage = record % PAGE_RECORDS;
    if (inPage === 0) {
      const page = record / PAGE_RECORDS;
      readIndexPage(this.#share, this.#layout, page, this.#bytes, this.#files, this.#hash);
    }
    this.#at = inPage * INDEX_RECORD_BYTES;
    return true;
  }
  get chunk(): number {
    return this.#share.chunkNumbers[this.#bytes.readUInt32LE(this.#at + 32)] ?? -1;
  }
  get block(): number {
    return this.#bytes.readUInt32LE(this.#at + 36);
  }
  nameInto(target: Buffer): void {
    this.#bytes.copy(target, 0, this.#at, this.#at + 32);
  }
  isAt(name: Buffer): boolean {
    return name.compare(this.#bytes, this.#at, this.#at + 32) === 0;
  }
  compare(other: SegmentCursor): number {
    const from = other.#at;
    return this.#bytes.compare(other.#bytes, from, from + 32, this.#at, this.#at + 32);
  }
}
