/**
 * Goal: modules that work beside an event loop are promised what the others are: they wait, halt, are
 * answered, stopped and failed alike. Method: small pipes in real threads, modules written in place.
 */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ModuleSpec, startPipe } from './mod.ts';

const code = (source: string): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
});

const NOTHING = 'export default { run() {} }';

/** Waits for input beside a timer; counts turns of the timer and notes control messages. */
const LOOP = `export default () => { let turns = 0; const told = []; return {
  async runAsync(c) {
    const timer = setInterval(() => { turns++; }, 1);
    try { for (let b; (b = await c.receiveBufLater()) !== null; ) c.freeBuf(b); }
    finally { clearInterval(timer); }
    c.post({ turns, told });
  },
  control(message) { told.push(message); return 'answer ' + message; } } }`;

/** Makes a buffer whenever a shared word says so; -1 ends it. */
const TAP = `export default { run(c) {
  for (let n = 0; ; n++) { c.whileShared(0, n); if (c.sharedWords[0] < 0) return; c.sendBuf(c.allocBuf()); } } }`;

test('a module with an event loop waits beside its timers, answers, halts and goes on', async () => {
  const posted: { turns: number; told: string[] }[] = [];
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [
      { name: 'head', modules: [code(TAP)] },
      { name: 'tail', modules: [code(LOOP)] },
    ],
    onMessage: (_stage, _instance, message) => posted.push(message as (typeof posted)[0]),
  });
  const stateOfTail = () => pipe.status().stages[1]?.instances[0]?.state;
  deepEqual(await pipe.control('tail', 'one'), ['answer one']);
  while (stateOfTail() !== 'waitingInput') await sleep(1);
  deepEqual(await pipe.control('tail', 'two'), ['answer two']);
  await pipe.pause();
  equal(stateOfTail(), 'paused');
  deepEqual(await pipe.control('tail', 'three'), ['answer three'], 'also while it is paused');
  pipe.resume();
  const word = pipe.segment.sharedWords;
  for (const value of [1, 2, -1]) {
    Atomics.store(word, 0, value);
    pipe.segment.wakeEveryone();
    if (value > 0)
      while ((pipe.status().stages[1]?.instances[0]?.beat ?? 0) < value) await sleep(1);
    await sleep(2);
  }
  await pipe.done;
  deepEqual(posted[0]?.told, ['one', 'two', 'three']);
  ok((posted[0]?.turns ?? 0) > 0, 'its timer ran meanwhile');
});

test('a module with an event loop is stopped whatever it waits for, and is aborted', async () => {
  const hang = `export default () => { let c, timer; return {
    open(x) { c = x; },
    async runAsync() { timer = setInterval(() => {}, 1000); c.post('runs'); await new Promise(() => {}); },
    abort() { clearInterval(timer); c.post('aborted'); } } }`;
  const posted: unknown[] = [];
  const runs = Promise.withResolvers<void>();
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    stages: [
      { name: 'head', modules: [code(NOTHING)] },
      { name: 'tail', modules: [code(hang)] },
    ],
    onMessage: (_stage, _instance, message) => {
      posted.push(message);
      runs.resolve();
    },
  });
  await runs.promise;
  await pipe.stop('enough');
  await rejects(pipe.done, { code: 'PIPE_STOPPED', message: 'enough' });
  deepEqual(posted, ['runs', 'aborted']);
});

test('what a module with an event loop throws, even outside of its steps, fails the pipe', async () => {
  for (const throws of [
    'throw new Error("a defect")',
    'setImmediate(() => { throw new Error("a defect"); }); await new Promise(() => {})',
  ]) {
    const pipe = await startPipe({
      maxBuffers: 2,
      payloadBytes: 64,
      stages: [
        { name: 'head', modules: [code(`export default { async runAsync() { ${throws}; } }`)] },
        { name: 'tail', modules: [code('export default { process() {} }')] },
      ],
    });
    await rejects(pipe.done, { code: 'PIPE_FAILED', message: /a defect/ });
  }
});
