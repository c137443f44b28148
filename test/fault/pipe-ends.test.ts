/**
 * Every way in which a pipe can end (P12).
 *
 * Goal: whatever an instance does, all others stop, `done` tells the first cause, every instance that was
 * open is aborted once, and nothing is left that keeps the process alive.
 * Method: real threads with a module that misbehaves on demand; the checks that concern the process run
 * in one of their own.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PenstockError } from '../../src/base/errors.ts';
import { type Pipe, type PipeSpec, type StageSpec, startPipe } from '../../src/pipe/mod.ts';
import type { Misbehaviour } from './pipe-module.ts';

const MODULE = new URL('./pipe-module.ts', import.meta.url);
const CHILD = new URL('./pipe-child.ts', import.meta.url);

type Faults = Partial<Record<'head' | 'middle' | 'tail', Misbehaviour>>;

function specOf(
  faults: Faults,
  more: Partial<PipeSpec> = {},
  stages: Partial<StageSpec> = {},
): PipeSpec {
  const stage = (name: 'head' | 'middle' | 'tail', options: Misbehaviour): StageSpec => ({
    name,
    modules: [{ module: MODULE, options: { ...options, ...faults[name] } }],
    ...(name === 'middle' ? { instances: 2, ...stages } : {}),
  });
  return {
    maxBuffers: 4,
    payloadBytes: 4096,
    sharedWords: 1,
    stages: [stage('head', { count: 50 }), stage('middle', {}), stage('tail', {})],
    ...more,
  };
}

/** Starts a pipe and notes which instances say that they were opened and aborted. */
async function start(
  faults: Faults,
  more: Partial<PipeSpec> = {},
  stages: Partial<StageSpec> = {},
) {
  const aborted: string[] = [];
  const opened: string[] = [];
  const pipe = await startPipe(
    specOf(
      faults,
      {
        onMessage: (stage, instance, message) => {
          const said = message === 'aborted' ? aborted : opened;
          said.push(`${stage}.${instance}`);
        },
        ...more,
      },
      stages,
    ),
  );
  return { pipe, aborted, opened };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}

const stateOf = (pipe: Pipe, stage: number, instance = 0): string =>
  pipe.status().stages[stage]?.instances[instance]?.state ?? '';

const THROWN: [keyof Faults, Misbehaviour][] = [
  ['head', { at: 'open', how: 'throw' }],
  ['head', { at: 'fill', how: 'throw', after: 3 }],
  ['head', { at: 'run', how: 'throw', form: 'run' }],
  ['head', { at: 'close', how: 'throw' }],
  ['middle', { at: 'open', how: 'throw' }],
  ['middle', { at: 'process', how: 'throw', after: 3 }],
  ['tail', { at: 'process', how: 'throw', after: 3 }],
  ['tail', { at: 'close', how: 'throw' }],
];

for (const [stage, fault] of THROWN) {
  test(`a throw in ${fault.at} of a ${stage} stops the pipe and is its cause`, async () => {
    const endless = fault.at === 'close' ? {} : { head: { count: 1e9 } };
    const { pipe, aborted } = await start({
      ...endless,
      [stage]: { ...(stage === 'head' ? endless.head : {}), ...fault },
    });
    await rejects(pipe.done, (error: PenstockError) => {
      equal(error.code, 'PIPE_FAILED');
      match(error.message, new RegExp(`^${stage}\\.\\d: a defect of the module$`));
      ok(error.cause instanceof PenstockError);
      match(error.cause.stack ?? '', /pipe-module/);
      return true;
    });
    ok(
      aborted.some((name) => name.startsWith(stage)),
      'it could release what it held',
    );
    equal(new Set(aborted).size, aborted.length, 'each is aborted once');
  });
}

test('an error of Penstock is rethrown as it was', async () => {
  const { pipe } = await start({ middle: { at: 'process', how: 'penstock' } });
  await rejects(pipe.done, { code: 'DAMAGED', message: 'block 7 is damaged', subject: 'block 7' });
});

test('an error of the system is one of the host', async () => {
  const { pipe } = await start({ middle: { at: 'process', how: 'errno' } });
  await rejects(pipe.done, { code: 'HOST_IO', errno: 'ENOENT' });
});

test('a module that cannot be loaded, or is none, is a wrong configuration', async () => {
  const cases: [string | URL, RegExp][] = [
    ['/does/not/exist.ts', /cannot be loaded/],
    ['data:text/javascript,export default 7', /no module as its default export/],
    ['data:text/javascript,this is no code', /cannot be loaded/],
  ];
  for (const [module, message] of cases) {
    const spec = specOf({ head: { count: 1e9 } });
    const pipe = await startPipe({
      ...spec,
      stages: spec.stages.with(1, { name: 'middle', modules: [{ module }] }),
    });
    await rejects(pipe.done, { code: 'PIPE_CONFIG', message });
  }
  const { pipe } = await start({ tail: { at: 'load' } });
  await rejects(pipe.done, {
    code: 'PIPE_FAILED',
    message: 'tail.0: it does not like its options',
  });
});

test('process.exit in a module ends its thread, and that ends the pipe', async () => {
  const { pipe } = await start({
    head: { count: 1e9 },
    middle: { at: 'process', how: 'exit', after: 5 },
  });
  await rejects(pipe.done, { code: 'PIPE_FAILED', message: /^middle\.\d: .*ended with code 7/ });
});

test('a thread that runs out of memory ends the pipe', async () => {
  const { pipe } = await start(
    { head: { count: 1e9 }, middle: { at: 'process', how: 'memory', after: 5 } },
    {},
    { resourceLimits: { maxOldGenerationSizeMb: 16 } },
  );
  await rejects(pipe.done, { code: 'PIPE_FAILED', message: /^middle\.\d: .*memory/ });
});

test('a rejection that nobody handles, and what a timer throws, end the pipe', async () => {
  const rejection = await start({ head: { count: 1e9 }, middle: { at: 'open', how: 'rejection' } });
  await rejects(rejection.pipe.done, { code: 'PIPE_FAILED', message: /nobody handles this/ });
  const timer = await start({ head: { count: 1e9 }, tail: { at: 'open', how: 'later' } });
  await rejects(timer.pipe.done, { code: 'PIPE_FAILED', message: 'tail.0: thrown by a timer' });
});

test('options that cannot be cloned are a wrong configuration, and no thread is left', async () => {
  for (const stage of [0, 2]) {
    const spec = specOf({ head: { count: 1e9 } });
    const modules = [{ module: MODULE, options: { after: () => 7 } }];
    const stages = spec.stages.with(stage, { name: 'cloned', modules });
    const pipe = await startPipe({ ...spec, stages });
    await rejects(pipe.done, {
      code: 'PIPE_CONFIG',
      message: /^cloned\.0 cannot be started: .*could not be cloned/,
    });
    const states = pipe
      .status()
      .stages.flatMap(({ instances }) => instances.map(({ state }) => state));
    deepEqual(
      states.filter((state) => state !== 'idle' && state !== 'stopped'),
      [],
    );
  }
});

test('an abort that throws changes nothing', async () => {
  const { pipe } = await start({
    head: { count: 1e9, at: 'abort', how: 'throw' },
    tail: { at: 'process', how: 'penstock' },
  });
  await rejects(pipe.done, { code: 'DAMAGED' });
});

test('misuse of the primitives is a defect, found at once', async () => {
  const cases: [Faults, RegExp][] = [
    [{ head: { at: 'fill', how: 'receive' } }, /head.* is a head: it never receives/],
    [{ head: { at: 'fill', how: 'double-free' } }, /is a head: it sends what it allocates/],
    [{ middle: { at: 'process', how: 'double-free' } }, /an instance sends what it owns/],
    [{ tail: { at: 'process', how: 'double-free' } }, /an instance hands over what it owns/],
    [{ tail: { at: 'process', how: 'keep', after: 48 } }, /keeps no buffer/],
    [{ tail: { form: 'run' } }, /is a tail: it never sends/],
  ];
  for (const [faults, message] of cases) {
    const { pipe } = await start(faults);
    await rejects(pipe.done, { code: 'PIPE_FAILED', message }, String(message));
  }
});

test('a stage that returns early leaves the rest to be freed', async () => {
  const { pipe } = await start({ middle: { form: 'run', how: 'return-early' } });
  await pipe.done;
  equal(pipe.status().buffers.free, 4);
});

const WAITS: [string, Faults, Partial<StageSpec>, number, string][] = [
  // Which wait is the head's or the middle's is brought about by a tail that waits for a shared word.
  [
    'for its share',
    { head: { count: 1e9 }, tail: { at: 'process', how: 'wait-shared' } },
    {},
    0,
    'waitingShare',
  ],
  [
    'for input',
    { head: { count: 1e9, at: 'fill', how: 'wait-shared', after: 2 } },
    {},
    2,
    'waitingInput',
  ],
  [
    'for a shared word',
    { head: { count: 1e9 }, tail: { at: 'process', how: 'wait-shared' } },
    {},
    2,
    'waitingShared',
  ],
  [
    'for order',
    { head: { count: 1e9 }, middle: { at: 'process', how: 'wait-shared' } },
    { ordered: true, allocates: true, partsMax: 2 },
    0,
    'waitingOrder',
  ],
  [
    'for a promise in open',
    { head: { count: 1e9 }, tail: { at: 'open', how: 'never' } },
    {},
    2,
    'opening',
  ],
];

for (const [what, faults, stages, stage, state] of WAITS) {
  test(`a stop reaches an instance that waits ${what}`, async () => {
    const { pipe, aborted, opened } = await start(faults, { maxBuffers: 12 }, stages);
    await until(() => stateOf(pipe, stage) === state && opened.length === 4);
    await pipe.stop('enough');
    await rejects(pipe.done, { code: 'PIPE_STOPPED', message: 'enough' });
    // By themselves: a thread that is ended when the grace is over says nothing.
    deepEqual(aborted.sort(), ['head.0', 'middle.0', 'middle.1', 'tail.0']);
    deepEqual(
      pipe
        .status()
        .stages.flatMap(({ instances }) => instances.map(({ state: s }) => s))
        .filter((s) => s !== 'stopped'),
      [],
    );
  });
}

test('a stop reaches an instance that is paused', async () => {
  const { pipe } = await start({ head: { count: 1e9 } });
  await until(
    () => stateOf(pipe, 0) !== 'opening' && pipe.status().stages[2]?.instances[0]?.beat !== 0,
  );
  await pipe.pause();
  const states = pipe
    .status()
    .stages.flatMap(({ instances }) => instances.map(({ state }) => state));
  deepEqual(states, ['paused', 'paused', 'paused', 'paused']);
  const beats = (): number[] =>
    pipe.status().stages.flatMap(({ instances }) => instances.map(({ beat }) => beat));
  const before = beats();
  await sleep(20);
  deepEqual(beats(), before, 'nothing moves');
  pipe.resume();
  await until(() => beats().every((beat, i) => beat !== before[i]));
  await pipe.pause();
  await pipe.stop();
  await rejects(pipe.done, { code: 'PIPE_STOPPED' });
});

test('a module may ask for a stop, and a stop after the end does nothing', async () => {
  const asks =
    'data:text/javascript,let c; export default { open(x) { c = x }, process() { c.stopPipe("seen enough") } }';
  const spec = specOf({ head: { count: 1e9 } });
  const pipe = await startPipe({
    ...spec,
    stages: spec.stages.with(2, { name: 'tail', modules: [{ module: asks }] }),
  });
  await rejects(pipe.done, { code: 'PIPE_STOPPED', message: 'seen enough' });
  const { pipe: ended } = await start({});
  await ended.done;
  await ended.stop();
  await ended.pause();
  ended.resume();
  deepEqual(await ended.control('middle', 'hello'), [undefined, undefined]);
});

test('a thread that does not stop in time is ended', async () => {
  const { pipe } = await start({
    head: { count: 1e9 },
    middle: { at: 'process', how: 'spin', after: 2 },
  });
  await until(() => stateOf(pipe, 0) === 'waitingShare');
  await pipe.stop('enough');
  await rejects(pipe.done, { code: 'PIPE_STOPPED', message: 'enough' });
});

interface Report {
  readonly code: string;
  readonly message: string;
  readonly resources: string[];
  readonly listeners: number;
}

function inChild(faults: Faults, end?: 'kill' | 'stop'): Report {
  const child = spawnSync(
    process.execPath,
    [fileURLToPath(CHILD), JSON.stringify(faults), end ?? ''],
    {
      encoding: 'utf8',
      timeout: 300_000,
    },
  );
  equal(child.signal, end === undefined ? null : 'SIGKILL', child.stderr);
  if (end === undefined) equal(child.status, 0, child.stderr);
  return JSON.parse(child.stdout) as Report;
}

test('a process is free to exit after any end of a pipe', () => {
  const cases: [Faults, string][] = [
    [{}, 'ended'],
    [{ head: { count: 0, form: 'run' } }, 'ended'],
    [{ tail: { at: 'close', how: 'linger' } }, 'ended'],
    [{ middle: { at: 'process', how: 'exit' } }, 'PIPE_FAILED'],
    [{ middle: { at: 'process', how: 'penstock' } }, 'DAMAGED'],
  ];
  for (const [faults, code] of cases) {
    const report = inChild(faults);
    equal(report.code, code, report.message);
    deepEqual(report.resources, [], 'no handle is left');
  }
});

/** A FIFO that nobody writes to: who opens it stays in the system call. */
function makeFifo(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-fifo-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  return fifo;
}

test('a thread inside a system call is given up, and the error says so', (t) => {
  const fifo = makeFifo(t);
  const report = inChild(
    { head: { count: 1e9 }, tail: { at: 'process', how: 'fifo', fifo } },
    'stop',
  );
  equal(report.code, 'DAMAGED');
  match(report.message, /block 7 is damaged; the thread of tail\.0 is inside a system call/);
});

test('a thread that has done its work and does not go is no failure; nor hides it one', (t) => {
  const late = { at: 'close', how: 'late-fifo', fifo: makeFifo(t) } as const;
  const done = inChild({ tail: late }, 'kill');
  equal(done.code, 'ended', done.message);
  const failed = inChild({ head: late, tail: { at: 'close', how: 'penstock' } }, 'kill');
  equal(failed.code, 'DAMAGED', failed.message);
  match(failed.message, /block 7 is damaged$/);
});
