/**
 * Goal: data that went to volumes comes back from them, whatever ended the session that wrote them; the
 * records of other archives are not read for it (L3, L5, M13).
 *
 * Method: whole commands on small tape images; what is restored is compared with its source, and what
 * is on the images is read by a reader that shares no code with the program.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { penstock, start, succeed, untilOld } from '../commands.ts';
import { readTap } from '../tap-reader.ts';
import { noise, prose } from '../tree-make.ts';
import {
  assertRestores,
  makePool,
  makeTree,
  rootChunks,
  scratch,
  volumeStates,
} from '../volume-commands.ts';

describe('a pool of tape images', () => {
  test('holds the data of archives, and gives them back', async () => {
    const source = makeTree('first', 30);
    await untilOld();
    const { repo, tapes } = makePool('first', '64M');
    const first = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]).summary;
    assert.deepEqual(readdirSync(tapes), ['TAP001.tap']);
    // Of the manifest, and of the session: no data lies in the repository itself.
    assert.equal(rootChunks(repo), 2);
    const objects = readTap(join(tapes, 'TAP001.tap'));
    const bytes = objects.reduce((sum, one) => sum + (one === 'mark' ? 0 : one.length), 0);
    assert(bytes > Number(first.bytesStored), `${bytes} bytes for ${first.bytesStored}`);
    assertRestores(repo, first.archive as string, source);

    const second = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]).summary;
    assert.equal(second.bytesRead, 0, 'an unchanged tree is not read again');
    assertRestores(repo, second.archive as string, source);
    succeed(['check', '--read-data', '--repo', repo]);
  });

  test('does not count as known what only the repository itself holds', async () => {
    const source = makeTree('apart', 6);
    const { repo } = makePool('apart', '64M');
    const root = succeed(['backup', source, '--repo', repo]).summary;
    const taped = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]).summary;
    assert(Number(taped.bytesNew) >= Number(root.bytesNew), 'stored once more, on the volume');
    // And the other way round: archives in the repository do not rely on volumes.
    rmSync(join(scratch, 'apart-tapes'), { recursive: true });
    writeFileSync(join(source, 'more'), prose(5000, 'more'));
    const later = succeed(['backup', source, '--repo', repo]).summary;
    assertRestores(repo, later.archive as string, source);
    // What the volume held is here too: content comes from wherever it is.
    const target = join(scratch, 'apart-taped');
    succeed(['restore', taped.archive as string, '--target', target, '--repo', repo]);
    rmSync(join(source, 'more'));
    const names = (tree: string): string[] =>
      readdirSync(tree, { recursive: true }).map(String).sort();
    assert.deepEqual(names(join(target, source)), names(source));
  });

  test('goes on, on the next volume, where one ends', async () => {
    const source = makeTree('long', 120);
    const { repo, tapes } = makePool('long', '10M');
    const { archive } = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]).summary;
    assert.deepEqual(readdirSync(tapes).sort(), ['TAP001.tap', 'TAP002.tap']);
    assertRestores(repo, archive as string, source);
    assert.deepEqual(volumeStates(repo), ['full', 'appendable']);
  });
});

test('several archives at once: each comes back without the records of the others', async () => {
  const sources = ['one', 'two', 'three'].map((name, i) => makeTree(name, 20 + 10 * i));
  await untilOld();
  const { repo } = makePool('each', '64M');
  const { summary } = succeed(['backup', '--each', ...sources, '--pool', 'tapes', '--repo', repo]);
  const archives = summary.archives as { archive: string; bytesStored: number }[];
  assert.equal(archives.length, 3);
  for (const [i, { archive, bytesStored }] of archives.entries()) {
    const { volumes } = assertRestores(repo, archive, sources[i] as string);
    assert(volumes !== undefined && volumes.recordsRead > 0);
    assert(volumes.bytesRead <= bytesStored * 1.05, `${volumes.bytesRead} of ${bytesStored}`);
    assert.equal(volumes.recordsOfOthers, 0);
  }
  // What is excluded stays out, and what is unchanged unread.
  const again = ['backup', '--each', ...sources, '--exclude', 'file-1', '--repo', repo];
  succeed([...again, '--pool', 'tapes']);
  const changed = join(sources[1] as string, 'folder-1', 'file-6');
  writeFileSync(changed, 'new');
  const last = succeed([...again, '--pool', 'tapes']).summary.archives as {
    archive: string;
    bytesRead: number;
  }[];
  assert.deepEqual(
    last.map(({ bytesRead }) => bytesRead),
    [0, 3, 0],
  );
  const target = join(scratch, 'each-again');
  succeed(['restore', last[1]?.archive as string, '--target', target, '--repo', repo]);
  const folder = join(target, sources[1] as string, 'folder-1');
  const names = Array.from({ length: 6 }, (_, i) => `file-${5 * i + 1}`).filter(
    (name) => name !== 'file-1',
  );
  assert.deepEqual(readdirSync(folder).sort(), names.sort());
  assert.equal(readFileSync(join(folder, 'file-6'), 'utf8'), 'new');
});

test('more archives at once than the drive has buffers for: the later ones wait for the others', async () => {
  const sources = Array.from({ length: 20 }, (_, i) => makeTree(`many-${i}`, 2));
  const { repo } = makePool('many', '10M', '--chunk-size', '4M');
  const { summary } = succeed(['backup', '--each', ...sources, '--pool', 'tapes', '--repo', repo]);
  const archives = summary.archives as { archive: string }[];
  assert.equal(archives.length, 20);
  for (const i of [0, 13, 19])
    assertRestores(repo, archives[i]?.archive as string, sources[i] as string);
  succeed(['check', '--read-data', '--repo', repo]);
});

test('the drive synchronises after as much as the pool says, not at the end of each chunk', async () => {
  const source = makeTree('synchronised', 100);
  const synchronisations = (name: string, ...more: string[]): number => {
    const { repo } = makePool(name, '64M', '--chunk-size', '2100K', ...more);
    const { summary } = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]);
    assertRestores(repo, summary.archive as string, source);
    return (summary.drive as { synchronisations: number }).synchronisations;
  };
  const seldom = synchronisations('seldom');
  const often = synchronisations('often', '--sync-every', '1M', '--buffers', '13M');
  // Of the chunks of data there are three at least, and one of manifests.
  assert(seldom <= 3, `${seldom} times`);
  assert(often > seldom, `${often} and ${seldom} times`);
});

test('a backup to volumes that was killed continues, and earlier archives stay', async () => {
  const earlier = makeTree('earlier', 8);
  const source = makeTree('killed', 100);
  const { repo } = makePool('killed', '64M', '--chunk-size', '4M');
  const first = succeed(['backup', earlier, '--pool', 'tapes', '--repo', repo]).summary
    .archive as string;
  const args = [
    'backup',
    source,
    '--pool',
    'tapes',
    '--repo',
    repo,
    '--checkpoint-interval',
    '50ms',
  ];
  const isPartialThere = (): boolean => readdirSync(join(repo, 'archives')).length > 1;
  const { child, ended } = start(args);
  while (!isPartialThere() && child.exitCode === null) await sleep(5);
  child.kill('SIGKILL');
  await ended;
  succeed(['check', '--read-data', '--repo', repo]);
  const again = succeed(args).summary;
  succeed(['check', '--read-data', '--repo', repo]);
  assertRestores(repo, again.archive as string, source);
  assertRestores(repo, first, earlier);
});

test('a volume that is not there is named, and the next one is taken for writing', async () => {
  const source = makeTree('away', 4);
  const { repo, tapes } = makePool('away', '64M');
  const { archive } = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]).summary;
  renameSync(join(tapes, 'TAP001.tap'), join(scratch, 'TAP001.away'));
  const target = join(scratch, 'away-target');
  const failed = penstock(['restore', archive as string, '--target', target, '--repo', repo]);
  assert.notEqual(failed.status, 0);
  assert.match(failed.stdout, /TAP001/);
  writeFileSync(join(source, 'more'), noise(200_000, 'more'));
  const { archive: later } = succeed([
    'backup',
    source,
    '--full',
    '--pool',
    'tapes',
    '--repo',
    repo,
  ]).summary;
  assertRestores(repo, later as string, source);
  renameSync(join(scratch, 'TAP001.away'), join(tapes, 'TAP001.tap'));
  succeed(['check', '--read-data', '--repo', repo]);
});

test('two backups to one pool at once write to volumes of their own', async () => {
  const sources = [makeTree('beside-a', 60), makeTree('beside-b', 60)];
  await untilOld();
  const { repo, tapes } = makePool('beside', '64M');
  const runs = sources.map((source) =>
    start(['backup', source, '--pool', 'tapes', '--repo', repo]),
  );
  for (const [i, { ended }] of runs.entries()) {
    const run = await ended;
    assert.equal(run.status, 0, run.stdout);
    assertRestores(repo, run.summary.archive as string, sources[i] as string);
  }
  const names = readdirSync(tapes).sort();
  assert(names.length <= 2, `a volume of each at most: ${names}`);
  succeed(['check', '--read-data', '--repo', repo]);
});

test('an image that is not ours is left alone', async () => {
  const source = makeTree('strange', 4);
  const { repo, tapes } = makePool('strange', '64M');
  const foreign = Buffer.from('0400000041424344040000000000000000000000', 'hex');
  writeFileSync(join(tapes, 'TAP001.tap'), foreign);
  const { archive } = succeed(['backup', source, '--pool', 'tapes', '--repo', repo]).summary;
  assert.deepEqual(readFileSync(join(tapes, 'TAP001.tap')), foreign);
  assertRestores(repo, archive as string, source);
});
