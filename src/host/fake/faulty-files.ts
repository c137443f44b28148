/**
 * Files that fail when a script says so; in front of any implementation of the port.
 *
 * Contract: a call that no rule acts on is passed on unchanged. What fails leaves the files as the
 * rule says (fault-script.ts). A failing `close` closes: a handle that stays open would be the
 * test's fault, not the file system's.
 */
import { getEnvironmentData, type Serializable, setEnvironmentData } from 'node:worker_threads';
import type { Files } from '../files.ts';
import { addFaultRules, type Fault, type FaultRule, FaultScript } from './fault-script.ts';

/** Every call of the port: whether it changes something, only reads, or never fails. */
const CALLS = {
  openDirectory: 'read',
  openDirectoryFollow: 'read',
  openThrough: 'read',
  openRead: 'read',
  createExclusive: 'change',
  openWrite: 'read',
  close: 'read',
  status: 'read',
  statusFollow: 'read',
  statusOf: 'read',
  list: 'read',
  read: 'read',
  write: 'change',
  seekData: 'read',
  seekHole: 'read',
  truncate: 'change',
  allocate: 'change',
  sync: 'change',
  dataSync: 'change',
  syncFileSystem: 'change',
  lock: 'change',
  makeDirectory: 'change',
  remove: 'change',
  removeDirectory: 'change',
  rename: 'change',
  renameExclusive: 'change',
  link: 'change',
  symlink: 'change',
  readLink: 'read',
  makeNode: 'change',
  chmod: 'change',
  chmodOf: 'change',
  chown: 'change',
  chownOf: 'change',
  times: 'change',
  timesOf: 'change',
  touch: 'change',
  touchOf: 'change',
  attributesOf: 'read',
  attributes: 'read',
  setAttributeOf: 'change',
  setAttribute: 'change',
  removeAttributeOf: 'change',
  removeAttribute: 'change',
  freeBytes: 'read',
  userName: 'never',
  groupName: 'never',
  userId: 'never',
  groupId: 'never',
  effectiveUserId: 'never',
  openFilesLimit: 'never',
  dieWithParent: 'never',
} as const satisfies Record<keyof Files, 'read' | 'change' | 'never'>;

export type FaultCall = Exclude<keyof Files, keyof NeverFailing> | 'any' | 'change';
type NeverFailing = {
  [Name in keyof typeof CALLS as (typeof CALLS)[Name] extends 'never' ? Name : never]: true;
};

/** The calls that rules can name, beside `any` and `change`. */
export const FAULT_CALLS: readonly string[] = Object.entries(CALLS).flatMap(([name, kind]) =>
  kind === 'never' ? [] : [name],
);

const OPENING: ReadonlySet<string> = new Set([
  'openDirectory',
  'openDirectoryFollow',
  'openThrough',
  'openRead',
  'createExclusive',
  'openWrite',
]);

/** Where read and write have their length. */
const LENGTH_PARAMETER = 3;

type Call = (...parameters: unknown[]) => unknown;

export interface FaultyFiles extends Files {
  readonly script: FaultScript;
  /** Begins a rule: `fault('write').after(3).error('ENOSPC').repeat(2)`. */
  fault(call: FaultCall): FaultRule;
}

/** Puts a script in front of `inner`. */
export function faultyFiles(inner: Files, script: FaultScript = new FaultScript()): FaultyFiles {
  const faulty: Record<string, unknown> = {
    script,
    fault: (call: FaultCall) => script.fault(call),
  };
  for (const [name, kind] of Object.entries(CALLS)) {
    const call = (inner as unknown as Record<string, Call>)[name]?.bind(inner) as Call;
    faulty[name] =
      kind === 'never'
        ? call
        : (...parameters: unknown[]) => {
            const fault = script.next(name, kind === 'change', parameters);
            if (fault === undefined) return call(...parameters);
            return act(fault, name as FaultCall, parameters, call, inner);
          };
  }
  return faulty as unknown as FaultyFiles;
}

function act(
  fault: Fault,
  name: FaultCall,
  parameters: readonly unknown[],
  call: Call,
  inner: Files,
): unknown {
  let result: unknown = -fault.errno;
  if (fault.mode === 'torn' && (name === 'read' || name === 'write')) {
    const half = [...parameters];
    half[LENGTH_PARAMETER] = (parameters[LENGTH_PARAMETER] as number) >>> 1;
    const done = call(...half);
    if (name === 'read') result = done;
  } else if (fault.mode === 'late' || (name === 'close' && fault.mode === 'fail')) {
    const done = call(...parameters);
    // A handle that nobody is told of would stay open.
    if (OPENING.has(name) && (done as number) >= 0) inner.close(done as number);
  } else if (fault.mode === 'lost') {
    if (name === 'write') result = parameters[LENGTH_PARAMETER];
    else if (CALLS[name as keyof Files] === 'change' && !OPENING.has(name)) result = 0;
    else result = call(...parameters);
  } else if (fault.mode === 'hold') {
    // Its opening waits for a writer, its end for that one's going.
    process.getBuiltinModule('node:fs').readFileSync(fault.fifo);
    result = call(...parameters);
  }
  if (fault.crash) process.kill(process.pid, 'SIGKILL');
  return result;
}

/** The counters of the whole process, handed on to its worker threads. */
const COUNTERS_KEY = 'penstock.fault';

/**
 * Wraps `inner` as PENSTOCK_FAULT says, in tests of whole commands. All threads of the process
 * count together: those that were started after the first of them called this.
 */
export function faultyByEnvironment(inner: Files): Files {
  const text = process.env.PENSTOCK_FAULT;
  if (text === undefined || text === '') return inner;
  let counters = getEnvironmentData(COUNTERS_KEY) as SharedArrayBuffer | undefined;
  if (counters === undefined) {
    counters = new SharedArrayBuffer(FaultScript.countersBytes);
    setEnvironmentData(COUNTERS_KEY, counters as unknown as Serializable);
  }
  const script = new FaultScript(counters);
  addFaultRules(script, text, FAULT_CALLS);
  return faultyFiles(inner, script);
}
