/**
 * Goal: an instance beside the event loop of who starts its pipe moves the same bytes, fails and stops like
 * those with a thread of their own, and holds up nothing.
 * Method: thread ids tell where modules run; what a pipe brings is compared.
 */
import { deepEqual, equal, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { threadId } from 'node:worker_threads';
import { type ModuleSpec, type Pipe, type PipeSpec, startPipe } from './mod.ts';

const code = (source: string): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
});
const WHERE = `import { threadId } from 'node:worker_threads';`;
/** Sends ten numbers. */
const HEAD = code(`${WHERE} export default { async runAsync(c) {
  c.post({ threadId });
  for (let i = 0; i < 10; i++) {
    const buffer = await c.allocBufLater();
    buffer.memory[buffer.payloadOffset] = i;
    buffer.length = 1;
    c.sendBuf(buffer);
  } } }`);
/** Posts what comes. */
const TAIL = code(`${WHERE} export default { open(c) { c.post({ threadId }); this.c = c; },
  process(buffer) { this.c.post(buffer.memory[buffer.payloadOffset]); } }`);
/** Waits for what never comes. */
const WAITS = code(`export default { async runAsync(c) {
  c.post('waits'); for (;;) c.freeBuf(await c.receiveBufLater()); } }`);

type Stages = PipeSpec['stages'];

async function start(stages: Stages, said: unknown[] = []): Promise<Pipe> {
  const onMessage = (_stage: string, _instance: number, message: unknown): void =>
    void said.push(message);
  return startPipe({ maxBuffers: 2, payloadBytes: 64, stages, onMessage });
}

const isNumber = (message: unknown): boolean => typeof message === 'number';
const NUMBERS = Array.from({ length: 10 }, (_, i) => i);

test('a head beside the event loop feeds a thread', async () => {
  const said: unknown[] = [];
  const pipe = await start(
    [
      { name: 'head', modules: [HEAD], runsBeside: true },
      { name: 'tail', modules: [TAIL] },
    ],
    said,
  );
  await pipe.done;
  deepEqual(said.filter(isNumber), NUMBERS);
  const threads = said.filter((message) => !isNumber(message)) as { threadId: number }[];
  equal(threads.filter((one) => one.threadId === threadId).length, 1, 'one of two runs here');
});

test('a pipe of one stage may run wholly beside the event loop', async () => {
  const said: unknown[] = [];
  const pipe = await start([{ name: 'all', modules: [HEAD, TAIL], runsBeside: true }], said);
  await pipe.done;
  deepEqual(said.filter(isNumber), NUMBERS);
});

test('a module that would hold up the event loop is refused', async () => {
  const waits = code('export default { run(c) { c.receiveBuf(); } }');
  const pipe = await start([
    { name: 'head', modules: [HEAD] },
    { name: 'tail', modules: [waits], runsBeside: true },
  ]);
  await rejects(pipe.done, { code: 'PIPE_CONFIG', message: /would hold up/ });
});

test('what it throws is the cause of the end of all', async () => {
  const fails = code(`export default { async runAsync() { throw new Error('no more'); } }`);
  const pipe = await start([
    { name: 'head', modules: [fails], runsBeside: true },
    { name: 'tail', modules: [WAITS] },
  ]);
  await rejects(pipe.done, /no more/);
});

test('one that waits is stopped, and answers messages before', async () => {
  const waits = code(`export default { async runAsync(c) {
    c.post('waits'); for (;;) c.freeBuf(await c.receiveBufLater()); },
    control(message) { return message + 1; } }`);
  const silent = code(`export default { async runAsync(c) {
    const buffer = await c.allocBufLater(); await new Promise(() => {}); } }`);
  const pipe = await start([
    { name: 'head', modules: [silent], runsBeside: true },
    { name: 'tail', modules: [waits], runsBeside: true },
  ]);
  deepEqual(await pipe.control('tail', 41), [42]);
  await pipe.stop('enough');
  await rejects(pipe.done, { code: 'PIPE_STOPPED', message: 'enough' });
});

test('it shares no options with who starts it', async () => {
  const said: unknown[] = [];
  const options = { list: [1] };
  const changes = code(`export default (options) => ({ async runAsync(c) {
    options.list.push(2); c.post(options.list.length); } })`);
  const pipe = await start(
    [
      { name: 'head', modules: [{ ...changes, options }], runsBeside: true },
      { name: 'tail', modules: [TAIL] },
    ],
    said,
  );
  await pipe.done;
  deepEqual(said.filter(isNumber), [2]);
  deepEqual(options.list, [1]);
});
