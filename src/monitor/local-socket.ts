/**
 * The socket in the state folder by which commands of the same user ask their own monitor, and tell it of
 * the pipes that they run.
 *
 * Contract: who may open it is who owns the state folder (mode 0700, the socket 0600). One line of JSON
 * is a request, one line the answer; a connection carries one. One that registers a pipe stays: the
 * command sends what its pipe does every second, the monitor whether it is to stop; the pipe is known until
 * the connection ends. A socket that a killed monitor left is replaced; where another monitor answers, or
 * the path is too long for one, this one has none.
 */
import type { Server, Socket } from 'node:net';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  closeServer,
  LineChannel,
  listenLocal,
  socketPath,
} from '../channel/local/line-channel.ts';
import { toWireError } from '../channel/wire-error.ts';
import type { MonitorContext } from './context.ts';
import type { LocalRequest } from './local-requests.ts';
import type { FarPart, NearPipes } from './near-pipes.ts';
import type { PipeRegistry } from './pipe-registry.ts';
import { isPipeView, type PipeView } from './pipe-view.ts';
import { SOCKET_NAME } from './socket-name.ts';

export class LocalSocket {
  readonly #registry: PipeRegistry;
  readonly #near: NearPipes;
  readonly #open = new Set<Socket>();
  #server: Server | undefined;

  private constructor(registry: PipeRegistry, near: NearPipes) {
    this.#registry = registry;
    this.#near = near;
  }

  /** Opens it; undefined where that cannot be. */
  static async open(
    { state, log }: MonitorContext,
    registry: PipeRegistry,
    near: NearPipes,
  ): Promise<LocalSocket | undefined> {
    const path = socketPath(`${state.path}/${SOCKET_NAME}`);
    const made = new LocalSocket(registry, near);
    made.#server =
      path === undefined ? undefined : await listenLocal(path, (socket) => made.#accept(socket));
    if (made.#server !== undefined) return made;
    log.warn(
      'commands cannot ask this monitor for its pipes: another has the socket, or its path is too long',
    );
    return undefined;
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    if (this.#server !== undefined) await closeServer(this.#server);
  }

  #accept(socket: Socket): void {
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    const channel = new LineChannel(socket, LIMITS.localMessageBytesMax);
    this.#answer(channel).then(
      (answer) => channel.close(answer),
      (thrown) => channel.close({ error: toWireError(toPenstockError(thrown)) }),
    );
  }

  async #answer(channel: LineChannel): Promise<object> {
    const request = (await channel.next()) as Partial<LocalRequest> | undefined;
    switch (request?.type) {
      case 'pipes':
        return { pipes: this.#registry.list(() => true) };
      case 'stop': {
        const reason = new PenstockError('PIPE_STOPPED', 'the user has stopped the pipe');
        await this.#registry.stop(String(request.name), reason, () => true);
        return { stopped: request.name };
      }
      case 'start':
        return { ...(await this.#near.start(startRequest(request.request))) };
      case 'register':
        await this.#registered(channel, request.view);
        return { over: true };
      default:
        throw new PenstockError('USAGE', 'the monitor does not know this request');
    }
  }

  /** A pipe of a command, until its connection ends. */
  async #registered(channel: LineChannel, first: unknown): Promise<void> {
    const name = String((first as Partial<PipeView> | undefined)?.name);
    let view = checkedView(first, name);
    const over = Promise.withResolvers<void>();
    const remove = this.#registry.add({
      name,
      owner: undefined,
      isOwn: false,
      done: over.promise,
      view: () => view,
      stop: async (reason) => {
        channel.send({ stop: toWireError(reason) });
        await within(LIMITS.commandStopMs, over.promise, name);
      },
    });
    try {
      for (let line = await channel.next(); line !== undefined; line = await channel.next()) {
        view = checkedView((line as { view?: unknown }).view, name);
      }
    } finally {
      remove();
      over.resolve();
    }
  }
}

/** Waits for the end of a pipe that a command runs. PIPE_FAILED where it does not come. */
async function within(limitMs: number, over: Promise<void>, name: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new PenstockError('PIPE_FAILED', `the command that runs ${name} does not end it`, {
            subject: name,
            hint: 'end its process',
          }),
        ),
      limitMs,
    );
  });
  await Promise.race([over, late]).finally(() => clearTimeout(timer));
}

function checkedView(value: unknown, name: string): PipeView {
  if (/^[\w.-]{1,200}$/.test(name) && isPipeView(value, name)) return value;
  throw new PenstockError('USAGE', 'what was sent does not describe a pipe');
}

type Fields = { readonly [field: string]: unknown };

/** What a command sent, field by field; the rest is for who starts the pipe. */
function startRequest(sent: unknown): Parameters<NearPipes['start']>[0] {
  const { name, far, through, device, shared, waitMs } = (sent ?? {}) as Fields;
  const words = (value: unknown): string[] => {
    if (Array.isArray(value) && value.every((word) => typeof word === 'string')) return value;
    throw new PenstockError('USAGE', 'the modules are no list of names');
  };
  const text = (value: unknown): string | undefined =>
    typeof value === 'string' && value.length <= 200 ? value : undefined;
  const { flow, machines } = (far ?? {}) as Fields;
  const isFar = (flow === 'push' || flow === 'pull') && Array.isArray(machines);
  const part = (machine: Fields | null): FarPart => ({
    host: String(machine?.host).slice(0, LIMITS.hostNameLengthMax),
    port: Number(machine?.port),
    through: words(machine?.through),
    device: text(machine?.device),
  });
  return {
    name: text(name),
    ...(isFar ? { far: { flow, machines: machines.map(part) } } : {}),
    through: words(through),
    device: text(device),
    shared: shared === true,
    waitMs: typeof waitMs === 'number' && waitMs > 0 ? waitMs : undefined,
  };
}
