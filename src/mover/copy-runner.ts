/**
 * Runs the pipes of a copy, wholly here or with one half on another machine, and sums up what both count.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import type { Server } from '../channel/net/api-client.ts';
import type { FarStage } from '../channel/net/control-channel.ts';
import type { Identity } from '../channel/net/identity.ts';
import type { OpenedChannel } from '../channel/net/reach.ts';
import type { Looked } from '../modules/copy-look.ts';
import {
  type ModuleSpec,
  type Pipe,
  type PipeSpec,
  type StageSpec,
  startPipe,
} from '../pipe/mod.ts';
import { buffersFor, copyPipe } from './copy-pipe.ts';

/** How the other machine is reached. */
export interface CopyNetwork {
  readonly identity: Identity;
  /** Connections that carry the data. */
  readonly links?: number | undefined;
  /** The most that is sent, either way. */
  readonly bytesPerSecond?: number | undefined;
  readonly lostMs?: number | undefined;
  /** The other machine has no room yet: the place in its queue. */
  onQueued?(place: number): void;
}

export interface CopyLegs {
  readonly near: readonly StageSpec[];
  /** Instances of the near stages that allocate. */
  readonly allocating: number;
  readonly far?: {
    readonly server: Server;
    readonly flow: 'push' | 'pull';
    readonly stages: readonly FarStage[];
    readonly allocating: number;
    readonly ordered: boolean;
    /** Connections that carry the data, where those of the network are too many. */
    readonly links?: number;
    /** What comes goes to these in its thread; there are no near stages. */
    readonly agentTail?: readonly ModuleSpec[];
  };
  /** What a module posts, here or there. */
  onMessage?(message: unknown): void;
  /** Called now and then. */
  onLook?(counter: Counter): void;
}

/** Sum of one counter over the instances of a stage. */
export type Counter = (counter: number, stage: string) => number;

/** A pipe that runs. */
export interface CopyRun {
  /** What both halves have counted. */
  readonly done: Promise<Counter>;
  /** Resolves when it is over. */
  stop(reason: string): Promise<void>;
}

const LOOK_MS = 200;
const OTHER_FAILED = 'the other pipe of the copy failed';

export class CopyRunner {
  readonly #network: CopyNetwork | undefined;
  readonly #signal: AbortSignal;

  /** Control channels that were opened ahead. */
  readonly #opened: Promise<OpenedChannel>[] = [];
  #closed = false;

  constructor(network: CopyNetwork | undefined, signal: AbortSignal) {
    this.#network = network;
    this.#signal = signal;
  }

  /** Opens the channels of the pipes that are likely to come, while it is looked what there is to do. */
  async openAhead(server: Server, pipes: number): Promise<void> {
    const { identity } = must(this.#network, 'a network');
    const { openPipeChannel } = await import('../channel/net/reach.ts');
    for (let i = 0; i < pipes; i++) {
      const opened = openPipeChannel(identity, server, this.#signal);
      // Whoever takes it hears of it.
      opened.catch(() => {});
      this.#opened.push(opened);
    }
    if (this.#closed) this.close();
  }
  /** Closes those that no pipe has taken. */
  close(): void {
    this.#closed = true;
    for (const opened of this.#opened.splice(0)) {
      opened.then(
        ({ channel }) => channel.close(),
        () => {},
      );
    }
  }

  /** What is at a path of another machine. */
  async look(server: Server, path: ByteString, as: 'source' | 'target'): Promise<Looked> {
    const { identity } = must(this.#network, 'a network');
    const { ApiClient } = await import('../channel/net/api-client.ts');
    const client = new ApiClient(identity, server);
    try {
      const options = { body: { path, as }, signal: this.#signal };
      return await client.json<Looked>('POST', '/v1/copies/look', options);
    } finally {
      client.close();
    }
  }

  /** Starts; resolves when it runs. INTERRUPTED, and whatever ends either half. */
  async begin(legs: CopyLegs): Promise<CopyRun> {
    this.#signal.throwIfAborted();
    const started = await this.#start(legs);
    const done = this.#follow(started, legs);
    // A caller may look at it later than it fails.
    done.catch(() => {});
    return { done, stop: started.stop };
  }

  async #follow({ pipe, done, stop }: Started, legs: CopyLegs): Promise<Counter> {
    const signal = this.#signal;
    const near: Counter = (counter, stage) => pipe.counter(counter, stage);
    const abort = (): void => void stop('interrupted');
    signal.addEventListener('abort', abort, { once: true });
    const looking = setInterval(() => legs.onLook?.(near), LOOK_MS);
    try {
      if (signal.aborted) abort();
      const far = await done;
      legs.onLook?.(near);
      return (counter, stage) => near(counter, stage) + (far[stage]?.[counter] ?? 0);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      clearInterval(looking);
      signal.removeEventListener('abort', abort);
    }
  }

  async #start({ near, allocating, far, onMessage }: CopyLegs): Promise<Started> {
    const told = (_stage: string, _instance: number, message: unknown): void =>
      onMessage?.(message);
    const spec: PipeSpec = { ...copyPipe(near, allocating), onMessage: told };
    const network = this.#network;
    if (far === undefined || network === undefined) {
      const pipe = await startPipe(spec);
      return { pipe, done: pipe.done.then(() => ({})), stop: (reason) => pipe.stop(reason) };
    }
    const { extendPipe } = await import('../channel/net/controller.ts');
    const { identity, bytesPerSecond, lostMs } = network;
    const links = far.links ?? network.links;
    const opened = await this.#opened.shift();
    const extended = await extendPipe({
      identity,
      server: far.server,
      program: 'copy',
      flow: far.flow,
      near: spec,
      far: {
        stages: far.stages,
        maxBuffers: buffersFor(far.allocating),
        minBuffers: buffersFor(far.allocating, true),
      },
      signal: this.#signal,
      onQueued: (place) => network.onQueued?.(place),
      ordered: far.ordered,
      // This process has little else to do.
      agentBeside: true,
      ...(far.agentTail === undefined ? {} : { agentTail: far.agentTail }),
      onFarPost: told,
      ...(opened === undefined ? {} : { opened }),
      ...(links === undefined ? {} : { links }),
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
      ...(lostMs === undefined ? {} : { lostMs }),
    });
    const { near: pipe, done } = extended;
    return { pipe, done, stop: (reason) => extended.stop(reason) };
  }
}

interface Started {
  readonly pipe: Pipe;
  readonly done: Promise<Readonly<Record<string, readonly number[]>>>;
  stop(reason: string): Promise<void>;
}

/** Waits for both; where one fails, the other is stopped. Resolves with what the second has counted. */
export async function together(first: CopyRun, beginning: Promise<CopyRun>): Promise<Counter> {
  try {
    const second = await beginning;
    const [, counter] = await Promise.all([first.done, second.done]);
    return counter;
  } catch (error) {
    await first.stop(OTHER_FAILED);
    await beginning.then(
      (second) => second.stop(OTHER_FAILED),
      () => undefined,
    );
    throw error;
  }
}
