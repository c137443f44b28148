/**
 * Goal: threads started ahead are used, fail like others, and keep no process alive.
 * Method: thread ids tell which thread an instance runs in; what concerns a process runs in a child.
 */
import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { dropWarmThreads, keepThreads, type ModuleSpec, startPipe } from './mod.ts';
import { keepWarm, warmThread } from './warm.ts';

const code = (source: string): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
});
const HEAD = code(`import { threadId } from 'node:worker_threads';
  export default { open(c) { c.post(threadId); }, fill() { return false; } }`);
const TAIL = code(`import { threadId } from 'node:worker_threads';
  export default { open(c) { c.post(threadId); }, process() {} }`);

/** Runs a pipe; returns the thread ids of head and tails. */
async function threadsOf(
  tails: number,
  keepsThreads = false,
  tail = TAIL,
): Promise<{ head: number; tails: number[] }> {
  const ids: { head: number; tails: number[] } = { head: 0, tails: [] };
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    stages: [
      { name: 'head', modules: [HEAD] },
      { name: 'tail', instances: tails, modules: [tail], keepsThreads },
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

test('a stage that a buffer starts has a thread begun ahead for the one that waits for its buffers', async () => {
  process.env.WARMED = 'not loaded';
  const waits = code(`process.env.WARMED = 'loaded'; export default { process() {} }`);
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    stages: [
      { name: 'head', modules: [HEAD] },
      {
        name: 'keeps',
        modules: [code('export default { run(c) { c.freeBuf(c.receiveBuf()); } }')],
        startWhen: 'first-buffer',
      },
      { name: 'waits', modules: [waits], startWhen: 'first-buffer', warmWith: 'keeps' },
    ],
  });
  await pipe.done;
  // It was never started: its code is loaded by the thread that was begun for it.
  while (process.env.WARMED !== 'loaded') await new Promise((resolve) => setTimeout(resolve, 5));
  dropWarmThreads();
});

test('a warm thread that died, or was dropped, is not given out', async () => {
  const dies = code('process.exit(3)');
  warmThread('dies', [dies]);
  warmThread('tail', [TAIL]);
  dropWarmThreads();
  const { head, tails } = await threadsOf(1);
  ok(head < (tails[0] as number));
});

test('a thread that is kept runs the next pipe, and the one after it', async () => {
  keepThreads(1);
  try {
    const first = await threadsOf(1, true);
    const [kept] = first.tails;
    equal((await threadsOf(1)).tails[0], kept, 'also where it is not to be kept again');
    const next = await threadsOf(2, true);
    ok(!next.tails.includes(kept as number));
    const again = await threadsOf(2, true);
    const same = again.tails.filter((id) => next.tails.includes(id));
    equal(same.length, 1, 'no more are kept than asked for');
    dropWarmThreads('unused');
    const last = (await threadsOf(1, true)).tails[0] as number;
    ok(again.tails.includes(last));
    dropWarmThreads();
    notEqual((await threadsOf(1, true)).tails[0], last);
  } finally {
    keepThreads(0);
    dropWarmThreads();
  }
});

test('a thread whose instance has failed is not kept', async () => {
  keepThreads(1);
  try {
    const fails = code(`let failed = false;
      export default { open(c) { c.post(1); if (!failed) { failed = true; throw new Error('once'); } }, process() {} }`);
    await rejects(threadsOf(1, true, fails), /once/);
    await rejects(threadsOf(1, true, fails), /once/);
  } finally {
    keepThreads(0);
    dropWarmThreads();
  }
});

test('what was said to an instance that is over does not reach the next one of its thread', async () => {
  keepThreads(1);
  try {
    const tail = code(`let said = [];
      export default () => { said = []; return {
        open(c) { c.post(c.options); }, control(m) { said.push(m); return said; }, process() {} }; }`);
    const head = code('export default { fill() { return false; } }');
    for (let round = 0; round < 20; round++) {
      const pipe = await startPipe({
        maxBuffers: 2,
        payloadBytes: 64,
        stages: [
          { name: 'head', modules: [head] },
          { name: 'tail', modules: [tail], keepsThreads: true },
        ],
      });
      const first = pipe.control('tail', round);
      const late = pipe.done.then(() => pipe.control('tail', 'late'));
      const [answer] = await first;
      if (answer !== undefined) deepEqual(answer, [round]);
      await late;
    }
  } finally {
    keepThreads(0);
    dropWarmThreads();
  }
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
    { encoding: 'utf8', timeout: 200_000 },
  );
  deepEqual([status, signal, stderr], [0, null, '']);
});
