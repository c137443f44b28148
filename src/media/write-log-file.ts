/**
 * The pages of a write log in a file beside the medium (L6): records one behind the other.
 *
 * Contract: what is synchronised survives a crash; a page that is torn at the end is cut off when the
 * file is opened for writing again, and not seen when it is only read. Offsets of pages are in memory,
 * pages are not.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { decodeRecord, RECORD_HEAD_BYTES } from '../format/record.ts';
import { CWD, crcOf, errnoName, type Files, openFiles } from '../host/mod.ts';
import type { LogPages } from './write-log.ts';

/** @throws PenstockError HOST_IO; OBJECT_MISSING when it is to be read and not there */
export function openLogFile(
  path: ByteString,
  mode: 'read' | 'write',
  files: Files = openFiles(),
): LogFile {
  let fd = mode === 'read' ? files.openRead(CWD, path) : files.openWrite(CWD, path);
  if (fd < 0 && mode === 'write' && errnoName(fd) === 'ENOENT')
    fd = files.createExclusive(CWD, path, 0o600);
  if (fd < 0) {
    const errno = errnoName(fd);
    const subject = toDisplay(path);
    const code = errno === 'ENOENT' ? 'OBJECT_MISSING' : 'HOST_IO';
    throw new PenstockError(code, `cannot open the write log ${subject}: ${errno}`, {
      errno,
      subject,
    });
  }
  return new LogFile(files, fd, toDisplay(path), mode === 'write');
}

export class LogFile implements LogPages {
  readonly #files: Files;
  readonly #fd: number;
  readonly #name: string;
  /** Where each page begins, and where the last one ends. */
  readonly #offsets: number[] = [0];

  constructor(files: Files, fd: number, name: string, writable: boolean) {
    this.#files = files;
    this.#fd = fd;
    this.#name = name;
    while (this.#next());
    if (writable) this.#check(files.truncate(fd, this.#end), 'cut');
  }

  get count(): number {
    return this.#offsets.length - 1;
  }

  async add(page: Buffer): Promise<void> {
    const at = this.#end;
    this.#check(this.#files.write(this.#fd, page, 0, page.length, at), 'write');
    this.#offsets.push(at + page.length);
  }

  async read(index: number): Promise<Buffer> {
    const at = this.#offsets[index] ?? 0;
    const page = Buffer.alloc((this.#offsets[index + 1] ?? at) - at);
    this.#check(this.#files.read(this.#fd, page, 0, page.length, at), 'read');
    return page;
  }

  async clear(): Promise<void> {
    this.#check(this.#files.truncate(this.#fd, 0), 'cut');
    this.#offsets.length = 1;
  }

  async synchronise(): Promise<void> {
    this.#check(this.#files.sync(this.#fd), 'sync');
  }

  close(): void {
    this.#files.close(this.#fd);
  }

  get #end(): number {
    return this.#offsets.at(-1) as number;
  }

  /** Finds one more page; false at the end, or where what follows is none. */
  #next(): boolean {
    const at = this.#end;
    const head = Buffer.alloc(RECORD_HEAD_BYTES);
    if (this.#check(this.#files.read(this.#fd, head, 0, head.length, at), 'read') < head.length)
      return false;
    const bytes = RECORD_HEAD_BYTES + head.readUInt32LE(24) + head.readUInt32LE(28);
    if (bytes > 2 * LIMITS.logPageBytes) return false;
    const page = Buffer.alloc(bytes);
    if (this.#check(this.#files.read(this.#fd, page, 0, bytes, at), 'read') < bytes) return false;
    try {
      decodeRecord(page, this.#name, crcOf, false);
    } catch {
      return false;
    }
    this.#offsets.push(at + bytes);
    return true;
  }

  #check(result: number, call: string): number {
    if (result >= 0) return result;
    const errno = errnoName(result);
    throw new PenstockError('HOST_IO', `cannot ${call} the write log ${this.#name}: ${errno}`, {
      errno,
      subject: this.#name,
    });
  }
}
