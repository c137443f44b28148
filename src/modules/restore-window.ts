/**
 * A window of a restore's plan, in shared memory: which blocks to read, sorted by position, and where
 * each blob of theirs goes. Made by the planner, read by `fetch` (blocks) and `restore` (pieces).
 *
 *   head (32 bytes): u32 window number | u32 blocks | u32 pieces | u32 files | i32 blocks done |
 *                    u32 bytes of the entries | 8 zero
 *   blocks:  per block 24 bytes: u32 chunk | u32 bytes | u64 offset | u32 first piece | u32 pieces
 *   pieces:  per piece 48 bytes: name (32) | u32 file or slot | u32 flags | u64 offset in the file;
 *            within a block sorted by name
 *   files:   per file 8 bytes: i32 handle of the directory | u32 offset of its entry
 *   entries: as they stand in the manifest
 *
 * A piece that is its file's whole content names a file of this window, which is created when the
 * blob has been verified. Other pieces name a slot: a file under a temporary name (slots.ts).
 */
import { must } from '../base/assert.ts';
import { NAME_BYTES } from '../format/block.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';

const HEAD_BYTES = 32;
const BLOCK_BYTES = 24;
const PIECE_BYTES = 48;
const FILE_BYTES = 8;
const DONE_WORD = 4;

/** The piece goes to a slot; else it is the whole content of a file. */
export const PIECE_SLOT = 1;

interface Piece {
  readonly name: Buffer;
  readonly target: number;
  readonly slot: boolean;
  readonly offset: number;
}

interface Block {
  readonly chunk: number;
  readonly offset: number;
  readonly bytes: number;
  readonly pieces: Piece[];
}

/** Collects a window. */
export class WindowBuilder {
  readonly #blocks = new Map<string, Block>();
  readonly #files: { directory: number; entry: number }[] = [];
  readonly #entries: Buffer[] = [];
  #entryBytes = 0;
  #pieces = 0;

  get files(): number {
    return this.#files.length;
  }
  get pieces(): number {
    return this.#pieces;
  }
  get blocks(): number {
    return this.#blocks.size;
  }
  /** Bytes of entries and pieces: what the window will take. */
  get bytes(): number {
    return this.#entryBytes + this.#pieces * PIECE_BYTES;
  }
  /** A file whose content is one piece. Returns its number. */
  addFile(directory: number, entry: Buffer): number {
    this.#files.push({ directory, entry: this.#entryBytes });
    this.#entries.push(Buffer.from(entry));
    this.#entryBytes += entry.length;
    return this.#files.length - 1;
  }
  addPiece(chunk: number, blockOffset: number, blockBytes: number, name: Buffer, target: number, slot: boolean, offset: number): void {
    const key = `${chunk}:${blockOffset}`;
    let block = this.#blocks.get(key);
    if (block === undefined) {
      block = { chunk, offset: blockOffset, bytes: blockBytes, pieces: [] };
      this.#blocks.set(key, block);
    }
    block.pieces.push({ name, target, slot, offset });
    this.#pieces++;
  }

  /** Lays the window out, sorted by position. */
  build(number: number): SharedArrayBuffer {
    const blocks = [...this.#blocks.values()].sort((a, b) => a.chunk - b.chunk || a.offset - b.offset);
    const piecesAt = HEAD_BYTES + blocks.length * BLOCK_BYTES;
    const filesAt = piecesAt + this.#pieces * PIECE_BYTES;
    const entriesAt = filesAt + this.#files.length * FILE_BYTES;
    const shared = new SharedArrayBuffer(entriesAt + this.#entryBytes);
    const bytes = Buffer.from(shared);
    for (const [i, value] of [number, blocks.length, this.#pieces, this.#files.length, 0, this.#entryBytes].entries()) {
      bytes.writeUInt32LE(value, i * 4);
    }
    let piece = 0;
    for (const [i, block] of blocks.entries()) {
      const at = HEAD_BYTES + i * BLOCK_BYTES;
      bytes.writeUInt32LE(block.chunk, at);
      bytes.writeUInt32LE(block.bytes, at + 4);
      writeU64(bytes, at + 8, block.offset);
      bytes.writeUInt32LE(piece, at + 16);
      bytes.writeUInt32LE(block.pieces.length, at + 20);
      block.pieces.sort((a, b) => a.name.compare(b.name));
      for (const one of block.pieces) {
        const to = piecesAt + piece++ * PIECE_BYTES;
        one.name.copy(bytes, to);
        bytes.writeUInt32LE(one.target, to + 32);
        bytes.writeUInt32LE(one.slot ? PIECE_SLOT : 0, to + 36);
        writeU64(bytes, to + 40, one.offset);
      }
    }
    for (const [i, file] of this.#files.entries()) {
      bytes.writeInt32LE(file.directory, filesAt + i * FILE_BYTES);
      bytes.writeUInt32LE(file.entry, filesAt + i * FILE_BYTES + 4);
    }
    let at = entriesAt;
    for (const entry of this.#entries) at += entry.copy(bytes, at);
    return shared;
  }
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
    let low = this.firstPiece(block);
    const end = low + this.pieces(block);
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const from = this.nameAt(middle);
      if (this.bytes.compare(names, at, at + NAME_BYTES, from, from + NAME_BYTES) < 0) low = middle + 1;
      else high = middle;
    }
    return low < end && this.hasName(low, names, at) ? low : -1;
  }
  hasName(piece: number, names: Buffer, at: number): boolean {
    const from = this.nameAt(piece);
    return this.bytes.compare(names, at, at + NAME_BYTES, from, from + NAME_BYTES) === 0;
  }
  target(piece: number): number {
    return this.bytes.readUInt32LE(this.nameAt(piece) + 32);
  }
  isSlot(piece: number): boolean {
    return (this.bytes.readUInt32LE(this.nameAt(piece) + 36) & PIECE_SLOT) !== 0;
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
  fail(slot: number): void {
    Atomics.store(this.#words, slot * 3 + 2, 1);
  }
  failed(slot: number): boolean {
    return Atomics.load(this.#words, slot * 3 + 2) !== 0;
  }
}
