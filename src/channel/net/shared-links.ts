/**
 * Connections that several pipes share between two machines (P11), as the rest of this process sees them; what
 * they are stands in shared-thread.ts.
 *
 * Contract: on either side they are there as long as a pipe uses them, and end with the last. Whoever connects
 * names his by a word of his own, so that several programs of one machine each have theirs. Streams
 * go only to agents of pipes that the same peer has begun, and that asked to share. Where their thread ends
 * before they do, every pipe that uses them is told, and whoever comes next gets a new one.
 */

import { randomBytes } from 'node:crypto';
import { getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';
import { codeFile } from '../../base/code-file.ts';
import { PenstockError } from '../../base/errors.ts';
import type { Server } from './api-client.ts';
import type { DataPort, TakeOver } from './data-port.ts';
import { ID_BYTES, TOKEN_BYTES } from './frame.ts';
import type { Identity } from './identity.ts';
import { dropDescriptor, type HandOver } from './links.ts';
import type { SharedNeed, SharedRequest, SharedStream, SharedTarget } from './shared-thread.ts';
import type { LinkIdentity } from './tls-setup.ts';

const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 } as const;

/** What a pipe is told when the connections are over before it is; once, with NET_LOST. */
type Lost = (error: PenstockError) => void;

interface Half {
  readonly takeOver: TakeOver;
  readonly lost: Lost;
}

/** The thread, and whom its streams go to. */
class SharedLinks {
  readonly #worker: Worker;
  readonly #halves = new Map<string, Half>();
  readonly #onFailure: () => void;
  #failure: PenstockError | undefined;
  #isClosed = false;
  users = 0;

  /** `onFailure` is told when nobody can use them any more, before the pipes are. */
  constructor(identity: LinkIdentity, onFailure: () => void) {
    this.#onFailure = onFailure;
    this.#worker = new Worker(codeFile('pipe/event-worker.js'), {
      name: 'shared',
      workerData: {
        thread: codeFile('channel/net/shared-thread').href,
        cacheFolder: getCompileCacheDir(),
        identity,
      },
      resourceLimits: RESOURCE_LIMITS,
    });
    this.#worker.on('error', (cause) => this.#fail(cause));
    this.#worker.once('exit', () => this.#fail(undefined));
    this.#worker.on('message', (stream: SharedStream) => void this.#handOver(stream));
  }

  send(request: Exclude<SharedRequest, HandOver>): void {
    this.#worker.postMessage(request);
  }

  /** Hands a connection to the thread; false where nobody is there to close it. */
  take(connection: HandOver): boolean {
    if (this.#isClosed || this.#failure !== undefined) return false;
    this.#worker.postMessage(connection satisfies SharedRequest);
    return true;
  }

  register(id: string, half: Half): void {
    const failure = this.#failure;
    if (failure === undefined) this.#halves.set(id, half);
    else queueMicrotask(() => half.lost(failure));
  }

  withdraw(id: string): void {
    this.#halves.delete(id);
    this.send({ type: 'drop', id });
  }

  close(): void {
    this.#isClosed = true;
    this.#halves.clear();
    this.send({ type: 'close' });
  }

  #fail(cause: unknown): void {
    if (this.#isClosed || this.#failure !== undefined) return;
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    const message = `the thread of shared connections has ended${why}`;
    const hint = 'begin the pipe again: it gets new connections';
    this.#failure = new PenstockError('NET_LOST', message, { cause, hint });
    this.#onFailure();
    const halves = [...this.#halves.values()];
    this.#halves.clear();
    for (const { lost } of halves) lost(this.#failure);
  }

  async #handOver({ id, connection }: SharedStream): Promise<void> {
    const half = this.#halves.get(id);
    const isTaken = await half?.takeOver(connection).catch(() => false);
    if (isTaken !== true) dropDescriptor(connection.descriptor);
  }
}

interface Outgoing {
  readonly name: string;
  readonly links: SharedLinks;
}

const outgoing = new Map<string, Outgoing>();

/** A pipe's use of the connections that this process has to a server; ends with `release`. */
export class SharedUse {
  readonly #key: string;
  readonly #outgoing: Outgoing;
  readonly #server: Server;
  #id: string | undefined;
  #released = false;

  constructor(identity: Identity, server: Server) {
    const { host, port, fingerprint, localAddresses = [] } = server;
    this.#server = server;
    this.#key = [host, port, fingerprint, identity.fingerprint, ...localAddresses].join(' ');
    this.#outgoing =
      outgoing.get(this.#key) ?? this.#open({ ...identity, peerFingerprint: fingerprint });
    this.#outgoing.links.users++;
  }

  #open(identity: LinkIdentity): Outgoing {
    const made: Outgoing = {
      name: randomBytes(ID_BYTES).toString('hex'),
      links: new SharedLinks(identity, () => this.#forget(made)),
    };
    outgoing.set(this.#key, made);
    return made;
  }
  #forget(one: Outgoing): void {
    if (outgoing.get(this.#key) === one) outgoing.delete(this.#key);
  }

  /** What the other machine is told that they are called. */
  get name(): string {
    return this.#outgoing.name;
  }

  /** Has the agents of a pipe given as many streams as they need, over connections that are made for it if need be. */
  keep(
    target: Omit<SharedTarget, 'host' | 'localAddresses'>,
    need: SharedNeed,
    takeOver: TakeOver,
    lost: Lost,
  ): void {
    const { host, localAddresses = [] } = this.#server;
    const { links } = this.#outgoing;
    this.#id = need.id;
    links.register(need.id, { takeOver, lost });
    links.send({ type: 'keep', need, target: { ...target, host, localAddresses } });
  }

  /** The pipe is over. May be called again. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    const { links } = this.#outgoing;
    if (this.#id !== undefined) links.withdraw(this.#id);
    if (--links.users > 0) return;
    links.close();
    this.#forget(this.#outgoing);
  }
}

/** Where those of a peer are accepted. */
export interface SharedEntrance {
  readonly id: string;
  readonly secret: Uint8Array;
  register(id: string, takeOver: TakeOver, lost: Lost): void;
  /** The pipe is over. */
  release(id: string): void;
}

interface Incoming extends SharedEntrance {
  readonly links: SharedLinks;
}

/** The shared connections of a machine's peers. */
export class SharedPort {
  readonly #incoming = new Map<string, Incoming>();

  /** Those that a peer calls so; `release` is owed for each call. */
  use(identity: Identity, peerFingerprint: string, name: string, port: DataPort): SharedEntrance {
    const key = `${peerFingerprint} ${name}`;
    const known =
      this.#incoming.get(key) ?? this.#open({ ...identity, peerFingerprint }, key, port);
    known.links.users++;
    return known;
  }

  #open(identity: LinkIdentity, key: string, port: DataPort): Incoming {
    const id = randomBytes(ID_BYTES).toString('hex');
    const secret = randomBytes(TOKEN_BYTES);
    const forget = (): void => {
      port.withdraw(id);
      if (this.#incoming.get(key) === made) this.#incoming.delete(key);
    };
    const links = new SharedLinks(identity, forget);
    const made: Incoming = {
      id,
      secret,
      links,
      register: (half, takeOver, lost) => links.register(half, { takeOver, lost }),
      release: (half) => {
        links.withdraw(half);
        if (--links.users > 0) return;
        links.close();
        forget();
      },
    };
    this.#incoming.set(key, made);
    links.send({ type: 'accept', id, secret });
    port.register(id, async (connection) => links.take(connection));
    return made;
  }
}
