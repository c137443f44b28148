/**
 * Large files that have arrived in part: what an interrupted copy has written of one, so that the next one
 * goes on from there.
 *
 * Beside the temporary file lies its log, under the same name with `.map`:
 *
 *   0 8 "PNSTPRT1" | the entry of the source as it was planned, without extras (format/entry.ts) | records
 *   record: 0 u64 where in the file | 8 u32 bytes | 12 u32 CRC-32C of them | 16 u32 CRC-32C of these 16
 *   bytes | 20 u32 zero
 *
 * A record is written once its bytes are, without waiting for the disk. So what it says of the file counts
 * if and only if the record is whole, its range lies within the file, and the bytes that lie there now
 * have the checksum: they are read again before they are used. Later records of a range replace none;
 * each stands for itself.
 */
import { type ByteString, fromBytes } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { checkEntry, EntryView } from '../format/entry.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';
import { crc32cOf, type Files } from '../host/files-only.ts';
import { COPY_PIECE_BYTES } from './copy-stream.ts';

/** Of an entry that pieces bear: u64 bytes that are there already | the temporary file that has them. */
export const PART_EXTRA = 0x8001;
/** Smaller files begin anew. */
export const PART_FROM_BYTES: number = 16 * 1024 * 1024;

const MAGIC = Buffer.from('PNSTPRT1');
/** An entry with the longest name, without extras. */
const ENTRY_BYTES_MAX = 512;
const RECORD_BYTES = 24;
const SUM_AT = 16;
const RECORDS_AT_ONCE = 1024;
const LOG_NAME = /^(\.penstock\.[0-9a-f]{16}\.\d{1,10})\.map$/;

/** A range of a file: [from, to). */
export interface PartRange {
  readonly from: number;
  readonly to: number;
}
export interface Part {
  /** Of the temporary file. */
  readonly place: ByteString;
  /** What was being copied: its status at the source then, and the name that it gets. */
  readonly entry: EntryView;
  /** What is there and whole; sorted, apart from each other. */
  readonly ranges: readonly PartRange[];
}

export function partLogName(place: ByteString): ByteString {
  return `${place}.map`;
}
/** The temporary file that a log of this name belongs to. */
export function placeOfLog(name: ByteString): ByteString | undefined {
  return LOG_NAME.exec(name)?.[1];
}

/** The log of one large file, while it is written. What cannot be logged is copied again: never an error. */
export class PartLog {
  readonly #files: Files;
  readonly #fd: number;
  readonly #record = Buffer.alloc(RECORD_BYTES);
  #end: number;

  /** Goes on with the log of `from`, where that is given; else begins one. */
  constructor(
    files: Files,
    directory: number,
    place: ByteString,
    entry: EntryView,
    from: ByteString | undefined,
  ) {
    this.#files = files;
    const name = partLogName(place);
    const head = Buffer.concat([MAGIC, withoutExtras(entry)]);
    this.#end = head.length;
    if (from !== undefined) {
      this.#fd = this.#adopt(directory, partLogName(from), name, head);
      return;
    }
    this.#fd = files.createExclusive(directory, name, 0o600);
    if (this.#fd >= 0) files.write(this.#fd, head, 0, head.length, 0);
  }
  #adopt(directory: number, from: ByteString, to: ByteString, head: Buffer): number {
    const files = this.#files;
    const renamed = files.rename(directory, from, directory, to);
    const fd = renamed < 0 ? renamed : files.openWrite(directory, to);
    const record = this.#record;
    while (fd >= 0 && files.read(fd, record, 0, RECORD_BYTES, this.#end) === RECORD_BYTES) {
      this.#end += RECORD_BYTES;
    }
    if (fd >= 0) files.write(fd, head, 0, head.length, 0);
    return fd;
  }

  add(from: number, bytes: number, sum: number): void {
    if (this.#fd < 0) return;
    const record = this.#record;
    writeU64(record, 0, from);
    record.writeUInt32LE(bytes, 8);
    record.writeUInt32LE(sum, 12);
    record.writeUInt32LE(crc32cOf(record.subarray(0, SUM_AT), 0), SUM_AT);
    record.writeUInt32LE(0, SUM_AT + 4);
    const written = this.#files.write(this.#fd, record, 0, RECORD_BYTES, this.#end);
    if (written === RECORD_BYTES) this.#end += RECORD_BYTES;
  }
  close(): void {
    if (this.#fd >= 0) this.#files.close(this.#fd);
  }
}

/**
 * What a log and its file still hold; undefined where the log cannot be understood. `notice` is called now
 * and then.
 */
export function readPart(
  files: Files,
  directory: number,
  place: ByteString,
  notice: () => void,
): Part | undefined {
  const log = files.openRead(directory, partLogName(place));
  if (log < 0) return undefined;
  const data = files.openRead(directory, place);
  try {
    const entry = readHead(files, log);
    if (entry === undefined) return undefined;
    const head = MAGIC.length + entry.entryBytes;
    const ranges = data < 0 ? [] : intact(files, log, head, data, entry.size, notice);
    return { place, entry, ranges: merged(ranges) };
  } finally {
    files.close(log);
    if (data >= 0) files.close(data);
  }
}

function readHead(files: Files, log: number): EntryView | undefined {
  const head = Buffer.alloc(MAGIC.length + ENTRY_BYTES_MAX);
  const got = files.read(log, head, 0, head.length, 0);
  if (got < MAGIC.length + 4 || !head.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const bytes = head.readUInt32LE(MAGIC.length);
  if (bytes > got - MAGIC.length) return undefined;
  if (checkEntry(head, MAGIC.length, bytes) !== undefined) return undefined;
  return new EntryView().set(head, MAGIC.length);
}

/** The ranges whose bytes have the checksum that was logged. */
function intact(
  files: Files,
  log: number,
  start: number,
  data: number,
  size: number,
  notice: () => void,
): PartRange[] {
  const ranges: PartRange[] = [];
  const records = Buffer.alloc(RECORDS_AT_ONCE * RECORD_BYTES);
  const bytes = Buffer.alloc(COPY_PIECE_BYTES);
  for (let at = start; ; at += records.length) {
    const got = files.read(log, records, 0, records.length, at);
    for (let i = 0; i + RECORD_BYTES <= got; i += RECORD_BYTES) {
      notice();
      const record = records.subarray(i, i + RECORD_BYTES);
      if (crc32cOf(record.subarray(0, SUM_AT), 0) !== record.readUInt32LE(SUM_AT)) continue;
      const from = readU64(record, 0);
      const length = record.readUInt32LE(8);
      if (length === 0 || length > bytes.length || from + length > size) continue;
      if (files.read(data, bytes, 0, length, from) !== length) continue;
      if (crc32cOf(bytes.subarray(0, length), 0) !== record.readUInt32LE(12)) continue;
      ranges.push({ from, to: from + length });
    }
    if (got < records.length) return ranges;
  }
}

/** Sorted, and joined where they touch; of very many, the longest. */
function merged(ranges: readonly PartRange[]): PartRange[] {
  const joined: { from: number; to: number }[] = [];
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else joined.push({ from, to });
  }
  return joined
    .toSorted((a, b) => b.to - b.from - (a.to - a.from))
    .slice(0, LIMITS.copyPartRangesMax)
    .sort((a, b) => a.from - b.from);
}

/** What of [0, size) is in none of the ranges. */
export function missingRanges(ranges: readonly PartRange[], size: number): PartRange[] {
  const missing: PartRange[] = [];
  let at = 0;
  for (const { from, to } of ranges) {
    if (from > at) missing.push({ from: at, to: from });
    at = Math.max(at, to);
  }
  if (at < size) missing.push({ from: at, to: size });
  return missing;
}

function withoutExtras(entry: EntryView): Buffer {
  const bytes = Buffer.from(entry.raw().subarray(0, entry.contentAt - entry.at));
  bytes.writeUInt32LE(bytes.length, 0);
  return bytes;
}

/** The value of a PART_EXTRA. */
export function writePartExtra(place: ByteString, bytes: number): Buffer {
  const value = Buffer.alloc(8 + place.length);
  writeU64(value, 0, bytes);
  value.write(place, 8, 'latin1');
  return value;
}
/** What an entry's PART_EXTRA says; undefined where it has none. */
export function partOf(entry: EntryView): { place: ByteString; bytes: number } | undefined {
  const value = entry.extra(PART_EXTRA);
  if (value === undefined || value.length <= 8) return undefined;
  return { place: fromBytes(value.subarray(8)), bytes: readU64(value, 0) };
}
