/**
 * The socket in the state folder by which commands of the same user ask their own monitor.
 *
 * Contract: who may open it is who owns the state folder (mode 0700, the socket 0600). One line of JSON
 * is a request, one line the answer; a connection carries one. A socket that a killed monitor left is
 * replaced; where another monitor answers, or the path is too long for one, this one has none.
 */
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { fromWireError, toWireError } from '../channel/net/control-channel.ts';
import type { MonitorContext } from './context.ts';
import type { PipeRegistry, PipeView } from './pipe-registry.ts';

const NAME = 'monitor.sock';
/** What a socket's address holds, with the zero at its end. */
const PATH_BYTES_MAX = 107;

type Request = { readonly type: 'pipes' } | { readonly type: 'stop'; readonly name: string };

export class LocalSocket {
  readonly #server: Server;
  readonly #registry: PipeRegistry;
  readonly #open = new Set<Socket>();

  private constructor(registry: PipeRegistry) {
    this.#registry = registry;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Opens it; undefined where that cannot be. */
  static async open(
    { state, log }: MonitorContext,
    registry: PipeRegistry,
  ): Promise<LocalSocket | undefined> {
    const path = socketPath(state.path);
    if (path === undefined || (await answers(path))) {
      log.warn(
        'commands cannot ask this monitor for its pipes: another has the socket, or its path is too long',
      );
      return undefined;
    }
    rmSync(path, { force: true });
    const made = new LocalSocket(registry);
    await new Promise<void>((resolve, reject) => {
      made.#server.once('error', (error) => reject(toPenstockError(error)));
      made.#server.listen(path, () => resolve());
    });
    made.#server.on('error', () => {});
    chmodSync(path, 0o600);
    return made;
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    this.#open.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#open.delete(socket));
    readLine(socket).then(
      async (line) => {
        socket.end(`${JSON.stringify(await this.#answer(line))}\n`);
      },
      () => socket.destroy(),
    );
  }

  async #answer(line: string): Promise<object> {
    try {
      const request = JSON.parse(line) as Request;
      if (request.type === 'pipes') return { pipes: this.#registry.list(() => true) };
      const reason = new PenstockError('PIPE_STOPPED', 'the user has stopped the pipe');
      await this.#registry.stop(String(request.name), reason, () => true);
      return { stopped: request.name };
    } catch (thrown) {
      return { error: toWireError(toPenstockError(thrown)) };
    }
  }
}

/** Asks the monitor of a state folder for its pipes. MONITOR_MISSING. */
export async function askPipes(stateDirectory: string): Promise<PipeView[]> {
  return (await ask<{ pipes: PipeView[] }>(stateDirectory, { type: 'pipes' })).pipes;
}

/** Has the monitor of a state folder stop a pipe. MONITOR_MISSING, PIPE_UNKNOWN. */
export async function askStop(stateDirectory: string, name: string): Promise<void> {
  await ask(stateDirectory, { type: 'stop', name });
}

async function ask<T>(stateDirectory: string, request: Request): Promise<T> {
  const path = socketPath(stateDirectory);
  const socket = path === undefined ? undefined : await open(path);
  if (socket === undefined) {
    throw new PenstockError('MONITOR_MISSING', 'no monitor runs with this state folder', {
      subject: stateDirectory,
    });
  }
  socket.write(`${JSON.stringify(request)}\n`);
  try {
    const answer = JSON.parse(await readLine(socket)) as T & { error?: unknown };
    if (answer.error !== undefined) throw fromWireError(answer.error, 'the monitor');
    return answer;
  } finally {
    socket.destroy();
  }
}

function socketPath(stateDirectory: string): string | undefined {
  const path = Buffer.from(`${stateDirectory}/${NAME}`, 'latin1');
  return path.length > PATH_BYTES_MAX ? undefined : path.toString('utf8');
}

async function answers(path: string): Promise<boolean> {
  const socket = await open(path);
  socket?.destroy();
  return socket !== undefined;
}

function open(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.on('error', () => resolve(undefined));
  });
}

/** The first line; rejects if the connection ends before, or the line is too long. */
function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    const end = (): void =>
      reject(new PenstockError('NET_LOST', 'the monitor ended before it answered'));
    socket.on('data', (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      const length = bytes.indexOf(10);
      if (length >= 0) resolve(bytes.toString('utf8', 0, length));
      else if (bytes.length > LIMITS.localMessageBytesMax) socket.destroy();
    });
    socket.once('close', end);
  });
}
