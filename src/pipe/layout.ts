/**
 * Where everything lies in a segment. This file alone knows offsets; all others use its names.
 *
 * Everything is 32-bit words of the machine's byte order (a segment never leaves its machine), found
 * from the configuration in the header alone, so that a thread attaches by mapping the memory. What
 * different threads write often stands in lines of its own (128 bytes: two cache lines, because
 * processors fetch pairs).
 *
 *   byte 0  ┌────────────────────────────────────────────────────────────────────┐
 *           │ header        magic, version, sizes, stop word, first cause, name  │ 512
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ stages        configuration, name │ open producers, number, start  │ 256 each
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ semaphores    one per queue, share, section window; pause; user    │ 128 each
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ rcq           free pool (bits), then per stage: head │ tail │ slots │
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ resequencers  next number, part, pending │ slots [number][part]    │
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ instances     attention │ state, beat │ 16 counters                │ 384 each
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ descriptors   owner, allocator, length, number, 24 user words      │ 128 each
 *           ├────────────────────────────────────────────────────────────────────┤
 *           │ shared words  for the modules                                      │
 *   4096·a  ├────────────────────────────────────────────────────────────────────┤
 *           │ windows       private scratch memory, one per instance             │
 *   4096·b  ├────────────────────────────────────────────────────────────────────┤
 *           │ buffers       header room │ payload │ directory, each 4096-aligned │ stride
 *           └────────────────────────────────────────────────────────────────────┘
 */
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import type { StageConfig, Topology } from './topology.ts';

export const MAGIC = 0x4b_54_53_50; // "PSTK"
export const VERSION = 1;
export const LINE_BYTES = 128;
export const PAGE_BYTES = 4096;
export const COUNTERS = 16;
export const USER_WORDS = 24;

const WORD_BYTES = 4;
const LINE = LINE_BYTES / WORD_BYTES;
const HEADER_BYTES = 512;
const STAGE_LINES = 2;
const INSTANCE_LINES = 3;
/** Rings have at least this many slots, so that a slot's turn cannot repeat during one operation. */
const RING_SLOTS_MIN = 64;

/** Words of the header. The stop line is read by all and written once. */
export const HEADER = {
  magic: 0,
  version: 1,
  maxBuffers: 2,
  payloadBytes: 3,
  directoryBytes: 4,
  sharedWords: 5,
  stages: 6,
  nameBytes: 7,
  stop: LINE,
  /** Number of the instance whose failure was the first, plus 1. */
  firstCause: LINE + 1,
  /** How often the pipe was paused. */
  pauses: LINE + 2,
  name: 2 * LINE,
} as const;
const NAME_BYTES_MAX = HEADER_BYTES - HEADER.name * WORD_BYTES;

/** Words of a stage, from its start. */
export const STAGE = {
  instances: 0,
  flags: 1,
  windowBytes: 2,
  partsMax: 3,
  targetsLow: 4,
  targetsHigh: 5,
  nameBytes: 6,
  name: 8,
  /** Instances that may still send to this stage; 0 ends its stream. */
  producers: LINE,
  /** Next number (low word), and how often it has passed 2^31. */
  sequenceLow: LINE + 1,
  sequenceHalves: LINE + 2,
  /** Instances that were started or asked for. */
  started: LINE + 3,
  /** 1 once no further instance will be started. */
  startsOver: LINE + 4,
} as const;
const STAGE_NAME_BYTES_MAX = (LINE - STAGE.name) * WORD_BYTES;
const FLAG = {
  allocates: 1,
  overShareFails: 2,
  ordered: 4,
  numbered: 8,
  lazy: 16,
  carries: 32,
} as const;

/** Words of a semaphore. */
export const SEMAPHORE = { count: 0, waiters: 1, signal: 2 } as const;

/** Words of a ring. */
export const RING = { head: 0, tail: LINE, slots: 2 * LINE } as const;

/** Words of a resequencer. */
export const RESEQUENCER = { pending: 0, next: LINE, part: LINE + 1, slots: 2 * LINE } as const;

/** Words of an instance. `attention` is written by others, the rest by the instance alone. */
export const INSTANCE = {
  attention: 0,
  state: LINE,
  beat: LINE + 1,
  /** How often it asked for a buffer, and how often it got one (a head: a free one). */
  asked: LINE + 2,
  received: LINE + 3,
  counters: 2 * LINE,
} as const;

/** Words of a buffer's descriptor. */
export const DESCRIPTOR = {
  /** Instance + 1 that owns the buffer, or -(queue + 1) while it lies in one. */
  owner: 0,
  /** Instance that allocated it, in the lower bits; above, how often the buffer was allocated. */
  allocation: 1,
  length: 2,
  kind: 3,
  sequenceLow: 4,
  sequenceHigh: 5,
  /** Part that this buffer is, or that the next one made out of it will be. */
  part: 6,
  flags: 7,
  user: 8,
} as const;
/** Owner of a buffer that lies in the input queue of a stage; stage 0: in the free pool. */
export const ownerInQueue = (stage: number): number => -(stage + 1);
export const ownerInstance = (instance: number): number => instance + 1;

/** Bits of `allocation` that name the instance. */
export const ALLOCATOR_BITS = 14;
export const ALLOCATOR_MASK: number = (1 << ALLOCATOR_BITS) - 1;
assert(LIMITS.stagesMax * LIMITS.instancesPerStageMax <= 1 << ALLOCATOR_BITS, 'an instance fits');

/** Bits of a descriptor's flags. */
export const BUFFER_FLAG = {
  /** Bears a number that a resequencer waits for. */
  numbered: 1,
  /** Is the last part of its number. */
  last: 2,
  /** Is one of several parts. */
  piece: 4,
} as const;
assert(DESCRIPTOR.user + USER_WORDS === LINE, 'a descriptor fills a line');

export interface SegmentConfig {
  readonly name: string;
  readonly maxBuffers: number;
  readonly payloadBytes: number;
  readonly directoryBytes: number;
  /** Words that the modules share. */
  readonly sharedWords: number;
  readonly stages: readonly StageConfig[];
}

/** Word indices of every structure, and byte offsets of windows and buffers. */
export interface Layout {
  readonly stages: number;
  readonly shares: number;
  readonly windows: number;
  readonly pause: number;
  readonly user: number;
  readonly freePool: number;
  readonly rings: number;
  readonly ringSlots: number;
  readonly ringWords: number;
  readonly resequencers: readonly number[];
  readonly instances: number;
  readonly descriptors: number;
  readonly sharedWords: number;
  /** Byte offset of each instance's private window. */
  readonly windowBytesAt: readonly number[];
  readonly buffers: number;
  readonly bufferStrideBytes: number;
  readonly payloadCapacityBytes: number;
  readonly directoryCapacityBytes: number;
  readonly totalBytes: number;
  readonly semaphores: number;
  readonly semaphoreCount: number;
}

const aligned = (bytes: number, unit: number): number => Math.ceil(bytes / unit) * unit;

/** Least power of two that is not below `value`. */
export function powerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}

/** Computes where everything lies; each offset follows from the one before. */
export function computeLayout(config: SegmentConfig, topology: Topology): Layout {
  const stageCount = config.stages.length;
  const stages = HEADER_BYTES / WORD_BYTES;
  const semaphores = stages + stageCount * STAGE_LINES * LINE;
  // Semaphores: queues by stage (0: the free pool), shares, windows of sections, pause, user.
  const shares = semaphores + stageCount * LINE;
  const windows = shares + topology.allocatorCount * LINE;
  const pause = windows + topology.sections.length * LINE;
  const user = pause + LINE;
  const freePool = user + LINE;
  const rings = freePool + aligned(Math.ceil(config.maxBuffers / 32), LINE);
  const ringSlots = Math.max(RING_SLOTS_MIN, powerOfTwo(config.maxBuffers));
  const ringWords = RING.slots + aligned(ringSlots, LINE);
  let word = rings + stageCount * ringWords;
  const resequencers = topology.sections.map((section) => {
    const at = word;
    word += RESEQUENCER.slots + aligned(powerOfTwo(section.window) * (section.parts + 1), LINE);
    return at;
  });
  const instances = word;
  const descriptors = instances + topology.instanceCount * INSTANCE_LINES * LINE;
  const sharedWords = descriptors + config.maxBuffers * LINE;
  let byte = aligned((sharedWords + config.sharedWords) * WORD_BYTES, PAGE_BYTES);
  const windowBytesAt = topology.stageOf.map((stage) => {
    const at = byte;
    byte += aligned(config.stages[stage]?.windowBytes ?? 0, PAGE_BYTES);
    return at;
  });
  const payloadCapacityBytes = aligned(config.payloadBytes, PAGE_BYTES);
  const directoryCapacityBytes = aligned(config.directoryBytes, PAGE_BYTES);
  const bufferStrideBytes = LIMITS.headerRoomBytes + payloadCapacityBytes + directoryCapacityBytes;
  return {
    stages,
    semaphores,
    semaphoreCount: (freePool - semaphores) / LINE,
    shares,
    windows,
    pause,
    user,
    freePool,
    rings,
    ringSlots,
    ringWords,
    resequencers,
    instances,
    descriptors,
    sharedWords,
    windowBytesAt,
    buffers: byte,
    bufferStrideBytes,
    payloadCapacityBytes,
    directoryCapacityBytes,
    totalBytes: byte + config.maxBuffers * bufferStrideBytes,
  };
}
assert(LIMITS.headerRoomBytes % PAGE_BYTES === 0, 'payloads are page-aligned');

/** Word of field 0 of a structure that is one of several. */
export const stageAt = (layout: Layout, stage: number): number =>
  layout.stages + stage * STAGE_LINES * LINE;
export const queueSemaphoreAt = (layout: Layout, stage: number): number =>
  layout.semaphores + stage * LINE;
export const shareAt = (layout: Layout, allocator: number): number =>
  layout.shares + allocator * LINE;
export const windowSemaphoreAt = (layout: Layout, section: number): number =>
  layout.windows + section * LINE;
export const semaphoreAt = (layout: Layout, index: number): number =>
  layout.semaphores + index * LINE;
export const ringAt = (layout: Layout, stage: number): number =>
  layout.rings + stage * layout.ringWords;
export const instanceAt = (layout: Layout, instance: number): number =>
  layout.instances + instance * INSTANCE_LINES * LINE;
export const descriptorAt = (layout: Layout, buffer: number): number =>
  layout.descriptors + buffer * LINE;

/** Writes the configuration into a fresh segment; the magic last, by whoever finishes it. */
export function writeConfig(bytes: Buffer, words: Int32Array, config: SegmentConfig): void {
  words[HEADER.version] = VERSION;
  words[HEADER.maxBuffers] = config.maxBuffers;
  words[HEADER.payloadBytes] = config.payloadBytes;
  words[HEADER.directoryBytes] = config.directoryBytes;
  words[HEADER.sharedWords] = config.sharedWords;
  words[HEADER.stages] = config.stages.length;
  words[HEADER.nameBytes] = writeName(bytes, HEADER.name, config.name, NAME_BYTES_MAX);
  for (const [i, stage] of config.stages.entries()) {
    const at = HEADER_BYTES / WORD_BYTES + i * STAGE_LINES * LINE;
    words[at + STAGE.instances] = stage.instances;
    words[at + STAGE.flags] =
      (stage.allocates ? FLAG.allocates : 0) |
      (stage.overShareFails ? FLAG.overShareFails : 0) |
      (stage.ordered ? FLAG.ordered : 0) |
      (stage.numbered ? FLAG.numbered : 0) |
      (stage.lazy ? FLAG.lazy : 0) |
      (stage.carries === true ? FLAG.carries : 0);
    words[at + STAGE.windowBytes] = stage.windowBytes;
    words[at + STAGE.partsMax] = stage.partsMax;
    for (const target of stage.targets) {
      const half = at + (target < 32 ? STAGE.targetsLow : STAGE.targetsHigh);
      words[half] = (words[half] ?? 0) | (1 << (target & 31));
    }
    words[at + STAGE.nameBytes] = writeName(
      bytes,
      at + STAGE.name,
      stage.name,
      STAGE_NAME_BYTES_MAX,
    );
  }
}

/** Reads the configuration back from a segment's header. */
export function readConfig(bytes: Buffer, words: Int32Array): SegmentConfig {
  const word = (at: number): number => words[at] ?? 0;
  const stages: StageConfig[] = [];
  for (let i = 0; i < word(HEADER.stages); i++) {
    const at = HEADER_BYTES / WORD_BYTES + i * STAGE_LINES * LINE;
    const flags = word(at + STAGE.flags);
    const targets: number[] = [];
    for (let target = 0; target < LIMITS.stagesMax; target++) {
      const half = word(at + (target < 32 ? STAGE.targetsLow : STAGE.targetsHigh));
      if ((half & (1 << (target & 31))) !== 0) targets.push(target);
    }
    stages.push({
      name: readName(bytes, at + STAGE.name, word(at + STAGE.nameBytes)),
      instances: word(at + STAGE.instances),
      allocates: (flags & FLAG.allocates) !== 0,
      overShareFails: (flags & FLAG.overShareFails) !== 0,
      ordered: (flags & FLAG.ordered) !== 0,
      numbered: (flags & FLAG.numbered) !== 0,
      lazy: (flags & FLAG.lazy) !== 0,
      ...((flags & FLAG.carries) === 0 ? {} : { carries: true }),
      partsMax: word(at + STAGE.partsMax),
      windowBytes: word(at + STAGE.windowBytes),
      targets,
    });
  }
  return {
    name: readName(bytes, HEADER.name, word(HEADER.nameBytes)),
    maxBuffers: word(HEADER.maxBuffers),
    payloadBytes: word(HEADER.payloadBytes),
    directoryBytes: word(HEADER.directoryBytes),
    sharedWords: word(HEADER.sharedWords),
    stages,
  };
}
assert(LIMITS.stagesMax <= 64, 'the targets of a stage fit two words');

function writeName(bytes: Buffer, word: number, name: string, bytesMax: number): number {
  assert(Buffer.byteLength(name) <= bytesMax, `the name ${name} fits ${bytesMax} bytes`);
  return bytes.write(name, word * WORD_BYTES);
}

function readName(bytes: Buffer, word: number, length: number): string {
  return bytes.toString('utf8', word * WORD_BYTES, word * WORD_BYTES + length);
}
