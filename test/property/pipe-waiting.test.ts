/**
 * Waiting without time-outs loses no wake-up (P12).
 *
 * Goal: whatever ends a wait (a buffer, the end of the stream, a stop, a control message, a pause that is
 * over, a shared word) does so at whatever moment it comes.
 * Method: one instance waits, another thread does what should wake it; every schedule with a bounded
 * number of preemptions is run, and none may leave anyone waiting.
 */
import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { createSegment, type Segment } from '../../src/pipe/segment.ts';
import { exploreSchedules, loadSimulated, type Simulated, type Thread } from './pipe-simulation.ts';

const simulated: Simulated = await loadSimulated();
const HEAD = 0;
const TAIL = 1;
const ATTENTION = simulated.ATTENTION as { stop: number; control: number; pause: number };

interface Scene {
  readonly segment: Segment;
  /** The segment with methods that are generators. */
  readonly attached: Simulated;
  readonly head: Simulated;
  readonly tail: Simulated;
  /** Control messages on their way, and those that the tail has answered. */
  readonly messages: string[];
  readonly answered: string[];
}

function scene(): Scene {
  const segment = createSegment({
    name: 'simulated',
    maxBuffers: 1,
    payloadBytes: 1,
    directoryBytes: 0,
    sharedWords: 1,
    stages: ['head', 'tail'].map((name, i) => ({
      name,
      instances: 1,
      allocates: i === HEAD,
      overShareFails: false,
      ordered: false,
      numbered: false,
      partsMax: 1,
      windowBytes: 0,
      lazy: false,
      targets: i === HEAD ? [TAIL] : [],
    })),
  });
  const attached = simulated.attachSegment(segment.memory);
  const messages: string[] = [];
  const answered: string[] = [];
  const hooks = { control: () => answered.push(...messages.splice(0)), start() {}, paused() {} };
  const [head, tail] = [HEAD, TAIL].map((i) => new simulated.Primitives(attached, i, hooks));
  return { segment, attached, head, tail, messages, answered };
}

/** Runs a generator to its end or to a stop. */
function* stoppable(work: Thread): Thread {
  try {
    return yield* work;
  } catch (thrown) {
    if (thrown instanceof simulated.PipeStopped) return 'stopped';
    throw thrown;
  }
}

function* receiveAll(tail: Simulated): Thread {
  let count = 0;
  for (;;) {
    const buffer = yield* tail.receiveBuf();
    if (buffer === null) return count;
    count++;
    yield* tail.freeBuf(buffer);
  }
}

/** The same with the waits of an event loop; a wait that is awaited is a wait here. */
function* receiveAllLater(tail: Simulated): Thread {
  tail.waiting.beginLoop();
  for (let count = 0; ; count++) {
    const buffer = yield* tail.receiveBufLater();
    if (buffer === null) return count;
    yield* tail.freeBuf(buffer);
  }
}

function* sendTwoLater(head: Simulated): Thread {
  head.waiting.beginLoop();
  for (let i = 0; i < 2; i++) yield* head.sendBuf(yield* head.allocBufLater());
  return 'sent';
}

function* sendOne(head: Simulated): Thread {
  const buffer = yield* head.allocBuf();
  yield* head.sendBuf(buffer);
}

interface Case {
  readonly what: string;
  readonly waits: (scene: Scene) => Thread;
  readonly wakes: (scene: Scene) => Thread;
  readonly result: unknown;
  readonly preemptions: number;
}

const CASES: readonly Case[] = [
  {
    what: 'buffers and the end of the stream',
    waits: ({ tail }) => receiveAll(tail),
    *wakes({ head }) {
      yield* sendOne(head);
      yield* sendOne(head);
      yield* head.close();
    },
    result: 2,
    preemptions: 2,
  },
  {
    what: 'buffers and the end of the stream beside an event loop',
    waits: ({ tail }) => receiveAllLater(tail),
    *wakes({ head }) {
      yield* sendOne(head);
      yield* sendOne(head);
      yield* head.close();
    },
    result: 2,
    preemptions: 2,
  },
  {
    what: 'a buffer that is freed, beside an event loop',
    waits: ({ head }) => sendTwoLater(head),
    *wakes({ tail }) {
      for (let i = 0; i < 2; i++) yield* tail.freeBuf(yield* tail.receiveBuf());
    },
    result: 'sent',
    preemptions: 2,
  },
  {
    what: 'a stop, while it waits for input beside an event loop',
    waits: ({ tail }) => receiveAllLater(tail),
    wakes: ({ attached }) => attached.requestStop(HEAD),
    result: 'stopped',
    preemptions: 3,
  },
  {
    what: 'a pause that is over, beside an event loop',
    waits: ({ tail }) => receiveAllLater(tail),
    *wakes({ attached, head }) {
      yield* attached.demandAttention(TAIL, ATTENTION.pause);
      yield* attached.wakeEveryone();
      yield* head.close();
      yield* attached.withdrawAttention(TAIL, ATTENTION.pause);
      yield* attached.wakeEveryone();
    },
    result: 0,
    preemptions: 2,
  },
  {
    what: 'a buffer that is freed',
    *waits({ head }) {
      yield* sendOne(head);
      yield* sendOne(head);
      return 'sent';
    },
    *wakes({ tail }) {
      for (let i = 0; i < 2; i++) yield* tail.freeBuf(yield* tail.receiveBuf());
    },
    result: 'sent',
    preemptions: 2,
  },
  {
    what: 'a stop, while it waits for input',
    waits: ({ tail }) => receiveAll(tail),
    wakes: ({ attached }) => attached.requestStop(HEAD),
    result: 'stopped',
    preemptions: 4,
  },
  {
    what: 'a stop, while it waits for its share',
    *waits({ head }) {
      yield* sendOne(head);
      yield* sendOne(head);
    },
    wakes: ({ attached }) => attached.requestStop(TAIL),
    result: 'stopped',
    preemptions: 3,
  },
  {
    what: 'a stop, while it waits for a shared word',
    waits: ({ tail }) => tail.waiting.whileShared(0, 0),
    wakes: ({ attached }) => attached.requestStop(HEAD),
    result: 'stopped',
    preemptions: 4,
  },
  {
    what: 'a stop, while it is paused',
    *waits({ tail, attached }) {
      yield* attached.demandAttention(TAIL, ATTENTION.pause);
      yield* tail.waiting.notice();
    },
    wakes: ({ attached }) => attached.requestStop(HEAD),
    result: 'stopped',
    preemptions: 4,
  },
  {
    what: 'a shared word that changes',
    waits: ({ tail }) => tail.waiting.whileShared(0, 0),
    *wakes({ segment, head }) {
      yield { op: 'store', args: [segment.sharedWords, 0, 1] };
      yield* head.waiting.notifyShared();
    },
    result: undefined,
    preemptions: 9,
  },
  {
    what: 'a pause that is over, and one after it',
    *waits({ tail }) {
      yield* tail.waiting.notice();
      yield* tail.waiting.notice();
      return 'goes on';
    },
    *wakes({ attached }) {
      for (const demand of [
        'demandAttention',
        'withdrawAttention',
        'demandAttention',
        'withdrawAttention',
      ]) {
        yield* attached[demand](TAIL, ATTENTION.pause);
        yield* attached.wakeEveryone();
      }
    },
    result: 'goes on',
    preemptions: 3,
  },
  {
    what: 'two control messages, both of which are answered',
    *waits({ tail, answered }) {
      yield* tail.waiting.whileShared(0, 0);
      return answered.join();
    },
    *wakes({ attached, segment, head, messages }) {
      for (const message of ['one', 'two']) {
        messages.push(message);
        yield* attached.demandAttention(TAIL, ATTENTION.control);
        yield* attached.wakeEveryone();
      }
      // Lets the wait go on only once nothing asks for attention.
      yield { op: 'until', args: [() => messages.length === 0] };
      yield { op: 'store', args: [segment.sharedWords, 0, 1] };
      yield* head.waiting.notifyShared();
    },
    result: 'one,two',
    preemptions: 3,
  },
];

for (const { what, waits, wakes, result, preemptions } of CASES) {
  test(`every schedule wakes who waits for ${what}`, (t) => {
    const runs = exploreSchedules(
      () => {
        const made = scene();
        return [stoppable(waits(made)), stoppable(wakes(made))];
      },
      preemptions,
      ({ stuck, results }, schedule) => {
        deepEqual(stuck, [], `nobody waits for ever in ${schedule}`);
        deepEqual(results[0], result);
      },
    );
    t.diagnostic(`${runs} schedules`);
    ok(runs > 10);
  });
}
