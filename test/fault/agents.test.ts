/**
 * Agents whose connections break (P12).
 *
 * Goal: connections may be cut, stalled, delayed, cut short, altered or half open at any moment: every
 * buffer arrives once, whole, and in order where that matters; only when no connection can be made for the
 * limit do both sides end, with NET_LOST.
 * Method: two halves of a pipe with a proxy between, which does random things at random times.
 */
import { deepEqual, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { startPair } from '../agent-pair.ts';
import type { LinkFault } from '../link-proxy.ts';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

type Fault = LinkFault & { readonly afterMs: number; readonly which: number | undefined };

const faultArbitrary: fc.Arbitrary<Fault> = fc
  .tuple(
    fc.oneof(
      fc.constant({ how: 'cut' as const }),
      fc.record({ how: fc.constant('stall' as const), ms: fc.integer({ min: 1, max: 200 }) }),
      fc.record({ how: fc.constant('delay' as const), ms: fc.integer({ min: 1, max: 5 }) }),
      fc.record({
        how: fc.constant('truncate' as const),
        bytes: fc.integer({ min: 0, max: 50_000 }),
        towards: fc.constantFrom('server' as const, 'client' as const),
      }),
      fc.constant({ how: 'flip' as const }),
    ),
    fc.integer({ min: 0, max: 100 }),
    fc.option(fc.nat(3), { nil: undefined }),
  )
  .map(([fault, afterMs, which]) => ({ ...fault, afterMs, which }));

test('connections that break at any moment, in any way, lose and double nothing', async (t) => {
  let again = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        count: fc.integer({ min: 100, max: 300 }),
        seed: fc.nat(1e6),
        agents: fc.integer({ min: 1, max: 2 }),
        links: fc.integer({ min: 1, max: 3 }),
        ordered: fc.boolean(),
        flow: fc.constantFrom('push' as const, 'pull' as const),
      }),
      fc.array(faultArbitrary, { minLength: 1, maxLength: 6 }),
      async (plan, faults) => {
        // So slow that the faults find something to break.
        const pair = await startPair({ ...plan, bytesPerSecond: 10e6 });
        try {
          while (pair.far.counter(0, 'tail') === 0) await sleep(5);
          for (const { afterMs, which, ...fault } of faults) {
            await sleep(afterMs);
            pair.proxy.fault(fault, which);
          }
          await Promise.all([pair.near.done, pair.far.done]);
          deepEqual(pair.arrived(), numbers(plan.count));
          again += pair.near.counter(2, 'send');
        } finally {
          await pair.close();
        }
      },
    ),
    { numRuns: 8 },
  );
  t.diagnostic(`${again} buffers were sent again`);
  ok(again > 0, 'something was broken');
});

test('a connection that nobody ends but nothing passes is given up, and replaced', async () => {
  const pair = await startPair({ count: 100, links: 2, ordered: true, bytesPerSecond: 2e6 });
  try {
    while (pair.far.counter(0, 'tail') < 10) await sleep(5);
    pair.proxy.fault({ how: 'half-open' }, 0);
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(pair.arrived(), numbers(100));
  } finally {
    await pair.close();
  }
});

test('an agent that finds nobody any more gives up after the limit, on both sides', async () => {
  const pair = await startPair({ count: 1e6, ordered: true, bytesPerSecond: 1e6, lostMs: 400 });
  try {
    while (pair.far.counter(0, 'tail') < 3) await sleep(5);
    pair.proxy.down = true;
    pair.proxy.fault({ how: 'cut' });
    await rejects(pair.near.done, { code: 'NET_LOST' });
    await rejects(pair.far.done, { code: 'NET_LOST' });
  } finally {
    await pair.close();
  }
});

test('a network that is away for less than the limit costs nothing but time', async () => {
  const pair = await startPair({ count: 60, links: 3, ordered: true, bytesPerSecond: 2e6 });
  try {
    while (pair.far.counter(0, 'tail') < 5) await sleep(5);
    pair.proxy.down = true;
    pair.proxy.fault({ how: 'cut' });
    await sleep(500);
    pair.proxy.down = false;
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(pair.arrived(), numbers(60));
    ok(pair.near.counter(3, 'send') > 3, 'connections were made again');
  } finally {
    await pair.close();
  }
});

test('who shows another certificate, or has another secret, brings nothing', async () => {
  const { identities } = await import('../agent-pair.ts');
  const [client] = await identities();
  for (const wrong of [
    { secret: Buffer.alloc(32) },
    { identity: { ...client, peerFingerprint: '0'.repeat(64) } },
  ]) {
    const pair = await startPair({ count: 10, lostMs: 600, wrong });
    try {
      await rejects(pair.near.done, { code: 'secret' in wrong ? 'NET_LOST' : 'NET_UNTRUSTED' });
      await rejects(pair.far.done, { code: 'NET_LOST' });
      deepEqual(pair.arrived(), []);
    } finally {
      await pair.close();
    }
  }
});
