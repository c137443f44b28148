/**
 * Goal: whatever a tree holds, whatever becomes of it, and with whatever threads, memory and sizes of
 * blocks it is backed up, every archive restores what the tree was at its time (U1, U2, M14, U9).
 * Method: random steps make a tree; it is backed up, changed by random steps, and backed up again.
 * Both archives are restored and compared, content and metadata, with what was taken down of the tree
 * by other means. PENSTOCK_SEED chooses the trees, PENSTOCK_RUNS how many.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ByteString, fromText } from '../../src/base/bytes.ts';
import { PenstockError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { openClock, openRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import type { Archive } from '../../src/mover/archives.ts';
import { type BackupRequest, type BackupResult, backup } from '../../src/mover/backup.ts';
import { check } from '../../src/mover/check.ts';
import { createRepository, Repository } from '../../src/mover/repository.ts';
import { restore } from '../../src/mover/restore.ts';
import { IS_ROOT, scratchFolder } from '../commands.ts';
import { assertSameTree, capture, type Tree } from '../tree-compare.ts';
import { addition, mutation, RandomTree } from './random-tree.ts';

const SEED = Number(process.env.PENSTOCK_SEED ?? 20_261_121);
const RUNS = Number(process.env.PENSTOCK_RUNS ?? 16);
const scratch = scratchFolder();

const KIB = 1024;
const settings = fc.record({
  /** Whole pages, from the least in which the greatest blob fits. */
  blockBytes: fc.constantFrom(LIMITS.cutBytesMax + 4096, 318 * 4096, LIMITS.blockRawBytesDefault),
  chunkBytes: fc.constantFrom(2048 * KIB, LIMITS.chunkBytesDefault),
  isEncrypted: fc.boolean(),
});
const run = fc.record({
  threads: fc.constantFrom(1, 1, 2, 3),
  /** Beyond the least that is possible; null: not set. */
  memoryMore: fc.option(fc.constantFrom(0, 1, 3_000_000)),
  level: fc.integer({ min: 1, max: 4 }),
  checkpointMs: fc.constantFrom(60_000, 60_000, 20),
});
type Settings = typeof settings extends fc.Arbitrary<infer T> ? T : never;
type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;

/** Ten seconds ahead, so that nothing is so young that it is read again for that alone. */
const clock = openClock();
const around = {
  clock: { ...clock, nowMs: () => clock.nowMs() + 10_000 },
  random: openRandom(),
};

/** A repository with its usual settings, as its record has them, and with those that are wanted. */
async function makeRepository(path: string, wanted: Settings): Promise<[Repository, Repository]> {
  const { blockBytes, chunkBytes, isEncrypted } = wanted;
  const passphrase = isEncrypted ? Buffer.from('a passphrase') : undefined;
  const made = await createRepository(openDirectoryStore(path, true), passphrase, around);
  const { store, keyring, slot } = made;
  const changed = { ...made.settings, blockBytes, chunkBytes };
  return [made, new Repository(store, changed, keyring, slot, around)];
}

/** As much memory as the product asks for when it has too little, and what is wanted beyond. */
async function memoryBytes(
  repository: Repository,
  source: ByteString,
  { threads, memoryMore }: Run,
): Promise<number | undefined> {
  if (memoryMore === null) return undefined;
  const request = { ...ORDINARY, paths: [source], threads, level: 1, memoryBytes: 1 };
  const refused = await backup(repository, request).catch((error: PenstockError) => error);
  assert.ok(refused instanceof PenstockError && refused.code === 'LIMIT', String(refused));
  const least = Number(/at least (\d+)M are needed/.exec(refused.message)?.[1]);
  return least * 1024 * KIB + memoryMore;
}

const ORDINARY = {
  name: 'tree',
  host: 'host',
  user: 'user',
  writer: 'test',
  selection: { exclude: [], include: [], ignoreFiles: [], oneFileSystem: false },
  full: false,
  checkpointMs: 60_000,
  estimates: false,
  dryRun: false,
  signal: new AbortController().signal,
  onProblem: ({ path, error }: { path: ByteString; error: { message: string } }): never =>
    assert.fail(`backing up ${path}: ${error.message}`),
  onProgress: (): void => {},
};

async function backUp(
  repository: Repository,
  source: ByteString,
  given: Run,
  more: Partial<BackupRequest> = {},
): Promise<BackupResult> {
  const { threads, level, checkpointMs } = given;
  const memory = { memoryBytes: await memoryBytes(repository, source, given) };
  const request = { ...ORDINARY, ...memory, paths: [source], threads, level, checkpointMs };
  return backup(repository, { ...request, ...more });
}

interface Made {
  readonly archive: Archive | undefined;
  readonly tree: Tree;
}

async function assertRestores(
  repository: Repository,
  { archive, tree }: Made,
  source: string,
  target: string,
  threads: number,
): Promise<void> {
  assert.ok(archive !== undefined && !archive.partial);
  const { problems, refusals, bytes } = await restore(repository, {
    archive,
    paths: [],
    target: fromText(target),
    overwrite: 'never',
    dryRun: false,
    owners: IS_ROOT,
    threads,
    signal: new AbortController().signal,
    onProblem: (path, error) => assert.fail(`restoring ${path}: ${error.message}`),
    onProgress: () => {},
  });
  assert.equal(problems, 0);
  // Without root the directories above the source cannot be given to their owner.
  if (IS_ROOT) assert.deepEqual(refusals, {});
  assert.ok(bytes >= 0);
  assertSameTree(capture(fromText(target + source)), tree);
}

let unchanged = 0;
let changed = 0;

interface Case {
  readonly additions: readonly Parameters<RandomTree['add']>[0][];
  readonly mutations: readonly Parameters<RandomTree['mutate']>[0][];
  readonly settings: Settings;
  readonly runs: readonly [Run, Run];
  readonly full: boolean;
}

async function oneCase(folder: string, given: Case): Promise<void> {
  const source = join(folder, 'source');
  const tree = new RandomTree(source);
  const [usual, repository] = await makeRepository(join(folder, 'repo'), given.settings);
  try {
    for (const step of given.additions) tree.add(step);
    const before = capture(source);
    const first = { tree: before, ...(await backUp(repository, source, given.runs[0])) };
    for (const step of given.mutations) tree.mutate(step);
    const after = capture(source);
    const second = {
      tree: after,
      ...(await backUp(repository, source, given.runs[1], { full: given.full })),
    };
    unchanged += second.filesUnchanged;
    changed += second.filesChanged;
    assertSameTree(capture(source), after);
    const [{ threads }, { threads: others }] = given.runs;
    const checked = await check(usual, {
      readData: true,
      threads,
      signal: new AbortController().signal,
      onProgress: () => {},
    });
    assert.deepEqual(
      checked.damages.map(({ what, id, message }) => `${what} ${id}: ${message}`),
      [],
    );
    assert.deepEqual([checked.notes, checked.archives], [[], 2]);
    const third = await backUp(repository, source, given.runs[0], { dryRun: true });
    assert.equal(third.bytesRead, 0, 'what is unchanged is not read again');
    await assertRestores(repository, first, source, join(folder, 'first'), others);
    await assertRestores(repository, second, source, join(folder, 'second'), threads);
  } finally {
    tree.close();
    usual.codec.close();
    await repository.close();
  }
}

test('a random tree, changed at random: each of its archives restores what it was', async (t) => {
  let number = 0;
  const cases = fc.record({
    additions: fc.array(addition, { minLength: 6, maxLength: 60, size: 'max' }),
    mutations: fc.array(mutation, { minLength: 0, maxLength: 40, size: 'max' }),
    settings,
    runs: fc.tuple(run, run),
    full: fc.integer({ min: 0, max: 4 }).map((chance) => chance === 0),
  });
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const folder = join(scratch, `case-${number++}`);
      mkdirSync(folder);
      await oneCase(folder, given);
    }),
    { seed: SEED, numRuns: RUNS, interruptAfterTimeLimit: 120_000 },
  );
  t.diagnostic(`${unchanged} files were taken as unchanged, ${changed} had changed`);
  assert.ok(unchanged > 0 && changed > 0, 'the second backups do have a base');
});
