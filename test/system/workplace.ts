/**
 * Support of the tests of whole commands: a folder with a repository of its own, in which the program
 * is started as a user starts it. Nothing of the user's own environment is seen by it.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));

export interface RunOptions {
  /** Variables besides those of the workplace; undefined takes one away. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Runs as this user and group. */
  readonly uid?: number;
}

/** What a command did. */
export interface Run {
  readonly status: number | null;
  readonly bytes: Buffer;
  /** Standard output as text, and its lines. */
  readonly stdout: string;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** A command that is running. */
export interface Running {
  readonly process: ChildProcess;
  readonly done: Promise<Run>;
}

/** A line of --json output. */
export interface JsonLine {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: what it holds is what tests look at
  readonly [key: string]: any;
}

export class Workplace {
  readonly directory: string;
  readonly source: string;
  /** Where the repository is; tests may name another place. */
  repo: string;
  readonly state: string;

  constructor(name: string) {
    this.directory = mkdtempSync(join(fastFolder(), `penstock-${name}-`));
    this.source = join(this.directory, 'src');
    this.repo = join(this.directory, 'repo');
    this.state = join(this.directory, 'state');
    mkdirSync(this.source);
  }

  /** Runs a command of the program. */
  run(args: readonly string[], options: RunOptions = {}): Run {
    return this.#spawn(process.execPath, [LAUNCHER, ...args], options);
  }

  /** Starts a command; this process goes on meanwhile. */
  start(args: readonly string[], { environment }: RunOptions = {}): Running {
    const child = spawn(process.execPath, [LAUNCHER, ...args], {
      env: { ...this.#environment(), ...environment },
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const pieces: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => pieces.push(piece));
    child.stderr.on('data', (piece: Buffer) => errors.push(piece));
    const done = new Promise<Run>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => {
        const bytes = Buffer.concat(pieces);
        const stdout = bytes.toString();
        const lines = stdout.split('\n').slice(0, -1);
        resolve({ status, bytes, stdout, lines, stderr: Buffer.concat(errors).toString() });
      });
    });
    return { process: child, done };
  }

  /** Runs it by a line of the shell, in which `penstock` is the program: pipes, names of any bytes. */
  shell(line: string, options: RunOptions = {}): Run {
    const program = `penstock() { '${process.execPath}' '${LAUNCHER}' "$@"; }; ${line}`;
    return this.#spawn('sh', ['-c', program], options);
  }

  #spawn(file: string, args: readonly string[], { environment, uid }: RunOptions): Run {
    const env = { ...this.#environment(), ...environment };
    const result = spawnSync(file, args, {
      env,
      cwd: this.directory,
      maxBuffer: 1 << 28,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    if (result.error !== undefined) throw result.error;
    const stdout = result.stdout.toString();
    return {
      status: result.status,
      bytes: result.stdout,
      stdout,
      lines: stdout.split('\n').slice(0, -1),
      stderr: result.stderr.toString(),
    };
  }

  #environment(): Record<string, string | undefined> {
    return {
      PATH: process.env.PATH,
      HOME: this.directory,
      TZ: 'UTC',
      PENSTOCK_REPO: this.repo,
      PENSTOCK_STATE: this.state,
      PENSTOCK_PASSPHRASE: 'correct horse',
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    };
  }

  /** Runs a command that must succeed. */
  must(args: readonly string[], options: RunOptions = {}): Run {
    const run = this.run(args, options);
    assert.equal(run.status, 0, `penstock ${args.join(' ')}: ${run.stderr}${run.stdout}`);
    return run;
  }

  /** Runs with --json; the last line is the summary. `cat` leaves standard output to the file. */
  json(args: readonly string[], status = 0, options: RunOptions = {}): JsonLine[] {
    const run = this.run([...args, '--json'], options);
    const records = parseLines(args[0] === 'cat' ? run.stderr : run.stdout);
    assert.equal(run.status, status, `penstock ${args.join(' ')}: ${run.stderr}${run.stdout}`);
    assert.equal(records.at(-1)?.type, 'summary');
    assert.equal(records.at(-1)?.exit, status);
    return records;
  }

  /** Runs a command that must fail; returns its error. */
  fails(args: readonly string[], status: number, options: RunOptions = {}): JsonLine {
    const error = this.json(args, status, options).find(({ type }) => type === 'error');
    assert(error !== undefined, `penstock ${args.join(' ')} tells an error`);
    return error;
  }

  /** Backs up the source; returns the archive's id. */
  backup(...args: string[]): string {
    const summary = this.json(['backup', this.source, ...args]).at(-1);
    return String(summary?.archive);
  }

  /** Writes a file of the source, with the directories above it. */
  write(path: string, content: string | Uint8Array): void {
    const whole = join(this.source, path);
    mkdirSync(join(whole, '..'), { recursive: true });
    writeFileSync(whole, content);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function parseLines(text: string): JsonLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JsonLine);
}

/** In memory where the system has such a place. */
export function fastFolder(): string {
  try {
    accessSync('/dev/shm', constants.W_OK | constants.X_OK);
    return '/dev/shm';
  } catch {
    return tmpdir();
  }
}
