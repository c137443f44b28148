/**
 * Programs at the ends of pipes of one machine: `penstock pipe start` and `penstock attach` (P7, P10; issue 3, item 7).
 *
 * Goal: what goes in at one end comes out whole at the other; a pipe ends by name, or when nobody comes; who
 * does not read holds up who writes; pipes of one device run one after the other.
 * Method: whole commands, a daemon in a process of its own. Between machines: attach-far.test.ts.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { attachTail } from '../../src/mod.ts';
import { askStart, askStop } from '../../src/monitor/local-requests.ts';
import type { StartRequest } from '../../src/monitor/near-pipes.ts';
import { succeed } from '../commands.ts';
import {
  attached,
  type Daemon,
  endingWithFile,
  noPipes,
  noSockets,
  pipesOf,
  startDaemon,
} from '../daemon-fixture.ts';
import { noise } from '../tree-make.ts';

const LAUNCHER = join(import.meta.dirname, '../../bin/penstock.js');

/** A command as people see it. */
const run = (args: string[]): string =>
  spawnSync(process.execPath, [LAUNCHER, ...args], { encoding: 'utf8' }).stdout;
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const file = endingWithFile();
let near: Daemon;
before(async () => {
  near = await startDaemon(file, ['--device', 'pair=2', '--memory', '200MB']);
});

/** Starts a pipe as the command does. */
async function begin(name: string, more: Partial<StartRequest> = {}): Promise<void> {
  await askStart(near.folder, { name, through: [], ...more });
}

test('a stream passes from one program to another on one machine', async (t) => {
  const daemon = near;
  const sent = noise(5_000_000, 'stream');
  const { summary } = succeed(['pipe', 'start', 'through', ...daemon.state]);
  equal(summary.name, 'through');
  equal(statSync(join(daemon.folder, 'attach')).mode & 0o777, 0o700);
  const [socket = ''] = readdirSync(join(daemon.folder, 'attach'));
  equal(statSync(join(daemon.folder, 'attach', socket)).mode & 0o777, 0o600);
  const tail = attached(t, ['through', '--as', 'tail', ...daemon.state]);
  const head = attached(t, ['through', '--as', 'head', ...daemon.state], sent);
  equal((await head.ended).status, 0);
  const got = await tail.ended;
  equal(got.status, 0, got.stderr);
  equal(digest(got.bytes), digest(sent));
  await noPipes(daemon);
  noSockets(daemon);
});

test('a pipe to which nobody comes ends after the time that was given', async () => {
  await begin('lonely', { waitMs: 6000 });
  const tail = await attachTail({ stateDirectory: near.folder, pipe: 'lonely' });
  tail.on('error', () => {});
  await rejects(tail.outcome, {
    code: 'PROGRAM_MISSING',
    message: /no program was attached to head within 6 s/,
    hint: /penstock attach lonely --as head/,
  });
  await noPipes(near);
  noSockets(near);
});

test('pipe stop ends both programs, and tells them', async (t) => {
  const daemon = near;
  await begin('p');
  const tail = attached(t, ['p', '--as', 'tail', ...daemon.state]);
  const head = attached(t, ['p', '--as', 'head', ...daemon.state]);
  head.child.stdin?.write('x');
  while (tail.received() === 0) await sleep(10);
  const [shown] = await pipesOf(daemon);
  deepEqual(
    shown?.stages.map(({ programs }) => programs),
    [[head.child.pid], [tail.child.pid]],
  );
  succeed(['pipe', 'stop', 'p', ...daemon.state]);
  for (const { ended } of [head, tail]) {
    const { status, stderr } = await ended;
    equal(status, 1);
    match(stderr, /the user has stopped the pipe/);
  }
});

test('a slow reader holds up who writes', async (t) => {
  const daemon = near;
  await begin('slow');
  const tail = attached(t, ['slow', '--as', 'tail', ...daemon.state]);
  tail.child.stdout?.pause();
  const sent = noise(40_000_000, 'slow');
  const head = attached(t, ['slow', '--as', 'head', ...daemon.state], sent);
  while ((await pipesOf(daemon))[0]?.buffers.free !== 0) await sleep(20);
  ok(head.child.exitCode === null, 'it is held up');
  tail.child.stdout?.resume();
  equal(digest((await tail.ended).bytes), digest(sent));
  equal((await head.ended).status, 0);
});

test('pipes of the same device run one after the other; a queued one is shown and can be stopped', async (t) => {
  const on = (device: string, name: string) =>
    succeed(['pipe', 'start', name, '--device', device, ...near.state]).summary;
  const onTape = (name: string) => on('tape', name);
  equal(onTape('first').state, 'running');
  deepEqual([onTape('second').place, onTape('third').place], [1, 2]);
  const listed = run(['pipes', ...near.state]);
  match(listed, /^first: pipe start on .+, local, device tape, \d+ s$/m);
  match(listed, /^ {2}head +1 .* no program attached$/m);
  match(listed, /^third: .* device tape, \d+ s, queued at place 2$/m);
  succeed(['pipe', 'stop', 'second', ...near.state]);
  const pair = ['p1', 'p2', 'p3'].map((name) => on('pair', name).state);
  deepEqual(pair, ['running', 'running', 'queued']);
  for (const name of ['p3', 'p2', 'p1']) await askStop(near.folder, name);
  const early = attached(t, ['third', '--as', 'tail', '--wait', '1m', ...near.state]);
  succeed(['pipe', 'stop', 'first', ...near.state]);
  const head = attached(
    t,
    ['third', '--as', 'head', ...near.state, '--wait', '1m'],
    Buffer.from('3'),
  );
  equal((await early.ended).bytes.toString(), '3');
  equal((await head.ended).status, 0);
  await noPipes(near);
});

test('who is interrupted, or whose reader goes away, says so to the other end', async (t) => {
  await begin('interrupted');
  const tail = attached(t, ['interrupted', '--as', 'tail', ...near.state]);
  const head = attached(t, ['interrupted', '--as', 'head', ...near.state]);
  head.child.stdin?.write('x');
  while (tail.received() === 0) await sleep(10);
  head.child.kill('SIGINT');
  equal((await head.ended).status, 130);
  match((await tail.ended).stderr, /attached as head \(head\) failed: interrupted by SIGINT/);
  await begin('unread');
  const unread = attached(t, ['unread', '--as', 'tail', ...near.state]);
  const writer = attached(t, ['unread', '--as', 'head', ...near.state]);
  writer.child.stdin?.write('x');
  while (unread.received() === 0) await sleep(10);
  unread.child.stdout?.destroy();
  writer.child.stdin?.write('more');
  const { status, stderr } = await writer.ended;
  equal(status, 1);
  match(stderr, /attached as tail \(tail\) failed: the reader of standard output went away/);
  await noPipes(near);
});

test('a reader that does not read does not hide that the pipe was stopped', async (t) => {
  await begin('stuck');
  const tail = attached(t, ['stuck', '--as', 'tail', ...near.state]);
  tail.child.stdout?.pause();
  attached(t, ['stuck', '--as', 'head', ...near.state], noise(30_000_000, 'stuck'));
  while ((await pipesOf(near))[0]?.buffers.free !== 0) await sleep(20);
  succeed(['pipe', 'stop', 'stuck', ...near.state]);
  const [status] = await once(tail.child, 'exit');
  equal(status, 1);
  tail.child.stdout?.resume();
});
