/**
 * A window of blocks to verify, in shared memory: read by `fetch` as any window (restore-window.ts
 * has the head and the block table), and by `verify`, which needs to know what should be in them.
 *
 *   head and blocks   as in restore-window.ts, without pieces, files and entries; of a block
 *                     "first piece" is its number in the chunk, "pieces" the number of its blobs
 *                     (0xffffffff: not known)
 *   expected          per block 8 bytes: u32 offset of its directory in the window (0: not known) |
 *                     u32 content class (0: not known)
 *   directories       per blob 40 bytes: name | u32 length | u8 type | 3 zero (format/block.ts)
 */
import { DIRECTORY_RECORD_BYTES, NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import { writeU64 } from '../format/tag-header.ts';

const HEAD_BYTES = 32;
const BLOCK_BYTES = 24;
const EXPECTED_BYTES = 8;
const DONE_WORD = 4;
const UNKNOWN = 0xffff_ffff;

/** A block to verify. */
export interface WindowBlock {
  /** Number of the chunk among those that `fetch` was told. */
  readonly chunk: number;
  readonly number: number;
  readonly offset: number;
  readonly bytes: number;
  readonly contentClass: number;
  readonly blobCount: number;
  /** Names of its blobs, and their records in the chunk's details; undefined: not known. */
  readonly names: Buffer | undefined;
  readonly details: Buffer | undefined;
}

/** Bytes that a block takes in a window. */
export function windowBlockBytes(block: WindowBlock): number {
  return (
    BLOCK_BYTES +
    EXPECTED_BYTES +
    (block.names === undefined ? 0 : block.blobCount * DIRECTORY_RECORD_BYTES)
  );
}

/** Lays out a window; blocks in the order in which they are to be read. */
export function buildVerifyWindow(
  number: number,
  blocks: readonly WindowBlock[],
): SharedArrayBuffer {
  const expectedAt = HEAD_BYTES + blocks.length * BLOCK_BYTES;
  let total = HEAD_BYTES;
  for (const block of blocks) total += windowBlockBytes(block);
  const shared = new SharedArrayBuffer(total);
  const bytes = Buffer.from(shared);
  bytes.writeUInt32LE(number, 0);
  bytes.writeUInt32LE(blocks.length, 4);
  let directory = expectedAt + blocks.length * EXPECTED_BYTES;
  for (const [i, block] of blocks.entries()) {
    const at = HEAD_BYTES + i * BLOCK_BYTES;
    bytes.writeUInt32LE(block.chunk, at);
    bytes.writeUInt32LE(block.bytes, at + 4);
    writeU64(bytes, at + 8, block.offset);
    bytes.writeUInt32LE(block.number, at + 16);
    bytes.writeUInt32LE(block.blobCount < 0 ? UNKNOWN : block.blobCount, at + 20);
    bytes.writeUInt32LE(block.contentClass, expectedAt + i * EXPECTED_BYTES + 4);
    const { names, details } = block;
    if (names === undefined || details === undefined) continue;
    bytes.writeUInt32LE(directory, expectedAt + i * EXPECTED_BYTES);
    writeDirectory(bytes, directory, names, details, block.blobCount);
    directory += block.blobCount * DIRECTORY_RECORD_BYTES;
  }
  return shared;
}

/** Joins names and details to directory records at `at`. */
export function writeDirectory(
  bytes: Buffer,
  at: number,
  names: Buffer,
  details: Buffer,
  blobCount: number,
): void {
  for (let blob = 0; blob < blobCount; blob++) {
    const to = at + blob * DIRECTORY_RECORD_BYTES;
    names.copy(bytes, to, blob * NAME_BYTES, (blob + 1) * NAME_BYTES);
    details.copy(
      bytes,
      to + NAME_BYTES,
      blob * STORED_RECORD_BYTES,
      (blob + 1) * STORED_RECORD_BYTES,
    );
  }
}

/** Reads a window. What `fetch` needs it reads as a RestoreWindow. */
export class VerifyWindow {
  readonly bytes: Buffer;
  readonly number: number;
  readonly blocks: number;
  readonly #expectedAt: number;
  readonly #done: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    this.bytes = Buffer.from(shared);
    this.number = this.bytes.readUInt32LE(0);
    this.blocks = this.bytes.readUInt32LE(4);
    this.#expectedAt = HEAD_BYTES + this.blocks * BLOCK_BYTES;
    this.#done = new Int32Array(shared, 0, HEAD_BYTES / 4);
  }
  chunk(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES);
  }
  blockBytes(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES + 4);
  }
  offset(block: number): number {
    const at = HEAD_BYTES + block * BLOCK_BYTES + 8;
    return this.bytes.readUInt32LE(at + 4) * 0x1_0000_0000 + this.bytes.readUInt32LE(at);
  }
  /** Number of the block in its chunk. */
  blockNumber(block: number): number {
    return this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES + 16);
  }
  /** -1: not known. */
  blobCount(block: number): number {
    const count = this.bytes.readUInt32LE(HEAD_BYTES + block * BLOCK_BYTES + 20);
    return count === UNKNOWN ? -1 : count;
  }
  contentClass(block: number): number {
    return this.bytes.readUInt32LE(this.#expectedAt + block * EXPECTED_BYTES + 4);
  }
  /** Offset in `bytes` of the expected directory; 0: not known. */
  directoryAt(block: number): number {
    return this.bytes.readUInt32LE(this.#expectedAt + block * EXPECTED_BYTES);
  }
  /** All of its blocks were processed, by whichever instance. */
  get done(): boolean {
    return Atomics.load(this.#done, DONE_WORD) >= this.blocks;
  }
  /** Counts a block as done; true for the last one. */
  blockDone(): boolean {
    return Atomics.add(this.#done, DONE_WORD, 1) + 1 === this.blocks;
  }
}
