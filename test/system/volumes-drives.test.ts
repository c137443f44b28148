/**
 * Goal: where a pool has several drives, the archives of one command go to several volumes at the same time,
 * each wholly to one of them; and what ends, kills or fails one of them costs the others nothing (L3).
 *
 * Method: whole commands on small tape images; what is restored is compared with its source, and what
 * is on the images is read by a reader that shares no code with the program.
 */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type JsonLine, start } from '../commands.ts';
import { Gate } from '../gate.ts';
import { readTap } from '../tap-reader.ts';
import { until } from '../until.ts';
import {
  assertRestores,
  backup,
  makePlace,
  makeTree,
  type Place,
  scratch,
  volumeNames,
} from '../volume-place.ts';

const MB = 1_000_000;

/** A tree whose last file is held at a gate. */
function makeHeldTree(name: string, files: number): string {
  const root = makeTree(name, files, 1.5 * MB);
  writeFileSync(join(root, 'the last'), name);
  return root;
}
/** A backup of several trees to their own volumes that has all but the last file of each. */
function startHeld(place: Place, sources: readonly string[]) {
  const gate = new Gate(scratch, `openRead:name=the last:repeat=${sources.length}`);
  const env = { ...place.options.env, ...gate.env };
  const args = ['backup', '--each', ...sources, ...place.pool];
  return { ...start(args, { ...place.options, env }), gate };
}

/** The streams whose records lie on an image. */
function streamsOf(path: string): Set<string> {
  const records = readTap(path).filter(
    (one) => one !== 'mark' && one.toString('latin1', 0, 4) === 'PTAG',
  );
  return new Set(records.map((one) => (one as Buffer).toString('hex', 64, 80)));
}

const lengthOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

const sessionsOf = (place: Place, volume: string): JsonLine[] =>
  place.lines('volume', 'log', volume).filter(({ type }) => type === 'session');

test('four archives at once go to two volumes, which are written at the same time', () => {
  const sources = ['one', 'two', 'three', 'four'].map((name) => makeTree(name, 8));
  const place = makePlace('both', '--drives', '2');
  const summary = place.run('backup', '--each', ...sources, '--pool', 'tapes');
  const archives = summary.archives as { archive: string }[];
  assert.deepEqual(readdirSync(place.tapes).sort(), ['TAP001.tap', 'TAP002.tap']);
  const drives = summary.drives as { bytes: number; volumes: { volume: string }[] }[];
  assert.equal(drives.length, 2);
  assert(drives.every(({ bytes }) => bytes > 2 * 8 * 300_000));
  const [first, second] = [streamsOf(place.tap('TAP001')), streamsOf(place.tap('TAP002'))];
  assert.deepEqual([first.size, second.size], [2, 2]);
  assert.equal(first.union(second).size, 4, 'each stream is on one of them only');
  const [one, two] = ['TAP001', 'TAP002'].map((volume) => sessionsOf(place, volume));
  assert.deepEqual([one?.length, two?.length], [1, 1]);
  assert.equal(one?.[0]?.id, two?.[0]?.id, 'they are of one command');
  assert(String(one?.[0]?.started) < String(two?.[0]?.ended), 'at the same time');
  assert(String(two?.[0]?.started) < String(one?.[0]?.ended), 'at the same time');
  for (const i of [0, 1])
    assertRestores(place, archives[i]?.archive as string, sources[i] as string);
  place.run('check', '--read-data');
  // No more than there may be, and of images only.
  const images = ['--kind', 'tape-image', '--path', place.tapes, '--volume-size', '64M'];
  assert.equal(place.fails('pool', 'add', 'more', ...images, '--drives', '17'), 'USAGE');
  const tapes = ['--kind', 'tape', '--device', 'iscsi://127.0.0.1/iqn.2001-04.com.example:one/1'];
  assert.equal(place.fails('pool', 'add', 'more', ...tapes, '--drives', '2'), 'USAGE');
});

test('one archive goes to one volume; of several at once one goes on from its end to the next', () => {
  const [long, short] = [makeTree('ends-long', 40), makeTree('ends-short', 8)];
  const place = makePlace('ends', '--drives', '4', '--volume-size', '10M');
  const alone = place.run('backup', short, '--pool', 'tapes');
  assert(Number((alone.drive as JsonLine | undefined)?.bytes) > 8 * 300_000);
  assert.deepEqual(readdirSync(place.tapes), ['TAP001.tap']);
  const sources = [long, makeTree('ends-other', 8)];
  const archives = backup(place, ...sources);
  const volumes = place.lines('volume', 'list').filter(({ type }) => type === 'volume');
  assert.deepEqual(volumes.map(({ state }) => state).sort(), ['appendable', 'appendable', 'full']);
  assert.equal(new Set(volumes.map(({ sequence }) => sequence)).size, 3);
  assert.equal(sessionsOf(place, 'TAP001').length, 2);
  for (const [i, archive] of archives.entries())
    assertRestores(place, archive, sources[i] as string);
});

test('killed while it writes to two volumes, a backup goes on from what is safe on both', async () => {
  const sources = [makeHeldTree('killed-a', 10), makeHeldTree('killed-b', 10)];
  const settings = ['--drives', '2', '--chunk-size', '2200K', '--sync-every', '2M'];
  const place = makePlace('killed', ...settings);
  const { child, ended, gate } = startHeld(place, sources);
  await gate.reached(ended);
  await until(
    () =>
      ['TAP001', 'TAP002'].every((name) => lengthOf(place.tap(name)) > 5 * MB) &&
      readdirSync(join(place.repo, 'index')).length >= 4,
  );
  child.kill('SIGKILL');
  assert.equal((await ended).signal, 'SIGKILL', 'it was interrupted');
  // Of the last one of each, the segment may not have been stored.
  const committed = Number(place.run('check', '--read-data').bytesRead) - 2 * 2.2 * MB;
  assert(committed > 0, `${committed} bytes were committed`);
  const again = place.run('backup', '--each', ...sources, '--pool', 'tapes');
  const archives = again.archives as { archive: string; bytesNew: number }[];
  const stored = archives.reduce((sum, one) => sum + one.bytesNew, 0);
  const all = 2 * 10 * 1.5 * MB;
  assert(stored < all - committed, `${stored} after ${committed}`);
  for (const [i, { archive }] of archives.entries())
    assertRestores(place, archive, sources[i] as string);
  assert.deepEqual(volumeNames(place), ['TAP001', 'TAP002']);
});

test('one drive fails: the archives of the other are whole, and its session ends in order', async () => {
  const sources = [makeHeldTree('fails-a', 3), makeHeldTree('fails-b', 3)];
  const place = makePlace('fails', '--drives', '2');
  const { child, ended, gate } = startHeld(place, sources);
  await gate.reached(ended);
  const second = place.tap('TAP002');
  await until(() => lengthOf(second) > 0.5 * MB);
  rmSync(second);
  await gate.openUntil(() => child.exitCode !== null);
  const run = await ended;
  assert.equal(run.status, 1, run.stdout);
  assert.equal(run.errors[0]?.code, 'VOLUME_IO');
  assert.match(String(run.errors[0]?.message), /TAP002/);
  const kept = place.lines('archives').filter(({ type }) => type === 'archive');
  assert.equal(kept.length, 1);
  const [archive] = kept as unknown as { id: string; name: string }[];
  const source = sources.find((one) => archive?.name.endsWith(`:${one}`)) as string;
  assertRestores(place, archive?.id as string, source);
  assert.equal(sessionsOf(place, 'TAP001')[0]?.closed, true);
  // The other one goes to the next volume.
  const archives = backup(place, ...sources);
  const failed = sources.indexOf(source) === 0 ? 1 : 0;
  assertRestores(place, archives[failed] as string, sources[failed] as string);
});
