/**
 * Runs the commands that are measured: how long each took and how much memory its processes had.
 *
 * Contract: memory is the kernel's high-water mark of resident memory (VmHWM), read from /proc while
 * the command runs and summed over its processes. Each command leads a process group of its own, so
 * that `endCommands` leaves none of them behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly folder?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Run {
  readonly elapsedMs: number;
  readonly peakBytes: number;
  readonly output: string;
}

const POLL_MS = 20;
const MESSAGE_BYTES = 16 * 1024;
const running = new Set<ChildProcess>();

/** Runs a command to its end; throws with its last words when it fails. */
export async function runCommand(command: Command): Promise<Run> {
  const startedMs = performance.now();
  const child = spawn(command.program, command.args, {
    ...(command.folder === undefined ? {} : { cwd: command.folder }),
    env: { ...cleanEnvironment(), ...command.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  running.add(child);
  const peaks = new Map<number, number>();
  const poll = setInterval(() => readPeaks(child.pid ?? 0, peaks), POLL_MS);
  let output = '';
  let errors = '';
  child.stdout?.on('data', (text) => {
    output = (output + text).slice(-MESSAGE_BYTES);
  });
  child.stderr?.on('data', (text) => {
    errors = (errors + text).slice(-MESSAGE_BYTES);
  });
  let elapsedMs = 0;
  child.once('exit', () => {
    elapsedMs = performance.now() - startedMs;
  });
  try {
    const status = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(signal ?? code));
    });
    if (status !== 0) {
      const line = [command.program, ...command.args].join(' ');
      throw new Error(`${line}\nended with ${status}: ${errors.trim() || output.trim()}`);
    }
  } finally {
    clearInterval(poll);
    running.delete(child);
  }
  return { elapsedMs, peakBytes: [...peaks.values()].reduce((sum, one) => sum + one, 0), output };
}

/** Kills whatever still runs, with all that it started. */
export function endCommands(): void {
  for (const { pid } of running) {
    try {
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}

/** What users have set for the programs must not change what is measured. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env);
  return Object.fromEntries(own.filter(([name]) => !/^(PENSTOCK|RESTIC|BORG|ZSTD)_/.test(name)));
}

function readPeaks(pid: number, peaks: Map<number, number>): void {
  const status = readText(`/proc/${pid}/status`);
  const peak = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  if (peak !== undefined) peaks.set(pid, Number(peak) * 1024);
  for (const child of readText(`/proc/${pid}/task/${pid}/children`).split(' ')) {
    if (child !== '') readPeaks(Number(child), peaks);
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
