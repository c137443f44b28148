/**
 * The port `Clock`.
 *
 * Contract: `nowMs` and `nowNanos` are UTC, for records, and may jump when the machine's clock is
 * set; `monotonicMs` only grows, for time-outs and rates, and means nothing outside this process.
 * Control logic is given a clock, so that tests can give it a `FakeClock`.
 */

export interface Clock {
  /** Milliseconds since 1970, whole. */
  nowMs(): number;
  /** Nanoseconds since 1970. */
  nowNanos(): bigint;
  /** Milliseconds since some moment, with a fraction. */
  monotonicMs(): number;
}

const NANOS_PER_MS = 1_000_000n;

/** What to add to the monotonic clock to get UTC. */
let offsetNanos: bigint | undefined;

/**
 * The system tells UTC in milliseconds only; the monotonic clock carries it on in between. The
 * offset is corrected whenever the two disagree, so the result is always within the millisecond
 * that the system tells, and grows between two calls unless the machine's clock is set back.
 */
function nowNanos(): bigint {
  const earliest = BigInt(Date.now()) * NANOS_PER_MS;
  const monotonic = process.hrtime.bigint();
  const latest = earliest + NANOS_PER_MS - 1n;
  offsetNanos ??= earliest - monotonic;
  if (monotonic + offsetNanos < earliest) offsetNanos = earliest - monotonic;
  else if (monotonic + offsetNanos > latest) offsetNanos = latest - monotonic;
  return monotonic + offsetNanos;
}

const SYSTEM_CLOCK: Clock = Object.freeze({
  nowMs: () => Date.now(),
  nowNanos,
  monotonicMs: () => performance.now(),
});

export function openClock(): Clock {
  return SYSTEM_CLOCK;
}
