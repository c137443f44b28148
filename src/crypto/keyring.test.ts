/**
 * Goal: keys are derived as the format says, and a stored keyring is read whole or refused.
 */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import {
  decodeKeyring,
  deriveKey,
  encodeKeyring,
  fromKeyringRecord,
  Keyring,
  type KeyringSecrets,
  toKeyringRecord,
} from './keyring.ts';

const secret = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const secrets: fc.Arbitrary<KeyringSecrets> = fc
  .record({
    root: secret,
    seeds: fc.array(fc.record({ seed: secret, createdMs: fc.maxSafeNat() }), {
      minLength: 1,
      maxLength: 4,
    }),
  })
  .map(({ root, seeds }) => ({
    root,
    generations: seeds.map((one, i) => ({ number: i + 1, ...one })),
  }));

/** HKDF-SHA256 (RFC 5869) for one block of output, by its definition. */
function hkdf(secretBytes: Buffer, info: string): Buffer {
  const key = createHmac('sha256', Buffer.alloc(0)).update(secretBytes).digest();
  return createHmac('sha256', key)
    .update(info)
    .update(Buffer.from([1]))
    .digest();
}

test('keys are HKDF-SHA256 of the secret, without salt, by purpose', () => {
  fc.assert(
    fc.property(secrets, (given) => {
      const keyring = new Keyring(given, true);
      assert.deepEqual(keyring.nameKey, hkdf(given.root, 'penstock blob names'));
      assert.deepEqual(keyring.cutKey, hkdf(given.root, 'penstock cutting'));
      assert.deepEqual(keyring.indexKey, hkdf(given.root, 'penstock index'));
      assert.deepEqual(keyring.pseudonymKey, hkdf(given.root, 'penstock pseudonyms'));
      for (const { number, seed } of given.generations) {
        assert.deepEqual(keyring.blockKey(number), hkdf(seed, 'penstock blocks'));
        assert.deepEqual(keyring.recordKey(number), hkdf(seed, 'penstock records'));
      }
      assert.equal(keyring.newest.number, given.generations.length);
      assert.throws(
        () => keyring.blockKey(99),
        (error: PenstockError) => error.code === 'KEY_UNKNOWN',
      );
      assert.deepEqual(deriveKey(given.root, 'blob names'), keyring.nameKey);
    }),
    { numRuns: 20 },
  );
});

test('a keyring is the same after storing it, and in another thread', () => {
  fc.assert(
    fc.property(secrets, fc.boolean(), (given, encrypted) => {
      assert.deepEqual(decodeKeyring(encodeKeyring(given), 'it'), given);
      const moved = fromKeyringRecord(
        structuredClone(toKeyringRecord(new Keyring(given, encrypted))),
      );
      assert.equal(moved.encrypted, encrypted);
      assert.deepEqual(moved.secrets, given);
    }),
  );
});

test('what is no keyring is refused as damaged, whatever it is', () => {
  const refused = (text: string): void =>
    assert.throws(
      () => decodeKeyring(Buffer.from(text), 'it'),
      (error: PenstockError) => error instanceof PenstockError && error.code === 'DAMAGED',
      text,
    );
  const seed = Buffer.alloc(32).toString('base64');
  const fine = { root: seed, generations: [{ number: 1, seed, createdMs: 1 }] };
  decodeKeyring(Buffer.from(JSON.stringify(fine)), 'it');
  for (const wrong of [
    null,
    5,
    'text',
    [],
    {},
    { ...fine, root: 'AA==' },
    { ...fine, generations: [] },
    { ...fine, generations: [null] },
    { ...fine, generations: [{ number: 1.5, seed }] },
    { ...fine, generations: [{ number: 1, seed: 'AA==' }] },
    { ...fine, generations: 'x' },
  ]) {
    refused(JSON.stringify(wrong));
  }
  fc.assert(fc.property(fc.json(), (text) => refused(text)));
  fc.assert(fc.property(fc.string(), (text) => refused(text)));
});
