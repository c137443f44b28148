/**
 * The queue of pipes on a monitor (P13).
 *
 * Goal: whatever is asked for, ended and given up in whatever order: limits of memory, number, owners and
 * devices hold at every moment; nobody gets fewer buffers than needed or more than asked for; nobody
 * waits who could run, unless somebody in front of him waits for memory; who asks first is not overtaken
 * by one who waits for the same; and at the end all have had their turn.
 * Method: random scripts against the queue, checked after each step by what the steps say alone.
 */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../../src/base/errors.ts';
import {
  type Admission,
  PipeQueue,
  type PipeWish,
  type QueueLimits,
  type Waiter,
} from '../../src/monitor/pipe-queue.ts';

const LIMITS: QueueLimits = {
  memoryBytes: 1000,
  pipesMax: 6,
  threadsMax: 40,
  ownerPart: 2,
  waitingMax: 12,
  ownerWaitingMax: 6,
  devices: new Map([['shared', 2]]),
};
const STOPPED = new PenstockError('PIPE_STOPPED', 'enough');

interface Pipe {
  readonly wish: PipeWish;
  readonly waiter: Waiter;
  readonly order: number;
  admission: Admission | undefined;
}

const wishArbitrary: fc.Arbitrary<PipeWish> = fc
  .record({
    owner: fc.constantFrom(undefined, 'a', 'b'),
    bufferBytes: fc.integer({ min: 1, max: 60 }),
    otherBytes: fc.integer({ min: 0, max: 40 }),
    buffersLeast: fc.integer({ min: 1, max: 10 }),
    more: fc.integer({ min: 0, max: 10 }),
    threads: fc.integer({ min: 1, max: 22 }),
    device: fc.constantFrom(undefined, undefined, 'tape', 'shared'),
  })
  .map(({ more, ...wish }) => ({ ...wish, buffersMost: wish.buffersLeast + more }));

type Step =
  | { readonly kind: 'ask'; readonly wish: PipeWish }
  | { readonly kind: 'end' | 'leave'; readonly which: number };
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: wishArbitrary.map((wish) => ({ kind: 'ask', wish }) as const) },
  { weight: 2, arbitrary: fc.nat().map((which) => ({ kind: 'end', which }) as const) },
  { weight: 1, arbitrary: fc.nat().map((which) => ({ kind: 'leave', which }) as const) },
);

const bytesOf = ({ wish, admission }: Pipe): number =>
  (admission?.buffers ?? 0) * wish.bufferBytes + wish.otherBytes;
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

class Model {
  readonly queue = new PipeQueue(LIMITS);
  pipes: Pipe[] = [];
  #asked = 0;

  async step(step: Step): Promise<void> {
    if (step.kind === 'ask') this.#ask(step.wish);
    else {
      const which = this.pipes.filter(
        ({ admission }) => (admission === undefined) === (step.kind === 'leave'),
      );
      const pipe = which[step.which % Math.max(1, which.length)];
      if (pipe === undefined) return;
      this.pipes = this.pipes.filter((one) => one !== pipe);
      pipe.waiter.leave(STOPPED);
      pipe.admission?.release();
      // To end it once more changes nothing.
      pipe.admission?.release();
    }
    const before = this.#waiting;
    // Who was admitted learns it as a promise.
    await Promise.resolve();
    this.check(before.filter(({ admission }) => admission !== undefined));
  }

  #ask(wish: PipeWish): void {
    const waiting = this.#waiting.length;
    const own = this.#waiting.filter((one) => one.wish.owner === wish.owner).length;
    try {
      const waiter = this.queue.ask(wish);
      const pipe: Pipe = { wish, waiter, order: this.#asked++, admission: undefined };
      this.pipes.push(pipe);
      waiter.admitted.then(
        (admission) => {
          pipe.admission = admission;
        },
        () => {},
      );
    } catch (thrown) {
      const { code } = thrown as PenstockError;
      const leastBytes = wish.buffersLeast * wish.bufferBytes + wish.otherBytes;
      if (code === 'LIMIT') ok(leastBytes > 500 || wish.threads > 20);
      else {
        equal(code, 'NET_BUSY');
        ok(waiting >= LIMITS.waitingMax || own >= LIMITS.ownerWaitingMax);
      }
    }
  }

  get #waiting(): Pipe[] {
    return this.pipes.filter(({ admission }) => admission === undefined);
  }

  check(admitted: readonly Pipe[]): void {
    const running = this.pipes.filter(({ admission }) => admission !== undefined);
    const waiting = this.#waiting;
    ok(running.length <= LIMITS.pipesMax);
    ok(sum(running.map(bytesOf)) <= LIMITS.memoryBytes, 'memory');
    ok(sum(running.map(({ wish }) => wish.threads)) <= LIMITS.threadsMax, 'threads');
    equal(this.queue.usedBytes, sum(running.map(bytesOf)));
    for (const owner of [undefined, 'a', 'b']) {
      const own = running.filter(({ wish }) => wish.owner === owner);
      ok(own.length <= 3 && sum(own.map(bytesOf)) <= 500, 'the part of one machine');
      ok(sum(own.map(({ wish }) => wish.threads)) <= 20, 'its threads');
    }
    for (const [device, most] of [
      ['tape', 1],
      ['shared', 2],
    ] as const) {
      ok(running.filter(({ wish }) => wish.device === device).length <= most, 'a device');
    }
    for (const { wish, admission } of running) {
      ok(admission !== undefined && admission.buffers >= wish.buffersLeast);
      ok(admission.buffers <= wish.buffersMost);
    }
    deepEqual(
      waiting.map(({ waiter }) => waiter.place),
      waiting.map((_, i) => i + 1),
      'places are in the order of asking',
    );
    this.#checkNobodyWaitsInVain(running, waiting, admitted);
  }

  #checkNobodyWaitsInVain(
    running: readonly Pipe[],
    waiting: readonly Pipe[],
    admitted: readonly Pipe[],
  ): void {
    for (const { wish, order } of waiting) {
      const own = running.filter((one) => one.wish.owner === wish.owner);
      const needed = wish.buffersLeast * wish.bufferBytes + wish.otherBytes;
      const users = running.filter((one) => one.wish.device === wish.device).length;
      const waitsForOwn =
        own.length >= 3 ||
        sum(own.map(bytesOf)) + needed > 500 ||
        sum(own.map((one) => one.wish.threads)) + wish.threads > 20 ||
        (wish.device !== undefined && users >= (LIMITS.devices.get(wish.device) ?? 1));
      const waitsForAll =
        running.length >= LIMITS.pipesMax ||
        sum(running.map(bytesOf)) + needed > LIMITS.memoryBytes ||
        sum(running.map((one) => one.wish.threads)) + wish.threads > LIMITS.threadsMax;
      // Behind one that waits for memory all wait.
      if (!waitsForOwn && waitsForAll) {
        ok(
          admitted.every((one) => one.order < order),
          'it was overtaken',
        );
        return;
      }
      ok(waitsForOwn || waitsForAll, 'it could run');
    }
  }
}

test('limits hold and nobody waits in vain, whatever is asked for, ended and given up', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(stepArbitrary, { maxLength: 60, size: 'max' }), async (steps) => {
      const model = new Model();
      for (const step of steps) await model.step(step);
      // All have their turn in the end.
      while (model.pipes.length > 0) {
        const left = model.pipes.length;
        await model.step({ kind: 'end', which: 0 });
        ok(model.pipes.length < left, 'somebody runs');
      }
      equal(model.queue.waiting, 0);
      equal(model.queue.usedBytes, 0);
    }),
    { numRuns: 300 },
  );
});

test('who has to wait is told its place whenever that changes, and may leave', async () => {
  let moved = 0;
  const queue = new PipeQueue(LIMITS, () => moved++);
  const wish: PipeWish = {
    owner: 'a',
    threads: 1,
    bufferBytes: 500,
    otherBytes: 0,
    buffersLeast: 1,
    buffersMost: 9,
  };
  const [first, second, third] = [queue.ask(wish), queue.ask(wish), queue.ask(wish)];
  equal((await first.admitted).buffers, 1, 'as much as one machine may have');
  deepEqual([first.place, second.place, third.place], [0, 1, 2]);
  const before = moved;
  second.leave(STOPPED);
  equal(await second.admitted.catch((thrown) => thrown), STOPPED);
  ok(moved > before);
  equal(third.place, 1);
  (await first.admitted).release();
  equal((await third.admitted).buffers, 1);
  throws(() => queue.ask({ ...wish, buffersLeast: 2 }), { code: 'LIMIT' });
});
