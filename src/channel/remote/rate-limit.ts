/**
 * Holds a rate: whoever wants to move bytes waits until those before it have had their time.
 *
 * Contract: over any time the bytes that were let through are at most the rate times that time and
 * one piece more. Without a rate nobody waits. For one thread: net/rate-limit.ts shares a limit among
 * several, and lets them make up for unused time.
 */
import type { Clock } from '../../host/mod.ts';

export class RateLimit {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  #freeMs = 0;

  /** `bytesPerSecond` 0: no limit. */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** How long the next piece must wait; its bytes count from now on. */
  delayMs(bytes: number): number {
    if (this.#bytesPerSecond === 0) return 0;
    const nowMs = this.#clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#freeMs);
    this.#freeMs = startMs + (bytes / this.#bytesPerSecond) * 1000;
    return startMs - nowMs;
  }
}
