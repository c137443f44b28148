/**
 * What goes wrong at the local sockets of pipes (P7, P10, P12).
 *
 * Goal: garbage, silence, wrong and used tokens, and connections without number on the socket of a pipe, or on
 * the monitor's, harm nobody else; a program that sends garbage, is cut off, hangs or dies ends its
 * own pipe with that as the cause; a process that dies leaves nothing that hinders the next.
 * Method: pipes in this process; raw connections in the place of programs.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, utimesSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex, Readable, Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { must } from '../../src/base/assert.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { LineChannel } from '../../src/channel/local/line-channel.ts';
import { PROGRAM_FRAME, shortProgramFrame } from '../../src/channel/local/program-frame.ts';
import { attachPath } from '../../src/channel/local/unbound-stage.ts';
import { attachHead, attachTail, initiatePipe, type Pipe, unboundModule } from '../../src/mod.ts';
import { askPipes, askStop, openMonitor } from '../../src/monitor/local-requests.ts';
import { scratchFolder } from '../commands.ts';
import { startMonitor } from '../monitor-fixture.ts';

const scratch = scratchFolder();
let folders = 0;

interface Running {
  readonly pipe: Pipe;
  readonly at: { readonly stateDirectory: string; readonly pipe: string };
  readonly path: string;
}

async function start(t: TestContext, stateDirectory = newState()): Promise<Running> {
  const stages = ['in', 'out'].map((name) => ({ name, modules: [unboundModule()] }));
  const pipe = await initiatePipe(
    { maxBuffers: 4, payloadBytes: 10_000, stages },
    { stateDirectory },
  );
  t.after(() => pipe.stop());
  const at = { stateDirectory, pipe: pipe.name };
  return { pipe, at, path: attachPath(stateDirectory, pipe.name) };
}

function newState(): string {
  const path = join(scratch, `s${folders++}`);
  mkdirSync(path, { mode: 0o700 });
  return path;
}

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

const closed = (stream: Duplex | Readable | Writable): Promise<void> =>
  new Promise((resolve) => {
    if (stream.closed) resolve();
    else stream.once('close', () => resolve());
  });

/** Both connections of a program that speaks by hand. */
async function byHand(
  { path, at }: Running,
  role: 'head' | 'tail',
): Promise<{ control: LineChannel; data: Socket; token: string }> {
  const control = new LineChannel(await open(path), LIMITS.programMessageBytesMax);
  control.send({ type: 'ident', version: 1, pipe: at.pipe, role, processId: 4711 });
  const { token } = (await control.next()) as { token: string };
  const data = await open(path);
  data.write(`${JSON.stringify({ type: 'data', token })}\n`);
  if (token !== undefined) {
    const [first] = (await once(data, 'data')) as [Buffer];
    data.pause();
    deepEqual(first, shortProgramFrame(PROGRAM_FRAME.taken));
  }
  return { control, data, token };
}

/** Lines that no program of ours sends. */
const GARBAGE: readonly (string | Buffer)[] = [
  '\n',
  'null\n',
  '5\n',
  '[]\n',
  '{}\n',
  '{"type":"ident"}\n',
  '{"type":"ident","version":1,"pipe":5,"role":"head"}\n',
  '{"type":"data"}\n',
  '{"type":"data","token":5}\n',
  `{"type":"data","token":"${'00'.repeat(16)}"}\n`,
  '{"type":"register"}\n',
  '{"type":"register","view":{"name":"x","stages":[5]}}\n',
  '{"type":"start"}\n',
  '{"type":"start","request":{"through":["x"],"far":{"flow":"push","machines":[5]}}}\n',
  '{"type":"start","request":{"name":"../x","through":[]}}\n',
  `${'x'.repeat(100_000)}\n`,
  Buffer.alloc(20_000_000, 'x'),
  randomBytes(5000),
];

async function sendGarbage(path: string): Promise<void> {
  await Promise.all(
    GARBAGE.map(async (bytes) => {
      const socket = await open(path);
      socket.resume();
      socket.end(bytes);
      await closed(socket);
    }),
  );
}

test('whatever comes to the socket of a pipe, true programs get through', async (t) => {
  const running = await start(t);
  await sendGarbage(running.path);
  // As many as there may be, and more, that say nothing.
  const silent: Socket[] = [];
  for (let i = 0; i < LIMITS.programConnectionsMax + 20; i++) silent.push(await open(running.path));
  const [head, tail] = [await attachHead(running.at), await attachTail(running.at)];
  head.end('through');
  equal(Buffer.concat(await tail.toArray()).toString(), 'through');
  await running.pipe.done;
  for (const socket of silent) socket.destroy();
});

test('whatever comes to the socket of the monitor, it answers others', async (t) => {
  const { directory } = await startMonitor(t);
  await sendGarbage(join(directory, 'monitor.sock'));
  deepEqual(await askPipes(directory), []);
  // A pipe whose command sends what is no view any more is no longer shown.
  const running = await start(t, directory);
  while ((await askPipes(directory)).length === 0) await sleep(10);
  const [view] = await askPipes(directory);
  const channel = await openMonitor(directory);
  channel?.send({ type: 'register', view: { ...view, name: 'other' } });
  while ((await askPipes(directory)).length < 2) await sleep(10);
  channel?.send({ view: { ...view, name: 'other', stages: [{ name: 5 }] } });
  while ((await askPipes(directory)).length > 1) await sleep(10);
  // A command that does not end its pipe is told of.
  const deaf = must(await openMonitor(directory), 'a monitor');
  deaf.send({ type: 'register', view: { ...view, name: 'deaf' } });
  while ((await askPipes(directory)).length < 2) await sleep(10);
  const refused = rejects(askStop(directory, 'deaf'), {
    code: 'PIPE_FAILED',
    message: /does not end/,
  });
  deepEqual(Object.keys((await deaf.next()) as object), ['stop']);
  await refused;
  deaf.close();
  // Its name cannot be taken.
  const second = await openMonitor(directory);
  second?.send({ type: 'register', view });
  const { error } = ((await second?.next()) ?? {}) as { error: { code: string } };
  equal(error.code, 'PIPE_CONFIG');
  await running.pipe.stop();
  while ((await askPipes(directory)).length > 0) await sleep(10);
});

test('a token is good once, and a place is free again when its program goes', async (t) => {
  const running = await start(t);
  const first = new LineChannel(await open(running.path), 8192);
  first.send({ type: 'ident', version: 1, pipe: running.at.pipe, role: 'head', processId: 1 });
  equal(((await first.next()) as { type: string }).type, 'attached');
  await rejects(attachHead(running.at), { code: 'ATTACH_REFUSED' });
  first.close();
  let head: Awaited<ReturnType<typeof byHand>> | undefined;
  while (head?.token === undefined) head = await byHand(running, 'head');
  const again = await open(running.path);
  again.resume();
  again.write(`${JSON.stringify({ type: 'data', token: head.token })}\n`);
  await closed(again);
  head.data.write(shortProgramFrame(PROGRAM_FRAME.end));
  const tail = await attachTail(running.at);
  deepEqual(await tail.toArray(), []);
  await running.pipe.done;
});

test('a program that sends garbage, or is cut off, ends its pipe with that as the cause', async (t) => {
  const half = Buffer.concat([Buffer.from([0x41, 0x50, 1, 0, 100, 0, 0, 0]), Buffer.alloc(50)]);
  const cases: [Buffer, RegExp, 'head' | 'tail'][] = [
    [Buffer.from('hello, world'), /program 4711 .* head \(in\) sent what is no frame/, 'head'],
    [half, /program 4711 .* head \(in\) ended before the end/, 'head'],
    [Buffer.alloc(0), /ended before the end of its data/, 'head'],
    [shortProgramFrame(PROGRAM_FRAME.failure, 'no disk'), /\(in\) failed: no disk/, 'head'],
    [shortProgramFrame(PROGRAM_FRAME.taken), /sent what only this side says/, 'head'],
    [half, /tail \(out\) sent data, as a tail/, 'tail'],
    [shortProgramFrame(PROGRAM_FRAME.end), /ended before it had all data/, 'tail'],
    [randomBytes(3000), /tail \(out\) sent what is no frame/, 'tail'],
  ];
  for (const [bytes, message, role] of cases) {
    const running = await start(t);
    const { data, control } = await byHand(running, role);
    data.resume();
    data.end(bytes);
    await rejects(running.pipe.done, { code: 'PROGRAM_LOST', message });
    const { error } = (await control.next()) as { error: { code: string; message: string } };
    equal(error.code, 'PROGRAM_LOST');
    match(error.message, message);
  }
});

test('a program that dies is noticed also while nobody takes its data; what it had ended counts', async (t) => {
  const sent = randomBytes(150_000);
  const frame = Buffer.concat([Buffer.from([0x41, 0x50, 1, 0, 0, 0, 0, 0]), sent]);
  frame.writeUInt32LE(sent.length, 4);
  for (const isWhole of [false, true]) {
    const running = await start(t);
    const { data, control } = await byHand(running, 'head');
    data.write(frame);
    // Its thread has no buffer left, and reads no more.
    while (running.pipe.status().buffers.free > 0) await sleep(10);
    const last = shortProgramFrame(isWhole ? PROGRAM_FRAME.end : PROGRAM_FRAME.data);
    await new Promise<void>((resolve) => data.write(last, () => resolve()));
    data.destroy();
    control.socket.destroy();
    if (!isWhole) {
      await rejects(running.pipe.done, { code: 'PROGRAM_LOST', message: /head .* before the end/ });
      continue;
    }
    const tail = await attachTail(running.at);
    deepEqual(Buffer.concat(await tail.toArray()), sent);
    await running.pipe.done;
  }
});

test('a program that hangs does not hold up the end of its pipe', async (t) => {
  for (const role of ['head', 'tail'] as const) {
    const running = await start(t);
    const { data } = await byHand(running, role);
    const other = role === 'tail' ? await attachHead(running.at) : await attachTail(running.at);
    other.on('error', () => {});
    if ('write' in other) {
      // More than fits: the thread waits for a program that does not read.
      other.write(Buffer.alloc(2_000_000));
      while (running.pipe.status().buffers.free > 0) await sleep(10);
    }
    await running.pipe.stop('enough');
    await rejects(running.pipe.done, { code: 'PIPE_STOPPED' });
    await closed(other);
    equal(other.errored?.message, 'enough');
    data.destroy();
    await rejects(attachTail(running.at), { code: 'PIPE_UNKNOWN' });
  }
});

test('a process that is killed leaves a socket that the next one clears away', async (t) => {
  const stateDirectory = newState();
  const example = join(import.meta.dirname, '../../examples/pipe-programs.ts');
  const begin = async () => {
    const child = spawn(process.execPath, [example, 'letters'], {
      env: { ...process.env, PENSTOCK_STATE: stateDirectory },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    return child;
  };
  const at = { stateDirectory, pipe: 'letters' };
  const child = await begin();
  const [head, tail] = [await attachHead(at), await attachTail(at)];
  for (const stream of [head, tail]) stream.on('error', () => {});
  head.write('x');
  await once(tail, 'readable');
  child.kill('SIGKILL');
  await rejects(tail.outcome, {
    code: 'PIPE_FAILED',
    message: /the process that ran .* has ended/,
  });
  await closed(head);
  match(String(head.errored?.message), /the process that ran the pipe letters has ended/);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  equal(readdirSync(join(stateDirectory, 'attach')).length, 1);
  await rejects(attachHead(at), { code: 'PIPE_UNKNOWN' });
  // Another pipe clears it away, unless it is so young that it may be about to be listened on.
  const [left = ''] = readdirSync(join(stateDirectory, 'attach'));
  utimesSync(join(stateDirectory, 'attach', left), 0, 0);
  const running = await start(t, stateDirectory);
  equal(readdirSync(join(stateDirectory, 'attach')).length, 1);
  await running.pipe.stop();
  const again = await begin();
  ok(again.exitCode === null);
  const stages = [unboundModule(), unboundModule()].map((module, i) => ({
    name: `stage-${i}`,
    modules: [module],
  }));
  await rejects(
    initiatePipe({ name: 'letters', maxBuffers: 2, payloadBytes: 100, stages }, { stateDirectory }),
    { code: 'PIPE_CONFIG', message: /there is a pipe letters already/ },
  );
});
