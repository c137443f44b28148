/**
 * A file's content: records in file order, each a blob or a hole.
 *
 *   u64 length in bytes | 32 bytes name of the blob; all zero: a hole
 *
 * Up to LIMITS.contentListInlineMax records stand in the file's entry. A longer list is stored as
 * blobs of up to LIMITS.contentListPerBlob records each, and the entry holds the records of those
 * blobs (length: bytes of the *file* that the blob's records cover); again if that is too long still.
 * How many levels there are stands in the entry's `contentLevels`.
 */
import { compareBytes } from '../base/bytes.ts';
import { readU64, writeU64 } from './tag-header.ts';

export const CONTENT_RECORD_BYTES = 40;
const ZERO_NAME = Buffer.alloc(32);

export function writeBlobRecord(view: Buffer, at: number, length: number, name: Uint8Array): void {
  writeU64(view, at, length);
  view.set(name, at + 8);
}

export function writeHoleRecord(view: Buffer, at: number, length: number): void {
  writeU64(view, at, length);
  view.fill(0, at + 8, at + CONTENT_RECORD_BYTES);
}

export const contentLength = (view: Buffer, at: number): number => readU64(view, at);

export function contentIsHole(view: Buffer, at: number): boolean {
  return compareBytes(ZERO_NAME, 0, view, at + 8, ZERO_NAME.length) === 0;
}
