/**
 * The port `KeyMaterial`: random bytes of the system's generator, and HKDF-SHA256 (RFC 5869).
 *
 * Contract: both are OpenSSL's, either way. Called natively where that works and gives a known answer, for node:crypto
 * takes each thread that loads it 6 ms and half a megabyte; PENSTOCK_CODEC=node asks for that. Views may lie on
 * shared memory.
 */
import { assert } from '../base/assert.ts';
import { type OpensslKeys, openOpensslKeys } from './native/openssl-keys.ts';

export interface KeyMaterial extends OpensslKeys {
  readonly kind: 'native' | 'node';
}

let material: KeyMaterial | undefined;

/** What this thread uses. */
export function openKeyMaterial(): KeyMaterial {
  material ??= tryNative() ?? nodeKeyMaterial();
  return material;
}

/**
 * HKDF-SHA256 of `secret` with a salt, which may be empty, and what the key is for.
 *
 * @param secret not empty
 * @param bytes how many are wanted, at most 8160
 */
export function hkdfSha256(
  secret: Uint8Array,
  salt: Uint8Array,
  info: string | Uint8Array,
  bytes: number,
): Buffer {
  assert(secret.length > 0, 'there is a secret');
  const key = Buffer.alloc(bytes);
  openKeyMaterial().hkdf(secret, salt, typeof info === 'string' ? Buffer.from(info) : info, key);
  return key;
}

/** By Node's own module. */
export function nodeKeyMaterial(): KeyMaterial {
  const crypto = process.getBuiltinModule('node:crypto');
  return {
    kind: 'node',
    hkdf: (secret, salt, info, target) =>
      target.set(new Uint8Array(crypto.hkdfSync('sha256', secret, salt, info, target.length))),
    fill: (view) => {
      crypto.randomFillSync(view as Uint8Array<ArrayBuffer>);
    },
  };
}

/** RFC 5869, appendix A, test case 1. */
const SECRET = Buffer.alloc(22, 0x0b);
const SALT = Buffer.from('000102030405060708090a0b0c', 'hex');
const INFO = Buffer.from('f0f1f2f3f4f5f6f7f8f9', 'hex');
const KEY = '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865';

function tryNative(): KeyMaterial | undefined {
  if (process.env.PENSTOCK_CODEC === 'node') return undefined;
  try {
    const keys = openOpensslKeys();
    if (keys === undefined) return undefined;
    const key = Buffer.alloc(KEY.length / 2);
    keys.hkdf(SECRET, SALT, INFO, key);
    return key.toString('hex') === KEY ? { kind: 'native', ...keys } : undefined;
  } catch {
    // A symbol, or the package that calls it, is not there.
    return undefined;
  }
}
