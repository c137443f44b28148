/**
 * A TCP proxy that does to single connections what networks do: cuts, stalls, delays, truncates,
 * half-opens, flips bits. (net-proxy.ts does it to all of them at once, for one client.)
 *
 * Contract: passes everything on unchanged until it is told otherwise; a fault concerns the connections
 * that are open then (or one of them), or, as `onConnect`, each new one. `close` ends everything.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export type LinkFault =
  /** Both sides are reset. */
  | { readonly how: 'cut' }
  /** Nothing passes for so long, then all that came meanwhile. */
  | { readonly how: 'stall'; readonly ms: number }
  /** Everything passes so much later. */
  | { readonly how: 'delay'; readonly ms: number }
  /** So many further bytes pass in one direction, then the connection ends in order. */
  | { readonly how: 'truncate'; readonly bytes: number; readonly towards: 'server' | 'client' }
  /** Nothing passes any more, and neither side is told. */
  | { readonly how: 'half-open' }
  /** One bit of what passes next to the server is changed. */
  | { readonly how: 'flip' };

class Passage {
  readonly client: Socket;
  readonly server: Socket;
  #heldUntilMs = 0;
  #delayMs = 0;
  #dead = false;
  #flips = false;
  readonly #left = { server: Number.POSITIVE_INFINITY, client: Number.POSITIVE_INFINITY };
  readonly #tails = { server: Promise.resolve(), client: Promise.resolve() };
  readonly #proxy: LinkProxy;

  constructor(client: Socket, server: Socket, proxy: LinkProxy) {
    this.client = client;
    this.server = server;
    this.#proxy = proxy;
    this.#pipe(client, server, 'server');
    this.#pipe(server, client, 'client');
  }

  apply(fault: LinkFault): void {
    switch (fault.how) {
      case 'cut':
        this.client.resetAndDestroy();
        this.server.resetAndDestroy();
        break;
      case 'stall':
        this.#heldUntilMs = performance.now() + fault.ms;
        break;
      case 'delay':
        this.#delayMs = fault.ms;
        break;
      case 'truncate':
        this.#left[fault.towards] = fault.bytes;
        break;
      case 'half-open':
        this.#dead = true;
        break;
      case 'flip':
        this.#flips = true;
        break;
    }
  }

  destroy(): void {
    this.client.destroy();
    this.server.destroy();
  }

  #pipe(from: Socket, to: Socket, towards: 'server' | 'client'): void {
    from.setNoDelay(true);
    from.on('error', () => {});
    from.on('data', (bytes: Buffer) => {
      if (this.#dead) return;
      from.pause();
      this.#tails[towards] = this.#tails[towards]
        .then(() => this.#pass(bytes, to, towards))
        .then(() => {
          from.resume();
        });
    });
    from.on('end', () => {
      if (!this.#dead) void this.#tails[towards].then(() => to.end());
    });
    from.on('close', () => {
      if (!this.#dead) void this.#tails[towards].then(() => to.destroy());
    });
  }

  async #pass(bytes: Buffer, to: Socket, towards: 'server' | 'client'): Promise<void> {
    const waitMs = Math.max(this.#delayMs, this.#heldUntilMs - performance.now());
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs).unref());
    await this.#proxy.whileHeld();
    if (this.#dead || to.destroyed) return;
    let passed = bytes;
    if (this.#flips && towards === 'server') {
      this.#flips = false;
      passed = Buffer.from(bytes);
      passed[bytes.length >> 1] = (passed[bytes.length >> 1] as number) ^ 1;
    }
    if (passed.length > this.#left[towards]) {
      passed = passed.subarray(0, this.#left[towards]);
      to.end(passed);
      this.#dead = true;
      setTimeout(() => this.destroy(), 20);
      return;
    }
    this.#left[towards] -= passed.length;
    this.#proxy.count(passed.length);
    await new Promise<void>((resolve) => {
      to.once('close', resolve);
      to.write(passed, () => {
        to.off('close', resolve);
        resolve();
      });
    });
  }
}

export class LinkProxy {
  readonly #server: Server;
  readonly #passages = new Set<Passage>();
  readonly #port: number;
  readonly #host: string;
  #bytes = 0;
  #due: { readonly bytes: number; readonly act: () => void } | undefined;
  #held: PromiseWithResolvers<void> | undefined;
  /** Applied to each new connection. */
  onConnect: LinkFault | undefined;
  /** New connections are refused. */
  down = false;
  connections = 0;
  /** Where connections came from. */
  readonly clients: Set<string> = new Set();

  private constructor(port: number, host: string) {
    this.#port = port;
    this.#host = host;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** A proxy in front of a port of this machine, itself at any free one, or at a given one. */
  static async open(port: number, host = '127.0.0.1', at = 0): Promise<LinkProxy> {
    const proxy = new LinkProxy(port, host);
    proxy.#server.listen(at, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get open(): number {
    return this.#passages.size;
  }

  /** Does something, and resolves, as soon as so many bytes more have passed in all. */
  after(bytes: number, act: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.#due = {
        bytes: this.#bytes + bytes,
        act: () => {
          act();
          resolve();
        },
      };
    });
  }
  /** Of the connections: something has passed. */
  count(bytes: number): void {
    this.#bytes += bytes;
    const due = this.#due;
    if (due === undefined || this.#bytes < due.bytes) return;
    this.#due = undefined;
    due.act();
  }

  /** Nothing passes, on any connection, until it is released. */
  hold(): void {
    this.#held ??= Promise.withResolvers();
  }
  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }
  /** Of the connections: resolves once they may pass something. */
  async whileHeld(): Promise<void> {
    while (this.#held !== undefined) await this.#held.promise;
  }

  /** Does it to all open connections, or to the n-th of them (modulo their number). */
  fault(fault: LinkFault, which?: number): void {
    const open = [...this.#passages];
    const chosen = which === undefined ? open : open.slice(which % Math.max(1, open.length));
    for (const passage of which === undefined ? chosen : chosen.slice(0, 1)) passage.apply(fault);
  }

  async close(): Promise<void> {
    this.release();
    for (const passage of this.#passages) passage.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(client: Socket): void {
    this.connections++;
    this.clients.add(client.remoteAddress ?? '');
    client.on('error', () => {});
    if (this.down) {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.#port, host: this.#host });
    const passage = new Passage(client, server, this);
    this.#passages.add(passage);
    if (this.onConnect !== undefined) passage.apply(this.onConnect);
    for (const side of [client, server]) {
      side.once('close', () => {
        if (client.destroyed && server.destroyed) this.#passages.delete(passage);
      });
    }
  }
}
