/**
 * The rcq: the queues of buffer numbers in shared memory, all lock-free.
 *
 * Contract: `push` and `pop` take effect in one atomic step each, so a thread that dies or is held up
 * between any two instructions never keeps the others from going on. The semaphore of a queue counts
 * what has been pushed; who has acquired it finds something to pop.
 *
 * Ring: first in, first out. A slot is one word: turn << 13 | number + 1, the lower part 0 while the
 * slot is empty; its turn is how often the ring has come round. One compare-and-exchange on the slot
 * both claims and publishes; `head` and `tail` only follow, and whoever finds them behind moves them.
 *
 *      position p: slot p mod slots, turn p div slots
 *      push at tail p:  (turn, empty)  -> (turn, number)
 *      pop at head p:   (turn, number) -> (turn + 1, empty)
 *
 * Stale readers fail because the turn differs. Counters and turns wrap (a turn after 2^19 rounds of at
 * least 64 slots).
 *
 * FreePool: the free buffers as bits, the lowest first, so that a pipe that needs few buffers touches
 * little memory; a bit has no history, hence nothing can be confused. A scan that finds nothing while
 * others push and pop proves nothing: who holds the semaphore's permit scans again.
 */
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { RING } from './layout.ts';

/** What the tests show equivalent to a queue guarded by a lock. */
export interface BufferQueue {
  push(buffer: number): void;
  /** A buffer's number, or -1 if none was found. */
  pop(): number;
}

const NUMBER_BITS = 13;
const NUMBER_MASK = (1 << NUMBER_BITS) - 1;
assert(LIMITS.buffersMax < NUMBER_MASK, 'a buffer number fits a slot');

export class Ring implements BufferQueue {
  readonly #words: Int32Array;
  readonly #head: number;
  readonly #tail: number;
  readonly #slots: number;
  readonly #mask: number;
  readonly #shift: number;

  /** `slots` is a power of two, at least the number of buffers. */
  constructor(words: Int32Array, at: number, slots: number) {
    assert(slots === 1 << (31 - Math.clz32(slots)), 'a ring has a power of two of slots');
    this.#words = words;
    this.#head = at + RING.head;
    this.#tail = at + RING.tail;
    this.#slots = at + RING.slots;
    this.#mask = slots - 1;
    this.#shift = 31 - Math.clz32(slots);
  }

  /** The word of an empty slot at a position; the turn's upper bits fall off. */
  #empty(position: number): number {
    return (position >>> this.#shift) << NUMBER_BITS;
  }

  push(buffer: number): void {
    const words = this.#words;
    for (;;) {
      const tail = Atomics.load(words, this.#tail);
      const at = this.#slots + (tail & this.#mask);
      const empty = this.#empty(tail);
      const seen = Atomics.compareExchange(words, at, empty, empty | (buffer + 1));
      if (seen === empty) {
        Atomics.compareExchange(words, this.#tail, tail, (tail + 1) | 0);
        return;
      }
      // A turn before, not yet popped, while the tail has not moved: more buffers than there are.
      const before = this.#empty((tail - this.#mask - 1) | 0);
      const full = seen >> NUMBER_BITS === before >> NUMBER_BITS;
      if (full)
        assert(Atomics.load(words, this.#tail) !== tail, 'a queue holds at most all buffers');
      // Another thread has filled the slot: help it to move the tail.
      else Atomics.compareExchange(words, this.#tail, tail, (tail + 1) | 0);
    }
  }

  pop(): number {
    const words = this.#words;
    for (;;) {
      const head = Atomics.load(words, this.#head);
      const at = this.#slots + (head & this.#mask);
      const empty = this.#empty(head);
      const seen = Atomics.load(words, at);
      if (seen >> NUMBER_BITS === empty >> NUMBER_BITS) {
        if (seen === empty) return -1;
        const next = this.#empty((head + this.#mask + 1) | 0);
        if (Atomics.compareExchange(words, at, seen, next) === seen) {
          Atomics.compareExchange(words, this.#head, head, (head + 1) | 0);
          return (seen & NUMBER_MASK) - 1;
        }
      } else {
        // Another thread has emptied the slot: help it to move the head.
        Atomics.compareExchange(words, this.#head, head, (head + 1) | 0);
      }
    }
  }
}

export class FreePool implements BufferQueue {
  readonly #words: Int32Array;
  readonly #first: number;
  readonly #end: number;

  constructor(words: Int32Array, at: number, buffers: number) {
    this.#words = words;
    this.#first = at;
    this.#end = at + Math.ceil(buffers / 32);
  }

  push(buffer: number): void {
    const bit = 1 << (buffer & 31);
    const before = Atomics.or(this.#words, this.#first + (buffer >>> 5), bit);
    assert((before & bit) === 0, `buffer ${buffer} is freed once`);
  }

  pop(): number {
    const words = this.#words;
    for (let at = this.#first; at < this.#end; at++) {
      for (let bits = Atomics.load(words, at); bits !== 0; bits = Atomics.load(words, at)) {
        const bit = bits & -bits;
        if ((Atomics.and(words, at, ~bit) & bit) !== 0) {
          return ((at - this.#first) << 5) + (31 - Math.clz32(bit));
        }
      }
    }
    return -1;
  }
}
