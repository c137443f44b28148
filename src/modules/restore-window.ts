/**
 * A window of a restore's plan, in shared memory: which blocks to read, sorted by position, and where
 * each blob of theirs goes. Made by the planner, read by `fetch` (blocks) and `restore` (pieces).
 *
 *   head (32 bytes): u32 window number | u32 blocks | u32 pieces | u32 files | i32 blocks done |
 *                    u32 bytes of the entries | 8 zero
 *   blocks:  per block 24 bytes: u32 chunk | u32 bytes | u64 offset | u32 first piece | u32 pieces
 *   pieces:  per piece 48 bytes: name (32) | u32 file or slot | u32 length and flag | u64 offset in the file;
 *            within a block sorted by name
 *   files:   per file 8 bytes: i32 handle of the directory | u32 offset of its entry
 *   entries: as they stand in the manifest
 *
 * A piece that is its file's whole content names a file of this window, which is created when the
 * blob has been verified. Other pieces name a slot: a file under a temporary name (slots.ts).
 */

import { must } from '../base/assert.ts';
import { compareBytes } from '../base/bytes.ts';
import { NAME_BYTES } from '../format/block.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';

const HEAD_BYTES = 32;
const BLOCK_BYTES = 24;
const PIECE_BYTES = 48;
const FILE_BYTES = 8;
const DONE_WORD = 4;

/** The piece goes to a slot; else it is the whole content of a file. */
const PIECE_SLOT = 1;
/** No blob is as long: a record that says so agrees with none. */
const LENGTH_MAX = 2 ** 31 - 1;

/** Numbers of a block: chunk | offset low | offset high | bytes | pieces. */
const BLOCK_WORDS = 5;
const GROWTH = 2;
/** A window's memory is made a little larger, so that the next fits it too. */
const SPARE = 1.25;

/** Collects a window. Pieces and entries go straight into growing memory: no object per file. */
export class WindowBuilder {
  #blocks = new Uint32Array(256 * BLOCK_WORDS);
  #blockCount = 0;
  /** Number of a block by chunk and offset. */
  readonly #blockNumbers = new Map<number, number>();
  #lastKey = -1;
  #lastBlock = -1;
  #pieces: Buffer = Buffer.allocUnsafe(4096 * PIECE_BYTES);
  #pieceBlocks = new Uint32Array(4096);
  #pieceCount = 0;
  #files: Buffer = Buffer.allocUnsafe(4096 * FILE_BYTES);
  #fileCount = 0;
  #entries: Buffer = Buffer.allocUnsafe(1024 * 1024);
  #entryBytes = 0;

  get files(): number {
    return this.#fileCount;
  }
  get blocks(): number {
    return this.#blockCount;
  }
  /** Bytes of entries and pieces: what the window will take. */
  get bytes(): number {
    return this.#entryBytes + this.#pieceCount * PIECE_BYTES;
  }
  /** Begins anew with the memory that it has. */
  reset(): void {
    this.#blockCount = 0;
    this.#blockNumbers.clear();
    this.#lastKey = -1;
    this.#pieceCount = 0;
    this.#fileCount = 0;
    this.#entryBytes = 0;
  }

  /** A file whose content is one piece; its entry is copied. Returns its number. */
  addFile(directory: number, bytes: Buffer, at: number, length: number): number {
    const to = this.#fileCount * FILE_BYTES;
    if (to + FILE_BYTES > this.#files.length) this.#files = grown(this.#files);
    this.#files.writeInt32LE(directory, to);
    this.#files.writeUInt32LE(this.#entryBytes, to + 4);
    while (this.#entryBytes + length > this.#entries.length) this.#entries = grown(this.#entries);
    bytes.copy(this.#entries, this.#entryBytes, at, at + length);
    this.#entryBytes += length;
    return this.#fileCount++;
  }

  /** A piece whose name stands at `at` of `names`. */
  addPiece(
    chunk: number,
    blockOffset: number,
    blockBytes: number,
    names: Buffer,
    at: number,
    target: number,
    slot: boolean,
    offset: number,
    length: number,
  ): void {
    const block = this.#block(chunk, blockOffset, blockBytes);
    const to = this.#pieceCount * PIECE_BYTES;
    if (to + PIECE_BYTES > this.#pieces.length) {
      this.#pieces = grown(this.#pieces);
      const blocks = new Uint32Array(this.#pieceBlocks.length * GROWTH);
      blocks.set(this.#pieceBlocks);
      this.#pieceBlocks = blocks;
    }
    names.copy(this.#pieces, to, at, at + NAME_BYTES);
    this.#pieces.writeUInt32LE(target, to + 32);
    const lengthMax = Math.min(length, LENGTH_MAX);
    this.#pieces.writeUInt32LE(lengthMax * 2 + (slot ? PIECE_SLOT : 0), to + 36);
    writeU64(this.#pieces, to + 40, offset);
    this.#pieceBlocks[this.#pieceCount++] = block;
    const pieces = block * BLOCK_WORDS + 4;
    this.#blocks[pieces] = (this.#blocks[pieces] ?? 0) + 1;
  }

  #block(chunk: number, offset: number, bytes: number): number {
    // Chunks are below 2^32 bytes: one number tells a block from every other.
    const key = chunk * 0x1_0000_0000 + offset;
    if (key === this.#lastKey) return this.#lastBlock;
    let block = this.#blockNumbers.get(key);
    if (block === undefined) {
      block = this.#blockCount++;
      this.#blockNumbers.set(key, block);
      if ((block + 1) * BLOCK_WORDS > this.#blocks.length) {
        const blocks = new Uint32Array(this.#blocks.length * GROWTH);
        blocks.set(this.#blocks);
        this.#blocks = blocks;
      }
      this.#blocks.set(
        [chunk, offset % 0x1_0000_0000, Math.floor(offset / 0x1_0000_0000), bytes, 0],
        block * BLOCK_WORDS,
      );
    }
    this.#lastKey = key;
    this.#lastBlock = block;
    return block;
  }

  /**
   * Lays the window out, blocks sorted by position, the pieces of each by name; in `reuse`, the memory of
   * a window that is done, if it is large enough.
   */
  build(number: number, reuse?: SharedArrayBuffer): SharedArrayBuffer {
    const count = this.#blockCount;
    const piecesAt = HEAD_BYTES + count * BLOCK_BYTES;
    const filesAt = piecesAt + this.#pieceCount * PIECE_BYTES;
    const entriesAt = filesAt + this.#fileCount * FILE_BYTES;
    const needed = entriesAt + this.#entryBytes;
    const shared =
      reuse !== undefined && reuse.byteLength >= needed
        ? reuse
        : new SharedArrayBuffer(Math.ceil(needed * SPARE));
    const bytes = Buffer.from(shared);
    for (const [i, value] of [
      number,
      count,
      this.#pieceCount,
      this.#fileCount,
      0,
      this.#entryBytes,
    ].entries()) {
      bytes.writeUInt32LE(value, i * 4);
    }
    const word = (block: number, which: number): number =>
      this.#blocks[block * BLOCK_WORDS + which] ?? 0;
    const order = Uint32Array.from({ length: count }, (_, i) => i).sort(
      (a, b) => word(a, 0) - word(b, 0) || word(a, 2) - word(b, 2) || word(a, 1) - word(b, 1),
    );
    const next = new Uint32Array(count);
    let first = 0;
    for (const [i, block] of order.entries()) {
      const at = HEAD_BYTES + i * BLOCK_BYTES;
      bytes.writeUInt32LE(word(block, 0), at);
      bytes.writeUInt32LE(word(block, 3), at + 4);
      bytes.writeUInt32LE(word(block, 1), at + 8);
      bytes.writeUInt32LE(word(block, 2), at + 12);
      bytes.writeUInt32LE(first, at + 16);
      bytes.writeUInt32LE(word(block, 4), at + 20);
      next[block] = first;
      first += word(block, 4);
    }
    this.#layPieces(bytes, piecesAt, order, next);
    this.#files.copy(bytes, filesAt, 0, this.#fileCount * FILE_BYTES);
    this.#entries.copy(bytes, entriesAt, 0, this.#entryBytes);
    return shared;
  }

  /** Numbers of the pieces, block by block, then each block's sorted by name. */
  #layPieces(bytes: Buffer, piecesAt: number, order: Uint32Array, next: Uint32Array): void {
    const numbers = new Uint32Array(this.#pieceCount);
    for (let piece = 0; piece < this.#pieceCount; piece++) {
      const block = this.#pieceBlocks[piece] ?? 0;
      const to = next[block] ?? 0;
      next[block] = to + 1;
      numbers[to] = piece;
    }
    let from = 0;
    for (const block of order) {
      const end = next[block] ?? 0;
      numbers.subarray(from, end).sort((a, b) => this.#compare(a * PIECE_BYTES, b * PIECE_BYTES));
      from = end;
    }
    for (let i = 0; i < numbers.length; i++) {
      const at = (numbers[i] ?? 0) * PIECE_BYTES;
      this.#pieces.copy(bytes, piecesAt + i * PIECE_BYTES, at, at + PIECE_BYTES);
    }
  }
  #compare(a: number, b: number): number {
    const difference = this.#pieces.readUInt32BE(a) - this.#pieces.readUInt32BE(b);
    return difference !== 0
      ? difference
      : compareBytes(this.#pieces, a, this.#pieces, b, NAME_BYTES);
  }
}

function grown(bytes: Buffer): Buffer {
  const larger = Buffer.allocUnsafe(bytes.length * GROWTH);
  bytes.copy(larger);
  return larger;
}

/** Reads a window. */
export class RestoreWindow {
  readonly bytes: Buffer;
  readonly number: number;
  readonly blocks: number;
  readonly #piecesAt: number;
  readonly #filesAt: number;
  readonly #entriesAt: number;
  readonly #done: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    const bytes = Buffer.from(shared);
    this.bytes = bytes;
    this.number = bytes.readUInt32LE(0);
    this.blocks = bytes.readUInt32LE(4);
    this.#piecesAt = HEAD_BYTES + this.blocks * BLOCK_BYTES;
    this.#filesAt = this.#piecesAt + bytes.readUInt32LE(8) * PIECE_BYTES;
    this.#entriesAt = this.#filesAt + bytes.readUInt32LE(12) * FILE_BYTES;
    this.#done = new Int32Array(shared, 0, HEAD_BYTES / 4);
  }
  chunk(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES);
  }
  blockBytes(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES + 4);
  }
  offset(block: number): number {
    return readU64(this.bytes, HEAD_BYTES + block * BLOCK_BYTES + 8);
  }
  firstPiece(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES + 16);
  }
  pieces(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES + 20);
  }
  /** Offset in `bytes` of a piece's name. */
  nameAt(piece: number): number {
    return this.#piecesAt + piece * PIECE_BYTES;
  }
  /** The first piece of a block whose name is that at `at` of `names`, or -1. */
  findPiece(block: number, names: Buffer, at: number): number {
    const prefix = names.readUInt32BE(at);
    let low = this.firstPiece(block);
    const end = low + this.pieces(block);
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const from = this.nameAt(middle);
      const difference = this.bytes.readUInt32BE(from) - prefix;
      const before =
        difference === 0
          ? compareBytes(this.bytes, from, names, at, NAME_BYTES) < 0
          : difference < 0;
      if (before) low = middle + 1;
      else high = middle;
    }
    return low < end && this.hasName(low, names, at) ? low : -1;
  }
  hasName(piece: number, names: Buffer, at: number): boolean {
    const from = this.nameAt(piece);
    return compareBytes(this.bytes, from, names, at, NAME_BYTES) === 0;
  }
  target(piece: number): number {
    return this.bytes.readUInt32LE(this.nameAt(piece) + 32);
  }
  isSlot(piece: number): boolean {
    return (this.bytes.readUInt32LE(this.nameAt(piece) + 36) & PIECE_SLOT) !== 0;
  }
  /** Bytes that the manifest says the blob has. */
  pieceBytes(piece: number): number {
    return this.bytes.readUInt32LE(this.nameAt(piece) + 36) >>> 1;
  }
  pieceOffset(piece: number): number {
    return readU64(this.bytes, this.nameAt(piece) + 40);
  }
  directory(file: number): number {
    return this.bytes.readInt32LE(this.#filesAt + file * FILE_BYTES);
  }
  /** Offset in `bytes` of a file's entry. */
  entryAt(file: number): number {
    return this.#entriesAt + this.bytes.readUInt32LE(this.#filesAt + file * FILE_BYTES + 4);
  }
  /** Counts a block as done; true for the last one. */
  blockDone(): boolean {
    return Atomics.add(this.#done, DONE_WORD, 1) + 1 === this.blocks;
  }
}

/**
 * Files under temporary names, whose pieces come from several blocks: one slot each, reused.
 * Words per slot: handle | pieces left | failed.
 */
export class Slots {
  static readonly COUNT: number = 1024;
  readonly #words: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
  }
  static share(): SharedArrayBuffer {
    return new SharedArrayBuffer(Slots.COUNT * 12);
  }
  open(slot: number, handle: number): void {
    this.#words[slot * 3] = handle;
    // One more than there are pieces, until all are planned.
    Atomics.store(this.#words, slot * 3 + 1, 1);
    Atomics.store(this.#words, slot * 3 + 2, 0);
  }
  handle(slot: number): number {
    return must(this.#words[slot * 3], 'a slot');
  }
  expect(slot: number, pieces: number): void {
    Atomics.add(this.#words, slot * 3 + 1, pieces);
  }
  /** Takes one off; true when nothing is left. */
  arrived(slot: number): boolean {
    return Atomics.sub(this.#words, slot * 3 + 1, 1) === 1;
  }
  /** True for the first failure. */
  fail(slot: number): boolean {
    return Atomics.exchange(this.#words, slot * 3 + 2, 1) === 0;
  }
  failed(slot: number): boolean {
    return Atomics.load(this.#words, slot * 3 + 2) !== 0;
  }
}
