/**
 * Monitors and paired machines for tests, each with a state folder of its own.
 *
 * Contract: everything listens on loopback at a free port and ends with the test. Every answer that a
 * monitor gives to a paired machine is held against its OpenAPI description when it ends.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ApiClient } from '../src/channel/net/api-client.ts';
import { type Identity, openIdentity } from '../src/channel/net/identity.ts';
import { type Access, type Peer, Peers } from '../src/channel/net/peers.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { openClock } from '../src/host/mod.ts';
import { openLogger } from '../src/monitor/logger.ts';
import {
  createMonitor,
  type Monitor,
  type MonitorOptions,
  type ObservedAnswer,
} from '../src/monitor/monitor.ts';
import { scratchFolder } from './commands.ts';
import { type Description, openChecker } from './openapi.ts';

export const FULL: readonly Access[] = [{ repository: '*', level: 'full' }];

/** A machine: its state folder and its identity. */
export interface Machine {
  readonly directory: string;
  readonly state: StateFolder;
  readonly identity: Identity;
}

export interface TestMonitor extends Machine {
  readonly monitor: Monitor;
  readonly log: readonly string[];
}

const SCRATCH = scratchFolder();
let count = 0;

/** A machine with an empty state folder. */
export async function newMachine(): Promise<Machine> {
  const directory = join(SCRATCH, `machine-${count++}`);
  mkdirSync(directory, { mode: 0o700 });
  const state = new StateFolder(directory);
  return { directory, state, identity: await openIdentity(state) };
}

/** A monitor on a machine of its own; it ends with the test. */
export async function startMonitor(
  test: TestContext,
  options: Partial<MonitorOptions> = {},
): Promise<TestMonitor> {
  const machine = await newMachine();
  const answers: ObservedAnswer[] = [];
  const log: string[] = [];
  const clock = options.clock ?? openClock();
  const monitor = await createMonitor({
    stateDirectory: machine.directory,
    listen: [{ host: '127.0.0.1', port: 0 }],
    repositories: new Map(),
    version: '0.0.0',
    log: openLogger({ format: 'json', clock, write: (line) => log.push(line) }),
    observe: (answer) => answers.push(answer),
    ...options,
  });
  const started = { ...machine, monitor, log };
  test.after(async () => {
    const client = pairedClient(started, machine);
    const description = await client.json<Description>('GET', '/v1/openapi.json').catch(() => {
      // The test has ended it itself.
      return undefined;
    });
    client.close();
    await monitor.close(0);
    if (description !== undefined) await assertDescribed(description, answers);
  });
  return started;
}

async function assertDescribed(
  description: Description,
  answers: readonly ObservedAnswer[],
): Promise<void> {
  const check = await openChecker(description);
  for (const { route, ...answer } of answers) {
    // What is not there cannot be described.
    if (route === undefined) continue;
    assert.equal(check({ ...answer, route }), undefined);
  }
}

/** Pairs without a token: stores the client on the monitor's machine, and returns its client. */
export function pairedClient(
  server: TestMonitor,
  machine: Machine,
  grant: Partial<Pick<Peer, 'name' | 'access' | 'copyPaths' | 'modules'>> = {},
): ApiClient {
  const { fingerprint } = machine.identity;
  const peer = { name: 'client', access: FULL, copyPaths: [], ...grant };
  new Peers(server.state).put({ ...peer, fingerprint, kind: 'client', pairedMs: 0 });
  return clientOf(server, machine);
}

/** A client that knows the monitor, whether it is known there or not. */
export function clientOf({ monitor, identity }: TestMonitor, machine: Machine): ApiClient {
  return new ApiClient(machine.identity, {
    host: '127.0.0.1',
    port: monitor.port,
    fingerprint: identity.fingerprint,
  });
}
