/**
 * Daemons of tests in processes of their own, and programs that are attached to their pipes.
 *
 * Contract: a daemon listens on loopback at a free port, with a state folder of its own, and is ended by
 * its process id with the test; so are programs.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askPipes } from '../src/monitor/local-requests.ts';
import type { PipeView } from '../src/monitor/pipe-view.ts';
import { NO_HOME, scratchFolder, succeed } from './commands.ts';

const LAUNCHER = fileURLToPath(new URL('../bin/penstock.js', import.meta.url));
const SCRATCH = scratchFolder();
let count = 0;

export interface Daemon {
  readonly process: ChildProcess;
  /** Of its state. */
  readonly folder: string;
  /** The options with which commands find it. */
  readonly state: readonly string[];
  readonly address: string;
  readonly port: number;
  readonly fingerprint: string;
  readonly log: string[];
}

function run(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [LAUNCHER, ...args], {
    env: {
      PATH: process.env.PATH,
      HOME: NO_HOME,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      PENSTOCK_PASSPHRASE: 'a passphrase for tests',
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

/** Starts `penstock serve`. */
export async function startDaemon(
  t: { after(end: () => void): void },
  more: readonly string[] = [],
): Promise<Daemon> {
  const folder = join(SCRATCH, `d${count++}`);
  mkdirSync(folder, { mode: 0o700 });
  return startDaemonAt(t, folder, more);
}

/** As `startDaemon`, with the state of a folder that is there. */
export async function startDaemonAt(
  t: { after(end: () => void): void },
  folder: string,
  more: readonly string[] = [],
): Promise<Daemon> {
  const state = ['--state', folder];
  const child = run(['serve', '--listen', '127.0.0.1:0', '--json', ...state, ...more]);
  t.after(() => child.kill('SIGKILL'));
  const log: string[] = [];
  child.stderr?.setEncoding('utf8').on('data', (text: string) => log.push(text));
  if (child.stdout === null) throw new Error('it has an output');
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { port, fingerprint } = JSON.parse(line) as { port: number; fingerprint: string };
  const address = `127.0.0.1:${port}`;
  return { process: child, folder, state, address, port, fingerprint, log };
}

/** Pairs `client` with `server`, with these options of `pair token`. */
export function pairDaemons(client: Daemon, server: Daemon, grant: readonly string[] = []): void {
  const { summary } = succeed(['pair', 'token', ...grant, ...server.state]);
  succeed(['pair', server.address, '--token', String(summary.token), ...client.state]);
}

export interface Attached {
  readonly child: ChildProcess;
  readonly ended: Promise<{ status: number | null; bytes: Buffer; stderr: string }>;
  /** What it has given so far. */
  received(): number;
}

/** `penstock attach`; given bytes are its whole input, else that stays open. */
export function attached(t: TestContext, args: readonly string[], input?: Uint8Array): Attached {
  const child = run(['attach', ...args]);
  t.after(() => child.kill('SIGKILL'));
  const parts: Buffer[] = [];
  let stderr = '';
  let length = 0;
  child.stdout?.on('data', (bytes: Buffer) => {
    parts.push(bytes);
    length += bytes.length;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin?.on('error', () => undefined);
  if (input !== undefined) child.stdin?.end(input);
  const ended = once(child, 'close').then(([status]) => {
    return { status: status as number | null, bytes: Buffer.concat(parts), stderr };
  });
  return { child, ended, received: () => length };
}

/** The pipes that a daemon shows. */
export const pipesOf = (daemon: Daemon): Promise<PipeView[]> => askPipes(daemon.folder);

export async function noPipes(daemon: Daemon): Promise<void> {
  while ((await pipesOf(daemon)).length > 0) await sleep(20);
}

/**
 * Sends bytes through a pipe that the first of the machines has started: they come out whole at the other
 * end, and nothing is left on any machine.
 */
export async function assertPasses(
  t: TestContext,
  name: string,
  sent: Uint8Array,
  machines: readonly Daemon[],
  flow: 'to' | 'from',
): Promise<void> {
  for (const machine of machines) {
    const [pipe] = await pipesOf(machine);
    deepEqual([pipe?.name, pipe?.flow], [name, flow === 'to' ? 'push' : 'pull']);
  }
  const [from, to] =
    flow === 'to' ? [machines.at(0), machines.at(-1)] : [machines.at(-1), machines.at(0)];
  const tail = attached(t, [name, '--as', 'tail', ...(to?.state ?? [])]);
  const head = attached(t, [name, '--as', 'head', ...(from?.state ?? [])], sent);
  const [gave, got] = await Promise.all([head.ended, tail.ended]);
  equal(gave.status, 0, gave.stderr);
  equal(got.status, 0, got.stderr);
  equal(digestOf(got.bytes), digestOf(sent));
  for (const machine of machines) {
    await noPipes(machine);
    noSockets(machine);
  }
}
const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Nothing of a pipe is left in the state folder. */
export function noSockets({ folder }: Daemon): void {
  const place = join(folder, 'attach');
  deepEqual(existsSync(place) ? readdirSync(place) : [], []);
}

/** What ends daemons that all tests of a file share. */
export function endingWithFile(): { after(end: () => void): void } {
  const ends: (() => void)[] = [];
  after(() => {
    for (const end of ends) end();
  });
  return { after: (end) => void ends.push(end) };
}
