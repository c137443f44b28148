/**
 * Goal: a repository is made once, whole, and by one: whoever else makes it at the same time, and
 * wherever the making is cut short, it opens with the passphrase afterwards and has one key (U1, U3).
 * Method: before the n-th operation of a making, for every n, somebody else makes the repository and
 * stores an archive in it; and the n-th operation fails, once before it is done and once after.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PenstockError } from '../../src/base/errors.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { openClock, openRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { listArchives } from '../../src/mover/archives.ts';
import { createRepository, type Repository } from '../../src/mover/repository.ts';
import {
  backUp,
  checkAll,
  contentsOf,
  findings,
  make,
  makeTree,
  open,
  PASSPHRASE,
  restoreAll,
  Scratch,
} from './repository-fixture.ts';

const scratch = new Scratch();
before(() => makeTree(scratch.at('source')));
after(() => scratch.drop());

type Hook = (when: 'before' | 'after') => Promise<void>;

/** A store with a hook before each operation and after it. */
function hooked(store: ObjectStore, hook: Hook): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      const value = Reflect.get(target, property, target) as unknown;
      if (typeof value !== 'function' || property === 'close') {
        return typeof value === 'function' ? () => target.close() : value;
      }
      return async (...parameters: unknown[]): Promise<unknown> => {
        await hook('before');
        const result = await (value as (...given: unknown[]) => Promise<unknown>).apply(
          target,
          parameters,
        );
        await hook('after');
        return result;
      };
    },
  });
}

/** Makes the repository through the hook; undefined where that failed with one of `codes`. */
async function makeHooked(
  path: string,
  hook: Hook,
  codes: readonly string[],
): Promise<Repository | undefined> {
  const store = hooked(openDirectoryStore(path, true), hook);
  const around = { clock: openClock(), random: openRandom() };
  try {
    return await createRepository(store, Buffer.from(PASSPHRASE), around);
  } catch (error) {
    await store.close();
    assert.ok(error instanceof PenstockError && codes.includes(error.code), String(error));
    return undefined;
  }
}

/** It opens, has one key and so many archives, and is whole. */
async function assertWhole(path: string, archives: number, what: string): Promise<void> {
  const repository = await open(path);
  try {
    assert.equal((await repository.store.list('keys')).length, 1, `${what}: one key`);
    const listed = (await listArchives(repository)).archives;
    assert.equal(listed.length, archives, what);
    for (const archive of listed) {
      const target = scratch.at(`target ${what}`);
      assert.deepEqual(await restoreAll(repository, archive, target), []);
      const source = scratch.at('source');
      assert.deepEqual(contentsOf(target + source), contentsOf(source));
    }
    assert.equal(findings(await checkAll(repository)), '', what);
  } finally {
    await repository.close();
  }
}

test('somebody else makes the repository, and stores into it, before any operation', async () => {
  let lost = 0;
  for (let n = 1; ; n++) {
    const path = scratch.at(`beside ${n}`);
    let count = 0;
    let isOther = false;
    const hook: Hook = async (when) => {
      if (when !== 'before' || ++count !== n) return;
      isOther = true;
      const other = await makeHooked(path, async () => {}, ['REPO_EXISTS']);
      if (other === undefined) return;
      await backUp(other, scratch.at('source'));
      await other.close();
    };
    const made = await makeHooked(path, hook, ['REPO_EXISTS']);
    await made?.close();
    if (!isOther) break;
    if (made === undefined) lost++;
    await assertWhole(path, made === undefined ? 1 : 0, `beside ${n}`);
  }
  assert.ok(lost >= 5, `${lost} makings came too late`);
});

for (const when of ['before', 'after'] as const) {
  test(`a making fails ${when} any operation: the next one makes or opens it`, async () => {
    let failures = 0;
    for (let n = 1; ; n++) {
      const path = scratch.at(`${when} ${n}`);
      let count = 0;
      let isFailed = false;
      const hook: Hook = async (now) => {
        if (now !== when || ++count !== n) return;
        isFailed = true;
        throw new PenstockError('REPO_FULL', 'the storage is full');
      };
      const made = await makeHooked(path, hook, ['REPO_FULL']);
      await made?.close();
      if (!isFailed) break;
      failures++;
      const again = await make(path, true).catch((error: PenstockError) => {
        assert.equal(error.code, 'REPO_EXISTS');
      });
      await again?.close();
      await assertWhole(path, 0, `${when} ${n}`);
    }
    assert.ok(failures >= 5, `${failures} operations failed`);
  });
}
