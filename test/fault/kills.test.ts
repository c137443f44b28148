/**
 * Goal: wherever a command is killed, archives that were there restore as they were, nothing is called
 * damage, and the next commands go on as if nothing had happened (U5, U7).
 * Method: backups, forgets and prunes of one repository, one after the other, each killed at a change
 * of the file system that a seed chooses, in whichever thread, some in the middle of a write. After
 * each, every archive is restored and compared. PENSTOCK_TEST_SEED chooses the moments.
 */
import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openClock, openRandom, seededRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { listArchives } from '../../src/mover/archives.ts';
import { openRepository, type Repository } from '../../src/mover/repository.ts';
import { penstock, scratchFolder, succeed } from '../commands.ts';
import { assertSameTree, capture, type Tree } from '../tree-compare.ts';
import { checkAll, findings, makeTree, restoreAll } from './repository-fixture.ts';

const ROUNDS = Number(process.env.PENSTOCK_RUNS ?? 12);
const random = seededRandom(Number(process.env.PENSTOCK_TEST_SEED ?? 1));
const below = (limit: number): number => random.bytes(4).readUInt32LE(0) % limit;

const scratch = scratchFolder();
const source = join(scratch, 'source');
const repo = join(scratch, 'repo');
/** What each archive must hold. */
const known = new Map<string, Tree>();

const FORGET = ['forget', '--keep-last', '2', '--prune', '--grace', '0s'];
const PRUNE = ['prune', '--grace', '0s', '--max-unused', '0'];
const COMMANDS: readonly (readonly string[])[] = [
  ['backup', source],
  FORGET,
  ['backup', source],
  PRUNE,
];
/** About as many changes as such a command makes. */
const CHANGES = 70;
const WRITES = 14;

function changeSource(round: number): Tree {
  const own = join(source, `a/of round ${round}`);
  writeFileSync(own, random.bytes(100 + below(300_000)));
  appendFileSync(join(source, 'one'), `${round}\n`);
  if (round % 4 === 0) renameSync(own, join(source, 'a/moved'));
  else rmSync(join(source, 'a/moved'), { force: true });
  return capture(source);
}

/** Runs a command that is killed on its way, if it comes so far. */
function runKilled(args: readonly string[]): boolean {
  const fault =
    below(4) === 0
      ? `write:after=${below(WRITES)}:torn:crash`
      : `change:after=${below(CHANGES)}:crash`;
  const env = { PENSTOCK_TEST: '1', PENSTOCK_FAULT: fault };
  const { status, errors } = penstock([...args, '--repo', repo], { env });
  assert.ok(status === 0 || status === null, `${fault}: ${JSON.stringify(errors)}`);
  return status === null;
}

async function withRepository(body: (repository: Repository) => Promise<void>): Promise<void> {
  const around = { clock: openClock(), random: openRandom() };
  const passphrase = async (): Promise<Buffer> => Buffer.from('a passphrase for tests');
  const store = openDirectoryStore(repo, false);
  const repository = await openRepository(store, passphrase, around);
  try {
    await body(repository);
  } finally {
    await repository.close();
  }
}

/** Every archive is known, or is the one that was being made; each restores what it should. */
async function verify(made: Tree | undefined, isForget: boolean, what: string): Promise<void> {
  await withRepository(async (repository) => {
    assert.equal(findings(await checkAll(repository)), '', what);
    const { archives, damaged } = await listArchives(repository);
    assert.deepEqual(damaged, [], what);
    const whole = archives.filter(({ partial }) => !partial);
    for (const { id } of whole) {
      if (known.has(id)) continue;
      assert.ok(made !== undefined, `${what}: an archive that nobody made`);
      known.set(id, made);
    }
    const there = new Set(whole.map(({ id }) => id));
    for (const [i, id] of [...known.keys()].entries()) {
      if (isForget && i < known.size - 2 && !there.has(id)) known.delete(id);
      else assert.ok(there.has(id), `${what}: ${id} is there`);
    }
    for (const archive of whole) {
      const target = join(scratch, 'target');
      assert.deepEqual(await restoreAll(repository, archive, target), [], what);
      assertSameTree(capture(target + source), known.get(archive.id) ?? new Map());
      rmSync(target, { recursive: true });
    }
  });
}

test('backups, forgets and prunes are killed at any change, one after the other', async (t) => {
  makeTree(source);
  const first = succeed(['backup', source, '--repo', repo]).summary.archive as string;
  known.set(first, capture(source));
  let kills = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const args = COMMANDS[round % COMMANDS.length] ?? [];
    const isBackup = args[0] === 'backup';
    const tree = isBackup ? changeSource(round) : undefined;
    if (runKilled(args)) kills++;
    await verify(tree, args === FORGET, `round ${round}, ${args[0]}`);
  }
  t.diagnostic(`${kills} of ${ROUNDS} were killed`);
  assert.ok(kills >= ROUNDS / 3, 'most are killed');
  const last = changeSource(ROUNDS);
  succeed(['backup', source, '--repo', repo]);
  await verify(last, false, 'the last backup');
  succeed([...FORGET, '--repo', repo]);
  await verify(undefined, true, 'the last forget');
  assert.equal(known.size, 2);
  for (const folder of ['leases', 'pending', 'condemned', 'deleting', 'verdicts'])
    assert.deepEqual(readdirSync(join(repo, folder)), [], folder);
});
