/**
 * Threads started ahead, and threads kept for later: while a caller still waits for something else (a key being derived, an answer
 * from afar), the code of the instances that it is about to start is loaded already.
 *
 * Contract: a warm thread knows only which modules it will run; it gets its plan when an instance takes
 * it, and is then like any other. One that nobody takes does not keep the process alive; one that died
 * is not given out. A process that lives long may keep threads that have come to their end: their code is
 * loaded and compiled. They are few, and go after a while.
 */

import { getCompileCacheDir } from 'node:module';
import { MessageChannel, type MessagePort, SHARE_ENV, Worker } from 'node:worker_threads';
import { codeFile } from '../base/code-file.ts';
import { LIMITS } from '../base/limits.ts';
import type { ToInstance, WorkerPlan } from './messages.ts';
import { moduleUrl } from './module-url.ts';
import type { OwnThread } from './own-thread.ts';
import type { ModuleSpec } from './spec.ts';

/** An instance needs a small heap: its data lies in the segment. */
export const RESOURCE_LIMITS = {
  maxYoungGenerationSizeMb: 3,
  maxOldGenerationSizeMb: 256,
  stackSizeMb: 2,
} as const;

const RUNNER = codeFile('pipe/runner').href;
const ENTRY = codeFile('pipe/worker.js');

/** What a thread is started with; the plan itself comes over `port`. */
export interface ThreadData {
  readonly runner: string;
  readonly cacheFolder: string | undefined;
  /** Loaded while the plan is waited for. */
  readonly modules: readonly string[];
  readonly port: MessagePort;
}

export interface Thread {
  readonly worker: Worker | OwnThread;
  /** Undefined: it takes its plan as a message, as after it has run an instance. */
  readonly port: MessagePort | undefined;
}
interface StartedThread extends Thread {
  readonly worker: Worker;
}

interface WarmThread extends StartedThread {
  readonly key: string;
  alive: boolean;
  died(): void;
}

let warm: WarmThread[] = [];
let keepsMax = 0;

/** Starts a thread for an instance of a stage with these modules. */
export function startThread(
  name: string,
  modules: readonly ModuleSpec[],
  limits: object = {},
): StartedThread {
  const { port1, port2 } = new MessageChannel();
  const data: ThreadData = {
    runner: RUNNER,
    cacheFolder: getCompileCacheDir(),
    modules: modules.map(({ module }) => moduleUrl(module)),
    port: port2,
  };
  const worker = new Worker(ENTRY, {
    name,
    workerData: data,
    transferList: [port2],
    env: SHARE_ENV,
    resourceLimits: { ...RESOURCE_LIMITS, ...limits },
  });
  port1.unref();
  return { worker, port: port1 };
}

/** Lets this process keep so many threads that have come to their end; 0, as at first: none. */
export function keepThreads(most: number): void {
  keepsMax = most;
}
/** Whether an instance may ask its thread to wait for another plan. */
export function keepsThreads(): boolean {
  return keepsMax > 0;
}
/** Keeps a thread that waits for another plan; false if there are enough. */
export function keepThread(worker: Worker, modules: readonly ModuleSpec[]): boolean {
  if (warm.filter(({ port }) => port === undefined).length >= keepsMax) return false;
  const thread = addWarm({ worker, port: undefined }, modules);
  setTimeout(() => drop([thread]), LIMITS.idleThreadMs).unref();
  return true;
}

/** Starts a thread that an instance of a stage with these modules will take later. */
export function warmThread(name: string, modules: readonly ModuleSpec[]): void {
  addWarm(startThread(name, modules), modules);
}

function addWarm(started: StartedThread, modules: readonly ModuleSpec[]): WarmThread {
  const died = (): void => {
    thread.alive = false;
    warm = warm.filter((one) => one !== thread);
  };
  const thread: WarmThread = { ...started, key: keyOf(modules), alive: true, died };
  thread.worker.unref();
  thread.worker.once('error', died);
  thread.worker.once('exit', died);
  // Those that have run already come first: their code is compiled.
  if (thread.port === undefined) warm.unshift(thread);
  else warm.push(thread);
  return thread;
}

/** Starts as many as are missing of `count` such threads. */
export function keepWarm(name: string, modules: readonly ModuleSpec[], count: number): void {
  const key = keyOf(modules);
  const there = warm.filter((thread) => thread.alive && thread.key === key).length;
  for (let i = there; i < count; i++) warmThread(name, modules);
}

/** A warm thread for these modules, if there is one that lives. */
export function takeWarmThread(modules: readonly ModuleSpec[]): Thread | undefined {
  const key = keyOf(modules);
  const found = warm.findIndex((thread) => thread.alive && thread.key === key);
  const [thread] = found < 0 ? [] : warm.splice(found, 1);
  if (thread === undefined) return undefined;
  const { worker, died } = thread;
  // Whoever takes it hears of its end; it may come back here.
  worker.off('error', died);
  worker.off('exit', died);
  worker.ref();
  return thread;
}

/** Ends the warm threads that nobody took, of those that have never run, or of all. */
export function dropWarmThreads(which: 'unused' | 'all' = 'all'): void {
  drop(warm.filter(({ port }) => which === 'all' || port !== undefined));
}

function drop(threads: readonly WarmThread[]): void {
  for (const thread of threads) {
    // One that was taken meanwhile belongs to its instance.
    if (!warm.includes(thread)) continue;
    warm = warm.filter((one) => one !== thread);
    thread.port?.close();
    void thread.worker.terminate();
  }
}

/** Hands a thread its plan. */
export function sendPlan(thread: Thread, plan: WorkerPlan): void {
  const ports = Object.fromEntries(
    Object.entries(plan.ports).map(([name, port]) => [name, alive(port)]),
  );
  const handed: WorkerPlan = { ...plan, ports };
  if (thread.port !== undefined) thread.port.postMessage(handed, Object.values(ports));
  else {
    const message: ToInstance = { type: 'plan', plan: handed };
    thread.worker.postMessage(message, Object.values(ports));
  }
}

/**
 * The port, or where the instance at its other end is over already (one that is started by the last
 * buffer of a stage comes too late) a port to nobody: a closed one cannot be handed on.
 */
function alive(port: MessagePort): MessagePort {
  try {
    return structuredClone(port, { transfer: [port] });
  } catch {
    return new MessageChannel().port1;
  }
}

function keyOf(modules: readonly ModuleSpec[]): string {
  return modules.map(({ module }) => moduleUrl(module)).join('\n');
}
