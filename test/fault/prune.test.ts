/**
 * Whatever fails or dies in a prune, no archive loses anything, and the next prune cleans up.
 *
 * Method: the n-th operation of the store fails, for every n until nothing fails any more, once before
 * it is done and once after; processes are killed at the n-th change of the file system, for many n,
 * and at any moment beside others. Every time all archives are read back; then an undisturbed prune
 * must bring the repository to what it is without any fault.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ErrorCode, PenstockError } from '../../src/base/errors.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { listArchives } from '../../src/mover/archives.ts';
import { noteForgotten } from '../../src/mover/forgotten.ts';
import {
  contentsOf,
  numbered,
  openSmall,
  pruneNow,
  Scene,
  storedBytes,
  storedChunks,
} from '../system/prune-fixture.ts';
import { type Hook, setChunkHook } from './fixtures/faulty-chunks.ts';

const CHILD = join(import.meta.dirname, 'fixtures', 'prune-child.ts');
const SEED = Number(process.env.PENSTOCK_TEST_SEED ?? 1);

const CHANGES = new Set([
  'put',
  'remove',
  'publish',
  'touch',
  'sweep',
  'create',
  'write',
  'commit',
]);

let scene: Scene;
/** What an undisturbed prune leaves. */
let reference: { bytes: number; chunks: number };

before(async () => {
  scene = await Scene.make();
  scene.write(numbered('f', 0, 60), 16_000);
  scene.write(['incompressible'], 200_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 60, 2), 16_000);
  scene.write(numbered('text', 0, 3), 300);
  await scene.backup();
  await scene.backup();
  await noteForgotten(scene.repository, [first.id]);
  await scene.repository.store.remove('archives', first.id);
  scene.wanted.delete(first.id);
  const path = scene.copy('reference');
  const repository = await openSmall(path);
  await pruneNow(repository, { maxUnusedPercent: 0 });
  await repository.close();
  reference = { bytes: storedBytes(path), chunks: storedChunks(path).size };
});

after(async () => scene.close());

/** The archives are whole, and an undisturbed prune leaves nothing of the trouble behind. */
async function assertRecovers(path: string, what: string): Promise<void> {
  const repository = await openSmall(path);
  try {
    await scene.verify(repository);
    // Leases of processes that live (this one) would be waited for.
    for (const name of readdirSync(join(path, 'leases'))) rmSync(join(path, 'leases', name));
    await pruneNow(repository, { maxUnusedPercent: 0 });
    await scene.verify(repository);
  } finally {
    await repository.close();
  }
  const difference = storedBytes(path) - reference.bytes;
  assert.ok(Math.abs(difference) < 10_000, `${what}: ${difference} bytes more are stored`);
  for (const folder of ['condemned', 'deleting', 'verdicts', 'pending', 'leases']) {
    assert.deepEqual(readdirSync(join(path, folder)), [], `${what}: ${folder}`);
  }
}

/** A store whose operations are counted by `hook`, those of its chunks too. */
function hookedStore(store: ObjectStore, hook: Hook): ObjectStore {
  const { options } = store.chunkMedia;
  const module = new URL('./fixtures/faulty-chunks.ts', import.meta.url).href;
  return new Proxy(store, {
    get(target, property) {
      if (property === 'chunkMedia') return { module, options };
      const value = Reflect.get(target, property, target) as unknown;
      if (typeof value !== 'function') return value;
      if (property === 'close') return () => target.close();
      return async (...parameters: unknown[]): Promise<unknown> => {
        hook('before', String(property));
        const result = await (value as (...given: unknown[]) => Promise<unknown>).apply(
          target,
          parameters,
        );
        hook('after', String(property));
        return result;
      };
    },
  });
}

/** A store before each of whose operations something else is done; those of its chunks are left out. */
function interruptedStore(store: ObjectStore, before: () => Promise<void>): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      const value = Reflect.get(target, property, target) as unknown;
      if (typeof value !== 'function') return value;
      if (property === 'close') return () => target.close();
      return async (...parameters: unknown[]): Promise<unknown> => {
        await before();
        return await (value as (...given: unknown[]) => Promise<unknown>).apply(target, parameters);
      };
    },
  });
}

interface Failure {
  readonly when: 'before' | 'after';
  /** Only of what changes something: what only reads leaves nothing behind. */
  readonly isChange: boolean;
  readonly code: ErrorCode;
}

/** Runs a prune whose n-th operation fails; whether there were as many. */
async function pruneFailing(path: string, n: number, failure: Failure): Promise<boolean> {
  const { when, isChange, code } = failure;
  let count = 0;
  let failed = false;
  const hook: Hook = (now, name) => {
    if (now !== when || (isChange && !CHANGES.has(name)) || ++count !== n) return;
    failed = true;
    throw new PenstockError(code, 'the storage failed');
  };
  setChunkHook(hook);
  const repository = await openSmall(path, (store) => hookedStore(store, hook));
  try {
    await pruneNow(repository, { maxUnusedPercent: 0, onProblem: () => {} });
  } catch (error) {
    assert.ok(error instanceof PenstockError && error.code === code, String(error));
  } finally {
    setChunkHook(() => {});
    await repository.close();
  }
  return failed;
}

const FAILURES: readonly Failure[] = [
  { when: 'before', isChange: false, code: 'REPO_IO' },
  { when: 'before', isChange: true, code: 'REPO_FULL' },
  { when: 'before', isChange: true, code: 'OBJECT_MISSING' },
  { when: 'after', isChange: true, code: 'REPO_IO' },
];

for (const failure of FAILURES) {
  const { when, isChange, code } = failure;
  const what = isChange ? 'change' : 'operation';
  test(`every ${what} of the store fails with ${code} ${when} it is done`, async () => {
    let n = 1;
    for (; ; n++) {
      const path = scene.copy('faulty');
      const failed = await pruneFailing(path, n, failure);
      if (failed) await assertRecovers(path, `operation ${n}`);
      rmSync(path, { recursive: true });
      if (!failed) break;
    }
    assert.ok(n > (isChange ? 25 : 100), `${n} operations`);
  });
}

test('a whole prune runs between any two operations of another', async () => {
  let operations = Infinity;
  for (let n = 1 + (SEED % 3); n <= operations; n += 3) {
    const path = scene.copy('between');
    const other = await openSmall(path);
    let count = 0;
    const hook = async (): Promise<void> => {
      if (++count === n) await pruneNow(other, { maxUnusedPercent: 0 });
    };
    const repository = await openSmall(path, (store) => interruptedStore(store, hook));
    await pruneNow(repository, { maxUnusedPercent: 0 });
    await repository.close();
    await other.close();
    await assertRecovers(path, `operation ${n}`);
    rmSync(path, { recursive: true });
    operations = count;
  }
  assert.ok(operations > 40, `${operations} operations`);
});

async function run(
  action: 'backup' | 'prune',
  path: string,
  fault: string,
  killAfterMs = Infinity,
): Promise<number | null> {
  const child = spawn(process.execPath, [CHILD, action, path, scene.source], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PENSTOCK_TEST: '1', PENSTOCK_FAULT: fault },
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  const timer =
    killAfterMs < Infinity ? setTimeout(() => child.kill('SIGKILL'), killAfterMs) : undefined;
  const [exit] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  assert.ok(exit === 0 || exit === null, errors);
  return exit;
}

test('a prune is killed at its changes of the file system', async () => {
  const step = 13;
  let killed = 0;
  for (let n = SEED % step; ; n += step) {
    const path = scene.copy('killed');
    const exit = await run('prune', path, `change:after=${n}:crash`);
    if (exit === null) {
      killed++;
      await assertRecovers(path, `change ${n}`);
    }
    rmSync(path, { recursive: true });
    if (exit === 0) break;
  }
  assert.ok(killed > 5, `killed ${killed} times`);
});

test('backups and prunes are killed at any moment', async () => {
  const path = scene.copy('random');
  const wanted = new Map(scene.wanted);
  let state = SEED;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * below);
  };
  for (let round = 0; round < 6; round++) {
    scene.write(numbered('f', round, 60, 3), 16_000);
    const contents = contentsOf(scene.source);
    await Promise.all([
      run('backup', path, '', 150 + random(500)),
      run('prune', path, '', 150 + random(300)),
      run('prune', path, `change:after=${random(120)}:crash`),
    ]);
    const repository = await openSmall(path);
    const { archives } = await listArchives(repository);
    for (const { id, partial } of archives) {
      if (!partial && !wanted.has(id)) wanted.set(id, contents);
    }
    await verifyAs(wanted, repository);
    const [oldest] = archives;
    if (archives.length > 3 && oldest !== undefined && !oldest.partial) {
      await noteForgotten(repository, [oldest.id]);
      await repository.store.remove('archives', oldest.id);
      wanted.delete(oldest.id);
    }
    await repository.close();
  }
  await run('backup', path, '');
  const repository = await openSmall(path);
  const { archives } = await listArchives(repository);
  const last = archives.at(-1);
  assert.ok(last !== undefined && !last.partial);
  for (const { id } of archives.slice(0, -1)) {
    await noteForgotten(repository, [id]);
    await repository.store.remove('archives', id);
  }
  await pruneNow(repository, { maxUnusedPercent: 0 });
  await verifyAs(new Map([[last.id, contentsOf(scene.source)]]), repository);
  await repository.close();
  for (const folder of ['condemned', 'deleting', 'verdicts', 'pending', 'leases']) {
    assert.deepEqual(readdirSync(join(path, folder)), [], folder);
  }
  const stored = storedBytes(path);
  assert.ok(stored < (60 * 16_000 + 200_000) * 1.05, `${stored} bytes are stored`);
});

async function verifyAs(
  wanted: ReadonlyMap<string, ReadonlyMap<string, string>>,
  repository: Awaited<ReturnType<typeof openSmall>>,
): Promise<void> {
  const kept = new Map(scene.wanted);
  scene.wanted.clear();
  for (const [id, contents] of wanted) scene.wanted.set(id, contents);
  try {
    await scene.verify(repository);
  } finally {
    scene.wanted.clear();
    for (const [id, contents] of kept) scene.wanted.set(id, contents);
  }
}
