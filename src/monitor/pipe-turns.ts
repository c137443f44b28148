/**
 * The turn of a pipe on this monitor, from asking for it until the pipe is over: its place in the queue
 * (pipe-queue.ts) and its line in the list (pipe-registry.ts).
 *
 *   queued ──▶ starting ──▶ running ──▶ over
 *      └───────────┴─────▶ left: stopped by name, or who asked has gone
 *
 * Contract: the name is taken from the first moment to the last; whatever ends a turn, its memory and
 * device are free for the next. Also one that is queued or starting can be stopped. A pipe of several
 * machines keeps nothing on one while it waits for another (`turnsTogether`).
 */
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  type Admission,
  PipeQueue,
  type PipeWish,
  type QueueLimits,
  type Waiter,
} from './pipe-queue.ts';
import type { PipeRegistry, RegisteredPipe } from './pipe-registry.ts';
import type { PipeFacts, PipeView } from './pipe-view.ts';

export interface TurnRequest extends PipeFacts {
  readonly name: string;
  readonly owner: string | undefined;
  readonly wish: Omit<PipeWish, 'owner' | 'device'>;
  /** Told its place whenever that has changed, while it waits. */
  onQueued?(place: number): void;
}

export class PipeTurns {
  readonly #queue: PipeQueue;
  readonly #registry: PipeRegistry;
  readonly #asking = new Set<Turn>();

  constructor(limits: QueueLimits, registry: PipeRegistry) {
    this.#registry = registry;
    this.#queue = new PipeQueue(limits, () => {
      for (const turn of this.#asking) turn.moved();
    });
  }

  /** Waits until a pipe of this name and owner that is being stopped is over: it may be begun again. */
  async ended(name: string, owner: string): Promise<void> {
    await this.#registry.ended(name, owner);
  }

  /** Asks for a turn. PIPE_CONFIG (the name is taken), LIMIT, NET_BUSY. */
  ask(request: TurnRequest): Turn {
    this.#registry.refuseTaken(request.name);
    const { owner, device } = request;
    const turn = new Turn(
      () => this.#queue.ask({ ...request.wish, owner, device }),
      request,
      (entry) => this.#registry.add(entry),
      () => this.#asking.delete(turn),
    );
    this.#asking.add(turn);
    turn.moved();
    return turn;
  }
}

export class Turn {
  #waiter: Waiter;
  readonly #ask: () => Waiter;
  readonly #ended: () => void;
  readonly #request: TurnRequest;
  readonly #add: (entry: RegisteredPipe) => () => void;
  readonly #over: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #askedMs: number = performance.now();
  #remove: () => void;
  #pipe: RegisteredPipe | undefined;
  #stopped: PenstockError | undefined;
  readonly #left = new AbortController();
  #isAsked = true;
  #place = 0;
  #placeThere = 0;

  constructor(
    ask: () => Waiter,
    request: TurnRequest,
    add: (entry: RegisteredPipe) => () => void,
    ended: () => void,
  ) {
    this.#ask = ask;
    this.#ended = ended;
    this.#waiter = ask();
    this.#request = request;
    this.#add = add;
    this.#remove = add({
      name: request.name,
      owner: request.owner,
      isOwn: true,
      done: this.#over.promise,
      view: () => this.#view(),
      stop: (reason) => this.leave(reason),
    });
  }

  /** Aborted with the reason when it is given up before it runs. */
  get signal(): AbortSignal {
    return this.#left.signal;
  }

  /** Its memory and device are its own; rejects with the reason when it is given up. */
  get admitted(): Promise<Admission> {
    return this.#waiter.admitted;
  }

  /** It waits on another machine: what it has here others may have meanwhile. */
  giveBack(placeThere: number): void {
    this.#placeThere = placeThere;
    if (!this.#isAsked) return;
    this.#isAsked = false;
    this.#release();
  }

  /** Asks for its turn anew, after it was given back. NET_BUSY. */
  askAgain(): void {
    if (this.#stopped !== undefined) throw this.#stopped;
    this.#placeThere = 0;
    this.#waiter = this.#ask();
    this.#isAsked = true;
    this.moved();
  }

  /** It has its turn, or waits for it here. */
  get isAsked(): boolean {
    return this.#isAsked;
  }

  /** It waits here. */
  get isWaiting(): boolean {
    return this.#waiter.place > 0;
  }

  moved(): void {
    const { place } = this.#waiter;
    if (place === this.#place) return;
    this.#place = place;
    if (place > 0) this.#request.onQueued?.(place);
  }

  /** Gives it up; resolves when it is over. */
  async leave(reason: PenstockError): Promise<void> {
    if (this.#pipe !== undefined) return this.#pipe.stop(reason);
    this.#stopped ??= reason;
    this.#waiter.leave(reason);
    this.#left.abort(reason);
    await this.#over.promise;
  }

  /** The pipe runs: it takes the turn's line in the list. One that was stopped meanwhile is stopped. */
  started(pipe: RegisteredPipe): void {
    this.#remove();
    this.#pipe = pipe;
    this.#remove = this.#add(pipe);
    if (this.#stopped !== undefined) void pipe.stop(this.#stopped);
  }

  /** It is over, however far it came. May be called again. */
  end(): void {
    this.#remove();
    this.#ended();
    this.#release();
    this.#over.resolve();
  }

  #release(): void {
    this.#waiter.leave(new PenstockError('PIPE_STOPPED', 'the pipe was stopped'));
    this.#waiter.admitted.then(
      (admission) => admission.release(),
      () => {},
    );
  }

  #view(): PipeView {
    const { name, program, machine, flow, device, wish } = this.#request;
    const place = this.#waiter.place || this.#placeThere;
    return {
      name,
      state: place > 0 ? 'queued' : 'starting',
      ...(place > 0 ? { place } : {}),
      program,
      machine,
      flow,
      ...(device === undefined ? {} : { device }),
      upMs: Math.round(performance.now() - this.#askedMs),
      stopping: this.#stopped !== undefined,
      segmentBytes: 0,
      buffers: { total: wish.buffersMost, free: 0, bytesEach: wish.bufferBytes },
      stages: [],
    };
  }
}

/** Where the rest of a pipe waits for the part that is here. */
export interface Rest {
  giveUp(reason: PenstockError): Promise<void>;
}

/**
 * The turns of a pipe on this machine and on others, which `reach` asks for.
 *
 * Contract: nothing is kept here while the others are waited for, nor there while this one is, so that pipes
 * that want the same machines in different orders never wait for each other: whoever cannot have all at
 * once waits, with nothing, where it was refused, and then tries again.
 */
export async function turnsTogether<R extends Rest>(
  turn: Turn,
  reach: (onQueued: (place: number) => void) => Promise<R>,
): Promise<{ readonly buffers: number; readonly rest: R }> {
  const endMs = performance.now() + LIMITS.pipeQueueMs;
  for (;;) {
    const { buffers } = await turn.admitted;
    const rest = await reach((place) => turn.giveBack(place));
    if (turn.isAsked) return { buffers, rest };
    try {
      turn.askAgain();
    } catch (thrown) {
      await rest.giveUp(toPenstockError(thrown));
      throw thrown;
    }
    if (!turn.isWaiting) return { buffers: (await turn.admitted).buffers, rest };
    await rest.giveUp(new PenstockError('PIPE_STOPPED', 'the pipe waits for its turn elsewhere'));
    if (performance.now() > endMs) {
      throw new PenstockError(
        'NET_BUSY',
        `the machines of the pipe had no room at the same time within ${LIMITS.pipeQueueMs / 1000} s`,
      );
    }
  }
}

/** What a pipe wants of a monitor: memory, and threads, of which `agents` are for the network. */
export function wishOf(
  pipe: {
    readonly maxBuffers: number;
    readonly minBuffers?: number | undefined;
    readonly payloadBytes: number;
    readonly directoryBytes?: number | undefined;
  },
  stages: readonly { readonly instances?: number; readonly windowBytes?: number }[],
  agents = 0,
): TurnRequest['wish'] {
  return {
    bufferBytes: pipe.payloadBytes + (pipe.directoryBytes ?? 0) + LIMITS.headerRoomBytes,
    otherBytes: stages.reduce(
      (sum, { instances = 1, windowBytes = 0 }) => sum + instances * windowBytes,
      0,
    ),
    buffersLeast: Math.min(pipe.minBuffers ?? pipe.maxBuffers, pipe.maxBuffers),
    buffersMost: pipe.maxBuffers,
    threads: stages.reduce((sum, { instances = 1 }) => sum + instances, agents),
  };
}
