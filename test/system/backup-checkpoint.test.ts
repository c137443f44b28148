/**
 * Goal: what a checkpoint has made safe is neither read nor stored again, however often a backup is
 * killed (M11, P14), and nothing of killed runs stays (U5).
 * Method: backups by whole commands that end at a chosen call of the system (PENSTOCK_FAULT … crash), or
 * at their first checkpoint; what the next run reads is compared with what the partial archives hold.
 */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { LIMITS } from '../../src/base/limits.ts';
import type { Archive } from '../../src/mover/archives.ts';
import { walkManifest } from '../../src/mover/manifest-walk.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import { Bench } from '../bench.ts';
import { scratchFolder, start, untilOld } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const source = join(scratch, 'source');
const FILES = 600;
const FILE_BYTES = 400_000;
let number = 0;
let bench: Bench;

before(async () => {
  const tree = TreeMaker.open(source);
  for (let i = 0; i < FILES; i++) {
    tree.directory(`${i}`.padStart(3, '0'), (inside) =>
      inside.file('file', noise(FILE_BYTES, `${i}`)),
    );
  }
  tree.close();
  await untilOld();
});
after(() => bench?.close());

async function newBench(): Promise<void> {
  await bench?.close();
  bench = await Bench.make(scratch, `repo${number++}`);
}
/** Starts a backup that ends by itself with SIGKILL. */
async function killedBackup(fault: string): Promise<void> {
  const args = [
    'backup',
    source,
    '--name',
    'test',
    '--repo',
    bench.path,
    '--checkpoint-interval',
    '30ms',
  ];
  const { ended } = start([...args, '--threads', '1'], {
    env: { PENSTOCK_TEST: '1', PENSTOCK_FAULT: fault },
  });
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
  for (let i = 0; i < 50_000; i++) tree.link(`link${i}`, 'target');
  tree.close();
  let seen = 0;
  const timer = setInterval(() => {
    seen += readdirSync(join(bench.path, 'archives')).length;
  }, 5);
  await bench.backup(many, { threads: 8, checkpointMs: 20 });
  clearInterval(timer);
  assert.ok(seen > 0, 'a partial archive was there');
  const archives = await bench.archives();
  assert.deepEqual(
    archives.map(({ partial }) => partial),
    [false],
  );
});

test('one of many backups, all in one thread, takes checkpoints and stores what a pipe of threads does', async () => {
  await newBench();
  const options = { threads: 1, isOneOfMany: true };
  let partial: readonly Archive[] = [];
  const ended = new AbortController();
  const first = bench.backup(source, { ...options, checkpointMs: 10, signal: ended.signal });
  while (partial.length === 0) {
    partial = (await bench.archives()).filter((archive) => archive.partial);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  ended.abort(new Error('enough'));
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
  await newBench();
  const safe: number[] = [];
  // Reads of the index and of the base come before those of the files.
  for (const reads of [560, 40, 20]) {
    await killedBackup(`read:after=${reads}:crash`);
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
