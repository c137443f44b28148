/**
 * The worker of the net thread (net-thread.ts), which may be started ahead: it loads its code while the
 * command loads its own, and then waits to be told what for.
 *
 * Contract: loads next to nothing. A worker that was started ahead serves the first that asks for one, and
 * does not keep the process alive.
 */

import { getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';
import { codeFile } from '../../base/code-file.ts';

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
  const worker = new Worker(codeFile('pipe/event-worker.js'), {
    name: 'net',
    workerData: {
      thread: codeFile('channel/remote/net-thread').href,
      cacheFolder: getCompileCacheDir(),
    },
    resourceLimits: RESOURCE_LIMITS,
  });
  worker.unref();
  return worker;
}
