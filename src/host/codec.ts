/**
 * The port `Codec`: compressing, sealing, checking and naming the bytes of blocks, in place or from
 * one piece of memory into another.
 *
 * Contract, for every implementation:
 * - One instance serves one thread and is used again and again; no call allocates memory that grows
 *   with the data.
 * - Views may lie on shared memory. Source and target may be parts of the same memory as long as
 *   they do not overlap; `seal` and `open` work in place. Nothing is written outside the given
 *   ranges.
 * - Damaged or hostile input is a result (-1, false), never a throw. A range that does not lie
 *   within its view, or a key of another length, is a programmer's mistake and asserts.
 * - Each implementation reads what the others write; compressed bytes need not be equal.
 *
 * Compressed bytes are one zstd frame with the content's size and no checksum (the seal is
 * stronger). Sealing is AES-256-GCM with a nonce of twelve zero bytes: A KEY MUST SEAL ONE THING
 * ONLY.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { NodeCodec } from './codec-node.ts';
import { passesSelfTest } from './codec-self-test.ts';
import { NativeCodec } from './native/codec-native.ts';
import { openKeyedHash } from './native/hash.ts';

export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const DIGEST_BYTES = 32;

export interface KeyedHash {
  /** Puts the keyed BLAKE3 (32 bytes) of the range at `targetOffset`. */
  digestInto(
    view: Uint8Array,
    offset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
  ): void;
}

export interface Codec {
  readonly kind: 'native' | 'node';
  readonly hash: KeyedHash;
  /**
   * Returns the compressed length, or -1 when it does not fit into `targetCapacity` (the target is
   * undefined then). Capacity for bytes that do not shrink is not needed: -1 says to store them as
   * they are.
   *
   * @param level zstd's, 1 to 19
   */
  compress(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    target: Uint8Array,
    targetOffset: number,
    targetCapacity: number,
    level: number,
  ): number;
  /**
   * The source must be exactly one frame. Returns the content's length, or -1 on any damage or if
   * it does not fit (the target is undefined then).
   */
  decompress(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    target: Uint8Array,
    targetOffset: number,
    targetCapacity: number,
  ): number;
  /** Encrypts in place and puts the 16 bytes of the tag at the beginning of `tag`. */
  seal(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): void;
  /** Decrypts in place; on false the range has been wiped with zeros. */
  open(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): boolean;
  /** CRC-32C of the range; `seed` is the CRC of what came before it. */
  crc32c(view: Uint8Array, offset: number, length: number, seed?: number): number;
  /** Gives the memory of the native contexts back; the codec must not be used after it. */
  close(): void;
}

/**
 * The codec of this thread's work with one repository. Native where the running Node offers what it
 * needs and a test with known answers passes, else by Node's own modules, which are slower;
 * PENSTOCK_CODEC=node asks for the latter.
 *
 * @param hashKey 32 bytes, copied
 * @throws PenstockError NOT_SUPPORTED where hashing is not to be had on this platform
 */
export function openCodec(hashKey: Uint8Array): Codec {
  assert(hashKey.length === KEY_BYTES, 'a hash key has 32 bytes');
  const hash = openKeyedHash(hashKey);
  if (process.env.PENSTOCK_CODEC !== 'node') {
    const codec = tryNative(hash);
    if (codec !== undefined) return codec;
  }
  const codec = new NodeCodec(hash);
  if (passesSelfTest(codec)) return codec;
  throw new PenstockError(
    'NOT_SUPPORTED',
    'compression and encryption do not give the answers that they must on this machine',
    { hint: 'use a Node.js of version 24.15 or newer from nodejs.org' },
  );
}

/** That it does not work is found out once a thread. */
let nativeFails = false;

function tryNative(hash: KeyedHash): Codec | undefined {
  if (nativeFails) return undefined;
  let codec: Codec | undefined;
  try {
    codec = NativeCodec.create(hash);
    if (codec !== undefined && passesSelfTest(codec)) return codec;
  } catch {
    // A symbol, or the package itself, is not there; Node's own modules do.
  }
  codec?.close();
  nativeFails = true;
  return undefined;
}
