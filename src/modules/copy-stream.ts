/**
 * What the stages of a copy tell each other (`compare` → `read` → `write` → `finish`), also between machines.
 *
 * A buffer holds records, each a multiple of 8 bytes:
 *
 *   0 u32 bytes of the record | 4 u16 COPY | 6 u16 COPY_FLAG | 8 u32 bytes of the body | 12 u32 of data
 *  16 u32 CRC-32C of the data of a piece that was written | 20 u32 number | 24 u64 from | 32 u64 to | 40 … body, data (each from a
 *  multiple of 8)
 *
 * Everything is about the directory that the last `path` record of the same buffer names, below the root
 * of the copy; each buffer stands for itself. Bodies are names or entries (format/entry.ts).
 *
 * What arrives over a network is authenticated below (link-cipher.ts), so that data has no checksum of its own.
 *
 * Contract: a reader trusts nothing: what it hands out lies within the buffer, names stay in their
 * directory, and paths below their root. NET_PROTOCOL otherwise.
 */
import { assert } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { checkEntry, EntryView } from '../format/entry.ts';
import { readU64, writeU64 } from '../format/tag-header.ts';
import type { ModuleContext, PipeBuffer } from '../pipe/mod.ts';

export const COPY = {
  /** Body: the path of the directory that what follows is about. */
  path: 1,
  /** Number and, as body, name of an owner that entries of this buffer have. */
  user: 2,
  group: 3,
  /** The directory itself. Body: of a plan nothing, then its entry. */
  directory: 4,
  /** A small file. Body: of a plan its name, then its entry with its content as data. */
  file: 5,
  /** Of a plan: [from, to) of the large file `number`. Body: its entry; with PART_EXTRA goes on with a part. */
  region: 6,
  /** The large file `number`: its entry with attributes. */
  large: 7,
  /** Data of it at `from`; with the hole before it, it accounts for `to` bytes of the file. Body: as planned. */
  piece: 8,
  /** Link, FIFO, socket or device. Body: of a plan its name, then its entry. */
  special: 9,
  /** Further name, the body, of the file whose path is the data. */
  link: 10,
  /** As `special`, of what is there with other metadata. */
  metadata: 11,
  /** Left over from a copy that was interrupted. Body: its name. */
  remove: 12,
} as const;

export const COPY_FLAG = {
  /** Something stands there already. */
  replaces: 1,
  /** It could not be read or written, which was told. */
  failed: 2,
  /** Of a region: the first of its file. */
  first: 4,
  /** Of a file that another copy can go on with, should this one be interrupted. */
  logged: 8,
  /** Of such a piece: it was written as a whole. */
  written: 16,
} as const;

/** Counters of a copy's stages. */
export const COPY_COUNTER = {
  files: 0,
  bytes: 1,
  directories: 2,
  others: 3,
  filesSame: 4,
  /** What the copy is about to move. */
  filesWanted: 5,
  bytesWanted: 6,
  metadataOnly: 7,
  filesDone: 8,
  bytesDone: 9,
  /** Of large files that an interrupted copy had written already. */
  bytesResumed: 10,
} as const;

/** Files up to this size travel whole, larger ones in pieces of this size. */
export const COPY_PIECE_BYTES: number = 1024 * 1024;
/** A piece or file with the greatest path and attributes fits. */
export const COPY_PAYLOAD_BYTES: number = LIMITS.blockRawBytesDefault;

const HEAD_BYTES = 40;
const align8 = (n: number): number => (n + 7) & ~7;
/** Room for an owner's and a group's name. */
const OWNERS_BYTES = 2 * (HEAD_BYTES + 256);
const NO_BODY = Buffer.alloc(0);

/** Names of files that are not whole yet; the token belongs to one copy. */
export function temporaryName(token: string, rest: string | number): ByteString {
  return `.penstock.${token}.${rest}`;
}
export function isTemporaryName(name: ByteString): boolean {
  return /^\.penstock\.[0-9a-f]{16}\.[0-9a-z.]{1,40}$/.test(name);
}

export interface OwnerNames {
  userName(uid: number): string | undefined;
  groupName(gid: number): string | undefined;
}

/** What a record may say beside its body. */
export interface RecordFacts {
  readonly number?: number;
  readonly from?: number;
  readonly to?: number;
  readonly flags?: number;
}

/** Writes records into buffers and sends those that are full. */
export class CopyWriter {
  /** Directory of what is written next. */
  path: ByteString = '';
  readonly #context: ModuleContext;
  readonly #names: OwnerNames | undefined;
  readonly #told = new Set<number>();
  #buffer: PipeBuffer | undefined;
  #pathThere: ByteString | undefined;
  #at = 0;
  #dataAt = 0;

  /** With `names`, the owners of entries are told by name. */
  constructor(context: ModuleContext, names?: OwnerNames) {
    this.#context = context;
    this.#names = names;
  }

  /** Begins a record with room for data; returns the memory and where the data goes. */
  begin(kind: number, body: Uint8Array, dataBytes = 0): { memory: Buffer; at: number } {
    const total = HEAD_BYTES + align8(body.length) + align8(dataBytes);
    const most = total + HEAD_BYTES + align8(this.path.length) + OWNERS_BYTES;
    if (this.#buffer !== undefined && this.#buffer.length + most > this.#buffer.payloadCapacity) {
      this.flush();
    }
    this.#buffer ??= this.#context.allocBuf();
    assert(this.#buffer.length + most <= this.#buffer.payloadCapacity, 'a record fits a buffer');
    if (this.#pathThere !== this.path) {
      this.#put(COPY.path, Buffer.from(this.path, 'latin1'));
      this.end();
      this.#pathThere = this.path;
    }
    if (isEntryKind(kind)) this.#owners(body);
    this.#put(kind, body);
    return { memory: this.#buffer.memory, at: this.#dataAt };
  }
  /** Ends the record that was begun; without it, it was never there. */
  end(dataBytes = 0, facts: RecordFacts = {}): void {
    const buffer = this.#buffer;
    assert(buffer !== undefined, 'a record was begun');
    const { memory } = buffer;
    const at = this.#at;
    const total = this.#dataAt - at + align8(dataBytes);
    memory.writeUInt32LE(total, at);
    memory.writeUInt16LE(facts.flags ?? 0, at + 6);
    memory.writeUInt32LE(dataBytes, at + 12);
    memory.writeUInt32LE(0, at + 16);
    memory.writeUInt32LE(facts.number ?? 0, at + 20);
    writeU64(memory, at + 24, facts.from ?? 0);
    writeU64(memory, at + 32, facts.to ?? 0);
    buffer.length += total;
  }
  /** A record without data. */
  record(kind: number, body: Uint8Array | ByteString, facts: RecordFacts = {}): void {
    this.begin(kind, typeof body === 'string' ? Buffer.from(body, 'latin1') : body);
    this.end(0, facts);
  }

  #put(kind: number, body: Uint8Array): void {
    const buffer = this.#buffer;
    assert(buffer !== undefined, 'a buffer is open');
    const { memory } = buffer;
    const at = buffer.payloadOffset + buffer.length;
    memory.writeUInt16LE(kind, at + 4);
    memory.writeUInt32LE(body.length, at + 8);
    memory.set(body, at + HEAD_BYTES);
    this.#at = at;
    this.#dataAt = at + HEAD_BYTES + align8(body.length);
  }
  #owners(entry: Uint8Array): void {
    const names = this.#names;
    if (names === undefined) return;
    const uid = readU32(entry, 12);
    const gid = readU32(entry, 16);
    if (this.#isNew(uid * 2)) this.#owner(COPY.user, uid, names.userName(uid));
    if (this.#isNew(gid * 2 + 1)) this.#owner(COPY.group, gid, names.groupName(gid));
  }
  /** Whether an owner was not told yet in this buffer. */
  #isNew(key: number): boolean {
    if (this.#told.has(key)) return false;
    this.#told.add(key);
    return true;
  }
  #owner(kind: number, number: number, name: string | undefined): void {
    const text = Buffer.from(name ?? '', 'utf8');
    if (text.length === 0 || text.length > 255) return;
    this.#put(kind, text);
    this.end(0, { number });
  }

  /** Sends what is there. */
  flush(): void {
    if (this.#buffer !== undefined) this.#context.sendBuf(this.#buffer);
    this.#buffer = undefined;
    this.#pathThere = undefined;
    this.#told.clear();
  }
}

function readU32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) + (bytes[at + 1] ?? 0) * 0x100;
  return low + (bytes[at + 2] ?? 0) * 0x1_0000 + (bytes[at + 3] ?? 0) * 0x100_0000;
}

function isEntryKind(kind: number): boolean {
  return (
    kind === COPY.directory ||
    kind === COPY.file ||
    kind === COPY.large ||
    kind === COPY.special ||
    kind === COPY.metadata
  );
}

/** Reads the records of one buffer, and may keep some of them in it for the next stage. */
export class CopyReader {
  kind = 0;
  flags = 0;
  number = 0;
  sum = 0;
  from = 0;
  to = 0;
  path: ByteString = '';
  dataAt = 0;
  dataBytes = 0;
  #buffer: PipeBuffer | undefined;
  #at = 0;
  #end = 0;
  #keepAt = 0;
  #bodyAt = 0;
  #bodyBytes = 0;
  #next = 0;
  readonly #entry = new EntryView();

  open(buffer: PipeBuffer): void {
    this.#buffer = buffer;
    this.#next = buffer.payloadOffset;
    this.#keepAt = buffer.payloadOffset;
    this.#end = buffer.payloadOffset + buffer.length;
    this.path = '';
  }
  get memory(): Buffer {
    return this.#buffer?.memory ?? NO_BODY;
  }

  /** Moves to the next record; false at the end. `path` is kept up on the way. */
  next(): boolean {
    this.#at = this.#next;
    if (this.#at >= this.#end) return false;
    const at = this.#at;
    const { memory } = this;
    if (at + HEAD_BYTES > this.#end) throw torn();
    const total = memory.readUInt32LE(at);
    this.kind = memory.readUInt16LE(at + 4);
    this.flags = memory.readUInt16LE(at + 6);
    this.#bodyAt = at + HEAD_BYTES;
    this.#bodyBytes = memory.readUInt32LE(at + 8);
    this.dataBytes = memory.readUInt32LE(at + 12);
    this.dataAt = this.#bodyAt + align8(this.#bodyBytes);
    if (total % 8 !== 0 || at + total > this.#end) throw torn();
    if (this.#bodyBytes > total || this.dataBytes > total) throw torn();
    if (HEAD_BYTES + align8(this.#bodyBytes) + align8(this.dataBytes) !== total) throw torn();
    this.sum = memory.readUInt32LE(at + 16);
    this.number = memory.readUInt32LE(at + 20);
    this.from = readU64(memory, at + 24);
    this.to = readU64(memory, at + 32);
    this.#next = at + total;
    if (this.kind === COPY.path) this.path = checkPath(this.text);
    return true;
  }
  /** The body as text of bytes. */
  get text(): ByteString {
    return this.memory.toString('latin1', this.#bodyAt, this.#bodyAt + this.#bodyBytes);
  }
  /** The body as the name of an owner. */
  get ownerName(): string {
    return this.memory.toString('utf8', this.#bodyAt, this.#bodyAt + this.#bodyBytes);
  }
  /** The body as a name in the directory. */
  get name(): ByteString {
    const name = this.text;
    if (!isName(name)) throw torn();
    return name;
  }
  /** The body as an entry, in place. */
  get entry(): EntryView {
    const wrong = checkEntry(this.memory, this.#bodyAt, this.#bodyBytes);
    if (wrong !== undefined) throw torn(wrong);
    return this.#entry.set(this.memory, this.#bodyAt);
  }
  /** The data as a path below the root. */
  get target(): ByteString {
    const text = this.memory.toString('latin1', this.dataAt, this.dataAt + this.dataBytes);
    if (text === '') throw torn();
    return checkPath(text);
  }

  /** Keeps the record, without its data unless `whole`, for the next stage. */
  keep(flags: number = this.flags, whole = false, sum = 0): void {
    const { memory } = this;
    const length = whole ? this.#next - this.#at : this.dataAt - this.#at;
    memory.copyWithin(this.#keepAt, this.#at, this.#at + length);
    memory.writeUInt32LE(length, this.#keepAt);
    memory.writeUInt16LE(flags, this.#keepAt + 6);
    if (!whole) memory.writeUInt32LE(0, this.#keepAt + 12);
    memory.writeUInt32LE(sum, this.#keepAt + 16);
    this.#keepAt += length;
  }
  /** Gives the buffer the length of what was kept. */
  closeKept(): void {
    if (this.#buffer !== undefined) this.#buffer.length = this.#keepAt - this.#buffer.payloadOffset;
  }
}

function isName(name: ByteString): boolean {
  if (name.length === 0 || name.length > LIMITS.nameBytesMax) return false;
  return name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0');
}

function checkPath(path: ByteString): ByteString {
  if (path !== '' && !path.split('/').every(isName)) throw torn('a path leaves its root');
  return path;
}

function torn(what = 'a record is cut off'): PenstockError {
  return new PenstockError('NET_PROTOCOL', `what a copy was sent cannot be understood: ${what}`);
}
