/**
 * A TCP proxy between a client and a server, which breaks connections in the ways in which networks do.
 *
 * Contract: it listens on loopback, in the process that made it: what is to pass it must run in
 * another one, or not block this one. Faults hold for all connections, present and future, until
 * they are taken back; `close` leaves nothing behind.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class NetProxy {
  readonly #targetPort: number;
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  /** New connections are ended at once, as by a host without the server. */
  refuses = false;
  /** Each further connection is cut after so many bytes from the client; 0: never. */
  cutAfterBytes = 0;
  /** What the server says is cut off after so many bytes of each further connection; 0: never. */
  truncateAfterBytes = 0;
  /** Connections so far, and bytes of both directions. */
  connections = 0;
  bytes = 0;
  #stalls = false;
  #due: { readonly bytes: number; readonly act: () => void } | undefined;
  #delayMs = 0;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** In front of a port of 127.0.0.1; at another address of this machine it may have the same number. */
  static async start(targetPort: number, host = '127.0.0.1', port = 0): Promise<NetProxy> {
    const proxy = new NetProxy(targetPort);
    proxy.#server.listen(port, host);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  get open(): number {
    return this.#pairs.size;
  }

  /** Ends all connections, both sides at once. */
  cut(): void {
    for (const pair of [...this.#pairs]) pair.cut();
  }

  /** While true nothing is passed on, and nobody is told: a network that swallows everything. */
  set stalls(value: boolean) {
    this.#stalls = value;
    for (const pair of this.#pairs) pair.hold(value);
  }

  /** The server's sides end, the clients' stay as they are: what a server that was switched off leaves. */
  halfOpen(): void {
    for (const pair of this.#pairs) pair.loseServer();
  }

  /** Each piece is passed on this much later, on all connections alike. */
  set delayMs(value: number) {
    this.#delayMs = value;
    for (const pair of this.#pairs) pair.delayMs = value;
  }

  /** Each open connection gets a delay of its own, so that what one carries overtakes what another does. */
  lag(delayOf: () => number): void {
    for (const pair of this.#pairs) pair.delayMs = delayOf();
  }

  /** Clients see their connections break, but what they had sent still arrives, some time later. */
  strand(lateMs: number): void {
    for (const pair of this.#pairs) pair.strand(lateMs);
  }

  /** Does something, and resolves, as soon as so many bytes more have passed, and before any further one does. */
  after(bytes: number, act: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.#due = {
        bytes: this.bytes + bytes,
        act: () => {
          act();
          resolve();
        },
      };
    });
  }

  /** Resolves once so many bytes have passed in all. */
  async passed(bytes: number): Promise<void> {
    while (this.bytes < bytes) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(client: Socket): void {
    if (this.refuses) {
      client.destroy();
      return;
    }
    this.connections++;
    const server = connect(this.#targetPort, '127.0.0.1');
    const pair: Pair = new Pair(client, server, {
      delayMs: this.#delayMs,
      cutAfterBytes: this.cutAfterBytes,
      truncateAfterBytes: this.truncateAfterBytes,
      onBytes: (count) => {
        this.bytes += count;
        const due = this.#due;
        if (due === undefined || this.bytes < due.bytes) return;
        this.#due = undefined;
        due.act();
      },
      onEnd: () => this.#pairs.delete(pair),
    });
    this.#pairs.add(pair);
    pair.hold(this.#stalls);
  }
}

interface PairOptions {
  readonly delayMs: number;
  readonly cutAfterBytes: number;
  readonly truncateAfterBytes: number;
  readonly onBytes: (count: number) => void;
  readonly onEnd: () => void;
}

/** One connection: the client's side and the server's. */
class Pair {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #options: PairOptions;
  #isLost = false;
  #isStranded = false;
  delayMs: number;

  constructor(client: Socket, server: Socket, options: PairOptions) {
    this.delayMs = options.delayMs;
    this.#client = client;
    this.#server = server;
    this.#options = options;
    this.#pass(client, server, options.cutAfterBytes);
    this.#pass(server, client, options.truncateAfterBytes);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        if (this.#isStranded && socket === client) return;
        if (!this.#isLost || socket === client) this.cut();
      });
    }
  }

  #pass(from: Socket, to: Socket, bytesMax: number): void {
    let bytes = 0;
    // What is delayed stays in its order, also while the delay changes.
    let last: Promise<void> | undefined;
    from.on('data', (piece: Buffer) => {
      if (this.#isLost) return;
      const left = bytesMax === 0 ? piece.length : Math.max(0, bytesMax - bytes);
      const passed = piece.subarray(0, left);
      bytes += passed.length;
      this.#options.onBytes(passed.length);
      const send = (): void => {
        if (!to.write(passed) && !from.isPaused()) {
          from.pause();
          to.once('drain', () => from.resume());
        }
        if (passed.length < piece.length) to.end(() => this.cut());
      };
      if (this.delayMs === 0 && last === undefined) {
        send();
        return;
      }
      const dueMs = performance.now() + this.delayMs;
      const own = (last ?? Promise.resolve()).then(async () => {
        const waitMs = dueMs - performance.now();
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
        if (!to.destroyed) send();
        if (last === own) last = undefined;
      });
      last = own;
    });
  }

  hold(isHeld: boolean): void {
    for (const socket of [this.#client, this.#server]) {
      if (isHeld) socket.pause();
      else socket.resume();
    }
  }

  strand(lateMs: number): void {
    this.#isStranded = true;
    this.#client.destroy();
    setTimeout(() => this.cut(), this.delayMs + lateMs);
  }

  loseServer(): void {
    this.#isLost = true;
    this.#server.destroy();
  }

  cut(): void {
    this.#client.destroy();
    this.#server.destroy();
    this.#options.onEnd();
  }
}
