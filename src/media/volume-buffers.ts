/**
 * The buffers between several streams and one drive (L2): who may fill the next one.
 *
 * Contract:
 * - A stream is admitted when there are two buffers for it and two for each that is in already; until
 *   then it waits, in the order of coming.
 * - A stream gets a buffer as long as every other one still finds two: so a slow one keeps nothing
 *   that a fast one needs, and a fast one does not crowd out a slow one. Of several that wait, the one
 *   with the fewest filled buffers is first.
 * - A stream that had to wait goes on once its filled buffers are down to the low-water mark: then it
 *   reads several pieces in a row, instead of one whenever one is written.
 * - Buffers that were written are *kept* until what they hold is synchronised, in case it must be
 *   written again. `keep` of them are never taken before; of more than that the oldest is, where no
 *   other is free (its keeper then has none).
 */
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';

/** Each stream finds so many buffers. */
export const BUFFERS_PER_STREAM = 2;

/** What holds a kept buffer; it must let go of it at any time. */
export interface BufferKeeper {
  buffer: Buffer | undefined;
}

export interface BufferShare {
  /** Filled buffers that wait for the drive. */
  filled: number;
  /** It had to wait, and has not come down to the low-water mark. */
  isBlocked: boolean;
}

interface Waiting {
  readonly share: BufferShare;
  readonly give: (buffer: Buffer) => void;
  readonly fail: (error: unknown) => void;
}

interface Applicant {
  readonly share: BufferShare;
  readonly admit: () => void;
  readonly fail: (error: unknown) => void;
}

/** Buffers in one piece of memory, so that what is used again stays where it is. */
export function makeBuffers(count: number, bufferBytes: number): Buffer[] {
  const memory = Buffer.allocUnsafeSlow(count * bufferBytes);
  return Array.from({ length: count }, (_, i) =>
    memory.subarray(i * bufferBytes, (i + 1) * bufferBytes),
  );
}

/** How many buffers of so many bytes a drive has. */
export function buffersFor(bufferBytes: number, memoryBytes: number | undefined): number {
  const least = memoryBytes === undefined ? LIMITS.volumeBuffersLeast : LIMITS.driveBuffersLeast;
  return Math.max(least, Math.floor((memoryBytes ?? LIMITS.volumeBufferBytes) / bufferBytes));
}

export class VolumeBuffers {
  readonly count: number;
  readonly #free: Buffer[];
  /** Oldest first; those that were let go of have none any more. */
  #kept: BufferKeeper[] = [];
  readonly #shares = new Set<BufferShare>();
  #waiting: Waiting[] = [];
  #applicants: Applicant[] = [];
  readonly #lowWater: number;
  readonly #keep: number;
  #filled = 0;

  /**
   * @param buffers  all of them
   * @param keep     how many written buffers are kept at least
   * @param lowWater part of a stream's even share, from 0 to 1
   */
  constructor(buffers: readonly Buffer[], keep: number, lowWater: number) {
    assert(buffers.length - keep >= BUFFERS_PER_STREAM, 'there are buffers for one stream');
    this.#keep = keep;
    this.count = buffers.length;
    this.#lowWater = lowWater;
    this.#free = [...buffers];
  }

  /** Filled buffers that wait for the drive. */
  get filled(): number {
    return this.#filled;
  }
  get streams(): number {
    return this.#shares.size;
  }
  /** Streams that wait to be admitted. */
  get applicants(): number {
    return this.#applicants.length;
  }

  /** Streams that wait for a buffer. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Whether so much is filled (from 0 to 1) of what streams may fill, or no more will be. */
  isFilledTo(level: number): boolean {
    if (this.#waiting.length > 0 || this.#shares.size === 0) return true;
    return this.#filled >= Math.ceil(level * (this.count - this.#keep));
  }

  /** Waits until there are buffers for one more stream. */
  async admit(): Promise<BufferShare> {
    const share: BufferShare = { filled: 0, isBlocked: false };
    await new Promise<void>((admit, fail) => {
      this.#applicants.push({ share, admit, fail });
      this.#serve();
    });
    return share;
  }

  /** The stream is over. */
  leave(share: BufferShare): void {
    this.#shares.delete(share);
    this.#serve();
  }

  /** A buffer to be filled; resolves when the stream may have one. */
  async take(share: BufferShare): Promise<Buffer> {
    const buffer = this.#mayTake(share) ? this.#pop() : undefined;
    if (buffer !== undefined) return this.#given(share, buffer);
    share.isBlocked = true;
    return await new Promise<Buffer>((give, fail) => {
      this.#waiting.push({ share, give, fail });
      this.#serve();
    });
  }

  /** What the buffer holds was written; it is kept by `keeper` as long as it can be. */
  written(share: BufferShare, keeper: BufferKeeper): void {
    share.filled -= 1;
    this.#filled -= 1;
    this.#kept.push(keeper);
    this.#serve();
  }

  /** What was kept so far is not needed any more. */
  release(): void {
    for (const keeper of this.#kept) this.#letGo(keeper);
    this.#kept = [];
    this.#serve();
  }

  /** Whoever waits gets this error. */
  fail(error: unknown): void {
    const waiting = [...this.#waiting, ...this.#applicants];
    this.#waiting = [];
    this.#applicants = [];
    for (const one of waiting) one.fail(error);
  }

  get #available(): number {
    return this.#free.length + Math.max(0, this.#kept.length - this.#keep);
  }

  #mayTake(share: BufferShare): boolean {
    if (share.isBlocked && share.filled > this.#lowWaterOf()) return false;
    if (share.filled < BUFFERS_PER_STREAM) return this.#available > 0;
    let reserved = 0;
    for (const other of this.#shares)
      if (other !== share) reserved += Math.max(0, BUFFERS_PER_STREAM - other.filled);
    return this.#available > reserved;
  }

  #lowWaterOf(): number {
    const even = Math.floor((this.count - this.#keep) / Math.max(1, this.#shares.size));
    return Math.max(1, Math.floor(even * this.#lowWater));
  }

  #pop(): Buffer | undefined {
    for (;;) {
      const buffer = this.#free.pop();
      if (buffer !== undefined) return buffer;
      const oldest = this.#kept.length > this.#keep ? this.#kept.shift() : undefined;
      if (oldest === undefined) return undefined;
      this.#letGo(oldest);
    }
  }

  #letGo(keeper: BufferKeeper): void {
    if (keeper.buffer !== undefined) this.#free.push(keeper.buffer);
    keeper.buffer = undefined;
  }

  #given(share: BufferShare, buffer: Buffer): Buffer {
    share.isBlocked = false;
    share.filled += 1;
    this.#filled += 1;
    return buffer;
  }

  #serve(): void {
    this.#admitNext();
    while (this.#waiting.length > 0) {
      const ready = this.#waiting.filter(({ share }) => this.#mayTake(share));
      const first = ready.reduce<Waiting | undefined>(
        (least, one) =>
          least === undefined || one.share.filled < least.share.filled ? one : least,
        undefined,
      );
      const buffer = first === undefined ? undefined : this.#pop();
      if (first === undefined || buffer === undefined) return;
      this.#waiting.splice(this.#waiting.indexOf(first), 1);
      first.give(this.#given(first.share, buffer));
    }
  }

  #admitNext(): void {
    for (;;) {
      const next = this.#applicants[0];
      if (
        next === undefined ||
        (this.#shares.size + 1) * BUFFERS_PER_STREAM > this.count - this.#keep
      )
        return;
      this.#applicants.shift();
      this.#shares.add(next.share);
      next.admit();
    }
  }
}
