/**
 * Stage `finish` of a copy, its tail: gives large files their names when all their pieces are written, and
 * when everything has passed makes further hard links, then gives directories their metadata, the
 * deepest first.
 *
 * What waits for the end lies in a file without a name; only where it lies is kept in memory.
 */
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { EntryView } from '../format/entry.ts';
import { ERRNO, FileStatus, ioError, KIND, openFiles } from '../host/files-only.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import type { CopyDirectories } from './copy-directories.ts';
import { PartLog, partLogName, partOf } from './copy-parts.ts';
import {
  COPY,
  COPY_COUNTER,
  COPY_FLAG,
  CopyReader,
  isTemporaryName,
  temporaryName,
} from './copy-stream.ts';
import { CopyTarget, type CopyTargetOptions } from './copy-target.ts';
import { closeFile, openNamelessFile } from './nameless-file.ts';

/** A large file that is arriving. */
interface Large {
  readonly path: ByteString;
  entry: Buffer | undefined;
  /** A piece has come. */
  isKnown: boolean;
  /** Bytes that the pieces so far account for. */
  covered: number;
  failed: boolean;
  /** What another copy can go on with; undefined: there is none, or not yet. */
  log: PartLog | undefined;
}

export default function finish(options: CopyTargetOptions): PipeModule {
  let finishing: Finishing | undefined;
  return {
    open: (context) => {
      finishing = new Finishing(options, context);
    },
    process: (buffer) => must(finishing, 'finishing was opened').process(buffer),
    close: () => must(finishing, 'finishing was opened').close(),
    abort: () => finishing?.abort(),
  };
}

class Finishing {
  readonly #options: CopyTargetOptions;
  readonly #context: ModuleContext;
  readonly #files = openFiles();
  readonly #target: CopyTarget;
  readonly #in = new CopyReader();
  readonly #view = new EntryView();
  readonly #status = new FileStatus();
  readonly #larges = new Map<number, Large>();
  readonly #notes: Notes;
  /** Where the notes of directories begin, with their depths, and those of links. */
  readonly #directories: { at: number; depth: number }[] = [];
  readonly #links: number[] = [];

  constructor(options: CopyTargetOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    this.#target = new CopyTarget(options, this.#files, context);
    this.#notes = new Notes();
  }

  process(buffer: PipeBuffer): undefined {
    const record = this.#in;
    record.open(buffer);
    while (record.next()) {
      if (this.#target.takesOwner(record)) continue;
      if (record.kind === COPY.directory) this.#noteDirectory();
      else if (record.kind === COPY.link) this.#noteLink();
      else if (record.kind === COPY.large) this.#entryOfLarge();
      else if (record.kind === COPY.piece) this.#piece();
    }
  }

  close(): void {
    for (const [number, large] of this.#larges) this.#giveUp(number, large);
    this.#makeLinks();
    this.#finishDirectories();
    if (this.#options.syncs) this.#sync();
    this.#target.close();
    this.#notes.close();
  }
  abort(): void {
    for (const { log } of this.#larges.values()) log?.close();
    this.#target.abort();
    this.#notes.close();
  }

  #noteDirectory(): void {
    const { path, entry } = this.#in;
    const depth = path === '' ? 0 : path.split('/').length;
    this.#directories.push({ at: this.#notes.add(path, '', entry.raw()), depth });
  }
  #noteLink(): void {
    const { path, name, target } = this.#in;
    this.#links.push(this.#notes.add(path, target, Buffer.from(name, 'latin1')));
  }

  #large(): Large {
    const { number, path } = this.#in;
    let large = this.#larges.get(number);
    if (large === undefined) {
      large = { path, entry: undefined, covered: 0, failed: false, isKnown: false, log: undefined };
      this.#larges.set(number, large);
    }
    return large;
  }
  #entryOfLarge(): void {
    const large = this.#large();
    if (large.failed) return;
    large.entry = Buffer.from(this.#in.entry.raw());
    this.#complete(this.#in.number, large);
  }
  #piece(): void {
    const large = this.#large();
    const { entry, flags, from, to, number, sum } = this.#in;
    if (!large.isKnown) this.#begin(number, large, entry);
    if ((flags & COPY_FLAG.failed) !== 0) this.#fail(number, large);
    large.covered += to;
    if ((flags & COPY_FLAG.written) !== 0) large.log?.add(from, to, sum);
    this.#complete(number, large);
  }
  /** The first piece of a file: it may go on with a part, and has a log from now on. */
  #begin(number: number, large: Large, entry: EntryView): void {
    large.isKnown = true;
    const part = partOf(entry);
    large.covered += part?.bytes ?? 0;
    if ((this.#in.flags & COPY_FLAG.logged) === 0) return;
    const directory = this.#target.directories.open(large.path);
    if (directory < 0) return;
    const from = part !== undefined && isTemporaryName(part.place) ? part.place : undefined;
    const place = temporaryName(this.#options.token, number);
    large.log = new PartLog(this.#files, directory, place, entry, from);
  }
  /** Nothing of it is kept but that it failed: on a full disk that are many. */
  #fail(number: number, large: Large): void {
    large.failed = true;
    large.entry = undefined;
    if (large.log === undefined) return;
    const directory = this.#target.directories.open(large.path);
    if (directory >= 0) this.#endLog(directory, temporaryName(this.#options.token, number), large);
    else large.log.close();
    large.log = undefined;
  }
  /** The log of a file that is done with, one way or the other. */
  #endLog(directory: number, place: ByteString, { log }: Large): void {
    log?.close();
    if (log !== undefined) this.#files.remove(directory, partLogName(place));
  }
  /** Gives a large file its metadata and its name, once all of it is there. */
  #complete(number: number, large: Large): void {
    if (large.entry === undefined || large.failed) return;
    const entry = this.#view.set(large.entry, 0);
    if (large.covered < entry.size) return;
    this.#larges.delete(number);
    const place = temporaryName(this.#options.token, number);
    const directory = this.#target.directories.open(large.path);
    const result = directory < 0 ? directory : this.#name(directory, place, entry);
    if (directory >= 0) this.#endLog(directory, place, large);
    if (result >= 0) {
      this.#context.progress(COPY_COUNTER.filesDone, 1);
      return;
    }
    if (directory >= 0) this.#files.remove(directory, place);
    this.#target.failed(large.path, entry.name, result, 'write');
  }
  #name(directory: number, place: ByteString, entry: EntryView): number {
    const files = this.#files;
    const fd = files.openWrite(directory, place);
    if (fd < 0) return fd;
    let result = files.statusOf(fd, this.#status);
    const { kind, nlink, size } = this.#status;
    // Whoever may write here may also have put something else at this name.
    if (result >= 0 && (kind !== KIND.file || nlink !== 1)) result = -ERRNO.EEXIST;
    if (result >= 0 && size !== entry.size) result = files.truncate(fd, entry.size);
    if (result >= 0) {
      this.#target.removeExtras(entry, files.attributesOf(fd), (name) =>
        files.removeAttributeOf(fd, name),
      );
      this.#target.metadata.apply(fd, entry);
    }
    const closed = files.close(fd);
    if (result < 0 || closed < 0) return Math.min(result, closed);
    return files.rename(directory, place, directory, entry.name);
  }
  /** Why pieces are missing was told by whoever missed them. */
  #giveUp(number: number, large: Large): void {
    const directory = this.#target.directories.open(large.path);
    if (directory < 0) return;
    const place = temporaryName(this.#options.token, number);
    this.#files.remove(directory, place);
    this.#endLog(directory, place, large);
  }

  #sync(): void {
    const synced = this.#files.syncFileSystem(this.#target.directories.open(''));
    if (synced < 0) throw ioError(synced, 'sync', this.#target.path);
  }

  #makeLinks(): void {
    if (this.#links.length === 0) return;
    const sources = this.#target.openDirectories(false);
    try {
      for (const at of this.#links) {
        this.#context.notice();
        const { path, target, body } = this.#notes.read(at);
        const name = body.toString('latin1');
        const result = this.#link(path, name, target, sources);
        const call = `link to ${toDisplay(target)} the name`;
        if (result < 0) this.#target.failed(path, name, result, call);
        else this.#context.progress(COPY_COUNTER.filesDone, 1);
      }
    } finally {
      sources.close();
    }
  }
  #link(path: ByteString, name: ByteString, to: ByteString, sources: CopyDirectories): number {
    const slash = to.lastIndexOf('/');
    const from = sources.open(slash < 0 ? '' : to.slice(0, slash));
    if (from < 0) return from;
    const directory = this.#target.directories.open(path);
    if (directory < 0) return directory;
    const files = this.#files;
    const first = to.slice(slash + 1);
    let made = files.link(from, first, directory, name);
    if (made === -ERRNO.EACCES && this.#target.directories.unlock(directory)) {
      made = files.link(from, first, directory, name);
    }
    if (made !== -ERRNO.EEXIST) return made;
    const place = temporaryName(this.#options.token, 'l');
    const linked = files.link(from, first, directory, place);
    if (linked < 0) return linked;
    const moved = files.rename(directory, place, directory, name);
    // Also when it moved: a link beside its like stays where it is.
    files.remove(directory, place);
    return moved;
  }

  #finishDirectories(): void {
    this.#directories.sort((a, b) => b.depth - a.depth || a.at - b.at);
    const files = this.#files;
    for (const { at } of this.#directories) {
      this.#context.notice();
      const { path, body } = this.#notes.read(at);
      const fd = this.#target.directories.open(path);
      if (fd < 0) {
        this.#target.failed(path, '', fd, 'open');
        continue;
      }
      const entry = this.#view.set(body, 0);
      this.#target.removeExtras(entry, files.attributesOf(fd), (name) =>
        files.removeAttributeOf(fd, name),
      );
      this.#target.metadata.apply(fd, entry);
    }
  }
}

const FLUSH_BYTES = 64 * 1024;

/** Notes in a file: u32 bytes of the path, of a second path, of the body; then these. */
class Notes {
  readonly #file: number = openNamelessFile();
  readonly #files = openFiles();
  #memory: Buffer = Buffer.alloc(FLUSH_BYTES);
  #length = 0;
  #flushed = 0;

  close(): void {
    closeFile(this.#file);
  }

  add(path: ByteString, target: ByteString, body: Buffer): number {
    const total = 12 + path.length + target.length + body.length;
    if (this.#length + total > this.#memory.length) this.#flush();
    if (total > this.#memory.length) this.#memory = Buffer.alloc(total);
    const at = this.#length;
    const memory = this.#memory;
    memory.writeUInt32LE(path.length, at);
    memory.writeUInt32LE(target.length, at + 4);
    memory.writeUInt32LE(body.length, at + 8);
    memory.write(path, at + 12, 'latin1');
    memory.write(target, at + 12 + path.length, 'latin1');
    body.copy(memory, at + 12 + path.length + target.length);
    this.#length += total;
    return this.#flushed + at;
  }
  read(at: number): { path: ByteString; target: ByteString; body: Buffer } {
    this.#flush();
    const head = Buffer.alloc(12);
    this.#read(head, at);
    const [path, target] = [head.readUInt32LE(0), head.readUInt32LE(4)];
    const rest = Buffer.alloc(path + target + head.readUInt32LE(8));
    this.#read(rest, at + 12);
    return {
      path: rest.toString('latin1', 0, path),
      target: rest.toString('latin1', path, path + target),
      body: rest.subarray(path + target),
    };
  }
  #read(into: Buffer, at: number): void {
    const got = this.#files.read(this.#file, into, 0, into.length, at);
    if (got < into.length) throw ioError(Math.min(got, 0), 'read', 'the notes of the copy');
  }
  #flush(): void {
    if (this.#length === 0) return;
    const { length } = this.#memory.subarray(0, this.#length);
    const written = this.#files.write(this.#file, this.#memory, 0, length, this.#flushed);
    if (written < 0) throw ioError(written, 'write', 'the notes of the copy');
    this.#flushed += length;
    this.#length = 0;
  }
}
