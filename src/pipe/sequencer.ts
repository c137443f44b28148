/**
 * Sequencer and resequencer (P6): numbers in front of a stage of several instances, order after it.
 *
 * Contract: both are structures in the segment, not threads; whoever sends runs them. The sequencer
 * gives out consecutive numbers from 1 (53 bits). The resequencer holds buffer numbers, never bytes: a buffer is
 * handed to the queue behind it once all parts of all lower numbers have passed. A number passes with its
 * last part; a number that was dropped passes as a tombstone. Each passed number gives a permit back to
 * the section's window, so at most `window` numbers lie between the two (topology.ts says why).
 *
 * Who delivers: a part is first published in its slot, then `pending` is raised. Who raises it from 0
 * drains for all, and again as long as others raised it meanwhile; the others return at once. The slot
 * of (number, part) is number mod slots, part: the window keeps two numbers from meeting in one.
 */
import { assert } from '../base/assert.ts';
import { powerOfTwo, RESEQUENCER, STAGE } from './layout.ts';
import type { BufferQueue } from './queue.ts';
import type { Semaphore } from './semaphore.ts';

/** Numbers for the buffers that are sent to one stage. */
export class Sequencer {
  readonly #words: Int32Array;
  readonly #at: number;
  /** Number that `next` gave out last, in two words. */
  low = 0;
  high = 0;

  constructor(words: Int32Array, stageWord: number) {
    this.#words = words;
    this.#at = stageWord;
  }

  /** Takes the next number into `low` and `high`. */
  next(): void {
    const words = this.#words;
    const low = Atomics.add(words, this.#at + STAGE.sequenceLow, 1);
    // `halves` counts the passes of 2^31; whoever passes counts, a little later than it took the number.
    // In the lower half of a round it is even, in the upper one odd, or in either not yet counted.
    if ((low & 0x7fffffff) === 0) Atomics.add(words, this.#at + STAGE.sequenceHalves, 1);
    const halves = Atomics.load(words, this.#at + STAGE.sequenceHalves);
    this.low = low;
    this.high = low >= 0 ? (halves + 1) >> 1 : halves >> 1;
  }
}

const INDEX_BITS = 13;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const LAST = 1 << INDEX_BITS;
const TOMBSTONE = 1 << (INDEX_BITS + 1);
const PRESENT = 1 << (INDEX_BITS + 2);

export class Resequencer {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #slots: number;
  readonly #mask: number;
  readonly #columns: number;
  readonly #carried: boolean;
  readonly #queue: BufferQueue;
  readonly #ready: Semaphore;
  readonly #window: Semaphore;

  /** `queue` and `ready` belong to the stage behind; `window` to the section. */
  constructor(
    words: Int32Array,
    at: number,
    size: { window: number; parts: number; carried?: true },
    queue: BufferQueue,
    ready: Semaphore,
    window: Semaphore,
  ) {
    this.#words = words;
    this.#at = at;
    this.#slots = at + RESEQUENCER.slots;
    this.#mask = powerOfTwo(size.window) - 1;
    this.#columns = size.parts + 1;
    this.#carried = size.carried === true;
    this.#queue = queue;
    this.#ready = ready;
    this.#window = window;
  }

  /** A buffer has arrived that is this part of the number. */
  deliver(sequenceLow: number, part: number, last: boolean, buffer: number): void {
    this.#put(sequenceLow, part, PRESENT | (last ? LAST : 0) | buffer);
  }

  /** Nobody will bring this part. A split that ends without a last part skips the one after it. */
  skip(sequenceLow: number, part: number, last: boolean): void {
    this.#put(sequenceLow, part, PRESENT | TOMBSTONE | (last ? LAST : 0));
  }

  #put(sequenceLow: number, part: number, entry: number): void {
    const slot = this.#slots + (sequenceLow & this.#mask) * this.#columns + part;
    const before = Atomics.exchange(this.#words, slot, entry);
    assert(part < this.#columns && before === 0, 'each part of a number arrives once');
    if (Atomics.add(this.#words, this.#at + RESEQUENCER.pending, 1) > 0) return;
    for (let served = 1; served > 0; ) {
      this.#drain();
      const left = Atomics.sub(this.#words, this.#at + RESEQUENCER.pending, served) - served;
      served = left;
    }
  }

  /** Hands on all that has no gap before it. Runs in one thread at a time. */
  #drain(): void {
    const words = this.#words;
    const next = this.#at + RESEQUENCER.next;
    const part = this.#at + RESEQUENCER.part;
    for (;;) {
      const number = words[next] as number;
      const slot = this.#slots + (number & this.#mask) * this.#columns + (words[part] as number);
      const entry = Atomics.load(words, slot);
      if (entry === 0) return;
      Atomics.store(words, slot, 0);
      if ((entry & TOMBSTONE) === 0) {
        this.#queue.push(entry & INDEX_MASK);
        this.#ready.release();
      }
      if ((entry & LAST) === 0) {
        words[part] = (words[part] as number) + 1;
      } else {
        words[part] = 0;
        words[next] = (number + 1) | 0;
        // Whoever gives out carried numbers is told how many have passed, and takes no permits.
        if (this.#carried) this.#window.tellAll();
        else this.#window.release();
      }
    }
  }
}
