/**
 * The port for data connections (7422): reads who a connection is for, and hands it to the agent's thread.
 *
 * Contract: a stranger can send 64 bytes, and learns nothing: whatever is not a preamble for a half pipe
 * that waits for agents is ended without a word. No more than LIMITS.preamblesPendingMax connections are
 * undecided at a time, each for at most LIMITS.preambleMs; when one more comes, the oldest of the address
 * that has most of them is ended (strangers.ts). Who is at the other end is found out by the agent (link-setup.ts).
 */
import { createServer, type Server, type Socket } from 'node:net';
import { toPenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { duplicateDescriptor } from '../../host/mod.ts';
import { PREAMBLE_BYTES, readPreamble } from './frame.ts';
import { dropDescriptor, type HandOver } from './links.ts';
import { Strangers } from './strangers.ts';

/** Hands a connection to the agents of a half pipe; resolves with whether one took it. */
export type TakeOver = (connection: HandOver) => Promise<boolean>;

export class DataPort {
  readonly #servers: Server[] = [];
  readonly #halves: Map<string, TakeOver> = new Map();
  /** Connections of which nothing is known yet. */
  readonly #pending: Strangers = new Strangers(LIMITS.preamblesPendingMax, LIMITS.preambleMs, () =>
    performance.now(),
  );

  /** Opens the port on these addresses; 0 takes any that is free. HOST_IO. */
  static async open(hosts: readonly string[], port: number): Promise<DataPort> {
    const made = new DataPort();
    try {
      for (const host of hosts) await made.#listen(host, made.port === 0 ? port : made.port);
    } catch (thrown) {
      await made.close();
      throw toPenstockError(thrown);
    }
    return made;
  }

  async #listen(host: string, port: number): Promise<void> {
    const server = createServer({ noDelay: true }, (socket) => this.#accepted(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port }, () => resolve());
    });
    server.on('error', () => {});
    this.#servers.push(server);
  }

  get port(): number {
    const address = this.#servers[0]?.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** From now on connections that name this half pipe are handed over. */
  register(id: string, takeOver: TakeOver): void {
    this.#halves.set(id, takeOver);
  }

  withdraw(id: string): void {
    this.#halves.delete(id);
  }

  async close(): Promise<void> {
    this.#halves.clear();
    this.#pending.endAll();
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((done) => server.close(() => done()))),
    );
  }

  #accepted(socket: Socket): void {
    const pending = this.#pending;
    pending.add(socket);
    const timer = setTimeout(() => socket.destroy(), LIMITS.preambleMs);
    let bytes = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.once('close', () => {
      clearTimeout(timer);
      pending.remove(socket);
    });
    socket.on('data', (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      // More than a preamble would be bytes that only the agent may read.
      if (bytes.length < PREAMBLE_BYTES) return;
      this.#decide(socket, bytes);
      socket.destroy();
    });
  }

  #decide(socket: Socket, bytes: Buffer): void {
    const preamble = readPreamble(bytes);
    const takeOver = preamble === undefined ? undefined : this.#halves.get(preamble.id);
    const open = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
    if (preamble === undefined || takeOver === undefined || open < 0) return;
    const descriptor = duplicateDescriptor(open);
    if (descriptor < 0) return;
    const { agent, attempt } = preamble;
    // This side's object goes first: it must not read what comes after the answer of the agent.
    socket.destroy();
    takeOver({ type: 'link', agent, attempt, descriptor }).then(
      (taken) => {
        if (!taken) dropDescriptor(descriptor);
      },
      () => dropDescriptor(descriptor),
    );
  }
}
