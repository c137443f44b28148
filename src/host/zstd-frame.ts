/**
 * The outside of a zstd frame (RFC 8878, 3.1.1), checked before its inside is believed.
 *
 *   4  magic 0xFD2FB528
 *   1  descriptor: bits 6–7 size of the content size, 5 single segment, 3 reserved, 2 checksum,
 *      0–1 size of the dictionary id
 *   1  window, unless single segment
 *   0  dictionary id: never in ours
 *   n  content size: always in ours
 *   blocks: 3 bytes (bit 0 last, 1–2 type, 3–23 size), then the block
 *   4  checksum, if the descriptor says so
 *
 * Validity: a frame is ours if and only if it has a content size, no dictionary and no reserved bit
 * or block, and its last block ends where the bytes end. Both codecs use this, so both refuse alike
 * what a library would let pass: skippable frames, several frames, bytes after the end.
 */

const MAGIC = 0xfd2fb528;
const BLOCK_RAW = 0;
const BLOCK_REPEAT = 1;
const BLOCK_COMPRESSED = 2;

/** The content's length if the bytes are one whole frame of ours, else -1. */
export function contentLength(frame: Uint8Array): number {
  if (frame.length < 9 || littleEndian(frame, 0, 4) !== MAGIC) return -1;
  const descriptor = frame[4] as number;
  const singleSegment = (descriptor & 0x20) !== 0;
  if ((descriptor & 0x0b) !== 0) return -1;
  const sizeFlag = descriptor >>> 6;
  if (sizeFlag === 0 && !singleSegment) return -1;
  const sizeAt = singleSegment ? 5 : 6;
  const sizeBytes = 1 << sizeFlag;
  const blocksAt = sizeAt + sizeBytes;
  if (blocksAt + 3 > frame.length) return -1;
  const size = littleEndian(frame, sizeAt, sizeBytes) + (sizeFlag === 1 ? 256 : 0);
  const blocksEnd = frame.length - ((descriptor & 0x04) !== 0 ? 4 : 0);
  return blocksFill(frame, blocksAt, blocksEnd) ? size : -1;
}

function blocksFill(frame: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at + 3 <= end) {
    const header = littleEndian(frame, at, 3);
    const type = (header >>> 1) & 3;
    if (type !== BLOCK_RAW && type !== BLOCK_REPEAT && type !== BLOCK_COMPRESSED) return false;
    at += 3 + (type === BLOCK_REPEAT ? 1 : header >>> 3);
    if ((header & 1) !== 0) return at === end;
  }
  return false;
}

function littleEndian(bytes: Uint8Array, offset: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] as number);
  return value;
}
