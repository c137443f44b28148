/**
 * Connections that several pipes share between two machines (P11), as the rest of this process sees them; what
 * they are stands in shared-thread.ts.
 *
 * Contract: on either side they are there as long as a pipe uses them, and end with the last. Whoever connects
 * names his by a word of his own, so that several programs of one machine each have theirs. Streams
 * go only to agents of pipes that the same peer has begun, and that asked to share.
 */

import { randomBytes } from 'node:crypto';
import { getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';
import { codeFile } from '../../base/code-file.ts';
import type { Server } from './api-client.ts';
import type { DataPort, TakeOver } from './data-port.ts';
import { ID_BYTES, TOKEN_BYTES } from './frame.ts';
import type { Identity } from './identity.ts';
import type { LinkIdentity } from './link-setup.ts';
import { dropDescriptor } from './links.ts';
import type { SharedNeed, SharedRequest, SharedStream, SharedTarget } from './shared-thread.ts';

const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 } as const;

/** The thread, and whom its streams go to. */
class SharedLinks {
  readonly #worker: Worker;
  readonly #halves = new Map<string, TakeOver>();
  users = 0;

  constructor(identity: LinkIdentity) {
    this.#worker = new Worker(codeFile('pipe/event-worker.js'), {
      name: 'shared',
      workerData: {
        thread: codeFile('channel/net/shared-thread').href,
        cacheFolder: getCompileCacheDir(),
        identity,
      },
      resourceLimits: RESOURCE_LIMITS,
    });
    // Agents that have no connection any more end their pipes.
    this.#worker.on('error', () => {});
    this.#worker.on('message', (stream: SharedStream) => void this.#handOver(stream));
  }

  send(request: SharedRequest): void {
    this.#worker.postMessage(request);
  }

  register(id: string, takeOver: TakeOver): void {
    this.#halves.set(id, takeOver);
  }

  withdraw(id: string): void {
    this.#halves.delete(id);
    this.send({ type: 'drop', id });
  }

  close(): void {
    this.#halves.clear();
    this.send({ type: 'close' });
  }

  async #handOver({ id, connection }: SharedStream): Promise<void> {
    const takeOver = this.#halves.get(id);
    const isTaken = await takeOver?.(connection).catch(() => false);
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
    let known = outgoing.get(this.#key);
    if (known === undefined) {
      const links = new SharedLinks({ ...identity, peerFingerprint: fingerprint });
      known = { name: randomBytes(ID_BYTES).toString('hex'), links };
      outgoing.set(this.#key, known);
    }
    known.links.users++;
    this.#outgoing = known;
  }

  /** What the other machine is told that they are called. */
  get name(): string {
    return this.#outgoing.name;
  }

  /** Has them made, where they are not there. */
  connect(target: Omit<SharedTarget, 'host' | 'localAddresses'>): void {
    const { host, localAddresses = [] } = this.#server;
    this.#outgoing.links.send({ type: 'connect', target: { ...target, host, localAddresses } });
  }

  /** Has the agents of a pipe given as many streams as they need. */
  keep(need: SharedNeed, takeOver: TakeOver): void {
    this.#id = need.id;
    this.#outgoing.links.register(need.id, takeOver);
    this.#outgoing.links.send({ type: 'keep', need });
  }

  /** The pipe is over. May be called again. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    const { links } = this.#outgoing;
    if (this.#id !== undefined) links.withdraw(this.#id);
    if (--links.users > 0) return;
    links.close();
    outgoing.delete(this.#key);
  }
}

/** Where those of a peer are accepted. */
export interface SharedEntrance {
  readonly id: string;
  readonly secret: Uint8Array;
  register(id: string, takeOver: TakeOver): void;
  /** The pipe is over. */
  release(id: string): void;
}

/** The shared connections of a machine's peers. */
export class SharedPort {
  readonly #incoming = new Map<string, SharedEntrance & { readonly links: SharedLinks }>();

  /** Those that a peer calls so; `release` is owed for each call. */
  use(identity: Identity, peerFingerprint: string, name: string, port: DataPort): SharedEntrance {
    const key = `${peerFingerprint} ${name}`;
    let known = this.#incoming.get(key);
    if (known === undefined) {
      known = this.#open({ ...identity, peerFingerprint }, key, port);
      this.#incoming.set(key, known);
    }
    known.links.users++;
    return known;
  }

  #open(
    identity: LinkIdentity,
    key: string,
    port: DataPort,
  ): SharedEntrance & { readonly links: SharedLinks } {
    const id = randomBytes(ID_BYTES).toString('hex');
    const secret = randomBytes(TOKEN_BYTES);
    const links = new SharedLinks(identity);
    links.send({ type: 'accept', id, secret });
    port.register(id, async (connection) => {
      links.send(connection);
      return true;
    });
    return {
      id,
      secret,
      links,
      register: (half, takeOver) => links.register(half, takeOver),
      release: (half) => {
        links.withdraw(half);
        if (--links.users > 0) return;
        links.close();
        port.withdraw(id);
        this.#incoming.delete(key);
      },
    };
  }
}
