/**
 * Agents whose connections are slow, and not broken (P11).
 *
 * Goal: however long the bytes of a frame take, they arrive as they were sent, and no connection is given up.
 * Method: two halves of a pipe with a proxy between, which stands still in the middle of large frames; a
 * rate at which frames take seconds.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../../src/base/limits.ts';
import { startPair } from '../agent-pair.ts';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('a connection that is held up in the middle of a frame brings it whole afterwards', async () => {
  // So large that most of a frame waits in the sender, for longer than a beat.
  const pair = await startPair({ count: 6, links: 1, nearBuffers: 3, payloadBytes: 12 * 2 ** 20 });
  try {
    while (pair.near.counter(1, 'send') === 0) await sleep(1);
    pair.proxy.fault({ how: 'stall', ms: 1.5 * LIMITS.linkBeatMs });
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(pair.arrived(), numbers(6));
    equal(pair.near.counter(2, 'send'), 0, 'nothing was sent again');
  } finally {
    await pair.close();
  }
});

test('a limit of very few bytes a second is no broken connection', async () => {
  const pair = await startPair({ count: 3, links: 8, payloadBytes: 300, bytesPerSecond: 2000 });
  try {
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(pair.arrived(), numbers(3));
    equal(pair.near.counter(2, 'send'), 0, 'nothing was sent again');
  } finally {
    await pair.close();
  }
});
