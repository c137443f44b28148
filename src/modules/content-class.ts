/**
 * What kind of content a blob is (M2): compressible, or compressed (or encrypted) already, which is
 * then stored as it is. Decided from magic bytes and from byte statistics at several points; plain
 * text is recognised from a few dozen bytes, since most files are.
 */

import { REASON } from '../format/entry.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';

/** First bytes (latin1) of formats that are compressed throughout. */
const MAGIC: readonly (readonly [offset: number, bytes: string])[] = [
  [0, '\x1f\x8b'],
  [0, 'BZh'],
  [0, '\xfd7zXZ\0'],
  [0, '7z\xbc\xaf\x27\x1c'],
  [0, '\x28\xb5\x2f\xfd'],
  [0, '\x04\x22\x4d\x18'],
  [0, 'PK\x03\x04'],
  [0, 'Rar!\x1a\x07'],
  [0, '\x89PNG\r\n'],
  [0, '\xff\xd8\xff'],
  [0, 'OggS'],
  [0, 'fLaC'],
  [0, 'ID3'],
  [0, '\x1aE\xdf\xa3'],
  [0, 'wOF2'],
  [4, 'ftyp'],
  [8, 'WEBP'],
];

const QUICK_SAMPLES = 64;
/** Of QUICK_SAMPLES random bytes, so few are below 0x80 with a chance of less than 1 in 10^6. */
const QUICK_HIGH_MAX = 12;
const SAMPLE_BYTES = 1024;
const SAMPLE_POINTS = 4;
/** Collisions of random bytes relative to chance; text has 10 and more. */
const RANDOM_BELOW = 1.35;
const LEAST_BYTES = 512;

const counts = new Uint32Array(256);

export interface Classified {
  contentClass: number;
  reason: number;
}

/** Classifies `length` bytes at `at`. `first`: they begin a file. Writes the answer to `into`. */
export function classify(
  view: Buffer,
  at: number,
  length: number,
  first: boolean,
  into: Classified,
): void {
  into.contentClass = CONTENT_CLASS.compressible;
  into.reason = REASON.none;
  if (length < LEAST_BYTES || looksLikeText(view, at, length)) return;
  if (first && hasMagic(view, at) && !isRepetitive(view, at, length)) {
    into.contentClass = CONTENT_CLASS.incompressible;
    into.reason = REASON.magic;
  } else if (collisionsOf(view, at, length) < RANDOM_BELOW) {
    into.contentClass = CONTENT_CLASS.incompressible;
    into.reason = REASON.statistics;
  }
}

function looksLikeText(view: Buffer, at: number, length: number): boolean {
  const stride = Math.floor(length / QUICK_SAMPLES);
  let high = 0;
  for (let i = 0, cursor = at; i < QUICK_SAMPLES; i++, cursor += stride)
    high += (view[cursor] ?? 0) >>> 7;
  return high <= QUICK_HIGH_MAX;
}

function hasMagic(view: Buffer, at: number): boolean {
  return MAGIC.some(([offset, bytes]) => {
    for (let i = 0; i < bytes.length; i++) {
      if (view[at + offset + i] !== bytes.charCodeAt(i)) return false;
    }
    return true;
  });
}

/** A file with the right first bytes whose rest is plainly not compressed (a stored zip, say). */
function isRepetitive(view: Buffer, at: number, length: number): boolean {
  return collisionsOf(view, at, length) > 2 * RANDOM_BELOW;
}

/** How often two bytes of the samples agree, relative to random bytes. */
function collisionsOf(view: Buffer, at: number, length: number): number {
  counts.fill(0);
  const sample = Math.min(SAMPLE_BYTES, Math.floor(length / SAMPLE_POINTS));
  let total = 0;
  for (let point = 0; point < SAMPLE_POINTS; point++) {
    const start = at + Math.floor(((length - sample) * point) / (SAMPLE_POINTS - 1));
    for (let i = start; i < start + sample; i++) {
      const byte = view[i] ?? 0;
      counts[byte] = (counts[byte] ?? 0) + 1;
    }
    total += sample;
  }
  let pairs = 0;
  for (let i = 0; i < 256; i++) {
    const n = counts[i] ?? 0;
    pairs += n * (n - 1);
  }
  return (pairs * 256) / (total * (total - 1));
}
