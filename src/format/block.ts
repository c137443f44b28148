/**
 * A block's content before compression: the bytes of its blobs, one after the other, then the
 * directory, one record a blob in the same order:
 *
 *   u32 length | u8 blob type (BLOB) | 3 bytes zero
 *
 * Names are not stored here: who has the key computes them again (keyed BLAKE3 of the bytes). The
 * number of blobs stands in the tag header. Valid if and only if the lengths and the directory fill
 * rawBytes exactly.
 *
 * While a block is filled and sealed, its directory with names stands in the buffer's directory room:
 *
 *   name (32) | u32 length | u8 blob type | 3 bytes zero        (DIRECTORY_RECORD_BYTES = 40)
 */
import { LIMITS } from '../base/limits.ts';

export const NAME_BYTES = 32;
export const DIRECTORY_RECORD_BYTES = 40;
export const STORED_RECORD_BYTES = 8;

export const BLOB = { data: 1, leaf: 2, node: 3, contentList: 4 } as const;

/** Writes the stored directory behind the blobs, from the records in the directory room. */
export function appendDirectory(
  payload: Buffer,
  usedBytes: number,
  directory: Buffer,
  blobCount: number,
): number {
  let cursor = usedBytes;
  for (let i = 0; i < blobCount; i++) {
    directory.copy(
      payload,
      cursor,
      i * DIRECTORY_RECORD_BYTES + NAME_BYTES,
      (i + 1) * DIRECTORY_RECORD_BYTES,
    );
    cursor += STORED_RECORD_BYTES;
  }
  return cursor;
}

/** Reads blobs of an opened block. Reused for many blocks: no allocation per block. */
export class BlockReader {
  readonly offsets: Uint32Array = new Uint32Array(LIMITS.blobsPerBlockMax);
  readonly lengths: Uint32Array = new Uint32Array(LIMITS.blobsPerBlockMax);
  readonly types: Uint8Array = new Uint8Array(LIMITS.blobsPerBlockMax);
  count = 0;

  /** Takes the directory of `rawBytes` at `at`; returns what is wrong, or undefined. */
  read(view: Buffer, at: number, rawBytes: number, blobCount: number): string | undefined {
    if (blobCount > LIMITS.blobsPerBlockMax) return `a block of ${blobCount} blobs`;
    const start = rawBytes - blobCount * STORED_RECORD_BYTES;
    if (start < 0) return 'the directory of the block does not fit';
    let offset = 0;
    for (let i = 0; i < blobCount; i++) {
      const record = at + start + i * STORED_RECORD_BYTES;
      const length = view.readUInt32LE(record);
      this.offsets[i] = at + offset;
      this.lengths[i] = length;
      this.types[i] = view[record + 4] ?? 0;
      offset += length;
      if (offset > start) break;
    }
    if (offset !== start) return 'the lengths in the directory of the block do not fill it';
    this.count = blobCount;
    return undefined;
  }
}
