/**
 * The initiator's handle of one stage instance: its thread, its messages, and how it ended.
 *
 * Contract: `over` is called exactly once, after the thread is gone or given up, with how it ended: a
 * thread that goes without a last word (process.exit, out of memory, an error of its event loop) has
 * failed. Nothing that the handle holds keeps the process alive after that.
 */
import type { EventEmitter } from 'node:events';
import type { MessagePort, Worker } from 'node:worker_threads';
import { fromErrorRecord, PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { nativeFiles } from '../host/native/package.ts';
import type { FromInstance, ToInstance } from './messages.ts';
import { moduleUrl } from './module-url.ts';
import { OwnThread } from './own-thread.ts';
import { ATTENTION, type Segment } from './segment.ts';
import type { StageSpec } from './spec.ts';
import {
  keepsThreads,
  keepThread,
  sendPlan,
  startThread,
  type Thread,
  takeWarmThread,
} from './warm.ts';

/** How an instance ended. */
export type Outcome =
  | { readonly type: 'ended' | 'stopped' }
  | { readonly type: 'failed'; readonly error: PenstockError }
  /** It said nothing, and its thread could not be ended: it is inside a system call. */
  | { readonly type: 'stuck' };

/** Messages that concern the pipe as a whole. */
export type InstanceMessage = Extract<
  FromInstance,
  { type: 'start' | 'paused' | 'post' | 'warning' | 'stop' }
>;

export interface InstanceEvents {
  message(instance: InstanceHandle, message: InstanceMessage): void;
  /** An instance has failed and the stop word is set. */
  failed(): void;
  over(instance: InstanceHandle): void;
}

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class InstanceHandle {
  readonly id: number;
  readonly spec: StageSpec;
  /** Number within the stage. */
  readonly number: number;
  readonly #segment: Segment;
  readonly #events: InstanceEvents;
  readonly #waiters = new Map<number, Waiter>();
  #ports: Record<string, MessagePort> = {};
  readonly #unsent: ToInstance[] = [];
  #worker: Worker | OwnThread | null = null;
  #outcome: Outcome | null = null;
  #over = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #onMessage = (message: FromInstance): void => this.#receive(message);
  readonly #onError = (thrown: unknown): void => this.#fail(toPenstockError(thrown));
  readonly #onExit = (code: number): void => this.#exited(code);

  constructor(
    segment: Segment,
    id: number,
    spec: StageSpec,
    number: number,
    events: InstanceEvents,
  ) {
    this.#segment = segment;
    this.id = id;
    this.spec = spec;
    this.number = number;
    this.#events = events;
  }

  get name(): string {
    return `${this.spec.name}.${this.number}`;
  }

  get started(): boolean {
    return this.#worker !== null;
  }

  get over(): boolean {
    return this.#over;
  }

  get outcome(): Outcome | null {
    return this.#outcome;
  }

  /** Gives it one end of a channel to another instance. */
  lend(name: string, port: MessagePort): void {
    this.#ports[name] = port;
  }

  /** Starts its thread. One that cannot be started has failed. */
  start(): void {
    try {
      this.#launch();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const isSpec = cause instanceof DOMException && cause.name === 'DataCloneError';
      const message = `${this.name} cannot be started: ${reason}`;
      this.#fail(new PenstockError(isSpec ? 'PIPE_CONFIG' : 'PIPE_FAILED', message, { cause }));
      for (const port of Object.values(this.#ports)) port.close();
      if (this.#worker === null) this.#finish();
      else void this.#worker.terminate();
    }
  }

  #launch(): void {
    const { modules, workerData } = this.spec;
    const thread = this.#thread();
    const { worker } = thread;
    this.#worker = worker;
    const told: EventEmitter = worker;
    told.on('message', this.#onMessage);
    told.once('error', this.#onError);
    told.once('exit', this.#onExit);
    sendPlan(thread, {
      memory: this.#segment.memory,
      instance: this.id,
      modules: modules.map(({ module, options }) => ({ url: moduleUrl(module), options })),
      ports: this.#ports,
      workerData,
      keepsThread: this.#isKept,
      nativeFiles: nativeFiles(),
    });
    this.#ports = {};
    for (const message of this.#unsent.splice(0)) worker.postMessage(message);
  }

  #thread(): Thread {
    const { modules, resourceLimits, runsBeside } = this.spec;
    if (runsBeside === true) return { worker: new OwnThread(), port: undefined };
    const warm = resourceLimits === undefined ? takeWarmThread(modules) : undefined;
    return warm ?? startThread(this.name, modules, resourceLimits);
  }

  /** Whether its thread may run another instance later. */
  get #isKept(): boolean {
    const { keepsThreads: asked, resourceLimits } = this.spec;
    return asked === true && resourceLimits === undefined && keepsThreads();
  }
  /** The thread waits for another plan. */
  #release(): void {
    const worker = this.#worker;
    if (worker === null || worker instanceof OwnThread || this.#over) return;
    worker.off('message', this.#onMessage);
    worker.off('error', this.#onError);
    worker.off('exit', this.#onExit);
    if (!keepThread(worker, this.spec.modules)) void worker.terminate();
    this.#finish();
  }

  /** Sends a control message; resolves with the acknowledgement, or undefined if it ended before. */
  control(id: number, message: unknown): Promise<unknown> {
    if (this.#over) return Promise.resolve(undefined);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiters.set(id, { resolve, reject });
    this.#send({ type: 'control', id, message });
    this.#segment.demandAttention(this.id, ATTENTION.control);
    return promise;
  }

  /** Has a thread that waits for a promise look at the stop word. */
  wake(): void {
    if (this.#worker !== null && !this.#over)
      this.#worker.postMessage({ type: 'wake' } satisfies ToInstance);
  }

  #send(message: ToInstance): void {
    if (this.#worker === null) this.#unsent.push(message);
    else this.#worker.postMessage(message);
  }

  /** Ends the thread; gives it up after a grace if it does not end. */
  terminate(): void {
    if (this.#over) return;
    void this.#worker?.terminate();
    this.#after(LIMITS.stopNoticeMs, () => {
      // Of one that has had its last word only the thread is left: on a busy machine it goes slowly.
      this.#outcome ??= { type: 'stuck' };
      this.#worker?.unref();
      this.#finish();
    });
  }

  /** It will never be started. */
  skip(): void {
    for (const port of Object.values(this.#ports)) port.close();
    this.#outcome = { type: this.#segment.stopRequested ? 'stopped' : 'ended' };
    this.#finish();
  }

  #receive(message: FromInstance): void {
    switch (message.type) {
      case 'acknowledgement':
        this.#waiters.get(message.id)?.resolve(message.value);
        this.#waiters.delete(message.id);
        break;
      case 'refusal':
        this.#waiters.get(message.id)?.reject(fromErrorRecord(message.error));
        this.#waiters.delete(message.id);
        break;
      case 'ended':
      case 'stopped':
        this.#outcome ??= { type: message.type };
        // A module may have left something open that keeps the thread's event loop alive.
        this.#after(LIMITS.threadExitMs, () => this.terminate());
        break;
      case 'idle':
        this.#release();
        break;
      case 'failed':
        this.#fail(fromErrorRecord(message.error));
        this.#after(LIMITS.threadExitMs, () => this.terminate());
        break;
      default:
        this.#events.message(this, message);
    }
  }

  #fail(error: PenstockError): void {
    if (this.#outcome !== null) return;
    this.#outcome = { type: 'failed', error };
    this.#segment.requestStop(this.id);
    this.#events.failed();
  }

  #exited(code: number): void {
    // A thread that was ended because it did not stop in time is no failure of its own.
    if (this.#outcome === null && this.#segment.stopRequested) this.#outcome = { type: 'stopped' };
    if (this.#outcome === null) {
      const message = `${this.name}: its thread ended with code ${code} before its work was done`;
      this.#fail(new PenstockError('PIPE_FAILED', message));
    }
    this.#finish();
  }

  #after(delayMs: number, act: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, delayMs);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    for (const waiter of this.#waiters.values()) waiter.resolve(undefined);
    this.#waiters.clear();
    this.#events.over(this);
  }
}
