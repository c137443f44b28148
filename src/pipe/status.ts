/**
 * The state of a pipe as its segment shows it: read without asking anyone, at any time (P7, P12).
 *
 * Contract: a picture, not a snapshot: instances go on while it is taken.
 */
import {
  ALLOCATOR_MASK,
  COUNTERS,
  DESCRIPTOR,
  descriptorAt,
  INSTANCE,
  instanceAt,
  STAGE,
  stageAt,
} from './layout.ts';
import type { Segment } from './segment.ts';
import type { Role } from './topology.ts';
import { STATE, type StateName } from './waiting.ts';

export interface InstanceStatus {
  readonly name: string;
  readonly state: StateName;
  /** Instances and queues that it waits for. */
  readonly waitsFor: readonly string[];
  /** Moves with every primitive. */
  readonly beat: number;
  /** Buffers that it has received so far, or, at a head, taken from the free pool; modulo 2^32. */
  readonly received: number;
  /** Buffers that it owns. */
  readonly buffers: number;
  readonly counters: readonly number[];
}

export interface StageStatus {
  readonly name: string;
  readonly role: Role;
  /** Buffers in its input queue. */
  readonly queued: number;
  readonly instances: readonly InstanceStatus[];
}

export interface PipeStatus {
  readonly name: string;
  readonly stopping: boolean;
  readonly buffers: { readonly total: number; readonly free: number; readonly bytesEach: number };
  readonly segmentBytes: number;
  readonly stages: readonly StageStatus[];
}

const STATE_NAMES: readonly StateName[] = Object.keys(STATE) as StateName[];

/** Reads the status of a pipe. */
export function statusOf(segment: Segment): PipeStatus {
  const { config, layout, topology } = segment;
  const holders = buffersOf(segment);
  return {
    name: config.name,
    stopping: segment.stopRequested,
    buffers: {
      total: config.maxBuffers,
      free: segment.queueLength(0),
      bytesEach: layout.bufferStrideBytes,
    },
    segmentBytes: layout.totalBytes,
    stages: config.stages.map((stage, i) => ({
      name: stage.name,
      role: topology.roles[i] ?? 'middle',
      queued: topology.roles[i] === 'head' ? 0 : segment.queueLength(i),
      instances: Array.from({ length: stage.instances }, (_, k) =>
        instanceStatus(segment, (topology.firstInstance[i] ?? 0) + k, holders),
      ),
    })),
  };
}

/** Value of one of an instance's counters. */
export function counterOf(segment: Segment, instance: number, counter: number): number {
  const at = (instanceAt(segment.layout, instance) + INSTANCE.counters) / 2;
  return segment.floats[at + counter] ?? 0;
}

/** Owner (an instance + 1, or minus a stage's queue - 1) and allocator of every buffer. */
interface Holder {
  readonly owner: number;
  readonly allocator: number;
}

function buffersOf({ config, layout, words }: Segment): Holder[] {
  return Array.from({ length: config.maxBuffers }, (_, i) => {
    const at = descriptorAt(layout, i);
    return {
      owner: Atomics.load(words, at + DESCRIPTOR.owner),
      allocator: Atomics.load(words, at + DESCRIPTOR.allocation) & ALLOCATOR_MASK,
    };
  });
}

function instanceStatus(
  segment: Segment,
  instance: number,
  holders: readonly Holder[],
): InstanceStatus {
  const at = instanceAt(segment.layout, instance);
  const state = Atomics.load(segment.words, at + INSTANCE.state);
  return {
    name: instanceName(segment, instance),
    state: STATE_NAMES[state] ?? 'idle',
    waitsFor: waitsFor(segment, instance, state, holders),
    beat: Atomics.load(segment.words, at + INSTANCE.beat),
    received: Atomics.load(segment.words, at + INSTANCE.received) >>> 0,
    buffers: holders.filter(({ owner }) => owner === instance + 1).length,
    counters: Array.from({ length: COUNTERS }, (_, i) => counterOf(segment, instance, i)),
  };
}

function instanceName({ topology, config }: Segment, instance: number): string {
  const stage = topology.stageOf[instance] ?? 0;
  return `${config.stages[stage]?.name}.${instance - (topology.firstInstance[stage] ?? 0)}`;
}

function waitsFor(
  segment: Segment,
  instance: number,
  state: number,
  holders: readonly Holder[],
): string[] {
  const { topology, words, layout } = segment;
  const stage = topology.stageOf[instance] ?? 0;
  switch (state) {
    case STATE.waitingInput:
      if (Atomics.load(words, stageAt(layout, stage) + STAGE.producers) === 0) return [];
      return (topology.sources[stage] ?? []).flatMap((source) => openInstances(segment, source));
    case STATE.waitingShare:
      return names(
        segment,
        holders.filter(({ allocator }) => allocator === instance),
      );
    case STATE.waitingPool:
      return names(segment, holders);
    case STATE.waitingOrder: {
      const targets = segment.config.stages[stage]?.targets ?? [];
      const sections = topology.sections.filter(
        ({ first, stages }) => targets.includes(first) || stages.includes(stage),
      );
      return sections.flatMap(({ stages }) =>
        stages.flatMap((inside) => openInstances(segment, inside)),
      );
    }
    default:
      return [];
  }
}

function openInstances(segment: Segment, stage: number): string[] {
  const { topology, config, words, layout } = segment;
  const first = topology.firstInstance[stage] ?? 0;
  return Array.from({ length: config.stages[stage]?.instances ?? 0 }, (_, k) => first + k)
    .filter((i) => Atomics.load(words, instanceAt(layout, i) + INSTANCE.state) < STATE.ended)
    .map((i) => instanceName(segment, i));
}

/** Who holds buffers: instances by name, queues as `queue of STAGE`. */
function names(segment: Segment, holders: readonly Holder[]): string[] {
  const found = holders
    .filter(({ owner }) => owner !== -1)
    .map(({ owner }) =>
      owner > 0
        ? instanceName(segment, owner - 1)
        : `queue of ${segment.config.stages[-owner - 1]?.name}`,
    );
  return [...new Set(found)];
}
