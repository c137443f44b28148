/**
 * The worker of the net thread (net-thread.ts), which may be started ahead: it loads its code while the
 * command loads its own, and then waits to be told what for.
 *
 * Contract: loads next to nothing. A worker that was started ahead serves the first that asks for one, and
 * does not keep the process alive.
 */
import { getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';

/** The file ending of the code that runs: the sources, or what they were compiled to. */
const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 } as const;

let ahead: Worker | undefined;

/** Starts one ahead. */
export function warmNetThread(): void {
  ahead ??= start();
}

/** The one that was started ahead, or a new one. */
export function takeNetThread(): Worker {
  const worker = ahead ?? start();
  ahead = undefined;
  return worker;
}

function start(): Worker {
  const worker = new Worker(new URL('../../pipe/event-worker.js', import.meta.url), {
    name: 'net',
    workerData: {
      thread: new URL(`./net-thread${EXTENSION}`, import.meta.url).href,
      cacheFolder: getCompileCacheDir(),
    },
    resourceLimits: RESOURCE_LIMITS,
  });
  worker.unref();
  return worker;
}
