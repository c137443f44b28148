/**
 * A plan: the units of work of one batch, in a buffer that the walk sends to a collector.
 *
 *   u32 batch | u32 number of units, then per unit:
 *   u32 bytes of the unit | i32 handle of its directory | u32 kind (UNIT) | u32 zero |
 *   u64 start | u64 end (of a region) | the entry without content (format/entry.ts)
 *
 * The result of a batch is a message to the walk (BatchResult). Only threads of one process see this.
 */

import { assert } from '../base/assert.ts';
import type { ErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { EntryView } from '../format/entry.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';

/** A whole file, or one region of a large one. */
export const UNIT = { file: 0, region: 1 } as const;
/** Files up to this size go to one collector as a whole: their blobs fit one entry. */
export const FILE_UNIT_BYTES_MAX: number = LIMITS.cutBytesMin * LIMITS.contentListInlineMax;
const PLAN_HEAD_BYTES = 8;
const UNIT_HEAD_BYTES = 32;

export interface BatchResult {
  readonly batch: number;
  /**
   * Whole files: their entries, in order; a unit that gave none has length 0 in `lengths`.
   * A region: content records.
   */
  readonly bytes: ArrayBuffer;
  readonly lengths: readonly number[];
  readonly problems: readonly UnitProblem[];
  /** Regions: content classes seen, one bit each, and the first reason other than none. */
  readonly classes: number;
  readonly reason: number;
}

export interface UnitProblem {
  readonly unit: number;
  /** The item was left out; else its content is what was got. */
  readonly omitted: boolean;
  readonly error: ErrorRecord;
}

/** Writes a plan into memory of `capacity` bytes at `at`. */
export class PlanWriter {
  length = 0;
  units = 0;
  #memory: Buffer = Buffer.alloc(0);
  #at = 0;
  #capacity = 0;

  begin(memory: Buffer, at: number, capacity: number, batch: number): void {
    this.#memory = memory;
    this.#at = at;
    this.#capacity = capacity;
    this.length = PLAN_HEAD_BYTES;
    this.units = 0;
    memory.writeUInt32LE(batch, at);
    memory.writeUInt32LE(0, at + 4);
  }
  fits(entryBytes: number): boolean {
    return this.length + UNIT_HEAD_BYTES + entryBytes <= this.#capacity;
  }
  add(kind: number, directory: number, start: number, end: number, entry: EntryView): void {
    assert(this.fits(entry.entryBytes), 'an entry without content fits a plan');
    const at = this.#at + this.length;
    const total = UNIT_HEAD_BYTES + entry.entryBytes;
    this.#memory.writeUInt32LE(total, at);
    this.#memory.writeInt32LE(directory, at + 4);
    this.#memory.writeUInt32LE(kind, at + 8);
    this.#memory.writeUInt32LE(0, at + 12);
    writeU64(this.#memory, at + 16, start);
    writeU64(this.#memory, at + 24, end);
    entry.bytes.copy(this.#memory, at + UNIT_HEAD_BYTES, entry.at, entry.at + entry.entryBytes);
    this.length += total;
    this.units++;
    this.#memory.writeUInt32LE(this.units, this.#at + 4);
  }
}

/** Reads a plan, unit by unit. */
export class PlanReader {
  readonly entry: EntryView = new EntryView();
  batch = 0;
  units = 0;
  kind = 0;
  directory = -1;
  start = 0;
  end = 0;
  #memory: Buffer = Buffer.alloc(0);
  #at = 0;
  #left = 0;

  open(memory: Buffer, at: number): void {
    this.#memory = memory;
    this.batch = memory.readUInt32LE(at);
    this.units = memory.readUInt32LE(at + 4);
    this.#left = this.units;
    this.#at = at + PLAN_HEAD_BYTES;
  }
  next(): boolean {
    if (this.#left === 0) return false;
    const at = this.#at;
    this.directory = this.#memory.readInt32LE(at + 4);
    this.kind = this.#memory.readUInt32LE(at + 8);
    this.start = readU64(this.#memory, at + 16);
    this.end = readU64(this.#memory, at + 24);
    this.entry.set(this.#memory, at + UNIT_HEAD_BYTES);
    this.#at += this.#memory.readUInt32LE(at);
    this.#left--;
    return true;
  }
}
