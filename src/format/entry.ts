/**
 * One entry of a manifest: everything about a file, directory, link or device (U2).
 *
 *   offset size field
 *        0    4 entryBytes: length of the whole entry, a multiple of 8
 *        4    1 kind (ENTRY)
 *        5    1 flags (ENTRY_FLAG)
 *        6    2 permission bits (12)
 *        8    4 depth: components of the path less one
 *       12    4 owner number       16 4 group number
 *       20    4 mtime nanoseconds  24 8 mtime seconds (signed)
 *       32    8 ctime seconds      40 4 ctime nanoseconds
 *       44    4 number of links
 *       48    8 inode
 *       56    8 size in bytes
 *       64    4 device major       68 4 device minor (of the file system; of the node for devices)
 *       72    2 length of the name 74 1 decision (DECISION) 75 1 reason (REASON)
 *       76    4 number of content records
 *       80    … name (bytes), content records (content.ts) from the next multiple of 8, extras
 *
 * Extras fill the rest: u16 type (EXTRA) | u16 zero | u32 length | bytes, padded to 8. Unknown ones
 * are kept. Entries stand in the order of a depth-first walk with names sorted by bytes: an entry of
 * depth d belongs to the last directory of depth d - 1 before it.
 *
 * Valid if and only if every length stays inside the entry, the name is 1..255 bytes without NUL or
 * slash and is neither "." nor "..", and depth is at most one more than that of the entry before.
 */
import { assert } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { CONTENT_RECORD_BYTES } from './content.ts';
import { readU64, writeU64 } from './tag-header.ts';

export const ENTRY = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  characterDevice: 6,
  blockDevice: 7,
} as const;

export const ENTRY_FLAG = {
  /** Times were not clearly older than the reading: read again next time. */
  recent: 1,
  /** The content could not be read, or changed while it was; it is what was got. */
  incomplete: 2,
  /** The file has holes. */
  sparse: 4,
  /** Content is that of the entry named in EXTRA.hardLink. */
  hardLink: 8,
} as const;

/** How a file was cut (M2). */
export const DECISION = { none: 0, whole: 1, cut: 2, split: 3 } as const;
export const DECISION_NAMES: readonly string[] = ['none', 'whole', 'cut', 'split'];
/** Why (M2). */
export const REASON = {
  none: 0,
  empty: 1,
  small: 2,
  large: 3,
  holes: 4,
  statistics: 5,
  magic: 6,
  mixed: 7,
} as const;
export const REASON_NAMES: readonly string[] = [
  'none',
  'empty',
  'small',
  'large',
  'holes',
  'statistics',
  'magic',
  'mixed',
];

export const EXTRA = {
  /** Target of a symbolic link. */
  linkTarget: 1,
  /** Path of the entry that this one is a hard link of. */
  hardLink: 2,
  /** u16 length of name | name | value. One per attribute, sorted by name. */
  attribute: 3,
  /** u8: levels of content lists (content.ts); absent: 0. */
  contentLevels: 4,
  /** u32 major, u32 minor of a device node. */
  node: 5,
} as const;

export const ENTRY_FIXED_BYTES = 80;
const NODE_BYTES = 8;
const align8 = (n: number): number => (n + 7) & ~7;

/** Reads one entry in place. Reuse one view for many entries. */
export class EntryView {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;

  /** Points the view at an entry that checkEntry has passed. */
  set(bytes: Buffer, at: number): this {
    this.bytes = bytes;
    this.at = at;
    return this;
  }
  get entryBytes(): number {
    return this.bytes.readUInt32LE(this.at);
  }
  get kind(): number {
    return this.bytes.readUInt8(this.at + 4);
  }
  get flags(): number {
    return this.bytes.readUInt8(this.at + 5);
  }
  get mode(): number {
    return this.bytes.readUInt16LE(this.at + 6);
  }
  get depth(): number {
    return this.bytes.readUInt32LE(this.at + 8);
  }
  get uid(): number {
    return this.bytes.readUInt32LE(this.at + 12);
  }
  get gid(): number {
    return this.bytes.readUInt32LE(this.at + 16);
  }
  get mtimeNanos(): number {
    return this.bytes.readUInt32LE(this.at + 20);
  }
  get mtimeSeconds(): number {
    return readI64(this.bytes, this.at + 24);
  }
  get ctimeSeconds(): number {
    return readI64(this.bytes, this.at + 32);
  }
  get ctimeNanos(): number {
    return this.bytes.readUInt32LE(this.at + 40);
  }
  get links(): number {
    return this.bytes.readUInt32LE(this.at + 44);
  }
  get inode(): number {
    return readU64(this.bytes, this.at + 48);
  }
  get size(): number {
    return readU64(this.bytes, this.at + 56);
  }
  get deviceMajor(): number {
    return this.bytes.readUInt32LE(this.at + 64);
  }
  get deviceMinor(): number {
    return this.bytes.readUInt32LE(this.at + 68);
  }
  get nameBytes(): number {
    return this.bytes.readUInt16LE(this.at + 72);
  }
  get decision(): number {
    return this.bytes.readUInt8(this.at + 74);
  }
  get reason(): number {
    return this.bytes.readUInt8(this.at + 75);
  }
  get contentCount(): number {
    return this.bytes.readUInt32LE(this.at + 76);
  }
  /** Offset of the name in `bytes`. */
  get nameAt(): number {
    return this.at + ENTRY_FIXED_BYTES;
  }
  get name(): ByteString {
    return this.bytes.toString('latin1', this.nameAt, this.nameAt + this.nameBytes);
  }
  /** Offset of the first content record in `bytes`. */
  get contentAt(): number {
    return this.at + align8(ENTRY_FIXED_BYTES + this.nameBytes);
  }
  get contentLevels(): number {
    return this.extra(EXTRA.contentLevels)?.[0] ?? 0;
  }
  get hasExtras(): boolean {
    const contentEnd = this.contentAt + this.contentCount * CONTENT_RECORD_BYTES;
    return contentEnd < this.at + this.entryBytes;
  }
  /** First extra of a type, in place; undefined when there is none. */
  extra(type: number): Buffer | undefined {
    let found: Buffer | undefined;
    this.eachExtra((kind, value) => {
      if (kind === type && found === undefined) found = value;
    });
    return found;
  }
  eachExtra(visit: (type: number, value: Buffer) => void): void {
    const end = this.at + this.entryBytes;
    let cursor = this.contentAt + this.contentCount * CONTENT_RECORD_BYTES;
    while (cursor + 8 <= end) {
      const length = this.bytes.readUInt32LE(cursor + 4);
      visit(this.bytes.readUInt16LE(cursor), this.bytes.subarray(cursor + 8, cursor + 8 + length));
      cursor += 8 + align8(length);
    }
  }
  /** The entry as it is, in place. */
  raw(): Buffer {
    return this.bytes.subarray(this.at, this.at + this.entryBytes);
  }
}

/** Returns what is wrong with the entry at `at`, of which `available` bytes are there. */
export function checkEntry(bytes: Buffer, at: number, available: number): string | undefined {
  if (available < ENTRY_FIXED_BYTES) return 'an entry is cut off';
  const total = bytes.readUInt32LE(at);
  if (total < ENTRY_FIXED_BYTES || total > available || total % 8 !== 0) {
    return `impossible entry length ${total}`;
  }
  const kind = bytes.readUInt8(at + 4);
  if (kind < ENTRY.file || kind > ENTRY.blockDevice) return `unknown kind of entry ${kind}`;
  const nameBytes = bytes.readUInt16LE(at + 72);
  if (nameBytes === 0 || nameBytes > LIMITS.nameBytesMax)
    return `impossible name length ${nameBytes}`;
  const contentAt = align8(ENTRY_FIXED_BYTES + nameBytes);
  const contentCount = bytes.readUInt32LE(at + 76);
  if (contentCount > LIMITS.contentListInlineMax)
    return `impossible number of blobs ${contentCount}`;
  let cursor = contentAt + contentCount * CONTENT_RECORD_BYTES;
  if (cursor > total) return 'the content records leave the entry';
  if (!isSafeName(bytes, at + ENTRY_FIXED_BYTES, nameBytes)) {
    return 'the name of an entry would leave its directory';
  }
  while (cursor < total) {
    if (cursor + 8 > total) return 'an extra of an entry is cut off';
    const type = bytes.readUInt16LE(at + cursor);
    const length = bytes.readUInt32LE(at + cursor + 4);
    cursor += 8 + align8(length);
    if (length > total || cursor > total) return 'an extra leaves its entry';
    if (type === EXTRA.node && length < NODE_BYTES) return 'the numbers of a device are cut off';
  }
  return undefined;
}

function isSafeName(bytes: Buffer, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) {
    const byte = bytes[at + i];
    if (byte === 0 || byte === 0x2f) return false;
  }
  if (length === 1 && bytes[at] === 0x2e) return false;
  return !(length === 2 && bytes[at] === 0x2e && bytes[at + 1] === 0x2e);
}

/** The fields of an entry, for the writer. */
export interface EntryFields {
  kind: number;
  flags: number;
  mode: number;
  depth: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanos: number;
  ctimeSeconds: number;
  ctimeNanos: number;
  links: number;
  inode: number;
  size: number;
  deviceMajor: number;
  deviceMinor: number;
}

/** Appends entries to a growing buffer: begin, then content records, then extras, then end. */
export class EntryWriter {
  bytes: Buffer = Buffer.alloc(64 * 1024);
  length = 0;
  #start = 0;

  reset(): void {
    this.length = 0;
  }
  begin(fields: EntryFields, name: ByteString): void {
    this.reserve(ENTRY_FIXED_BYTES + LIMITS.nameBytesMax + 8);
    const at = this.length;
    const bytes = this.bytes;
    this.#start = at;
    assert(name.length > 0 && name.length <= LIMITS.nameBytesMax, 'a name has 1 to 255 bytes');
    bytes[at + 4] = fields.kind;
    bytes[at + 5] = fields.flags;
    bytes.writeUInt16LE(fields.mode, at + 6);
    bytes.writeUInt32LE(fields.depth, at + 8);
    bytes.writeUInt32LE(fields.uid, at + 12);
    bytes.writeUInt32LE(fields.gid, at + 16);
    bytes.writeUInt32LE(fields.mtimeNanos, at + 20);
    writeI64(bytes, at + 24, fields.mtimeSeconds);
    writeI64(bytes, at + 32, fields.ctimeSeconds);
    bytes.writeUInt32LE(fields.ctimeNanos, at + 40);
    bytes.writeUInt32LE(fields.links, at + 44);
    writeU64(bytes, at + 48, fields.inode);
    writeU64(bytes, at + 56, fields.size);
    bytes.writeUInt32LE(fields.deviceMajor, at + 64);
    bytes.writeUInt32LE(fields.deviceMinor, at + 68);
    bytes.writeUInt16LE(name.length, at + 72);
    bytes.writeUInt16LE(0, at + 74);
    bytes.writeUInt32LE(0, at + 76);
    bytes.write(name, at + ENTRY_FIXED_BYTES, 'latin1');
    const end = at + align8(ENTRY_FIXED_BYTES + name.length);
    bytes.fill(0, at + ENTRY_FIXED_BYTES + name.length, end);
    this.length = end;
  }
  /** Continues an entry whose fixed part and name are copied from `skeleton` (an entry without content). */
  beginFrom(skeleton: EntryView): void {
    const bytes = skeleton.contentAt - skeleton.at;
    this.reserve(bytes);
    this.#start = this.length;
    skeleton.bytes.copy(this.bytes, this.length, skeleton.at, skeleton.at + bytes);
    this.bytes.writeUInt32LE(0, this.length + 76);
    this.length += bytes;
  }
  /** Takes an entry over as it is. */
  copy(bytes: Buffer, at: number, length: number): void {
    this.reserve(length);
    bytes.copy(this.bytes, this.length, at, at + length);
    this.length += length;
  }
  /** Reserves a content record and returns where to write it. */
  content(): number {
    this.reserve(CONTENT_RECORD_BYTES);
    const at = this.length;
    this.length += CONTENT_RECORD_BYTES;
    this.bytes.writeUInt32LE(this.bytes.readUInt32LE(this.#start + 76) + 1, this.#start + 76);
    return at;
  }
  extra(type: number, value: Uint8Array): void {
    const at = this.#extraHead(type, value.length);
    this.bytes.set(value, at);
  }
  attribute(name: ByteString, value: Uint8Array): void {
    const at = this.#extraHead(EXTRA.attribute, 2 + name.length + value.length);
    this.bytes.writeUInt16LE(name.length, at);
    this.bytes.write(name, at + 2, 'latin1');
    this.bytes.set(value, at + 2 + name.length);
  }
  #extraHead(type: number, valueBytes: number): number {
    const total = 8 + align8(valueBytes);
    this.reserve(total);
    const at = this.length;
    this.bytes.fill(0, at, at + 8);
    this.bytes.fill(0, at + total - 8, at + total);
    this.bytes.writeUInt16LE(type, at);
    this.bytes.writeUInt32LE(valueBytes, at + 4);
    this.length = at + total;
    return at + 8;
  }
  setFlags(flags: number): void {
    this.bytes[this.#start + 5] = (this.bytes[this.#start + 5] ?? 0) | flags;
  }
  setAnalysis(decision: number, reason: number): void {
    this.bytes[this.#start + 74] = decision;
    this.bytes[this.#start + 75] = reason;
  }
  setSize(size: number): void {
    writeU64(this.bytes, this.#start + 56, size);
  }
  /** Ends the entry; returns where it began. */
  end(): number {
    this.bytes.writeUInt32LE(this.length - this.#start, this.#start);
    return this.#start;
  }
  /** Drops the entry that was begun. */
  cancel(): void {
    this.length = this.#start;
  }
  reserve(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.bytes.length * 2, this.length + bytes));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}

/** Attribute name and value of an EXTRA.attribute. Returns undefined when it is torn. */
export function readAttribute(value: Buffer): { name: ByteString; value: Buffer } | undefined {
  if (value.length < 2) return undefined;
  const nameBytes = value.readUInt16LE(0);
  if (nameBytes === 0 || 2 + nameBytes > value.length) return undefined;
  return { name: value.toString('latin1', 2, 2 + nameBytes), value: value.subarray(2 + nameBytes) };
}

export function writeI64(view: Buffer, at: number, value: number): void {
  assert(Number.isSafeInteger(value), 'i64 field holds a safe integer');
  view.writeUInt32LE(value >>> 0, at);
  view.writeInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

export function readI64(view: Buffer, at: number): number {
  return view.readInt32LE(at + 4) * 0x1_0000_0000 + view.readUInt32LE(at);
}

/** A copy of an entry under another name. */
export function renamedEntry(entry: EntryView, name: ByteString): EntryView {
  const writer = new EntryWriter();
  const { kind, flags, mode, depth, uid, gid, links, inode, size, deviceMajor, deviceMinor } =
    entry;
  const { mtimeSeconds, mtimeNanos, ctimeSeconds, ctimeNanos } = entry;
  const times = { mtimeSeconds, mtimeNanos, ctimeSeconds, ctimeNanos };
  writer.begin(
    { kind, flags, mode, depth, uid, gid, links, inode, size, deviceMajor, deviceMinor, ...times },
    name,
  );
  for (let i = 0; i < entry.contentCount; i++) {
    const from = entry.contentAt + i * CONTENT_RECORD_BYTES;
    const to = writer.content();
    entry.bytes.copy(writer.bytes, to, from, from + CONTENT_RECORD_BYTES);
  }
  entry.eachExtra((type, value) => writer.extra(type, value));
  writer.end();
  return new EntryView().set(writer.bytes, 0);
}
