/**
 * Whole pipes in real threads.
 *
 * Goal: what the simulation shows under chosen schedules (pipe-schedule.test.ts) holds on the machine's
 * memory model and with its own sleeping and waking: nothing lost or doubled, bytes intact, shares kept,
 * order kept, all buffers free at the end.
 * Method: random pipes whose modules waste random time; every payload carries a pattern that the tail
 * checks; each instance counts the buffers that it holds and reports a share that was exceeded.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type PipeSpec, type StageSpec, startPipe } from '../../src/pipe/mod.ts';
import type { LoadOptions } from './pipe-load.ts';

const MODULE = new URL('./pipe-load.ts', import.meta.url);

interface Plan {
  readonly heads: number;
  readonly middles: readonly {
    instances: number;
    allocates: boolean;
    lazy: boolean;
    later: boolean;
  }[];
  /** Which ends run beside an event loop. */
  readonly later: readonly string[];
  readonly tails: number;
  readonly ordered: boolean;
  /** Buffers beyond the one that each allocating instance needs. */
  readonly spare: number;
  readonly items: number;
  readonly seed: number;
}

const planArbitrary: fc.Arbitrary<Plan> = fc.record({
  heads: fc.integer({ min: 1, max: 2 }),
  middles: fc.array(
    fc.record({
      instances: fc.integer({ min: 1, max: 3 }),
      allocates: fc.boolean(),
      lazy: fc.boolean(),
      later: fc.boolean(),
    }),
    { maxLength: 2 },
  ),
  later: fc.subarray(['head', 'tail']),
  tails: fc.integer({ min: 1, max: 2 }),
  ordered: fc.boolean(),
  spare: fc.integer({ min: 0, max: 6 }),
  items: fc.integer({ min: 0, max: 400 }),
  seed: fc.nat(),
});

function specOf(plan: Plan): PipeSpec {
  const stage = (
    name: string,
    more: Omit<StageSpec, 'name' | 'modules'>,
    later = plan.later.includes(name),
  ): StageSpec => {
    const options: LoadOptions = {
      items: name === 'head' ? plan.items : undefined,
      seed: plan.seed,
      replaces: more.allocates === true,
      checksOrder: name === 'tail' && plan.ordered && plan.tails === 1,
      later,
    };
    return { name, modules: [{ module: MODULE, options }], ...more };
  };
  const middles = plan.middles.map(({ instances, allocates, lazy, later }, i) =>
    stage(
      `middle-${i}`,
      { instances, allocates, ...(lazy ? { startWhen: 'first-buffer' } : {}) },
      later,
    ),
  );
  const allocating = plan.middles.filter(({ allocates }) => allocates);
  const least = plan.heads + allocating.reduce((sum, { instances }) => sum + instances, 0);
  return {
    maxBuffers: least + plan.spare,
    payloadBytes: 8192,
    stages: [
      stage('head', { instances: plan.heads }),
      ...middles,
      stage('tail', { instances: plan.tails, ordered: plan.ordered && plan.tails === 1 }),
    ],
  };
}

test('random pipes in real threads lose nothing, keep shares and order', async () => {
  await fc.assert(
    fc.asyncProperty(planArbitrary, async (plan) => {
      const spec = specOf(plan);
      const arrived: number[] = [];
      const pipe = await startPipe({
        ...spec,
        onMessage: (_stage, _instance, message) => arrived.push(...(message as number[])),
      });
      const { counters } = await pipe.done;
      equal(counters.tail?.[0], plan.heads * plan.items, 'all have arrived');
      const wanted = Array.from({ length: plan.heads }, (_, head) =>
        Array.from({ length: plan.items }, (_, item) => head * 1e6 + item),
      ).flat();
      deepEqual(
        arrived.sort((a, b) => a - b),
        wanted,
        'each once',
      );
      equal(pipe.status().buffers.free, spec.maxBuffers);
      deepEqual(
        pipe.status().stages.map(({ queued }) => queued),
        spec.stages.map(() => 0),
      );
    }),
    { numRuns: 20 },
  );
});
