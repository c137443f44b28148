/**
 * Goal: threads started ahead are used, fail like others, and keep no process alive.
 * Method: thread ids tell which thread an instance runs in; what concerns a process runs in a child.
 */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { dropWarmThreads, type ModuleSpec, startPipe } from './mod.ts';
import { keepWarm, warmThread } from './warm.ts';

const code = (source: string): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
});
const HEAD = code(`import { threadId } from 'node:worker_threads';
  export default { open(c) { c.post(threadId); }, fill() { return false; } }`);
const TAIL = code(`import { threadId } from 'node:worker_threads';
  export default { open(c) { c.post(threadId); }, process() {} }`);

/** Runs a pipe; returns the thread ids of head and tails. */
async function threadsOf(tails: number): Promise<{ head: number; tails: number[] }> {
  const ids: { head: number; tails: number[] } = { head: 0, tails: [] };
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    stages: [
      { name: 'head', modules: [HEAD] },
      { name: 'tail', instances: tails, modules: [TAIL] },
    ],
    onMessage: (stage, _instance, id) => {
      if (stage === 'head') ids.head = id as number;
      else ids.tails.push(id as number);
    },
  });
  await pipe.done;
  return ids;
}

test('an instance takes a thread that was started for its modules', async () => {
  const cold = await threadsOf(1);
  ok(cold.head < (cold.tails[0] as number));
  warmThread('tail', [TAIL]);
  const warm = await threadsOf(2);
  equal(warm.tails.filter((id) => id < warm.head).length, 1, 'one was there before');
  const again = await threadsOf(1);
  ok(again.head < (again.tails[0] as number), 'it was taken once');
});

test('a warm thread that died, or was dropped, is not given out', async () => {
  const dies = code('process.exit(3)');
  warmThread('dies', [dies]);
  warmThread('tail', [TAIL]);
  dropWarmThreads();
  const { head, tails } = await threadsOf(1);
  ok(head < (tails[0] as number));
});

test('no more threads are kept than asked for, however often', async () => {
  for (let i = 0; i < 3; i++) keepWarm('tail', [TAIL], 2);
  const { head, tails } = await threadsOf(4);
  equal(tails.filter((id) => id < head).length, 2);
});

test('modules that cannot be loaded ahead are reported when they are to run', async () => {
  const bad = code('this is no code');
  warmThread('tail', [bad]);
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    stages: [
      { name: 'head', modules: [HEAD] },
      { name: 'tail', modules: [bad] },
    ],
  });
  await rejects(pipe.done, { code: 'PIPE_CONFIG', message: /cannot be loaded/ });
});

test('a thread that nobody takes does not keep the process', () => {
  const door = new URL('./warm.ts', import.meta.url).href;
  const program = `import { warmThread } from ${JSON.stringify(door)};
    warmThread('idle', [${JSON.stringify(TAIL)}]);`;
  const { status, signal, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { encoding: 'utf8', timeout: 20_000 },
  );
  deepEqual([status, signal, stderr], [0, null, '']);
});
