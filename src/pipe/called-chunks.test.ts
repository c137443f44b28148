/**
 * Goal: whoever waits for a slot waits as long as the server is alive and serves others.
 * Method: another thread frees and takes again what the waiting one would need, much more often than a
 * server would have to be silent to be given up.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { LIMITS } from '../base/limits.ts';
import { CALL, CallMemory } from './call-memory.ts';
import openCalledChunks from './called-chunks.ts';

const OTHERS = `
const { parentPort, workerData } = require('node:worker_threads');
import(workerData.module).then(({ CallMemory }) => {
  const memory = new CallMemory(workerData.shared);
  parentPort.postMessage('ready');
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < workerData.times; i++) {
    memory.setWritesMax(0);
    Atomics.wait(pause, 0, 0, 0.05);
  }
  memory.setWritesMax(2);
});`;

test('a thread that always comes second waits, and does not give the server up', async () => {
  const memory = CallMemory.make(2, 4096);
  memory.setWritesMax(0);
  const gone = { code: 'VOLUME_IO', message: 'the drive has failed' } as const;
  const media = openCalledChunks({ memory: memory.shared, gone, wholeWrites: true });
  const sink = (await media).create('0'.repeat(32), 1);
  const times = 20 * LIMITS.callSilentWaitsMax;
  const module = new URL('./call-memory.ts', import.meta.url).href;
  const worker = new Worker(OTHERS, {
    eval: true,
    workerData: { module, shared: memory.shared, times },
  });
  await once(worker, 'message');
  sink.write(Buffer.alloc(100, 1), 0, 100, 0);
  const slot = [0, 1].find((one) => memory.take(one));
  assert(slot !== undefined);
  assert.deepEqual([memory.call(slot), memory.length(slot)], [CALL.write, 100]);
  await once(worker, 'exit');
});
