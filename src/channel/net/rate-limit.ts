/**
 * One limit of bytes per second for all threads that share it (U9): a token bucket in shared memory.
 *
 * Contract: the shared word is the time at which all that was reserved so far has been paid for. Who
 * wants to send reserves first and then waits until its turn; so the sum holds, whoever sends, and who
 * comes first goes first. At most LIMITS.rateBurstMs of unused time is kept.
 */
import { LIMITS } from '../../base/limits.ts';

/** Plain data, for the options of a module. */
export interface SharedRate {
  readonly bytesPerSecond: number;
  readonly paid: SharedArrayBuffer;
}

export function shareRate(bytesPerSecond: number): SharedRate {
  return { bytesPerSecond, paid: new SharedArrayBuffer(8) };
}

/**
 * Reserves bytes; returns how long to wait before sending them, in milliseconds.
 *
 * @param nowNs of the clock that all threads of the process share (process.hrtime)
 */
export function reserve(rate: SharedRate, bytes: number, nowNs: bigint): number {
  const word = new BigInt64Array(rate.paid);
  const costNs = BigInt(Math.ceil((bytes / rate.bytesPerSecond) * 1e9));
  const earliest = nowNs - BigInt(LIMITS.rateBurstMs) * 1_000_000n;
  for (;;) {
    const paid = Atomics.load(word, 0);
    const start = paid < earliest ? earliest : paid;
    if (Atomics.compareExchange(word, 0, paid, start + costNs) !== paid) continue;
    return Math.max(0, Number(start - nowNs) / 1e6);
  }
}

/** Bytes to send at once, so that short times hold the limit too, and no connection waits for long. */
export function sliceBytes(rate: SharedRate | undefined): number {
  const most = LIMITS.linkWriteBytes;
  if (rate === undefined) return most;
  return Math.max(1, Math.min(most, Math.floor(rate.bytesPerSecond / 8)));
}
