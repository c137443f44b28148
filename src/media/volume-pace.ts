/**
 * When a drive begins to write, and when it synchronises (L2).
 *
 * Contract: a drive that ran dry has stopped its tape, and would stop again after each record that comes. So
 * it begins only when the buffers are filled to a level; or when they will not be, since whoever could fill
 * them waits for room or has ended; and at the latest so long after the first record came. Without time of its
 * own, and without knowing streams.
 */
import { LIMITS } from '../base/limits.ts';
import type { Clock } from '../host/mod.ts';
import type { VolumeBuffers } from './volume-buffers.ts';

export interface PaceOptions {
  /** From 0 to 1: how much of what streams may fill is filled before a drive that ran dry begins again. */
  readonly startLevel?: number;
  /** The drive synchronises after so much, or so long. */
  readonly syncBytes?: number;
  readonly syncMs?: number;
}

/** What of a session counts here. */
interface Unsafe {
  readonly isSafe: boolean;
  readonly unsafeBytes: number;
}

export class DrivePace {
  readonly #clock: Clock;
  readonly #startLevel: number;
  readonly #syncBytes: number;
  readonly #syncMs: number;
  #syncedMs: number;
  #isDry = true;
  /** When the first record came that was held back. */
  #heldMs: number | undefined;

  constructor(clock: Clock, { startLevel, syncBytes, syncMs }: PaceOptions) {
    this.#clock = clock;
    this.#startLevel = startLevel ?? 0;
    this.#syncBytes = syncBytes ?? LIMITS.volumeSyncBytes;
    this.#syncMs = syncMs ?? LIMITS.volumeSyncMs;
    this.#syncedMs = clock.monotonicMs();
  }

  /** There is nothing to write. */
  ranDry(): void {
    this.#isDry = true;
    this.#heldMs = undefined;
  }

  /** Whether what has come is written now; asked when something has. */
  mayWrite(buffers: VolumeBuffers): boolean {
    if (!this.#isDry) return true;
    this.#heldMs ??= this.#clock.monotonicMs();
    const isLong = this.#clock.monotonicMs() - this.#heldMs >= LIMITS.volumeStartMs;
    if (this.#startLevel > 0 && !isLong && !buffers.isFilledTo(this.#startLevel)) return false;
    this.#isDry = false;
    this.#heldMs = undefined;
    return true;
  }

  synchronised(): void {
    this.#syncedMs = this.#clock.monotonicMs();
  }

  /** Whether it is time to synchronise. */
  isDue({ isSafe, unsafeBytes }: Unsafe): boolean {
    if (isSafe) return false;
    const sinceMs = this.#clock.monotonicMs() - this.#syncedMs;
    return unsafeBytes >= this.#syncBytes || sinceMs >= this.#syncMs;
  }

  /** How long nothing will change of itself; undefined: for ever. */
  waitMs({ isSafe }: Unsafe): number | undefined {
    const nowMs = this.#clock.monotonicMs();
    const ends: number[] = [];
    if (!isSafe) ends.push(this.#syncedMs + this.#syncMs);
    if (this.#heldMs !== undefined) ends.push(this.#heldMs + LIMITS.volumeStartMs);
    return ends.length === 0 ? undefined : Math.max(1, Math.min(...ends) - nowMs);
  }
}
