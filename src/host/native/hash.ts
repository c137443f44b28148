/**
 * BLAKE3 and CRC-32C, from packages that carry their binaries.
 *
 * Contract: loaded at first use. One hasher per thread and key, reset after each digest: to make a
 * new one costs more than to hash a small file.
 */
import { assert } from '../../base/assert.ts';
import { PenstockError } from '../../base/errors.ts';
import type { KeyedHash } from '../codec.ts';
import { rangeOf } from '../codec-ranges.ts';
import { loadNative } from './package.ts';

interface Hasher {
  update(input: Uint8Array): unknown;
  digest(format: 'hex'): string;
  reset(): void;
}

interface BlakeModule {
  Blake3Hasher: { newKeyed(key: Buffer): Hasher };
}

interface CrcModule {
  crc32c(input: Uint8Array, seed?: number): number;
}

let crc: CrcModule | undefined;

/** The keyed BLAKE3 of one key; `key` (32 bytes) is copied. */
export function openKeyedHash(key: Uint8Array): KeyedHash {
  assert(key.length === 32, 'a hash key has 32 bytes');
  const { Blake3Hasher } = load('@napi-rs/blake-hash') as BlakeModule;
  return new ResetHash(Blake3Hasher.newKeyed(Buffer.from(key)));
}

class ResetHash implements KeyedHash {
  readonly #hasher: Hasher;

  constructor(hasher: Hasher) {
    this.#hasher = hasher;
  }

  digestInto(
    view: Uint8Array,
    offset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
  ): void {
    assert(targetOffset >= 0 && targetOffset + 32 <= target.length, 'a digest fits its target');
    const hasher = this.#hasher;
    hasher.reset();
    hasher.update(rangeOf(view, offset, length));
    // As text: the memory of the package's buffers is given back only by the event loop, to which a
    // thread of a pipe does not come back, and text is quicker too.
    toBuffer(target).write(hasher.digest('hex'), targetOffset, 'hex');
  }
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function crc32cOf(bytes: Uint8Array, seed: number): number {
  crc ??= load('@node-rs/crc32') as CrcModule;
  return crc.crc32c(bytes, seed);
}

/** CRC-32C as the functions of format/ take it. */
export function crcOf(view: Uint8Array, offset: number, length: number, seed = 0): number {
  return crc32cOf(rangeOf(view, offset, length), seed);
}

function load(name: '@napi-rs/blake-hash' | '@node-rs/crc32'): unknown {
  try {
    return loadNative(name);
  } catch (thrown) {
    throw new PenstockError('NOT_SUPPORTED', `${name} has no binary for this platform`, {
      cause: thrown,
      hint: 'install the packages again with their optional dependencies',
    });
  }
}
