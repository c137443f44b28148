/**
 * What moving bytes costs: rate and processor time, of this process and of others.
 */
import { readFileSync } from 'node:fs';

export interface Cost {
  readonly bytesPerSecond: number;
  readonly cpuSecondsPerGb: number;
}

/** Measures this process from the first bytes that have arrived until all have. */
export async function measureOwn(
  bytes: number,
  begun: Promise<unknown>,
  done: Promise<unknown>,
): Promise<Cost> {
  await begun;
  const before = process.cpuUsage();
  const startMs = performance.now();
  await done;
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - startMs) / 1000;
  return {
    bytesPerSecond: bytes / seconds,
    cpuSecondsPerGb: (user + system) / 1e6 / (bytes / 1e9),
  };
}

const TICKS_PER_SECOND = 100;
/** Of /proc/PID/stat, behind the name: own user and system time, and that of children that have ended. */
const CPU_FIELDS = { own: [11, 12], children: [13, 14] } as const;

/** Seconds of processor time that a process has had, with its children that have ended. */
export function cpuSecondsOf(pid: number): number {
  return ticks(pid, [...CPU_FIELDS.own, ...CPU_FIELDS.children]) / TICKS_PER_SECOND;
}

/** Seconds that children of this process have had that have ended. */
export function childrenCpuSeconds(): number {
  return ticks(process.pid, CPU_FIELDS.children) / TICKS_PER_SECOND;
}

function ticks(pid: number, fields: readonly number[]): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const values = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields.reduce((sum, field) => sum + Number(values[field]), 0);
}
