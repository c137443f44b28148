/**
 * Goal: what is on volumes can be pruned, moved to other pools, and read by a repository that knows nothing
 * of them any more (M8, M13, U7).
 *
 * Method: whole commands on small tape images; what is restored is compared with its source.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { penstock, succeed, untilOld } from '../commands.ts';
import { noise } from '../tree-make.ts';
import {
  assertRestores,
  makePool,
  makeTree,
  rootChunks,
  scratch,
  volumeStates,
} from '../volume-commands.ts';

test('what is not needed on volumes any more is given back, and the volume written anew', async () => {
  const first = makeTree('given', 12);
  const second = makeTree('kept', 8);
  await untilOld();
  const { repo, tapes } = makePool('prune', '10M', '--chunk-size', '4M');
  const pool = ['--pool', 'tapes', '--repo', repo];
  const going = succeed(['backup', first, ...pool]).summary.archive as string;
  // What both have stands in the repository itself too: neither copy makes the other needless.
  const root = succeed(['backup', second, '--repo', repo]).summary.archive as string;
  succeed(['prune', '--repo', repo]);
  assert.deepEqual(volumeStates(repo), ['appendable'], 'what an archive needs stays');
  succeed(['forget', going, '--prune', '--repo', repo]);
  assert.deepEqual(volumeStates(repo), ['expired']);
  const kept = succeed(['backup', second, ...pool]).summary.archive as string;
  assert.deepEqual(readdirSync(tapes), ['TAP001.tap'], 'the expired volume was written anew');
  succeed(['prune', '--repo', repo]);
  succeed(['forget', root, '--prune', '--repo', repo]);
  succeed(['check', '--read-data', '--repo', repo]);
  assertRestores(repo, kept, second);
});

test('volumes and the passphrase are enough: all else is made again from them', async () => {
  const sources = [makeTree('lost-a', 60), makeTree('lost-b', 80)];
  await untilOld();
  const { repo, tapes } = makePool('lost', '10M', '--chunk-size', '3M');
  const pool = ['--pool', 'tapes', '--repo', repo];
  const first = succeed(['backup', '--each', ...sources, ...pool]).summary.archives as {
    archive: string;
  }[];
  writeFileSync(join(sources[0] as string, 'more'), noise(100_000, 'more'));
  await untilOld();
  const second = succeed(['backup', sources[0] as string, ...pool]).summary.archive as string;
  assert(readdirSync(tapes).length > 1, 'more than one volume');
  rmSync(repo, { recursive: true });
  const rebuilt = join(scratch, 'rebuilt');
  const run = penstock(['catalog', 'rebuild', '--volumes', tapes, '--repo', rebuilt]);
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`);
  const ids = succeed(['archives', '--repo', rebuilt])
    .stdout.split('\n')
    .filter((line) => line.includes('"type":"archive"'))
    .map((line) => JSON.parse(line).id);
  assert.deepEqual(ids.sort(), [...first.map(({ archive }) => archive), second].sort());
  assertRestores(rebuilt, second, sources[0] as string);
  assertRestores(rebuilt, first[1]?.archive as string, sources[1] as string);
  succeed(['check', '--read-data', '--repo', rebuilt]);
  // It is whole: the next backup goes on where the last one ended.
  const next = succeed([
    'backup',
    sources[0] as string,
    '--pool',
    'tapes',
    '--repo',
    rebuilt,
  ]).summary;
  assert.equal(next.bytesRead, 0);
});

test('chunks move from pool to pool, and archives stay what they are', async () => {
  const source = makeTree('moved', 120);
  await untilOld();
  const { repo, tapes } = makePool('moved', '10M', '--chunk-size', '4M');
  const archive = succeed(['backup', source, '--repo', repo]).summary.archive as string;
  const before = rootChunks(repo);
  const there = succeed(['migrate', 'root', '--to', 'tapes', '--repo', repo]).summary;
  assert.equal(there.chunks, before);
  assert(readdirSync(tapes).length > 1, 'more than one volume');
  // Those of the manifest stay, so that archives can be browsed without a volume.
  assert(rootChunks(repo) < before);
  assertRestores(repo, archive, source);
  succeed(['check', '--read-data', '--repo', repo]);
  const second = join(scratch, 'moved-more');
  mkdirSync(second);
  const settings = ['--kind', 'tape-image', '--path', second, '--volume-size', '64M'];
  succeed(['pool', 'add', 'more', ...settings, '--repo', repo]);
  succeed(['migrate', 'TAP001', '--to', 'more', '--repo', repo]);
  rmSync(join(tapes, 'TAP001.tap'));
  assertRestores(repo, archive, source);
  succeed(['migrate', 'tapes', 'more', '--to', 'root', '--repo', repo]);
  rmSync(tapes, { recursive: true });
  rmSync(second, { recursive: true });
  assertRestores(repo, archive, source);
  assert.equal(rootChunks(repo), before);
  const states = volumeStates(repo);
  assert(
    states.every((state) => state === 'expired'),
    states.join(),
  );
});
