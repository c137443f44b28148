/**
 * The pipes of this machine that its monitor knows: their state, who may see and stop them.
 *
 * Contract: a name is known once. Rates are taken every second while there are pipes, from what the
 * segments show: nothing is asked of a pipe. A pipe leaves the list when it is over.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Pipe, PipeStatus } from '../pipe/mod.ts';

/** What a monitor needs to know of a pipe. */
export interface RegisteredPipe {
  readonly pipe: Pipe;
  /** What kind of program began it, and on which machine. */
  readonly program: string;
  readonly machine: string;
  /** Fingerprint of the paired machine that began it; undefined: this one. */
  readonly owner: string | undefined;
  /** Which way it flows, seen from who began it; `local`: it stays on this machine. */
  readonly flow: 'push' | 'pull' | 'local';
  stop(reason: PenstockError): Promise<void>;
}

export interface StageView {
  readonly name: string;
  readonly role: string;
  readonly queued: number;
  readonly buffersPerSecond: number;
  readonly instances: readonly {
    readonly name: string;
    readonly state: string;
    readonly waitsFor: readonly string[];
    readonly buffers: number;
    readonly received: number;
  }[];
}

/** One pipe, as `GET /v1/pipes` tells it. */
export interface PipeView {
  readonly name: string;
  readonly program: string;
  readonly machine: string;
  readonly flow: 'push' | 'pull' | 'local';
  readonly upMs: number;
  readonly stopping: boolean;
  readonly segmentBytes: number;
  readonly buffers: { readonly total: number; readonly free: number; readonly bytesEach: number };
  readonly stages: readonly StageView[];
}

interface Entry extends RegisteredPipe {
  readonly startedMs: number;
  sampledMs: number;
  /** By stage: received so far, and how many a second of late. */
  readonly received: number[];
  readonly rates: number[];
}

export class PipeRegistry {
  readonly #entries = new Map<string, Entry>();
  #timer: NodeJS.Timeout | undefined;

  /** Adds a pipe, until it is over. Throws PIPE_CONFIG where its name is taken. */
  add(registered: RegisteredPipe): void {
    const { name } = registered.pipe;
    if (this.#entries.has(name)) {
      throw new PenstockError('PIPE_CONFIG', `there is a pipe ${name} already`);
    }
    const now = performance.now();
    const entry = { ...registered, startedMs: now, sampledMs: now, received: [], rates: [] };
    this.#entries.set(name, entry);
    this.#timer ??= setInterval(() => this.#sample(), LIMITS.pipeRateMs).unref();
    const remove = (): void => this.#remove(name);
    registered.pipe.done.then(remove, remove);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Bytes of all segments. */
  get segmentBytes(): number {
    return this.#all().reduce((sum, { pipe }) => sum + pipe.segment.layout.totalBytes, 0);
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The pipes that `maySee` says. */
  list(maySee: (pipe: RegisteredPipe) => boolean): PipeView[] {
    return this.#all()
      .filter(maySee)
      .map((entry) => viewOf(entry));
  }

  /** Stops a pipe; resolves when it is over. PIPE_UNKNOWN, also for one that may not be seen. */
  async stop(
    name: string,
    reason: PenstockError,
    maySee: (pipe: RegisteredPipe) => boolean,
  ): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined || !maySee(entry)) {
      throw new PenstockError('PIPE_UNKNOWN', `there is no pipe ${name}`, { subject: name });
    }
    await entry.stop(reason);
  }

  /** Stops those that `which` says. */
  async stopAll(reason: PenstockError, which = (_pipe: RegisteredPipe) => true): Promise<void> {
    await Promise.all(
      this.#all()
        .filter(which)
        .map((entry) => entry.stop(reason)),
    );
  }

  /** Resolves once no pipe runs, or the time has passed. */
  async drained(withinMs: number): Promise<void> {
    const over = Promise.allSettled(this.#all().map(({ pipe }) => pipe.done));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([over, late]);
    clearTimeout(timer);
  }

  #all(): Entry[] {
    return [...this.#entries.values()];
  }

  #remove(name: string): void {
    this.#entries.delete(name);
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sample(): void {
    const now = performance.now();
    for (const entry of this.#entries.values()) {
      const seconds = (now - entry.sampledMs) / 1000;
      entry.sampledMs = now;
      for (const [i, stage] of entry.pipe.status().stages.entries()) {
        const received = receivedBy(stage);
        entry.rates[i] = (received - (entry.received[i] ?? 0)) / seconds;
        entry.received[i] = received;
      }
    }
  }
}

function receivedBy({ instances }: PipeStatus['stages'][number]): number {
  return instances.reduce((sum, { received }) => sum + received, 0);
}

function viewOf({ pipe, program, machine, flow, startedMs, rates }: Entry): PipeView {
  const { name, stopping, buffers, segmentBytes, stages } = pipe.status();
  return {
    name,
    program,
    machine,
    flow,
    upMs: Math.round(performance.now() - startedMs),
    stopping,
    segmentBytes,
    buffers,
    stages: stages.map((stage, i) => ({
      name: stage.name,
      role: stage.role,
      queued: stage.queued,
      buffersPerSecond: Math.round((rates[i] ?? 0) * 10) / 10,
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
