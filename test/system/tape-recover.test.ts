/**
 * Goal: a repository that is lost comes back from its tapes, by a library or one after the other in a drive,
 * with the pool as it was (M8).
 * Method: whole commands against Debian's tgt on loopback; what is restored is compared with its source.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { type JsonLine, penstock, type Run, succeed, untilOld } from '../commands.ts';
import { attended } from '../tape-attendant.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { assertRestores, scratch } from '../volume-commands.ts';
import { makeTree } from '../volume-place.ts';

const skip = tgtMissing();
const FILE_BYTES = 200_000;
const TAPES = ['TAP001L8', 'TAP002L8'];
let server: TgtServer;
let library = 0;
let archives: string[] = [];
let pool: JsonLine | undefined;
const sources: string[] = [];

/** One archive on the first tape, and one that goes on to the second; then the repository is lost. */
before(async () => {
  if (skip !== undefined) return;
  server = await TgtServer.start();
  library = await server.addTarget();
  for (const label of TAPES) await server.makeTape(label, 6);
  await server.addEmptyDrive(library, 1);
  await server.addChanger(library, 2, [...TAPES, ''], [1]);
  sources.push(makeTree('small', 6, FILE_BYTES), makeTree('large', 54, FILE_BYTES));
  await untilOld();
  const repo = join(scratch, 'lost');
  succeed(['init', '--repo', repo]);
  const place = ['--device', server.url(library, 1), '--changer', server.url(library, 2)];
  const settings = ['--chunk-size', '3M', '--mark-every', '4M', '--log-entries', 'record'];
  succeed(['pool', 'add', 'lto', '--kind', 'tape', ...place, ...settings, '--repo', repo]);
  archives = sources.map(
    (source) =>
      succeed(['backup', source, '--pool', 'lto', '--repo', repo]).summary.archive as string,
  );
  assert.deepEqual(volumesOf(repo), ['TAP001 full', 'TAP002 appendable']);
  pool = poolOf(repo);
  rmSync(repo, { recursive: true });
});
after(async () => await server?.stop());

const linesOf = (command: string, repo: string, type: string): JsonLine[] =>
  succeed([...command.split(' '), '--repo', repo])
    .stdout.split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JsonLine)
    .filter((line) => line.type === type);

const volumesOf = (repo: string): string[] =>
  linesOf('volume list', repo, 'volume').map(({ name, state }) => `${name} ${state}`);
const archivesOf = (repo: string): string[] =>
  linesOf('archives', repo, 'archive').map(({ id }) => id as string);

/** How the pool is written. */
function poolOf(repo: string): JsonLine {
  const one = linesOf('pool list', repo, 'pool')[0] as JsonLine;
  const { id: _, created: __, volumes: ___, chunks: ____, bytes: _____, ...settings } = one;
  return settings as JsonLine;
}

test('all tapes of a library, one after the other', { skip }, async () => {
  const repo = join(scratch, 'by-library');
  const drive = server.url(library, 1);
  const alone = ['catalog', 'rebuild', '--drive', '1', '--volumes', drive, '--repo', repo];
  assert.equal(penstock(alone).status, 2, '--drive needs --changer');
  const changer = ['--changer', server.url(library, 2)];
  const { summary } = succeed([
    ...['catalog', 'rebuild', '--volumes', drive, ...changer, '--repo', repo],
  ]);
  assert.deepEqual([summary.volumes, summary.problems], [2, []]);
  assert.deepEqual(poolOf(repo), pool, 'the pool is as it was');
  assert.deepEqual(volumesOf(repo), ['TAP001 full', 'TAP002 appendable']);
  for (const [i, archive] of archives.entries())
    assertRestores(repo, archive, sources[i] as string);
  const next = succeed(['backup', sources[1] as string, '--pool', 'lto', '--repo', repo]);
  assert.equal(next.summary.bytesRead, 0, 'the next backup goes on where the last one ended');
});

test('one tape after the other in a drive, the last one first', { skip }, async () => {
  const tid = await server.addTarget();
  const home = server.mediaHome();
  await server.addDrive(tid, 1, await server.makeTape('EMPTY1', 4));
  const repo = join(scratch, 'by-hand');
  const rebuild = ['catalog', 'rebuild', '--volumes', server.url(tid, 1), '--repo', repo];
  const empty = penstock(rebuild);
  assert.equal(empty.status, 1);
  assert.equal(empty.errors[0]?.code, 'VOLUME_MISSING');
  await server.changeTape(tid, 1, join(home, 'TAP002L8'));
  const second = penstock(rebuild);
  // Of what its archives need, something is on the other tape.
  assert.equal(second.status, 3, second.stderr);
  await server.changeTape(tid, 1, join(home, 'TAP001L8'));
  // All but the chunk that lies on both: the drive never has both at once.
  const { summary } = succeed(rebuild, {}, 3);
  assert.deepEqual(summary.volumesAway, ['TAP002']);
  const problems = (summary.problems as string[]).join('\n');
  assert.match(problems, /volume TAP001 and TAP002: not all there at once, and 1 chunk/);
  const found = archivesOf(repo);
  assert(
    archives.every((id) => found.includes(id)),
    found.join(),
  );
  assert.deepEqual(volumesOf(repo), ['TAP001 full', 'TAP002 appendable']);
  assert.equal((poolOf(repo) as { chunkBytes?: number }).chunkBytes, 3 * 2 ** 20);
  assertRestores(repo, archives[0] as string, sources[0] as string);
  const again = succeed(rebuild, {}, 3).summary;
  assert.deepEqual([again.chunksIndexed, again.archivesMade], [0, []]);
  // Where somebody changes the tapes, that chunk is read too. What is asked for is on standard error:
  // who looks at a chunk waits for the drive.
  const withTapes = async (args: readonly string[]): Promise<Run> => {
    const run = await attended([...args, '--mount-wait', '2m'], async ({ tapes }) => {
      await server.changeTape(tid, 1, join(home, `${tapes[0]}L8`));
    });
    assert.equal(run.status, 0, `${run.stdout}${run.stderr}`);
    return run;
  };
  assert.equal((await withTapes(rebuild)).summary.chunksIndexed, 1);
  const target = join(scratch, 'by-hand-restored');
  const source = sources[1] as string;
  await withTapes(['restore', archives[1] as string, '--target', target, '--repo', repo]);
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
});
