/**
 * Where programs attach themselves to a pipe of this process: a socket in the state folder, one a pipe (P10).
 *
 *   program                                        process that runs the pipe
 *   control connection: sendIdent (pipe, role, process id)   ──▶  finds an unbound instance, reserves it
 *                                                  ◀──  attached: stage, and a token that is good once
 *   data connection: the token                     ──▶  its descriptor goes to the thread of the instance
 *                                                  ◀──  the thread takes it: frames from here on (program-frame.ts)
 *   control connection                             ◀──  how the pipe ended
 *
 * Contract: only the user who owns the state folder gets to the socket. Agents of the network are never taken
 * for unbound modules. Whatever comes that is none of these messages ends its connection alone. What was
 * reserved is free again when the data connection does not come in time, or the program goes.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import type { ByteString } from '../../base/bytes.ts';
import { toBytes } from '../../base/bytes.ts';
import { PenstockError, toPenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { duplicateDescriptor, openClock } from '../../host/mod.ts';
import type { Pipe, PipeSpec } from '../../pipe/mod.ts';
import { dropDescriptor } from '../net/links.ts';
import { toWireError } from '../wire-error.ts';
import { ATTACH_VERSION, type ProgramAttached, type ProgramIdent } from './attach-messages.ts';
import { closeServer, connectLocal, LineChannel, listenLocal, socketPath } from './line-channel.ts';
import type { ProgramArrival, ProgramGone } from './unbound.ts';
import { ATTACH_FOLDER, attachPath, unboundStages } from './unbound-stage.ts';

const TOKEN_BYTES = 16;

export interface AttachPortOptions {
  readonly stateDirectory: ByteString;
  readonly pipe: Pipe;
  /** The stages that are unbound. */
  readonly stages: readonly string[];
  /** Settles as the whole pipe does, on all its machines. */
  readonly done: Promise<unknown>;
  readonly program: string;
  readonly machine: string;
}

/** An instance that waits for a program, or has one. */
interface Place {
  readonly stage: string;
  readonly role: 'head' | 'tail';
  readonly instance: number;
  token: Buffer | undefined;
  taken: boolean;
  processId: number;
}

class AttachPort {
  readonly #options: AttachPortOptions;
  readonly #places: Place[];
  readonly #controls = new Set<LineChannel>();
  readonly #open = new Set<Socket>();
  /** Those of which nothing is known yet. */
  readonly #strangers = new Set<Socket>();
  #server: Server | undefined;

  private constructor(options: AttachPortOptions) {
    this.#options = options;
    const { stages } = options.pipe.segment.config;
    const { roles } = options.pipe.segment.topology;
    this.#places = stages.flatMap(({ name, instances }, i) =>
      options.stages.includes(name)
        ? Array.from({ length: instances }, (_, instance) => ({
            stage: name,
            role: roles[i] === 'head' ? 'head' : 'tail',
            instance,
            token: undefined,
            taken: false,
            processId: 0,
          }))
        : [],
    );
  }

  /**
   * Opens it; it closes itself once the pipe is over, and tells its programs how it ended.
   *
   * @throws PIPE_CONFIG another process runs a pipe of this name, LIMIT the path is too long, HOST_IO
   */
  static async open(options: AttachPortOptions): Promise<AttachPort> {
    const { stateDirectory, pipe } = options;
    const port = new AttachPort(options);
    const path = socketPath(attachPath(stateDirectory, pipe.name));
    if (path === undefined) {
      throw new PenstockError('LIMIT', 'the path of the state folder is too long for sockets', {
        subject: stateDirectory,
        hint: 'name another folder with --state or PENSTOCK_STATE',
      });
    }
    await prepareFolder(stateDirectory);
    port.#server = await listenLocal(path, (socket) => port.#accept(socket));
    if (port.#server === undefined) {
      throw new PenstockError('PIPE_CONFIG', `there is a pipe ${pipe.name} already`);
    }
    options.done.then(
      () => port.#close({ type: 'over' }),
      (thrown) => port.#close({ type: 'stopped', error: toWireError(toPenstockError(thrown)) }),
    );
    return port;
  }

  /** Process ids of attached programs by stage. */
  programs(): Readonly<Record<string, readonly number[]>> {
    const found: Record<string, number[]> = {};
    for (const { stage, taken, processId } of this.#places) {
      found[stage] ??= [];
      if (taken) found[stage].push(processId);
    }
    return found;
  }

  async #close(last: object): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    for (const control of this.#controls) control.close(last);
    // Who does not read has no right to keep this process.
    const timer = setTimeout(() => {
      for (const socket of this.#open) socket.destroy();
    }, LIMITS.programEndMs).unref();
    for (const socket of this.#open) socket.unref();
    await closeServer(server);
    clearTimeout(timer);
  }

  #accept(socket: Socket): void {
    if (this.#open.size >= LIMITS.programConnectionsMax) {
      // Those that have not said who they are give way, the oldest first.
      const [oldest = socket] = this.#strangers;
      oldest.destroy();
      if (oldest === socket) return;
    }
    this.#open.add(socket);
    this.#strangers.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      this.#strangers.delete(socket);
    });
    this.#serve(new LineChannel(socket, LIMITS.programMessageBytesMax)).catch((thrown) => {
      const error = toWireError(toPenstockError(thrown));
      const refusal = Buffer.from(`${JSON.stringify({ type: 'refused', error })}\n`);
      socket.end(refusal);
    });
  }

  async #serve(channel: LineChannel): Promise<void> {
    const first = (await channel.next(LIMITS.programIdentMs)) as Partial<ProgramIdent> | undefined;
    this.#strangers.delete(channel.socket);
    const { type } = (first ?? {}) as { type?: unknown };
    if (first !== undefined && type === 'ident') await this.#identified(channel, first);
    else if (type === 'data') await this.#takeOver(channel, (first as { token?: unknown }).token);
    else channel.socket.destroy();
  }

  async #identified(channel: LineChannel, ident: Partial<ProgramIdent>): Promise<void> {
    const { program, machine } = this.#options;
    const place = this.#place(ident);
    const token = randomBytes(TOKEN_BYTES);
    place.token = token;
    place.processId = Number.isSafeInteger(ident.processId) ? (ident.processId as number) : 0;
    this.#controls.add(channel);
    const answer: ProgramAttached = {
      type: 'attached',
      stage: place.stage,
      token: token.toString('hex'),
      program,
      machine,
    };
    channel.send(answer);
    const free = setTimeout(() => {
      if (!place.taken && place.token === token) place.token = undefined;
    }, LIMITS.programIdentMs);
    // It has nothing more to say: what comes is its end, or wrong.
    await channel.next();
    clearTimeout(free);
    if (!place.taken && place.token === token) place.token = undefined;
    this.#controls.delete(channel);
    channel.close();
    if (!place.taken) return;
    // Its thread sees the end of the data connection, unless it cannot read for want of buffers.
    const { stage, instance } = place;
    const gone: ProgramGone = { type: 'gone', instance };
    await this.#options.pipe.control(stage, gone, 'started').catch(() => []);
  }

  /** A free instance of what the program wants to be. Throws ATTACH_REFUSED. */
  #place({ version, pipe, role, stage }: Partial<ProgramIdent>): Place {
    const { name, segment } = this.#options.pipe;
    if (version !== ATTACH_VERSION) refuse('the program and the pipe are of different versions');
    if (pipe !== name) refuse(`this is the pipe ${name}`);
    if (role !== 'head' && role !== 'tail') refuse('a program is attached as head or as tail');
    const wanted = this.#places.filter(
      (place) => place.role === role && (stage === undefined || place.stage === stage),
    );
    if (wanted.length === 0) refuse(noSuchEnd(segment.config.stages, role, stage));
    if (new Set(wanted.map((place) => place.stage)).size > 1) {
      const names = [...new Set(wanted.map((place) => place.stage))].join(', ');
      refuse(`the pipe has several unbound ${role}s: say which with --stage (${names})`);
    }
    const free = wanted.find((place) => place.token === undefined);
    if (free === undefined) refuse(`a program is attached as ${role} already`);
    return free;
  }

  async #takeOver(channel: LineChannel, token: unknown): Promise<void> {
    const shown = Buffer.from(typeof token === 'string' ? token : '', 'hex');
    const place = this.#places.find(
      (one) =>
        !one.taken &&
        one.token !== undefined &&
        shown.length === TOKEN_BYTES &&
        timingSafeEqual(one.token, shown),
    );
    if (place === undefined) {
      channel.socket.destroy();
      return;
    }
    place.taken = true;
    const { socket } = channel;
    const open = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
    const descriptor = open < 0 ? -1 : duplicateDescriptor(open);
    // This side's object goes first: it must not read what the program sends to the thread.
    socket.destroy();
    if (descriptor < 0) {
      place.taken = false;
      return;
    }
    const { pipe } = this.#options;
    const { stage, instance, processId } = place;
    const arrival: ProgramArrival = { type: 'program', instance, descriptor, processId };
    const answers: unknown[] = await pipe.control(stage, arrival).catch(() => []);
    if (!answers.includes(true)) dropDescriptor(descriptor);
  }
}

/**
 * Opens the port of a pipe that has unbound modules, for as long as it lasts.
 *
 * @returns what tells the process ids of its programs by stage; undefined where it has no such module
 * @throws as AttachPort.open
 */
export async function openAttachPort(
  spec: Pick<PipeSpec, 'stages'>,
  options: Omit<AttachPortOptions, 'stages'>,
): Promise<(() => Readonly<Record<string, readonly number[]>>) | undefined> {
  const stages = unboundStages(spec);
  if (stages.length === 0) return undefined;
  const port = await AttachPort.open({ ...options, stages });
  return () => port.programs();
}

/** The folder of the sockets, without those that killed processes left. */
async function prepareFolder(stateDirectory: ByteString): Promise<void> {
  const folder = `${stateDirectory}/${ATTACH_FOLDER}`;
  mkdirSync(toBytes(folder), { recursive: true, mode: 0o700 });
  for (const name of readdirSync(toBytes(folder))) {
    const path = socketPath(`${folder}/${name}`);
    if (path === undefined) continue;
    // One that was just made may not listen yet.
    const status = statSync(path, { throwIfNoEntry: false });
    if (status === undefined || openClock().nowMs() - status.mtimeMs < LIMITS.attachStaleMs)
      continue;
    const socket = await connectLocal(path);
    socket?.destroy();
    if (socket === undefined) rmSync(path, { force: true });
  }
}

function noSuchEnd(
  stages: readonly { readonly name: string }[],
  role: string,
  stage: string | undefined,
): string {
  if (stage !== undefined && stages.some(({ name }) => name === stage)) {
    return `stage ${stage} of the pipe is no unbound ${role}: nothing can be attached there`;
  }
  const agents = role === 'head' ? 'receive' : 'send';
  return stages.some(({ name }) => name === agents)
    ? `the ${role} of the pipe is on another machine: here are agents of the network, which no program can take the place of`
    : `the pipe has no unbound ${role}${stage === undefined ? '' : ` ${stage}`}`;
}

function refuse(message: string): never {
  throw new PenstockError('ATTACH_REFUSED', message);
}
