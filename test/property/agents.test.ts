/**
 * Agents across a network (P6, P11).
 *
 * Goal: whatever the sizes, the number of agents and connections and the direction in which they are made,
 * and whatever happens to connections, every buffer arrives once, whole, and in order where that matters;
 * and nothing is left.
 * Method: two halves of a pipe with a proxy between; a tail that checks every byte.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { startPair } from '../agent-pair.ts';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('buffers of any size arrive once, whole and in order, over any number of connections', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        count: fc.integer({ min: 0, max: 120 }),
        seed: fc.nat(1e6),
        heads: fc.integer({ min: 1, max: 2 }),
        agents: fc.integer({ min: 1, max: 2 }),
        links: fc.integer({ min: 1, max: 3 }),
        ordered: fc.boolean(),
        flow: fc.constantFrom('push' as const, 'pull' as const),
        nearBuffers: fc.integer({ min: 2, max: 8 }),
        farBuffers: fc.integer({ min: 2, max: 8 }),
      }),
      async (plan) => {
        const heads = plan.ordered ? 1 : plan.heads;
        const pair = await startPair({ ...plan, heads });
        try {
          await Promise.all([pair.near.done, pair.far.done]);
          deepEqual(pair.arrived(), numbers(plan.count));
          equal(pair.near.status().buffers.free, plan.nearBuffers);
          equal(pair.far.status().buffers.free, plan.farBuffers);
        } finally {
          await pair.close();
        }
      },
    ),
    { numRuns: 12 },
  );
});
