/**
 * Goal: a second backup reads what has changed and nothing else, and is as complete as a first one
 * (M14); nothing that changed is ever taken for unchanged.
 * Method: backups of a tree that is changed in between; what was read is in the results.
 */
import assert from 'node:assert/strict';
import { chmodSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { openClock } from '../../src/host/mod.ts';
import type { Archive } from '../../src/mover/archives.ts';
import type { BackupResult } from '../../src/mover/backup.ts';
import { Bench } from '../bench.ts';
import { scratchFolder } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, prose, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
let number = 0;
let source = '';
let bench: Bench;
let targets = 0;
const at = (...parts: string[]): string => join(source, ...parts);

const counts = ({ filesSeen, filesChanged, filesUnchanged, bytesRead }: BackupResult): object => {
  const filesNew = filesSeen - filesChanged - filesUnchanged;
  return { filesNew, filesChanged, filesUnchanged, bytesRead };
};
/** Asserts that an archive holds what the source holds now, or held. */
async function assertStored(archive?: Archive, expected = capture(source)): Promise<void> {
  const target = join(scratch, `target${targets++}`);
  const { told } = await bench.restore(target, archive === undefined ? {} : { archive });
  assert.deepEqual(told, []);
  assertSameTree(capture(target + source), expected);
  rmSync(target, { recursive: true });
}

function makeSource(path: string): void {
  const tree = TreeMaker.open(path);
  tree.directory('a', (a) => {
    a.file('one', prose(1000, 'one'));
    a.file('two', prose(2000, 'two'));
    a.hardLink('two', a, 'two again');
    a.directory('inner', (inner) => inner.file('three', prose(3000, 'three')));
  });
  tree.directory('b', (b) => {
    b.file('large', noise(5_000_000, 'large'));
    b.file('sparse', [{ at: 2500 * 4096, bytes: noise(50 * 4096, 'sparse') }]);
    b.file('empty');
    b.link('link', 'large');
    b.node('fifo', 'fifo');
  });
  tree.directory('c');
  tree.close();
}

/** By how much the clock of backups goes before that of the files, so that all look old to them. */
let aheadMs = 0;
beforeEach(async () => {
  source = join(scratch, `source${number}`);
  makeSource(source);
  aheadMs = HOUR_MS;
  const clock = { ...openClock(), nowMs: () => Date.now() + aheadMs };
  bench = await Bench.make(scratch, `repo${number++}`, { clock });
});
afterEach(() => bench.close());

const HOUR_MS = 3_600_000;
const READ_ALL = 1000 + 2000 + 3000 + 5_000_000 + 50 * 4096;
const FILES = 7;

test('what is unchanged is not read again; a full backup reads it, and stores nothing new', async () => {
  // Files are younger than the backup: each might still change within its time stamp.
  aheadMs = -HOUR_MS;
  const first = await bench.backup(source);
  assert.deepEqual([first.filesSeen, first.bytesRead], [FILES, READ_ALL]);
  assert.deepEqual(first.previous, undefined);
  assert.equal((await bench.backup(source)).bytesRead, READ_ALL);
  aheadMs = HOUR_MS;
  const read = await bench.backup(source);
  assert.equal(read.bytesRead, READ_ALL);
  const unchanged = await bench.backup(source);
  assert.deepEqual(counts(unchanged), {
    filesNew: 0,
    filesChanged: 0,
    filesUnchanged: FILES,
    bytesRead: 0,
  });
  assert.equal(unchanged.previous?.id, read.archive?.id);
  await assertStored();
  const full = await bench.backup(source, { full: true });
  assert.equal(full.bytesRead, READ_ALL);
  // The manifest only: what it says of its entries' age is new.
  assert.ok(full.bytesNew < 10_000, `${full.bytesNew}`);
  await assertStored();
  assert.equal((await bench.backup(source)).bytesRead, 0);
});

test('each kind of change is noticed', async () => {
  await bench.backup(source);
  const changes: readonly (readonly [name: string, read: number, change: () => void])[] = [
    ['same length', 1000, () => writeFileSync(at('a/one'), prose(1000, 'other'))],
    ['appended to', 5_000_004, () => writeFileSync(at('b/large'), 'more', { flag: 'a' })],
    ['touched', 3000, () => utimesSync(at('a/inner/three'), 5, 5)],
    ['another mode', 3000, () => chmodSync(at('a/inner/three'), 0o600)],
    ['renamed', 3000, () => renameSync(at('a/inner/three'), at('a/inner/four'))],
    ['moved', 3000, () => renameSync(at('a/inner/four'), at('c/four'))],
    ['added', 3, () => writeFileSync(at('c/new'), 'new')],
    ['deleted', 0, () => rmSync(at('c/new'))],
    ['a directory renamed', 3000, () => renameSync(at('a'), at('d'))],
    ['a directory gone', 0, () => rmSync(at('d/inner'), { recursive: true })],
  ];
  for (const [name, read, change] of changes) {
    change();
    assert.equal((await bench.backup(source)).bytesRead, read, name);
    await assertStored();
  }
  assert.equal((await bench.backup(source)).bytesRead, 0);
  await assertStored();
});

test('a change that leaves size and times as they were is noticed by the change time', async () => {
  const times = [1_500_000_000, 1_500_000_000] as const;
  utimesSync(at('a/one'), ...times);
  await bench.backup(source);
  writeFileSync(at('a/one'), prose(1000, 'sneaky'));
  utimesSync(at('a/one'), ...times);
  const changed = await bench.backup(source);
  assert.deepEqual(counts(changed), {
    filesNew: 0,
    filesChanged: 1,
    filesUnchanged: FILES - 1,
    bytesRead: 1000,
  });
  await assertStored();
});

test('kinds that change places', async () => {
  await bench.backup(source);
  rmSync(at('a'), { recursive: true });
  writeFileSync(at('a'), 'a file now');
  rmSync(at('b/large'));
  const tree = TreeMaker.open(at('b'));
  tree.directory('large', (large) => large.file('x', 'in it'));
  tree.remove('link');
  tree.node('link', 'fifo');
  tree.remove('fifo');
  tree.link('fifo', 'x');
  tree.close();
  await bench.backup(source);
  await assertStored();
});

test('further links that come, go and change places', async () => {
  await bench.backup(source);
  renameSync(at('a/two'), at('z'));
  await bench.backup(source);
  await assertStored();
  rmSync(at('a/two again'));
  await bench.backup(source);
  await assertStored();
  const tree = TreeMaker.open(at('a'));
  const top = TreeMaker.open(source);
  top.hardLink('z', tree, '0');
  top.hardLink('z', tree, 'inner link');
  tree.close();
  top.close();
  await bench.backup(source);
  await assertStored();
  assert.equal((await bench.backup(source)).bytesRead, 0);
  await assertStored();
});

test('earlier archives stay as they were', async () => {
  const { archive } = await bench.backup(source);
  const was = capture(source);
  rmSync(at('b'), { recursive: true });
  writeFileSync(at('a/one'), 'changed');
  await bench.backup(source);
  await assertStored();
  assert.ok(archive !== undefined);
  await assertStored(archive, was);
  await bench.assertWhole();
});

test('archives of other names are no base', async () => {
  await bench.backup(source, { name: 'one' });
  const two = await bench.backup(source, { name: 'two' });
  assert.deepEqual([two.bytesRead, two.previous], [READ_ALL, undefined]);
  assert.equal((await bench.backup(source, { name: 'one' })).bytesRead, 0);
});

test('a base whose chunks are gone is no reason to fail: what it would have spared is read', async () => {
  const first = await bench.backup(source);
  for (const chunk of first.archive?.chunks ?? [])
    rmSync(join(bench.path, 'chunks', chunk.slice(0, 2), chunk));
  const again = await bench.backup(source);
  assert.deepEqual([again.bytesRead, again.told], [READ_ALL, []]);
  await assertStored();
});
