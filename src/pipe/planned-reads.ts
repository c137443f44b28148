/**
 * Reads of chunks in an order that the server has named (called-chunks.ts): what comes next is asked for
 * ahead, each range as a whole, so that the server reads what lies there in one go.
 *
 * Contract: what is read otherwise than planned is passed over in the plan; nothing rests on it.
 */

import { LIMITS } from '../base/limits.ts';
import type { ChunkRange } from '../format/chunk-media.ts';
import { CALL, type CallMemory } from './call-memory.ts';

const ID_BYTES = 16;
/** Of an asked range: id and position. */
const RANGE_BYTES = ID_BYTES + 8;
const NO_SESSION = Buffer.alloc(16);
const NO_CHUNK = Buffer.alloc(ID_BYTES);

/** What is needed of the calls of a thread. */
export interface PlannedCalls {
  readonly memory: CallMemory;
  acquire(isWrite: boolean): number;
  /** The result of a call; throws what it met. */
  await(slot: number): number;
}

export class PlannedReads {
  readonly #calls: PlannedCalls;
  #plan: readonly ChunkRange[] = [];
  /** The next one of the plan, and what was asked for from there on. */
  #next = 0;
  readonly #slots: number[] = [];

  constructor(calls: PlannedCalls) {
    this.#calls = calls;
  }

  /** Which of the ranges are to be read now, in order, by their places in the list. */
  ask(ranges: readonly ChunkRange[]): readonly number[] {
    this.drop();
    const { memory } = this.#calls;
    const count = Math.min(ranges.length, Math.floor(memory.slotBytes / RANGE_BYTES));
    const slot = this.#calls.acquire(false);
    try {
      const at = memory.dataAt(slot);
      for (let i = 0; i < count; i++) {
        const { id, position } = ranges[i] as ChunkRange;
        memory.bytes.write(id, at + i * RANGE_BYTES, ID_BYTES, 'hex');
        memory.bytes.writeDoubleLE(position, at + i * RANGE_BYTES + ID_BYTES);
      }
      memory.submit(slot, CALL.order, 0, NO_CHUNK, NO_SESSION, 0, count);
      const found = this.#calls.await(slot);
      const order = Array.from({ length: found }, (_, i) => memory.bytes.readUInt32LE(at + i * 4));
      this.#plan = order.map((index) => ranges[index] as ChunkRange);
      this.#next = 0;
      return order;
    } finally {
      memory.free(slot);
    }
  }

  /** Reads a range if it is planned; undefined: it is not. */
  read(
    id: string,
    view: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): number | undefined {
    const { memory } = this.#calls;
    const isIt = (one: ChunkRange): boolean =>
      one.position === position && one.length === length && one.id === id;
    const index = this.#plan.findIndex((one, i) => i >= this.#next && isIt(one));
    if (index < 0 || length > memory.partBytesMax) return undefined;
    for (; this.#next < index; this.#next++) this.#dropFirst();
    if (this.#slots.length === 0) this.#submit(this.#calls.acquire(false));
    this.#askAhead();
    const slot = this.#slots[0] as number;
    try {
      const count = this.#calls.await(slot);
      const at = memory.dataAt(slot);
      view.set(memory.bytes.subarray(at, at + count), offset);
      return count;
    } finally {
      this.#dropFirst();
      this.#next++;
    }
  }

  #askAhead(): void {
    const { memory } = this.#calls;
    while (this.#slots.length < LIMITS.callReadAhead && memory.freeSlots > memory.slots / 2) {
      const range = this.#plan[this.#next + this.#slots.length];
      if (range === undefined || range.length > memory.partBytesMax) return;
      const slot = memory.acquire();
      if (slot < 0) return;
      this.#submit(slot);
    }
  }

  #submit(slot: number): void {
    const { id, position, length } = this.#plan[this.#next + this.#slots.length] as ChunkRange;
    const chunk = Buffer.from(id, 'hex');
    this.#calls.memory.submit(slot, CALL.read, 0, chunk, NO_SESSION, position, length);
    this.#slots.push(slot);
  }

  #dropFirst(): void {
    const slot = this.#slots.shift();
    if (slot !== undefined) this.#calls.memory.abandon(slot);
  }

  /** Gives up what was asked for ahead, and the plan. */
  drop(): void {
    while (this.#slots.length > 0) this.#dropFirst();
    this.#plan = [];
  }
}

/** For the server: the ranges of a call, without their lengths. */
export function orderAsked(
  memory: CallMemory,
  slot: number,
): { readonly id: string; readonly position: number }[] {
  const at = memory.dataAt(slot);
  return Array.from({ length: memory.length(slot) }, (_, i) => {
    const from = at + i * RANGE_BYTES;
    const id = memory.bytes.toString('hex', from, from + ID_BYTES);
    return { id, position: memory.bytes.readDoubleLE(from + ID_BYTES) };
  });
}

/** For the server: the answer, whose number of ranges is the call's result. */
export function answerOrder(memory: CallMemory, slot: number, order: readonly number[]): number {
  const at = memory.dataAt(slot);
  for (const [i, index] of order.entries()) memory.bytes.writeUInt32LE(index, at + i * 4);
  return order.length;
}
