/**
 * Runs the pipe's own code with every interleaving under control.
 *
 * Method: the sources of src/pipe that touch shared memory are taken as they are, their types stripped,
 * and each atomic operation becomes a `yield` (methods that contain one become generators). A thread is
 * then a generator; a scheduler decides after every atomic operation which thread goes on, and answers
 * `Atomics.wait` and `notify` itself. So a schedule is a list of numbers: it can be random, exhaustive, or
 * replayed, and "no thread can run, and not all have finished" is a deadlock, found without waiting.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { assert } from '../../src/base/assert.ts';

const SOURCES = new URL('../../src/pipe/', import.meta.url);
const FILES = ['semaphore', 'queue', 'sequencer', 'waiting', 'route', 'segment', 'primitives'];
/** Methods that reach an atomic operation. */
const METHODS = (
  'push pop tryAcquire release wakeAll #wake enter leave ticket sleep next deliver skip #put #drain ' +
  'allocBufLater receiveBufLater acquireLater sleepLater #haltLater #received beginLoop glance ' +
  'tellAll changedLater carry passed passedLater asks received notice acquire #acquireSlowly whileShared notifyShared #attend #halt allocBuf ' +
  'tryAllocBuf #take receiveBuf sendBuf freeBuf close sequenceNext #number #stamp #skip #startMore ' +
  '#own #disown requestStop demandAttention withdrawAttention wakeEveryone closeInstances'
).split(' ');
const CALL = new RegExp(
  `(?:\\bAtomics\\.(\\w+)|\\.(${METHODS.join('|')})|\\b(closeInstances))\\(`,
  'g',
);
const DEFINITION = new RegExp(`^ {2}(${METHODS.join('|')})\\(`, 'gm');

/** The classes of src/pipe whose methods are generators. Loosely typed: they are not the real ones. */
// biome-ignore lint/suspicious/noExplicitAny: rewritten code has no types
export type Simulated = any;

/** One atomic operation, as a thread asks for it. */
interface Step {
  readonly op: string;
  // biome-ignore lint/suspicious/noExplicitAny: arguments of any operation of Atomics
  readonly args: any[];
}
// biome-ignore lint/suspicious/noExplicitAny: a thread returns anything, and gets any answer
export type Thread = Generator<Step, any, any>;

let loaded: Promise<Simulated> | undefined;

/** The rewritten modules, their exports in one object. */
export function loadSimulated(): Promise<Simulated> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Simulated> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-simulation-'));
  try {
    for (const file of FILES) {
      const source = readFileSync(new URL(`${file}.ts`, SOURCES), 'utf8');
      writeFileSync(join(folder, `${file}.mjs`), rewrite(source));
    }
    const modules: object[] = await Promise.all(
      FILES.map((file) => import(pathToFileURL(join(folder, `${file}.mjs`)).href)),
    );
    return Object.assign({}, ...modules);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function rewrite(source: string): string {
  const code: string = stripTypeScriptTypes(source)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/from '(\.\.?\/[^']+)'/g, (_, path: string) => {
      const name = path.replace(/^\.\/|\.ts$/g, '');
      return FILES.includes(name)
        ? `from './${name}.mjs'`
        : `from '${new URL(path, SOURCES).href}'`;
    })
    // A wait that is awaited is a wait: the scheduler runs others meanwhile in any case.
    .replace(/\b(?:async|await) /g, '')
    .replace(DEFINITION, '  *$1(')
    .replace(/^export function (closeInstances)\(/gm, 'export function* $1(')
    // Getters are one load, and what sets a segment up runs alone: neither is interrupted.
    .replace(/^ {2}get \w+\([\s\S]*?^ {2}\}/gm, (getter) =>
      getter.replaceAll('Atomics.', 'Atomics?.'),
    )
    .replace(/^function \w+\([\s\S]*?^\}/gm, (alone) => alone.replaceAll('.push(', '["push"]('));
  return rewriteCalls(code);
}

function rewriteCalls(code: string): string {
  let out = '';
  let done = 0;
  CALL.lastIndex = 0;
  const calls = [...code.matchAll(CALL)];
  for (const call of calls) {
    const at = call.index;
    if (at < done || /\*\s*$/.test(code.slice(0, at))) continue;
    const open = at + call[0].length - 1;
    const close = closingParen(code, open);
    const inside = rewriteCalls(code.slice(open + 1, close));
    if (call[1] !== undefined) {
      out += `${code.slice(done, at)}(yield { op: '${call[1]}', args: [${inside}] })`;
    } else {
      const start = call[3] === undefined ? receiverStart(code, at) : at;
      out += `${code.slice(done, start)}(yield* ${code.slice(start, open)}(${inside}))`;
    }
    done = close + 1;
  }
  return out + code.slice(done);
}

function closingParen(code: string, open: number): number {
  let depth = 0;
  for (let i = open; i < code.length; i++) {
    const character = code[i];
    if (character === "'" || character === '`') i = code.indexOf(character, i + 1);
    else if (character === '(') depth++;
    else if (character === ')' && --depth === 0) return i;
  }
  throw new Error('a parenthesis is not closed');
}

/** Where the expression begins whose method is called at `dot`. */
function receiverStart(code: string, dot: number): number {
  let at = dot;
  for (;;) {
    if (code[at - 1] === ')' || code[at - 1] === ']') {
      let depth = 0;
      do {
        at--;
        if (/[)\]]/.test(code[at] ?? '')) depth++;
        if (/[([]/.test(code[at] ?? '')) depth--;
      } while (depth > 0);
    }
    while (/[\w#$]/.test(code[at - 1] ?? '')) at--;
    if (code[at - 1] !== '.') break;
    at--;
  }
  return code.slice(at - 4, at) === 'new ' ? at - 4 : at;
}

/** Chooses one of the threads that can run. */
export type Scheduler = (runnable: readonly number[], steps: number) => number;

export interface Run {
  readonly steps: number;
  /** Threads that wait for ever. */
  readonly stuck: readonly number[];
  /** What each thread returned. */
  readonly results: readonly unknown[];
}

interface Sleeper {
  readonly words: Int32Array;
  readonly at: number;
}

/** Runs threads to their end, or until none can run. A thread that throws ends the run. */
export function runThreads(threads: readonly Thread[], schedule: Scheduler, stepsMax = 2e6): Run {
  const sleeping = new Map<number, Sleeper>();
  const answers: unknown[] = threads.map(() => undefined);
  const results: unknown[] = threads.map(() => undefined);
  const waiting: (Step | null)[] = threads.map(() => null);
  let live = threads.map((_, i) => i);
  let steps = 0;
  const advance = (i: number): void => {
    const next = (threads[i] as Thread).next(answers[i]);
    if (next.done === true) {
      results[i] = next.value;
      live = live.filter((other) => other !== i);
    } else waiting[i] = next.value;
  };
  for (const i of [...live]) advance(i);
  for (; ; steps++) {
    assert(steps < stepsMax, 'a run ends');
    const runnable = live.filter((i) => !sleeping.has(i) && isReady(waiting[i] as Step));
    if (runnable.length === 0) return { steps, stuck: live, results };
    const i = schedule(runnable, steps);
    const step = waiting[i] as Step;
    answers[i] = perform(step, i, sleeping);
    if (!sleeping.has(i)) advance(i);
    else waiting[i] = { op: 'woken', args: [] };
  }
}

/** A step `until` of a scenario's own waits for a condition that is none of the pipe's. */
function isReady(step: Step): boolean {
  return step.op !== 'until' || step.args[0]();
}

function perform(step: Step, thread: number, sleeping: Map<number, Sleeper>): unknown {
  const [words, at, value] = step.args;
  if (step.op === 'woken' || step.op === 'until') return 'ok';
  if (step.op === 'wait' || step.op === 'waitAsync') {
    if (words[at] !== value) return 'not-equal';
    sleeping.set(thread, { words, at });
    return 'ok';
  }
  if (step.op === 'notify') {
    let woken = 0;
    // The order of a Map is that in which they fell asleep.
    for (const [sleeper, { words: of, at: where }] of sleeping) {
      if (woken >= value) break;
      if (where !== at || of.buffer !== words.buffer) continue;
      sleeping.delete(sleeper);
      woken++;
    }
    return woken;
  }
  // biome-ignore lint/suspicious/noExplicitAny: any operation of Atomics
  return (Atomics as any)[step.op](...step.args);
}

/** A small generator of numbers in [0, 1), from a seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Any runnable thread, each as likely. */
export function fairScheduler(random: () => number): Scheduler {
  return (runnable) => runnable[Math.floor(random() * runnable.length)] as number;
}

/**
 * Threads of very different speeds: the one of the highest priority runs; every `changeEvery` steps on
 * average it falls behind all others, or one that fell behind gets a new priority.
 */
export function unfairScheduler(random: () => number, changeEvery: number): Scheduler {
  const priorities: number[] = [];
  let lowest = 0;
  return (runnable) => {
    let best = runnable[0] as number;
    for (const i of runnable) {
      priorities[i] ??= random();
      if ((priorities[i] as number) > (priorities[best] as number)) best = i;
    }
    if (random() * changeEvery >= 1) return best;
    if (random() < 0.7) priorities[best] = --lowest;
    else priorities[runnable[Math.floor(random() * runnable.length)] as number] = random();
    return best;
  };
}

/**
 * Every schedule of a scenario in which a running thread is held up at most `preemptionsMax` times.
 * `make` sets the scenario up anew; `check` looks at each run. Returns the number of schedules.
 */
export function exploreSchedules(
  make: () => readonly Thread[],
  preemptionsMax: number,
  check: (run: Run, schedule: readonly number[]) => void,
): number {
  let runs = 0;
  /** Choices of the current run, and those not tried yet at each of its steps. */
  const path: { chosen: number; untried: number[] }[] = [];
  do {
    let depth = 0;
    let last = -1;
    let preemptions = 0;
    const run = runThreads(make(), (runnable) => {
      const stay = runnable.includes(last);
      let point = path[depth];
      if (point === undefined) {
        const others = runnable.filter((i) => i !== last);
        const first = stay ? last : (others.shift() as number);
        point = { chosen: first, untried: stay && preemptions >= preemptionsMax ? [] : others };
        path.push(point);
      }
      depth++;
      if (stay && point.chosen !== last) preemptions++;
      last = point.chosen;
      return last;
    });
    runs++;
    check(
      run,
      path.map(({ chosen }) => chosen),
    );
    while (path.length > 0 && path.at(-1)?.untried.length === 0) path.pop();
    const point = path.at(-1);
    if (point !== undefined) point.chosen = point.untried.shift() as number;
  } while (path.length > 0);
  return runs;
}
