/**
 * Situation: what notes damage, or takes damaged copies away, is cut off at any change of the store.
 * Goal: archives come back as before, and the same once more brings all to its end.
 * Method: the n-th change of the store fails, for each n, once before and once after it was made; all
 * archives are read back then, and a check and a prune that are not disturbed must leave nothing damaged.
 */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { PenstockError } from '../../src/base/errors.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { type CheckResult, check } from '../../src/mover/check.ts';
import { readDamageNotes } from '../../src/mover/damage-notes.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import type { Repository } from '../../src/mover/repository.ts';
import { blobsOf } from '../spoil.ts';
import { numbered, openSmall, pruneNow, Scene } from '../system/prune-fixture.ts';

const CHANGES: ReadonlySet<string> = new Set(['put', 'remove', 'publish']);

let scene: Scene;
before(async () => {
  scene = await Scene.make();
  scene.write(numbered('f', 0, 12), 30_000);
  const first = await scene.backup();
  const { repository } = scene;
  const path = join(scene.source, 'f4').slice(1);
  const { names } = await blobsOf(repository, first, path);
  const reader = await openArchiveReader(repository);
  assert.ok(reader.index.find(must(names[0], 'a blob'), 0));
  const { chunk, blockOffset, blockBytes } = reader.index;
  const id = must(reader.chunkIds[chunk], 'a chunk');
  await reader.close();
  const file = join(scene.repositoryPath, 'chunks', id.slice(0, 2), id);
  const bytes = readFileSync(file);
  const at = blockOffset + (blockBytes >> 1);
  bytes[at] = (bytes[at] ?? 0) ^ 2;
  writeFileSync(file, bytes);
});
after(() => scene.close());

async function checked(repository: Repository): Promise<CheckResult> {
  const signal = new AbortController().signal;
  const request = { readData: true, threads: 1, signal, onProgress: () => {} };
  const result = await check(repository, request);
  return { ...result, damages: result.damages.filter(({ what }) => what !== 'repository record') };
}

/** The n-th change fails, before or after it was made; so does every one behind it. */
function cutAt(
  store: ObjectStore,
  n: number,
  isMade: boolean,
): { store: ObjectStore; met(): boolean } {
  let count = 0;
  const failing = new Proxy(store, {
    get(target, property) {
      const value = Reflect.get(target, property, target) as unknown;
      if (typeof value !== 'function') return value;
      if (!CHANGES.has(String(property))) return value.bind(target);
      return async (...args: readonly unknown[]): Promise<unknown> => {
        count++;
        const result = count < n || (count === n && isMade) ? await value.apply(target, args) : 0;
        if (count < n) return result;
        throw new PenstockError('REPO_IO', `change ${n} fails`);
      };
    },
  });
  return { store: failing, met: () => count >= n };
}

async function eachCut(
  name: string,
  work: (repository: Repository) => Promise<unknown>,
  then: (repository: Repository) => Promise<void>,
): Promise<number> {
  let cuts = 0;
  for (let n = 1; ; n++) {
    let isMet = false;
    for (const isMade of [false, true]) {
      const path = scene.copy(`${name}-${n}`);
      let cut: ReturnType<typeof cutAt> | undefined;
      const repository = await openSmall(path, (store) => {
        cut = cutAt(store, n, isMade);
        return cut.store;
      });
      await work(repository).catch((error) => assert.equal(error.code, 'REPO_IO'));
      isMet ||= cut?.met() === true;
      await repository.close();
      const again = await openSmall(path);
      await then(again);
      await again.close();
      rmSync(path, { recursive: true });
    }
    if (!isMet) return cuts;
    cuts++;
  }
}

test('a check that is cut off notes the damage the next time', async () => {
  const cuts = await eachCut('check', checked, async (repository) => {
    assert.equal((await checked(repository)).damages.length, 1);
    const { blocks, names } = await readDamageNotes(repository);
    assert.equal(blocks.size, 1);
    assert.equal(names.length, 1);
  });
  assert.ok(cuts >= 2, `only ${cuts} changes`);
});

test('a prune that is cut off while it takes damaged copies away loses nothing', async () => {
  assert.equal((await checked(scene.repository)).damages.length, 1);
  await scene.backup();
  assert.deepEqual((await checked(scene.repository)).damages, []);
  const cuts = await eachCut('prune', pruneNow, async (repository) => {
    await scene.verify(repository);
    // Its lease may be there still: what it had under way ends with the lease.
    await pruneNow(repository);
    await scene.verify(repository);
    const { damages } = await checked(repository);
    assert.deepEqual(damages, []);
  });
  assert.ok(cuts > 5, `only ${cuts} changes`);
  await pruneNow(scene.repository);
  const { damages, notes } = await checked(scene.repository);
  assert.deepEqual([damages, notes], [[], []]);
  assert.equal((await readDamageNotes(scene.repository)).names.length, 0);
});
