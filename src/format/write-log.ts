/**
 * The write log of a volume as bytes (L4, L6): pages of entries, each readable by itself.
 *
 * A page is a record (record.ts) of kind volumeLogPage, whose id is that of the volume. Its clear part
 * is JSON (LogPageHead), its second part, which is never encrypted:
 *
 *   u32 number of streams | u32 number of chunks | ids, 16 bytes each: streams, then chunks | entries
 *
 * An entry is a byte and varints (7 bits each, the lowest first, the high bit: more follow; at most
 * 2^53 − 1). Signed ones (±) are zigzag: 2n, or −2n − 1 below zero. The byte:
 *
 *   bits 0–1  1 run, 2 marks, 3 synchronised
 *   bit 2     a hint follows             bit 3  the last record of its chunk is in the run
 *   bit 4     ± objects between the end of the entry before and this one follow first
 *   others    zero
 *
 *   run           stream, chunk (numbers in the lists), part, records, bytes, fixed record bytes (0:
 *                 none), ± ms received, ± ms written, [± hint]
 *   marks         count, ± ms written, [± hint]
 *   synchronised  ± ms written
 *
 * Times are differences to the entry before that has one, at first to `firstMs`. A run or marks end
 * behind their objects; `synchronised` says that all objects before its own are on the medium. A hint
 * is the difference to what was expected: that of the entry before, its bytes, and 8 a record or 4 a
 * mark (a tape image); 0 at first.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { decodeRecord, encodeRecord, finishRecord, RECORD, RECORD_HEAD_BYTES } from './record.ts';
import { type Crc, ID_BYTES } from './tag-header.ts';

/** Consecutive records of one chunk of one stream. */
export interface LogRun {
  readonly kind: 'run';
  /** Ids, 32 hex digits. */
  readonly stream: string;
  /** Of a stream that has no chunks: zeros. */
  readonly chunk: string;
  /** Which part of its chunk the first record is, from 0. */
  readonly part: number;
  readonly records: number;
  readonly bytes: number;
  /** Length of each record where the stream's are of a fixed one; else 0. */
  readonly recordBytes: number;
  /** Number of the first record on the volume. */
  readonly object: number;
  /** The last record is the last one of its chunk. */
  readonly isLast: boolean;
  /** When the first of them was received, and when the last was written. */
  readonly receivedMs: number;
  readonly writtenMs: number;
  readonly hint?: number;
}

export interface LogMarks {
  readonly kind: 'marks';
  readonly object: number;
  readonly count: number;
  readonly writtenMs: number;
  readonly hint?: number;
}

/** All objects before `object` were on the medium at that time. */
export interface LogSync {
  readonly kind: 'synchronised';
  readonly object: number;
  readonly writtenMs: number;
}

export type LogEntry = LogRun | LogMarks | LogSync;

export interface LogPageHead {
  readonly volume: string;
  /** Number of the session on the volume, from 0. */
  readonly session: number;
  /** Number of the page in its session, from 0. */
  readonly page: number;
  readonly entries: number;
  readonly firstObject: number;
  /** Behind the last entry. */
  readonly endObject: number;
  readonly firstMs: number;
}

export interface LogPage {
  readonly head: LogPageHead;
  readonly entries: readonly LogEntry[];
}

const KIND = { run: 1, marks: 2, synchronised: 3 } as const;
const HAS_HINT = 4;
const IS_LAST = 8;
const HAS_GAP = 16;
/** The longest entry: a byte and 10 varints of up to 8 bytes. */
const ENTRY_BYTES_MAX = 96;
const LISTS_BYTES = 8;

/** Objects that an entry covers. */
export const objectsOf = (entry: LogEntry): number => {
  if (entry.kind === 'run') return entry.records;
  return entry.kind === 'marks' ? entry.count : 0;
};

/** What entries are told as differences to. */
class Expected {
  object: number;
  receivedMs: number;
  writtenMs: number;
  hint = 0;

  constructor(object: number, ms: number) {
    this.object = object;
    this.receivedMs = ms;
    this.writtenMs = ms;
  }

  after(entry: LogEntry): void {
    this.object = entry.object + objectsOf(entry);
    this.writtenMs = entry.writtenMs;
    if (entry.kind === 'run') this.receivedMs = entry.receivedMs;
    if (entry.kind === 'synchronised') return;
    const bytes = entry.kind === 'run' ? entry.bytes + 8 * entry.records : 4 * entry.count;
    this.hint = (entry.hint ?? this.hint) + bytes;
  }
}

/** Fills one page after the other; memory is used again. */
export class LogPageWriter {
  readonly #volume: string;
  readonly #session: number;
  readonly #bytes = Buffer.alloc(LIMITS.logPageBytes + ENTRY_BYTES_MAX);
  readonly #streams = new Map<string, number>();
  readonly #chunks = new Map<string, number>();
  #expected = new Expected(0, 0);
  #first = { object: 0, ms: 0 };
  #at = 0;
  #entries = 0;
  #page = 0;

  constructor(volume: string, session: number) {
    this.#volume = volume;
    this.#session = session;
  }

  get isEmpty(): boolean {
    return this.#entries === 0;
  }

  get isFull(): boolean {
    return this.#at + this.#listBytes() >= LIMITS.logPageBytes;
  }

  add(entry: LogEntry): void {
    if (this.#entries === 0) {
      const ms = entry.kind === 'run' ? entry.receivedMs : entry.writtenMs;
      this.#first = { object: entry.object, ms };
      this.#expected = new Expected(entry.object, ms);
    }
    const expected = this.#expected;
    const gap = entry.object - expected.object;
    const hint = entry.kind === 'synchronised' ? undefined : entry.hint;
    const isLast = entry.kind === 'run' && entry.isLast;
    this.#bytes[this.#at++] =
      KIND[entry.kind] |
      (hint === undefined ? 0 : HAS_HINT) |
      (isLast ? IS_LAST : 0) |
      (gap === 0 ? 0 : HAS_GAP);
    if (gap !== 0) this.#signed(gap);
    if (entry.kind === 'run') {
      this.#varint(numberOf(this.#streams, entry.stream));
      this.#varint(numberOf(this.#chunks, entry.chunk));
      this.#varint(entry.part);
      this.#varint(entry.records);
      this.#varint(entry.bytes);
      this.#varint(entry.recordBytes);
      this.#signed(entry.receivedMs - expected.receivedMs);
    } else if (entry.kind === 'marks') this.#varint(entry.count);
    this.#signed(entry.writtenMs - expected.writtenMs);
    if (hint !== undefined) this.#signed(hint - expected.hint);
    expected.after(entry);
    this.#entries += 1;
  }

  /** The page as a record; the next entry begins another. */
  finish(crc: Crc): Buffer {
    const head: LogPageHead = {
      volume: this.#volume,
      session: this.#session,
      page: this.#page++,
      entries: this.#entries,
      firstObject: this.#first.object,
      endObject: this.#expected.object,
      firstMs: this.#first.ms,
    };
    const lists = Buffer.alloc(LISTS_BYTES);
    lists.writeUInt32LE(this.#streams.size, 0);
    lists.writeUInt32LE(this.#chunks.size, 4);
    const ids = Buffer.from([...this.#streams.keys(), ...this.#chunks.keys()].join(''), 'hex');
    const body = Buffer.concat([lists, ids, this.#bytes.subarray(0, this.#at)]);
    this.#streams.clear();
    this.#chunks.clear();
    this.#at = 0;
    this.#entries = 0;
    return plainRecord(RECORD.volumeLogPage, this.#volume, head, body, crc);
  }

  #listBytes(): number {
    return LISTS_BYTES + (this.#streams.size + this.#chunks.size) * ID_BYTES;
  }

  #varint(value: number): void {
    let left = value;
    while (left >= 0x80) {
      this.#bytes[this.#at++] = (left % 0x80) | 0x80;
      left = Math.floor(left / 0x80);
    }
    this.#bytes[this.#at++] = left;
  }

  #signed(value: number): void {
    this.#varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }
}

function numberOf(list: Map<string, number>, id: string): number {
  const known = list.get(id);
  if (known !== undefined) return known;
  list.set(id, list.size);
  return list.size - 1;
}

/** A record of a volume that nothing seals: a clear part, and bytes. */
export function plainRecord(
  kind: number,
  id: string,
  clear: unknown,
  body: Buffer,
  crc: Crc,
): Buffer {
  const features = { compat: 0, readOnlyCompat: 0, incompat: 0 };
  const head = { kind, encryption: 0, features, id: Buffer.from(id, 'hex'), keyGeneration: 0 };
  const bytes = encodeRecord(head, Buffer.from(JSON.stringify(clear)), body);
  finishRecord(bytes, crc);
  return bytes;
}

/** Reads what plainRecord made. @throws PenstockError DAMAGED, REPO_FEATURE */
export function readPlainRecord(
  bytes: Buffer,
  kind: number,
  subject: string,
  crc: Crc,
): { readonly id: string; readonly clear: unknown; readonly body: Buffer } {
  const head = decodeRecord(bytes, subject, crc, false);
  if (head.kind !== kind) throw damaged(subject, `it is a record of kind ${head.kind}`);
  const at = RECORD_HEAD_BYTES + head.clearBytes;
  try {
    const clear: unknown = JSON.parse(bytes.toString('utf8', RECORD_HEAD_BYTES, at));
    return { id: head.id.toString('hex'), clear, body: bytes.subarray(at) };
  } catch {
    throw damaged(subject, 'it does not hold JSON');
  }
}

/** @throws PenstockError DAMAGED, REPO_FEATURE */
export function decodeLogPage(bytes: Buffer, subject: string, crc: Crc): LogPage {
  const record = readPlainRecord(bytes, RECORD.volumeLogPage, subject, crc);
  const wrong = (reason: string): PenstockError => damaged(subject, reason);
  const head = record.clear as LogPageHead;
  if (!isHead(head)) throw wrong('fields are missing');
  if (head.volume !== record.id) throw wrong('it is of another volume');
  const { body } = record;
  if (body.length < LISTS_BYTES) throw wrong('it is cut off');
  const streams = body.readUInt32LE(0);
  const chunks = body.readUInt32LE(4);
  const at = LISTS_BYTES + (streams + chunks) * ID_BYTES;
  if (at > body.length) throw wrong('its lists are cut off');
  const ids = (from: number, count: number): string[] =>
    Array.from({ length: count }, (_, i) =>
      body.toString('hex', from + i * ID_BYTES, from + (i + 1) * ID_BYTES),
    );
  const reader = new EntryReader(
    body,
    at,
    ids(LISTS_BYTES, streams),
    ids(LISTS_BYTES + streams * ID_BYTES, chunks),
    new Expected(head.firstObject, head.firstMs),
    wrong,
  );
  const entries: LogEntry[] = [];
  // Whoever goes through the objects of an entry relies on it that there are no more than on the volume.
  while (!reader.atEnd) {
    const entry = reader.next();
    if (entry.object + objectsOf(entry) > head.endObject)
      throw wrong('an entry lies behind its end');
    entries.push(entry);
  }
  if (entries.length !== head.entries) throw wrong(`it has ${entries.length} entries`);
  return { head, entries };
}

function isHead(head: Partial<LogPageHead> | null): boolean {
  const { session, page, entries, firstObject, endObject, firstMs } = head ?? {};
  return [session, page, entries, firstObject, endObject, firstMs].every(
    (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  );
}

function damaged(subject: string, reason: string): PenstockError {
  return new PenstockError('DAMAGED', `${subject} is damaged: ${reason}`, { subject });
}

class EntryReader {
  readonly #bytes: Buffer;
  readonly #streams: readonly string[];
  readonly #chunks: readonly string[];
  readonly #expected: Expected;
  readonly #wrong: (reason: string) => PenstockError;
  #at: number;

  constructor(
    bytes: Buffer,
    at: number,
    streams: readonly string[],
    chunks: readonly string[],
    expected: Expected,
    wrong: (reason: string) => PenstockError,
  ) {
    this.#bytes = bytes;
    this.#at = at;
    this.#streams = streams;
    this.#chunks = chunks;
    this.#expected = expected;
    this.#wrong = wrong;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  next(): LogEntry {
    const byte = this.#bytes[this.#at++] ?? 0;
    const gap = (byte & HAS_GAP) === 0 ? 0 : this.#signed();
    const object = this.#expected.object + gap;
    const entry = this.#entry(byte, object);
    if (object < 0) throw this.#wrong('an entry lies before the beginning');
    this.#expected.after(entry);
    return entry;
  }

  #entry(byte: number, object: number): LogEntry {
    const kind = byte & 3;
    if (kind === KIND.synchronised)
      return { kind: 'synchronised', object, writtenMs: this.#written() };
    if (kind === KIND.marks) {
      const count = this.#varint();
      return { kind: 'marks', object, count, writtenMs: this.#written(), ...this.#hint(byte) };
    }
    if (kind !== KIND.run) throw this.#wrong('an entry is of no known kind');
    const stream = this.#streams[this.#varint()];
    const chunk = this.#chunks[this.#varint()];
    if (stream === undefined || chunk === undefined) throw this.#wrong('an entry names no stream');
    return {
      kind: 'run',
      stream,
      chunk,
      part: this.#varint(),
      records: this.#varint(),
      bytes: this.#varint(),
      recordBytes: this.#varint(),
      object,
      isLast: (byte & IS_LAST) !== 0,
      receivedMs: this.#expected.receivedMs + this.#signed(),
      writtenMs: this.#written(),
      ...this.#hint(byte),
    };
  }

  #written(): number {
    return this.#expected.writtenMs + this.#signed();
  }

  #hint(byte: number): { hint?: number } {
    return (byte & HAS_HINT) === 0 ? {} : { hint: this.#expected.hint + this.#signed() };
  }

  #varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw this.#wrong('an entry is cut off');
      value += (byte & 0x7f) * factor;
      if (!Number.isSafeInteger(value)) throw this.#wrong('a number is too large');
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
  }

  #signed(): number {
    const value = this.#varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
