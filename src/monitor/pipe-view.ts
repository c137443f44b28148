/**
 * What is told of a pipe: to `penstock pipes`, over the API, and by a command to the monitor of its machine.
 *
 * Contract: read from the segment, without asking the pipe. Rates are what passed between two samples.
 */
import type { Pipe, PipeStatus } from '../pipe/mod.ts';

export interface StageView {
  readonly name: string;
  readonly role: string;
  readonly queued: number;
  readonly buffersPerSecond: number;
  /** Of an unbound module: the process ids of the programs that are attached. */
  readonly programs?: readonly number[];
  readonly instances: readonly {
    readonly name: string;
    readonly state: string;
    readonly waitsFor: readonly string[];
    readonly buffers: number;
    readonly received: number;
  }[];
}

export type Flow = 'push' | 'pull' | 'local';

/** One pipe, as `GET /v1/pipes` tells it. */
export interface PipeView {
  readonly name: string;
  /** Queued: it waits for memory, a device, or its turn. */
  readonly state: 'queued' | 'starting' | 'running';
  /** Its place in the queue, from 1. */
  readonly place?: number;
  readonly program: string;
  readonly machine: string;
  readonly flow: Flow;
  /** What it has to itself, or shares with as many as is allowed. */
  readonly device?: string;
  readonly upMs: number;
  readonly stopping: boolean;
  readonly segmentBytes: number;
  readonly buffers: { readonly total: number; readonly free: number; readonly bytesEach: number };
  readonly stages: readonly StageView[];
}

/** What does not stand in the segment. */
export interface PipeFacts {
  /** What kind of program began it, and on which machine. */
  readonly program: string;
  readonly machine: string;
  /** Which way it flows, seen from who began it; `local`: it stays on this machine. */
  readonly flow: Flow;
  readonly device?: string | undefined;
  /** Process ids of attached programs by stage. */
  programs?(): Readonly<Record<string, readonly number[]>>;
}

/** A pipe of this process with its rates. */
export class PipeMeter {
  readonly #pipe: Pipe;
  readonly #facts: PipeFacts;
  readonly #startedMs: number = performance.now();
  #sampledMs: number = this.#startedMs;
  /** By stage: received so far, and how many a second of late. */
  readonly #received: number[] = [];
  readonly #rates: number[] = [];

  constructor(pipe: Pipe, facts: PipeFacts) {
    this.#pipe = pipe;
    this.#facts = facts;
  }

  sample(): void {
    const now = performance.now();
    const seconds = (now - this.#sampledMs) / 1000;
    this.#sampledMs = now;
    for (const [i, stage] of this.#pipe.status().stages.entries()) {
      const received = receivedBy(stage);
      this.#rates[i] = (received - (this.#received[i] ?? 0)) / seconds;
      this.#received[i] = received;
    }
  }

  view(): PipeView {
    const { name, stopping, buffers, segmentBytes, stages } = this.#pipe.status();
    const { program, machine, flow, device } = this.#facts;
    const programs = this.#facts.programs?.() ?? {};
    return {
      name,
      state: 'running',
      program,
      machine,
      flow,
      ...(device === undefined ? {} : { device }),
      upMs: Math.round(performance.now() - this.#startedMs),
      stopping,
      segmentBytes,
      buffers,
      stages: stages.map((stage, i) => ({
        name: stage.name,
        role: stage.role,
        queued: stage.queued,
        buffersPerSecond: Math.round((this.#rates[i] ?? 0) * 10) / 10,
        ...(programs[stage.name] === undefined ? {} : { programs: programs[stage.name] ?? [] }),
        instances: stage.instances.map((instance) => ({
          name: instance.name,
          state: instance.state,
          waitsFor: instance.waitsFor,
          buffers: instance.buffers,
          received: instance.received,
        })),
      })),
    };
  }
}

function receivedBy({ instances }: PipeStatus['stages'][number]): number {
  return instances.reduce((sum, { received }) => sum + received, 0);
}

/** Whether a value that another process sent is the view of a pipe of this name. */
export function isPipeView(value: unknown, name: string): value is PipeView {
  const view = value as Partial<PipeView> | null;
  if (typeof view !== 'object' || view === null || view.name !== name) return false;
  const { total, free, bytesEach } = (view.buffers ?? {}) as Partial<PipeView['buffers']>;
  const texts = [view.program, view.machine];
  const counts = [view.upMs, view.segmentBytes, total, bytesEach];
  return (
    view.state === 'running' &&
    (view.flow === 'push' || view.flow === 'pull' || view.flow === 'local') &&
    typeof view.stopping === 'boolean' &&
    texts.every((text) => typeof text === 'string') &&
    counts.every(isCount) &&
    Number.isInteger(free) &&
    view.device === undefined &&
    Array.isArray(view.stages) &&
    view.stages.every(isStageView)
  );
}

function isStageView(value: unknown): boolean {
  const stage = (value ?? {}) as Partial<StageView>;
  return (
    typeof stage.name === 'string' &&
    (stage.role === 'head' || stage.role === 'middle' || stage.role === 'tail') &&
    Number.isInteger(stage.queued) &&
    Number.isFinite(stage.buffersPerSecond) &&
    (stage.programs === undefined ||
      (Array.isArray(stage.programs) && stage.programs.every(isCount))) &&
    Array.isArray(stage.instances) &&
    stage.instances.every((instance) => {
      const { name, state, waitsFor, buffers, received } = instance ?? {};
      return (
        typeof name === 'string' &&
        typeof state === 'string' &&
        Array.isArray(waitsFor) &&
        waitsFor.every((one) => typeof one === 'string') &&
        isCount(buffers) &&
        isCount(received)
      );
    })
  );
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0;
}
