/**
 * How long it takes to start: the command, and a thread of a pipe.
 */
import { enableCompileCache } from 'node:module';
import { runCommand } from './commands.ts';
import { median } from './figures.ts';
import { penstockCommand } from './peers.ts';
import { openLibrary } from './product.ts';

const TIMES = 9;

/** Milliseconds of `penstock --version`, the median of several. */
export async function measureVersion(): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < TIMES; i++) {
    samples.push((await runCommand(penstockCommand('--version'))).elapsedMs);
  }
  return median(samples);
}

const TAIL = 'data:text/javascript,export default { process() {} }';
/** A module that says when it runs. */
const HEAD = `data:text/javascript,export default {
  run(context) { context.post('running'); }
}`;

/** Milliseconds from starting a pipe until its head runs, with the compile cache warm. */
export async function measureWorker(): Promise<number> {
  enableCompileCache();
  const samples: number[] = [];
  for (let i = 0; i < TIMES; i++) samples.push(await startOnce());
  return median(samples);
}

async function startOnce(): Promise<number> {
  const { startPipe } = await openLibrary();
  const startedMs = performance.now();
  let runningMs = Number.NaN;
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 4096,
    stages: [
      { name: 'head', modules: [{ module: HEAD }] },
      { name: 'tail', modules: [{ module: TAIL }], startWhen: 'first-buffer' },
    ],
    onMessage: () => {
      runningMs = performance.now() - startedMs;
    },
  });
  await pipe.done;
  return runningMs;
}
