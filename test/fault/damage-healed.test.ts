/**
 * Situation: bits have flipped in stored blocks.
 * Goal: once a check or a restore has come across them, the next backup stores anew what it still finds of
 * what they held, though no file has changed; then older archives come back whole, a prune takes the
 * damaged copies away, and a check finds nothing. What is nowhere any more stays told; nothing that is
 * whole is ever given up for what is not.
 * Method: blocks of known files are spoiled on a repository with small ones; whole archives are restored
 * and compared with what was backed up.
 */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { type Archive, listArchives } from '../../src/mover/archives.ts';
import { backup } from '../../src/mover/backup.ts';
import { type CheckResult, check } from '../../src/mover/check.ts';
import { readDamageNotes } from '../../src/mover/damage-notes.ts';
import { noteForgotten } from '../../src/mover/forgotten.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import type { Repository } from '../../src/mover/repository.ts';
import { restore } from '../../src/mover/restore.ts';
import { untilOld } from '../commands.ts';
import { blobsOf } from '../spoil.ts';
import {
  assertSame,
  backupRequest,
  numbered,
  openSmall,
  pruneNow,
  restoreContents,
  Scene,
  temporaryDirectory,
} from '../system/prune-fixture.ts';

let scene: Scene;
beforeEach(async () => {
  scene = await Scene.make(true);
  scene.write(numbered('f', 0, 40), 30_000);
});
afterEach(() => scene.close());

async function checked(repository: Repository, readData = true): Promise<CheckResult> {
  const signal = new AbortController().signal;
  const request = { readData, threads: 1, signal, onProgress: () => {} };
  const result = await check(repository, request);
  // The scene's blocks and chunks are smaller than its record says.
  return { ...result, damages: result.damages.filter(({ what }) => what !== 'repository record') };
}

const pathOf = (name: string): string => join(scene.source, name).slice(1);

interface Place {
  readonly chunk: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Where a blob of a file's content stands; the place that is read first. */
async function placeOf(archive: Archive, name: string): Promise<Place> {
  const { names } = await blobsOf(scene.repository, archive, pathOf(name));
  const reader = await openArchiveReader(scene.repository);
  try {
    const { index, chunkIds } = reader;
    assert.ok(index.find(must(names[0], 'a blob'), 0));
    const { chunk, blockOffset: offset, blockBytes: bytes } = index;
    return { chunk: must(chunkIds[chunk], 'a chunk'), offset, bytes };
  } finally {
    await reader.close();
  }
}

/** Flips a bit in the middle of a block; again, and it is as it was. */
function flip({ chunk, offset, bytes }: Place, folder: string = scene.repositoryPath): void {
  const path = join(folder, 'chunks', chunk.slice(0, 2), chunk);
  const stored = readFileSync(path);
  const at = offset + (bytes >> 1);
  stored[at] = (stored[at] ?? 0) ^ 4;
  writeFileSync(path, stored);
}

/** Restores an archive; the paths of what could not be restored. */
async function lostOf(archive: Archive): Promise<string[]> {
  const target = temporaryDirectory();
  const lost: string[] = [];
  try {
    await restore(scene.repository, {
      ...{ archive, paths: [], target, overwrite: 'never', dryRun: false, owners: false },
      ...{ threads: 1, signal: new AbortController().signal, onProgress: () => {} },
      onProblem: (path) => void lost.push(path),
    });
  } finally {
    rmSync(target, { recursive: true });
  }
  return lost.sort();
}

async function assertComesBack(archive: Archive): Promise<void> {
  assertSame(
    await restoreContents(scene.repository, archive),
    must(scene.wanted.get(archive.id), 'contents'),
  );
}

async function notedBlocks(repository: Repository = scene.repository): Promise<string[]> {
  const { blocks } = await readDamageNotes(repository);
  return [...blocks].flatMap(([chunk, offsets]) => [...offsets].map((at) => `${chunk} ${at}`));
}

async function assertClean(): Promise<void> {
  const { damages, notes } = await checked(scene.repository);
  assert.deepEqual(damages, []);
  assert.deepEqual(notes, []);
  assert.deepEqual(await notedBlocks(), []);
}

test('what a check has found damaged is stored anew, and older archives come back', async () => {
  await untilOld();
  const first = await scene.backup();
  const place = await placeOf(first, 'f7');
  flip(place);
  // Nobody has seen it yet.
  assert.deepEqual((await checked(scene.repository, false)).damages, []);
  const found = await checked(scene.repository);
  assert.deepEqual(
    found.damages.map(({ what, id, archives }) => ({ what, id, archives })),
    [{ what: 'chunk', id: place.chunk, archives: [first.id] }],
  );
  assert.deepEqual(await notedBlocks(), [`${place.chunk} ${place.offset}`]);
  assert.ok(found.damages[0]?.paths.includes(pathOf('f7')));
  // From now on it is known without reading all data; it is noted once.
  const { damages } = await checked(scene.repository, false);
  assert.deepEqual(damages[0]?.archives, [first.id]);
  assert.deepEqual(await notedBlocks(), [`${place.chunk} ${place.offset}`]);

  const lost = await lostOf(first);
  assert.ok(lost.length > 0 && lost.includes(pathOf('f7')));
  const { filesChanged, archive } = await backup(scene.repository, backupRequest(scene.source));
  assert.equal(filesChanged, lost.length, 'files in the block are read again, and no others');
  scene.wanted.set(must(archive, 'an archive').id, must(scene.wanted.get(first.id), 'contents'));
  for (const one of (await listArchives(scene.repository)).archives) await assertComesBack(one);

  for (const readData of [false, true]) {
    const { damages: left, notes } = await checked(scene.repository, readData);
    assert.deepEqual(left, []);
    assert.equal(notes.length, 1);
    assert.match(notes[0] ?? '', /stands elsewhere too/);
  }
  await pruneNow(scene.repository, { maxUnusedPercent: 100 });
  await assertClean();
  await scene.verify();
});

test('a restore that comes across damage has it stored anew too', async () => {
  const first = await scene.backup();
  const place = await placeOf(first, 'f3');
  flip(place);
  assert.ok((await lostOf(first)).includes(pathOf('f3')));
  assert.deepEqual(await notedBlocks(), [`${place.chunk} ${place.offset}`]);
  await scene.backup();
  await assertComesBack(first);
  await pruneNow(scene.repository);
  await assertClean();
});

test('what no file holds any more stays lost, told, and goes with its archives', async () => {
  scene.write(['gone'], 30_000);
  const first = await scene.backup();
  const place = await placeOf(first, 'gone');
  flip(place);
  await checked(scene.repository);
  scene.remove(['gone']);
  const second = await scene.backup();
  await assertComesBack(second);
  assert.deepEqual(await lostOf(first), [pathOf('gone')]);
  // The only copy, damaged or not, is not given up for room.
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.deepEqual(await lostOf(first), [pathOf('gone')]);
  const { damages } = await checked(scene.repository);
  assert.deepEqual(
    damages.map(({ id, archives, paths }) => ({ id, archives, paths })),
    [{ id: place.chunk, archives: [first.id], paths: [pathOf('gone')] }],
  );
  await noteForgotten(scene.repository, [first.id]);
  await scene.repository.store.remove('archives', first.id);
  scene.wanted.delete(first.id);
  await pruneNow(scene.repository, { maxUnusedPercent: 100 });
  await assertClean();
  await scene.verify();
});

test('a block that is whole again is taken off the notes, and serves again', async () => {
  await untilOld();
  const first = await scene.backup();
  for (const readData of [true, false]) {
    const place = await placeOf(first, 'f9');
    flip(place);
    await checked(scene.repository);
    assert.equal((await notedBlocks()).length, 1);
    flip(place);
    assert.deepEqual((await checked(scene.repository, readData)).damages, []);
    assert.deepEqual(await notedBlocks(), []);
    const { filesChanged } = await backup(scene.repository, backupRequest(scene.source));
    assert.equal(filesChanged, 0);
  }
});

test('a note that is wrong costs room, and never data', async () => {
  const first = await scene.backup();
  const place = await placeOf(first, 'f5');
  flip(place);
  await checked(scene.repository);
  flip(place);
  // Nothing else has this block: it is read all the same, and kept.
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  await assertComesBack(first);
  await scene.backup();
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  await scene.verify();
  await assertClean();
});

test('the copy that is stored anew is damaged as well: it is stored a third time', async () => {
  const first = await scene.backup();
  const places: Place[] = [];
  for (let round = 0; round < 2; round++) {
    const place = await placeOf(first, 'f1');
    assert.ok(!places.some(({ chunk }) => chunk === place.chunk));
    places.push(place);
    flip(place);
    await checked(scene.repository);
    await scene.backup();
    await assertComesBack(first);
  }
  assert.equal((await notedBlocks()).length, 2);
  await pruneNow(scene.repository);
  await assertClean();
  await scene.verify();
});

test('who opened the repository before the note still commits; a later backup heals', async () => {
  const first = await scene.backup();
  const other = await openSmall(scene.repositoryPath);
  const place = await placeOf(first, 'f2');
  flip(place);
  await Promise.all([
    checked(scene.repository),
    backup(other, backupRequest(scene.source, { name: 'other' })),
    backup(scene.repository, backupRequest(scene.source, { name: 'third' })),
  ]);
  await other.close();
  const contents = must(scene.wanted.get(first.id), 'contents');
  for (const { id } of (await listArchives(scene.repository)).archives)
    scene.wanted.set(id, contents);
  await Promise.all([scene.backup(), pruneNow(scene.repository)]);
  for (const archive of (await listArchives(scene.repository)).archives)
    await assertComesBack(archive);
  await pruneNow(scene.repository);
  await assertClean();
  await scene.verify();
});
