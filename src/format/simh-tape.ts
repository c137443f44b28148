/**
 * The SIMH tape image (`.tap`, text of January 2022): words, little-endian u32, and the bytes of
 * records between them.
 *
 *   data record   length | bytes | one pad byte if the length is odd | length
 *   tape mark     0
 *   end of medium FFFFFFFF; the end of the file means the same
 *
 * A word is a class (bits 31–28) and a value (28 bits):
 *   0        value 0: tape mark; else a good record of that length
 *   1–6, E   private and description records: passed over
 *   7, F     markers: passed over; among them FFFFFFFE erase gap, FFFEFFFF forward half gap (the next
 *            word begins two bytes before this one's end)
 *   8        a bad record: its bytes are what could be recovered
 *   9–D      reserved: taken for records, since a wrong guess is found by the second length
 * Penstock writes good records of up to 24 bits, and marks: the standard subset.
 *
 * A record is valid if and only if both words are the same.
 */

export const TAP_WORD_BYTES = 4;
/** The standard subset has lengths of 24 bits. */
export const TAP_RECORD_BYTES_MAX = 0xff_ffff;

export type TapWord =
  | { readonly kind: 'mark' }
  | { readonly kind: 'endOfMedium' }
  /** Nothing that is an object: the next word lies so many bytes behind this one's beginning. */
  | { readonly kind: 'skip'; readonly bytes: number }
  /** A record of `bytes`; `ignored` where it is of a class that is passed over. */
  | {
      readonly kind: 'record';
      readonly bytes: number;
      readonly bad: boolean;
      readonly ignored: boolean;
    };

const MARK: TapWord = { kind: 'mark' };
const END: TapWord = { kind: 'endOfMedium' };
const SKIP: TapWord = { kind: 'skip', bytes: TAP_WORD_BYTES };
const HALF: TapWord = { kind: 'skip', bytes: TAP_WORD_BYTES / 2 };
const END_OF_MEDIUM = 0xffff_ffff;
const FORWARD_HALF_GAP = 0xfffe_ffff;

/** What a word says. */
export function readTapWord(word: number): TapWord {
  if (word === 0) return MARK;
  if (word === END_OF_MEDIUM) return END;
  if (word === FORWARD_HALF_GAP) return HALF;
  const type = word >>> 28;
  if (type === 7 || type === 15) return SKIP;
  return {
    kind: 'record',
    bytes: word & 0xfff_ffff,
    bad: type === 8,
    ignored: type !== 0 && type !== 8,
  };
}

/** Bytes between the two words of a record. */
export const tapPaddedBytes = (bytes: number): number => bytes + (bytes & 1);

/** Bytes of a record with everything that belongs to it. */
export const tapRecordBytes = (bytes: number): number => tapPaddedBytes(bytes) + 2 * TAP_WORD_BYTES;
