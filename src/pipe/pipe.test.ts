/**
 * Goal: what the initiator and the modules of a pipe are promised (P1, P7, P8, P14, P15).
 * Method: small pipes in real threads, their modules written in place as data: URLs. How pipes end
 * otherwise than well is in test/fault/pipe-ends.test.ts, schedules in test/property/pipe-*.test.ts.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ModuleSpec, type PipeSpec, type StageSpec, startPipe } from './mod.ts';

const code = (source: string, options?: unknown): ModuleSpec => ({
  module: `data:text/javascript,${encodeURIComponent(source)}`,
  options,
});

/** Makes `count` buffers whose word 0 counts from 0. */
const HEAD = `export default ({ count, to }) => ({ run(c) {
  for (let i = 0; i < count; i++) { const b = c.allocBuf(); b.setWord(0, i); c.sendBuf(b, to?.[i % to.length]); } } })`;
const PASS = 'export default { process(buffer) { return buffer; } }';
/** Posts the words 0 of what it got when it closes. */
const LIST = `export default () => { let c; const got = []; return {
  open(x) { c = x; }, process(b) { got.push(b.word(0)); }, close() { c.post(got); } } }`;

const head = (count: number, more: Partial<StageSpec> = {}): StageSpec => ({
  name: 'head',
  modules: [code(HEAD, { count })],
  ...more,
});
const tail = (more: Partial<StageSpec> = {}): StageSpec => ({
  name: 'tail',
  modules: [code(LIST)],
  ...more,
});

/** Runs a pipe to its end; returns what its instances posted, by stage and instance. */
async function run(stages: StageSpec[], more: Partial<PipeSpec> = {}) {
  const posted: Record<string, unknown[]> = {};
  const pipe = await startPipe({
    maxBuffers: 8,
    payloadBytes: 64,
    stages,
    onMessage: (stage, instance, message) => {
      posted[`${stage}.${instance}`] ??= [];
      posted[`${stage}.${instance}`]?.push(message);
    },
    ...more,
  });
  const summary = await pipe.done;
  equal(pipe.status().buffers.free, pipe.status().buffers.total);
  return { pipe, posted, summary };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('what the tail has made safe reaches the head, and a pipe that is started again goes on there', async () => {
  const source = `export default ({ from, count }) => { let c; const told = []; return {
    open(x) { c = x; }, control(m) { told.push(m); },
    run() { for (let i = from; i < count; i++) {
      while (i === count - 1 && told.length === 0) c.notice();
      const b = c.allocBuf(); b.setWord(0, i); c.sendBuf(b); } },
    close() { c.post({ told }); } } }`;
  const sink = `export default ({ failsAt }) => { let c; const got = []; return {
    open(x) { c = x; },
    process(b) {
      got.push(b.word(0));
      if (b.word(0) === failsAt) throw new Error('full');
      if (b.word(0) % 10 === 9) c.post({ safe: b.word(0) + 1 });
    },
    close() { c.post(got); } } }`;
  const safe: unknown[] = [];
  const spec = (from: number, failsAt: number): PipeSpec => ({
    ...{ maxBuffers: 4, payloadBytes: 64, onSafe: (value) => safe.push(value) },
    stages: [
      { name: 'head', modules: [code(source, { from, count: 60 })] },
      { name: 'tail', modules: [code(sink, { failsAt })], ordered: true },
    ],
  });
  await rejects((await startPipe(spec(0, 33))).done, { code: 'PIPE_FAILED' });
  deepEqual(safe, [10, 20, 30]);
  const { stages, ...more } = spec(safe.at(-1) as number, -1);
  const { posted } = await run([...stages], more);
  deepEqual(posted['tail.0']?.at(-1), numbers(60).slice(30));
  deepEqual(safe, [10, 20, 30, 40, 50, 60]);
  const [{ told }] = posted['head.0'] as [{ told: { type: string; value: number }[] }];
  ok(told.length > 0, 'told while it ran');
  deepEqual(
    told,
    [40, 50, 60].slice(0, told.length).map((value) => ({ type: 'safe', value })),
  );
});

test('each pipe has a name of its own, of machine, process, time and count', async () => {
  const first = await run([head(1), tail()]);
  const second = await run([head(1), tail()]);
  match(first.pipe.name, /^.+-\d+-\d{13}-\d+$/);
  ok(first.pipe.name !== second.pipe.name);
  equal(first.pipe.segment.config.name, first.pipe.name);
  equal((await run([head(1), tail()], { name: 'given' })).summary.name, 'given');
});

test('a user names a module file of their own, by path or URL', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-module-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'double module.mjs');
  writeFileSync(
    file,
    `export default async ({ by }) => ({ process(b) { b.setWord(0, b.word(0) * by); } });`,
  );
  for (const module of [
    file,
    relative(process.cwd(), file),
    new URL(`file://${encodeURI(file)}`),
  ]) {
    const { posted } = await run([
      head(4),
      { name: 'own', modules: [{ module, options: { by: 3 } }] },
      tail(),
    ]);
    deepEqual(posted['tail.0'], [[0, 3, 6, 9]]);
  }
});

test('an input without buffers ends well', async () => {
  const { posted } = await run([
    head(0),
    { name: 'middle', instances: 2, modules: [code(PASS)] },
    tail(),
  ]);
  deepEqual(posted['tail.0'], [[]]);
});

test('a head that fills sends its last buffer too, empty or not', async () => {
  const fill = `export default () => { let i = 0; return { fill(b) { b.setWord(0, i); b.length = i < 3 ? 1 : 0; return i++ < 3; } } }`;
  const { posted } = await run([{ name: 'head', modules: [code(fill)] }, tail()]);
  deepEqual(posted['tail.0'], [[0, 1, 2, 3]]);
});

test('fused modules run one after the other; what one sends the next gets', async () => {
  const note = `export default ({ name, split }) => { let c, log = []; return {
    open(x) { c = x; log.push('open'); },
    process(b) {
      log.push(b.word(0));
      if (!split) return;
      const copy = c.allocBuf(); copy.setWord(0, b.word(0) + 100); c.sendBuf(copy);
      if (b.word(0) === 1) { c.freeBuf(b); return null; }
      return b;
    },
    close() {
      if (split) { const b = c.allocBuf(); b.setWord(0, 1000); c.sendBuf(b); }
      log.push('close'); c.post([name, ...log]);
    } } }`;
  const { posted } = await run([
    head(2),
    {
      name: 'fused',
      allocates: true,
      modules: [code(note, { name: 'a', split: true }), code(note, { name: 'b' })],
    },
    { name: 'tail', modules: [code(note, { name: 'c' }), code(LIST)] },
  ]);
  deepEqual(posted['fused.0'], [
    ['a', 'open', 0, 1, 'close'],
    ['b', 'open', 100, 0, 101, 1000, 'close'],
  ]);
  deepEqual(posted['tail.0'], [
    ['c', 'open', 100, 0, 101, 1000, 'close'],
    [100, 0, 101, 1000],
  ]);
});

test('a pipe of one stage runs all of its modules in one thread', async () => {
  const { posted, summary } = await run([
    {
      name: 'all',
      modules: [
        code(HEAD, { count: 100 }),
        code(`export default () => { let c; return { open(x) { c = x; }, process(b) {
          if (b.word(0) % 2) { c.freeBuf(b); return null; } c.progress(1, 1); return b; } } }`),
        code(LIST),
      ],
    },
  ]);
  const even = numbers(50).map((i) => 2 * i);
  deepEqual(posted, { 'all.0': [even] });
  equal(summary.counters.all?.[1], 50);
  const asks = code('export default { run(c) { c.receiveBuf(); } }');
  await rejects(run([{ name: 'all', modules: [asks, code(LIST)] }]), {
    code: 'PIPE_FAILED',
    message: /never receives/,
  });
  await rejects(run([{ name: 'all', modules: [code(HEAD, { count: 1 })] }]), {
    code: 'PIPE_CONFIG',
    message: /several modules/,
  });
});

test('several heads and several tails, each buffer to the tail that it is for', async () => {
  const { posted, summary } = await run([
    { name: 'files', modules: [code(HEAD, { count: 5 })], to: 'share' },
    { name: 'rows', instances: 2, modules: [code(HEAD, { count: 3 })], to: 'share' },
    {
      name: 'share',
      modules: [
        code(`export default { run(c) { for (let b; (b = c.receiveBuf()) !== null; ) {
        c.progress(3, 2); c.sendBuf(b, b.word(0) % 2 ? 'odd' : undefined); } } }`),
      ],
      to: ['even', 'odd'],
    },
    { name: 'even', modules: [code(LIST)], to: [] },
    { name: 'odd', modules: [code(LIST)], to: [] },
  ]);
  const sorted = (name: string): number[] => ((posted[name] ?? [])[0] as number[]).sort();
  deepEqual(sorted('even.0'), [0, 0, 0, 2, 2, 2, 4]);
  deepEqual(sorted('odd.0'), [1, 1, 1, 3]);
  equal(summary.counters.share?.[3], 22);
  equal(summary.counters.even?.[3], 0);
});

test('what nobody needs is not started', async () => {
  const lazy: Partial<StageSpec> = { startWhen: 'first-buffer', instances: 3 };
  const middle: StageSpec = { name: 'middle', modules: [code(PASS)], ...lazy };
  const none = await run([head(0), middle, tail({ startWhen: 'first-buffer' })]);
  deepEqual(none.posted, {});
  const states = none.pipe
    .status()
    .stages.flatMap(({ instances }) => instances.map(({ state }) => state));
  deepEqual(states, ['ended', 'idle', 'idle', 'idle', 'idle']);
  const one = await run([head(1), middle, tail({ startWhen: 'first-buffer' })]);
  deepEqual(one.posted['tail.0'], [[0]]);
  const started = one.pipe.status().stages[1]?.instances.map(({ state }) => state);
  deepEqual(started, ['ended', 'idle', 'idle']);
});

const ANSWER = `export default () => { let seen = 0, c; return { open(x) { c = x; }, process() { seen++; },
  control(m, x) { if (m === 'fail') throw new Error('it cannot'); return [m, x.instance, x === c]; } } }`;

test('a control message is answered by every instance, also by those that wait', async () => {
  const gate = `export default { run(c) { c.whileShared(0, 0); } , control(m, c) {
    if (m === 'go') { Atomics.store(c.sharedWords, 0, 1); c.notifyShared(); } return 'gone'; } }`;
  const pipe = await startPipe({
    maxBuffers: 2,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [
      { name: 'head', modules: [code(gate)] },
      { name: 'middle', instances: 2, modules: [code(ANSWER)] },
      tail(),
    ],
  });
  deepEqual(await pipe.control('middle', { any: 'thing' }), [
    [{ any: 'thing' }, 0, true],
    [{ any: 'thing' }, 1, true],
  ]);
  await rejects(pipe.control('middle', 'fail'), { message: 'it cannot' });
  deepEqual(await pipe.control('tail', 'unheard'), [undefined]);
  await rejects(pipe.control('nowhere', 'hello'), { code: 'PIPE_CONFIG' });
  deepEqual(await pipe.control('head', 'go'), ['gone']);
  await pipe.done;
});

test('an instance that is started later gets the control messages of before', async () => {
  const pipe = await startPipe({
    maxBuffers: 4,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [
      {
        name: 'head',
        modules: [
          code(`export default { run(c) { c.whileShared(0, 0); c.sendBuf(c.allocBuf()); },
          control(m, c) { Atomics.store(c.sharedWords, 0, 1); c.notifyShared(); } }`),
        ],
      },
      { name: 'tail', modules: [code(ANSWER)], startWhen: 'first-buffer' },
    ],
  });
  const answer = pipe.control('tail', 'early');
  await pipe.control('head', 'go');
  deepEqual(await answer, [['early', 0, true]]);
  await pipe.done;
});

test('a control message to those that are started waits for no other', async () => {
  const gate = `export default { run(c) { c.sendBuf(c.allocBuf()); c.whileShared(0, 0); },
    control(m, c) { Atomics.store(c.sharedWords, 0, 1); c.notifyShared(); } }`;
  const pipe = await startPipe({
    maxBuffers: 4,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [
      { name: 'head', modules: [code(gate)] },
      { name: 'tail', modules: [code(ANSWER)], startWhen: 'first-buffer', instances: 3 },
    ],
  });
  let answers: unknown[] = [];
  while (answers.length === 0) {
    answers = await pipe.control('tail', 'hello', 'started');
    await sleep(1);
  }
  deepEqual(answers, [['hello', 0, true]]);
  await pipe.control('head', 'go');
  await pipe.done;
});

test('linked stages talk over ports of their own', async () => {
  const ask = `import { receiveMessageOnPort } from 'node:worker_threads';
    export default { run(c) {
      const names = Object.keys(c.ports).sort();
      for (const name of names) c.ports[name].postMessage('to ' + name);
      for (let i = 0; i < 2; i++) c.sendBuf(c.allocBuf());
      c.whileShared(0, 0); c.whileShared(0, 1);
      c.post(names.map((name) => receiveMessageOnPort(c.ports[name]).message)); } }`;
  const answer = `import { receiveMessageOnPort } from 'node:worker_threads';
    export default { open(c) { let m; while (!(m = receiveMessageOnPort(c.ports.head))) c.notice();
      c.ports.head.postMessage('from ' + c.instance + ': ' + m.message);
      Atomics.add(c.sharedWords, 0, 1); c.notifyShared(); }, process() {} }`;
  const { posted } = await run(
    [
      { name: 'head', modules: [code(ask)] },
      { name: 'tail', instances: 2, modules: [code(answer)] },
    ],
    { sharedWords: 1, links: [['head', 'tail']] },
  );
  deepEqual(posted['head.0'], [['from 0: to tail.0', 'from 1: to tail.1']]);
  await rejects(
    startPipe({
      maxBuffers: 2,
      payloadBytes: 64,
      stages: [head(1), tail()],
      links: [['head', 'x']],
    }),
    {
      code: 'PIPE_CONFIG',
    },
  );
});

test('an instance knows its place, its window, its options and its share', async () => {
  const tell = `export default (made) => ({ open(c) { c.window.fill(c.instance + 1);
    c.post([c.pipe, c.stage, c.instance, c.instances, c.options, made, c.workerData, c.window.length, c.share]);
    c.warn({ of: c.instance }); },
    process(b) { return b; }, close() { } })`;
  const warnings: unknown[] = [];
  const { posted, pipe } = await run(
    [
      head(3),
      {
        name: 'middle',
        instances: 2,
        allocates: true,
        modules: [code(tell, { deep: [1] })],
        windowBytes: 100,
        workerData: new Map([['k', 1]]),
      },
      tail(),
    ],
    { onWarning: (...warning) => warnings.push(warning) },
  );
  for (const i of [0, 1]) {
    deepEqual(posted[`middle.${i}`], [
      [pipe.name, 'middle', i, 2, { deep: [1] }, { deep: [1] }, new Map([['k', 1]]), 100, 2],
    ]);
    deepEqual([...new Set(pipe.segment.windowOf(1 + i))], [i + 1], 'a window of its own');
  }
  deepEqual(warnings.sort(), [
    ['middle', 0, { of: 0 }],
    ['middle', 1, { of: 1 }],
  ]);
});

test('the status says who waits for whom', async () => {
  const hold = `export default { process(b) { this.c.whileShared(0, 0); return b; }, open(c) { this.c = c; },
    control(m, c) { Atomics.store(c.sharedWords, 0, 1); c.notifyShared(); } }`;
  const pipe = await startPipe({
    maxBuffers: 4,
    payloadBytes: 64,
    sharedWords: 1,
    stages: [head(6), { name: 'middle', instances: 2, modules: [code(hold)] }, tail()],
  });
  const states = (): string[] =>
    pipe.status().stages.flatMap(({ instances }) => instances.map(({ state }) => state));
  while (states().join() !== 'waitingShare,waitingShared,waitingShared,waitingInput')
    await sleep(2);
  const { stages, buffers, stopping } = pipe.status();
  deepEqual(buffers, { total: 4, free: 0, bytesEach: 8192 });
  equal(stopping, false);
  deepEqual(
    stages.map(({ name, role, queued }) => [name, role, queued]),
    [
      ['head', 'head', 0],
      ['middle', 'middle', 2],
      ['tail', 'tail', 0],
    ],
  );
  const [first, , third] = stages;
  deepEqual(first?.instances[0]?.waitsFor.toSorted(), ['middle.0', 'middle.1', 'queue of middle']);
  deepEqual(third?.instances[0]?.waitsFor, ['middle.0', 'middle.1']);
  deepEqual(
    stages[1]?.instances.map(({ name, buffers: held }) => [name, held]),
    [
      ['middle.0', 1],
      ['middle.1', 1],
    ],
  );
  await pipe.control('middle', 'go');
  await pipe.done;
});

test('what cannot work is refused before any thread starts', async () => {
  const cases: [Partial<PipeSpec>, RegExp][] = [
    [{ stages: [head(1), tail({ allocates: true })] }, /is a tail/],
    [{ stages: [head(1, { instances: 9 }), tail()] }, /9 instances allocate/],
    [{ stages: [head(1), tail({ name: 'a/b' })] }, /not a stage name/],
    [{ name: 'no/name' }, /not a pipe name/],
    [{ stages: [head(1), tail({ windowBytes: -1 })] }, /windowBytes of stage tail/],
    [{ stages: [head(1), tail({ modules: [] })] }, /names no module/],
    [{ stages: [head(1, { to: 'nowhere' }), tail()] }, /no stage nowhere/],
  ];
  for (const [wrong, message] of cases) {
    const stages = [head(1), tail()];
    await rejects(startPipe({ maxBuffers: 8, payloadBytes: 64, stages, ...wrong }), {
      code: 'PIPE_CONFIG',
      message,
    });
  }
});

test('order is kept through stages of several threads', async () => {
  const uneven = `export default { process(b) { for (let i = (b.word(0) * 7919) % 5000; i > 0; i--) performance.now(); return b; } }`;
  const { posted } = await run([
    head(200),
    { name: 'one', instances: 3, modules: [code(uneven)] },
    { name: 'two', instances: 2, modules: [code(uneven)] },
    tail({ ordered: true }),
  ]);
  deepEqual(posted['tail.0'], [numbers(200)]);
});
