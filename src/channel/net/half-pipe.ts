/**
 * The network controller of one half of a pipe: joins the pipe of this machine to the channel to the other.
 *
 *   running ──▶ this half ended ──▶ both ended
 *      │    ──▶ the other ended ──▶    ▲
 *      └──────────▶ stopping: of its own accord, asked by the other side, or the channel was lost
 *
 * Contract: whatever ends one half ends the other within seconds; `done` settles when the pipe of this
 * machine is over, and the other has said that it has ended or can no longer be heard. It rejects with the
 * first cause, wherever it was. Control messages and their answers are plain JSON.
 *
 * A machine in the middle of a pipe has two of them, one for each side; what each hears that is for the other
 * side it hands on (`joinHalves`), and it says that it has ended only once all behind it has.
 *
 * A module of the tail that posts `{ safe: … }` says how far the data is safe. It is told to the head's
 * machine, where `onSafe` and the modules of the first stage get it: `control({ type: 'safe', value })`.
 */
import { PenstockError, toPenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { isSafePoint, type Pipe } from '../../pipe/mod.ts';
import { fromWireError, toWireError, type WireError } from '../wire-error.ts';
import type { ControlChannel, PipeMessage } from './control-channel.ts';

export interface HalfPipeOptions {
  /** What the other machine is called in messages. */
  readonly farName: string;
  readonly agentStage: 'send' | 'receive';
  /** The first stage, where it is on this machine: it learns what is safe. */
  readonly headStage?: string;
  onFarPost?(stage: string, instance: number, message: unknown): void;
  onFarWarning?(stage: string, instance: number, record: unknown): void;
  onSafe?(value: unknown): void;
  /** What is over besides when this half says that it has ended: the counters of what lies behind it. */
  readonly beyond?: Promise<FarCounters>;
  /** Hands a control message on, for a stage that is not on this machine. */
  controlBeyond?(stage: string, message: unknown): Promise<unknown[]>;
}

/** Counters of stages on other machines. */
export type FarCounters = Readonly<Record<string, readonly number[]>>;

interface Waiter {
  readonly resolve: (values: unknown[]) => void;
  readonly reject: (error: PenstockError) => void;
}

export class HalfPipe {
  readonly pipe: Pipe;
  /** Settles when both halves are over: with the counters of the other one. */
  readonly done: Promise<FarCounters>;
  /** As `done`, but for what lies beyond the channel alone. */
  readonly farDone: Promise<FarCounters>;
  readonly #channel: ControlChannel;
  readonly #options: HalfPipeOptions;
  readonly #far: PromiseWithResolvers<FarCounters> = Promise.withResolvers();
  readonly #waiters = new Map<number, Waiter>();
  #asked = 0;
  #answering = 0;
  #telling = 0;
  /** The last safe point that the head was not told of yet, if there is one. */
  #untold: [] | [unknown] = [];
  /** The other half has said that it has ended, or that it stops. */
  #farOver = false;
  #nearOver = false;

  constructor(pipe: Pipe, channel: ControlChannel, options: HalfPipeOptions) {
    this.pipe = pipe;
    this.#channel = channel;
    this.#options = options;
    this.farDone = this.#far.promise;
    this.farDone.catch(() => {});
    options.beyond?.catch(() => {});
    this.done = this.#settle();
    this.done.catch(() => {});
  }

  /** Hears the other machine from now on. */
  begin(): this {
    this.#channel.listen({
      message: (message) => this.#message(message),
      closed: () => this.#lost(),
    });
    return this;
  }

  /** Stops both halves; resolves when this one is over. */
  stop(reason: string | PenstockError = 'the pipe was stopped'): Promise<void> {
    const error =
      reason instanceof PenstockError ? reason : new PenstockError('PIPE_STOPPED', reason);
    // Where this half has ended already, only the other one is left to be stopped.
    if (this.#nearOver) this.#far.reject(error);
    return this.pipe.stop(error);
  }

  /** As Pipe.control, for a stage of the other half. */
  controlFar(stage: string, message: unknown): Promise<unknown[]> {
    if (!this.#channel.open) {
      return Promise.reject(new PenstockError('NET_LOST', 'the other half of the pipe is gone'));
    }
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { resolve, reject });
      this.#channel.send({ type: 'control', id, stage, message });
    });
  }

  /** What a module of this half has posted: for the other machine, if it says so. */
  posted(message: unknown): void {
    if (isSafePoint(message)) this.tell({ type: 'safe', value: message.safe });
  }

  /** Sends a message of a module; one that cannot be sent stops the pipe. */
  tell(message: PipeMessage): void {
    try {
      this.#channel.send(message);
    } catch (thrown) {
      void this.pipe.stop(toPenstockError(thrown));
    }
  }

  async #settle(): Promise<FarCounters> {
    try {
      const { counters } = await this.pipe.done;
      this.#nearOver = true;
      const { beyond } = this.#options;
      const behind = await Promise.race([beyond, this.#far.promise.then(() => beyond)]);
      this.#channel.send({ type: 'ended', counters: { ...counters, ...behind } });
      return await this.#far.promise;
    } catch (thrown) {
      const error = toPenstockError(thrown);
      this.#nearOver = true;
      if (!this.#farOver) this.#channel.send({ type: 'stop', error: toWireError(error) });
      throw error;
    } finally {
      this.#channel.close();
      for (const { reject } of this.#waiters.values()) {
        reject(new PenstockError('PIPE_STOPPED', 'the pipe ended before the answer came'));
      }
      this.#waiters.clear();
    }
  }

  #message(message: PipeMessage): void {
    switch (message.type) {
      case 'stop':
        this.#farOver = true;
        this.#stopped(fromWireError(message.error, this.#options.farName));
        break;
      case 'ended':
        this.#farOver = true;
        this.#far.resolve(countersOf(message.counters));
        void this.#tell(this.#options.agentStage, { type: 'far-ended' });
        break;
      case 'control':
        void this.#answer(message.id, message.stage, message.message);
        break;
      case 'answer':
        this.#answered(message.id, message.values, message.error);
        break;
      case 'post':
        this.#options.onFarPost?.(message.stage, message.instance, message.message);
        break;
      case 'warning':
        this.#options.onFarWarning?.(message.stage, message.instance, message.record);
        break;
      case 'safe':
        this.#options.onSafe?.(message.value);
        if (this.#options.headStage !== undefined) void this.#tellSafe(message.value);
        break;
      default:
        this.#stopped(
          new PenstockError('NET_PROTOCOL', `${this.#options.farName} begins a pipe that runs`),
        );
    }
  }

  #stopped(error: PenstockError): void {
    this.#far.reject(error);
    void this.pipe.stop(error);
  }

  #lost(): void {
    if (this.#farOver) return;
    const state = this.#nearOver ? 'had all but' : 'runs, and';
    this.#stopped(
      new PenstockError(
        'NET_LOST',
        `this half of the pipe ${state} nothing is heard of ${this.#options.farName} any more`,
      ),
    );
  }

  /** A head that is slow to listen is told the last of what has come meanwhile. */
  async #tellSafe(value: unknown): Promise<void> {
    if (this.#telling >= LIMITS.pipeSafePointsMax) {
      this.#untold = [value];
      return;
    }
    this.#telling++;
    await this.#tell(this.#options.headStage ?? '', { type: 'safe', value });
    this.#telling--;
    const [last] = this.#untold;
    if (this.#untold.length === 0 || this.#telling > 0) return;
    this.#untold = [];
    await this.#tellSafe(last);
  }

  async #tell(stage: string, message: unknown): Promise<void> {
    await this.pipe.control(stage, message, 'started').catch(() => {});
  }

  async #answer(id: unknown, stage: unknown, message: unknown): Promise<void> {
    if (typeof id !== 'number') return;
    this.#answering++;
    try {
      if (this.#answering > LIMITS.pipeControlsMax) {
        throw new PenstockError('NET_BUSY', `${LIMITS.pipeControlsMax} messages wait already`);
      }
      const { controlBeyond } = this.#options;
      const isHere = this.pipe.segment.config.stages.some(({ name }) => name === stage);
      const values =
        isHere || controlBeyond === undefined
          ? await this.pipe.control(String(stage), message)
          : await controlBeyond(String(stage), message);
      this.#channel.send({ type: 'answer', id, values: values.map((value) => value ?? null) });
    } catch (thrown) {
      this.#channel.send({ type: 'answer', id, error: toWireError(toPenstockError(thrown)) });
    } finally {
      this.#answering--;
    }
  }

  #answered(
    id: number,
    values: readonly unknown[] | undefined,
    error: WireError | undefined,
  ): void {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    if (error === undefined) waiter?.resolve(Array.isArray(values) ? [...values] : []);
    else waiter?.reject(fromWireError(error, this.#options.farName));
  }
}

/** What a machine in the middle of a pipe joins. */
export interface JoinedSide {
  readonly channel: ControlChannel;
  readonly farName: string;
  readonly agentStage: 'send' | 'receive';
}

/**
 * Both halves of a machine in the middle: towards who began the pipe, and onward. Each is over when all is.
 */
export function joinHalves(
  pipe: Pipe,
  back: JoinedSide,
  onward: JoinedSide,
): [back: HalfPipe, onward: HalfPipe] {
  const backDone = Promise.withResolvers<FarCounters>();
  backDone.promise.catch(() => {});
  const next: HalfPipe = new HalfPipe(pipe, onward.channel, {
    farName: onward.farName,
    agentStage: onward.agentStage,
    beyond: backDone.promise.then(() => ({})),
    onFarPost: (stage, instance, message) =>
      before.tell({ type: 'post', stage, instance, message }),
    onFarWarning: (stage, instance, record) =>
      before.tell({ type: 'warning', stage, instance, record }),
    onSafe: (value) => before.tell({ type: 'safe', value }),
  });
  const before: HalfPipe = new HalfPipe(pipe, back.channel, {
    farName: back.farName,
    agentStage: back.agentStage,
    beyond: next.farDone.then((counters) => countersUnder(onward.farName, counters)),
    controlBeyond: (stage, message) => next.controlFar(stage, message),
    onSafe: (value) => next.tell({ type: 'safe', value }),
  });
  before.farDone.then(backDone.resolve, backDone.reject);
  return [before.begin(), next.begin()];
}

function countersUnder(place: string, counters: FarCounters): FarCounters {
  return Object.fromEntries(
    Object.entries(counters).map(([stage, counts]) => [`${place}/${stage}`, counts]),
  );
}

function countersOf(value: unknown): Readonly<Record<string, readonly number[]>> {
  const entries = Object.entries(value ?? {}).filter(
    ([, counts]) => Array.isArray(counts) && counts.every((count) => typeof count === 'number'),
  );
  return Object.fromEntries(entries);
}
