/**
 * A monitor that serves repositories in a process of its own, and a machine that is paired with it:
 * what tests of remote repositories need.
 *
 * Contract: everything lies in one scratch folder, the server listens on 127.0.0.1 only. `stop` and
 * `remove` leave no process behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { fromText } from '../src/base/bytes.ts';
import type { Server } from '../src/channel/net/api-client.ts';
import { type Identity, openIdentity } from '../src/channel/net/identity.ts';
import { type AccessLevel, Peers } from '../src/channel/net/peers.ts';
import { StateFolder } from '../src/channel/net/state-folder.ts';
import { IndexCache } from '../src/channel/remote/index-cache.ts';
import {
  openRemoteStore,
  type RemoteStore,
  type RemoteStoreOptions,
} from '../src/channel/remote/remote-store.ts';
import { fastFolder } from './system/workplace.ts';

const LAUNCHER = fileURLToPath(new URL('../bin/penstock.js', import.meta.url));

export class Served {
  readonly directory: string;
  readonly #repositories: readonly string[];
  #process: ChildProcess | undefined;
  port = 0;
  fingerprint = '';

  constructor(directory: string, repositories: readonly string[]) {
    this.directory = directory;
    this.#repositories = repositories;
  }

  /** Serves repositories of these names; their directories are not made. */
  static async start(name: string, repositories: readonly string[]): Promise<Served> {
    const served = new Served(mkdtempSync(join(fastFolder(), `penstock-${name}-`)), repositories);
    await served.start();
    return served;
  }

  /** Where the server keeps a repository. */
  repository(name: string): string {
    return join(this.directory, `repo-${name}`);
  }
  get serverState(): string {
    return join(this.directory, 'server-state');
  }

  /** Starts the server; once more on the same port after it was stopped. */
  async start(): Promise<void> {
    const repositories = this.#repositories.flatMap((name) => [
      '--repo',
      `${name}=${this.repository(name)}`,
    ]);
    const args = ['serve', '--listen', `127.0.0.1:${this.port}`, '--drain', '1s', '--json'];
    const child = spawn(
      process.execPath,
      [LAUNCHER, ...args, '--state', this.serverState, ...repositories],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
        env: { PATH: process.env.PATH, HOME: this.directory, TZ: 'UTC' },
      },
    );
    this.#process = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const told = JSON.parse(line) as { type: string; port: number; fingerprint: string };
      if (told.type !== 'listening') continue;
      this.port = told.port;
      this.fingerprint = told.fingerprint;
      child.stdout.resume();
      return;
    }
    throw new Error('the server has ended at its start');
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Pairs a machine whose state lies in `state`; `port`: where it reaches the server. */
  async pair(
    state: string,
    level: AccessLevel,
    repository = '*',
    port = this.port,
    quotaBytes?: number,
  ): Promise<Identity> {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const folder = new StateFolder(fromText(state));
    const identity = await openIdentity(folder);
    const common = { pairedMs: 0, copyPaths: [] };
    new Peers(folder).put({
      ...common,
      name: 'server',
      kind: 'server',
      fingerprint: this.fingerprint,
      address: `127.0.0.1:${port}`,
      access: [],
    });
    new Peers(new StateFolder(fromText(this.serverState))).put({
      ...common,
      name: 'client',
      kind: 'client',
      fingerprint: identity.fingerprint,
      access: [{ repository, level }],
      ...(quotaBytes === undefined ? {} : { quotaBytes }),
    });
    return identity;
  }

  get server(): Server {
    return { host: '127.0.0.1', port: this.port, fingerprint: this.fingerprint };
  }

  /** Opens a repository in this process, as a machine of its own. */
  async open(
    name: string,
    level: AccessLevel = 'full',
    more: Partial<RemoteStoreOptions> = {},
  ): Promise<RemoteStore> {
    const state = join(this.directory, `state-${level}`);
    const identity = await this.pair(state, level);
    return openRemoteStore({
      identity,
      server: this.server,
      agents: 0,
      bytesPerSecond: 0,
      reconnectMs: 5000,
      name,
      cache: new IndexCache(fromText(join(state, 'cache', name))),
      ...more,
    });
  }

  url(name: string, port = this.port): string {
    return `penstock://127.0.0.1:${port}/${name}`;
  }
}
