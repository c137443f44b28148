/**
 * Machines that die in the middle of a pipe, and strangers at the data port (P12).
 *
 * Goal: a daemon, an initiator or a thread that is killed ends the other half within seconds and leaves
 * nothing there; bad bytes on the data port harm nobody else.
 * Method: daemons in processes of their own; what is left is counted in the process that goes on.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import type { PenstockError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { connectPinned, type Server } from '../../src/channel/net/api-client.ts';
import { type ExtendedPipe, extendPipe } from '../../src/channel/net/controller.ts';
import { DataPort } from '../../src/channel/net/data-port.ts';
import { PREAMBLE_BYTES, writePreamble } from '../../src/channel/net/frame.ts';
import { Peers } from '../../src/channel/net/peers.ts';
import type { FarHalf } from '../../src/channel/net/reach.ts';
import { askPipes } from '../../src/monitor/local-requests.ts';
import { LOAD_MODULE, LOAD_WORDS, type LoadOptions } from '../agent-load.ts';
import { startPair } from '../agent-pair.ts';
import { type Machine, newMachine, pairedClient, startMonitor } from '../monitor-fixture.ts';
import { until } from '../until.ts';

const DAEMON = fileURLToPath(new URL('../pipe-daemon.ts', import.meta.url));
const LAUNCHER = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));
const INITIATOR = fileURLToPath(new URL('../pipe-initiator.ts', import.meta.url));

interface Daemon {
  readonly process: ChildProcess;
  readonly gone: Promise<unknown>;
  readonly machine: Machine;
  readonly server: Server;
}

async function startDaemon(t: TestContext, client: Machine): Promise<Daemon> {
  const machine = await newMachine();
  const { fingerprint } = client.identity;
  const peer = { name: 'client', kind: 'client', access: [], copyPaths: [], pairedMs: 0 } as const;
  new Peers(machine.state).put({ ...peer, fingerprint });
  const child = spawn(process.execPath, [DAEMON, machine.directory], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const told = JSON.parse(String(line)) as Omit<Server, 'host'>;
  return {
    process: child,
    gone: once(child, 'close'),
    machine,
    server: { host: '127.0.0.1', ...told },
  };
}

function begin(client: Machine, server: Server, flow: 'push' | 'pull'): Promise<ExtendedPipe> {
  const head: LoadOptions = { count: 1e6 };
  const tail: LoadOptions = { slowMs: 5 };
  const [near, far] = flow === 'push' ? [head, tail] : [tail, head];
  return extendPipe({
    identity: client.identity,
    server,
    program: 'test',
    flow,
    ...LOAD_WORDS,
    near: {
      maxBuffers: 4,
      payloadBytes: 10_000,
      stages: [{ name: 'near', modules: [{ module: LOAD_MODULE, options: near }] }],
    },
    far: { stages: [{ name: 'far', modules: [{ name: 'test-load', options: far }] }] },
  });
}

const moving = async (pipe: ExtendedPipe): Promise<void> => {
  const stage = pipe.near.status().stages.some(({ name }) => name === 'send') ? 'send' : 'receive';
  let over = false;
  pipe.near.done.catch(() => {
    over = true;
  });
  while (pipe.near.counter(0, stage) < 5) {
    ok(!over, 'the pipe runs');
    await sleep(5);
  }
};

/** What keeps this process alive, beside timers. */
const held = (): string[] =>
  process.getActiveResourcesInfo().filter((name) => !/Timeout/.test(name));

test('a daemon that is killed ends the near half, and leaves nothing in this process', async (t) => {
  const client = await newMachine();
  for (const flow of ['push', 'pull'] as const) {
    const daemon = await startDaemon(t, client);
    const before = held();
    const pipe = await begin(client, daemon.server, flow);
    await moving(pipe);
    daemon.process.kill('SIGKILL');
    await rejects(pipe.done, (error: PenstockError) => {
      equal(error.code, 'NET_LOST');
      return true;
    });
    await daemon.gone;
    await until(() => held().length <= before.length);
  }
});

/** `penstock pipes` and `pipe stop` ask the daemon of the state folder. */
async function shownByTheCommand(daemon: Daemon, name: string): Promise<void> {
  const state = ['--state', daemon.machine.directory];
  const json = await penstock(['pipes', '--json', ...state]);
  const lines = json.output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const shown = lines.find((line) => line.type === 'pipe' && line.name === name);
  deepEqual(
    shown.stages.map((stage: { name: string }) => stage.name),
    ['receive', 'far'],
  );
  deepEqual(lines.at(-1).type, 'summary');
  const text = await penstock(['pipes', ...state]);
  match(text.output, new RegExp(`^${name}: test on .+, push, \\d+ s$`, 'm'));
  match(text.output, /^ {2}far +1 +\d+ +[\d.]+ +\w+/m);
  const stopped = await penstock(['pipe', 'stop', 'no-such-pipe', ...state]);
  equal(stopped.status, 1);
  match(stopped.output, /no pipe no-such-pipe/);
}

async function penstock(words: string[]): Promise<{ status: number; output: string }> {
  const child = spawn(process.execPath, [LAUNCHER, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes) => {
      output += bytes;
    });
  }
  const [status] = await once(child, 'close');
  return { status: status as number, output };
}

test('a control channel that brings what is no message is ended, and harms no other', async (t) => {
  const client = await newMachine();
  const daemon = await startDaemon(t, client);
  const other = await begin(client, daemon.server, 'push');
  await moving(other);
  const valid = JSON.stringify({ type: 'initiate', version: 1, name: 'x', flow: 'push' });
  const cases: (string | Buffer)[] = [
    'no JSON',
    '{"type":"unknown"}',
    '[]',
    'null',
    '{"type":"control"}',
    valid,
    valid.replace('"x"', '"../x"'),
    Buffer.from(valid),
    randomBytes(1000),
    `{"type":"initiate","stages":[${'{},'.repeat(5000)}{}]}`,
    'x'.repeat(2 ** 20 + 1),
  ];
  for (const sent of cases) {
    const socket = await connectPinned(client.identity, daemon.server);
    const channel = new WebSocket('ws://monitor/v1/pipes/x/control', {
      createConnection: () => socket,
    });
    channel.on('error', () => {});
    await once(channel, 'open');
    const answers: string[] = [];
    channel.on('message', (data) => answers.push(JSON.parse(String(data)).type));
    const closed = once(channel, 'close');
    channel.send(sent);
    await closed;
    ok(
      answers.every((type) => type === 'stop'),
      `${answers}`,
    );
  }
  const counted = other.near.counter(0, 'send');
  while (other.near.counter(0, 'send') === counted) await sleep(5);
  await other.stop();
});

test('an initiator that is killed or held up ends the far half, and another pipe runs on', async (t) => {
  const client = await newMachine();
  const daemon = await startDaemon(t, client);
  const other = await begin(client, daemon.server, 'push');
  await moving(other);
  for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
    const child = spawn(
      process.execPath,
      [INITIATOR, client.directory, JSON.stringify(daemon.server)],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    t.after(() => child.kill('SIGKILL'));
    const [name] = await once(createInterface({ input: child.stdout }), 'line');
    const names = async () => (await askPipes(daemon.machine.directory)).map((pipe) => pipe.name);
    deepEqual((await names()).sort(), [other.name, String(name)].sort());
    if (signal === 'SIGKILL') await shownByTheCommand(daemon, String(name));
    child.kill(signal);
    while ((await names()).includes(String(name))) await sleep(50);
    deepEqual(await names(), [other.name]);
    child.kill('SIGKILL');
  }
  const counted = other.near.counter(0, 'send');
  while (other.near.counter(0, 'send') === counted) await sleep(5);
  await other.stop();
});

test('a half that fails ends the other one also where no controller tells it', async () => {
  const fails = async (side: 'near' | 'far', other: 'near' | 'far'): Promise<void> => {
    const failing = { failsAt: 30, ...(side === 'near' ? { count: 1e6 } : {}) };
    const part = side === 'near' ? 'head' : 'tail';
    // So long that connections come about within it however busy the machine is.
    const pair = await startPair({ count: 1e6, lostMs: 4000, [part]: failing });
    try {
      await rejects(pair[side].done, { code: 'PIPE_FAILED' });
      // Without a controller it is the lost connections that end the other side.
      await rejects(pair[other].done, { code: 'NET_LOST' });
    } finally {
      await pair.close();
    }
  };
  await Promise.all([fails('near', 'far'), fails('far', 'near')]);
});

test('whatever strangers send to the data port, it serves those that it knows', async () => {
  const handed: number[] = [];
  const port = await DataPort.open(['127.0.0.1'], 0);
  const id = 'ab'.repeat(16);
  port.register(id, (connection) => {
    handed.push(connection.attempt);
    return Promise.resolve(false);
  });
  const right = writePreamble({ id, agent: 0, attempt: 7 });
  const wrong = writePreamble({ id: 'cd'.repeat(16), agent: 0, attempt: 1 });
  const flipped = Buffer.from(right);
  flipped[20] = 0;
  const cases: Buffer[] = [wrong, flipped, Buffer.concat([right, right]), Buffer.alloc(0)];
  for (let i = 0; i < 60; i++) cases.push(randomBytes(1 + ((i * 7) % 200)));
  try {
    const open = cases.map((bytes) => {
      const socket = connect(port.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      socket.write(bytes);
      return socket;
    });
    const ended = open.filter((_, i) => (cases[i]?.length ?? 0) >= PREAMBLE_BYTES);
    await Promise.all(ended.map((socket) => socket.closed || once(socket, 'close')));
    deepEqual(handed, []);
    // Slow ones take the places of slow ones, never of those that say who they are.
    for (let i = 0; i < 300; i++) open.push(connect(port.port, '127.0.0.1').on('error', () => {}));
    const socket = connect(port.port, '127.0.0.1');
    socket.write(right);
    socket.resume();
    await once(socket, 'close');
    deepEqual(handed, [7]);
    for (const one of open) one.destroy();
  } finally {
    await port.close();
  }
});

test('a peer without grants begins no pipe, and one with grants not with any number of threads', async (t) => {
  const server = await startMonitor(t);
  const { fingerprint } = server.identity;
  const place = { host: '127.0.0.1', port: server.monitor.port, fingerprint };
  const attempt = (client: Machine, far: FarHalf): Promise<ExtendedPipe> =>
    extendPipe({
      identity: client.identity,
      server: place,
      program: 'test',
      flow: 'push',
      near: {
        maxBuffers: 2,
        payloadBytes: 1000,
        stages: [{ name: 'near', modules: [{ module: LOAD_MODULE, options: { count: 1 } }] }],
      },
      far,
    });
  const poor = await newMachine();
  pairedClient(server, poor, { access: [{ repository: '*', level: 'read' }] }).close();
  const options = { listing: 'ab'.repeat(16) };
  const keep = { stages: [{ name: 'keep', modules: [{ name: 'copy-keep', options }] }] };
  await rejects(attempt(poor, keep), { code: 'NET_DENIED', message: /copy nothing/ });
  const granted = await newMachine();
  pairedClient(server, granted, { access: [], copyPaths: ['/tmp'], modules: ['unbound'] }).close();
  const many = Array.from({ length: 16 }, (_, i) => ({
    name: `s${i}`,
    modules: [{ name: 'unbound' }],
    instances: LIMITS.pipeAgentsMax,
  }));
  await rejects(attempt(granted, { stages: many, maxBuffers: 1000, minBuffers: 1 }), {
    code: 'LIMIT',
    message: /threads, and one machine may have 512 here/,
  });
  equal((await askPipes(server.directory)).length, 0);
});
