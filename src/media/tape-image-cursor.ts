/**
 * Finds the objects of a tape image, one after the other, and where each begins.
 *
 * Contract: reads only; knows nothing of the position of a drive. An object that is not whole, with the
 * file's end inside it, is a *torn tail*: it counts as the end of data. Damage in the middle (two
 * lengths that do not match) is passed over where the next object can be found: behind the record
 * by its first length, or else by looking for the second one. Where it cannot, all that follows is one
 * damaged object: it may be anything, also what is stored.
 */

import type { ByteString } from '../base/bytes.ts';
import {
  readTapWord,
  TAP_RECORD_BYTES_MAX,
  TAP_WORD_BYTES,
  tapPaddedBytes,
} from '../format/simh-tape.ts';
import { CWD, errnoName, FileStatus, type Files } from '../host/mod.ts';
import { volumeError } from './volume.ts';

export interface TapeObject {
  kind: 'record' | 'mark' | 'end' | 'damaged';
  /** Where its bytes begin. */
  dataAt: number;
  bytes: number;
  /** A record of class 8: its writer could not read it. */
  bad: boolean;
  /** Where the next object begins, gaps before it included; at the end: where to append. */
  next: number;
  /** Bytes of a torn tail, at the end. */
  torn: number;
  /** All the rest of the file, in which no object is found. */
  isRest: boolean;
}

const SEARCH_BYTES = 1 << 20;

export class TapeImageCursor {
  readonly #files: Files;
  readonly #fd: number;
  readonly #name: string;
  readonly #word = Buffer.alloc(TAP_WORD_BYTES);
  readonly #status = new FileStatus();
  readonly #object: TapeObject = {
    kind: 'end',
    dataAt: 0,
    bytes: 0,
    bad: false,
    next: 0,
    torn: 0,
    isRest: false,
  };

  constructor(files: Files, fd: number, name: string) {
    this.#files = files;
    this.#fd = fd;
    this.#name = name;
  }

  fileBytes(): number {
    const result = this.#files.statusOf(this.#fd, this.#status);
    if (result < 0) throw this.#error(result, 'look at');
    return this.#status.size;
  }

  /** The object at or behind `offset`; the same thing is returned each time. */
  objectAt(offset: number): TapeObject {
    const object = this.#object;
    object.isRest = false;
    let at = offset;
    for (;;) {
      const word = this.#wordAt(at);
      if (word === undefined) return this.#end(offset, this.fileBytes() - at);
      const read = readTapWord(word);
      if (read.kind === 'endOfMedium') return this.#end(offset, 0);
      if (read.kind === 'skip') at += read.bytes;
      else if (read.kind === 'mark') {
        object.kind = 'mark';
        object.dataAt = at + TAP_WORD_BYTES;
        object.bytes = 0;
        object.next = at + TAP_WORD_BYTES;
        return object;
      } else {
        const end = at + TAP_WORD_BYTES + tapPaddedBytes(read.bytes);
        const second = this.#wordAt(end);
        if (second !== word) return this.#damaged(offset, at, word, second);
        at = end + TAP_WORD_BYTES;
        if (read.ignored) continue;
        object.kind = 'record';
        object.dataAt = end - tapPaddedBytes(read.bytes);
        object.bytes = read.bytes;
        object.bad = read.bad;
        object.next = at;
        return object;
      }
    }
  }

  /** Whether an object ends exactly at `offset`, as far as the words around it tell. */
  isBoundary(offset: number): boolean {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > this.fileBytes()) return false;
    if (offset > 0 && this.before(offset) === undefined) return false;
    return this.objectAt(offset).kind !== 'damaged';
  }

  /**
   * The object that ends just before `offset`, and where it begins. Nothing where what lies before is
   * not an object, or not whole: then only going there from the front will tell.
   */
  before(offset: number): { readonly isMark: boolean; readonly at: number } | undefined {
    const word = offset < TAP_WORD_BYTES ? undefined : this.#wordAt(offset - TAP_WORD_BYTES);
    if (word === undefined) return undefined;
    const read = readTapWord(word);
    if (read.kind === 'mark') return { isMark: true, at: offset - TAP_WORD_BYTES };
    if (read.kind !== 'record' || read.ignored) return undefined;
    const at = offset - 2 * TAP_WORD_BYTES - tapPaddedBytes(read.bytes);
    return at >= 0 && this.#wordAt(at) === word ? { isMark: false, at } : undefined;
  }

  #end(offset: number, torn: number): TapeObject {
    const object = this.#object;
    object.kind = 'end';
    object.dataAt = offset;
    object.bytes = 0;
    object.next = offset;
    object.torn = torn;
    return object;
  }

  #damaged(offset: number, at: number, word: number, second: number | undefined): TapeObject {
    const behind = at + 2 * TAP_WORD_BYTES + tapPaddedBytes(word & 0xfff_ffff);
    const next =
      second !== undefined && this.#isObject(behind) ? behind : this.#nextWhole(at, behind);
    // A record that was being written when the power failed is not whole: its length leads out of the file.
    const isTorn = second === undefined && word <= TAP_RECORD_BYTES_MAX;
    if (next === undefined && isTorn) return this.#end(offset, this.fileBytes() - at);
    const object = this.#object;
    object.kind = 'damaged';
    object.dataAt = at + TAP_WORD_BYTES;
    object.bytes = 0;
    object.isRest = next === undefined;
    object.next = next ?? this.fileBytes();
    return object;
  }

  /** Behind the record at `at`; or, where its second length and the next one's first are wrong, that one. */
  #nextWhole(at: number, behind: number): number | undefined {
    const next = this.#search(at);
    if (next !== undefined || behind >= this.fileBytes()) return next;
    return this.#search(behind) === undefined ? undefined : behind;
  }

  /** Whether a whole record or a mark with something whole behind it, or the end, is here. */
  #isObject(offset: number): boolean {
    const word = this.#wordAt(offset);
    if (word === undefined) return offset === this.fileBytes();
    const read = readTapWord(word);
    if (read.kind !== 'record') return read.kind !== 'mark' || this.#isRecordOrEnd(offset + 4);
    return this.#isRecordOrEnd(offset);
  }

  #isRecordOrEnd(offset: number): boolean {
    const word = this.#wordAt(offset);
    if (word === undefined) return offset === this.fileBytes();
    const read = readTapWord(word);
    if (read.kind !== 'record') return true;
    return this.#wordAt(offset + TAP_WORD_BYTES + tapPaddedBytes(read.bytes)) === word;
  }

  /** The end of the record at `at` whose first length is wrong, by its second one. */
  #search(at: number): number | undefined {
    const piece = Buffer.alloc(SEARCH_BYTES + TAP_WORD_BYTES);
    for (let from = 0; from <= TAP_RECORD_BYTES_MAX; from += SEARCH_BYTES) {
      const start = at + TAP_WORD_BYTES + from;
      const got = this.#read(piece, piece.length, start);
      for (let i = from === 0 ? 2 : 0; i + TAP_WORD_BYTES <= got && i < SEARCH_BYTES; i += 2) {
        const length = piece.readUInt32LE(i);
        if (length === 0 || tapPaddedBytes(length) !== from + i) continue;
        if (this.#isObject(start + i + TAP_WORD_BYTES)) return start + i + TAP_WORD_BYTES;
      }
      if (got < piece.length) return undefined;
    }
    return undefined;
  }

  /** The word at an offset; nothing if the file ends before or in it. */
  #wordAt(offset: number): number | undefined {
    const got = this.#read(this.#word, TAP_WORD_BYTES, offset);
    return got < TAP_WORD_BYTES ? undefined : this.#word.readUInt32LE(0);
  }

  #read(into: Buffer, length: number, offset: number): number {
    const got = this.#files.read(this.#fd, into, 0, length, offset);
    if (got < 0) throw this.#error(got, 'read');
    return got;
  }

  #error(result: number, call: string): Error {
    const errno = errnoName(result);
    const text = `cannot ${call} the image: ${errno}`;
    return volumeError('VOLUME_IO', this.#name, undefined, text, { errno });
  }
}

/**
 * Opens an image: for writing where that is allowed and not `readOnly`. With `create` an empty one is made
 * where there is none; another process may be making it at the same moment. Negative: the system's answer.
 */
export function openImageFile(
  files: Files,
  path: ByteString,
  { readOnly, create }: { readonly readOnly: boolean; readonly create: boolean },
): { readonly fd: number; readonly writeProtected: boolean } {
  const there = openThere(files, path, readOnly);
  if (!create || there.fd >= 0 || errnoName(there.fd) !== 'ENOENT') return there;
  const fd = createImage(files, path);
  if (fd < 0 && errnoName(fd) === 'EEXIST') return openThere(files, path, readOnly);
  return { fd, writeProtected: false };
}

function openThere(
  files: Files,
  path: ByteString,
  readOnly: boolean,
): { readonly fd: number; readonly writeProtected: boolean } {
  if (!readOnly) {
    const fd = files.openWrite(CWD, path);
    if (fd >= 0) return { fd, writeProtected: false };
    if (!['EACCES', 'EROFS', 'EPERM'].includes(errnoName(fd))) return { fd, writeProtected: false };
  }
  return { fd: files.openRead(CWD, path), writeProtected: true };
}

function createImage(files: Files, path: ByteString): number {
  const fd = files.createExclusive(CWD, path, 0o600);
  if (fd < 0) return fd;
  const slash = path.lastIndexOf('/');
  const folder = slash < 0 ? '.' : path.slice(0, slash + 1);
  const directory = files.openDirectoryFollow(CWD, folder);
  if (directory >= 0) {
    files.sync(directory);
    files.close(directory);
  }
  return fd;
}
