/**
 * Threads started ahead: while a caller still waits for something else (a key being derived, an answer
 * from afar), the code of the instances that it is about to start is loaded already.
 *
 * Contract: a warm thread knows only which modules it will run; it gets its plan when an instance takes
 * it, and is then like any other. One that nobody takes does not keep the process alive; one that died
 * is not given out.
 */
import { getCompileCacheDir } from 'node:module';
import { MessageChannel, type MessagePort, SHARE_ENV, Worker } from 'node:worker_threads';
import type { WorkerPlan } from './messages.ts';
import { moduleUrl } from './module-url.ts';
import type { ModuleSpec } from './spec.ts';

/** An instance needs a small heap: its data lies in the segment. */
export const RESOURCE_LIMITS = {
  maxYoungGenerationSizeMb: 4,
  maxOldGenerationSizeMb: 256,
  stackSizeMb: 2,
} as const;

/** The file ending of the code that runs: the sources, or what they were compiled to. */
const EXTENSION = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const RUNNER = new URL(`./runner${EXTENSION}`, import.meta.url).href;
const ENTRY = new URL('./worker.js', import.meta.url);

/** What a thread is started with; the plan itself comes over `port`. */
export interface ThreadData {
  readonly runner: string;
  readonly cacheFolder: string | undefined;
  /** Loaded while the plan is waited for. */
  readonly modules: readonly string[];
  readonly port: MessagePort;
}

export interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
}

interface WarmThread extends Thread {
  readonly key: string;
  alive: boolean;
}

const warm: WarmThread[] = [];

/** Starts a thread for an instance of a stage with these modules. */
export function startThread(
  name: string,
  modules: readonly ModuleSpec[],
  limits: object = {},
): Thread {
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

/** Starts a thread that an instance of a stage with these modules will take later. */
export function warmThread(name: string, modules: readonly ModuleSpec[]): void {
  const thread: WarmThread = { ...startThread(name, modules), key: keyOf(modules), alive: true };
  thread.worker.unref();
  thread.worker.once('error', () => {
    thread.alive = false;
  });
  thread.worker.once('exit', () => {
    thread.alive = false;
  });
  warm.push(thread);
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
  thread?.worker.ref();
  return thread;
}

/** Ends the warm threads that nobody took. */
export function dropWarmThreads(): void {
  for (const { worker, port } of warm.splice(0)) {
    port.close();
    void worker.terminate();
  }
}

/** Hands a thread its plan. */
export function sendPlan(thread: Thread, plan: WorkerPlan): void {
  const ports = Object.fromEntries(
    Object.entries(plan.ports).map(([name, port]) => [name, alive(port)]),
  );
  thread.port.postMessage({ ...plan, ports } satisfies WorkerPlan, Object.values(ports));
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
