/**
 * The names of the blobs that a session has taken on itself, in shared memory, lock-free.
 *
 * `add` answers who stores a blob: exactly one of the threads that ask for the same name is told
 * true, unless two of them straddle the opening of a further level, where both may be (the blob is
 * then stored twice, which is harmless). Entries are 16 bytes of the name: it is a keyed hash, so two
 * names that agree in 128 bits do not happen by chance and cannot be made without the key.
 *
 * Levels of open addressing, each twice as large as the last, so that memory follows the number of
 * blobs. A level is full at three fifths; then the next is opened. Never shrinks, never forgets. A new
 * name is looked for in each level up to a free slot: so levels are few, and not filled further.
 *
 *   control words: [0] current level, [1] number of names, [2 + level] names in the level
 *   slot: 4 words; word 3 is 0 (free), 1 (being written) or bits 96..127 of the entry, at least 2
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';

const FIRST_LEVEL_BITS = 17;
const LEVELS_MAX = 9;
const FILLED_MAX = 0.6;
const CONTROL_WORDS = 2 + LEVELS_MAX;
const SLOT_WORDS = 4;

/** What threads share. Levels are reserved virtually; pages are taken when touched. */
export interface SessionTableShare {
  readonly control: SharedArrayBuffer;
  readonly levels: readonly SharedArrayBuffer[];
}

export function createSessionTable(): SessionTableShare {
  const levels: SharedArrayBuffer[] = [];
  for (let level = 0; level < LEVELS_MAX; level++) {
    levels.push(new SharedArrayBuffer(2 ** (FIRST_LEVEL_BITS + level) * SLOT_WORDS * 4));
  }
  return { control: new SharedArrayBuffer(CONTROL_WORDS * 4), levels };
}

export class SessionTable {
  readonly #control: Int32Array;
  readonly #levels: Int32Array[];

  constructor(share: SessionTableShare) {
    this.#control = new Int32Array(share.control);
    this.#levels = share.levels.map((level) => new Int32Array(level));
  }
  get count(): number {
    return Atomics.load(this.#control, 1);
  }

  /** Adds the name at `at`; true when it was not there. LIMIT when the table is full. */
  add(names: Buffer, at: number): boolean {
    const a = names.readInt32LE(at);
    const b = names.readInt32LE(at + 4);
    const c = names.readInt32LE(at + 8);
    const d = tagOf(names.readInt32LE(at + 12));
    let level = Atomics.load(this.#control, 0);
    for (let older = 0; older < level; older++) {
      if (this.#probe(older, a, b, c, d, false) === FOUND) return false;
    }
    for (;;) {
      const outcome = this.#probe(level, a, b, c, d, true);
      if (outcome !== FULL) return outcome === ADDED;
      assert(level + 1 < LEVELS_MAX || this.#refuse(), 'a further level is there');
      Atomics.compareExchange(this.#control, 0, level, level + 1);
      level++;
    }
  }
  #refuse(): never {
    throw new PenstockError('LIMIT', 'one session holds at most 25 million new blobs', {
      hint: 'back up in several archives',
    });
  }

  #probe(level: number, a: number, b: number, c: number, d: number, adding: boolean): number {
    const slots = this.#levels[level];
    assert(slots !== undefined, 'the level is there');
    const mask = slots.length / SLOT_WORDS - 1;
    if (adding && Atomics.load(this.#control, 2 + level) > (mask + 1) * FILLED_MAX) return FULL;
    let slot = (a ^ (b >>> 7)) & mask;
    for (;;) {
      const at = slot * SLOT_WORDS;
      let word = Atomics.load(slots, at + 3);
      if (word === FREE && adding) {
        word = Atomics.compareExchange(slots, at + 3, FREE, WRITING);
        if (word === FREE) {
          slots[at] = a;
          slots[at + 1] = b;
          slots[at + 2] = c;
          Atomics.store(slots, at + 3, d);
          Atomics.add(this.#control, 2 + level, 1);
          Atomics.add(this.#control, 1, 1);
          return ADDED;
        }
      }
      if (word === FREE) return ABSENT;
      // The writer is between two stores: its turn lasts nanoseconds.
      while (word === WRITING) word = Atomics.load(slots, at + 3);
      if (word === d && slots[at] === a && slots[at + 1] === b && slots[at + 2] === c) return FOUND;
      slot = (slot + 1) & mask;
    }
  }
}

const FREE = 0;
const WRITING = 1;
const FOUND = 0;
const ADDED = 1;
const FULL = 2;
const ABSENT = 3;

function tagOf(word: number): number {
  return word === FREE || word === WRITING ? word + 2 : word;
}
