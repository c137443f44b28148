/**
 * Keys derived, and random bytes made, by the OpenSSL that the running Node is linked with (the same in 1.1 to 3).
 *
 * Contract: undefined where it does not offer them; a call that fails throws. What is given to a call is there until
 * it returns.
 */
import { assert } from '../../base/assert.ts';
import { type CFunction, declareAll, type Signatures } from './libc.ts';
import { assertDone } from './openssl.ts';

const INT = 'int';
const HANDLE = 'int64_t';
const POINTER = 'void *';

const SIGNATURES = {
  RAND_bytes: [INT, [POINTER, INT]],
  EVP_sha256: [HANDLE, []],
  EVP_PKEY_CTX_new_id: [HANDLE, [INT, POINTER]],
  EVP_PKEY_CTX_free: ['void', [HANDLE]],
  EVP_PKEY_derive_init: [INT, [HANDLE]],
  EVP_PKEY_CTX_set_hkdf_md: [INT, [HANDLE, HANDLE]],
  EVP_PKEY_CTX_set1_hkdf_salt: [INT, [HANDLE, POINTER, INT]],
  EVP_PKEY_CTX_set1_hkdf_key: [INT, [HANDLE, POINTER, INT]],
  EVP_PKEY_CTX_add1_hkdf_info: [INT, [HANDLE, POINTER, INT]],
  EVP_PKEY_derive: [INT, [HANDLE, POINTER, POINTER]],
} as const satisfies Signatures;

/** OpenSSL's number of the method HKDF. */
const HKDF = 1036;

/** HKDF-SHA256 and random bytes, as key-material.ts has them. */
export interface OpensslKeys {
  hkdf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, target: Uint8Array): void;
  fill(view: Uint8Array): void;
}

export function openOpensslKeys(): OpensslKeys | undefined {
  const c = declareAll(SIGNATURES);
  if (c === undefined) return undefined;
  return {
    hkdf: (secret, salt, info, target) => derive(c, secret, salt, info, target),
    fill: (view) => assertDone(c.RAND_bytes(view, view.length)),
  };
}

function derive(
  c: Readonly<Record<keyof typeof SIGNATURES, CFunction>>,
  secret: Uint8Array,
  salt: Uint8Array,
  info: Uint8Array,
  target: Uint8Array,
): void {
  const context = c.EVP_PKEY_CTX_new_id(HKDF, null);
  assert(context !== 0, 'OpenSSL has HKDF');
  try {
    assertDone(c.EVP_PKEY_derive_init(context));
    assertDone(c.EVP_PKEY_CTX_set_hkdf_md(context, c.EVP_sha256()));
    // An empty one is what it has without being told, and it does not take it.
    if (salt.length > 0) assertDone(c.EVP_PKEY_CTX_set1_hkdf_salt(context, salt, salt.length));
    assertDone(c.EVP_PKEY_CTX_set1_hkdf_key(context, secret, secret.length));
    assertDone(c.EVP_PKEY_CTX_add1_hkdf_info(context, info, info.length));
    const length = new BigUint64Array([BigInt(target.length)]);
    assertDone(c.EVP_PKEY_derive(context, target, new Uint8Array(length.buffer)));
    assert(length[0] === BigInt(target.length), 'a key has the length that was asked for');
  } finally {
    c.EVP_PKEY_CTX_free(context);
  }
}
