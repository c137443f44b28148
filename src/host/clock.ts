/**
 * The port `Clock`.
 *
 * Contract: `nowMs` and `nowNanos` are UTC, for records, and may jump when the machine's clock is set;
 * `monotonicMs` only grows, for time-outs and rates, and means nothing outside this process. Control
 * logic is given a clock, so that tests can give it a `FakeClock`.
 */

export interface Clock {
  /** Milliseconds since 1970, whole. */
  nowMs(): number;
  /** Nanoseconds since 1970. */
  nowNanos(): bigint;
  /** Milliseconds since some moment, with a fraction. */
  monotonicMs(): number;
}

/** Both readings of the process's clock at one moment: `hrtime` carries the time on in nanoseconds. */
const NANOS_PER_MS = 1_000_000n;

let lastNanos = 0n;

const SYSTEM_CLOCK: Clock = Object.freeze({
  nowMs: () => Date.now(),
  nowNanos: () => {
    // The system's clock in milliseconds, refined by the monotonic one; strictly growing within a
    // thread unless the clock was set back, so that two records of one thread differ.
    const coarse = BigInt(Date.now()) * NANOS_PER_MS;
    const fine = coarse + (process.hrtime.bigint() % NANOS_PER_MS);
    lastNanos = fine > lastNanos || coarse + NANOS_PER_MS < lastNanos ? fine : lastNanos + 1n;
    return lastNanos;
  },
  monotonicMs: () => performance.now(),
});

export function openClock(): Clock {
  return SYSTEM_CLOCK;
}
