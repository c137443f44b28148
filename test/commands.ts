/**
 * Runs whole commands for tests, as a user would, and a scratch folder for them.
 *
 * Contract: the user's own repository, passphrase and state are out of reach. Commands run with
 * --json; `summary` is their last line. What a test makes lies under one scratch folder, in memory
 * where the machine has such a place, and goes when the test file ends.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, mkdtempSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../bin/penstock.js', import.meta.url));
const PASSPHRASE = 'a passphrase for tests';

/** Whether tests may make devices, give files away, mount. */
export const IS_ROOT: boolean = process.geteuid?.() === 0;
/** For tests that need root. */
export const WITH_ROOT = { skip: IS_ROOT ? false : 'needs root' };
/** A home that is not there and that nobody can make, root neither. */
export const NO_HOME = '/dev/null/home';
/** A user without rights, for tests that are run by root. */
export const NOBODY = 65534;

export interface JsonLine {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** How a command ended and what it said. */
export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly warnings: readonly JsonLine[];
  readonly errors: readonly JsonLine[];
  readonly summary: JsonLine;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Runs as this user and group. */
  readonly user?: number;
}

/** A folder that is removed when the tests of this file have ended. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(realpathSync(scratchPlace()), 'penstock-test-'));
  chmodSync(folder, 0o755);
  // Not by Node, whose paths end at 4096 bytes.
  after(() => void spawnSync('rm', ['-rf', folder]));
  return folder;
}

function scratchPlace(): string {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return '/dev/shm';
  } catch {
    return tmpdir();
  }
}

function environment(options: RunOptions): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: NO_HOME,
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    PENSTOCK_PASSPHRASE: PASSPHRASE,
    ...options.env,
  };
}

function spawnOptions(options: RunOptions): object {
  const { cwd, user } = options;
  return {
    env: environment(options),
    ...(cwd === undefined ? {} : { cwd }),
    ...(user === undefined ? {} : { uid: user, gid: user }),
  };
}

function toRun(status: number | null, stdout: string, stderr: string): Run {
  const records = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JsonLine);
  return {
    status,
    stdout,
    stderr,
    warnings: records.filter(({ type }) => type === 'warning'),
    errors: records.filter(({ type }) => type === 'error'),
    summary: records.at(-1) ?? { type: 'none' },
  };
}

/** Runs a command to its end. */
export function penstock(args: readonly string[], options: RunOptions = {}): Run {
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [LAUNCHER, ...args, '--json'],
    { ...spawnOptions(options), encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  if (error !== undefined) throw error;
  return toRun(status, stdout, stderr);
}

/** As `penstock`, and asserts the exit status, showing what was said otherwise. */
export function succeed(args: readonly string[], options: RunOptions = {}, status = 0): Run {
  const run = penstock(args, options);
  const said = [...run.warnings, ...run.errors].map((line) => JSON.stringify(line)).slice(0, 20);
  assert.equal(run.status, status, `${args.join(' ')}\n${said.join('\n')}\n${run.stderr}`);
  return run;
}

/** Commands that run: none outlives the tests, whatever it waits for. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts a command; `ended` resolves when it has ended, however it did. */
export function start(
  args: readonly string[],
  options: RunOptions = {},
): { readonly child: ChildProcess; readonly ended: Promise<Run & { signal: string | null }> } {
  const child = spawn(process.execPath, [LAUNCHER, ...args, '--json'], {
    ...spawnOptions(options),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<Run & { signal: string | null }>((resolve) => {
    child.on('close', (status, signal) => {
      running.delete(child);
      // A killed command may leave half a line.
      const whole = status === null ? stdout.slice(0, stdout.lastIndexOf('\n') + 1) : stdout;
      resolve({ ...toRun(status, whole, stderr), signal });
    });
  });
  return { child, ended };
}

/** Waits as long as it takes for files to be older than the moment that hides later changes. */
export async function untilOld(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2100));
}
