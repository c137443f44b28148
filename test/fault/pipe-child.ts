/**
 * Runs one pipe and reports how it ended and what is left in the process. With `kill` it ends itself
 * afterwards, as a command does whose thread is inside a system call; with `stop` it has stopped the pipe.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { PenstockError } from '../../src/base/errors.ts';
import { startPipe } from '../../src/pipe/mod.ts';
import type { Misbehaviour } from './pipe-module.ts';

const faults = JSON.parse(process.argv[2] ?? '{}') as Partial<
  Record<'head' | 'middle' | 'tail', Misbehaviour>
>;
const module = new URL('./pipe-module.ts', import.meta.url);
// Made on first use: they are the process's, not the pipe's.
void [process.stdout, process.stderr];
const before = process.getActiveResourcesInfo();
const pipe = await startPipe({
  maxBuffers: 4,
  payloadBytes: 4096,
  sharedWords: 1,
  stages: [
    { name: 'head', modules: [{ module, options: { count: 50, ...faults.head } }] },
    { name: 'middle', instances: 2, modules: [{ module, options: { ...faults.middle } }] },
    { name: 'tail', modules: [{ module, options: { ...faults.tail } }] },
  ],
});
if (process.argv[3] === 'stop') {
  // Once the tail owns a buffer no primitive comes before the call that does not return.
  while (pipe.status().stages[2]?.instances[0]?.buffers !== 1) await sleep(2);
  void pipe.stop(new PenstockError('DAMAGED', 'block 7 is damaged'));
}
const end = await pipe.done.then(
  () => ({ code: 'ended', message: '' }),
  (error: { code: string; message: string }) => ({ code: error.code, message: error.message }),
);
await turn();
const left = process.getActiveResourcesInfo();
for (const resource of before) {
  const at = left.indexOf(resource);
  if (at >= 0) left.splice(at, 1);
}
writeSync(1, JSON.stringify({ ...end, resources: left.filter((name) => name !== 'Immediate') }));
if (process.argv[3]) process.kill(process.pid, 'SIGKILL');
