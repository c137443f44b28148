/**
 * The port `System`: this machine and this process.
 *
 * Contract: a process is told from all others, also later ones with the same number, by machine,
 * boot, name space and start. A process that cannot be seen from here (another machine, another
 * container) is never taken for dead.
 */

// Threads load this with the door of host/: imports of these modules would cost each of them milliseconds.
const { readFileSync, readlinkSync } = process.getBuiltinModule('node:fs');
const { availableParallelism, hostname } = process.getBuiltinModule('node:os');

/** Says which process wrote something; plain data, to be stored. */
export interface ProcessIdentity {
  readonly hostName: string;
  /** Of the installed system; empty where it has none. */
  readonly machineId: string;
  /** Drawn by the kernel at each start. */
  readonly bootId: string;
  /** The process numbers' name space: `pid:[4026531836]` outside containers. */
  readonly namespace: string;
  readonly pid: number;
  /** In clock ticks since the boot. */
  readonly startTicks: number;
}

export type ProcessState = 'alive' | 'dead' | 'unknown';

export interface System {
  hostName(): string;
  bootId(): string;
  processIdentity(): ProcessIdentity;
  processState(identity: ProcessIdentity): ProcessState;
  /** Whether it may be alive: true also where that cannot be known. */
  isProcessAlive(identity: ProcessIdentity): boolean;
  /** Processors that this process may use, with affinity and the container's limit. */
  cores(): number;
  /** Memory that this process may still take, with the container's limit. */
  availableMemoryBytes(): number;
  /** The largest resident memory of this process so far. */
  peakMemoryBytes(): number;
}

/** What the kernel calls the first name space, in every kernel. */
const FIRST_NAMESPACE = 'pid:[4026531836]';

export function openSystem(): System {
  return LINUX_SYSTEM;
}

let own: ProcessIdentity | undefined;

function processIdentity(): ProcessIdentity {
  own ??= {
    hostName: hostname(),
    machineId: readText('/etc/machine-id') ?? '',
    bootId: bootId(),
    namespace: readNamespace(),
    pid: process.pid,
    startTicks: readStart(process.pid)?.startTicks ?? 0,
  };
  return own;
}

function processState(identity: ProcessIdentity): ProcessState {
  const here = processIdentity();
  if (here.bootId === '') return 'unknown';
  if (identity.bootId !== here.bootId) return anotherBoot(identity, here) ? 'dead' : 'unknown';
  if (identity.namespace === '' || identity.namespace !== here.namespace) return 'unknown';
  // It was read from storage, where anything may stand.
  if (!Number.isInteger(identity.pid) || identity.pid <= 0) return 'unknown';
  const now = readStart(identity.pid);
  if (now !== undefined) {
    return !now.ended && now.startTicks === identity.startTicks ? 'alive' : 'dead';
  }
  // /proc may hide other users' processes.
  return isNumberFree(identity.pid) ? 'dead' : 'unknown';
}

/**
 * Whether it ran on this machine before its last start. Inside containers names and machine ids are
 * copies of each other, so it is not decided there.
 */
function anotherBoot(identity: ProcessIdentity, here: ProcessIdentity): boolean {
  return (
    here.machineId !== '' &&
    identity.machineId === here.machineId &&
    identity.hostName === here.hostName &&
    identity.namespace === FIRST_NAMESPACE &&
    here.namespace === FIRST_NAMESPACE
  );
}

const LINUX_SYSTEM: System = Object.freeze({
  hostName: hostname,
  bootId,
  processIdentity,
  processState,
  isProcessAlive: (identity: ProcessIdentity) => processState(identity) !== 'dead',
  cores: availableParallelism,
  availableMemoryBytes: () => process.availableMemory(),
  peakMemoryBytes,
});

function bootId(): string {
  return readText('/proc/sys/kernel/random/boot_id') ?? '';
}

function readNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

/**
 * From /proc/N/stat: `N (name) S …`, where the name may hold anything; after its last bracket come
 * the state and, as the twentieth word, the start.
 */
function readStart(pid: number): { startTicks: number; ended: boolean } | undefined {
  const text = readText(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  const words = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = words[0];
  return { startTicks: Number(words[19]), ended: state === 'Z' || state === 'X' };
}

function isNumberFree(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/**
 * The kernel's high-water mark. Not getrusage's, which a process inherits from the one that started
 * it.
 */
function peakMemoryBytes(): number {
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(readText('/proc/self/status') ?? '');
  return match === null ? process.resourceUsage().maxRSS * 1024 : Number(match[1]) * 1024;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return undefined;
  }
}
