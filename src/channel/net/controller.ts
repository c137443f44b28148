/**
 * Pipes that reach another machine: how the initiator extends one there (P8, P9).
 *
 * Contract: the far half runs when `extendPipe` has resolved, and the near half has been started; `done`
 * of what it gives says how both ended. Modules of the far half are named from the far machine's list of
 * allowed ones (monitor/pipe-modules.ts). The near half is a PipeSpec without agents: they are added here,
 * `send` behind its last stage or `receive` before its first.
 *
 *   push:  near stages ──▶ send ══ network ══▶ receive ──▶ far stages
 *   pull:  near stages ◀── receive ══ network ══ send ◀── far stages
 */
import { availableParallelism, hostname } from 'node:os';
import { WebSocket } from 'ws';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import {
  makePipeName,
  type Pipe,
  type PipeSpec,
  type StageSpec,
  startPipe,
} from '../../pipe/mod.ts';
import { fromWireError } from '../wire-error.ts';
import { connectPinned, type Server } from './api-client.ts';
import {
  ControlChannel,
  type FarStage,
  PIPE_VERSION,
  type PipeMessage,
} from './control-channel.ts';
import { connectionsFor, roundTripMsOf } from './distance.ts';
import { HalfPipe } from './half-pipe.ts';
import type { Identity } from './identity.ts';
import type { LinksOptions } from './links.ts';
import { formatAddress } from './peers.ts';
import { shareRate } from './rate-limit.ts';

/** The file ending of the code that runs: the sources, or what they were compiled to. */
const EXTENSION = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const SEND = new URL(`./send${EXTENSION}`, import.meta.url);
const RECEIVE = new URL(`./receive${EXTENSION}`, import.meta.url);

/** What the other machine is asked for. */
export interface FarHalf {
  readonly stages: readonly FarStage[];
  /** Default: as many as the near half has. */
  readonly maxBuffers?: number;
  /** It is content with so many, where the machine has not more. Default: maxBuffers. */
  readonly minBuffers?: number;
  /** What it needs for itself there (P13). */
  readonly device?: string;
}

export interface ExtendOptions {
  readonly identity: Identity;
  /** The monitor of the other machine. */
  readonly server: Server;
  /** What kind of program asks, for lists of pipes. */
  readonly program: string;
  /** push: the near half has the head. pull: the near half has the tail. */
  readonly flow: 'push' | 'pull';
  /** The near half. Both halves have buffers of the same size. */
  readonly near: PipeSpec;
  readonly far: FarHalf;
  /** Whether buffers come out of the agents in the order in which they went in. Default true. */
  readonly ordered?: boolean;
  /** Threads that send, and as many that receive. Default: as few as can have these connections. */
  readonly agents?: number;
  /** Connections in all. Default: by how far it is and the processors (distance.ts). */
  readonly links?: number;
  /** The most that each half sends, over all its connections. */
  readonly bytesPerSecond?: number;
  /** Words of a buffer that say how much of its header room and directory room is used. */
  readonly headerBytesWord?: number;
  readonly directoryBytesWord?: number;
  /** How long to wait in the queue of the other machine. Default LIMITS.pipeQueueMs. */
  readonly queueMs?: number;
  /** Gives up while the far half is waited for. */
  readonly signal?: AbortSignal;
  /** Its control channel, where that is open already. */
  readonly opened?: OpenedChannel;
  /** The other machine has no room yet: the pipe's place in its queue. */
  onQueued?(place: number): void;
  /** How long to try to make data connections again. Default LIMITS.linksLostMs. */
  readonly lostMs?: number;
  onFarPost?(stage: string, instance: number, message: unknown): void;
  onFarWarning?(stage: string, instance: number, record: unknown): void;
  /** How far the tail has made the data safe: what a pipe that is started again goes on from. */
  onSafe?(value: unknown): void;
}

export interface ExtendedPipe {
  readonly name: string;
  readonly near: Pipe;
  /** Settles when both halves are over; with the counters of the far one, or the first cause. */
  readonly done: Promise<Readonly<Record<string, readonly number[]>>>;
  stop(reason?: string | PenstockError): Promise<void>;
  controlFar(stage: string, message: unknown): Promise<unknown[]>;
}

/**
 * Starts a pipe whose other half is on another machine.
 *
 * @throws NET_UNREACHABLE, NET_UNTRUSTED, NET_REFUSED, NET_DENIED, NET_BUSY, NET_LOST, PIPE_CONFIG
 */
export async function extendPipe(options: ExtendOptions): Promise<ExtendedPipe> {
  const { near, server, flow, identity, signal } = options;
  const address = formatAddress(server.host, server.port);
  const { name, channel, roundTripMs } =
    options.opened ?? (await openPipeChannel(identity, server, signal, near.name));
  const links =
    options.links ??
    connectionsFor(roundTripMs, availableParallelism(), server.localAddresses?.length);
  const agents = options.agents ?? Math.ceil(links / LIMITS.linksPerAgentMax);
  const giveUp = (): void => channel.close();
  options.signal?.addEventListener('abort', giveUp, { once: true });
  let pipe: Pipe | undefined;
  try {
    const ready = await initiate(channel, options, name, agents, address);
    options.signal?.throwIfAborted();
    const spec = nearSpec(options, name, { agents, links }, ready);
    let half: HalfPipe | undefined;
    pipe = await startPipe({
      ...spec,
      onMessage: (stage, instance, message) => {
        half?.posted(message);
        near.onMessage?.(stage, instance, message);
      },
    });
    half = new HalfPipe(pipe, channel, {
      farName: address,
      agentStage: flow === 'push' ? 'send' : 'receive',
      ...(flow === 'push' ? { headStage: near.stages[0]?.name ?? '' } : {}),
      ...pick(options, 'onFarPost', 'onFarWarning', 'onSafe'),
    });
    const started = half;
    return {
      name,
      near: pipe,
      done: started.done,
      stop: (reason) => started.stop(reason),
      controlFar: (stage, message) => started.controlFar(stage, message),
    };
  } catch (thrown) {
    channel.close();
    await pipe?.stop();
    throw thrown;
  } finally {
    options.signal?.removeEventListener('abort', giveUp);
  }
}

/** A control channel on which nothing was asked for yet: the other machine waits some seconds. */
export interface OpenedChannel {
  /** Of the pipe that it is for. */
  readonly name: string;
  readonly channel: ControlChannel;
  readonly roundTripMs: number;
}

/**
 * Opens the control channel of a pipe that is extended later. Whoever does not use it closes it.
 *
 * @throws as `extendPipe`
 */
export async function openPipeChannel(
  identity: Identity,
  server: Server,
  signal?: AbortSignal,
  name: string = makePipeName(),
): Promise<OpenedChannel> {
  const address = formatAddress(server.host, server.port);
  const socket = await connectPinned(identity, server, signal);
  const roundTripMs = roundTripMsOf(socket);
  // The connection is there, and was looked at: `ws:` only keeps the package from making its own.
  const webSocket = new WebSocket(`ws://monitor/v1/pipes/${encodeURIComponent(name)}/control`, {
    createConnection: () => socket,
    perMessageDeflate: false,
    maxPayload: LIMITS.monitorMessageBytesMax,
    handshakeTimeout: LIMITS.apiConnectMs,
  });
  const channel = new ControlChannel(webSocket);
  return new Promise((resolve, reject) => {
    webSocket.once('open', () => resolve({ name, channel, roundTripMs }));
    webSocket.once('unexpected-response', (_request, answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => {
        if (parts.length < 16) parts.push(part);
      });
      answer.once('close', () => {
        socket.destroy();
        reject(refusal(Buffer.concat(parts), address));
      });
    });
    webSocket.once('error', (cause) => {
      socket.destroy();
      const message = `the connection to ${address} broke: ${cause.message}`;
      reject(new PenstockError('NET_LOST', message, { cause, subject: address }));
    });
  });
}

function refusal(body: Buffer, address: string): PenstockError {
  try {
    return fromWireError((JSON.parse(body.toString('utf8')) as { error?: unknown }).error, address);
  } catch {
    return new PenstockError('NET_PROTOCOL', `${address} answered with what is no answer`);
  }
}

type Ready = Extract<PipeMessage, { type: 'ready' }>;

/** Asks for the far half; resolves with where its agents wait. */
async function initiate(
  channel: ControlChannel,
  options: ExtendOptions,
  name: string,
  agents: number,
  address: string,
): Promise<Ready> {
  const { near, far, flow, program } = options;
  channel.send({
    type: 'initiate',
    version: PIPE_VERSION,
    name,
    program,
    machine: hostname(),
    flow,
    agents,
    maxBuffers: far.maxBuffers ?? near.maxBuffers,
    payloadBytes: near.payloadBytes,
    directoryBytes: near.directoryBytes ?? 0,
    stages: far.stages.map((stage, i) =>
      flow === 'push' && i === 0 && options.ordered !== false ? { ...stage, ordered: true } : stage,
    ),
    ...pick(far, 'minBuffers', 'device'),
    ...pick(options, 'headerBytesWord', 'directoryBytesWord', 'lostMs', 'bytesPerSecond'),
  });
  const answer = await decision(channel, options, address);
  if (answer?.type === 'stop') throw fromWireError(answer.error, address);
  if (answer === undefined) {
    throw new PenstockError('NET_LOST', `${address} does not say whether it begins the pipe`);
  }
  const { port, id, secret } = answer as Partial<Ready>;
  if (
    answer.type !== 'ready' ||
    !Number.isInteger(port) ||
    !/^[0-9a-f]{32}$/.test(id ?? '') ||
    typeof secret !== 'string'
  ) {
    throw new PenstockError('NET_PROTOCOL', `${address} answered with what is no answer`);
  }
  return answer;
}

/** What is answered in the end, after any wait in the queue there. */
async function decision(
  channel: ControlChannel,
  { queueMs = LIMITS.pipeQueueMs, signal, onQueued }: ExtendOptions,
  address: string,
): Promise<PipeMessage | undefined> {
  let answer = await channel.next(LIMITS.apiAnswerMs);
  const endMs = performance.now() + queueMs;
  while (answer?.type === 'queued') {
    onQueued?.(Number(answer.place));
    answer = await channel.next(Math.max(0, endMs - performance.now()));
    if (answer === undefined && channel.open) {
      throw new PenstockError(
        'NET_BUSY',
        `${address} had no room for the pipe within ${Math.ceil(queueMs / 1000)} s`,
      );
    }
  }
  signal?.throwIfAborted();
  return answer;
}

/** The near half with its agents. */
function nearSpec(
  options: ExtendOptions,
  name: string,
  { agents, links: total }: { readonly agents: number; readonly links: number },
  ready: Ready,
): PipeSpec {
  const { near, flow, identity, server, bytesPerSecond } = options;
  const links: LinksOptions = {
    identity: { ...identity, peerFingerprint: server.fingerprint },
    id: ready.id,
    secret: Buffer.from(ready.secret, 'base64'),
    connect: {
      host: server.host,
      port: ready.port,
      links: Math.min(Math.ceil(total / agents), LIMITS.linksPerAgentMax),
      ...pick(server, 'localAddresses'),
    },
    ...pick(options, 'lostMs'),
  };
  const agentOptions = {
    ...links,
    ...pick(options, 'headerBytesWord', 'directoryBytesWord'),
    ...(bytesPerSecond === undefined ? {} : { rate: shareRate(bytesPerSecond) }),
  };
  const stages: StageSpec[] =
    flow === 'push'
      ? [...near.stages, sendStage(agents, agentOptions)]
      : [
          receiveStage(agents, agentOptions),
          ...near.stages.map((stage, i) =>
            i === 0 && options.ordered !== false ? { ...stage, ordered: true } : stage,
          ),
        ];
  return { ...near, name, stages };
}

/** The stage of agents that ends the half with the head. */
export function sendStage(agents: number, options: object): StageSpec {
  const modules = [{ module: SEND, options }];
  return { name: 'send', instances: agents, numbered: true, modules };
}

/** The stage of agents that begins the half with the tail. */
export function receiveStage(agents: number, options: object): StageSpec {
  const modules = [{ module: RECEIVE, options }];
  return { name: 'receive', instances: agents, carries: true, modules };
}

function pick<T extends object, K extends keyof T>(from: T, ...keys: K[]): Pick<T, K> {
  return Object.fromEntries(
    keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]),
  ) as Pick<T, K>;
}
