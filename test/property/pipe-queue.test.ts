/**
 * The queues of the rcq against a queue guarded by a lock.
 *
 * Goal: a Ring is a first-in-first-out queue, a FreePool a set, whatever the interleaving (P2).
 * Method: (1) fast-check runs the same commands on both; (2) every interleaving of small scenarios with a
 * bounded number of preemptions is run and its history must be one that a locked queue could have had
 * (linearisability); (3) a thread that dies between any two steps must not keep others from going on.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RING } from '../../src/pipe/layout.ts';
import { type BufferQueue, FreePool, Ring } from '../../src/pipe/queue.ts';
import { exploreSchedules, loadSimulated, type Simulated, type Thread } from './pipe-simulation.ts';

const SLOTS = 4;
const words = (): Int32Array<SharedArrayBuffer> => new Int32Array(new SharedArrayBuffer(4096));

/** The simple variant: a lock around a list. In one thread the lock is always free. */
class LockedQueue implements BufferQueue {
  readonly #lock = new Int32Array(new SharedArrayBuffer(4));
  readonly #numbers: number[] = [];
  readonly #sorted: boolean;

  constructor(sorted: boolean) {
    this.#sorted = sorted;
  }

  #locked<T>(act: () => T): T {
    while (Atomics.compareExchange(this.#lock, 0, 0, 1) !== 0) Atomics.wait(this.#lock, 0, 1);
    try {
      return act();
    } finally {
      Atomics.store(this.#lock, 0, 0);
      Atomics.notify(this.#lock, 0, 1);
    }
  }

  push(buffer: number): void {
    this.#locked(() => {
      this.#numbers.push(buffer);
      if (this.#sorted) this.#numbers.sort((a, b) => a - b);
    });
  }

  pop(): number {
    return this.#locked(() => this.#numbers.shift() ?? -1);
  }
}

/** Pushes what is held, pops what is queued: each buffer is in one place, as in a pipe. */
function compare(
  queue: BufferQueue,
  locked: BufferQueue,
  buffers: number,
  commands: boolean[],
): void {
  const held = Array.from({ length: buffers }, (_, i) => i);
  for (const push of commands) {
    const buffer = push ? held.shift() : undefined;
    if (buffer === undefined) {
      const popped = queue.pop();
      equal(popped, locked.pop());
      if (popped >= 0) held.push(popped);
    } else {
      queue.push(buffer);
      locked.push(buffer);
    }
  }
}

test('a ring does what a locked queue does, also where counters and turns wrap', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 3, 5, 64),
      fc.constantFrom(0, -8, 2 ** 31 - 8, -(2 ** 31) - 8, 64 * 2 ** 18 - 64, 64 * 2 ** 19 - 64),
      fc.array(fc.boolean(), { maxLength: 300 }),
      (buffers, start, commands) => {
        const shared = words();
        const ring = new Ring(shared, 0, 64);
        startAt(shared, start | 0, 64);
        compare(ring, new LockedQueue(false), buffers, commands);
      },
    ),
    { numRuns: 300 },
  );
});

test('the free pool does what a locked sorted list does', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 31, 32, 33, 100),
      fc.array(fc.boolean(), { maxLength: 400 }),
      (buffers, commands) => {
        compare(new FreePool(words(), 0, buffers), new LockedQueue(true), buffers, commands);
      },
    ),
    { numRuns: 200 },
  );
});

/** Makes an empty ring as it is after `position` pushes and pops. */
function startAt(shared: Int32Array, position: number, slots: number): void {
  const shift = 31 - Math.clz32(slots);
  shared[RING.head] = position;
  shared[RING.tail] = position;
  for (let i = 0; i < slots; i++) {
    const at = (position + i) | 0;
    shared[RING.slots + (at & (slots - 1))] = (at >>> shift) << 13;
  }
}

interface Operation {
  readonly push: number | null;
  readonly from: number;
  to: number;
  result: number;
}

/** A thread that does operations in turn: a number is pushed, null pops. */
function* operate(
  queue: Simulated,
  plan: readonly (number | null)[],
  history: Operation[],
  clock: { now: number },
): Thread {
  for (const push of plan) {
    const operation: Operation = {
      push,
      from: clock.now++,
      to: Number.POSITIVE_INFINITY,
      result: -1,
    };
    history.push(operation);
    if (push === null) operation.result = (yield* queue.pop()) as number;
    else yield* queue.push(push);
    operation.to = clock.now++;
  }
}

/** Whether a locked queue could have answered so, with the operations in some order that respects time. */
function isLinearisable(
  history: readonly Operation[],
  queued: readonly number[],
  fifo: boolean,
): boolean {
  if (history.length === 0) return true;
  const earliestEnd = Math.min(...history.map(({ to }) => to));
  return history.some((operation, i) => {
    if (operation.from > earliestEnd) return false;
    const rest = history.toSpliced(i, 1);
    if (operation.push !== null) return isLinearisable(rest, [...queued, operation.push], fifo);
    if (operation.result < 0) return queued.length === 0 && isLinearisable(rest, queued, fifo);
    const at = queued.indexOf(operation.result);
    return (fifo ? at === 0 : at >= 0) && isLinearisable(rest, queued.toSpliced(at, 1), fifo);
  });
}

const SCENARIOS: {
  name: string;
  queued: number[];
  plans: (number | null)[][];
  preemptions: number;
}[] = [
  {
    name: 'a push and a pop',
    queued: [],
    plans: [
      [0, 1],
      [null, null],
    ],
    preemptions: 9,
  },
  {
    name: 'two pushes',
    queued: [],
    plans: [
      [0, null],
      [1, null],
    ],
    preemptions: 4,
  },
  { name: 'two pops of one', queued: [0], plans: [[null], [null, 1]], preemptions: 9 },
  {
    name: 'a full ring turns round',
    queued: [0, 1, 2, 3],
    plans: [
      [null, 0],
      [null, 1],
    ],
    preemptions: 3,
  },
  {
    name: 'pushers and poppers',
    queued: [0],
    plans: [[1, null], [2], [null, null]],
    preemptions: 3,
  },
];

for (const { name, queued, plans, preemptions } of SCENARIOS) {
  test(`every interleaving is that of a locked queue: ${name}`, async () => {
    const simulated = await loadSimulated();
    let history: Operation[] = [];
    const make = (): Thread[] => {
      const shared = words();
      // So that turn and position wrap within the scenario.
      startAt(shared, -2, SLOTS);
      for (const buffer of queued) new Ring(shared, 0, SLOTS).push(buffer);
      const ring = new simulated.Ring(shared, 0, SLOTS);
      history = [];
      const clock = { now: 0 };
      return plans.map((plan) => operate(ring, plan, history, clock));
    };
    const runs = exploreSchedules(make, preemptions, ({ stuck }, schedule) => {
      deepEqual(stuck, []);
      ok(isLinearisable(history, queued, true), `${JSON.stringify(history)} in ${schedule}`);
    });
    ok(runs > 100, `${runs} schedules were run`);
  });
}

test('every interleaving of the free pool hands each buffer to one', async () => {
  const simulated = await loadSimulated();
  let history: Operation[] = [];
  const make = (): Thread[] => {
    const shared = words();
    const pool = new simulated.FreePool(shared, 0, 2);
    shared[0] = 0b11;
    history = [];
    const clock = { now: 0 };
    return [
      operate(pool, [null], history, clock),
      operate(pool, [null, 5], history, clock),
      operate(pool, [null], history, clock),
    ];
  };
  exploreSchedules(make, 4, () => {
    const got = history.filter(({ push, result }) => push === null && result >= 0);
    equal(new Set(got.map(({ result }) => result)).size, got.length, JSON.stringify(history));
    ok(
      got.length >= 2 &&
        isLinearisable(
          history.filter(({ push, result }) => push !== null || result >= 0),
          [0, 1],
          false,
        ),
    );
  });
});

test('a thread that dies between any two steps keeps nobody waiting', async () => {
  const simulated = await loadSimulated();
  const victims: (number | null)[] = [7, null];
  for (const victim of victims) {
    for (let steps = 0; steps < 12; steps++) {
      const shared = words();
      startAt(shared, -2, SLOTS);
      new Ring(shared, 0, SLOTS).push(1);
      const thread = operate(new simulated.Ring(shared, 0, SLOTS), [victim], [], { now: 0 });
      let step = thread.next();
      for (let i = 0; i < steps && step.done !== true; i++) {
        // biome-ignore lint/suspicious/noExplicitAny: any operation of Atomics
        step = thread.next((Atomics as any)[step.value.op](...step.value.args));
      }
      // The others go round the ring several times.
      const ring = new Ring(shared, 0, SLOTS);
      const seen: number[] = [];
      for (let i = 0; i < 3 * SLOTS; i++) {
        ring.push(2);
        const popped = ring.pop();
        ok(popped >= 0);
        if (popped !== 2) seen.push(popped);
        else continue;
        equal(ring.pop() >= 0, true);
      }
      ok(seen.length <= 2, 'what was there before comes out once');
    }
  }
});
