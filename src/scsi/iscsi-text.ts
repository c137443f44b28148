/**
 * The text of login and text PDUs (RFC 7143, 6.1): `key=value` pairs, each ended by a zero byte.
 *
 * Contract: keys have at most 63 characters of their own alphabet, values at most 255 (the long ones, 8192)
 * of printable text; all of an answer is bounded before it is collected. Nothing else is taken.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

/** In the order in which they came; a key may come several times (SendTargets). */
export type TextPairs = readonly (readonly [key: string, value: string])[];

const KEY = /^[A-Z][A-Za-z0-9.+@_-]{0,62}$/;
/** Of values of this program: what is secret or foreign is hexadecimal, addresses and names are plain. */
const VALUE = /^[\x20-\x7e\x80-\xff]*$/;

export function encodeText(pairs: TextPairs): Buffer {
  for (const [key, value] of pairs) {
    assert(KEY.test(key) && VALUE.test(value), `a key and its value: ${key}`);
  }
  return Buffer.from(pairs.map(([key, value]) => `${key}=${value}\0`).join(''), 'latin1');
}

/** @throws PenstockError DEVICE_PROTOCOL where it is anything else */
export function decodeText(bytes: Buffer): TextPairs {
  if (bytes.length > LIMITS.iscsiTextBytesMax) refuse('text that is too long');
  if (bytes.length === 0) return [];
  const text = bytes.toString('latin1');
  // Some targets leave out the last zero, others pad with more of them.
  const lines = text.replace(/\0+$/, '').split('\0');
  return lines.map((line) => {
    const at = line.indexOf('=');
    const key = line.slice(0, at);
    const value = line.slice(at + 1);
    if (at < 0 || !KEY.test(key)) refuse('text that is not made of keys and values');
    if (value.length > LIMITS.iscsiValueBytesMax || !VALUE.test(value)) {
      refuse(`a value of ${key} that is too long or no text`);
    }
    return [key, value] as const;
  });
}

function refuse(what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `the target sent ${what}`);
}
