/**
 * Goal: a slot opens with its passphrase alone; what is changed in it never opens as something else.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { openRandom, seededRandom } from '../host/mod.ts';
import { createKeySlot, type KeySlot, openKeySlot, sealKeyring } from './key-slot.ts';
import type { KeyringSecrets } from './keyring.ts';

/** The least that Argon2id takes: this is not about its strength. */
const LIGHT = { memoryKiB: 8, passes: 1, lanes: 1 };
const random = seededRandom(11);
const SECRETS: KeyringSecrets = {
  root: random.bytes(32),
  generations: [{ number: 1, seed: random.bytes(32), createdMs: 5 }],
};
const WIDER: KeyringSecrets = {
  root: SECRETS.root,
  generations: [...SECRETS.generations, { number: 2, seed: random.bytes(32), createdMs: 6 }],
};
const PASSPHRASE = Buffer.from('a passphrase');

const make = (): Promise<KeySlot> => createKeySlot(PASSPHRASE, SECRETS, 1, openRandom(), LIGHT);

test('a slot opens with its passphrase, and with no other', async () => {
  const slot = await make();
  assert.deepEqual(await openKeySlot(slot, PASSPHRASE), SECRETS);
  for (const wrong of ['', 'a passphras', 'a passphrase ', 'A passphrase', 'x'.repeat(4096)]) {
    assert.equal(await openKeySlot(slot, Buffer.from(wrong)), undefined, wrong);
  }
  assert.deepEqual(slot.generations, [1]);
});

test('a keyring is widened without the passphrase, which stays the same', async () => {
  const slot = await make();
  const next = sealKeyring(slot, WIDER);
  assert.equal(next.revision, slot.revision + 1);
  assert.deepEqual(next.generations, [1, 2]);
  assert.deepEqual(await openKeySlot(next, PASSPHRASE), WIDER);
  assert.notEqual(next.ephemeralPublic, slot.ephemeralPublic);
});

test('nothing in a slot is readable, and no two slots are alike', async () => {
  const [one, other] = [await make(), await make()];
  for (const slot of [one, other]) {
    const text = JSON.stringify(slot);
    for (const part of [SECRETS.root, ...SECRETS.generations.map(({ seed }) => seed), PASSPHRASE]) {
      for (const encoding of ['base64', 'hex', 'latin1'] as const)
        assert.ok(!text.includes(part.toString(encoding)));
    }
  }
  for (const field of [
    'slot',
    'salt',
    'publicKey',
    'wrapNonce',
    'wrappedPrivate',
    'ephemeralPublic',
    'sealedKeyring',
  ] as const) {
    assert.notEqual(one[field], other[field], field);
  }
});

test('a changed slot never opens', async () => {
  const slot = await make();
  const later = sealKeyring(slot, WIDER);
  const fields = [
    'salt',
    'publicKey',
    'wrapNonce',
    'wrappedPrivate',
    'ephemeralPublic',
    'sealedKeyring',
  ] as const;
  for (const field of fields) {
    const bytes = Buffer.from(slot[field], 'base64');
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      await opensNot({ ...slot, [field]: changed.toString('base64') }, `${field} byte ${at}`);
    }
    await opensNot({ ...slot, [field]: '' }, `${field} empty`);
    await opensNot({ ...slot, [field]: bytes.subarray(1).toString('base64') }, `${field} cut`);
  }
  await opensNot(
    { ...slot, revision: slot.revision + 1 },
    'an earlier keyring as a later revision',
  );
  await opensNot(
    { ...later, sealedKeyring: slot.sealedKeyring },
    'an earlier keyring in a later slot',
  );
  await opensNot({ ...slot, slot: '0'.repeat(16) }, 'under the name of another');
});

/** It stays shut, or is told damaged; anything else fails. */
async function opensNot(slot: KeySlot, situation: string): Promise<void> {
  try {
    assert.equal(await openKeySlot(slot, PASSPHRASE), undefined, situation);
  } catch (error) {
    assert.ok(
      error instanceof PenstockError && error.code === 'DAMAGED',
      `${situation}: ${String(error)}`,
    );
  }
}

test('a slot that asks for impossible work is refused before any work', async () => {
  const slot = await make();
  for (const argon2 of [
    { ...LIGHT, memoryKiB: 2 ** 31 },
    { ...LIGHT, passes: 1000 },
    { ...LIGHT, lanes: 0 },
    { ...LIGHT, memoryKiB: 8.5 },
    { ...LIGHT, memoryKiB: Number.NaN },
    { ...LIGHT, memoryKiB: 8, lanes: 64 },
  ]) {
    await assert.rejects(
      openKeySlot({ ...slot, argon2 }, PASSPHRASE),
      (error: PenstockError) => error.code === 'DAMAGED',
      JSON.stringify(argon2),
    );
  }
});
