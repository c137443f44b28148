/**
 * Goal: `drained` waits for what was sent before, between the stages that it is asked for, and for
 * nothing else (P14). Method: small pipes in real threads, their modules written in place as data: URLs.
 */
import { equal, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ModuleSpec, startPipe } from './mod.ts';

const code = (source: string): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
});

test('drained waits for all that was sent before, and for nothing else', async () => {
  // The head sends ten, then ten more only when it is told; the tail counts.
  const source = `export default { run(c) { for (let i = 0; i < 10; i++) c.sendBuf(c.allocBuf());
      c.whileShared(0, 0); for (let i = 0; i < 10; i++) c.sendBuf(c.allocBuf()); },
    control(m, c) { if (m === 'go') { Atomics.store(c.sharedWords, 0, 1); c.notifyShared(); } } }`;
  const slow = `export default { process(b) { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5); return b; } }`;
  const count = `export default { open(c) { this.c = c; }, process() { this.c.progress(0, 1); } }`;
  const pipe = await startPipe({
    maxBuffers: 16,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [
      { name: 'head', modules: [code(source)] },
      { name: 'middle', instances: 2, modules: [code(slow)] },
      { name: 'tail', modules: [code(count)] },
    ],
  });
  while (pipe.status().stages[0]?.instances[0]?.state !== 'waitingShared') await sleep(1);
  await pipe.drained('tail');
  equal(pipe.counter(0, 'tail'), 10);
  equal(pipe.counter(0), 10);
  await pipe.control('head', 'go');
  await pipe.done;
  equal(pipe.counter(0), 20);
  await pipe.drained('tail');
  await rejects(pipe.drained('nowhere'), { code: 'PIPE_CONFIG' });
});

test('drained does not wait for a stage before the one that it begins with', async () => {
  // Of one buffer the middle makes ten, then it is busy until it is told.
  const one = `export default { run(c) { c.sendBuf(c.allocBuf()); } }`;
  const many = `export default { run(c) { const b = c.receiveBuf();
      for (let i = 0; i < 10; i++) c.sendBuf(c.allocBuf());
      c.whileShared(0, 0); c.freeBuf(b); c.receiveBuf(); },
    control(m, c) { Atomics.store(c.sharedWords, 0, 1); c.notifyShared(); } }`;
  const count = `export default { open(c) { this.c = c; }, process() { this.c.progress(0, 1); } }`;
  const pipe = await startPipe({
    maxBuffers: 32,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [
      { name: 'head', modules: [code(one)] },
      { name: 'middle', allocates: true, modules: [code(many)] },
      { name: 'tail', modules: [code(count)] },
    ],
  });
  while (pipe.status().stages[1]?.instances[0]?.state !== 'waitingShared') await sleep(1);
  await pipe.drained('tail', 'middle');
  equal(pipe.counter(0, 'tail'), 10);
  equal(pipe.status().stages[1]?.instances[0]?.state, 'waitingShared');
  await pipe.control('middle', 'go');
  await pipe.done;
});
