/**
 * Asking another machine for the half of a pipe that is to run there (P9), before anything of it runs here.
 *
 * Contract: once `reachPipe` has resolved the half there runs and waits for the agents of this machine, which
 * are the stage that it gives; whoever does not go on calls `giveUp`.
 */

import { availableParallelism, hostname } from 'node:os';
import { WebSocket } from 'ws';
import { codeFile } from '../../base/code-file.ts';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { type ModuleSpec, makePipeName, type Pipe, type StageSpec } from '../../pipe/mod.ts';
import { fromWireError, toWireError } from '../wire-error.ts';
import { connectPinned, type Server } from './api-client.ts';
import {
  ControlChannel,
  type FarStage,
  type OnwardPart,
  PIPE_VERSION,
  type PipeMessage,
} from './control-channel.ts';
import { connectionsFor, roundTripMsOf } from './distance.ts';
import type { Identity } from './identity.ts';
import type { LinksOptions } from './links.ts';
import { formatAddress } from './peers.ts';
import { MONITOR_PORT } from './ports.ts';
import { shareRate } from './rate-limit.ts';
import { SharedUse } from './shared-links.ts';

const SEND = codeFile('channel/net/send');
const RECEIVE = codeFile('channel/net/receive');
const PASS = codeFile('channel/net/pass');

/** What the other machine is asked for. */
export interface FarHalf {
  /** None, where the pipe only goes through that machine. */
  readonly stages: readonly FarStage[];
  /** Default: as many as the near half has. */
  readonly maxBuffers?: number;
  /** It is content with so many, where the machine has not more. Default: maxBuffers. */
  readonly minBuffers?: number;
  /** What it needs for itself there (P13). */
  readonly device?: string;
  /** From there the pipe goes on to a third machine, and so on. */
  readonly onward?: OnwardHalf;
}

/** The part of a pipe on a machine that is reached from another one, which is paired with it and lets this one. */
export interface OnwardHalf extends FarHalf {
  /** As the machine before it knows it. Default of the port: 7420. */
  readonly machine: { readonly host: string; readonly port?: number };
}

/** How data goes between two machines of a pipe. */
export interface PathOptions {
  /** Whether buffers come out of the agents in the order in which they went in. Default true. */
  readonly ordered?: boolean;
  /** Threads that send, and as many that receive. Default: as few as can have these connections. */
  readonly agents?: number;
  /** Where one agent is enough, it runs beside the event loop of the thread that starts the pipe. */
  readonly agentBeside?: boolean;
  /**
   * Modules that the receiving agent hands buffers to in its own thread, in their order: the near half is nothing
   * else. Takes one agent with one connection.
   */
  readonly agentTail?: readonly ModuleSpec[];
  /** Connections in all. Default: by how far it is and the processors (distance.ts). */
  readonly links?: number;
  /**
   * The pipe shares connections with others that ask for it, from this process to that machine: as many as the
   * first of them said. Default false: it has its own.
   */
  readonly shared?: boolean;
  /** The most that each half sends, over all its connections. */
  readonly bytesPerSecond?: number;
  /** Words of a buffer that say how much of its header room and directory room is used. */
  readonly headerBytesWord?: number;
  readonly directoryBytesWord?: number;
  /** How long to try to make data connections again. Default LIMITS.linksLostMs. */
  readonly lostMs?: number;
}

export interface ReachOptions extends PathOptions {
  readonly identity: Identity;
  /** The monitor of the other machine. */
  readonly server: Server;
  /** What kind of program asks, for lists of pipes. */
  readonly program: string;
  /** Where it runs. Default: this machine. */
  readonly machine?: string;
  /** push: this side has the head. pull: it has the tail. */
  readonly flow: 'push' | 'pull';
  readonly far: FarHalf;
  /** Of the buffers on both sides. */
  readonly near: {
    readonly name?: string;
    readonly maxBuffers: number;
    readonly payloadBytes: number;
    readonly directoryBytes?: number;
  };
  /** How long to wait in the queue of the other machine. Default LIMITS.pipeQueueMs. */
  readonly queueMs?: number;
  /** Gives up while the far half is waited for. */
  readonly signal?: AbortSignal;
  /** Its control channel, where that is open already. */
  readonly opened?: OpenedChannel;
  /** The other machine has no room yet: the pipe's place in its queue. */
  onQueued?(place: number): void;
}

/** A half that waits for this one. */
export interface Reached {
  readonly name: string;
  readonly address: string;
  readonly channel: ControlChannel;
  /** The stage that connects to it: `send` or `receive`. */
  readonly agents: StageSpec;
  /** The half of this machine runs; `done` settles when it is over. */
  begun(pipe: Pipe, done: Promise<unknown>): void;
  /** Has it stopped; resolves when the other machine has heard it. */
  giveUp(reason: PenstockError): Promise<void>;
}

/**
 * Has another machine begin its half of a pipe.
 *
 * @throws NET_UNREACHABLE, NET_UNTRUSTED, NET_REFUSED, NET_DENIED, NET_BUSY, NET_LOST, PIPE_CONFIG
 */
export async function reachPipe(options: ReachOptions): Promise<Reached> {
  const { identity, server, signal, near } = options;
  const address = formatAddress(server.host, server.port);
  const { name, channel, roundTripMs } =
    options.opened ?? (await openPipeChannel(identity, server, signal, near.name));
  const isTail = options.agentTail !== undefined;
  const links = isTail
    ? 1
    : (options.links ??
      connectionsFor(roundTripMs, availableParallelism(), server.localAddresses?.length));
  const agents = isTail ? 1 : (options.agents ?? Math.ceil(links / LIMITS.linksPerAgentMax));
  const shared = options.shared === true ? new SharedUse(identity, server) : undefined;
  const giveUp = (): void => channel.close();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    const ready = await initiate(channel, options, { name, agents, shared: shared?.name }, address);
    signal?.throwIfAborted();
    const stage = agentsOf(options, { agents, links }, ready);
    return {
      name,
      address,
      channel,
      agents: stage,
      begun: (pipe, done) => {
        if (shared !== undefined) share(shared, pipe, stage, links, ready);
        const release = (): void => shared?.release();
        done.then(release, release);
      },
      giveUp: (reason) => {
        shared?.release();
        channel.send({ type: 'stop', error: toWireError(reason) });
        channel.close();
        return channel.gone;
      },
    };
  } catch (thrown) {
    shared?.release();
    channel.close();
    throw thrown;
  } finally {
    signal?.removeEventListener('abort', giveUp);
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
  options: ReachOptions,
  {
    name,
    agents,
    shared,
  }: { readonly name: string; readonly agents: number; readonly shared: string | undefined },
  address: string,
): Promise<Ready> {
  const { near, far, flow, program, machine = hostname() } = options;
  channel.send({
    type: 'initiate',
    version: PIPE_VERSION,
    name,
    program,
    machine,
    flow,
    agents,
    maxBuffers: far.maxBuffers ?? near.maxBuffers,
    payloadBytes: near.payloadBytes,
    directoryBytes: near.directoryBytes ?? 0,
    stages: far.stages.map((stage, i) =>
      flow === 'push' && i === 0 && options.ordered !== false ? { ...stage, ordered: true } : stage,
    ),
    ...pick(far, 'minBuffers', 'device'),
    ...pick(options, 'ordered'),
    ...(shared === undefined ? {} : { shared }),
    ...(far.onward === undefined ? {} : { onward: onwardPart(far.onward) }),
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
    typeof secret !== 'string' ||
    (shared !== undefined && !/^[0-9a-f]{32}$/.test(answer.shared?.id ?? ''))
  ) {
    throw new PenstockError('NET_PROTOCOL', `${address} answered with what is no answer`);
  }
  return answer;
}

/** What is answered in the end, after any wait in the queue there. */
async function decision(
  channel: ControlChannel,
  { queueMs = LIMITS.pipeQueueMs, signal, onQueued }: ReachOptions,
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

/** What stands of a third machine in the request to the second. */
function onwardPart({ machine, onward, ...half }: OnwardHalf): OnwardPart {
  const { host, port = MONITOR_PORT } = machine;
  return { ...half, host, port, ...(onward === undefined ? {} : { onward: onwardPart(onward) }) };
}

/** The agents of this machine. */
function agentsOf(
  options: ReachOptions,
  { agents, links: total }: { readonly agents: number; readonly links: number },
  ready: Ready,
): StageSpec {
  const { flow, server, bytesPerSecond, agentTail } = options;
  const links: LinksOptions = {
    id: ready.id,
    secret: Buffer.from(ready.secret, 'base64'),
    // Streams of shared connections are given to the agents.
    ...(options.shared === true
      ? {}
      : {
          connect: {
            host: server.host,
            port: ready.port,
            links: linksOfEach(total, agents),
            ...pick(server, 'localAddresses'),
          },
        }),
    ...pick(options, 'lostMs'),
  };
  const agentOptions = {
    ...links,
    ...pick(options, 'headerBytesWord', 'directoryBytesWord'),
    ...(bytesPerSecond === undefined ? {} : { rate: shareRate(bytesPerSecond) }),
    ...(agentTail === undefined ? {} : { inOrder: true }),
  };
  const stage = (flow === 'push' ? sendStage : receiveStage)(agents, agentOptions);
  return {
    ...stage,
    modules: [...stage.modules, ...(agentTail ?? [])],
    runsBeside: options.agentBeside === true && agents === 1,
  };
}

/** Connections of each agent. */
function linksOfEach(total: number, agents: number): number {
  return Math.min(Math.ceil(total / agents), LIMITS.linksPerAgentMax);
}

/** Has the agents of a pipe use shared connections. */
function share(
  use: SharedUse,
  pipe: Pipe,
  { name, instances: agents = 1 }: StageSpec,
  links: number,
  { port, id, shared }: Ready,
): void {
  use.keep(
    {
      port,
      links,
      id: shared?.id ?? '',
      secret: Buffer.from(shared?.secret ?? '', 'base64'),
    },
    { id, agents, links: linksOfEach(links, agents) },
    async (connection) => (await pipe.control(name, connection)).includes(true),
    (error) => void pipe.stop(error),
  );
}

/** The stage of agents that ends the half with the head. */
export function sendStage(agents: number, options: object): StageSpec {
  const modules = [{ module: SEND, options }];
  return { name: 'send', instances: agents, numbered: true, keepsThreads: true, modules };
}

/** The stage of agents that begins the half with the tail. */
export function receiveStage(agents: number, options: object): StageSpec {
  const modules = [{ module: RECEIVE, options }];
  return { name: 'receive', instances: agents, carries: true, keepsThreads: true, modules };
}

/** Stages behind agents that receive; where order is kept the first is given what comes in order. */
export function behindAgents(
  agents: StageSpec,
  stages: readonly StageSpec[],
  ordered = true,
): StageSpec[] {
  return [
    agents,
    ...stages.map((stage, i) => (i === 0 && ordered ? { ...stage, ordered } : stage)),
  ];
}

/** The stages of a machine between two others, from agents to agents. */
export function betweenAgents(
  first: StageSpec,
  stages: readonly StageSpec[],
  last: StageSpec,
  ordered = true,
): StageSpec[] {
  const all = [...stages, last];
  // Numbers are given anew to agents that share the work: who does that must see all in order.
  const isDivided = ordered && all.every(({ instances = 1 }) => instances > 1);
  const order: StageSpec = { name: 'order', modules: [{ module: PASS }] };
  return behindAgents(first, isDivided ? [...stages, order, last] : all, ordered);
}

function pick<T extends object, K extends keyof T>(from: T, ...keys: K[]): Pick<T, K> {
  return Object.fromEntries(
    keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]),
  ) as Pick<T, K>;
}
