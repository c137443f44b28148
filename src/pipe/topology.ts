/**
 * The shape of a pipe, derived from the stages' configuration alone: who sends to whom, which role
 * each stage has, what each allocating instance may hold, and where order must be kept.
 *
 * Contract: pure; the same configuration gives the same topology in every thread, so nothing of it is
 * stored in the segment. Whatever cannot work is refused here, before any thread starts (PIPE_CONFIG).
 *
 * Order (P6). A stage marked `ordered` asks that what leaves it is in the order of the pipe. The first
 * stage of one instance at or after it therefore receives in order. Where buffers reach that stage
 * through stages of several instances, those form a *section*:
 *
 *      one instance      several instances            one instance
 *      ... A ──sequencer──▶ B ─────▶ C ──resequencer──▶ D ...
 *          └ stamps here    first              last ┘   └ receives in order
 *
 * A head that *carries* numbers (buffers that come from another machine, whose sequencer is there) begins
 * a section itself; whoever sends them keeps to its window.
 *
 * Window (P4). Of the numbers that were given out, at most `window` have not passed the resequencer.
 * An instance between them that allocates holds at most `parts` buffers per number, and
 * window x parts <= share: so the bearer of the lowest missing number always finds a buffer of its own
 * share, whatever the speeds. No other wait inside a section depends on an earlier stage.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

/** What the segment must know about a stage. Stages are numbered from 0; targets are later stages. */
export interface StageConfig {
  readonly name: string;
  readonly instances: number;
  readonly allocates: boolean;
  /** Over its share `allocBuf` throws instead of waiting. */
  readonly overShareFails: boolean;
  readonly ordered: boolean;
  /** Buffers sent to this stage are stamped with its next number, also where order needs none. */
  readonly numbered: boolean;
  /**
   * A head whose buffers bear numbers that were given elsewhere: each from 1 on once, in any order,
   * and none beyond the section's window after those that have passed.
   */
  readonly carries?: boolean;
  /** Buffers that one which was received may become, inside a section (P5). */
  readonly partsMax: number;
  /** Private scratch memory of each instance, in the segment. */
  readonly windowBytes: number;
  /** Started by the first buffer, and one more instance when its queue grows. */
  readonly lazy: boolean;
  /** Stages that this one may send to; none: a tail. */
  readonly targets: readonly number[];
}

/** `whole`: the only stage of its pipe, whose modules run one after the other in one thread (P7). */
export type Role = 'head' | 'middle' | 'tail' | 'whole';

/** The stages between a sequencer (in front of `first`, or on another machine) and a resequencer (in front of `last`). */
export interface Section {
  readonly stages: readonly number[];
  readonly first: number;
  readonly last: number;
  /** Numbers given out and not yet passed. */
  readonly window: number;
  /** Buffers that may carry the same number. */
  readonly parts: number;
  /** The numbers come from elsewhere; nobody here takes permits for them. */
  readonly carried?: true;
}

export interface Topology {
  readonly roles: readonly Role[];
  readonly sources: readonly (readonly number[])[];
  /** Number of the first instance of each stage; instances are numbered through the pipe. */
  readonly firstInstance: readonly number[];
  readonly instanceCount: number;
  /** Stage of each instance. */
  readonly stageOf: readonly number[];
  /** Index of an instance among those that allocate, or -1. */
  readonly allocatorOf: readonly number[];
  readonly allocatorCount: number;
  /** Buffers that each allocating instance may hold (P4). */
  readonly share: number;
  readonly sections: readonly Section[];
  /** Section whose numbered buffers a stage receives, or -1. */
  readonly sectionOf: readonly number[];
}

/** Derives the topology; throws PIPE_CONFIG. */
export function planTopology(stages: readonly StageConfig[], maxBuffers: number): Topology {
  checkBounds(stages, maxBuffers);
  const sources = stages.map((_, target) =>
    [...stages.keys()].filter((source) => stages[source]?.targets.includes(target)),
  );
  const roles = stages.map((stage, i) =>
    roleOf(stage, sources[i]?.length ?? 0, stages.length === 1),
  );
  const firstInstance: number[] = [];
  const stageOf: number[] = [];
  const allocatorOf: number[] = [];
  let allocatorCount = 0;
  for (const [i, stage] of stages.entries()) {
    firstInstance.push(stageOf.length);
    for (let k = 0; k < stage.instances; k++) {
      stageOf.push(i);
      allocatorOf.push(stage.allocates ? allocatorCount++ : -1);
    }
  }
  if (allocatorCount > maxBuffers) {
    refuse(`${allocatorCount} instances allocate, but there are only ${maxBuffers} buffers`);
  }
  const share = Math.floor(maxBuffers / allocatorCount);
  const sections = planSections(stages, sources, maxBuffers, share);
  const sectionOf = stages.map((_, i) =>
    sections.findIndex((section) => section.stages.includes(i)),
  );
  return {
    roles,
    sources,
    firstInstance,
    instanceCount: stageOf.length,
    stageOf,
    allocatorOf,
    allocatorCount,
    share,
    sections,
    sectionOf,
  };
}

function refuse(message: string): never {
  throw new PenstockError('PIPE_CONFIG', message);
}

function checkBounds(stages: readonly StageConfig[], maxBuffers: number): void {
  within('stages of a pipe', stages.length, 1, LIMITS.stagesMax);
  within('maxBuffers', maxBuffers, 1, LIMITS.buffersMax);
  const names = new Set<string>();
  for (const [i, stage] of stages.entries()) {
    within(`instances of stage ${stage.name}`, stage.instances, 1, LIMITS.instancesPerStageMax);
    within(`partsMax of stage ${stage.name}`, stage.partsMax, 1, maxBuffers);
    within(`windowBytes of stage ${stage.name}`, stage.windowBytes, 0, 2 ** 31 - 1);
    if (names.has(stage.name)) refuse(`two stages are named ${stage.name}`);
    names.add(stage.name);
    for (const target of stage.targets) {
      if (target <= i || target >= stages.length) {
        refuse(`stage ${stage.name} may only send to later stages`);
      }
    }
  }
}

function within(what: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    refuse(`${what} must be between ${least} and ${most}, not ${value}`);
  }
}

function roleOf(stage: StageConfig, sourceCount: number, isAlone: boolean): Role {
  const tail = stage.targets.length === 0;
  if (stage.carries === true && sourceCount > 0) {
    refuse(`stage ${stage.name} is no head: its buffers bear the numbers of this pipe`);
  }
  if (sourceCount > 0) {
    if (tail && stage.allocates) refuse(`stage ${stage.name} is a tail: it cannot allocate`);
    return tail ? 'tail' : 'middle';
  }
  if (tail && !isAlone) refuse(`nothing sends to stage ${stage.name} and it sends to none`);
  if (!stage.allocates) refuse(`stage ${stage.name} is a head: it must allocate`);
  if (stage.lazy) refuse(`stage ${stage.name} is a head: no first buffer can start it`);
  return tail ? 'whole' : 'head';
}

function planSections(
  stages: readonly StageConfig[],
  sources: readonly (readonly number[])[],
  maxBuffers: number,
  share: number,
): Section[] {
  const demanded = new Set(stages.flatMap((s, i) => (s.ordered ? [firstSingle(stages, i)] : [])));
  const sections: Section[] = [];
  /** Whether a stage hands on its buffers in the order of the pipe. */
  const keepsOrder: boolean[] = [];
  for (const [i, stage] of stages.entries()) {
    let arrives = (sources[i] ?? []).every((source) => keepsOrder[source]);
    if (!arrives && demanded.has(i)) {
      const between = sectionStages(stages, sources, keepsOrder, i);
      // None between: heads of several instances, whose only order is that of arrival.
      if (between.length > 0) sections.push(sizeSection(stages, between, i, maxBuffers, share));
      arrives = true;
    }
    keepsOrder.push(arrives && stage.instances === 1 && stage.carries !== true);
  }
  return sections;
}

/** The first stage of one instance at or after stage i. */
function firstSingle(stages: readonly StageConfig[], i: number): number {
  const stage = stages[i];
  if (stage === undefined || (stage.instances === 1 && stage.carries !== true)) return i;
  const [next, ...others] = stage.targets;
  if (next === undefined || others.length > 0) {
    refuse(
      `stage ${stage.name} has ${stage.instances} instances and no one stage after it: ` +
        'its buffers cannot be put in order',
    );
  }
  return firstSingle(stages, next);
}

/** Walks up from `last` to the sequencer, or to the head that carries numbers; returns the stages between, in order. */
function sectionStages(
  stages: readonly StageConfig[],
  sources: readonly (readonly number[])[],
  keepsOrder: readonly boolean[],
  last: number,
): number[] {
  const between: number[] = [];
  for (let stage = last; ; ) {
    const before = sources[stage] ?? [];
    const carries = before.some((source) => stages[source]?.carries === true);
    if (!carries && before.every((source) => keepsOrder[source] || sources[source]?.length === 0)) {
      return between;
    }
    const [source, ...others] = before;
    if (source === undefined || others.length > 0) {
      refuse(`order cannot be kept where stage ${stages[stage]?.name} joins streams`);
    }
    if (stages[source]?.targets.length !== 1) {
      refuse(`order cannot be kept where stage ${stages[source]?.name} divides the stream`);
    }
    between.unshift(source);
    if (carries) return between;
    stage = source;
  }
}

function sizeSection(
  stages: readonly StageConfig[],
  between: readonly number[],
  last: number,
  maxBuffers: number,
  share: number,
): Section {
  let window = maxBuffers;
  let parts = 1;
  for (const i of between) {
    const stage = stages[i];
    if (stage === undefined || !stage.allocates) continue;
    parts = Math.max(parts, stage.partsMax);
    window = Math.min(window, Math.floor(share / parts));
  }
  if (window < 1) {
    refuse(
      `a number becomes up to ${parts} buffers before stage ${stages[last]?.name}, ` +
        `but an allocating instance may hold only ${share}`,
    );
  }
  const first = between[0] ?? last;
  const section = { stages: between, first, last, window, parts };
  return stages[first]?.carries === true ? { ...section, carried: true } : section;
}
