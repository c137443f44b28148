/**
 * What a caller says about a pipe, and how it becomes the configuration of its segment (P8).
 *
 * Contract: every default stands here. Throws PIPE_CONFIG for what cannot be understood; what cannot work
 * is refused by topology.ts.
 */
import { hostname } from 'node:os';
import type { ResourceLimits } from 'node:worker_threads';
import { PenstockError } from '../base/errors.ts';
import { openClock } from '../host/mod.ts';
import type { SegmentConfig } from './layout.ts';
import type { StageConfig } from './topology.ts';

export interface ModuleSpec {
  /** A path, or a file: or data: URL, of a file whose default export is a module (module.ts). */
  readonly module: string | URL;
  /** Handed to the module, cloned. */
  readonly options?: unknown;
}

export interface StageSpec {
  readonly name: string;
  /** Run one after the other in one thread. */
  readonly modules: readonly ModuleSpec[];
  readonly instances?: number;
  /** Whether its instances call allocBuf. A head always does. */
  readonly allocates?: boolean;
  /** Over its share allocBuf waits (default), or throws LIMIT. */
  readonly overShare?: 'wait' | 'fail';
  /** What leaves the stage (a tail: what it receives) is in the order of the pipe. */
  readonly ordered?: boolean;
  /** Buffers sent to this stage are numbered, also where order needs no numbers. */
  readonly numbered?: boolean;
  /**
   * A head whose modules give each buffer a number that it bears from elsewhere (`carry`): from 1 on, each
   * once, in any order. A later stage that is `ordered` gets them in the order of these numbers.
   */
  readonly carries?: boolean;
  /** Buffers that one which was received may become where order is kept. Default 1. */
  readonly partsMax?: number;
  /** Private scratch memory of each instance, in the segment. */
  readonly windowBytes?: number;
  /** When its threads are started: at once, or as buffers come for them. */
  readonly startWhen?: 'now' | 'first-buffer';
  /** A thread is begun ahead for it when this stage, started by a buffer, begins (warm.ts). */
  readonly warmWith?: string;
  /** Stages that it may send to, the first by default. Default: the next; of the last: none. */
  readonly to?: string | readonly string[];
  readonly workerData?: unknown;
  readonly resourceLimits?: ResourceLimits;
  /** Its threads may run other pipes later, where the process keeps threads (`keepThreads`). */
  readonly keepsThreads?: boolean;
  /**
   * It has no thread of its own: it runs beside the event loop of the one that starts the pipe, which must leave
   * that its turn. For modules that have `runAsync`.
   */
  readonly runsBeside?: boolean;
}

export interface PipeSpec {
  /** Default: made of the machine's name, process id, time and a counter. */
  readonly name?: string;
  readonly maxBuffers: number;
  readonly payloadBytes: number;
  readonly directoryBytes?: number;
  /** Words that the modules share. */
  readonly sharedWords?: number;
  readonly stages: readonly StageSpec[];
  /** Pairs of stages whose instances get a direct port to each other. */
  readonly links?: readonly (readonly [string, string])[];
  onMessage?(stage: string, instance: number, message: unknown): void;
  onWarning?(stage: string, instance: number, record: unknown): void;
  /**
   * A module has posted `{ safe: value }`: so far all is safe (P14). The modules of the first stage are told
   * by `control({ type: 'safe', value })`. The options of a pipe that is started again say where to go on.
   */
  onSafe?(value: unknown): void;
}

/** What a module posts to say how far the data is safe. */
export const isSafePoint = (message: unknown): message is { readonly safe: unknown } =>
  typeof message === 'object' && message !== null && 'safe' in message;

let namesMade = 0;

/** A name that is the same on every machine of the pipe, and belongs to no other pipe. */
export function makePipeName(): string {
  namesMade++;
  return `${hostname()}-${process.pid}-${openClock().nowMs()}-${namesMade}`;
}

/** The configuration of a pipe's segment. Throws PIPE_CONFIG. */
export function toSegmentConfig(spec: PipeSpec, name: string): SegmentConfig {
  if (!/^[\w.-]{1,200}$/.test(name)) {
    throw new PenstockError('PIPE_CONFIG', `not a pipe name: ${JSON.stringify(name)}`);
  }
  const numberOf = new Map(spec.stages.map((stage, i) => [stage.name, i]));
  const stages = spec.stages.map((stage, i): StageConfig => {
    if (!/^[\w.-]{1,63}$/.test(stage.name)) {
      throw new PenstockError('PIPE_CONFIG', `not a stage name: ${JSON.stringify(stage.name)}`);
    }
    if (stage.modules.length === 0) {
      throw new PenstockError('PIPE_CONFIG', `stage ${stage.name} names no module`);
    }
    if (spec.stages.length === 1 && stage.modules.length === 1) {
      throw new PenstockError('PIPE_CONFIG', 'a pipe of one stage has several modules in it');
    }
    const next = i + 1 < spec.stages.length ? [i + 1] : [];
    const targets =
      stage.to === undefined ? next : [stage.to].flat().map((to) => lookUp(numberOf, to));
    return {
      name: stage.name,
      instances: stage.instances ?? 1,
      allocates: stage.allocates ?? false,
      overShareFails: stage.overShare === 'fail',
      ordered: stage.ordered ?? false,
      numbered: stage.numbered ?? false,
      partsMax: stage.partsMax ?? 1,
      windowBytes: stage.windowBytes ?? 0,
      lazy: stage.startWhen === 'first-buffer',
      targets,
      ...(stage.carries === true ? { carries: true } : {}),
    };
  });
  const isTarget = new Set(stages.flatMap((stage) => stage.targets));
  return {
    name,
    maxBuffers: spec.maxBuffers,
    payloadBytes: spec.payloadBytes,
    directoryBytes: spec.directoryBytes ?? 0,
    sharedWords: spec.sharedWords ?? 0,
    stages: stages.map((stage, i) => (isTarget.has(i) ? stage : { ...stage, allocates: true })),
  };
}

function lookUp(numberOf: ReadonlyMap<string, number>, name: string): number {
  const stage = numberOf.get(name);
  if (stage === undefined) throw new PenstockError('PIPE_CONFIG', `there is no stage ${name}`);
  return stage;
}
