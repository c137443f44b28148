/**
 * Sockets of the file system between processes of one user, and lines of JSON on them.
 *
 * Contract: who may open such a socket is who may enter the folder that it lies in (0700; the socket itself
 * 0600). A line is bounded; what is no JSON, or too long, ends the connection. Lines that nobody asks for
 * yet wait, in a bounded number. `next` gives undefined once the connection has ended, whatever ended it.
 */
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { ByteString } from '../../base/bytes.ts';
import { toPenstockError } from '../../base/errors.ts';

/** What a socket's address holds, with the zero at its end. */
const PATH_BYTES_MAX = 107;
/** Lines that wait to be asked for. */
const LINES_WAITING_MAX = 64;

/** The path as the operating system is given it; undefined where it is too long for a socket. */
export function socketPath(path: ByteString): string | undefined {
  const bytes = Buffer.from(path, 'latin1');
  return bytes.length > PATH_BYTES_MAX ? undefined : bytes.toString('utf8');
}

/** Opens a socket in place of one that a killed process left; undefined where another process answers. */
export async function listenLocal(
  path: string,
  accept: (socket: Socket) => void,
): Promise<Server | undefined> {
  const other = await connectLocal(path);
  other?.destroy();
  if (other !== undefined) return undefined;
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    socket.on('error', () => {});
    accept(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(toPenstockError(error)));
    server.listen(path, () => resolve());
  });
  server.on('error', () => {});
  chmodSync(path, 0o600);
  return server;
}

/** A connection; undefined where nobody listens. */
export function connectLocal(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.on('error', () => resolve(undefined));
  });
}

/** Closes a server; connections must be ended by who has them. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

export class LineChannel {
  readonly socket: Socket;
  readonly #bytesMax: number;
  readonly #lines: unknown[] = [];
  /** Of a line that is not whole yet. */
  #parts: Buffer[] = [];
  #partsBytes = 0;
  #ended = false;
  #waiting: ((value: unknown) => void) | undefined;

  /** @param bytesMax of one line */
  constructor(socket: Socket, bytesMax: number) {
    this.socket = socket;
    this.#bytesMax = bytesMax;
    socket.on('data', this.#received);
    socket.once('end', this.#over);
    socket.once('close', this.#over);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The next line; undefined at the end, and where none comes in time. One call at a time. */
  next(withinMs?: number): Promise<unknown> {
    if (this.#lines.length > 0) return Promise.resolve(this.#lines.shift());
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const timer =
        withinMs === undefined ? undefined : setTimeout(() => this.#give(undefined), withinMs);
      this.#waiting = (value) => {
        clearTimeout(timer);
        resolve(value);
      };
    });
  }

  send(value: object): void {
    if (!this.socket.destroyed) this.socket.write(`${JSON.stringify(value)}\n`);
  }

  /** Ends the connection after a last line, if one is given. */
  close(last?: object): void {
    if (last !== undefined) this.send(last);
    this.socket.end();
    this.#over();
  }

  /** Gives the socket away, paused, before anything has come. */
  release(): Socket {
    this.socket.pause();
    this.socket.off('data', this.#received);
    this.socket.off('end', this.#over);
    this.socket.off('close', this.#over);
    this.#over();
    return this.socket;
  }

  #give(value: unknown): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(value);
  }

  readonly #over = (): void => {
    this.#ended = true;
    this.#give(undefined);
  };

  readonly #received = (more: Buffer): void => {
    for (let from = 0; from < more.length && !this.socket.destroyed; ) {
      const found = more.indexOf(10, from);
      const to = found < 0 ? more.length : found;
      this.#parts.push(more.subarray(from, to));
      this.#partsBytes += to - from;
      if (this.#partsBytes > this.#bytesMax) this.socket.destroy();
      else if (found >= 0) this.#line();
      from = to + 1;
    }
  };

  #line(): void {
    const bytes = Buffer.concat(this.#parts, this.#partsBytes);
    this.#parts = [];
    this.#partsBytes = 0;
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString('utf8'));
    } catch {
      value = undefined;
    }
    const isLine = typeof value === 'object' && value !== null;
    if (!isLine || this.#lines.length >= LINES_WAITING_MAX) this.socket.destroy();
    else if (this.#waiting === undefined) this.#lines.push(value);
    else this.#give(value);
  }
}
