/**
 * A clock that stands still until a test moves it.
 */
import type { Clock } from '../clock.ts';

const NANOS_PER_MS = 1_000_000n;

export class FakeClock implements Clock {
  #utcNanos: bigint;
  #monotonicNanos = 0n;

  /** @param startMs milliseconds since 1970; 2026-01-01 by default */
  constructor(startMs = 1_767_225_600_000) {
    this.#utcNanos = BigInt(startMs) * NANOS_PER_MS;
  }

  nowMs(): number {
    return Number(this.#utcNanos / NANOS_PER_MS);
  }

  nowNanos(): bigint {
    return this.#utcNanos;
  }

  monotonicMs(): number {
    return Number(this.#monotonicNanos) / 1e6;
  }

  /** Lets time pass. */
  advance(elapsedMs: number): void {
    const nanos = BigInt(Math.round(elapsedMs * 1e6));
    this.#utcNanos += nanos;
    this.#monotonicNanos += nanos;
  }

  /** Sets the clock as an administrator does: UTC jumps, the monotonic clock does not. */
  set(utcMs: number): void {
    this.#utcNanos = BigInt(utcMs) * NANOS_PER_MS;
  }
}
