/**
 * Goal: keys of a repository where storage fails or ids meet. What users see of keys is tested by
 * whole commands in test/system/keys.test.ts. Method: a directory store whose calls are counted.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import type { ObjectStore } from '../format/object-store.ts';
import { openClock, openRandom, type Random } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { addKey, changePassphrase, listKeys, removeKey, rotateKeys } from './keys.ts';
import { createRepository, openRepository, type Repository } from './repository.ts';

const NOTE = { label: '', madeBy: 'me@here' };
const FIRST = Buffer.from('first');
const SECOND = Buffer.from('second');

/** Random, but for the first byte of ids of keys. */
const sameBeginning: Random = {
  bytes: (count) => {
    const bytes = openRandom().bytes(count);
    if (count === 8) bytes[0] = 0xab;
    return bytes;
  },
  fill: (view) => openRandom().fill(view),
};

/** A store whose n-th change of objects from `arm` on fails, and all after it. */
class FailingStore {
  left = Number.POSITIVE_INFINITY;
  readonly store: ObjectStore;

  constructor(store: ObjectStore) {
    const count = (): void => {
      if (--this.left < 0) throw new PenstockError('REPO_IO', 'the cable is out');
    };
    this.store = new Proxy(store, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (name === 'put' || name === 'remove') count();
          return Reflect.apply(value, target, args) as unknown;
        };
      },
    });
  }
}

async function withTwoKeys(
  context: TestContext,
): Promise<{ failing: FailingStore; open: (passphrase: Buffer) => Promise<Repository> }> {
  const directory = mkdtempSync(join(tmpdir(), 'penstock-keys-'));
  const failing = new FailingStore(openDirectoryStore(directory, true));
  context.after(async () => {
    await failing.store.close();
    rmSync(directory, { recursive: true });
  });
  const around = { clock: openClock(), random: sameBeginning };
  const made = await createRepository(failing.store, FIRST, around, NOTE);
  await addKey(made, SECOND, { label: 'two', madeBy: '' });
  const open = (passphrase: Buffer): Promise<Repository> =>
    openRepository(failing.store, async () => Buffer.from(passphrase), around);
  return { failing, open };
}

const isKeyUnknown = { code: 'KEY_UNKNOWN' };

test('an ambiguous or empty beginning of an id removes nothing', async (context) => {
  const { open } = await withTwoKeys(context);
  const repository = await open(FIRST);
  await assert.rejects(removeKey(repository, 'ab'), {
    ...isKeyUnknown,
    message: '2 keys have an id that begins with ab',
  });
  await assert.rejects(removeKey(repository, ''), isKeyUnknown);
  await assert.rejects(removeKey(repository, 'cd'), isKeyUnknown);
  const { keys } = await listKeys(repository);
  assert.deepEqual(keys.map(({ label }) => label).sort(), ['', 'two']);
  const second = keys.find(({ label }) => label === 'two');
  assert.equal(
    await removeKey(repository, second?.slot.slot.toUpperCase() ?? ''),
    second?.slot.slot,
  );
  await assert.rejects(open(SECOND), { code: 'PASSPHRASE_WRONG' });
});

test('a rotation that fails at any call is completed by running it again', async (context) => {
  const { failing, open } = await withTwoKeys(context);
  let generation = 1;
  for (let calls = 0; ; calls++) {
    failing.left = calls;
    const failed = await rotateKeys(await open(FIRST)).then(
      () => false,
      (error: PenstockError) => error.code === 'REPO_IO',
    );
    failing.left = Number.POSITIVE_INFINITY;
    // Both passphrases open it at every moment.
    const numbers = [(await open(FIRST)).keyring.newest.number];
    numbers.push((await open(SECOND)).keyring.newest.number);
    if (numbers[0] !== numbers[1]) {
      await assert.rejects(rotateKeys(await open(SECOND)), isKeyUnknown);
      assert.equal((await rotateKeys(await open(FIRST))).keyring.newest.number, numbers[0]);
    }
    const [first, second] = [await open(FIRST), await open(SECOND)];
    assert.deepEqual(second.keyring.secrets, first.keyring.secrets);
    assert(first.keyring.newest.number >= generation);
    generation = first.keyring.newest.number;
    if (!failed) {
      assert(calls >= 4, `only ${calls} calls`);
      break;
    }
  }
  const { keys, foreign, damaged } = await listKeys(await open(SECOND));
  assert.deepEqual(keys.map(({ label }) => label).sort(), ['', 'two']);
  assert.deepEqual([foreign, damaged], [[], []]);
});

test('a change of passphrase that fails at any call leaves the old one or the new one', async (context) => {
  const { failing, open } = await withTwoKeys(context);
  const next = Buffer.from('next');
  for (let calls = 0; ; calls++) {
    failing.left = calls;
    const failed = await changePassphrase(await open(SECOND), next, '').then(
      () => false,
      () => true,
    );
    failing.left = Number.POSITIVE_INFINITY;
    const opened = await Promise.allSettled([open(SECOND), open(next)]);
    assert(opened.some(({ status }) => status === 'fulfilled'));
    if (!failed) {
      assert(calls >= 2, `only ${calls} calls`);
      assert.equal(opened[0].status, 'rejected');
      break;
    }
  }
});
