/**
 * Goal: numbers have no gap over the whole range, and the resequencer hands on in their order whatever
 * the order of arrival, with parts and tombstones.
 */
import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RESEQUENCER, SEMAPHORE, STAGE } from './layout.ts';
import { Ring } from './queue.ts';
import { Semaphore } from './semaphore.ts';
import { Resequencer, Sequencer } from './sequencer.ts';

const words = (): Int32Array => new Int32Array(new SharedArrayBuffer(65_536));

test('numbers go on where a word ends', () => {
  for (const start of [1, 2 ** 31 - 2, 2 ** 32 - 2, 3 * 2 ** 31 - 2, 2 ** 40 - 2]) {
    const shared = words();
    shared[STAGE.sequenceLow] = start;
    shared[STAGE.sequenceHalves] = Math.floor(start / 2 ** 31);
    const sequencers = [new Sequencer(shared, 0), new Sequencer(shared, 0)] as const;
    const numbers = Array.from({ length: 6 }, (_, i) => {
      const sequencer = sequencers[i & 1] as Sequencer;
      sequencer.next();
      return sequencer.high * 2 ** 32 + (sequencer.low >>> 0);
    });
    deepEqual(
      numbers,
      [0, 1, 2, 3, 4, 5].map((i) => start + i),
    );
  }
});

test('a number read before its half-round was counted is right', () => {
  const shared = words();
  // The thread that took the number 2^31 has not counted yet.
  shared[STAGE.sequenceLow] = (2 ** 31 + 1) | 0;
  shared[STAGE.sequenceHalves] = 0;
  const sequencer = new Sequencer(shared, 0);
  sequencer.next();
  equal(sequencer.high * 2 ** 32 + (sequencer.low >>> 0), 2 ** 31 + 1);
  // The same one round later, in the lower half.
  shared[STAGE.sequenceLow] = 1;
  shared[STAGE.sequenceHalves] = 1;
  sequencer.next();
  equal(sequencer.high * 2 ** 32 + (sequencer.low >>> 0), 2 ** 32 + 1);
});

const AT = { resequencer: 0, queue: 1024, ready: 4096, window: 4128 } as const;

function resequencer(shared: Int32Array, window: number, parts: number, next: number) {
  const queue = new Ring(shared, AT.queue, 64);
  const ready = new Semaphore(shared, AT.ready);
  const permits = new Semaphore(shared, AT.window);
  shared[AT.resequencer + RESEQUENCER.next] = next;
  return {
    queue,
    ready,
    permits,
    resequencer: new Resequencer(shared, AT.resequencer, { window, parts }, queue, ready, permits),
  };
}

interface Part {
  readonly number: number;
  readonly part: number;
  readonly last: boolean;
  readonly dropped: boolean;
}

test('whatever the order of arrival, numbers and parts leave in order', () => {
  const numbers = fc.array(fc.array(fc.boolean(), { minLength: 1, maxLength: 3 }), {
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(
      numbers,
      fc.constantFrom(1, 2 ** 31 - 3, 2 ** 32 - 3),
      fc.infiniteStream(fc.nat()),
      (dropped, first, keys) => {
        const shared = words();
        const { queue, ready, permits, resequencer: under } = resequencer(shared, 8, 3, first);
        const all = dropped.flatMap((parts, k): Part[] =>
          parts.map((isDropped, part) => ({
            number: first + k,
            part,
            last: part === parts.length - 1,
            dropped: isDropped,
          })),
        );
        const shuffled = all
          .map((part, index) => ({ part, index, key: keys.next().value as number }))
          .sort((a, b) => a.key - b.key);
        for (const { part, index } of shuffled) {
          if (part.dropped) under.skip(part.number | 0, part.part, part.last);
          else under.deliver(part.number | 0, part.part, part.last, index);
        }
        const left: number[] = [];
        for (let got = queue.pop(); got >= 0; got = queue.pop()) left.push(got);
        deepEqual(
          left,
          all.flatMap((part, index) => (part.dropped ? [] : [index])),
        );
        equal(ready.count, left.length);
        equal(permits.count, dropped.length, 'each number gives its permit back');
      },
    ),
    { numRuns: 300 },
  );
});

test('the lowest number passes at once, part by part', () => {
  const shared = words();
  const { ready, permits, resequencer: under } = resequencer(shared, 4, 2, 1);
  under.deliver(2, 0, true, 5);
  equal(ready.count, 0);
  under.deliver(1, 0, false, 6);
  equal(ready.count, 1);
  equal(permits.count, 0);
  under.skip(1, 1, true);
  equal(ready.count, 2);
  equal(permits.count, 2);
  equal(shared[AT.ready + SEMAPHORE.count], 2);
});

test('a part that arrives twice is a defect', () => {
  const { resequencer: under } = resequencer(words(), 4, 1, 1);
  under.deliver(2, 0, true, 5);
  throws(() => under.deliver(2, 0, true, 6), { name: 'AssertionError' });
});
