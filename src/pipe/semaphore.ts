/**
 * Counting semaphores in shared memory, which are also how a thread of a pipe waits for anything.
 *
 * Contract: `tryAcquire` and `release` never wait. Waiting is a loop of the caller's:
 *
 *     enter(); try { for (;;) { ticket = this.ticket(); <look at everything that could end the wait>;
 *                               sleep(ticket); } } finally { leave(); }
 *
 * No wake-up is lost: whoever changes something does so first, then reads `waiters`, then moves
 * `signal`; whoever waits first counts itself, then takes the ticket, then looks. Either the waiter
 * sees the change, or the changer sees the waiter and the ticket is no longer valid, so that `sleep`
 * returns at once. The same holds for a stop, a control message and the end of a stream, which only
 * call `wakeAll`: no time-outs are needed.
 */
import { SEMAPHORE } from './layout.ts';

export class Semaphore {
  readonly #words: Int32Array;
  readonly #count: number;
  readonly #waiters: number;
  readonly #signal: number;

  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#count = at + SEMAPHORE.count;
    this.#waiters = at + SEMAPHORE.waiters;
    this.#signal = at + SEMAPHORE.signal;
  }

  get count(): number {
    return Atomics.load(this.#words, this.#count);
  }

  /** Takes one, if there is one. */
  tryAcquire(): boolean {
    const words = this.#words;
    const at = this.#count;
    let count = Atomics.load(words, at);
    while (count > 0) {
      const seen = Atomics.compareExchange(words, at, count, count - 1);
      if (seen === count) return true;
      count = seen;
    }
    return false;
  }

  /** Gives one back and wakes one waiter. */
  release(): void {
    Atomics.add(this.#words, this.#count, 1);
    if (Atomics.load(this.#words, this.#waiters) > 0) this.#wake(1);
  }

  /** Makes every waiter look again. */
  wakeAll(): void {
    this.#wake(Number.POSITIVE_INFINITY);
  }

  /** As `wakeAll`, at no cost while nobody waits. */
  tellAll(): void {
    if (Atomics.load(this.#words, this.#waiters) > 0) this.#wake(Number.POSITIVE_INFINITY);
  }

  #wake(count: number): void {
    Atomics.add(this.#words, this.#signal, 1);
    Atomics.notify(this.#words, this.#signal, count);
  }

  enter(): void {
    Atomics.add(this.#words, this.#waiters, 1);
  }

  leave(): void {
    Atomics.sub(this.#words, this.#waiters, 1);
  }

  ticket(): number {
    return Atomics.load(this.#words, this.#signal);
  }

  /** Sleeps until `signal` moves on from the ticket. */
  sleep(ticket: number): void {
    Atomics.wait(this.#words, this.#signal, ticket);
  }

  /**
   * As `sleep`, while the thread's event loop goes on; to be awaited. It does not keep the loop alive.
   * No time-out here either: each would stay in memory until it runs out.
   */
  sleepLater(ticket: number): Promise<string> | string {
    return Atomics.waitAsync(this.#words, this.#signal, ticket).value;
  }
}
