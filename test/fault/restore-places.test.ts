/**
 * Situation: blocks of files' content are damaged; some of their blobs stand in another chunk too.
 * Goal: a restore takes them from there; what is whole nowhere is told, once a file.
 * Method: bits are flipped in the chunks of one of two sessions that stored the same, or single
 * blobs are spoiled in the index; what is restored is compared with the source, entry by entry. Backups
 * after such damage store anew what is gone.
 */
import assert from 'node:assert/strict';
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Bench, Told } from '../bench.ts';
import { untilOld } from '../commands.ts';
import { blobsOf, spoilBlob } from '../spoil.ts';
import { assertSameTree, capture, type Tree } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { copyOf, newBench, newPath, newTarget, scratch } from './restore-fixture.ts';

/** The entries of a tree at these paths. */
const only = (tree: Tree, keep: (path: string) => boolean): Tree =>
  new Map([...tree].filter(([path]) => keep(path)));

/** Flips bits in every block of the chunks of a folder. */
function spoilChunks(folder: string, ids: readonly string[]): void {
  for (const id of ids) {
    const path = join(folder, 'chunks', id);
    const bytes = readFileSync(path);
    for (let at = 200; at < bytes.length; at += 100) bytes[at] = (bytes[at] ?? 0) ^ 8;
    writeFileSync(path, bytes);
  }
}
const chunksIn = (folder: string): string[] =>
  readdirSync(join(folder, 'chunks'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.name.slice(0, 2), entry.name));

/** A tree with files of one piece and of several, a further link, and times that must stay. */
function makeMixed(): string {
  const source = newPath('source');
  for (const directory of ['a', 'b']) mkdirSync(join(source, directory), { recursive: true });
  for (let i = 0; i < 60; i++) writeFileSync(join(source, `a/${i}`), `small ${i}`);
  writeFileSync(join(source, 'a/large'), noise(5_000_000, 'large'));
  linkSync(join(source, 'a/7'), join(source, 'b/seven'));
  linkSync(join(source, 'a/large'), join(source, 'b/large'));
  for (const directory of ['a', 'b']) utimesSync(join(source, directory), 1e9, 1e9);
  return source;
}

/** Two repositories of one key that hold the same, also of the directories above: others may work there. */
async function twoAlike(source: string): Promise<readonly [Bench, Bench]> {
  for (;;) {
    const one = await newBench();
    const two = await copyOf(one);
    const archives = [await one.backup(source), await two.backup(source)];
    const [first, second] = archives.map(({ archive }) => archive?.root.ref.name.toString('hex'));
    if (first === second) return [one, two];
  }
}

test('where the first place of a blob is damaged, files come from the second', async () => {
  const source = makeMixed();
  const [empty, { path: other }] = await twoAlike(source);
  const own = chunksIn(empty.path);
  const theirs = chunksIn(other);
  // As two sessions side by side leave it: each blob stands in two chunks.
  for (const folder of ['chunks', 'index'])
    cpSync(join(other, folder), join(empty.path, folder), { recursive: true });
  for (const [i, spoiled] of [own, theirs, [...own, ...theirs]].entries()) {
    const bench = await copyOf(empty);
    const { path } = bench;
    const archive = await bench.archive();
    spoilChunks(path, spoiled);
    if (i === 2) {
      await assert.rejects(bench.restore(newTarget(), { archive }), { code: 'DAMAGED' });
      continue;
    }
    for (const dryRun of [false, true]) {
      const target = newTarget();
      const { told, files, bytes } = await bench.restore(target, { archive, dryRun });
      assert.deepEqual(told, []);
      assert.equal(files, 63);
      const small = Array.from({ length: 60 }, (_, n) => `small ${n}`.length);
      assert.equal(
        bytes,
        small.reduce((a, b) => a + b, 5_000_000),
      );
      if (!dryRun) assertSameTree(capture(join(target, source)), capture(source));
    }
  }
});

test('files of which no place is whole are told once each, and the others come back', async () => {
  const source = makeMixed();
  const bench = await newBench();
  await bench.backup(source);
  const archive = await bench.archive();
  const top = source.slice(1);
  const expected = capture(source);
  const { names } = await blobsOf(bench.repository, archive, `${top}/a/large`);
  assert.ok(names.length > 3);
  for (const name of names) await spoilBlob(bench.repository, name, 'damaged');
  const small = await blobsOf(bench.repository, archive, `${top}/a/8`);
  await spoilBlob(bench.repository, small.names[0] as Buffer, 'damaged');
  for (const dryRun of [false, true]) {
    const target = newTarget();
    const { told, files } = await bench.restore(target, { archive, dryRun });
    const codes = (one: Told): string => `${one.code} ${one.path.slice(top.length + 1)}`;
    const lost = ['DAMAGED a/8', 'DAMAGED a/large'];
    assert.deepEqual(told.map(codes).sort(), [...lost, 'RESTORE_PARTIAL b/large']);
    if (dryRun) continue;
    assert.equal(files, 60);
    const gone = ['a/8', 'a/large', 'b/large'];
    assertSameTree(
      capture(join(target, source)),
      only(expected, (path) => !gone.includes(path)),
    );
  }
});

test('a full backup trusts no blob whose chunk is gone', async () => {
  const source = makeMixed();
  const bench = await newBench();
  await bench.backup(source);
  for (const id of chunksIn(bench.path)) {
    cpSync(join(bench.path, 'chunks', id), join(scratch, 'taken'));
    rmSync(join(bench.path, 'chunks', id));
    const { told } = await bench.backup(source, { full: true });
    assert.deepEqual(told, []);
    const target = newTarget();
    assert.deepEqual((await bench.restore(target)).told, []);
    assertSameTree(capture(join(target, source)), capture(source));
    renameSync(join(scratch, 'taken'), join(bench.path, 'chunks', id));
  }
});

test('a backup whose base is damaged reads anew what it cannot look up', async () => {
  const source = makeMixed();
  await untilOld();
  for (const how of ['missing', 'damaged'] as const) {
    const bench = await newBench();
    await bench.backup(source);
    assert.ok((await bench.backup(source)).bytesRead < 100);
    await spoilBlob(bench.repository, (await bench.archive()).root.ref.name, how);
    writeFileSync(join(source, `a/new ${how}`), `new ${how}`);
    const { told, bytesRead } = await bench.backup(source);
    assert.deepEqual(told, []);
    assert.ok(bytesRead > 5_000_000);
    const target = newTarget();
    assert.deepEqual((await bench.restore(target)).told, []);
    assertSameTree(capture(join(target, source)), capture(source));
  }
});
