/**
 * Goal: whatever call of the system fails in a backup, in whichever thread, the failure is told by
 * name, what was there before stays, nothing is damaged, and the next backup is whole (U3, U5).
 * Method: the n-th call of a backup of a changed tree fails, for a spread of n over all calls and over
 * those that change something; as an error, as a write that is torn, or after it was carried
 * out. Then the repository is checked, backed up into again, and restored. PENSTOCK_TEST_SEED
 * moves the spread, PENSTOCK_TEST_EVERY_CALL=1 takes every n.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFileSync, chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { PenstockError } from '../../src/base/errors.ts';
import { addFaultRules } from '../../src/host/fake/fault-script.ts';
import { FAULT_CALLS, type FaultyFiles } from '../../src/host/fake/faulty-files.ts';
import { openFiles } from '../../src/host/mod.ts';
import { type Archive, listArchives } from '../../src/mover/archives.ts';
import { type BackupResult, backup } from '../../src/mover/backup.ts';
import { forget } from '../../src/mover/forget.ts';
import type { Repository } from '../../src/mover/repository.ts';
import { untilOld } from '../commands.ts';
import { backupRequest, makeSmall } from '../system/prune-fixture.ts';
import { assertSameTree, capture, type Tree } from '../tree-compare.ts';
import {
  backUp,
  checkAll,
  findings,
  make,
  makeTree,
  open,
  restoreAll,
  Scratch,
} from './repository-fixture.ts';

const SEED = Number(process.env.PENSTOCK_TEST_SEED ?? 1);
const EVERY = process.env.PENSTOCK_TEST_EVERY_CALL === '1';
/** So many calls fail, each in a run of its own. */
const CASES = 7;

// All threads of this process count together; a script of no rule is replaced for each backup.
process.env.PENSTOCK_TEST = '1';
process.env.PENSTOCK_FAULT = ';';
const files = openFiles() as FaultyFiles;

const scratch = new Scratch();
const source = scratch.at('source');
let first: { readonly archive: Archive; readonly tree: Tree };
let second: Tree;

before(async () => {
  makeTree(source);
  writeFileSync(`${source}/large`, 'a line that is the same as all others\n'.repeat(40_000));
  const repository = await make(scratch.at('repo'), false);
  first = { tree: capture(source), archive: await backUp(repository, source) };
  await repository.close();
  appendFileSync(`${source}/one`, 'a line more\n');
  writeFileSync(`${source}/a/new`, 'new');
  chmodSync(`${source}/a/two`, 0o600);
  renameSync(`${source}/a/b/three`, `${source}/a/b/four`);
  second = capture(source);
});
after(() => scratch.drop());

/** Does something while calls fail as a text says; whether any did. */
async function failing(text: string, action: () => Promise<void>): Promise<boolean> {
  files.script.clear();
  addFaultRules(files.script, text, FAULT_CALLS);
  process.env.PENSTOCK_FAULT = text;
  try {
    await action();
    return files.script.acted > 0;
  } finally {
    files.script.clear();
    process.env.PENSTOCK_FAULT = ';';
  }
}

interface Outcome {
  error?: PenstockError;
  result?: BackupResult;
  readonly problems: ByteString[];
}

async function backUpFailing(path: string, rule: string): Promise<Outcome | undefined> {
  const outcome: Outcome = { problems: [] };
  let repository: Repository | undefined;
  const acted = await failing(rule, async () => {
    try {
      repository = await open(path);
      outcome.result = await backup(
        repository,
        backupRequest(source, {
          onProblem: ({ path: where, error }) => {
            assert.match(error.code, /^(SOURCE_|HOST_IO)/, `${rule}: ${error.message}`);
            outcome.problems.push(where);
          },
        }),
      );
    } catch (error) {
      assert.ok(error instanceof PenstockError, `${rule}: ${String(error)}`);
      outcome.error = error;
    }
  });
  await repository?.close();
  return acted ? outcome : undefined;
}

async function assertRestores(
  repository: Repository,
  archive: Archive,
  expected: Tree,
  without: readonly ByteString[] = [],
): Promise<void> {
  const target = scratch.at('target');
  rmSync(target, { recursive: true, force: true });
  assert.deepEqual(await restoreAll(repository, archive, target), []);
  // What was not read may be the source itself, or a directory above it.
  if (without.some((one) => `${source}/`.startsWith(`${one}/`))) return;
  const isLeftOut = (path: ByteString): boolean =>
    without.some((one) => `${source}/${path}/`.startsWith(`${one}/`));
  const part = (tree: Tree): Tree => new Map([...tree].filter(([path]) => !isLeftOut(path)));
  assertSameTree(part(capture(target + source)), part(expected));
}

/** What holds after a backup in which a call failed. */
async function assertUnharmed(path: string, rule: string, outcome: Outcome): Promise<void> {
  const repository = await open(path);
  try {
    assert.equal(findings(await checkAll(repository)), '', rule);
    const { archives } = await listArchives(repository);
    const whole = archives.filter(({ partial }) => !partial);
    assert.equal(whole[0]?.id, first.archive.id, rule);
    if (outcome.error === undefined) {
      const made = whole.find(({ id }) => id === outcome.result?.archive?.id);
      assert.ok(made !== undefined, `${rule}: what was told to be made is there`);
      await assertRestores(repository, made, second, outcome.problems);
    }
    await assertRestores(repository, await backUp(repository, source), second);
    await assertRestores(repository, first.archive, first.tree);
    assert.equal(findings(await checkAll(repository, false)), '', `${rule}, then another`);
  } finally {
    await repository.close();
  }
}

const FAILURES = ['error=EIO', 'error=ENOSPC', 'late'];
/** PIPE_STOPPED: see the last test. */
const TOLD = /^(REPO_IO|REPO_FULL|HOST_IO)$/;

// Of four calls about one changes something. A read that ends early is the end of its file.
for (const { call, share, failures } of [
  { call: 'any', share: 1, failures: FAILURES },
  { call: 'change', share: 0.25, failures: [...FAILURES, 'torn'] },
]) {
  test(`the n-th call of a backup fails: ${call}`, async (t) => {
    scratch.copy('repo', 'counted');
    let calls = 0;
    // Never acts; counts.
    await failing(`${call}:after=1000000`, async () => {
      const counted = await open(scratch.at('counted'));
      await backup(counted, backupRequest(source));
      calls = files.script.calls;
      await counted.close();
    });
    const step = EVERY ? 1 : Math.max(1, (calls * share) / CASES);
    const outcomes = new Map<string, number>();
    for (let at = EVERY ? 0 : (SEED * 7919) % step, number = SEED; ; at += step, number++) {
      const rule = `${call}:after=${Math.floor(at)}:${failures[number % failures.length]}`;
      const path = scratch.copy('repo', 'failing');
      const outcome = await backUpFailing(path, rule);
      if (outcome === undefined) break;
      const { error, problems } = outcome;
      const told = error?.code ?? (problems.length > 0 ? 'problem' : 'nothing');
      outcomes.set(told, (outcomes.get(told) ?? 0) + 1);
      if (error !== undefined) assert.match(error.code, TOLD, `${rule}: ${error.message}`);
      await assertUnharmed(path, rule, outcome);
    }
    t.diagnostic(`of ${calls} calls: ${JSON.stringify(Object.fromEntries(outcomes))}`);
    assert.ok(outcomes.size > 1, 'some failures are told');
  });
}

test('an unchanged directory that cannot be opened when a file in it is to be read: told, the rest is stored', async () => {
  const tree = scratch.at('kept');
  mkdirSync(`${tree}/closed/inner`, { recursive: true });
  mkdirSync(`${tree}/open`);
  for (const name of ['closed/inner/file', 'closed/last', 'open/file'])
    writeFileSync(`${tree}/${name}`, name);
  await untilOld();
  const repository = await make(scratch.at('closed'), false);
  await backUp(repository, tree);
  for (const name of ['closed/inner/file', 'open/file']) appendFileSync(`${tree}/${name}`, ' more');
  const problems: ByteString[] = [];
  let result: BackupResult | undefined;
  // The scan has opened it before.
  const acted = await failing('openDirectory:name=closed:after=1:error=EACCES', async () => {
    const onProblem = ({ path }: { readonly path: ByteString }): void => void problems.push(path);
    result = await backup(repository, backupRequest(tree, { onProblem }));
  });
  assert.ok(acted);
  assert.deepEqual(problems, [`${tree}/closed`]);
  const expected = new Map(capture(tree));
  for (const name of ['closed/inner/file', 'closed/last']) assert.ok(expected.delete(name), name);
  const target = scratch.at('target');
  const assertStored = async (archive: Archive | undefined, wanted: Tree): Promise<void> => {
    assert.ok(archive !== undefined);
    rmSync(target, { recursive: true, force: true });
    assert.deepEqual(await restoreAll(repository, archive, target), []);
    assertSameTree(capture(target + tree), wanted);
  };
  await assertStored(result?.archive, expected);
  await assertStored(await backUp(repository, tree), capture(tree));
  assert.equal(findings(await checkAll(repository)), '');
  await repository.close();
});

test('the n-th call of a forget fails: the archive is there or gone, and nothing else', async () => {
  const repository = await open(scratch.copy('repo', 'two'));
  const kept = await backUp(repository, source);
  await repository.close();
  const request = { ids: [first.archive.id], rules: {}, timeZone: 'UTC', dryRun: false };
  let failures = 0;
  for (let n = 0; ; n++) {
    const rule = `any:after=${n}:${FAILURES[n % FAILURES.length]}`;
    const path = scratch.copy('two', 'failing');
    const acted = await failing(rule, async () => {
      let opened: Repository | undefined;
      try {
        opened = await open(path);
        await forget(opened, request);
      } catch (error) {
        assert.ok(error instanceof PenstockError, `${rule}: ${String(error)}`);
        assert.match(error.code, TOLD, `${rule}: ${error.message}`);
      }
      await opened?.close();
    });
    if (!acted) break;
    failures++;
    const after = await open(path);
    assert.equal(findings(await checkAll(after, false)), '', rule);
    const ids = (await listArchives(after)).archives.map(({ id }) => id);
    assert.ok(ids.includes(kept.id), rule);
    assert.ok(ids.length === 1 || ids.includes(first.archive.id), rule);
    if (ids.length > 1) await forget(after, request);
    assert.deepEqual((await listArchives(after)).archives, [kept], rule);
    await after.close();
  }
  assert.ok(failures > 20, `${failures} calls failed`);
});

test('an index segment that cannot be stored: the error is that of the storage', async () => {
  // Of several chunks, so that it is stored while the pipe is still at work.
  const noise = scratch.at('noise');
  mkdirSync(noise);
  for (let i = 0; i < 60; i++) writeFileSync(`${noise}/${i}`, randomBytes(200_000));
  const repository = await makeSmall(scratch.at('small'), false);
  const { store } = repository;
  const put = store.put.bind(store);
  store.put = async (kind, name, bytes) => {
    if (kind === 'index') throw new PenstockError('REPO_FULL', 'the storage is full');
    return put(kind, name, bytes);
  };
  try {
    await assert.rejects(backup(repository, backupRequest(noise)), { code: 'REPO_FULL' });
  } finally {
    await repository.close();
  }
});
