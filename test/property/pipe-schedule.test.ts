/**
 * Whole pipes of any shape under any schedule.
 *
 * Goal: no deadlock whatever the speeds (P4), nothing lost, nothing owned twice, order kept (P6), parts
 * too (P5), and everything back in its place at the end. A stop ends every wait (P12).
 * Method: random pipes of a few buffers run as simulated threads (pipe-simulation.ts) under fair and very
 * unfair schedulers; what arrives is compared with what one thread would have made of the input. That
 * the test can see a deadlock is shown by widening the window by one.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../../src/base/errors.ts';
import type { PipeBuffer } from '../../src/pipe/buffer.ts';
import {
  DESCRIPTOR,
  descriptorAt,
  STAGE,
  shareAt,
  stageAt,
  windowSemaphoreAt,
} from '../../src/pipe/layout.ts';
import { createSegment, type Segment } from '../../src/pipe/segment.ts';
import type { StageConfig } from '../../src/pipe/topology.ts';
import {
  fairScheduler,
  loadSimulated,
  type Run,
  randomFrom,
  runThreads,
  type Scheduler,
  type Simulated,
  type Thread,
  unfairScheduler,
} from './pipe-simulation.ts';

/** What a buffer says of itself: head that made it, number there, and its part (0: whole). */
const WORD = { head: 0, item: 1, part: 2 } as const;
/** Items that an instance adds at its end have numbers from here on. */
const ADDED = 1 << 20;

interface Shape {
  readonly stages: readonly StageConfig[];
  readonly maxBuffers: number;
  readonly items: number;
  readonly salt: number;
}

const simulated: Simulated = await loadSimulated();

/** What a stage does with an item: 0 drops it, 1 passes it on, 2 or more make so many of it. */
function actionOf(shape: Shape, stage: number, item: number, part: number): number {
  const config = shape.stages[stage] as StageConfig;
  const mixed = Math.imul(item * 31 + part * 7 + stage * 131 + shape.salt, 0x9e3779b1) >>> 16;
  if (mixed % 5 === 0) return 0;
  if (mixed % 3 > 0 || part > 0 || !config.allocates) return 1;
  return 1 + (mixed % config.partsMax);
}

/** Parts of one item as they leave the last stage, made by one thread. */
function expected(shape: Shape, item: number): number[] {
  let parts = [0];
  for (let stage = 1; stage < shape.stages.length - 1; stage++) {
    parts = parts.flatMap((part) => {
      const count = actionOf(shape, stage, item, part);
      return count === 1 ? [part] : Array.from({ length: count }, (_, k) => k + 1);
    });
  }
  return parts;
}

function* head(shape: Shape, primitives: Simulated, me: number): Thread {
  for (let item = 0; item < shape.items; item++) {
    const buffer = (yield* primitives.allocBuf()) as PipeBuffer;
    buffer.setWord(WORD.head, me);
    buffer.setWord(WORD.item, item);
    yield* primitives.sendBuf(buffer);
  }
  yield* primitives.close();
}

function* middle(shape: Shape, stage: number, primitives: Simulated, me: number): Thread {
  const { allocates } = shape.stages[stage] as StageConfig;
  for (;;) {
    const buffer = (yield* primitives.receiveBuf()) as PipeBuffer | null;
    if (buffer === null) break;
    const count = actionOf(shape, stage, buffer.word(WORD.item), buffer.word(WORD.part));
    if (count === 0) yield* primitives.freeBuf(buffer);
    else if (!allocates) yield* primitives.sendBuf(buffer);
    else yield* replace(primitives, buffer, count, (shape.salt & 1) === 0);
  }
  if (allocates && (shape.salt & 2) === 0) {
    const buffer = (yield* primitives.allocBuf()) as PipeBuffer;
    buffer.setWord(WORD.head, me);
    buffer.setWord(WORD.item, ADDED + stage);
    yield* primitives.sendBuf(buffer);
  }
  yield* primitives.close();
}

/** Makes several of one; the last is the received buffer itself, or a new one too. */
function* replace(primitives: Simulated, buffer: PipeBuffer, count: number, keep: boolean): Thread {
  const made = keep ? count - 1 : count;
  for (let k = 0; k < made; k++) {
    const copy = (yield* primitives.allocBuf()) as PipeBuffer;
    copy.setWord(WORD.head, buffer.word(WORD.head));
    copy.setWord(WORD.item, buffer.word(WORD.item));
    copy.setWord(WORD.part, count === 1 ? buffer.word(WORD.part) : k + 1);
    primitives.inherit(copy, buffer, k === count - 1);
    yield* primitives.sendBuf(copy);
  }
  if (keep) {
    if (count > 1) buffer.setWord(WORD.part, count);
    yield* primitives.sendBuf(buffer);
  } else yield* primitives.freeBuf(buffer);
}

function* tail(primitives: Simulated, arrived: number[][]): Thread {
  for (;;) {
    const buffer = (yield* primitives.receiveBuf()) as PipeBuffer | null;
    if (buffer === null) break;
    arrived.push([buffer.word(WORD.head), buffer.word(WORD.item), buffer.word(WORD.part)]);
    yield* primitives.freeBuf(buffer);
  }
  yield* primitives.close();
}

interface World {
  readonly segment: Segment;
  readonly threads: Thread[];
  readonly arrived: number[][];
  readonly answers: number[];
}

/** A pipe, not yet running. `widen` breaks the rule of the window. */
function build(shape: Shape, widen = 0): World {
  const segment = createSegment({
    name: 'simulated',
    maxBuffers: shape.maxBuffers,
    payloadBytes: 1,
    directoryBytes: 0,
    sharedWords: 1,
    stages: shape.stages,
  });
  const { topology, layout, words, config } = segment;
  topology.sections.forEach((_, i) => {
    words[windowSemaphoreAt(layout, i)] = (words[windowSemaphoreAt(layout, i)] as number) + widen;
  });
  const attached = simulated.attachSegment(segment.memory);
  const started = topology.stageOf.map((stage) => config.stages[stage]?.lazy === false);
  const arrived: number[][] = [];
  const answers: number[] = [];
  const threads = topology.stageOf.map((stage, instance) =>
    (function* (): Thread {
      const startsOver = stageAt(layout, stage) + STAGE.startsOver;
      yield { op: 'until', args: [() => started[instance] || words[startsOver] === 1] };
      if (!started[instance]) return 'never started';
      const primitives = new simulated.Primitives(attached, instance, {
        control: () => answers.push(instance),
        start: (target: number, k: number) => {
          started[(topology.firstInstance[target] as number) + k] = true;
        },
        paused: () => {},
      });
      try {
        if (topology.roles[stage] === 'head') yield* head(shape, primitives, instance);
        else if (topology.roles[stage] === 'tail') yield* tail(primitives, arrived);
        else yield* middle(shape, stage, primitives, instance);
      } catch (thrown) {
        if (!(thrown instanceof simulated.PipeStopped)) throw thrown;
        return 'stopped';
      }
      return 'ended';
    })(),
  );
  return { segment, threads, arrived, answers };
}

/** Everything is where it was at the start. */
function checkAtRest({ segment }: World): void {
  const { words, layout, topology, config } = segment;
  equal(segment.queueLength(0), config.maxBuffers);
  for (let i = 0; i < config.maxBuffers; i++) {
    equal(words[descriptorAt(layout, i) + DESCRIPTOR.owner], -1, `buffer ${i} is free`);
    equal(((words[layout.freePool + (i >> 5)] as number) >>> (i & 31)) & 1, 1);
  }
  for (let i = 0; i < topology.allocatorCount; i++)
    equal(words[shareAt(layout, i)], topology.share);
  topology.sections.forEach((section, i) => {
    equal(words[windowSemaphoreAt(layout, i)], section.window, 'all numbers have passed');
  });
  for (let i = 1; i < config.stages.length; i++) equal(segment.queueLength(i), 0);
}

function checkArrived(shape: Shape, world: World): void {
  const heads = shape.stages[0]?.instances ?? 0;
  const wanted: number[][] = [];
  for (let me = 0; me < heads; me++) {
    for (let item = 0; item < shape.items; item++) {
      for (const part of expected(shape, item)) wanted.push([me, item, part]);
    }
  }
  const items = world.arrived.filter(([, item]) => (item as number) < ADDED);
  const byText = (list: number[][]): string[] => list.map(String).sort();
  deepEqual(byText(items), byText(wanted), 'nothing is lost or doubled');
  const last = shape.stages.length - 1;
  if (shape.stages[last]?.ordered !== true) return;
  for (let me = 0; me < heads; me++) {
    const ofHead = (list: number[][]): number[][] => list.filter(([from]) => from === me);
    deepEqual(ofHead(items), ofHead(wanted), 'order is kept');
  }
}

/** Buffers that were added at the end of the first section's input come after all others. */
function checkAdded(shape: Shape, world: World): void {
  const section = world.segment.topology.sections.at(-1);
  if (section === undefined || section.last !== shape.stages.length - 1) return;
  const firstAdded = world.arrived.findIndex(
    ([, item]) => (item as number) >= ADDED + section.first,
  );
  const lastItem = world.arrived.findLastIndex(([, item]) => (item as number) < ADDED);
  ok(firstAdded < 0 || firstAdded > lastItem, 'what is added at the end comes last');
}

const stageArbitrary = (i: number, last: number): fc.Arbitrary<StageConfig> =>
  fc.record({
    name: fc.constant(`stage-${i}`),
    instances: fc.integer({ min: 1, max: 3 }),
    allocates: i === 0 ? fc.constant(true) : i === last ? fc.constant(false) : fc.boolean(),
    overShareFails: fc.constant(false),
    ordered: fc.boolean(),
    numbered: fc.boolean(),
    partsMax: fc.integer({ min: 1, max: 3 }),
    windowBytes: fc.constant(0),
    lazy: i === 0 ? fc.constant(false) : fc.boolean(),
    targets: fc.constant(i === last ? [] : [i + 1]),
  });

const shapeArbitrary: fc.Arbitrary<Shape> = fc.integer({ min: 2, max: 5 }).chain((count) =>
  fc.record({
    stages: fc.tuple(...Array.from({ length: count }, (_, i) => stageArbitrary(i, count - 1))),
    maxBuffers: fc.integer({ min: 1, max: 12 }),
    items: fc.integer({ min: 0, max: 14 }),
    salt: fc.nat({ max: 1 << 20 }),
  }),
);

function schedulerOf(seed: number): Scheduler {
  const random = randomFrom(seed);
  const everies = [3, 30, 300, 3000];
  return seed % 5 === 0
    ? fairScheduler(random)
    : unfairScheduler(random, everies[seed % 4] as number);
}

/** Runs a shape, or returns null for one that cannot work. */
function tryRun(shape: Shape, seed: number, widen = 0): { world: World; run: Run } | null {
  try {
    const world = build(shape, widen);
    return { world, run: runThreads(world.threads, schedulerOf(seed)) };
  } catch (thrown) {
    if (thrown instanceof PenstockError && thrown.code === 'PIPE_CONFIG') return null;
    throw thrown;
  }
}

test('any pipe under any schedule ends, with everything in its place and in order', (t) => {
  let ran = 0;
  let sections = 0;
  fc.assert(
    fc.property(shapeArbitrary, fc.nat(), (shape, seed) => {
      const outcome = tryRun(shape, seed);
      if (outcome === null) return;
      ran++;
      sections += outcome.world.segment.topology.sections.length;
      deepEqual(outcome.run.stuck, [], 'no instance waits for ever');
      checkAtRest(outcome.world);
      checkArrived(shape, outcome.world);
      checkAdded(shape, outcome.world);
    }),
    { numRuns: 1500 },
  );
  t.diagnostic(`${ran} pipes ran, with ${sections} ordered sections`);
  ok(ran > 300 && sections > 100, `${ran} pipes, ${sections} sections`);
});

test('a window wider by one deadlocks: the rule of P4 is needed, and this test can see it', () => {
  // The instances of b and c replace what they get: all buffers of one instance of c can wait, behind it,
  // for a number that b still has and that this instance will get.
  const stages = ['a', 'b', 'c', 'd'].map(
    (name, i): StageConfig => ({
      name,
      instances: i === 1 || i === 2 ? 2 : 1,
      allocates: i < 3,
      overShareFails: false,
      ordered: i === 3,
      numbered: false,
      partsMax: 1,
      windowBytes: 0,
      lazy: false,
      targets: i === 3 ? [] : [i + 1],
    }),
  );
  // A salt with which no stage drops one of the first items.
  const shapes = [...Array(50).keys()].map(
    (i): Shape => ({ stages, maxBuffers: 15, items: 5, salt: 2 * i + 1 }),
  );
  const shape = shapes.find((one) =>
    [0, 1, 2, 3, 4].every((item) => expected(one, item).length > 0),
  );
  ok(shape !== undefined);
  const [A, B0, B1, C0, C1, D] = [0, 1, 2, 3, 4, 5] as const;
  // b.0 falls behind after so many steps, c.1 is slower than all.
  const heldUp = (after: number): Scheduler => {
    let stepsOfB0 = 0;
    return (runnable) => {
      const order = stepsOfB0 < after ? [B0, A, D, B1, C0, C1] : [A, D, C0, B1, B0, C1];
      const chosen = order.find((i) => runnable.includes(i)) as number;
      if (chosen === B0) stepsOfB0++;
      return chosen;
    };
  };
  const stuckWith = (widen: number): number => {
    let stuck = 0;
    for (let after = 1; after < 60; after++) {
      const world = build(shape, widen);
      if (runThreads(world.threads, heldUp(after)).stuck.length > 0) stuck++;
    }
    return stuck;
  };
  equal(build(shape).segment.topology.sections[0]?.window, 3);
  equal(stuckWith(0), 0);
  ok(stuckWith(1) > 0, 'a deadlock is found');
});

test('a stop at any moment ends every wait', () => {
  fc.assert(
    fc.property(shapeArbitrary, fc.nat(), fc.nat({ max: 3000 }), (shape, seed, delay) => {
      let world: World;
      try {
        world = build(shape);
      } catch {
        return;
      }
      const stopper = (function* (): Thread {
        for (let i = 0; i < delay; i++) yield { op: 'until', args: [() => true] };
        yield* simulated.attachSegment(world.segment.memory).requestStop(0);
      })();
      const run = runThreads([...world.threads, stopper], schedulerOf(seed));
      const { stages } = world.segment.config;
      for (const i of run.stuck) {
        // The initiator gives up what no buffer has started.
        equal(
          stages[world.segment.topology.stageOf[i] ?? -1]?.lazy,
          true,
          'no instance waits for ever',
        );
        equal(world.threads[i] !== undefined && run.results[i] === undefined, true);
      }
    }),
    { numRuns: 500 },
  );
});

test('control messages and pauses reach whoever waits, and disturb nothing', () => {
  fc.assert(
    fc.property(shapeArbitrary, fc.nat(), fc.nat({ max: 2000 }), (shape, seed, delay) => {
      let world: World;
      try {
        world = build(shape);
      } catch {
        return;
      }
      const { segment, threads } = world;
      const instances = segment.topology.instanceCount;
      const initiator = (function* (): Thread {
        const attached = simulated.attachSegment(segment.memory);
        for (const [demand, bits] of [
          ['demandAttention', 2],
          ['demandAttention', 4],
          ['withdrawAttention', 4],
        ] as const) {
          for (let i = 0; i < delay; i++) yield { op: 'until', args: [() => true] };
          for (let i = 0; i < instances; i++) yield* attached[demand](i, bits);
          yield* attached.wakeEveryone();
        }
      })();
      const run = runThreads([...threads, initiator], schedulerOf(seed));
      deepEqual(run.stuck, [], 'no instance waits for ever');
      checkAtRest(world);
      checkArrived(shape, world);
    }),
    { numRuns: 500 },
  );
});
