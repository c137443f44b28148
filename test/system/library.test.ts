/**
 * Pipes of programs that use the library (U12, P8, P9, P10): the examples, and streams at unbound ends.
 *
 * Goal: the examples do what they say; a pipe may have several heads and several tails, each a program of its
 * own, on one machine and between two; a stream that is given up, at either end, stops its pipe with the
 * cause told at the other; without a monitor all works, with one the pipes are shown.
 * Method: the library in this process, examples and daemons in processes of their own.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  attachHead,
  attachTail,
  extendPipe,
  initiatePipe,
  type StageSpec,
  unboundModule,
} from '../../src/mod.ts';
import { askPipes, askStop } from '../../src/monitor/local-requests.ts';
import { allowFarModule } from '../../src/monitor/pipe-modules.ts';
import { scratchFolder, succeed } from '../commands.ts';
import { attached, startDaemon } from '../daemon-fixture.ts';
import { newMachine, pairedClient, startMonitor } from '../monitor-fixture.ts';
import { DIVIDE_MODULE } from '../pipe-divide.ts';
import { noise } from '../tree-make.ts';

allowFarModule('test-divide', { url: DIVIDE_MODULE, options: (sent) => sent });

const scratch = scratchFolder();
let folders = 0;

function newState(): string {
  const path = join(scratch, `state${folders++}`);
  mkdirSync(path, { mode: 0o700 });
  return path;
}

async function example(
  t: TestContext,
  name: string,
  args: readonly string[],
  stateDirectory: string,
): Promise<{ ended: Promise<{ status: number; text: string }> }> {
  const file = join(import.meta.dirname, '../../examples', name);
  const child = spawn(process.execPath, [file, ...args], {
    env: { ...process.env, PENSTOCK_STATE: stateDirectory },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  const ended = once(child, 'close').then(([status]) => ({ status: status as number, text }));
  await once(child.stdout, 'data');
  return { ended };
}

test('the example of a pipe between programs gives what one sends, in capitals, to the other', async (t) => {
  const state = newState();
  const { ended } = await example(t, 'pipe-programs.ts', ['letters'], state);
  const tail = attached(t, ['letters', '--as', 'tail', '--state', state]);
  const words = 'so much depends upon\n'.repeat(20_000);
  const head = attached(t, ['letters', '--as', 'head', '--state', state], Buffer.from(words));
  equal((await tail.ended).bytes.toString(), words.toUpperCase());
  equal((await head.ended).status, 0);
  deepEqual(await ended, { status: 0, text: 'attach programs to letters\n' });
});

test('the example of a pipe to another machine brings words there', async (t) => {
  const state = newState();
  const far = await startDaemon(t);
  const { summary } = succeed(['pair', 'token', '--module', 'unbound', ...far.state]);
  succeed(['pair', far.address, '--token', String(summary.token), '--state', state]);
  const file = join(scratch, 'words');
  writeFileSync(file, 'a red wheel barrow\n'.repeat(30_000));
  const { ended } = await example(t, 'pipe-far.ts', [file, far.address], state);
  const tail = attached(t, ['words', '--as', 'tail', ...far.state]);
  equal((await tail.ended).bytes.toString(), 'A RED WHEEL BARROW\n'.repeat(30_000));
  const { status, text } = await ended;
  equal(status, 0);
  match(text, /^570000 bytes have arrived$/m);
});

/** What a program sends as head `number`: all its bytes say so. */
const streamOf = (number: number): Buffer =>
  noise(700_000, `head ${number}`).map((byte) => (byte & ~1) | number) as Buffer;

const unbound = (name: string, to?: StageSpec['to']): StageSpec => ({
  name,
  modules: [unboundModule()],
  ...(to === undefined ? {} : { to }),
});

/** Two programs send, two receive; each receives what one has sent. */
async function crossed(near: string, far: string, pipe: string): Promise<void> {
  const heads = [0, 1].map(async (number) => {
    const head = await attachHead({ stateDirectory: near, pipe, stage: `head-${number}` });
    await pipeline(Readable.from([streamOf(number)]), head);
    equal(head.bytes, 700_000);
  });
  const tails = [0, 1].map(async (number) => {
    const tail = await attachTail({ stateDirectory: far, pipe, stage: `tail-${number}` });
    const got = Buffer.concat(await tail.toArray());
    await tail.outcome;
    ok(got.equals(streamOf(number)));
  });
  await Promise.all([...heads, ...tails]);
}

test('a pipe has several heads and several tails, each a program', async () => {
  const stateDirectory = newState();
  const pipe = await initiatePipe(
    {
      maxBuffers: 12,
      payloadBytes: 50_000,
      stages: [
        unbound('head-0', 'divide'),
        unbound('head-1', 'divide'),
        {
          name: 'divide',
          modules: [{ module: DIVIDE_MODULE, options: ['tail-0', 'tail-1'] }],
          to: ['tail-0', 'tail-1'],
        },
        unbound('tail-0', []),
        unbound('tail-1', []),
      ],
    },
    { stateDirectory },
  );
  await rejects(attachHead({ stateDirectory, pipe: pipe.name }), {
    code: 'ATTACH_REFUSED',
    message: /several unbound heads: say which with --stage \(head-0, head-1\)/,
  });
  await crossed(stateDirectory, stateDirectory, pipe.name);
  await pipe.done;
  while (readdirSync(join(stateDirectory, 'attach')).length > 0) await sleep(10);
});

test('so has one between two machines', async (t) => {
  const server = await startMonitor(t);
  const client = await newMachine();
  pairedClient(server, client, { access: [], modules: ['unbound'] }).close();
  const { host, port } = { host: '127.0.0.1', port: server.monitor.port };
  const { Peers } = await import('../../src/channel/net/peers.ts');
  const { fingerprint } = server.monitor;
  const known = { name: 'far', kind: 'server', access: [], copyPaths: [], pairedMs: 0 } as const;
  new Peers(client.state).put({ ...known, fingerprint, address: `${host}:${port}` });
  const pipe = await extendPipe({
    stateDirectory: client.directory,
    machine: { host, port },
    flow: 'push',
    near: {
      maxBuffers: 12,
      payloadBytes: 50_000,
      stages: [unbound('head-0', 'send'), unbound('head-1', 'send')],
    },
    far: {
      stages: [
        {
          name: 'divide',
          modules: [{ name: 'test-divide', options: ['tail-0', 'tail-1'] }],
          to: ['tail-0', 'tail-1'],
        },
        { name: 'tail-0', modules: [{ name: 'unbound' }], to: [] },
        { name: 'tail-1', modules: [{ name: 'unbound' }], to: [] },
      ],
    },
  });
  await crossed(client.directory, server.directory, pipe.name);
  await pipe.done;
});

async function simple(
  stateDirectory: string,
  instances = 1,
): Promise<Awaited<ReturnType<typeof initiatePipe>>> {
  const stages = [{ ...unbound('in'), instances }, unbound('out')];
  return initiatePipe({ maxBuffers: 4, payloadBytes: 10_000, stages }, { stateDirectory });
}

test('a stream that is given up stops the pipe, and the other one learns why', async () => {
  const stateDirectory = newState();
  for (const end of ['head', 'tail'] as const) {
    const pipe = await simple(stateDirectory);
    const at = { stateDirectory, pipe: pipe.name };
    const [head, tail] = [await attachHead(at), await attachTail(at)];
    const both = { head, tail };
    for (const stream of [head, tail]) stream.on('error', () => {});
    head.write('x'.repeat(50_000));
    await once(tail, 'readable');
    both[end].destroy(new Error('it rained'));
    await rejects(pipe.done, { code: 'PROGRAM_LOST', message: /it rained/ });
    await rejects(tail.outcome, { code: 'PROGRAM_LOST' });
    const other = end === 'head' ? tail : head;
    if (!other.closed) await once(other, 'close').catch(() => {});
    match(String(other.errored?.message), /it rained/);
  }
});

test('a tail that is closed before its end has not taken all', async () => {
  const stateDirectory = newState();
  const pipe = await simple(stateDirectory);
  const at = { stateDirectory, pipe: pipe.name };
  const [head, tail] = [await attachHead(at), await attachTail(at)];
  const given = pipeline(Readable.from([Buffer.from('all of it')]), head);
  const refused = rejects(given, { code: 'PROGRAM_LOST' });
  await once(tail, 'readable');
  tail.destroy();
  await refused;
  await rejects(pipe.done, { code: 'PROGRAM_LOST', message: /attached as tail \(out\) failed/ });
});

test('several programs give to one stage; the monitor shows who, and stops the pipe', async (t) => {
  const { directory } = await startMonitor(t);
  const pipe = await simple(directory, 2);
  const at = { stateDirectory: directory, pipe: pipe.name };
  const heads = [await attachHead(at), await attachHead(at)];
  await rejects(attachHead(at), { code: 'ATTACH_REFUSED', message: /attached as head already/ });
  for (const head of heads) head.on('error', () => {});
  for (;;) {
    const [view] = await askPipes(directory);
    if (view?.stages[0]?.programs?.length === 2) break;
    await sleep(20);
  }
  const [view] = await askPipes(directory);
  equal(view?.program, 'program');
  deepEqual(view?.stages[0]?.programs, [process.pid, process.pid]);
  await askStop(directory, pipe.name);
  await rejects(pipe.done, { code: 'PIPE_STOPPED', message: /the user has stopped the pipe/ });
  await rejects(attachTail(at), { code: 'PIPE_UNKNOWN' });
  ok(existsSync(directory));
});
