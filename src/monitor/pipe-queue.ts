/**
 * Which pipes may run beside each other on a monitor, and which wait for it (P13).
 *
 * Contract: what runs never has more memory than the monitor's limit, nor more threads or pipes; no machine has more
 * than its part of either; a device has no more pipes than it is allowed (one, where nobody says otherwise).
 * A pipe asks for buffers between a least and a most number, and gets what is free. Who has to wait is
 * served in the order of asking, but those who wait for their own part, or for a device, hold up nobody who
 * waits for something else; those who wait for memory hold up all behind them, so that large pipes get
 * their turn. The queue is bounded, for all and for each machine. Nothing here waits for a timer.
 */
import { PenstockError } from '../base/errors.ts';
import { formatBytes } from '../base/units.ts';

/** What bounds the pipes of a monitor. */
export interface QueueLimits {
  readonly memoryBytes: number;
  readonly pipesMax: number;
  readonly threadsMax: number;
  /** Of memory, threads and pipes, for one machine: one part in so many. */
  readonly ownerPart: number;
  readonly waitingMax: number;
  readonly ownerWaitingMax: number;
  /** How many pipes may use a device at a time, where that is not one. */
  readonly devices: ReadonlyMap<string, number>;
}

export interface PipeWish {
  /** Fingerprint of the machine that asks; undefined: a user of this one. */
  readonly owner: string | undefined;
  readonly bufferBytes: number;
  /** Memory besides the buffers. */
  readonly otherBytes: number;
  readonly buffersLeast: number;
  readonly buffersMost: number;
  readonly threads: number;
  readonly device?: string | undefined;
}

export interface Admission {
  readonly buffers: number;
  /** The pipe is over. May be called again. */
  release(): void;
}

/** One that waits. */
export interface Waiter {
  /** From 1. */
  readonly place: number;
  readonly admitted: Promise<Admission>;
  /** Leaves the queue; `admitted` rejects with the reason. Without effect once it was admitted. */
  leave(reason: PenstockError): void;
}

interface Entry {
  readonly wish: PipeWish;
  readonly settle: PromiseWithResolvers<Admission>;
}

interface Running {
  readonly wish: PipeWish;
  readonly bytes: number;
}

/** Why a pipe cannot run now; `all`: nobody behind it may either. */
type Hindrance = 'all' | 'own';

export class PipeQueue {
  readonly #limits: QueueLimits;
  readonly #running = new Set<Running>();
  readonly #waiting: Entry[] = [];
  readonly #onMoved: () => void;

  /** @param onMoved called when places have changed */
  constructor(limits: QueueLimits, onMoved: () => void = () => {}) {
    this.#limits = limits;
    this.#onMoved = onMoved;
  }

  /** Bytes that those that run were given. */
  get usedBytes(): number {
    return [...this.#running].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Asks for a turn.
   *
   * @throws LIMIT it could never run here, NET_BUSY too many wait already
   */
  ask(wish: PipeWish): Waiter {
    this.#checkPossible(wish);
    const entry: Entry = { wish, settle: Promise.withResolvers() };
    entry.settle.promise.catch(() => {});
    this.#waiting.push(entry);
    this.#serve();
    if (this.#waiting.includes(entry)) this.#checkRoom(entry);
    const place = (): number => this.#waiting.indexOf(entry) + 1;
    return {
      get place() {
        return place();
      },
      admitted: entry.settle.promise,
      leave: (reason) => this.#leave(entry, reason),
    };
  }

  #checkPossible({ buffersLeast, bufferBytes, otherBytes, threads }: PipeWish): void {
    if (threads > this.#ownerThreads) {
      throw new PenstockError(
        'LIMIT',
        `the pipe needs ${threads} threads, and one machine may have ${this.#ownerThreads} here`,
        { hint: 'ask for fewer instances or agents' },
      );
    }
    const most = this.#ownerBytes;
    const needed = buffersLeast * bufferBytes + otherBytes;
    if (needed <= most) return;
    throw new PenstockError(
      'LIMIT',
      `the pipe needs ${formatBytes(needed)} at least, and one machine may have ${formatBytes(most)} here`,
      { hint: 'ask for fewer or smaller buffers, or allow more with `penstock serve --memory`' },
    );
  }

  #checkRoom(entry: Entry): void {
    const { waitingMax, ownerWaitingMax } = this.#limits;
    const own = this.#waiting.filter(({ wish }) => wish.owner === entry.wish.owner).length;
    if (this.#waiting.length <= waitingMax && own <= ownerWaitingMax) return;
    this.#waiting.splice(this.#waiting.indexOf(entry), 1);
    throw new PenstockError('NET_BUSY', `${this.#waiting.length} pipes wait here already`);
  }

  get #ownerThreads(): number {
    return Math.floor(this.#limits.threadsMax / this.#limits.ownerPart);
  }

  get #ownerBytes(): number {
    return Math.floor(this.#limits.memoryBytes / this.#limits.ownerPart);
  }

  #leave(entry: Entry, reason: PenstockError): void {
    const at = this.#waiting.indexOf(entry);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    entry.settle.reject(reason);
    this.#serve();
    this.#onMoved();
  }

  /** Admits whoever can run now. */
  #serve(): void {
    const before = this.#waiting.length;
    for (const entry of [...this.#waiting]) {
      const buffers = this.#buffersFor(entry.wish);
      if (buffers === 'all') break;
      if (buffers === 'own') continue;
      this.#waiting.splice(this.#waiting.indexOf(entry), 1);
      entry.settle.resolve(this.#admit(entry.wish, buffers));
    }
    if (this.#waiting.length < before) this.#onMoved();
  }

  #admit(wish: PipeWish, buffers: number): Admission {
    const running: Running = { wish, bytes: buffers * wish.bufferBytes + wish.otherBytes };
    this.#running.add(running);
    return {
      buffers,
      release: () => {
        if (this.#running.delete(running)) this.#serve();
      },
    };
  }

  /** How many buffers it gets, or what it must wait for. */
  #buffersFor(wish: PipeWish): number | Hindrance {
    const { memoryBytes, pipesMax, threadsMax, ownerPart, devices } = this.#limits;
    const running = [...this.#running];
    const own = running.filter((one) => one.wish.owner === wish.owner);
    const { device } = wish;
    if (device !== undefined) {
      const users = running.filter((one) => one.wish.device === device).length;
      if (users >= (devices.get(device) ?? 1)) return 'own';
    }
    if (own.length >= Math.max(1, Math.floor(pipesMax / ownerPart))) return 'own';
    if (threadsOf(own) + wish.threads > this.#ownerThreads) return 'own';
    const ownBytes = own.reduce((sum, { bytes }) => sum + bytes, 0);
    const ownFree = this.#fitting(wish, this.#ownerBytes - ownBytes);
    if (ownFree < wish.buffersLeast) return 'own';
    if (running.length >= pipesMax) return 'all';
    if (threadsOf(running) + wish.threads > threadsMax) return 'all';
    const free = this.#fitting(wish, memoryBytes - this.usedBytes);
    if (free < wish.buffersLeast) return 'all';
    return Math.min(wish.buffersMost, ownFree, free);
  }

  #fitting({ bufferBytes, otherBytes }: PipeWish, freeBytes: number): number {
    return Math.floor((freeBytes - otherBytes) / bufferBytes);
  }
}

function threadsOf(pipes: readonly Running[]): number {
  return pipes.reduce((sum, { wish }) => sum + wish.threads, 0);
}
