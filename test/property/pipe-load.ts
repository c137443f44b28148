/**
 * A module that checks what it is given and wastes time: head, middle or tail by its place.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { assert } from '../../src/base/assert.ts';
import { ALLOCATOR_MASK, DESCRIPTOR, descriptorAt, ownerInQueue } from '../../src/pipe/layout.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../../src/pipe/mod.ts';
import { randomFrom } from './pipe-simulation.ts';

export interface LoadOptions {
  /** What a head makes; undefined elsewhere. */
  readonly items: number | undefined;
  readonly seed: number;
  /** Sends a buffer of its own in place of each that it receives. */
  readonly replaces: boolean;
  readonly checksOrder: boolean;
  /** Runs beside an event loop. */
  readonly later: boolean;
}

const WORD = { item: 0, head: 1 } as const;

export default function load(options: LoadOptions): PipeModule {
  let context: ModuleContext;
  let random: () => number;
  const seen: number[] = [];
  const lastOfHead: number[] = [];
  const waste = (): void => {
    // Mostly none, sometimes long: speeds that change.
    const turns = random() < 0.1 ? random() * 20_000 : 0;
    for (let i = 0; i < turns; i++) random();
  };
  const open = (given: ModuleContext): void => {
    context = given;
    random = randomFrom(options.seed + given.instance + given.stage.length);
  };
  const run = (given: ModuleContext): void => {
    for (let item = 0; item < (options.items ?? 0); item++) {
      given.sendBuf(fill(given.allocBuf(), item));
    }
  };
  const process = (buffer: PipeBuffer): PipeBuffer => {
    check(buffer);
    waste();
    if (options.replaces) return replace(context, buffer, context.allocBuf());
    if (context.stage === 'tail') arrive(buffer);
    return buffer;
  };
  const arrive = (buffer: PipeBuffer): void => {
    const head = buffer.word(WORD.head);
    const item = buffer.word(WORD.item);
    if (options.checksOrder) {
      assert(item === (lastOfHead[head] ?? -1) + 1, `item ${item} of head ${head} is the next`);
      lastOfHead[head] = item;
    }
    seen.push(head * 1e6 + item);
    context.progress(0, 1);
  };
  const fill = (buffer: PipeBuffer, item: number): PipeBuffer => {
    buffer.setWord(WORD.item, item);
    buffer.setWord(WORD.head, context.instance);
    buffer.length = buffer.payloadCapacity - (item % 100);
    buffer.payload().fill(patternOf(buffer), 0, buffer.length);
    waste();
    return buffer;
  };
  const makeLater = async (given: ModuleContext): Promise<void> => {
    for (let item = 0; item < (options.items ?? 0); item++) {
      given.sendBuf(fill(await given.allocBufLater(), item));
      if (random() < 0.05) await turn();
    }
  };
  const passLater = async (given: ModuleContext): Promise<void> => {
    for (;;) {
      const buffer = await given.receiveBufLater();
      if (buffer === null) return;
      check(buffer);
      waste();
      if (random() < 0.05) await turn();
      if (options.replaces) {
        given.sendBuf(replace(given, buffer, await given.allocBufLater()));
      } else if (given.stage === 'tail') {
        arrive(buffer);
        given.freeBuf(buffer);
      } else given.sendBuf(buffer);
    }
  };
  const close = (): void => {
    if (seen.length > 0) context.post(seen);
  };
  if (options.later) {
    return { open, runAsync: options.items === undefined ? passLater : makeLater, close };
  }
  return options.items === undefined ? { open, process, close } : { open, run };
}

function patternOf(buffer: PipeBuffer): number {
  return (buffer.word(WORD.item) * 7 + buffer.word(WORD.head)) & 0xff;
}

/** The first, the last and some bytes between are what the head wrote. */
function check(buffer: PipeBuffer): void {
  const payload = buffer.payload();
  const wanted = patternOf(buffer);
  for (let at = 0; at < buffer.length; at += 511) {
    assert(payload[at] === wanted, `byte ${at} of item ${buffer.word(WORD.item)} is intact`);
  }
  assert(payload[buffer.length - 1] === wanted, 'the last byte is intact');
}

/** Buffers in the pipe that this instance has allocated; only it can make them more. */
function allocatedBy({ segment, stage, instance }: ModuleContext): number {
  const { words, layout, config, topology } = segment;
  const stageNumber = config.stages.findIndex(({ name }) => name === stage);
  const me = (topology.firstInstance[stageNumber] ?? 0) + instance;
  let count = 0;
  for (let i = 0; i < config.maxBuffers; i++) {
    const at = descriptorAt(layout, i);
    const allocator = Atomics.load(words, at + DESCRIPTOR.allocation) & ALLOCATOR_MASK;
    if (allocator === me && Atomics.load(words, at + DESCRIPTOR.owner) !== ownerInQueue(0)) count++;
  }
  return count;
}

function replace(context: ModuleContext, buffer: PipeBuffer, copy: PipeBuffer): PipeBuffer {
  const mine = allocatedBy(context);
  assert(mine <= context.share, `${mine} buffers are within the share of ${context.share}`);
  for (const word of [WORD.item, WORD.head]) copy.setWord(word, buffer.word(word));
  copy.length = buffer.length;
  buffer.payload().copy(copy.payload(), 0, 0, buffer.length);
  context.inherit(copy, buffer);
  context.freeBuf(buffer);
  return copy;
}
