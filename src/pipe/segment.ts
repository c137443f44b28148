/**
 * The shared memory of one pipe on one machine (P2).
 *
 * Contract: `createSegment` lays out a fresh shared WebAssembly.Memory (page-aligned, as O_DIRECT needs)
 * and fills the free pool; `attachSegment` finds everything again from the header alone. A Segment is a
 * thread's view: it owns no buffer. `requestStop` may be called by any thread, any number of times.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import {
  computeLayout,
  DESCRIPTOR,
  descriptorAt,
  HEADER,
  INSTANCE,
  instanceAt,
  type Layout,
  MAGIC,
  ownerInQueue,
  PAGE_BYTES,
  queueSemaphoreAt,
  RESEQUENCER,
  readConfig,
  ringAt,
  type SegmentConfig,
  STAGE,
  semaphoreAt,
  shareAt,
  stageAt,
  VERSION,
  windowSemaphoreAt,
  writeConfig,
} from './layout.ts';
import { FreePool, Ring } from './queue.ts';
import { Semaphore } from './semaphore.ts';
import { planTopology, type Topology } from './topology.ts';

const WASM_PAGE_BYTES = 65_536;
const WASM_PAGES_MAX = 65_536;

/** Bits of an instance's attention word. */
export const ATTENTION = { stop: 1, control: 2, pause: 4 } as const;

/** Cause of a stop that no failure of an instance has brought about. */
export const INITIATOR = -2;

export class Segment {
  readonly memory: WebAssembly.Memory;
  /** The whole segment. */
  readonly bytes: Buffer;
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly config: SegmentConfig;
  readonly topology: Topology;
  readonly layout: Layout;
  /** Words that the modules share; the pipe itself does not touch them. */
  readonly sharedWords: Int32Array;

  constructor(
    memory: WebAssembly.Memory,
    config: SegmentConfig,
    topology: Topology,
    layout: Layout,
  ) {
    const shared = memory.buffer;
    this.memory = memory;
    this.bytes = Buffer.from(shared);
    this.words = new Int32Array(shared);
    this.floats = new Float64Array(shared);
    this.config = config;
    this.topology = topology;
    this.layout = layout;
    this.sharedWords = new Int32Array(shared, layout.sharedWords * 4, config.sharedWords);
  }

  /** Tells every instance to stop and wakes all that wait. The first to call is the first cause. */
  requestStop(cause: number): void {
    const words = this.words;
    Atomics.compareExchange(words, HEADER.firstCause, 0, cause + 1);
    Atomics.store(words, HEADER.stop, 1);
    for (let i = 0; i < this.topology.instanceCount; i++) this.demandAttention(i, ATTENTION.stop);
    this.wakeEveryone();
  }

  get stopRequested(): boolean {
    return Atomics.load(this.words, HEADER.stop) !== 0;
  }

  /** Who asked for the stop first: an instance that failed, INITIATOR; -1 while nobody did. */
  get firstCause(): number {
    return Atomics.load(this.words, HEADER.firstCause) - 1;
  }

  demandAttention(instance: number, bits: number): void {
    Atomics.or(this.words, instanceAt(this.layout, instance) + INSTANCE.attention, bits);
  }

  withdrawAttention(instance: number, bits: number): void {
    Atomics.and(this.words, instanceAt(this.layout, instance) + INSTANCE.attention, ~bits);
  }

  /** Makes every wait of the pipe look again. */
  wakeEveryone(): void {
    for (let i = 0; i < this.layout.semaphoreCount; i++) {
      new Semaphore(this.words, semaphoreAt(this.layout, i)).wakeAll();
    }
  }

  /** Buffers that lie in a stage's input queue; stage 0: in the free pool. */
  queueLength(stage: number): number {
    return new Semaphore(this.words, queueSemaphoreAt(this.layout, stage)).count;
  }

  /** A stage's input queue. Stage 0 and other heads receive from the free pool, which is not a ring. */
  ring(stage: number): Ring {
    return new Ring(this.words, ringAt(this.layout, stage), this.layout.ringSlots);
  }

  /** Private scratch memory of an instance. */
  windowOf(instance: number): Buffer {
    const stage = this.config.stages[this.topology.stageOf[instance] ?? -1];
    const at = this.layout.windowBytesAt[instance];
    assert(stage !== undefined && at !== undefined, 'the instance exists');
    return this.bytes.subarray(at, at + stage.windowBytes);
  }
}

/** Makes the segment of a pipe. Throws PIPE_CONFIG, or LIMIT where memory is short. */
export function createSegment(config: SegmentConfig): Segment {
  const topology = planTopology(config.stages, config.maxBuffers);
  for (const [what, value, least] of [
    ['payloadBytes', config.payloadBytes, 1],
    ['directoryBytes', config.directoryBytes, 0],
    ['sharedWords', config.sharedWords, 0],
  ] as const) {
    if (!Number.isInteger(value) || value < least) {
      throw new PenstockError('PIPE_CONFIG', `${what} must be a whole number of at least ${least}`);
    }
  }
  const layout = computeLayout(config, topology);
  const segment = new Segment(allocate(layout.totalBytes), config, topology, layout);
  initialise(segment);
  return segment;
}

/** Maps the segment of a pipe that another thread has made. */
export function attachSegment(memory: WebAssembly.Memory): Segment {
  const words = new Int32Array(memory.buffer);
  assert(words[HEADER.magic] === MAGIC, 'the memory is a segment');
  assert(words[HEADER.version] === VERSION, 'the segment is of this version');
  const config = readConfig(Buffer.from(memory.buffer), words);
  const topology = planTopology(config.stages, config.maxBuffers);
  return new Segment(memory, config, topology, computeLayout(config, topology));
}

function allocate(totalBytes: number): WebAssembly.Memory {
  const pages = Math.ceil(totalBytes / WASM_PAGE_BYTES);
  if (pages > WASM_PAGES_MAX) {
    throw new PenstockError(
      'PIPE_CONFIG',
      `the segment would need ${totalBytes} bytes: at most 4 GiB`,
    );
  }
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new PenstockError('LIMIT', `no memory for a segment of ${totalBytes} bytes`, { cause });
  }
}

function initialise(segment: Segment): void {
  const { words, config, topology, layout } = segment;
  writeConfig(segment.bytes, words, config);
  const pool = new FreePool(words, layout.freePool, config.maxBuffers);
  for (let i = 0; i < config.maxBuffers; i++) {
    words[descriptorAt(layout, i) + DESCRIPTOR.owner] = ownerInQueue(0);
    pool.push(i);
  }
  words[queueSemaphoreAt(layout, 0)] = config.maxBuffers;
  for (let i = 0; i < topology.allocatorCount; i++) words[shareAt(layout, i)] = topology.share;
  for (const [i, section] of topology.sections.entries()) {
    words[windowSemaphoreAt(layout, i)] = section.window;
    words[(layout.resequencers[i] as number) + RESEQUENCER.next] = 1;
  }
  for (const [i, stage] of config.stages.entries()) {
    const sources = topology.sources[i] ?? [];
    words[stageAt(layout, i) + STAGE.producers] = sources.reduce(
      (sum, source) => sum + (config.stages[source]?.instances ?? 0),
      0,
    );
    words[stageAt(layout, i) + STAGE.sequenceLow] = 1;
    words[stageAt(layout, i) + STAGE.started] = stage.lazy ? 0 : stage.instances;
    words[stageAt(layout, i) + STAGE.startsOver] = stage.lazy ? 0 : 1;
  }
  assert(
    layout.buffers % PAGE_BYTES === 0 && ringAt(layout, 0) < layout.buffers,
    'laid out in order',
  );
  words[HEADER.magic] = MAGIC;
}

/**
 * Counts instances of a stage as closed. The last that could send to a stage ends its stream, and
 * closes for those of its instances that no buffer will start any more.
 */
export function closeInstances(segment: Segment, stage: number, count: number): void {
  const { words, layout, config } = segment;
  for (const target of config.stages[stage]?.targets ?? []) {
    const at = stageAt(layout, target);
    if (Atomics.sub(words, at + STAGE.producers, count) !== count) continue;
    new Semaphore(words, queueSemaphoreAt(layout, target)).wakeAll();
    if (Atomics.exchange(words, at + STAGE.startsOver, 1) !== 0) continue;
    const idle = (config.stages[target]?.instances ?? 0) - Atomics.load(words, at + STAGE.started);
    if (idle > 0) closeInstances(segment, target, idle);
  }
}
