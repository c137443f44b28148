/**
 * Halves of pipes that other machines begin on this one: the far side of `extendPipe` (P9, P12).
 *
 * Contract: a half lives as long as its control channel: when that is lost, when the machine that began
 * it is no longer paired, or when the monitor closes, it is stopped, and nothing of it is left. The data
 * port is opened with the first half, two above the monitor's own where that is free.
 */
import { randomBytes } from 'node:crypto';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ControlChannel, type Initiation, toWireError } from '../channel/net/control-channel.ts';
import { receiveStage, sendStage } from '../channel/net/controller.ts';
import { DataPort } from '../channel/net/data-port.ts';
import { ID_BYTES, TOKEN_BYTES } from '../channel/net/frame.ts';
import { HalfPipe } from '../channel/net/half-pipe.ts';
import type { Peer } from '../channel/net/peers.ts';
import { type PipeSpec, startPipe } from '../pipe/mod.ts';
import type { MonitorContext, MonitorSocket } from './context.ts';
import { checkInitiation, farStages } from './pipe-initiation.ts';
import type { PipeRegistry } from './pipe-registry.ts';

export class FarPipes {
  readonly #context: MonitorContext;
  readonly #registry: PipeRegistry;
  readonly #channels = new Set<ControlChannel>();
  #port: Promise<DataPort> | undefined;
  /** Halves that are being started, and what they need: they count already. */
  #starting = 0;
  #startingBytes = 0;

  constructor(context: MonitorContext, registry: PipeRegistry) {
    this.#context = context;
    this.#registry = registry;
  }

  /** A paired machine has opened the channel of a pipe. */
  async accept({ socket, peer, groups }: MonitorSocket): Promise<void> {
    const channel = new ControlChannel(socket);
    this.#channels.add(channel);
    try {
      const first = await channel.next(LIMITS.pipeSilenceMs);
      if (first === undefined) return;
      await this.#run(channel, checkInitiation(first, groups.name ?? ''), peer);
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

  async close(drainMs: number): Promise<void> {
    await this.#registry.drained(drainMs);
    await this.#registry.stopAll(new PenstockError('PIPE_STOPPED', 'the monitor ends'));
    for (const channel of this.#channels) channel.close();
    const port = await this.#port?.catch(() => undefined);
    await port?.close();
  }

  /** Resolves when the half is over. */
  async #run(channel: ControlChannel, asked: Initiation, peer: Peer): Promise<void> {
    const { log, identity } = this.#context;
    const { flow, agents, name } = asked;
    const bytes = this.#admit(asked);
    this.#starting++;
    this.#startingBytes += bytes;
    let half: HalfPipe | undefined;
    const id = randomBytes(ID_BYTES).toString('hex');
    const secret = randomBytes(TOKEN_BYTES);
    let port: DataPort | undefined;
    try {
      const stages = farStages(asked.stages, peer);
      port = await this.#dataPort();
      const options = {
        identity: { ...identity, peerFingerprint: peer.fingerprint },
        id,
        secret,
        headerBytesWord: asked.headerBytesWord,
        directoryBytesWord: asked.directoryBytesWord,
        lostMs: asked.lostMs,
      };
      const spec: PipeSpec = {
        name,
        maxBuffers: asked.maxBuffers,
        payloadBytes: asked.payloadBytes,
        directoryBytes: asked.directoryBytes,
        stages:
          flow === 'push'
            ? [receiveStage(agents, options), ...stages]
            : [...stages, sendStage(agents, options)],
        onMessage: (stage, instance, message) => {
          half?.posted(message);
          half?.tell({ type: 'post', stage, instance, message });
        },
        onWarning: (stage, instance, record) =>
          half?.tell({ type: 'warning', stage, instance, record }),
      };
      const pipe = await startPipe(spec);
      const agentStage = flow === 'push' ? 'receive' : 'send';
      half = new HalfPipe(pipe, channel, {
        farName: peer.name,
        agentStage,
        ...(flow === 'pull' ? { headStage: stages[0]?.name ?? '' } : {}),
      });
      const { program, machine } = asked;
      const stop = (reason: PenstockError): Promise<void> => pipe.stop(reason);
      this.#registry.add({ pipe, program, machine, owner: peer.fingerprint, flow, stop });
      port.register(id, async (connection) =>
        (await pipe.control(agentStage, connection)).includes(true),
      );
    } finally {
      this.#starting--;
      this.#startingBytes -= bytes;
    }
    log.info(`a pipe was begun by ${peer.name}`, { pipe: name, flow, program: asked.program });
    channel.send({ type: 'ready', port: port.port, id, secret: secret.toString('base64') });
    try {
      await half.done;
      log.info('a pipe has ended', { pipe: name });
    } catch (thrown) {
      const { code, message } = toPenstockError(thrown);
      log.warn(`a pipe was stopped: ${message}`, { pipe: name, code });
    } finally {
      port.withdraw(id);
    }
  }

  /** Refuses what there is no room for; returns the memory of its buffers. */
  #admit({ name, maxBuffers, payloadBytes, directoryBytes }: Initiation): number {
    const registry = this.#registry;
    if (this.#context.closing.aborted) {
      throw new PenstockError('NET_BUSY', 'the monitor is being stopped');
    }
    if (registry.has(name))
      throw new PenstockError('PIPE_CONFIG', `there is a pipe ${name} already`);
    if (registry.size + this.#starting >= LIMITS.farPipesMax) {
      throw new PenstockError('NET_BUSY', `${registry.size} pipes run here already`);
    }
    const bytes = maxBuffers * (payloadBytes + directoryBytes + LIMITS.headerRoomBytes);
    if (registry.segmentBytes + this.#startingBytes + bytes > LIMITS.farPipesBytesMax) {
      throw new PenstockError(
        'NET_BUSY',
        'the pipes that run here leave too little memory for this one',
      );
    }
    return bytes;
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
