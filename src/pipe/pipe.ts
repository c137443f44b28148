/**
 * The initiator's side of a pipe: starts its instances, watches them, stops them, tells its state.
 *
 * Contract: a pipe ends in one way: every instance is over, then `done` settles. It resolves if all
 * reached the end of their input, and rejects with the first cause otherwise. Whatever the end, each
 * instance is asked to stop, has LIMITS.stopNoticeMs to do so, is terminated, and given up after the same
 * time again (a thread inside a system call cannot be terminated; the error says so). Nothing of a
 * pipe keeps the process alive then. Nothing here runs per buffer.
 */
import { MessageChannel } from 'node:worker_threads';
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { passed } from './barrier.ts';
import { type InstanceEvents, InstanceHandle, type InstanceMessage } from './instance.ts';
import { COUNTERS, HEADER, STAGE, stageAt } from './layout.ts';
import { tellObservers } from './observers.ts';
import { ATTENTION, createSegment, INITIATOR, type Segment } from './segment.ts';
import { isSafePoint, makePipeName, type PipeSpec, toSegmentConfig } from './spec.ts';
import { counterOf, type PipeStatus, statusOf } from './status.ts';
import { keepWarm } from './warm.ts';

/** What a pipe that reached its end did. */
export interface PipeSummary {
  readonly name: string;
  readonly elapsedMs: number;
  /** Sums of the 16 counters over the instances of each stage. */
  readonly counters: Readonly<Record<string, readonly number[]>>;
}

/**
 * Starts a pipe. Resolves once its threads are being started; whatever goes wrong in them rejects
 * `done`. Throws PIPE_CONFIG for a pipe that cannot work, LIMIT where memory is short.
 */
export async function startPipe(spec: PipeSpec): Promise<Pipe> {
  const name = spec.name ?? makePipeName();
  const pipe = new Pipe(spec, createSegment(toSegmentConfig(spec, name)));
  tellObservers(pipe);
  return pipe;
}

export class Pipe {
  readonly name: string;
  readonly segment: Segment;
  readonly done: Promise<PipeSummary>;
  readonly #spec: PipeSpec;
  readonly #instances: InstanceHandle[] = [];
  readonly #settle: PromiseWithResolvers<PipeSummary> = Promise.withResolvers();
  readonly #startedAtMs: number = performance.now();
  readonly #pausing = new Map<InstanceHandle, () => void>();
  #paused: Promise<unknown> | undefined;
  #stopReason: PenstockError | undefined;
  #grace: NodeJS.Timeout | undefined;
  #controlsSent = 0;
  #settled = false;

  constructor(spec: PipeSpec, segment: Segment) {
    this.name = segment.config.name;
    this.segment = segment;
    this.#spec = spec;
    this.done = this.#settle.promise;
    // A caller may look at `done` later than the pipe fails.
    this.done.catch(() => {});
    const events: InstanceEvents = {
      message: (instance, message) => this.#message(instance, message),
      failed: () => this.#stopEveryone(),
      over: (instance) => this.#instanceOver(instance),
    };
    for (const stage of spec.stages) {
      for (let number = 0; number < (stage.instances ?? 1); number++) {
        this.#instances.push(
          new InstanceHandle(segment, this.#instances.length, stage, number, events),
        );
      }
    }
    this.#link();
    for (const instance of this.#instances) {
      // One that could not be started has ended all others.
      if (instance.spec.startWhen !== 'first-buffer' && !instance.over) instance.start();
    }
  }

  /**
   * Stops the pipe and resolves when it is over, however it ended. `done` rejects with the reason, or
   * with PIPE_STOPPED. Without effect on a pipe that is over.
   */
  async stop(reason: string | PenstockError = 'the pipe was stopped'): Promise<void> {
    if (!this.#settled) {
      this.#stopReason ??=
        reason instanceof PenstockError ? reason : new PenstockError('PIPE_STOPPED', reason);
      this.segment.requestStop(INITIATOR);
      this.#stopEveryone();
    }
    await this.done.catch(() => {});
  }

  /** Halts every instance at its next primitive; resolves when all have halted or are over. */
  async pause(): Promise<void> {
    this.#paused ??= this.#halt();
    await this.#paused;
  }

  #halt(): Promise<unknown> {
    const { segment } = this;
    Atomics.add(segment.words, HEADER.pauses, 1);
    const halted = this.#running().map(
      (instance) => new Promise<void>((resolve) => this.#pausing.set(instance, resolve)),
    );
    for (const instance of this.#instances) segment.demandAttention(instance.id, ATTENTION.pause);
    segment.wakeEveryone();
    for (const instance of this.#running()) instance.wake();
    return Promise.all(halted);
  }

  resume(): void {
    this.#paused = undefined;
    for (const instance of this.#instances) {
      this.segment.withdrawAttention(instance.id, ATTENTION.pause);
    }
    for (const resolve of this.#pausing.values()) resolve();
    this.#pausing.clear();
    this.segment.wakeEveryone();
  }

  /**
   * Sends a message to every instance of a stage and resolves with what their modules answer, in the
   * order of the instances; undefined for one that is over. Rejects with what one of them throws. One
   * that is not started yet is waited for, unless only those that are `started` are meant.
   */
  async control(
    stage: string,
    message: unknown,
    whom: 'all' | 'started' = 'all',
  ): Promise<unknown[]> {
    const instances = this.#instances.filter((instance) => instance.spec.name === stage);
    if (instances.length === 0)
      throw new PenstockError('PIPE_CONFIG', `there is no stage ${stage}`);
    const answers = instances
      .filter((instance) => whom === 'all' || instance.started)
      .map((instance) => instance.control(++this.#controlsSent, message));
    this.segment.wakeEveryone();
    return Promise.all(answers);
  }

  /**
   * Resolves once all that had been sent when it was called has passed the instances of a stage (they
   * ask for the next buffer), or the pipe is over. What modules keep open in buffers of their own is
   * not waited for, nor, where `from` names a stage, what only earlier ones have sent.
   */
  async drained(stage: string, from?: string): Promise<void> {
    const first = from === undefined ? 0 : this.#stageNumber(from);
    await passed(this.segment, first, this.#stageNumber(stage), () => this.#settled);
  }
  #stageNumber(stage: string): number {
    const found = this.segment.config.stages.findIndex((config) => config.name === stage);
    if (found < 0) throw new PenstockError('PIPE_CONFIG', `there is no stage ${stage}`);
    return found;
  }

  /** Sum of a counter over all instances, or those of one stage. */
  counter(counter: number, stage?: string): number {
    return this.#instances
      .filter((instance) => stage === undefined || instance.spec.name === stage)
      .reduce((sum, instance) => sum + counterOf(this.segment, instance.id, counter), 0);
  }

  status(): PipeStatus {
    return statusOf(this.segment);
  }

  #running(): InstanceHandle[] {
    return this.#instances.filter((instance) => instance.started && !instance.over);
  }

  /** Makes a channel between every two instances of linked stages. */
  #link(): void {
    for (const [from, to] of this.#spec.links ?? []) {
      const [senders, receivers] = [from, to].map((name) => {
        const found = this.#instances.filter((instance) => instance.spec.name === name);
        if (found.length === 0) throw new PenstockError('PIPE_CONFIG', `there is no stage ${name}`);
        return found;
      }) as [InstanceHandle[], InstanceHandle[]];
      for (const sender of senders) {
        for (const receiver of receivers) {
          const { port1, port2 } = new MessageChannel();
          sender.lend(receivers.length === 1 ? to : receiver.name, port1);
          receiver.lend(senders.length === 1 ? from : sender.name, port2);
        }
      }
    }
  }

  #message(from: InstanceHandle, message: InstanceMessage): void {
    const { onMessage, onWarning } = this.#spec;
    switch (message.type) {
      case 'start':
        this.#startOne(message.stage, message.instance);
        break;
      case 'paused':
        if (message.pause === Atomics.load(this.segment.words, HEADER.pauses)) this.#halted(from);
        break;
      case 'post':
        if (isSafePoint(message.message)) this.#safe(message.message.safe);
        onMessage?.(from.spec.name, from.number, message.message);
        break;
      case 'warning':
        onWarning?.(from.spec.name, from.number, message.record);
        break;
      case 'stop':
        void this.stop(message.reason);
        break;
    }
  }

  #safe(value: unknown): void {
    this.#spec.onSafe?.(value);
    const { name } = must(this.#spec.stages[0], 'a pipe has stages');
    // A head that is over has nothing to do with it.
    this.control(name, { type: 'safe', value }, 'started').catch(() => {});
  }

  #startOne(stage: number, number: number): void {
    const id = (this.segment.topology.firstInstance[stage] ?? 0) + number;
    if (this.segment.stopRequested) return;
    const instance = must(this.#instances[id], 'the instance exists');
    instance.start();
    for (const { spec, started } of this.#instances) {
      if (spec.warmWith === instance.spec.name && !started) keepWarm(spec.name, spec.modules, 1);
    }
  }

  #halted(instance: InstanceHandle): void {
    this.#pausing.get(instance)?.();
    this.#pausing.delete(instance);
  }

  /** The stop word is set: wakes those that wait for promises, and ends those that do not stop. */
  #stopEveryone(): void {
    if (this.#grace !== undefined || this.#settled) return;
    this.#grace = setTimeout(() => {
      for (const instance of this.#running()) instance.terminate();
    }, LIMITS.stopNoticeMs);
    for (const instance of this.#running()) instance.wake();
    this.#skipUnstarted();
  }

  #instanceOver(instance: InstanceHandle): void {
    this.#halted(instance);
    this.#skipUnstarted();
    if (!this.#settled && this.#instances.every(({ over }) => over)) this.#finish();
  }

  /** Gives up instances that no buffer can start any more. */
  #skipUnstarted(): void {
    const { words, layout, topology, stopRequested } = this.segment;
    for (const instance of this.#instances) {
      if (instance.started || instance.over) continue;
      const at = stageAt(layout, topology.stageOf[instance.id] ?? 0);
      const startsOver = Atomics.load(words, at + STAGE.startsOver) !== 0;
      const requested = instance.number < Atomics.load(words, at + STAGE.started);
      if (stopRequested || (startsOver && !requested)) instance.skip();
    }
  }

  #finish(): void {
    this.#settled = true;
    clearTimeout(this.#grace);
    const error = this.#error();
    if (error !== undefined) this.#settle.reject(error);
    else {
      this.#settle.resolve({
        name: this.name,
        elapsedMs: performance.now() - this.#startedAtMs,
        counters: Object.fromEntries(
          this.#spec.stages.map(({ name }) => [
            name,
            Array.from({ length: COUNTERS }, (_, i) => this.counter(i, name)),
          ]),
        ),
      });
    }
  }

  /** Why the pipe did not reach its end, or undefined if it did. */
  #error(): PenstockError | undefined {
    const stuck = this.#instances.filter(({ outcome }) => outcome?.type === 'stuck');
    const cause = this.segment.firstCause;
    const failed = this.#instances[cause];
    let error: PenstockError | undefined;
    if (failed?.outcome?.type === 'failed') error = asFirstCause(failed.name, failed.outcome.error);
    else if (
      cause === INITIATOR &&
      this.#instances.some(({ outcome }) => outcome?.type !== 'ended')
    ) {
      error = this.#stopReason;
    }
    if (stuck.length === 0) return error;
    const names = stuck.map(({ name }) => name).join(', ');
    const fact = `the thread of ${names} is inside a system call and could not be ended`;
    return new PenstockError(
      error?.code ?? 'PIPE_FAILED',
      error ? `${error.message}; ${fact}` : fact,
      {
        cause: error,
      },
    );
  }
}

/** A defect, or what a module threw that says nothing of itself, is a failure of the pipe. */
function asFirstCause(instance: string, error: PenstockError): PenstockError {
  if (error.code !== 'INTERNAL') return error;
  return new PenstockError('PIPE_FAILED', `${instance}: ${error.message}`, { cause: error });
}
