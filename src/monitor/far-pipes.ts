/**
 * Halves of pipes that other machines begin on this one: the far side of `extendPipe` (P9, P12).
 *
 * Contract: a half lives as long as its control channel: when that is lost, when the machine that began
 * it is no longer paired, or when the monitor closes, it is stopped, and nothing of it is left. While there
 * is no room for it, it waits its turn. The data port is opened with the first half, two above the monitor's own where that is free.
 */
import { randomBytes } from 'node:crypto';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openAttachPort } from '../channel/local/attach-port.ts';
import { ControlChannel, type Initiation } from '../channel/net/control-channel.ts';
import { receiveStage, sendStage } from '../channel/net/controller.ts';
import { DataPort } from '../channel/net/data-port.ts';
import { ID_BYTES, TOKEN_BYTES } from '../channel/net/frame.ts';
import { HalfPipe } from '../channel/net/half-pipe.ts';
import type { Peer } from '../channel/net/peers.ts';
import { shareRate } from '../channel/net/rate-limit.ts';
import { toWireError } from '../channel/wire-error.ts';
import { type PipeSpec, startPipe } from '../pipe/mod.ts';
import type { MonitorContext, MonitorSocket } from './context.ts';
import { checkFarStages, checkInitiation, farStages } from './pipe-initiation.ts';
import { registered } from './pipe-registry.ts';
import { type PipeTurns, type Turn, wishOf } from './pipe-turns.ts';

export class FarPipes {
  readonly #context: MonitorContext;
  readonly #turns: PipeTurns;
  readonly #channels = new Set<ControlChannel>();
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
    const { name, program, machine, flow, device } = asked;
    const turn = this.#turns.ask({
      name,
      program,
      machine,
      flow,
      device,
      owner: peer.fingerprint,
      wish: wishOf(asked, asked.stages),
      onQueued: (place) => channel.send({ type: 'queued', place }),
    });
    try {
      channel.listen({
        message: () =>
          void turn.leave(new PenstockError('PIPE_STOPPED', 'who began the pipe has given it up')),
        closed: () => void turn.leave(new PenstockError('NET_LOST', 'who began the pipe is gone')),
      });
      const { buffers } = await turn.admitted;
      channel.unlisten();
      await this.#run(channel, { ...asked, maxBuffers: buffers }, peer, turn);
    } finally {
      turn.end();
    }
  }

  async #run(channel: ControlChannel, asked: Initiation, peer: Peer, turn: Turn): Promise<void> {
    const { log, state } = this.#context;
    const { flow, program, machine, device, name } = asked;
    const id = randomBytes(ID_BYTES).toString('hex');
    const secret = randomBytes(TOKEN_BYTES);
    let half: HalfPipe | undefined;
    const spec = this.#spec(asked, peer, { id, secret }, () => half);
    const port = await this.#dataPort();
    turn.signal.throwIfAborted();
    const pipe = await startPipe(spec);
    const agentStage = flow === 'push' ? 'receive' : 'send';
    half = new HalfPipe(pipe, channel, {
      farName: peer.name,
      agentStage,
      ...(flow === 'pull' ? { headStage: asked.stages[0]?.name ?? '' } : {}),
    });
    const { done } = half;
    const stop = (reason: PenstockError): Promise<void> => pipe.stop(reason);
    const programs = await openAttachPort(spec, {
      stateDirectory: state.path,
      pipe,
      done,
      program,
      machine: peer.name,
    }).catch((thrown) => stop(toPenstockError(thrown)));
    const facts = { program, machine, flow, device, owner: peer.fingerprint, stop };
    turn.started(registered(pipe, programs === undefined ? facts : { ...facts, programs }));
    port.register(id, async (connection) =>
      (await pipe.control(agentStage, connection)).includes(true),
    );
    log.info(`a pipe was begun by ${peer.name}`, { pipe: name, flow, program });
    channel.send({ type: 'ready', port: port.port, id, secret: secret.toString('base64') });
    try {
      await done;
      log.info('a pipe has ended', { pipe: name });
    } catch (thrown) {
      const { code, message } = toPenstockError(thrown);
      log.warn(`a pipe was stopped: ${message}`, { pipe: name, code });
    } finally {
      port.withdraw(id);
    }
  }

  /** The half with its agents. */
  #spec(
    asked: Initiation,
    peer: Peer,
    link: { readonly id: string; readonly secret: Buffer },
    half: () => HalfPipe | undefined,
  ): PipeSpec {
    const { flow, agents, bytesPerSecond } = asked;
    const stages = farStages(asked.stages, peer, this.#context.pipes);
    const options = {
      identity: { ...this.#context.identity, peerFingerprint: peer.fingerprint },
      ...link,
      headerBytesWord: asked.headerBytesWord,
      directoryBytesWord: asked.directoryBytesWord,
      lostMs: asked.lostMs,
      ...(bytesPerSecond === undefined ? {} : { rate: shareRate(bytesPerSecond) }),
    };
    return {
      name: asked.name,
      maxBuffers: asked.maxBuffers,
      payloadBytes: asked.payloadBytes,
      directoryBytes: asked.directoryBytes,
      stages:
        flow === 'push'
          ? [receiveStage(agents, options), ...stages]
          : [...stages, sendStage(agents, options)],
      onMessage: (stage, instance, message) => {
        half()?.posted(message);
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
