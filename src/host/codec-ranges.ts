/**
 * Ranges of views, as the codecs are given them.
 */
import { assert } from '../base/assert.ts';

/** Bounds of the C interfaces that take an `int`. */
const LENGTH_MAX = 0x7fff_ffff;

/** The part of a view; asserts that it lies within. */
export function rangeOf(view: Uint8Array, offset: number, length: number): Uint8Array {
  assert(
    offset >= 0 && length >= 0 && length <= LENGTH_MAX && offset + length <= view.length,
    'a range lies within its view',
  );
  if (offset === 0 && length === view.length) return view;
  // Not Buffer's own subarray, which is four times as dear.
  return new Uint8Array(view.buffer, view.byteOffset + offset, length);
}

export function assertKeyAndTag(key: Uint8Array, tag: Uint8Array): void {
  assert(key.length === 32, 'a key has 32 bytes');
  assert(tag.length === 16, 'a tag has 16 bytes');
}
