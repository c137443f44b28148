/**
 * A chunk (M6 layout (c), M7): parts behind one another, each a tag header with its payload:
 *
 *   chunk header      sealed, JSON (ChunkHeaderInfo)
 *   [session header, archive header, archive footer, session footer]   in a chunk of their own, the
 *                     session's last
 *   blocks …
 *   [options]         the class continues in another chunk (special header nextChunk)
 *   chunk details     sealed: per blob u32 length | u8 type | 3 zero, in the order of the footer
 *   chunk footer      in clear, so that a server without the key can index:
 *       0 u32 number of blocks | 4 u32 number of blobs
 *       8 per block: u64 offset of its tag header | u32 bytes with header | u32 number of blobs
 *       … per blob: name (32)
 *   trailer (32 bytes): u64 offset of the footer | u32 bytes of the footer with header | u32 zero |
 *       u64 zero | u32 CRC-32C of bytes 0..23 | u32 magic "PEND"
 *
 * A chunk is found from its end: trailer, footer, blocks; where those are damaged, forward from its
 * start, header by header; where one of those is damaged, by looking for the next valid tag header.
 * Valid if and only if every part is valid, offsets ascend, and the footer lists all blocks.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NAME_BYTES } from './block.ts';
import { type Crc, readU64, writeU64 } from './tag-header.ts';

export const TRAILER_BYTES = 32;
const TRAILER_MAGIC = 0x444e4550; // "PEND"
export const FOOTER_BLOCK_BYTES = 16;
const FOOTER_HEAD_BYTES = 8;

/** Sealed content of a chunk header. */
export interface ChunkHeaderInfo {
  readonly chunk: string;
  readonly session: string;
  readonly contentClass: number;
  /** Number of this chunk in its session, from 0. */
  readonly number: number;
  readonly createdMs: number;
  readonly writer: string;
}

/** One block as the footer lists it. */
export interface BlockPlace {
  readonly offset: number;
  /** Tag header and payload. */
  readonly bytes: number;
  readonly blobCount: number;
}

/** Whether two tables tell of the same blocks. */
export function sameBlocks(a: readonly BlockPlace[], b: readonly BlockPlace[]): boolean {
  return (
    a.length === b.length &&
    a.every((block, i) => {
      const other = b[i];
      return (
        block.offset === other?.offset &&
        block.bytes === other.bytes &&
        block.blobCount === other.blobCount
      );
    })
  );
}

export interface FooterInfo {
  readonly blocks: readonly BlockPlace[];
  /** Names of all blobs, 32 bytes each, block by block. */
  readonly names: Buffer;
}

/** How long the payload of a footer is. */
export function footerBytesFor(blocks: number, blobs: number): number {
  return FOOTER_HEAD_BYTES + blocks * FOOTER_BLOCK_BYTES + blobs * NAME_BYTES;
}

/** A footer's payload, in pieces: the names are not copied. */
export function encodeFooter(info: FooterInfo): readonly [Buffer, Buffer] {
  const bytes = Buffer.alloc(FOOTER_HEAD_BYTES + info.blocks.length * FOOTER_BLOCK_BYTES);
  bytes.writeUInt32LE(info.blocks.length, 0);
  bytes.writeUInt32LE(info.names.length / NAME_BYTES, 4);
  let at = FOOTER_HEAD_BYTES;
  for (const block of info.blocks) {
    writeU64(bytes, at, block.offset);
    bytes.writeUInt32LE(block.bytes, at + 8);
    bytes.writeUInt32LE(block.blobCount, at + 12);
    at += FOOTER_BLOCK_BYTES;
  }
  return [bytes, info.names];
}

/** Decodes a footer's payload; DAMAGED when it is not valid. `chunkBytes` bounds the offsets. */
export function decodeFooter(bytes: Buffer, chunkBytes: number): FooterInfo {
  const wrong = (reason: string): PenstockError =>
    new PenstockError('DAMAGED', `damaged chunk footer: ${reason}`);
  if (bytes.length < FOOTER_HEAD_BYTES) throw wrong('cut off');
  const blockCount = bytes.readUInt32LE(0);
  const blobCount = bytes.readUInt32LE(4);
  if (blockCount > LIMITS.blocksPerChunkMax) throw wrong(`${blockCount} blocks`);
  const names = FOOTER_HEAD_BYTES + blockCount * FOOTER_BLOCK_BYTES;
  if (names + blobCount * NAME_BYTES !== bytes.length) throw wrong('its lengths do not add up');
  const blocks: BlockPlace[] = [];
  let blobs = 0;
  let end = 0;
  for (let at = FOOTER_HEAD_BYTES; at < names; at += FOOTER_BLOCK_BYTES) {
    const block = {
      offset: readU64(bytes, at),
      bytes: bytes.readUInt32LE(at + 8),
      blobCount: bytes.readUInt32LE(at + 12),
    };
    if (block.offset < end || block.offset + block.bytes > chunkBytes)
      throw wrong('a block lies outside');
    end = block.offset + block.bytes;
    blobs += block.blobCount;
    blocks.push(block);
  }
  if (blobs !== blobCount) throw wrong('its blocks do not hold its blobs');
  return { blocks, names: bytes.subarray(names) };
}

export function encodeTrailer(footerOffset: number, footerBytes: number, crc: Crc): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES);
  writeU64(bytes, 0, footerOffset);
  bytes.writeUInt32LE(footerBytes, 8);
  bytes.writeUInt32LE(crc(bytes, 0, 24), 24);
  bytes.writeUInt32LE(TRAILER_MAGIC, 28);
  return bytes;
}

/** Decodes a trailer; undefined when it is not valid for a chunk of `chunkBytes`. */
export function decodeTrailer(
  bytes: Buffer,
  chunkBytes: number,
  crc: Crc,
): { footerOffset: number; footerBytes: number } | undefined {
  if (bytes.length !== TRAILER_BYTES || bytes.readUInt32LE(28) !== TRAILER_MAGIC) return undefined;
  if (bytes.readUInt32LE(24) !== crc(bytes, 0, 24)) return undefined;
  const footerOffset = readU64(bytes, 0);
  const footerBytes = bytes.readUInt32LE(8);
  if (footerOffset + footerBytes + TRAILER_BYTES !== chunkBytes) return undefined;
  return { footerOffset, footerBytes };
}
