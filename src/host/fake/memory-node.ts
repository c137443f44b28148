/**
 * One file of the files in memory, and what of it outlives a power loss.
 *
 * Contract: contents are kept in pages, so that holes cost nothing. `sync` makes the content, or
 * the names of a directory, durable as they are now; until then a power loss may undo them. Modes,
 * owners, times and attributes are always durable: code that relies on their order is not tested
 * here.
 */
import type { ByteString } from '../../base/bytes.ts';
import { KIND } from '../file-status.ts';
import type { Random } from '../random.ts';

/** As on a common file system; a hole is a run of whole pages that were never written. */
const PAGE_BYTES = 4096;

export interface Time {
  readonly seconds: number;
  readonly nanos: number;
}

type ContentLoss = 'nothing' | 'everything' | 'all pages' | 'some pages';
const CONTENT_LOSSES: readonly ContentLoss[] = ['nothing', 'everything', 'all pages', 'some pages'];

/** A whole number from 0 to below `count`. */
export function randomBelow(random: Random, count: number): number {
  return random.bytes(4).readUInt32LE() % count;
}

/** A change of a directory that is not durable yet. */
interface PendingEntry {
  /** Place in the order of all changes; both halves of a rename have the same. */
  readonly sequence: number;
  readonly name: ByteString;
  readonly node: MemoryNode | undefined;
}

export class MemoryNode {
  readonly inode: number;
  readonly kind: number;
  mode: number;
  uid = 0;
  gid = 0;
  nlink = 0;
  rdevMajor = 0;
  rdevMinor = 0;
  atime: Time;
  mtime: Time;
  ctime: Time;
  readonly attributes: Map<ByteString, Uint8Array> = new Map();
  /** Of a symbolic link. */
  target: ByteString = '';
  /** Of a directory. */
  parent: MemoryNode | undefined;
  readonly entries: Map<ByteString, MemoryNode> = new Map();
  size = 0;
  #pages = new Map<number, Uint8Array>();
  #durablePages = new Map<number, Uint8Array>();
  #durableSize = 0;
  #durableEntries = new Map<ByteString, MemoryNode>();
  #pending: PendingEntry[] = [];

  constructor(inode: number, kind: number, mode: number, now: Time) {
    this.inode = inode;
    this.kind = kind;
    this.mode = mode & 0xfff;
    this.atime = now;
    this.mtime = now;
    this.ctime = now;
  }

  get usedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  /** Bytes that a write would take in addition. */
  growthBytes(position: number, length: number): number {
    let pages = 0;
    const last = Math.floor((position + length - 1) / PAGE_BYTES);
    for (let page = Math.floor(position / PAGE_BYTES); page <= last; page++) {
      if (!this.#pages.has(page)) pages += 1;
    }
    return pages * PAGE_BYTES;
  }

  /** Returns how much of the range exists; what of it is a hole is zeros. */
  read(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.size - position));
    for (let done = 0; done < length; ) {
      const start = (position + done) % PAGE_BYTES;
      const part = Math.min(PAGE_BYTES - start, length - done);
      const page = this.#pages.get(Math.floor((position + done) / PAGE_BYTES));
      if (page === undefined) into.fill(0, done, done + part);
      else into.set(page.subarray(start, start + part), done);
      done += part;
    }
    return length;
  }

  write(from: Uint8Array, position: number): void {
    for (let done = 0; done < from.length; ) {
      const start = (position + done) % PAGE_BYTES;
      const part = Math.min(PAGE_BYTES - start, from.length - done);
      const page = this.#ownPage(Math.floor((position + done) / PAGE_BYTES));
      page.set(from.subarray(done, done + part), start);
      done += part;
    }
    if (from.length > 0) this.size = Math.max(this.size, position + from.length);
  }

  truncate(length: number): void {
    const kept = Math.ceil(length / PAGE_BYTES);
    for (const page of this.#pages.keys()) if (page >= kept) this.#pages.delete(page);
    const inside = length % PAGE_BYTES;
    if (inside > 0 && this.#pages.has(kept - 1)) this.#ownPage(kept - 1).fill(0, inside);
    this.size = length;
  }

  /** The first position at or after `position` that is data, or in a hole; none beyond the end. */
  seek(position: number, data: boolean): number | undefined {
    if (position < 0 || position >= this.size) return undefined;
    const first = Math.floor(position / PAGE_BYTES);
    if (this.#pages.has(first) === data) return position;
    const pages = [...this.#pages.keys()].sort((a, b) => a - b);
    if (data) {
      const next = pages.find((page) => page > first);
      return next === undefined ? undefined : next * PAGE_BYTES;
    }
    let page = first;
    while (this.#pages.has(page)) page += 1;
    return Math.min(page * PAGE_BYTES, this.size);
  }

  /** Gives a name to a node, or takes it away. */
  setEntry(name: ByteString, node: MemoryNode | undefined, sequence: number): void {
    if (node === undefined) this.entries.delete(name);
    else this.entries.set(name, node);
    this.#pending.push({ sequence, name, node });
  }

  sync(): void {
    if (this.kind === KIND.directory) this.#makeDurable(Number.POSITIVE_INFINITY);
    this.#durablePages = new Map(this.#pages);
    this.#durableSize = this.size;
  }

  /** Changes of this directory that a power loss may undo. */
  get pendingSequences(): readonly number[] {
    return this.#pending.map(({ sequence }) => sequence);
  }

  /** Every node that this directory leads to, or may lead to after a power loss. */
  get children(): ReadonlySet<MemoryNode> {
    return new Set([...this.#durableEntries.values(), ...this.entries.values()]);
  }

  /**
   * The power fails: changes of names up to `sequence` are there afterwards; a content that is not
   * durable is there whole, is as it was when it was synced last, or has its new size and of its
   * new pages none or some.
   */
  lose(random: Random, sequence: number): void {
    this.#makeDurable(sequence);
    this.#pending = [];
    this.entries.clear();
    for (const [name, node] of this.#durableEntries) this.entries.set(name, node);
    this.#losePages(random, CONTENT_LOSSES[randomBelow(random, CONTENT_LOSSES.length)]);
    this.sync();
  }

  #losePages(random: Random, loss: ContentLoss | undefined): void {
    if (loss === 'nothing') return;
    const written = this.#pages;
    this.#pages = new Map(this.#durablePages);
    if (loss === 'some pages') {
      for (const [index, page] of written) {
        if (randomBelow(random, 2) === 0) this.#pages.set(index, page);
      }
    }
    this.truncate(loss === 'everything' ? this.#durableSize : this.size);
  }

  #makeDurable(sequence: number): void {
    const later: PendingEntry[] = [];
    for (const change of this.#pending) {
      if (change.sequence > sequence) later.push(change);
      else if (change.node === undefined) this.#durableEntries.delete(change.name);
      else this.#durableEntries.set(change.name, change.node);
    }
    this.#pending = later;
  }

  /** A page that may be changed: one that is durable is copied first. */
  #ownPage(index: number): Uint8Array {
    const page = this.#pages.get(index);
    if (page !== undefined && this.#durablePages.get(index) !== page) return page;
    const own = page === undefined ? new Uint8Array(PAGE_BYTES) : Uint8Array.from(page);
    this.#pages.set(index, own);
    return own;
  }
}
