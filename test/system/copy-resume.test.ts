/**
 * Goal: an interrupted copy of a large file goes on where it was: what had arrived is checked and not sent
 * again, what was altered is, and of a file that is another one by now nothing is used (M11, P14).
 * Method: copies within a machine that are killed in the middle of a write, and copies between machines
 * that are stopped on their way.
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { type CopyPlace, type CopyResult, copy } from '../../src/mover/copy.ts';
import { startBehindProxies } from '../behind-proxies.ts';
import { penstock, scratchFolder, succeed } from '../commands.ts';
import { newMachine, pairedClient } from '../monitor-fixture.ts';
import { noise } from '../tree-make.ts';
import { until } from '../until.ts';

const MIB = 2 ** 20;
const SIZE = 24 * MIB + 17;
const scratch = scratchFolder();
const content = noise(SIZE, 'large');

function makeSource(name: string): string {
  const source = join(scratch, name);
  mkdirSync(source);
  writeFileSync(join(source, 'large'), content);
  writeFileSync(join(source, 'small'), 'small');
  return source;
}
const temporaries = (path: string): string[] =>
  readdirSync(path).filter((name) => name.startsWith('.penstock.'));

/** How many pieces the log of the large file has. */
function loggedPieces(path: string): number {
  if (!existsSync(path)) return 0;
  const log = temporaries(path).find((name) => name.endsWith('.map'));
  return log === undefined ? 0 : Math.floor(statSync(join(path, log)).size / 24) - 5;
}

/** A copy that is killed by its own write number `after`, in the middle. */
function runKilled(args: readonly string[], after: number): void {
  const env = { PENSTOCK_TEST: '1', PENSTOCK_FAULT: `write:after=${after}:torn:crash` };
  const { status } = penstock(['copy', ...args], { env });
  assert.equal(status, null, 'it was killed');
}
/** How much of the large file a summary says had arrived, which the rest agrees with. */
function resumedOf(summary: { [key: string]: unknown }, smallBytes: number): number {
  const { bytesResumed, bytesDone } = summary as { bytesResumed: number; bytesDone: number };
  assert.equal(bytesResumed + bytesDone, SIZE + smallBytes);
  return bytesResumed;
}

test('a copy that is killed twice goes on twice, in a tree and of a single file', () => {
  const source = makeSource('killed');
  for (const [from, target, small] of [
    [source, join(scratch, 'killed-tree'), 5],
    [join(source, 'large'), join(scratch, 'killed-item', 'large'), 0],
  ] as const) {
    const folder = target.replace(/\/large$/, '');
    if (folder !== target) mkdirSync(folder);
    runKilled([from, target], 18);
    assert.equal(temporaries(folder).length, 2);
    runKilled([from, target], 18);
    const { summary } = succeed(['copy', from, target]);
    const resumed = resumedOf(summary, summary.filesSame === 1 ? 0 : small);
    assert.ok(resumed > 8 * MIB, `${resumed} bytes were there`);
    assert.ok(readFileSync(join(folder, 'large')).equals(content));
    assert.deepEqual(temporaries(folder), []);
  }
});

test('bytes that were altered since are sent again', () => {
  const source = makeSource('altered');
  const target = join(scratch, 'altered-target');
  runKilled([source, target], 36);
  const place = temporaries(target).find((name) => !name.endsWith('.map')) ?? '';
  const fd = openSync(join(target, place), 'r+');
  writeSync(fd, Buffer.from('altered'), 0, 7, 2 * MIB + 5);
  closeSync(fd);
  const { summary } = succeed(['copy', source, target]);
  assert.ok((summary.bytesResumed as number) > 10 * MIB);
  assert.ok(readFileSync(join(target, 'large')).equals(content));
  assert.deepEqual(temporaries(target), []);
});

test('of a source that is another one by now nothing is used', () => {
  const source = makeSource('changed');
  const target = join(scratch, 'changed-target');
  runKilled([source, target], 36);
  utimesSync(join(source, 'large'), 1, 2);
  const { summary } = succeed(['copy', source, target]);
  assert.equal(summary.bytesResumed, 0);
  assert.ok(readFileSync(join(target, 'large')).equals(content));
  assert.deepEqual(temporaries(target), []);
});

test('copies between machines that were stopped go on, pushed and pulled', async (t) => {
  const there = makeSource('there');
  const here = makeSource('here');
  const client = await newMachine();
  const { far, data } = await startBehindProxies(t);
  pairedClient(far, client, { copyPaths: [there], access: [] }).close();
  const { fingerprint } = far.identity;
  const server = { host: '127.0.0.1', port: far.monitor.port, fingerprint };
  const run = (source: CopyPlace, target: CopyPlace, signal: AbortSignal): Promise<CopyResult> =>
    copy({
      source,
      target,
      network: { identity: client.identity, links: 2 },
      owners: true,
      byNumber: false,
      syncs: false,
      dryRun: false,
      threads: 2,
      signal,
      onProblem: (_path, { message }) => assert.fail(message),
      onProgress: () => undefined,
    });
  for (const [source, target, folder] of [
    [{ path: fromText(here) }, { path: fromText(join(there, 'pushed')), server }, 'there/pushed'],
    [{ path: fromText(there), server }, { path: fromText(join(here, 'pulled')) }, 'here/pulled'],
  ] as const) {
    const path = join(scratch, folder);
    const stop = new AbortController();
    const held = data.after(10 * MIB, () => data.hold());
    const stopped = run(source, target, stop.signal);
    await held;
    await until(() => loggedPieces(path) > 4);
    stop.abort(new Error('stopped by the test'));
    await assert.rejects(stopped, { message: 'stopped by the test' });
    data.release();
    const result = await run(source, target, new AbortController().signal);
    assert.ok(result.bytesResumed > 4 * MIB, `${result.bytesResumed} bytes were there`);
    assert.ok(readFileSync(join(path, 'large')).equals(content));
    assert.deepEqual(temporaries(path), []);
  }
});
