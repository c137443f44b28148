/**
 * Runs the tests: `npm test`, or `npm test -- WORD… [--OPTION…]` for the files whose path has one of
 * the words; options go to Node's test runner (for example --test-name-pattern=…).
 *
 * Contract: two files at a time, each in a process of its own, at most FILE_MINUTES each; the user's
 * repository, passphrase, state and caches are out of reach; the closing lines are Node's own, and the
 * tests that were skipped stand before them with their reasons. The exit status is that of Node.
 */
import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const FILE_MINUTES = 10;
const FILES_AT_ONCE = 2;
const WATCH_MS = 1000;
const root = dirname(import.meta.dirname);

function findTestFiles(words: readonly string[]): string[] {
  const all = globSync(['src/**/*.test.ts', 'test/**/*.test.ts'], { cwd: root }).sort();
  if (words.length === 0) return all;
  return all.filter((file) => words.some((word) => file.includes(word)));
}

/** The environment without the user's own Penstock, and with folders of this run in place of theirs. */
function testEnvironment(scratch: string, options: readonly string[]): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('PENSTOCK_'));
  const covered = options.some((option) => option.includes('coverage'));
  return {
    ...Object.fromEntries(own),
    XDG_DATA_HOME: join(scratch, 'data'),
    XDG_STATE_HOME: join(scratch, 'state'),
    XDG_CONFIG_HOME: join(scratch, 'config'),
    XDG_CACHE_HOME: join(scratch, 'cache'),
    // Compiled once for all files; counts of coverage are less exact with it.
    ...(covered ? {} : { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compiled') }),
  };
}

/**
 * Kills a file's processes once its time is over. Node's own time-outs cannot end a thread that loops
 * or waits on an atomic, which is just what a defect of the pipe would look like.
 */
function endOverdueFiles(runner: number, seenMs: Map<number, number>): void {
  const running = childrenOf(runner);
  for (const ended of seenMs.keys()) if (!running.includes(ended)) seenMs.delete(ended);
  for (const file of running) {
    const firstMs = seenMs.get(file) ?? performance.now();
    seenMs.set(file, firstMs);
    if (performance.now() - firstMs < FILE_MINUTES * 60_000) continue;
    console.error(`ended after ${FILE_MINUTES} minutes: ${commandOf(file)}`);
    for (const one of [...descendantsOf(file), file]) kill(one);
  }
}

function descendantsOf(id: number): number[] {
  return childrenOf(id).flatMap((child) => [...descendantsOf(child), child]);
}

/** From Linux's /proc; elsewhere there is no watch. */
function childrenOf(id: number): number[] {
  const ids = readProcess(`${id}/task/${id}/children`).trim();
  return ids === '' ? [] : ids.split(' ').map(Number);
}

function commandOf(id: number): string {
  return readProcess(`${id}/cmdline`).split('\0').at(-2) ?? String(id);
}

function readProcess(name: string): string {
  try {
    return readFileSync(`/proc/${name}`, 'utf8');
  } catch {
    return '';
  }
}

function kill(id: number): void {
  try {
    process.kill(id, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

function runTests(files: readonly string[], options: readonly string[]): void {
  const scratch = mkdtempSync(join(tmpdir(), 'penstock-test-'));
  const child = spawn(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${FILES_AT_ONCE}`,
      '--test-reporter=./test/reporter.ts',
      '--test-reporter-destination=stdout',
      ...options,
      ...files,
    ],
    { cwd: root, stdio: 'inherit', env: testEnvironment(scratch, options) },
  );
  const seenMs = new Map<number, number>();
  const watch = setInterval(() => endOverdueFiles(child.pid ?? process.pid, seenMs), WATCH_MS);
  // Ctrl-C reaches Node's runner too; it ends its files and then itself, and only then do we.
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (status, signal) => {
    clearInterval(watch);
    rmSync(scratch, { recursive: true, force: true });
    process.exitCode = status ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  });
}

const given = process.argv.slice(2);
const options = given.filter((word) => word.startsWith('--'));
const words = given.filter((word) => !word.startsWith('--'));
const files = findTestFiles(words);
if (files.length === 0) {
  console.error(`no test file has ${words.join(' or ')} in its path`);
  process.exitCode = 1;
} else runTests(files, options);
