/**
 * Goal: what a checkpoint has made safe is neither read nor stored again, however often a backup is
 * killed (M11, P14), and nothing of killed runs stays (U5).
 * Method: backups by whole commands that come to their folders through a gate, and are killed behind a
 * checkpoint; what the next run reads is compared with what the partial archives hold.
 */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { LIMITS } from '../../src/base/limits.ts';
import type { Archive } from '../../src/mover/archives.ts';
import { walkManifest } from '../../src/mover/manifest-walk.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import { Bench, type BenchOptions, clockAhead } from '../bench.ts';
import { scratchFolder, start, untilOld } from '../commands.ts';
import { Gate } from '../gate.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const source = join(scratch, 'source');
const HOUR_MS = 3_600_000;
const FILES = 200;
const FILE_BYTES = 400_000;
let number = 0;
let bench: Bench;

before(() => {
  const tree = TreeMaker.open(source);
  for (let i = 0; i < FILES; i++) {
    tree.directory(`folder${i}`, (inside) => inside.file('file', noise(FILE_BYTES, `${i}`)));
  }
  tree.close();
});
after(() => bench?.close());

async function newBench(options: BenchOptions = {}): Promise<void> {
  await bench?.close();
  bench = await Bench.make(scratch, `repo${number++}`, { clock: clockAhead(HOUR_MS), ...options });
}
const archivesThere = (): string[] => readdirSync(join(bench.path, 'archives'));

/** A backup that comes to its folders one by one, as the gate lets it. */
function gatedBackup(path: string, threads: number) {
  const gate = new Gate(scratch, 'openDirectory:name=folder:repeat=forever');
  const often = ['--checkpoint-interval', '30ms', '--threads', `${threads}`];
  const args = ['backup', path, '--name', 'test', '--repo', bench.path, ...often];
  const { child, ended } = start(args, { env: gate.env });
  const openUntil = (holds: () => boolean, pauseMs?: number): Promise<void> =>
    gate.openUntil(() => child.exitCode !== null || holds(), pauseMs);
  const openFolders = (count: number, pauseMs?: number): Promise<void> => {
    const enough = gate.opened + count;
    return openUntil(() => gate.opened >= enough, pauseMs);
  };
  /**
   * Lets the scan through, for which all the rest waits, and then the walk, until there is one archive more: slowly,
   * so that the checkpoint comes before the end where others use the processors, too.
   */
  const openUntilSafer = async (): Promise<void> => {
    const before = new Set(archivesThere());
    await openFolders(FILES, 0);
    await openUntil(() => archivesThere().some((name) => !before.has(name)), 30);
  };
  return { child, ended, gate, openUntil, openFolders, openUntilSafer };
}
/** Kills a backup when it has made something safe, and has gone on by some folders. */
async function killedBackup(foldersMore: number): Promise<void> {
  const { child, ended, openFolders, openUntilSafer } = gatedBackup(source, 1);
  await openUntilSafer();
  await openFolders(foldersMore);
  child.kill('SIGKILL');
  const { signal, stderr } = await ended;
  assert.equal(signal, 'SIGKILL', stderr);
}
async function fileBytes(archives: readonly Archive[]): Promise<number> {
  const paths = new Set<string>();
  const reader = await openArchiveReader(bench.repository);
  for (const archive of archives) {
    for (const { path, entry } of walkManifest(reader.blobs, archive.root, [])) {
      if (entry.size > 0) paths.add(path);
    }
  }
  await reader.close();
  return paths.size * FILE_BYTES;
}
async function assertRestores(): Promise<void> {
  const target = join(scratch, `target${number}`);
  await bench.restore(target);
  assertSameTree(capture(target + source), capture(source));
  rmSync(target, { recursive: true });
}

test('a checkpoint is taken however few of the threads have begun', async () => {
  await newBench();
  const many = join(scratch, 'many');
  const tree = TreeMaker.open(many);
  // One batch, for one of the threads; then what the walk deals with alone.
  for (let i = 0; i < LIMITS.batchFilesMax; i++) tree.file(`${i}`, `content ${i}`);
  for (let i = 0; i < FILES; i++) tree.directory(`folder${i}`, () => undefined);
  tree.close();
  const { child, ended, gate, openUntil, openUntilSafer } = gatedBackup(many, 8);
  await openUntilSafer();
  assert.equal(child.exitCode, null, 'a partial archive was there');
  assert.ok(gate.opened < 2 * FILES, 'before the walk has come to the last folder');
  await openUntil(() => false);
  assert.equal((await ended).status, 0);
  const archives = await bench.archives();
  assert.deepEqual(
    archives.map(({ partial }) => partial),
    [false],
  );
});

test('one of many backups, all in one thread, takes checkpoints and stores what a pipe of threads does', async () => {
  const ended = new AbortController();
  await newBench({ onArchive: () => ended.abort(new Error('enough')) });
  const options = { threads: 1, isOneOfMany: true };
  const first = bench.backup(source, { ...options, checkpointMs: 10, signal: ended.signal });
  await assert.rejects(first, /enough/);
  const safe = await fileBytes(await bench.archives());
  assert.ok(safe > 0 && safe < FILES * FILE_BYTES, `${safe} bytes are safe`);
  const second = await bench.backup(source, options);
  assert.equal(second.bytesRead, FILES * FILE_BYTES - safe);
  // The manifest at most: it says which entries were too young to be sure of.
  const full = await bench.backup(source, { full: true });
  assert.ok(full.bytesNew < FILE_BYTES, `${full.bytesNew} bytes are new`);
  await assertRestores();
  await bench.assertWhole();
});

test('killed again and again: each run reads only what no earlier one has made safe', async () => {
  await untilOld();
  await newBench();
  const safe: number[] = [];
  for (const foldersMore of [20, 5, 0]) {
    await killedBackup(foldersMore);
    const archives = await bench.archives();
    assert.ok(archives.every(({ partial }) => partial));
    safe.push(await fileBytes(archives));
    const dry = await bench.backup(source, { dryRun: true });
    assert.equal(dry.bytesRead, FILES * FILE_BYTES - (safe.at(-1) ?? 0));
  }
  assert.deepEqual(
    [...safe].sort((x, y) => x - y),
    safe,
    'what is safe stays so',
  );
  assert.ok((safe[0] ?? 0) > 0, 'something was safe');
  const last = await bench.backup(source);
  assert.equal(last.bytesRead, FILES * FILE_BYTES - (safe.at(-1) ?? 0));
  assert.ok(last.bytesNew <= last.bytesRead + 200_000, `${last.bytesNew} new of ${last.bytesRead}`);
  assert.deepEqual(
    (await bench.archives()).map(({ partial }) => partial),
    [false],
  );
  await assertRestores();
  await bench.assertWhole();
  for (const folder of ['leases', 'pending']) {
    assert.ok(readdirSync(join(bench.path, folder)).length <= 3, 'only what killed runs have left');
  }
});
