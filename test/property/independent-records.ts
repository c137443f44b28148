/**
 * Records, keys and primitives of a repository, written from docs/format.md (2, 4, 5) and sharing no
 * code with src/: what independent-reader.ts stands on.
 */
import assert from 'node:assert/strict';
import {
  argon2Sync,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
} from 'node:crypto';
import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);
const { Blake3Hasher } = load('@napi-rs/blake-hash') as {
  Blake3Hasher: {
    newKeyed(key: Buffer): { update(bytes: Buffer): void; digestBuffer(): Buffer };
  };
};
export const { crc32c } = load('@node-rs/crc32') as { crc32c(bytes: Buffer): number };

export type Json = { readonly [field: string]: unknown };
export const json = (bytes: Buffer): Json => JSON.parse(bytes.toString('utf8')) as Json;
export const decode = (text: unknown): Buffer => Buffer.from(text as string, 'base64');

export function hkdf(secret: Buffer, salt: Buffer, info: string, length = 32): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, info, length));
}

export function keyedHash(key: Buffer, bytes: Buffer): Buffer {
  const hasher = Blake3Hasher.newKeyed(key);
  hasher.update(bytes);
  return hasher.digestBuffer();
}

export function decrypt(
  key: Buffer,
  nonce: Buffer,
  associated: Buffer,
  bytes: Buffer,
  tag: Buffer,
): Buffer {
  const cipher = createDecipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(associated);
  cipher.setAuthTag(tag);
  return Buffer.concat([cipher.update(bytes), cipher.final()]);
}

/** (5.1) Checks a record as far as that needs no key. */
export function clearPart(record: Buffer, kind: number): Json {
  assert.equal(record.toString('latin1', 0, 8), 'PENSTOCK');
  assert.equal(crc32c(record.subarray(0, 124)), record.readUInt32LE(124));
  assert.equal(record.readUInt32LE(20), 0);
  assert.deepEqual([record[8], record[9]], [kind, 1]);
  const [clear, sealed] = [record.readUInt32LE(24), record.readUInt32LE(28)];
  assert.equal(128 + clear + sealed, record.length);
  assert.equal(crc32c(record.subarray(128)), record.readUInt32LE(100));
  return json(record.subarray(128, 128 + clear));
}

/** (4.2) Throws where the passphrase is not that of the slot. */
export function openSlot(slot: Json, passphrase: Buffer): Json {
  const { memoryKiB, passes, lanes } = slot.argon2 as Record<string, number>;
  const wrappingKey = argon2Sync('argon2id', {
    message: passphrase,
    nonce: decode(slot.salt),
    memory: memoryKiB ?? 0,
    passes: passes ?? 0,
    parallelism: lanes ?? 0,
    tagLength: 32,
  });
  const id = Buffer.from(String(slot.slot), 'hex');
  const wrapped = decode(slot.wrappedPrivate);
  const privateBytes = decrypt(
    wrappingKey,
    decode(slot.wrapNonce),
    id,
    wrapped.subarray(0, 32),
    wrapped.subarray(32),
  );
  const [x, ephemeral] = [decode(slot.publicKey), decode(slot.ephemeralPublic)];
  const jwk = { kty: 'OKP', crv: 'X25519' };
  const url = (bytes: Buffer): string => bytes.toString('base64url');
  const privateKey = { ...jwk, d: url(privateBytes), x: url(x) };
  const shared = diffieHellman({
    privateKey: createPrivateKey({ format: 'jwk', key: privateKey }),
    publicKey: createPublicKey({ format: 'jwk', key: { ...jwk, x: url(ephemeral) } }),
  });
  const revision = Buffer.alloc(4);
  revision.writeUInt32LE(Number(slot.revision));
  const sealed = decode(slot.sealedKeyring);
  return json(
    decrypt(
      hkdf(shared, Buffer.concat([ephemeral, x]), 'penstock keyring'),
      Buffer.alloc(12),
      Buffer.concat([id, revision]),
      sealed.subarray(0, -16),
      sealed.subarray(-16),
    ),
  );
}
