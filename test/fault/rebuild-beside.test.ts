/**
 * Situation: while a `catalog rebuild` is at work, somebody forgets an archive and prunes, between any two
 * of its operations on the store.
 * Goal: the archive does not come back, nothing is told of it, and nothing else is harmed.
 * Method: at the n-th operation, for every n, the other's work is done as a whole.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { listArchives } from '../../src/mover/archives.ts';
import { forget } from '../../src/mover/forget.ts';
import { Repository } from '../../src/mover/repository.ts';
import { openSession } from '../../src/mover/session.ts';
import { pruneNow } from '../system/prune-fixture.ts';
import {
  backUp,
  checkAll,
  findings,
  make,
  makeTree,
  open,
  rebuildAll,
  Scratch,
} from './repository-fixture.ts';

const scratch = new Scratch();
after(() => scratch.drop());

/** The store, whose n-th operation waits for `other`. */
function interruptedStore(store: ObjectStore, n: number, other: () => Promise<void>): ObjectStore {
  let left = n;
  return new Proxy(store, {
    get: (target, property: keyof ObjectStore) => {
      const member = target[property];
      if (typeof member !== 'function') return member;
      return async (...args: unknown[]): Promise<unknown> => {
        if (--left === 0) await other();
        return (member as (...given: unknown[]) => Promise<unknown>).apply(target, args);
      };
    },
  });
}

async function forgetOne(path: string, id: string): Promise<void> {
  const other = await open(path);
  await forget(other, { ids: [id], rules: {}, timeZone: 'UTC', dryRun: false });
  await other.close();
}
async function pruneOnce(path: string): Promise<void> {
  const other = await open(path);
  await pruneNow(other, { graceMs: 0 });
  await other.close();
}

test('a rebuild with a forget and prunes between any two of its operations', async () => {
  makeTree(scratch.at('first'), {});
  makeTree(scratch.at('second'), {});
  writeFileSync(scratch.at('first/own'), 'what only the first archive needs');
  const whole = await make(scratch.at('whole'), false);
  const gone = await backUp(whole, scratch.at('first'));
  const kept = await backUp(whole, scratch.at('second'));
  await whole.close();
  // What a prune condemns a later one deletes, unless a session that is older may need it.
  const others: readonly [(path: string) => Promise<void>, (path: string) => Promise<void>][] = [
    [
      async () => undefined,
      async (path) => {
        await forgetOne(path, gone.id);
        await pruneOnce(path);
        await pruneOnce(path);
      },
    ],
    [
      async (path) => {
        const repository = await open(path);
        const session = await openSession(repository, 'backup');
        await forgetOne(path, gone.id);
        await pruneOnce(path);
        await session.end();
        await repository.close();
      },
      async (path) => {
        for (let i = 0; i < 3; i++) await pruneOnce(path);
      },
    ],
  ];
  for (const [before, meanwhile] of others) {
    for (let n = 1; ; n++) {
      const path = scratch.copy('whole', 'beside');
      await before(path);
      const repository = await open(path);
      let happened = false;
      const store = interruptedStore(repository.store, n, async () => {
        happened = true;
        await meanwhile(path);
      });
      const { settings, keyring, slot, around } = repository;
      const watched = new Repository(store, settings, keyring, slot, around);
      const { archivesMade, problems } = await rebuildAll(watched);
      assert.deepEqual([archivesMade, problems], [[], []], `at operation ${n}`);
      const { archives, damaged } = await listArchives(repository);
      assert.deepEqual(damaged, []);
      const left = archives.map(({ id }) => id);
      if (happened || left.length === 1) assert.deepEqual(left, [kept.id], `at operation ${n}`);
      assert.equal(findings(await checkAll(repository)), '', `at operation ${n}`);
      await repository.close();
      if (!happened) break;
    }
  }
});
