/**
 * The thread of one stage instance: loads its modules, runs them, and tells how it ended.
 *
 *      opening ──▶ running ──▶ closing ──▶ ended
 *         └───────────┴───────────┴──────▶ stopped (the pipe stops), failed (something was thrown)
 *
 * A thread that is kept waits, after it has ended, for another plan for the same modules.
 *
 * Contract: exactly one of `ended`, `stopped` and `failed` is posted. A failure marks itself as the first
 * cause and stops the pipe before it is reported, so that the others notice it even while the initiator
 * is busy. Only `open`, `close` and `runAsync` may wait for promises; the event loop
 * turns once after `open`, so that a rejection that nobody handles comes out before the work starts.
 */
import {
  isMainThread,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
} from 'node:worker_threads';
import { assert, must } from '../base/assert.ts';
import { PenstockError, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { useNativeFiles } from '../host/native/package.ts';
import { Chain } from './chain.ts';
import type { FromInstance, ToInstance, WorkerPlan } from './messages.ts';
import type { PipeModule } from './module.ts';
import { Primitives } from './primitives.ts';
import { ATTENTION, attachSegment } from './segment.ts';
import { PipeStopped, STATE } from './waiting.ts';

/** Runs the instance that this thread was given; whether the thread is kept for another. */
export async function runInstance(plan: WorkerPlan): Promise<boolean> {
  assert(!isMainThread && parentPort !== null, 'an instance runs in a thread of its own');
  useNativeFiles(plan.nativeFiles);
  const thread = new InstanceThread(parentPort, plan);
  await thread.main();
  return plan.keepsThread && thread.hasEnded;
}

/** Runs an instance beside the event loop of this thread (own-thread.ts). */
export async function runBeside(plan: WorkerPlan, port: MessagePort): Promise<void> {
  await new InstanceThread(port, plan, true).main();
}

/** The next plan of a thread that is kept. */
export async function nextPlan(): Promise<WorkerPlan> {
  const port = must(parentPort ?? undefined, 'a thread of its own');
  // The memory of the last pipe stays as long as nobody has looked for garbage here.
  const timer = setTimeout(collectGarbage, LIMITS.idleThreadLookMs).unref();
  return new Promise((resolve) => {
    const take = (message: ToInstance): void => {
      // What was meant for the instance before comes too late.
      if (message.type !== 'plan') return;
      clearTimeout(timer);
      port.off('message', take);
      resolve(message.plan);
    };
    port.on('message', take);
    port.postMessage({ type: 'idle' } satisfies FromInstance);
  });
}

let collect: unknown;

async function collectGarbage(): Promise<void> {
  if (collect === undefined) {
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc');
  }
  if (typeof collect === 'function') collect();
}

class InstanceThread {
  readonly #port: MessagePort;
  readonly #plan: WorkerPlan;
  readonly #primitives: Primitives;
  readonly #modules: PipeModule[] = [];
  /** Control messages that came while the event loop ran. */
  readonly #early: ToInstance[] = [];
  #chain: Chain | undefined;
  /** Modules whose `close` is done: they have nothing left to release. */
  #closed = 0;
  /** All modules are open: before, control messages wait. */
  #opened = false;
  /** A module runs beside the event loop. */
  #loops = false;
  /** It has come to its end, and was neither stopped nor failed. */
  hasEnded = false;
  readonly #isBeside: boolean;

  constructor(port: MessagePort, workerPlan: WorkerPlan, isBeside = false) {
    this.#isBeside = isBeside;
    this.#port = port;
    this.#plan = workerPlan;
    this.#primitives = new Primitives(attachSegment(workerPlan.memory), workerPlan.instance, {
      control: () => this.#control(),
      start: (stage, instance) => this.#post({ type: 'start', stage, instance }),
      paused: (pause) => this.#post({ type: 'paused', pause }),
    });
  }

  async main(): Promise<void> {
    const { waiting, segment } = this.#primitives;
    try {
      await this.#work();
      waiting.state = STATE.ended;
      this.hasEnded = true;
      this.#post({ type: 'ended' });
    } catch (thrown) {
      const stopped = thrown instanceof PipeStopped;
      waiting.state = stopped ? STATE.stopped : STATE.failed;
      if (!stopped) {
        segment.requestStop(this.#plan.instance);
        this.#post({ type: 'failed', error: toErrorRecord(thrown) });
      }
      this.#abort();
      if (stopped) this.#post({ type: 'stopped' });
    }
    for (const port of Object.values(this.#plan.ports)) port.close();
  }

  async #work(): Promise<void> {
    const { waiting } = this.#primitives;
    waiting.state = STATE.opening;
    waiting.notice();
    await this.#interruptible(this.#load());
    const chain = must(this.#chain, 'the modules are loaded');
    if (this.#isBeside && !chain.loops) {
      const message = 'a module that waits would hold up the thread that starts its pipe';
      throw new PenstockError('PIPE_CONFIG', message);
    }
    for (const [i, module] of this.#modules.entries()) {
      await this.#interruptible(module.open?.(must(chain.contexts[i], 'a context per module')));
    }
    this.#opened = true;
    this.#primitives.segment.demandAttention(this.#plan.instance, ATTENTION.control);
    await new Promise((resolve) => setImmediate(resolve));
    waiting.state = STATE.running;
    if (chain.loops) await this.#loop(chain);
    else chain.run();
    waiting.state = STATE.closing;
    for (const module of this.#modules) {
      await this.#interruptible(module.close?.());
      this.#closed++;
    }
    // What was asked before the end is still answered.
    waiting.notice();
    this.#primitives.close();
  }

  /** Runs a module beside the event loop, which hands it what comes meanwhile. */
  async #loop(chain: Chain): Promise<void> {
    const { waiting } = this.#primitives;
    waiting.beginLoop();
    this.#loops = true;
    try {
      // What was asked before it ran is answered once it has begun, by the first look of the wait.
      await this.#interruptible(chain.runAsync());
    } finally {
      this.#loops = false;
    }
  }

  async #load(): Promise<void> {
    const { modules, instance, ports, workerData } = this.#plan;
    for (const { url, options } of modules) this.#modules.push(await loadModule(url, options));
    this.#chain = new Chain(
      this.#primitives,
      this.#modules,
      modules.map((module) => module.options),
      {
        instance,
        ports,
        workerData,
        post: (message, transfer = []) =>
          this.#port.postMessage({ type: 'post', message } satisfies FromInstance, [...transfer]),
        warn: (record) => this.#post({ type: 'warning', record }),
        stopPipe: (reason) => this.#post({ type: 'stop', reason }),
      },
    );
  }

  /** Waits for a promise of a module's, while messages arrive; a stop ends the wait. */
  async #interruptible(result: unknown): Promise<void> {
    if (typeof (result as PromiseLike<unknown> | undefined)?.then !== 'function') return;
    const { segment } = this.#primitives;
    const stop = Promise.withResolvers<never>();
    const listen = (message: ToInstance): void => {
      if (message.type === 'control') this.#early.push(message);
      try {
        if (segment.stopRequested) throw new PipeStopped('the pipe stops');
        if (this.#loops) this.#primitives.waiting.glance();
        if (this.#early.length > 0) this.#control();
      } catch (thrown) {
        stop.reject(thrown);
      }
    };
    this.#port.on('message', listen);
    try {
      listen({ type: 'wake' });
      await Promise.race([result, stop.promise]);
    } finally {
      this.#port.off('message', listen);
    }
  }

  #control(): void {
    if (!this.#opened) return;
    // The messages of an event loop come one by one to its listener.
    for (;;) {
      const message: ToInstance | undefined =
        this.#early.shift() ?? receiveMessageOnPort(this.#port)?.message;
      if (message === undefined) return;
      if (message.type !== 'control') continue;
      const { id } = message;
      try {
        this.#post({ type: 'acknowledgement', id, value: this.#answer(message.message) });
      } catch (thrown) {
        if (thrown instanceof PipeStopped) throw thrown;
        this.#post({ type: 'refusal', id, error: toErrorRecord(thrown) });
      }
    }
  }

  /** The first answer of the modules that take control messages. */
  #answer(message: unknown): unknown {
    let answer: unknown;
    for (const [i, module] of this.#modules.entries()) {
      const context = this.#chain?.contexts[i];
      if (module.control === undefined || context === undefined) continue;
      const value = module.control(message, context);
      answer ??= value;
    }
    return answer;
  }

  #abort(): void {
    for (const module of this.#modules.slice(this.#closed)) {
      try {
        module.abort?.();
      } catch {
        // The first cause is what counts.
      }
    }
  }

  #post(message: FromInstance): void {
    this.#port.postMessage(message);
  }
}

async function loadModule(url: string, options: unknown): Promise<PipeModule> {
  let exported: unknown;
  try {
    exported = ((await import(url)) as { default?: unknown }).default;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PenstockError('PIPE_CONFIG', `module ${url} cannot be loaded: ${reason}`, { cause });
  }
  const made: unknown =
    typeof exported === 'function'
      ? await (exported as (options: unknown) => unknown)(options)
      : exported;
  if (typeof made !== 'object' || made === null) {
    throw new PenstockError('PIPE_CONFIG', `module ${url} has no module as its default export`);
  }
  return made as PipeModule;
}
