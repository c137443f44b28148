/**
 * How an instance waits, and what it notices meanwhile: a stop, control messages, a pause.
 *
 * Contract: `notice` costs one load when there is nothing. Every wait looks at the attention word after
 * it took its ticket (semaphore.ts), so nothing is missed and no time-out is needed (P12). A stop is
 * thrown as PipeStopped; control messages are answered and the wait goes on. The waits whose names end
 * in `Later` are the same ones for a module that runs an event loop; several of them may be under way in
 * one thread, whose state is then that of the last one that began or ended.
 */
import { assert } from '../base/assert.ts';
import { HEADER, INSTANCE, instanceAt } from './layout.ts';
import { ATTENTION, type Segment } from './segment.ts';
import { Semaphore } from './semaphore.ts';

/** Thrown out of a primitive once the pipe stops; modules let it pass. */
export class PipeStopped extends Error {
  override readonly name: string = 'PipeStopped';
}

/** What an instance is doing, for status and for "who waits for whom". */
export const STATE = {
  idle: 0,
  opening: 1,
  running: 2,
  waitingShare: 3,
  waitingPool: 4,
  waitingInput: 5,
  waitingOrder: 6,
  waitingShared: 7,
  paused: 8,
  closing: 9,
  ended: 10,
  failed: 11,
  stopped: 12,
} as const;
export type StateName = keyof typeof STATE;

/** What an instance asks of the thread that it runs in. */
export interface InstanceHooks {
  /** Answers the control messages that have arrived. */
  control(): void;
  /** The first buffer, or a growing queue, asks for an instance of a stage. */
  start(stage: number, instance: number): void;
  /** The instance has halted because of the pipe's n-th pause. */
  paused(n: number): void;
}

export class Waiting {
  readonly #segment: Segment;
  readonly #words: Int32Array;
  readonly #hooks: InstanceHooks;
  readonly #attention: number;
  readonly #state: number;
  readonly #beat: number;
  readonly #asked: number;
  readonly #received: number;
  readonly #pause: Semaphore;
  readonly #user: Semaphore;
  /** The thread's event loop runs beside the waits: nothing may hold it up. */
  #loops = false;

  constructor(segment: Segment, instance: number, hooks: InstanceHooks) {
    const { layout, words } = segment;
    const at = instanceAt(layout, instance);
    this.#segment = segment;
    this.#words = words;
    this.#hooks = hooks;
    this.#attention = at + INSTANCE.attention;
    this.#state = at + INSTANCE.state;
    this.#beat = at + INSTANCE.beat;
    this.#asked = at + INSTANCE.asked;
    this.#received = at + INSTANCE.received;
    this.#pause = new Semaphore(words, layout.pause);
    this.#user = new Semaphore(words, layout.user);
  }

  get state(): number {
    return this.#words[this.#state] as number;
  }

  set state(state: number) {
    this.#words[this.#state] = state;
  }

  /** It is done with what it received before, and asks for more. */
  asks(): void {
    Atomics.store(this.#words, this.#asked, ((this.#words[this.#asked] as number) + 1) | 0);
  }

  received(): void {
    Atomics.store(this.#words, this.#received, ((this.#words[this.#received] as number) + 1) | 0);
  }

  /** Sign of life; answers what asks for attention. Throws PipeStopped. */
  notice(): void {
    const words = this.#words;
    words[this.#beat] = ((words[this.#beat] as number) + 1) | 0;
    if (Atomics.load(words, this.#attention) !== 0) this.#attend();
  }

  /**
   * Takes one of a semaphore, waiting for it. With `producers`, the word that counts who may still
   * release it, the wait ends with false once that is 0 and nothing is left.
   */
  acquire(semaphore: Semaphore, state: number, producers = -1): boolean {
    this.notice();
    return semaphore.tryAcquire() || this.#acquireSlowly(semaphore, state, producers);
  }

  #acquireSlowly(semaphore: Semaphore, state: number, producers: number): boolean {
    const before = this.state;
    semaphore.enter();
    this.state = state;
    try {
      for (;;) {
        const ticket = semaphore.ticket();
        this.notice();
        // Read before the semaphore: who closes has released all that it sent.
        const over = producers >= 0 && Atomics.load(this.#words, producers) === 0;
        if (semaphore.tryAcquire()) return true;
        if (over) return false;
        semaphore.sleep(ticket);
      }
    } finally {
      this.state = before;
      semaphore.leave();
    }
  }

  /** From now on only the waits that are awaited halt for a pause, and `glance` answers messages. */
  beginLoop(): void {
    this.#loops = true;
  }

  /** What came while the event loop ran: answers it without halting. Throws PipeStopped. */
  glance(): void {
    this.notice();
    if ((Atomics.load(this.#words, this.#attention) & ATTENTION.pause) === 0) return;
    this.#hooks.paused(Atomics.load(this.#words, HEADER.pauses));
  }

  /** As `acquire`, while the event loop goes on. */
  async acquireLater(semaphore: Semaphore, state: number, producers = -1): Promise<boolean> {
    const before = this.state;
    semaphore.enter();
    this.state = state;
    try {
      for (;;) {
        const ticket = semaphore.ticket();
        this.notice();
        await this.#haltLater();
        const over = producers >= 0 && Atomics.load(this.#words, producers) === 0;
        if (semaphore.tryAcquire()) return true;
        if (over) return false;
        await semaphore.sleepLater(ticket);
      }
    } finally {
      this.state = before;
      semaphore.leave();
    }
  }

  /** Waits until a word is no longer `value`; who changes it tells all that wait for `semaphore`. */
  async changedLater(semaphore: Semaphore, word: number, value: number): Promise<number> {
    semaphore.enter();
    try {
      for (;;) {
        const ticket = semaphore.ticket();
        this.notice();
        const now = Atomics.load(this.#words, word);
        if (now !== value) return now;
        await semaphore.sleepLater(ticket);
      }
    } finally {
      semaphore.leave();
    }
  }

  async #haltLater(): Promise<void> {
    if ((Atomics.load(this.#words, this.#attention) & ATTENTION.pause) === 0) return;
    const before = this.state;
    this.state = STATE.paused;
    this.#pause.enter();
    try {
      for (;;) {
        const ticket = this.#pause.ticket();
        this.notice();
        if ((Atomics.load(this.#words, this.#attention) & ATTENTION.pause) === 0) return;
        this.#hooks.paused(Atomics.load(this.#words, HEADER.pauses));
        await this.#pause.sleepLater(ticket);
      }
    } finally {
      this.#pause.leave();
      this.state = before;
    }
  }

  /** Waits until a shared word is no longer `value`; who changes one calls `notifyShared`. */
  whileShared(index: number, value: number): void {
    const words = this.#segment.sharedWords;
    assert(index >= 0 && index < words.length, 'the shared word exists');
    this.notice();
    if (Atomics.load(words, index) !== value) return;
    const before = this.state;
    this.#user.enter();
    this.state = STATE.waitingShared;
    try {
      for (;;) {
        const ticket = this.#user.ticket();
        this.notice();
        if (Atomics.load(words, index) !== value) return;
        this.#user.sleep(ticket);
      }
    } finally {
      this.state = before;
      this.#user.leave();
    }
  }

  notifyShared(): void {
    this.#user.wakeAll();
  }

  #attend(): void {
    for (;;) {
      const bits = Atomics.load(this.#words, this.#attention);
      if ((bits & ATTENTION.stop) !== 0) throw new PipeStopped('the pipe stops');
      if ((bits & ATTENTION.control) !== 0) {
        // First the bit, then the messages: one that comes between sets it again.
        Atomics.and(this.#words, this.#attention, ~ATTENTION.control);
        this.#hooks.control();
      } else if ((bits & ATTENTION.pause) !== 0 && !this.#loops) this.#halt();
      else return;
    }
  }

  #halt(): void {
    const before = this.state;
    this.state = STATE.paused;
    this.#pause.enter();
    try {
      for (;;) {
        const ticket = this.#pause.ticket();
        if (Atomics.load(this.#words, this.#attention) !== ATTENTION.pause) return;
        this.#hooks.paused(Atomics.load(this.#words, HEADER.pauses));
        this.#pause.sleep(ticket);
      }
    } finally {
      this.#pause.leave();
      this.state = before;
    }
  }
}
