/**
 * Agents whose connections break (P12).
 *
 * Goal: connections may be cut, stalled, delayed, cut short, altered or half open at any moment: every
 * buffer arrives once, whole, and in order where that matters.
 * Method: two halves of a pipe with a proxy between, which does random things at random times.
 */
import { deepEqual, ok } from 'node:assert/strict';
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

test('connections that break at any moment, in any way, lose and double nothing', async () => {
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
        } finally {
          await pair.close();
        }
      },
    ),
    { numRuns: 6 },
  );
});

test('what a connection breaks off in the middle of is sent again', async () => {
  // Some frames are longer than what is left.
  const onConnect = { how: 'truncate', bytes: 70_000, towards: 'server' } as const;
  const pair = await startPair({ count: 40, links: 1, ordered: true, onConnect });
  try {
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(pair.arrived(), numbers(40));
    ok(pair.near.counter(2, 'send') > 0, 'buffers were sent again');
  } finally {
    await pair.close();
  }
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
