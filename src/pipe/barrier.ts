/**
 * Waits until all that has been sent so far has passed a stage: what a checkpoint needs (P14).
 *
 * Stage after stage: first until what lay in the stage's queue has been taken from it, then until every
 * instance that was busy asks for the next buffer, hence has sent on what it made of it. Buffers come in
 * meanwhile; only those of the start are waited for. Nothing of this costs the stages anything; the
 * initiator looks every few milliseconds, for checkpoints are minutes apart.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../base/limits.ts';
import { DESCRIPTOR, descriptorAt, INSTANCE, instanceAt, ownerInQueue } from './layout.ts';
import type { Segment } from './segment.ts';
import { STATE } from './waiting.ts';

/**
 * Resolves once what `from` and later stages have sent so far has passed `last`, or `over` says that the
 * pipe is.
 */
export async function passed(
  segment: Segment,
  from: number,
  last: number,
  over: () => boolean,
): Promise<void> {
  for (let stage = from + 1; stage <= last; stage++) {
    let queued = queuedBuffers(segment, stage);
    while (queued.length > 0 && !over()) {
      await sleep(LIMITS.drainPollMs);
      queued = queued.filter((seen) => isStillQueued(segment, stage, seen));
    }
    let busy = busyInstances(segment, stage);
    while (busy.length > 0 && !over()) {
      await sleep(LIMITS.drainPollMs);
      busy = busy.filter((seen) => isStillBusy(segment, seen));
    }
  }
}

/** A buffer and which of its lives, or an instance and what it asked for. */
interface Seen {
  readonly number: number;
  readonly value: number;
}

function queuedBuffers(segment: Segment, stage: number): Seen[] {
  const queued: Seen[] = [];
  for (let number = 0; number < segment.config.maxBuffers; number++) {
    const at = descriptorAt(segment.layout, number) + DESCRIPTOR.allocation;
    const seen = { number, value: Atomics.load(segment.words, at) };
    if (isStillQueued(segment, stage, seen)) queued.push(seen);
  }
  return queued;
}

function isStillQueued(
  { layout, words }: Segment,
  stage: number,
  { number, value }: Seen,
): boolean {
  const at = descriptorAt(layout, number);
  return (
    Atomics.load(words, at + DESCRIPTOR.owner) === ownerInQueue(stage) &&
    Atomics.load(words, at + DESCRIPTOR.allocation) === value
  );
}

function busyInstances(segment: Segment, stage: number): Seen[] {
  const { layout, words, topology, config } = segment;
  const first = topology.firstInstance[stage] ?? 0;
  return Array.from({ length: config.stages[stage]?.instances ?? 0 }, (_, k) => ({
    number: first + k,
    value: Atomics.load(words, instanceAt(layout, first + k) + INSTANCE.asked),
  })).filter((seen) => isStillBusy(segment, seen));
}

function isStillBusy({ layout, words }: Segment, { number, value }: Seen): boolean {
  const at = instanceAt(layout, number);
  return (
    value > 0 &&
    Atomics.load(words, at + INSTANCE.asked) === value &&
    Atomics.load(words, at + INSTANCE.received) === value &&
    Atomics.load(words, at + INSTANCE.state) < STATE.ended
  );
}
