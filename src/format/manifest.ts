/**
 * The manifest: a tree of blobs that lists an archive's entries (M8, M14).
 *
 * A leaf:
 *   0 u32 magic "PLEF" | 4 u16 version 1 | 6 u16 zero | 8 u32 number of entries
 *   12 u32 length of prefix | 16 prefix (path of the directory of the first entry; empty: the root),
 *   padded to 8, then the entries (entry.ts)
 * An inner node:
 *   0 u32 magic "PNOD" | 4 u16 version 1 | 6 u16 level (1…: above leaves) | 8 u32 number of children
 *   12 u32 zero, then per child:
 *   name (32) | u32 length of the child blob | u32 length of path | u64 entries | u64 bytes of files |
 *   path of the child's first entry, padded to 8
 *
 * Leaves and nodes are cut by content: after an entry whose CRC-32C has its low bits zero (a child
 * whose name has), within least and greatest sizes, so that unchanged stretches are the same blobs.
 * Paths here are whole, components joined by "/", and ordered component by component.
 *
 * Valid if and only if magic and version match and every entry and child is valid and they fill the
 * blob exactly; depths rise by at most one.
 */
import { assert } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NAME_BYTES } from './block.ts';
import { checkEntry, ENTRY, EntryView } from './entry.ts';
import { type Crc, readU64, writeU64 } from './tag-header.ts';

const LEAF_MAGIC = 0x46454c50;
const NODE_MAGIC = 0x444f4e50;
const LEAF_HEAD_BYTES = 16;
const NODE_HEAD_BYTES = 16;
const CHILD_FIXED_BYTES = 56;
const align8 = (n: number): number => (n + 7) & ~7;

/** A reference to a leaf or node. */
export interface ManifestRef {
  readonly name: Buffer;
  readonly blobBytes: number;
  readonly entries: number;
  readonly fileBytes: number;
  /** Path of the first entry; empty for an empty leaf. */
  readonly path: ByteString;
}

/** Builds one leaf at a time in a reused buffer. */
export class LeafBuilder {
  readonly #bytes: Buffer = Buffer.alloc(LIMITS.leafBytesMax + LEAF_HEAD_BYTES);
  readonly #crc: Crc;
  #length = 0;
  #entries = 0;
  #fileBytes = 0;
  #path: ByteString = '';

  constructor(crc: Crc) {
    this.#crc = crc;
  }
  get entries(): number {
    return this.#entries;
  }
  /** Bytes of the finished leaf. */
  get bytes(): Buffer {
    return this.#bytes;
  }
  get length(): number {
    return this.#length;
  }

  /** Whether an entry of this length still fits. */
  fits(entryBytes: number, prefix: ByteString): boolean {
    if (this.#entries > 0) return this.#length + entryBytes <= LIMITS.leafBytesMax;
    return LEAF_HEAD_BYTES + align8(prefix.length) + entryBytes <= LIMITS.leafBytesMax;
  }
  /**
   * Adds an entry. `prefix` is the path of its directory, used for the first one only; so is `name`.
   * Returns whether the leaf should end here.
   */
  add(
    bytes: Buffer,
    at: number,
    entryBytes: number,
    prefix: ByteString,
    name: ByteString,
    size: number,
  ): boolean {
    if (this.#entries === 0) this.#begin(prefix, name);
    bytes.copy(this.#bytes, this.#length, at, at + entryBytes);
    this.#length += entryBytes;
    this.#entries++;
    this.#fileBytes += size;
    if (this.#length < LIMITS.leafBytesMin) return false;
    // An entry has some 200 bytes: a mask of 256 ends a leaf about 50 KiB after its least size.
    return (
      (this.#crc(bytes, at, entryBytes) & 0xff) === 0 || this.#length > LIMITS.leafBytesMax / 2
    );
  }
  #begin(prefix: ByteString, name: ByteString): void {
    assert(LEAF_HEAD_BYTES + prefix.length < LIMITS.leafBytesMax, 'the path of a leaf fits it');
    this.#path = prefix === '' ? name : `${prefix}/${name}`;
    this.#bytes.writeUInt32LE(prefix.length, 12);
    this.#bytes.write(prefix, LEAF_HEAD_BYTES, 'latin1');
    const end = LEAF_HEAD_BYTES + align8(prefix.length);
    this.#bytes.fill(0, LEAF_HEAD_BYTES + prefix.length, end);
    this.#length = end;
  }
  /** Completes the head; `bytes` up to `length` is the leaf. Returns its reference without a name. */
  finish(): Omit<ManifestRef, 'name'> {
    if (this.#entries === 0) {
      this.#length = LEAF_HEAD_BYTES;
      this.#bytes.writeUInt32LE(0, 12);
      this.#path = '';
    }
    this.#bytes.writeUInt32LE(LEAF_MAGIC, 0);
    this.#bytes.writeUInt16LE(1, 4);
    this.#bytes.writeUInt16LE(0, 6);
    this.#bytes.writeUInt32LE(this.#entries, 8);
    return {
      blobBytes: this.#length,
      entries: this.#entries,
      fileBytes: this.#fileBytes,
      path: this.#path,
    };
  }
  reset(): void {
    this.#length = 0;
    this.#entries = 0;
    this.#fileBytes = 0;
  }
}

/** Encodes an inner node. */
export function encodeNode(level: number, children: readonly ManifestRef[]): Buffer {
  let total = NODE_HEAD_BYTES;
  for (const child of children) total += CHILD_FIXED_BYTES + align8(child.path.length);
  const bytes = Buffer.alloc(total);
  bytes.writeUInt32LE(NODE_MAGIC, 0);
  bytes.writeUInt16LE(1, 4);
  bytes.writeUInt16LE(level, 6);
  bytes.writeUInt32LE(children.length, 8);
  let at = NODE_HEAD_BYTES;
  for (const child of children) {
    bytes.set(child.name, at);
    bytes.writeUInt32LE(child.blobBytes, at + 32);
    bytes.writeUInt32LE(child.path.length, at + 36);
    writeU64(bytes, at + 40, child.entries);
    writeU64(bytes, at + 48, child.fileBytes);
    bytes.write(child.path, at + CHILD_FIXED_BYTES, 'latin1');
    at += CHILD_FIXED_BYTES + align8(child.path.length);
  }
  return bytes;
}

/** Whether a node ends after this child; `count` children stand in it already, this one included. */
export function nodeEndsAfter(child: ManifestRef, count: number, bytesSoFar: number): boolean {
  if (count < 2) return false;
  if (count >= LIMITS.nodeChildrenMax || bytesSoFar > LIMITS.leafBytesMax / 2) return true;
  return count >= LIMITS.nodeChildrenMin && (child.name.readUInt8(0) & 63) === 0;
}

export function nodeBytes(child: ManifestRef): number {
  return CHILD_FIXED_BYTES + align8(child.path.length);
}

const damaged = (reason: string): PenstockError =>
  new PenstockError('DAMAGED', `damaged manifest: ${reason}`);

/** Decodes an inner node; DAMAGED when it is not valid. */
export function decodeNode(bytes: Buffer): { level: number; children: ManifestRef[] } {
  if (bytes.length < NODE_HEAD_BYTES || bytes.readUInt32LE(0) !== NODE_MAGIC) {
    throw damaged('not an inner node');
  }
  if (bytes.readUInt16LE(4) !== 1) throw damaged('unknown version of an inner node');
  const level = bytes.readUInt16LE(6);
  if (level < 1 || level > LIMITS.manifestLevelsMax) throw damaged(`impossible level ${level}`);
  const count = bytes.readUInt32LE(8);
  if (count > LIMITS.nodeChildrenMax) throw damaged(`${count} children`);
  const children: ManifestRef[] = [];
  let at = NODE_HEAD_BYTES;
  for (let i = 0; i < count; i++) {
    if (at + CHILD_FIXED_BYTES > bytes.length) throw damaged('a child is cut off');
    const pathBytes = bytes.readUInt32LE(at + 36);
    const end = at + CHILD_FIXED_BYTES + align8(pathBytes);
    if (pathBytes > bytes.length || end > bytes.length)
      throw damaged('the path of a child is cut off');
    children.push({
      name: bytes.subarray(at, at + NAME_BYTES),
      blobBytes: bytes.readUInt32LE(at + 32),
      entries: readU64(bytes, at + 40),
      fileBytes: readU64(bytes, at + 48),
      path: bytes.toString('latin1', at + CHILD_FIXED_BYTES, at + CHILD_FIXED_BYTES + pathBytes),
    });
    at = end;
  }
  if (at !== bytes.length) throw damaged('bytes follow the last child');
  return { level, children };
}

/** Walks the entries of a leaf in order, checking each one before it is shown. */
export class LeafReader {
  readonly entry: EntryView = new EntryView();
  /** Path of the directory of the first entry. */
  prefix: ByteString = '';
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #left = 0;
  #depthMax = 0;

  /** Begins with a leaf blob; DAMAGED when its head is not valid. */
  open(bytes: Buffer): void {
    if (bytes.length < LEAF_HEAD_BYTES || bytes.readUInt32LE(0) !== LEAF_MAGIC)
      throw damaged('not a leaf');
    if (bytes.readUInt16LE(4) !== 1) throw damaged('unknown version of a leaf');
    const prefixBytes = bytes.readUInt32LE(12);
    const start = LEAF_HEAD_BYTES + align8(prefixBytes);
    if (prefixBytes > bytes.length || start > bytes.length)
      throw damaged('the prefix of a leaf is cut off');
    this.prefix = bytes.toString('latin1', LEAF_HEAD_BYTES, LEAF_HEAD_BYTES + prefixBytes);
    if (this.prefix !== '' && !this.prefix.split('/').every(isSafeComponent)) {
      throw damaged('the prefix of a leaf would leave the root');
    }
    this.#bytes = bytes;
    this.#at = start;
    this.#left = bytes.readUInt32LE(8);
    this.#depthMax = this.prefix === '' ? 0 : this.prefix.split('/').length;
    if (this.#left === 0 && start !== bytes.length) throw damaged('bytes follow the last entry');
  }
  /** Shows no more entries. */
  close(): void {
    this.#left = 0;
  }
  /** Moves `entry` to the next entry; false after the last. DAMAGED when it is not valid. */
  next(): boolean {
    if (this.#left === 0) return false;
    const wrong = checkEntry(this.#bytes, this.#at, this.#bytes.length - this.#at);
    if (wrong !== undefined) throw damaged(wrong);
    this.entry.set(this.#bytes, this.#at);
    const depth = this.entry.depth;
    if (depth > this.#depthMax) throw damaged(`an entry of depth ${depth} has no directory`);
    this.#depthMax = this.entry.kind === ENTRY.directory ? depth + 1 : depth;
    this.#at += this.entry.entryBytes;
    this.#left--;
    if (this.#left === 0 && this.#at !== this.#bytes.length)
      throw damaged('bytes follow the last entry');
    return true;
  }
}

export function isSafeComponent(name: ByteString): boolean {
  return (
    name.length > 0 &&
    name.length <= LIMITS.nameBytesMax &&
    name !== '.' &&
    name !== '..' &&
    !name.includes('/') &&
    !name.includes('\0')
  );
}
