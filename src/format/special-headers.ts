/**
 * Special headers (M5): typed, length-prefixed fields behind the fixed part of a tag header. Unknown
 * ones are kept and passed on; a reader skips what it does not know.
 *
 *   u16 type (1…; 0 ends the list, what follows is padding) | u16 length | bytes
 *
 * The list is padded with zeros to a multiple of 8. Valid if and only if every length stays inside
 * the header and padding is zero.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { headerBytesOf, TAG_FIXED_BYTES } from './tag-header.ts';

export const SPECIAL = {
  /** u8: content class of the chunk that follows this one in its session; 0: none follows (M2). */
  nextClass: 1,
  /** 16 bytes: the chunk in which this class continues (M7). */
  nextChunk: 2,
  /** UTF-8: the program that wrote the part and its version. */
  writer: 3,
  /** u32: blobs that were discarded as duplicates while this block was filled (M10). */
  duplicates: 4,
  /** u64: the sequence number up to which everything is safe (M11). */
  restartPoint: 5,
} as const;

export interface SpecialHeader {
  readonly type: number;
  readonly value: Buffer;
}

/** Bytes that the list takes, padding included. */
export function specialBytes(list: readonly SpecialHeader[]): number {
  let total = 0;
  for (const special of list) total += 4 + special.value.length;
  const padded = Math.ceil(total / 8) * 8;
  if (TAG_FIXED_BYTES + padded > LIMITS.headerRoomBytes) {
    throw new PenstockError('LIMIT', `special headers of ${padded} bytes do not fit a tag header`);
  }
  return padded;
}

/** Writes the list for a header at `at`; returns the whole header's length for writeTag. */
export function writeSpecials(view: Buffer, at: number, list: readonly SpecialHeader[]): number {
  const bytes = specialBytes(list);
  let cursor = at + TAG_FIXED_BYTES;
  view.fill(0, cursor, cursor + bytes);
  for (const special of list) {
    view.writeUInt16LE(special.type, cursor);
    view.writeUInt16LE(special.value.length, cursor + 2);
    view.set(special.value, cursor + 4);
    cursor += 4 + special.value.length;
  }
  return TAG_FIXED_BYTES + bytes;
}

/** Reads the list of a header that checkTag has passed, copies included. FORMAT when it is torn. */
export function readSpecials(view: Buffer, at: number): SpecialHeader[] {
  const end = at + headerBytesOf(view, at);
  const list: SpecialHeader[] = [];
  let cursor = at + TAG_FIXED_BYTES;
  while (cursor + 4 <= end) {
    const type = view.readUInt16LE(cursor);
    const length = view.readUInt16LE(cursor + 2);
    if (type === 0) break;
    if (cursor + 4 + length > end) {
      throw new PenstockError(
        'FORMAT',
        `special header ${type} of ${length} bytes leaves its tag header`,
      );
    }
    list.push({ type, value: Buffer.from(view.subarray(cursor + 4, cursor + 4 + length)) });
    cursor += 4 + length;
  }
  return list;
}

export function findSpecial(list: readonly SpecialHeader[], type: number): Buffer | undefined {
  return list.find((special) => special.type === type)?.value;
}
