/**
 * Goal: the four primitives keep roles, shares, ownership and numbers, one call at a time.
 * Method: the instances of a pipe in one thread, called in turn; nothing here ever has to wait.
 */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import type { PipeBuffer } from './buffer.ts';
import { Primitives } from './primitives.ts';
import { createSegment, type Segment } from './segment.ts';
import type { StageConfig } from './topology.ts';

const DEFECT = { name: 'AssertionError' };

interface World {
  readonly segment: Segment;
  readonly instances: Primitives[];
  readonly started: number[][];
}

/** A line of stages; those that are not first or last are in the middle. */
function world(maxBuffers: number, stages: Partial<StageConfig>[]): World {
  const started: number[][] = [];
  const segment = createSegment({
    name: 'test',
    maxBuffers,
    payloadBytes: 64,
    directoryBytes: 0,
    sharedWords: 0,
    stages: stages.map((stage, i) => ({
      name: `s${i}`,
      instances: 1,
      allocates: i === 0,
      overShareFails: false,
      ordered: false,
      numbered: false,
      partsMax: 1,
      windowBytes: 0,
      lazy: false,
      targets: i + 1 < stages.length ? [i + 1] : [],
      ...stage,
    })),
  });
  const instances = segment.topology.stageOf.map(
    (_, i) =>
      new Primitives(segment, i, {
        control: () => {},
        start: (stage, instance) => started.push([stage, instance]),
        paused: () => {},
      }),
  );
  return { segment, instances, started };
}

type Three = [Primitives, Primitives, Primitives];

const receive = (instance: Primitives): PipeBuffer => {
  const buffer = instance.receiveBuf();
  ok(buffer !== null);
  return buffer;
};

test('a buffer goes round: allocated, sent, received, freed', () => {
  const { segment, instances } = world(2, [{}, {}, {}]);
  const [head, middle, tail] = instances as Three;
  const buffer = head.allocBuf();
  buffer.length = 5;
  buffer.setWord(3, 9);
  buffer.payload().write('bytes');
  head.sendBuf(buffer);
  const second = receive(middle);
  deepEqual([second.index, second.length, second.word(3)], [buffer.index, 5, 9]);
  middle.sendBuf(second);
  const third = receive(tail);
  equal(third.payload().toString('latin1', 0, third.length), 'bytes');
  equal(segment.queueLength(0), 1);
  tail.freeBuf(third);
  equal(segment.queueLength(0), 2);
  const again = head.allocBuf();
  equal(again.index, buffer.index, 'the one that is warm is used again');
  deepEqual(
    [again.length, again.word(3), again.kind, again.sequence],
    [0, 0, 0, 0],
    'and is clean',
  );
});

test('a call that the role forbids is a defect', () => {
  const { instances } = world(4, [{}, {}, {}]);
  const [head, middle, tail] = instances as Three;
  throws(() => head.receiveBuf(), DEFECT);
  const buffer = head.allocBuf();
  throws(() => head.freeBuf(buffer), DEFECT);
  throws(() => head.sendBuf(buffer, 's2'), DEFECT, 'not a target');
  throws(() => middle.allocBuf(), DEFECT, 'it did not declare that it allocates');
  throws(() => middle.tryAllocBuf(), DEFECT);
  throws(() => tail.allocBuf(), DEFECT);
  head.sendBuf(buffer);
  middle.sendBuf(receive(middle));
  const last = receive(tail);
  throws(() => tail.sendBuf(last), DEFECT);
  tail.freeBuf(last);
});

test('a buffer that one does not own is neither sent nor freed', () => {
  const { instances } = world(4, [{}, { allocates: true }, {}]);
  const [head, middle, tail] = instances as Three;
  const buffer = head.allocBuf();
  const other = middle.allocBuf();
  throws(() => head.sendBuf(other), DEFECT);
  throws(() => middle.freeBuf(buffer), DEFECT);
  throws(() => middle.inherit(other, buffer), DEFECT);
  head.sendBuf(buffer);
  throws(() => head.sendBuf(buffer), DEFECT, 'sent twice');
  const received = receive(middle);
  middle.freeBuf(received);
  throws(() => middle.freeBuf(received), DEFECT, 'freed twice');
  throws(() => middle.close(), DEFECT, 'it still owns one');
  middle.sendBuf(other);
  middle.close();
  equal(receive(tail).index, other.index);
});

test('no allocator gets more than its share, and freeing gives it back to the allocator', () => {
  const { instances } = world(5, [{}, { allocates: true, overShareFails: true }, {}]);
  const [head, middle, tail] = instances as Three;
  equal(head.share, 2);
  equal(tail.share, 0);
  const first = head.tryAllocBuf();
  const second = head.tryAllocBuf();
  ok(first !== null && second !== null);
  equal(head.tryAllocBuf(), null, 'three are free, but not for it');
  const mine = [middle.allocBuf(), middle.allocBuf()] as const;
  throws(() => middle.allocBuf(), { code: 'LIMIT', message: /s1 is over its share of 2/ });
  for (const buffer of mine) middle.sendBuf(buffer);
  head.sendBuf(first);
  middle.freeBuf(receive(middle));
  ok(head.tryAllocBuf() !== null, 'freed by another');
  throws(() => middle.allocBuf(), { code: 'LIMIT' });
  tail.freeBuf(receive(tail));
  middle.freeBuf(middle.allocBuf());
});

test('the stream ends when all who could send have closed and nothing is left', () => {
  const { instances } = world(4, [{ instances: 2 }, {}]);
  const [one, two, tail] = instances as Three;
  one.sendBuf(one.allocBuf());
  one.close();
  two.sendBuf(two.allocBuf());
  two.close();
  for (let i = 0; i < 2; i++) tail.freeBuf(receive(tail));
  equal(tail.drained, false);
  equal(tail.receiveBuf(), null);
  equal(tail.receiveBuf(), null, 'as often as it asks');
  equal(tail.drained, true);
});

test('the first buffer starts a lazy stage, a growing queue its next instances', () => {
  const { instances, started } = world(12, [{}, { instances: 3, lazy: true }, { lazy: true }]);
  const head = instances[0] as Primitives;
  const lengths: number[] = [];
  for (let i = 0; i < 12; i++) {
    head.sendBuf(head.allocBuf());
    lengths.push(started.length);
  }
  deepEqual(started, [
    [1, 0],
    [1, 1],
    [1, 2],
  ]);
  deepEqual(lengths, [1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]);
});

test('stages that no buffer has started are closed by those before them', () => {
  const { instances } = world(4, [{}, { lazy: true }, { instances: 2, lazy: true }, {}]);
  (instances[0] as Primitives).close();
  equal((instances[4] as Primitives).receiveBuf(), null);
});

/** One head, two instances that keep order, one tail. */
function ordered(middle: Partial<StageConfig>, maxBuffers = 12) {
  const made = world(maxBuffers, [{}, { instances: 2, ordered: true, ...middle }, {}]);
  const [head, one, two, tail] = made.instances as [Primitives, Primitives, Primitives, Primitives];
  return { ...made, head, one, two, tail };
}

const sendItems = (head: Primitives, count: number): void => {
  for (let i = 0; i < count; i++) {
    const buffer = head.allocBuf();
    buffer.setWord(0, i);
    head.sendBuf(buffer);
  }
};

const itemsOf = (tail: Primitives, count: number): number[] =>
  Array.from({ length: count }, () => {
    const buffer = receive(tail);
    equal(buffer.numbered, false, 'it has passed');
    const item = buffer.word(0);
    tail.freeBuf(buffer);
    return item;
  });

test('what overtakes waits for what it overtook; what was dropped is not waited for', () => {
  const { segment, head, one, two, tail } = ordered({});
  sendItems(head, 4);
  const slow = receive(one);
  equal(slow.sequence, 1);
  equal(slow.numbered, true);
  two.sendBuf(receive(two));
  two.freeBuf(receive(two));
  two.sendBuf(receive(two));
  equal(segment.queueLength(2), 0);
  one.sendBuf(slow);
  deepEqual(itemsOf(tail, 3), [0, 1, 3]);
});

test('a buffer that takes the place of another inherits its number', () => {
  const { head, one, two, tail } = ordered({ allocates: true });
  sendItems(head, 2);
  const slow = receive(one);
  two.sendBuf(receive(two));
  const copy = one.allocBuf();
  copy.setWord(0, slow.word(0));
  one.inherit(copy, slow);
  one.freeBuf(slow);
  one.sendBuf(copy);
  deepEqual(itemsOf(tail, 2), [0, 1]);
});

test('several parts of one stay together and in order', () => {
  const { head, one, two, tail } = ordered({ allocates: true, partsMax: 3 }, 30);
  sendItems(head, 3);
  const slow = receive(one);
  const quick = receive(two);
  two.sendBuf(quick);
  for (const part of [10, 11]) {
    const made = one.allocBuf();
    made.setWord(0, part);
    one.inherit(made, slow, false);
    one.sendBuf(made);
  }
  slow.setWord(0, 12);
  one.sendBuf(slow);
  // A split that ends without a last part: the source is freed.
  const third = receive(two);
  const only = two.allocBuf();
  only.setWord(0, 20);
  two.inherit(only, third, false);
  two.freeBuf(third);
  two.sendBuf(only);
  deepEqual(itemsOf(tail, 5), [10, 11, 12, 1, 20]);
});

test('misuse in an ordered section is a defect, not a deadlock', () => {
  const { head, one, two } = ordered({ allocates: true, partsMax: 2 }, 30);
  sendItems(head, 3);
  const source = receive(one);
  throws(() => one.receiveBuf(), /finishes a buffer before it receives the next/);
  const first = one.allocBuf();
  throws(() => one.sendBuf(first), /inherits its number/);
  one.inherit(first, source, false);
  const second = one.allocBuf();
  throws(() => one.allocBuf(), /at most partsMax/);
  throws(() => one.inherit(second, first, false), /not divided again/);
  one.inherit(second, source, false);
  throws(() => one.sendBuf(source), /at most partsMax/);
  one.freeBuf(source);
  one.sendBuf(first);
  one.sendBuf(second);
  two.freeBuf(receive(two));
});

test('what is added after the end of the input comes last', () => {
  const { head, one, two, tail } = ordered({ allocates: true });
  sendItems(head, 2);
  head.close();
  const slow = receive(one);
  two.sendBuf(receive(two));
  equal(two.receiveBuf(), null);
  const added = two.allocBuf();
  added.setWord(0, 99);
  two.sendBuf(added);
  two.close();
  one.sendBuf(slow);
  deepEqual(itemsOf(tail, 3), [0, 1, 99]);
});

test('a numbered stage numbers what it is sent, also where order is free', () => {
  const { instances } = world(4, [{ instances: 2 }, { numbered: true }]);
  const [one, two, tail] = instances as Three;
  one.sendBuf(one.allocBuf());
  equal(two.sequenceNext('s1'), 2);
  two.sendBuf(two.allocBuf());
  deepEqual([receive(tail).sequence, receive(tail).sequence], [1, 3]);
  throws(() => one.sequenceNext('nowhere'), DEFECT);
});
