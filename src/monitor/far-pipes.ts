/**
 * Halves of pipes that other machines begin on this one: the far side of `extendPipe` (P9, P12).
 *
 * Contract: a half lives as long as its control channel: when that is lost, when the machine that began
 * it is no longer paired, or when the monitor closes, it is stopped, and nothing of it is left. While there
 * is no room for it, it waits its turn. One that goes on to another machine begins only once that has begun
 * its own, and joins the two: what ends one ends all. The data port is opened with the first half, two above the monitor's own where that is free.
 */
import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openAttachPort } from '../channel/local/attach-port.ts';
import type { Server } from '../channel/net/api-client.ts';
import {
  ControlChannel,
  type Initiation,
  type OnwardPart,
} from '../channel/net/control-channel.ts';
import { DataPort, type TakeOver } from '../channel/net/data-port.ts';
import { ID_BYTES, TOKEN_BYTES } from '../channel/net/frame.ts';
import { HalfPipe, type JoinedSide, joinHalves } from '../channel/net/half-pipe.ts';
import { formatAddress, type Peer } from '../channel/net/peers.ts';
import { shareRate } from '../channel/net/rate-limit.ts';
import {
  betweenAgents,
  type FarHalf,
  type Reached,
  reachPipe,
  receiveStage,
  sendStage,
} from '../channel/net/reach.ts';
import { type SharedEntrance, SharedPort } from '../channel/net/shared-links.ts';
import { toWireError } from '../channel/wire-error.ts';
import { type Pipe, type PipeSpec, type StageSpec, startPipe } from '../pipe/mod.ts';
import type { MonitorContext, MonitorSocket } from './context.ts';
import { checkFarStages, checkInitiation, checkMayReach, farStages } from './pipe-initiation.ts';
import { registered } from './pipe-registry.ts';
import { type PipeTurns, type Turn, turnsTogether, wishOf } from './pipe-turns.ts';

export class FarPipes {
  readonly #context: MonitorContext;
  readonly #turns: PipeTurns;
  readonly #channels = new Set<ControlChannel>();
  readonly #shared = new SharedPort();
  #port: Promise<DataPort> | undefined;

  constructor(context: MonitorContext, turns: PipeTurns) {
    this.#context = context;
    this.#turns = turns;
  }

  /** A paired machine has opened the channel of a pipe. */
  async accept({ socket, peer, groups }: MonitorSocket): Promise<void> {
    const channel = new ControlChannel(socket);
    this.#channels.add(channel);
    try {
      const first = await channel.next(LIMITS.pipeSilenceMs);
      if (first === undefined) return;
      await this.#inTurn(channel, checkInitiation(first, groups.name ?? ''), peer);
    } catch (thrown) {
      const error = toPenstockError(thrown);
      this.#context.log.warn(`a pipe of ${peer.name} did not begin: ${error.message}`, {
        code: error.code,
      });
      channel.send({ type: 'stop', error: toWireError(error) });
    } finally {
      channel.close();
      this.#channels.delete(channel);
    }
  }

  /** Ends what is left once the pipes are over. */
  async close(): Promise<void> {
    for (const channel of this.#channels) channel.close();
    const port = await this.#port?.catch(() => undefined);
    await port?.close();
  }

  /** Waits for its turn, then runs the half; resolves when it is over. */
  async #inTurn(channel: ControlChannel, asked: Initiation, peer: Peer): Promise<void> {
    if (this.#context.closing.aborted) {
      throw new PenstockError('NET_BUSY', 'the monitor is being stopped');
    }
    checkFarStages(asked.stages, peer, this.#context.pipes);
    const next = this.#nextServer(asked, peer);
    const { name, program, machine, flow, device } = asked;
    await this.#turns.ended(name, peer.fingerprint);
    const turn = this.#turns.ask({
      name,
      program,
      machine,
      flow,
      device,
      owner: peer.fingerprint,
      wish: wishOf(asked, asked.stages, asked.agents),
      onQueued: (place) => channel.send({ type: 'queued', place }),
    });
    try {
      channel.listen({
        message: () =>
          void turn.leave(new PenstockError('PIPE_STOPPED', 'who began the pipe has given it up')),
        closed: () => void turn.leave(new PenstockError('NET_LOST', 'who began the pipe is gone')),
      });
      const { buffers, rest } =
        next === undefined
          ? { ...(await turn.admitted), rest: undefined }
          : await turnsTogether(turn, (onQueued) =>
              this.#reach(asked, next, turn.signal, (place) => {
                onQueued(place);
                channel.send({ type: 'queued', place });
              }),
            );
      channel.unlisten();
      await this.#run({
        channel,
        asked: { ...asked, maxBuffers: buffers },
        peer,
        turn,
        next: rest,
      });
    } finally {
      turn.end();
    }
  }

  /** The machine to which the pipe goes on. NET_DENIED, NET_UNTRUSTED. */
  #nextServer({ onward }: Initiation, peer: Peer): Server | undefined {
    if (onward === undefined) return undefined;
    const { host, port } = onward;
    checkMayReach(peer, formatAddress(host, port));
    return { host, port, fingerprint: this.#context.peers.server(host, port).fingerprint };
  }

  #reach(
    asked: Initiation,
    server: Server,
    signal: AbortSignal,
    onQueued: (place: number) => void,
  ): Promise<Reached> {
    const { onward, agents: _agents, stages: _stages, shared, ...rest } = asked;
    assert(onward !== undefined, 'it is asked for');
    return reachPipe({
      ...rest,
      shared: shared !== undefined,
      near: asked,
      far: halfOf(onward),
      identity: this.#context.identity,
      server,
      signal,
      onQueued,
    });
  }

  async #run({ channel, asked, peer, turn, next }: Admitted): Promise<void> {
    const { log, state } = this.#context;
    const { flow, program, machine, device, name } = asked;
    const id = randomBytes(ID_BYTES).toString('hex');
    const secret = randomBytes(TOKEN_BYTES);
    let half: HalfPipe | undefined;
    const spec = this.#spec(asked, peer, { id, secret }, next?.agents, () => half);
    const agentStage = flow === 'push' ? 'receive' : 'send';
    const back = { channel, farName: peer.name, agentStage } as const;
    let port: DataPort;
    let pipe: Pipe;
    try {
      port = await this.#dataPort();
      turn.signal.throwIfAborted();
      pipe = await startPipe(spec);
    } catch (thrown) {
      await next?.giveUp(toPenstockError(thrown));
      throw thrown;
    }
    const halves =
      next === undefined ? [single(pipe, back, asked)] : joined(pipe, back, next, flow);
    [half] = halves;
    const done = Promise.all(halves.map((one) => one.done));
    next?.begun(pipe, done);
    const stop = async (reason: PenstockError): Promise<void> => {
      await Promise.all(halves.map((one) => one.stop(reason)));
    };
    const programs = await openAttachPort(spec, {
      stateDirectory: state.path,
      pipe,
      done,
      program,
      machine: peer.name,
    }).catch((thrown) => stop(toPenstockError(thrown)));
    const facts = { program, machine, flow, device, owner: peer.fingerprint, stop };
    turn.started(registered(pipe, programs === undefined ? facts : { ...facts, programs }));
    const takeOver: TakeOver = async (connection) =>
      (await pipe.control(agentStage, connection)).includes(true);
    port.register(id, takeOver);
    const shared = this.#share(asked, peer, port);
    shared?.register(id, takeOver, (error) => void stop(error));
    log.info(`a pipe was begun by ${peer.name}`, { pipe: name, flow, program });
    channel.send({
      type: 'ready',
      port: port.port,
      id,
      secret: secret.toString('base64'),
      ...(shared === undefined ? {} : { shared: onWire(shared) }),
    });
    try {
      await done;
      log.info('a pipe has ended', { pipe: name });
    } catch (thrown) {
      const { code, message } = toPenstockError(thrown);
      log.warn(`a pipe was stopped: ${message}`, { pipe: name, code });
    } finally {
      port.withdraw(id);
      shared?.release(id);
    }
  }

  /** The connections that a pipe shares with others of its peer. */
  #share({ shared }: Initiation, peer: Peer, port: DataPort): SharedEntrance | undefined {
    if (shared === undefined) return undefined;
    return this.#shared.use(this.#context.identity, peer.fingerprint, shared, port);
  }

  /** The half with its agents; `onward` connect to the next machine. */
  #spec(
    asked: Initiation,
    peer: Peer,
    link: { readonly id: string; readonly secret: Buffer },
    onward: StageSpec | undefined,
    half: () => HalfPipe | undefined,
  ): PipeSpec {
    const { flow, agents, bytesPerSecond, ordered } = asked;
    const stages = farStages(asked.stages, peer, this.#context.pipes);
    const options = {
      ...link,
      headerBytesWord: asked.headerBytesWord,
      directoryBytesWord: asked.directoryBytesWord,
      lostMs: asked.lostMs,
      ...(bytesPerSecond === undefined ? {} : { rate: shareRate(bytesPerSecond) }),
    };
    const back = (flow === 'push' ? receiveStage : sendStage)(agents, options);
    return {
      name: asked.name,
      maxBuffers: asked.maxBuffers,
      payloadBytes: asked.payloadBytes,
      directoryBytes: asked.directoryBytes,
      stages: stagesBetween(flow, back, stages, onward, ordered),
      onMessage: (stage, instance, message) => {
        if (onward === undefined) half()?.posted(message);
        half()?.tell({ type: 'post', stage, instance, message });
      },
      onWarning: (stage, instance, record) =>
        half()?.tell({ type: 'warning', stage, instance, record }),
    };
  }

  #dataPort(): Promise<DataPort> {
    this.#port ??= this.#openPort();
    return this.#port;
  }

  async #openPort(): Promise<DataPort> {
    const { addresses } = this.#context;
    const hosts = addresses.map(({ host }) => host);
    const wanted = (addresses[0]?.port ?? 0) + LIMITS.dataPortOffset;
    try {
      return await DataPort.open(hosts, wanted);
    } catch {
      // Another program has it: any will do, the other machine is told which.
      return await DataPort.open(hosts, 0);
    }
  }
}

/** A pipe that has its turn. */
interface Admitted {
  readonly channel: ControlChannel;
  readonly asked: Initiation;
  readonly peer: Peer;
  readonly turn: Turn;
  readonly next: Reached | undefined;
}

function onWire({ id, secret }: SharedEntrance): { id: string; secret: string } {
  return { id, secret: Buffer.from(secret).toString('base64') };
}

/** What the next machine is asked for. */
function halfOf({ host: _host, port: _port, onward, ...half }: OnwardPart): FarHalf {
  if (onward === undefined) return half;
  const { host, port } = onward;
  return { ...half, onward: { ...halfOf(onward), machine: { host, port } } };
}

/** The half of a pipe that ends here. */
function single(pipe: Pipe, back: JoinedSide, { flow, stages }: Initiation): HalfPipe {
  const headStage = flow === 'pull' ? { headStage: stages[0]?.name ?? '' } : {};
  return new HalfPipe(pipe, back.channel, { ...back, ...headStage }).begin();
}

/** Both halves of a pipe that goes on from here. */
function joined(pipe: Pipe, back: JoinedSide, next: Reached, flow: Initiation['flow']): HalfPipe[] {
  const agentStage = flow === 'push' ? 'send' : 'receive';
  return joinHalves(pipe, back, { channel: next.channel, farName: next.address, agentStage });
}

/** The stages of a machine in the order of the flow, between its agents. */
function stagesBetween(
  flow: Initiation['flow'],
  back: StageSpec,
  stages: readonly StageSpec[],
  onward: StageSpec | undefined,
  ordered: boolean | undefined,
): StageSpec[] {
  if (onward === undefined) return flow === 'push' ? [back, ...stages] : [...stages, back];
  const [first, last] = flow === 'push' ? [back, onward] : [onward, back];
  return betweenAgents(first, stages, last, ordered);
}
