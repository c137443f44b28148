/**
 * What the scan tells the walk: entries in the order of the walk, in buffers of the pipe.
 *
 *   u32 bytes of the record | u16 SCAN | u16 flags | of an entry: u32 bytes of the name |
 *   u32 digest of its attributes, 0 where they were not asked for | the status (host/file-status.ts) |
 *   the name, and zeros up to a multiple of 4
 *   of a part (copy-parts.ts), behind the directory that it is in: u32 bytes of the temporary file's name |
 *   u32 ranges | these, each u64 from, u64 to | the entry | the name, and zeros up to a multiple of 4
 *   of an owner, before the first entry that it has: u32 bytes of its name | u32 number | the name in
 *   UTF-8, and zeros up to a multiple of 4
 *
 * A directory that is entered is followed by its entries, by name, and a `leave`. The records of a backup
 * are seen by threads of one process only; those of a copy also come from another machine.
 */
import { assert, must } from '../base/assert.ts';
import { type ByteString, compareBytes } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { checkEntry, EntryView } from '../format/entry.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';
import { FileStatus } from '../host/files-only.ts';
import type { PipeBuffer } from '../pipe/mod.ts';
import { type Part, placeOfLog } from './copy-parts.ts';

/** Kinds of records. */
export const SCAN = { entry: 1, leave: 2, user: 3, group: 4, part: 5 } as const;

/** Flags of an entry. */
export const SCAN_FLAG = {
  /** A directory whose entries follow. */
  entered: 1,
  /** A directory above a source: that it may not be read does not matter. */
  onTheWay: 2,
  /** A directory that could not be opened. */
  notOpened: 4,
} as const;

/** What the entry of the root itself is called, where it is told at all: the first of the scan. */
export const SCAN_ROOT = '.';

const HEAD_BYTES = 8;
const DIGEST_AT = HEAD_BYTES + 4;
const STATUS_AT = HEAD_BYTES + 8;
const NAME_AT = STATUS_AT + FileStatus.COPY_BYTES;
const OWNER_AT = HEAD_BYTES + 8;
const OWNER_NAME_BYTES_MAX = 255;
const PART_AT = HEAD_BYTES + 8;
/** Buffers are handed on when they hold so much: the walk starts early, and the scan runs not far. */
export const FULL_BYTES: number = 128 * 1024;

/** Where records go: a stage's buffers, or memory of the reader's own thread. */
export interface ScanTarget {
  allocBuf(): ScanSpace;
  sendBuf(buffer: ScanSpace): void;
}
export type ScanSpace = Pick<PipeBuffer, 'memory' | 'payloadOffset' | 'payloadCapacity' | 'length'>;

/** Sends records on as buffers fill. */
export class ScanWriter {
  readonly #target: ScanTarget;
  #buffer: ScanSpace | undefined;

  constructor(target: ScanTarget) {
    this.#target = target;
  }

  entry(status: FileStatus, name: ByteString, flags: number, digest = 0): void {
    const total = (NAME_AT + name.length + 3) & ~3;
    const { memory, at } = this.#record(total, SCAN.entry, flags);
    memory.writeUInt32LE(name.length, at + HEAD_BYTES);
    memory.writeUInt32LE(digest, at + DIGEST_AT);
    status.copyTo(memory, at + STATUS_AT);
    memory.write(name, at + NAME_AT, 'latin1');
  }
  leave(): void {
    this.#record(HEAD_BYTES, SCAN.leave, 0);
  }
  /** What an owner is called; `kind`: SCAN.user or SCAN.group. */
  owner(kind: number, number: number, name: string): void {
    const text = Buffer.from(name, 'utf8');
    if (text.length === 0 || text.length > OWNER_NAME_BYTES_MAX) return;
    const { memory, at } = this.#record((OWNER_AT + text.length + 3) & ~3, kind, 0);
    memory.writeUInt32LE(text.length, at + HEAD_BYTES);
    memory.writeUInt32LE(number, at + HEAD_BYTES + 4);
    memory.set(text, at + OWNER_AT);
  }

  /** Part of a large file that lies in the directory that was entered last. */
  part({ place, entry, ranges }: Part): void {
    const raw = entry.raw();
    const entryAt = PART_AT + 16 * ranges.length;
    const nameAt = entryAt + raw.length;
    const { memory, at } = this.#record((nameAt + place.length + 3) & ~3, SCAN.part, 0);
    memory.writeUInt32LE(place.length, at + HEAD_BYTES);
    memory.writeUInt32LE(ranges.length, at + HEAD_BYTES + 4);
    for (const [i, { from, to }] of ranges.entries()) {
      writeU64(memory, at + PART_AT + 16 * i, from);
      writeU64(memory, at + PART_AT + 16 * i + 8, to);
    }
    memory.set(raw, at + entryAt);
    memory.write(place, at + nameAt, 'latin1');
  }

  #record(total: number, kind: number, flags: number): { memory: Buffer; at: number } {
    let buffer = this.#buffer ?? this.#target.allocBuf();
    if (buffer.length + total > Math.min(FULL_BYTES, buffer.payloadCapacity)) {
      this.#target.sendBuf(buffer);
      buffer = this.#target.allocBuf();
    }
    this.#buffer = buffer;
    const { memory } = buffer;
    const at = buffer.payloadOffset + buffer.length;
    assert(buffer.length + total <= buffer.payloadCapacity, 'a record fits a buffer');
    memory.writeUInt32LE(total, at);
    memory.writeUInt16LE(kind, at + 4);
    memory.writeUInt16LE(flags, at + 6);
    buffer.length += total;
    return { memory, at };
  }

  /** Sends what is there. */
  flush(): void {
    if (this.#buffer !== undefined) this.#target.sendBuf(this.#buffer);
    this.#buffer = undefined;
  }
}

/** Where records come from: a stage's buffers, or a listing that was kept. */
export interface ScanSource {
  receiveBuf(): ScanBuffer | null;
  freeBuf(buffer: ScanBuffer): void;
}
export type ScanBuffer = Pick<PipeBuffer, 'memory' | 'payloadOffset' | 'length'>;

const NO_PARTS: readonly Part[] = [];

/** Receives records one by one. */
export class ScanReader {
  /** Of the current record; of an entry also its status and name. */
  kind = 0;
  flags = 0;
  digest = 0;
  readonly status: FileStatus = new FileStatus();
  /** Those that were told between the record before and this one: of the directory entered by that. */
  parts: readonly Part[] = NO_PARTS;
  /** Owners whose names were told so far. */
  readonly users: Map<number, string> = new Map();
  readonly groups: Map<number, string> = new Map();
  /** The name, made when it is asked for: of most entries of a later backup it is not. */
  #name: ByteString | undefined;
  #nameAt = 0;
  #nameBytes = 0;
  readonly #source: ScanSource;
  #buffer: ScanBuffer | null = null;
  #at = 0;
  #end = 0;

  constructor(source: ScanSource) {
    this.#source = source;
  }
  get name(): ByteString {
    this.#name ??= this.#memory().toString('latin1', this.#nameAt, this.#nameAt + this.#nameBytes);
    return this.#name;
  }
  /** Order of a name, `length` bytes at `at`, before (negative), at or behind the current one. */
  compareTo(bytes: Buffer, at: number, length: number): number {
    const shorter = Math.min(length, this.#nameBytes);
    const order = compareBytes(bytes, at, this.#memory(), this.#nameAt, shorter);
    return order === 0 ? length - this.#nameBytes : order;
  }
  #memory(): Buffer {
    return must(this.#buffer ?? undefined, 'an entry').memory;
  }

  /** Moves to the next entry or `leave`, waiting for it; false at the end. */
  next(): boolean {
    this.parts = NO_PARTS;
    while (this.#nextRecord()) {
      if (this.kind === SCAN.entry || this.kind === SCAN.leave) return true;
    }
    return false;
  }
  #nextRecord(): boolean {
    while (this.#at === this.#end) {
      if (this.#buffer !== null) this.#source.freeBuf(this.#buffer);
      this.#buffer = this.#source.receiveBuf();
      if (this.#buffer === null) return false;
      this.#at = this.#buffer.payloadOffset;
      this.#end = this.#at + this.#buffer.length;
    }
    const memory = this.#memory();
    const at = this.#at;
    this.#at += memory.readUInt32LE(at);
    this.kind = memory.readUInt16LE(at + 4);
    this.flags = memory.readUInt16LE(at + 6);
    if (this.kind === SCAN.entry) {
      this.#nameBytes = memory.readUInt32LE(at + HEAD_BYTES);
      this.#nameAt = at + NAME_AT;
      this.#name = undefined;
      this.digest = memory.readUInt32LE(at + DIGEST_AT);
      this.status.copyFrom(memory, at + STATUS_AT);
    } else if (this.kind === SCAN.part) this.#takePart(memory, at);
    else if (this.kind !== SCAN.leave) this.#takeOwner(memory, at);
    return true;
  }
  #takePart(memory: Buffer, at: number): void {
    const nameBytes = memory.readUInt32LE(at + HEAD_BYTES);
    const count = memory.readUInt32LE(at + HEAD_BYTES + 4);
    const ranges = Array.from({ length: count }, (_, i) => ({
      from: readU64(memory, at + PART_AT + 16 * i),
      to: readU64(memory, at + PART_AT + 16 * i + 8),
    }));
    const entryAt = at + PART_AT + 16 * count;
    const raw = Buffer.from(memory.subarray(entryAt, entryAt + memory.readUInt32LE(entryAt)));
    const nameAt = entryAt + raw.length;
    const place = memory.toString('latin1', nameAt, nameAt + nameBytes);
    this.parts = [...this.parts, { place, ranges, entry: new EntryView().set(raw, 0) }];
  }
  #takeOwner(memory: Buffer, at: number): void {
    const owners = this.kind === SCAN.user ? this.users : this.groups;
    if (owners.size >= LIMITS.copyOwnersMax) return;
    const end = at + OWNER_AT + memory.readUInt32LE(at + HEAD_BYTES);
    owners.set(
      memory.readUInt32LE(at + HEAD_BYTES + 4),
      memory.toString('utf8', at + OWNER_AT, end),
    );
  }
}

/** Whether records that came from elsewhere are whole: lengths stay within, and none stands still. */
export function areScanRecords(memory: Buffer, at: number, length: number): boolean {
  const end = at + length;
  for (let next = at; next < end; ) {
    if (next + HEAD_BYTES > end) return false;
    const total = memory.readUInt32LE(next);
    if (total < HEAD_BYTES || total % 4 !== 0 || next + total > end) return false;
    const kind = memory.readUInt16LE(next + 4);
    if (kind === SCAN.entry) {
      if (total < NAME_AT || NAME_AT + memory.readUInt32LE(next + HEAD_BYTES) > total) return false;
    } else if (kind === SCAN.part) {
      if (!isPartRecord(memory, next, total)) return false;
    } else if (kind === SCAN.user || kind === SCAN.group) {
      const isWhole = total >= OWNER_AT;
      if (!isWhole || OWNER_AT + memory.readUInt32LE(next + HEAD_BYTES) > total) return false;
    } else if (kind !== SCAN.leave) return false;
    next += total;
  }
  return true;
}

function isPartRecord(memory: Buffer, at: number, total: number): boolean {
  if (total < PART_AT) return false;
  const nameBytes = memory.readUInt32LE(at + HEAD_BYTES);
  const count = memory.readUInt32LE(at + HEAD_BYTES + 4);
  if (count > LIMITS.copyPartRangesMax || nameBytes > total) return false;
  const entryAt = PART_AT + 16 * count;
  if (entryAt + nameBytes > total) return false;
  if (checkEntry(memory, at + entryAt, total - entryAt - nameBytes) !== undefined) return false;
  const end = entryAt + memory.readUInt32LE(at + entryAt) + nameBytes;
  return (
    end <= total &&
    placeOfLog(`${memory.toString('latin1', at + end - nameBytes, at + end)}.map`) !== undefined
  );
}
