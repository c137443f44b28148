/**
 * Stage `write` of a copy: writes what arrives: small files, links and nodes at once, pieces
 * of large files under a temporary name. The rest goes on to `finish`, in the same buffer.
 *
 * Contract: directories are opened by handle below the root, without following links. Where something
 * stood there already, the new item is made under a temporary name, and takes its place when it is whole.
 */
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { ENTRY, type EntryView, EXTRA } from '../format/entry.ts';
import { crc32cOf, ERRNO, errnoName, ioError, openFiles } from '../host/files-only.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { partOf } from './copy-parts.ts';
import {
  COPY,
  COPY_COUNTER,
  COPY_FLAG,
  CopyReader,
  isTemporaryName,
  temporaryName,
} from './copy-stream.ts';
import { CopyTarget, type CopyTargetOptions } from './copy-target.ts';
import { CreatedFiles } from './created-files.ts';

export default function write(options: CopyTargetOptions): PipeModule {
  let writing: Writing | undefined;
  return {
    open: (context) => {
      writing = new Writing(options, context);
    },
    process: (buffer) => must(writing, 'writing was opened').process(buffer),
    close: () => must(writing, 'writing was opened').close(),
    abort: () => writing?.abort(),
  };
}

const NODE_MODES: Readonly<Record<number, number>> = {
  [ENTRY.fifo]: 0o010000,
  [ENTRY.socket]: 0o140000,
  [ENTRY.characterDevice]: 0o020000,
  [ENTRY.blockDevice]: 0o060000,
};
const PRIVATE_MODE = 0o600;
const DEFAULT_ACL = 'system.posix_acl_default';
const ACL = 'system.posix_acl_access';

class Writing {
  readonly #options: CopyTargetOptions;
  readonly #context: ModuleContext;
  readonly #files = openFiles();
  readonly #target: CopyTarget;
  readonly #created: CreatedFiles;
  readonly #in = new CopyReader();
  #temporaries = 0;
  /** The directory that was looked at last, and whether new files inherit an access control list. */
  #directory: ByteString | undefined;
  #inherits = false;
  /** The large file that is open. */
  #number = 0;
  #file = -1;
  #filePath: ByteString = '';

  constructor(options: CopyTargetOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    this.#target = new CopyTarget(options, this.#files, context);
    this.#created = new CreatedFiles(this.#files, this.#target.metadata);
  }

  process(buffer: PipeBuffer): undefined {
    const record = this.#in;
    record.open(buffer);
    while (record.next()) {
      if (this.#target.takesOwner(record)) record.keep();
      else this.#record();
    }
    record.closeKept();
  }
  close(): void {
    this.#target.close();
    this.#closeFile();
  }
  abort(): void {
    this.#target.abort();
    if (this.#file >= 0) this.#files.close(this.#file);
    this.#file = -1;
  }

  #record(): void {
    const record = this.#in;
    switch (record.kind) {
      case COPY.path:
      case COPY.large:
        return record.keep();
      case COPY.directory:
        return this.#makeDirectory();
      case COPY.file:
        return this.#small();
      case COPY.piece:
        return this.#piece();
      case COPY.special:
        return this.#special();
      case COPY.metadata:
        return this.#metadata();
      case COPY.link:
        return record.keep(record.flags, true);
      case COPY.remove:
        return this.#remove();
      default:
    }
  }

  #makeDirectory(): void {
    const { path } = this.#in;
    const fd = this.#target.directories.open(path);
    if (fd < 0) return this.#failed('', fd, 'make the directory');
    this.#in.keep();
  }

  /** The directory of the record; undefined when it cannot be, which is told. */
  #open(name: ByteString): number | undefined {
    const { path } = this.#in;
    const fd = this.#target.directories.open(path);
    if (fd < 0) {
      this.#failed(name, fd, 'open the directory of');
      return undefined;
    }
    if (path === this.#directory) return fd;
    this.#created.forget();
    this.#directory = path;
    const attributes = this.#files.attributesOf(fd);
    this.#inherits =
      typeof attributes !== 'number' &&
      attributes.some((attribute) => attribute.name === DEFAULT_ACL);
    return fd;
  }
  #failed(name: ByteString, result: number, call: string): void {
    this.#target.failed(this.#in.path, name, result, call);
  }

  #small(): void {
    const { entry, memory, dataAt, dataBytes, flags } = this.#in;
    const { name } = entry;
    const directory = this.#open(name);
    if (directory === undefined) return;
    const files = this.#files;
    let place = (flags & COPY_FLAG.replaces) === 0 ? name : this.#temporary();
    let fd = this.#create(directory, place, entry);
    if (fd === -ERRNO.EEXIST && place === name) {
      place = this.#temporary();
      fd = this.#create(directory, place, entry);
    }
    if (fd < 0) return this.#failed(name, fd, 'create');
    let result = dataBytes === 0 ? 0 : files.write(fd, memory, dataAt, dataBytes, 0);
    if (result >= 0) {
      if (this.#inherits) files.removeAttributeOf(fd, ACL);
      const given = this.#inherits ? undefined : this.#created.given;
      this.#target.metadata.apply(fd, entry, given);
    }
    // Over networks, that data was lost may be told last.
    const closed = files.close(fd);
    result = result < 0 ? result : closed;
    if (result >= 0 && place !== name) result = this.#takePlace(directory, place, name);
    if (result >= 0) {
      this.#context.progress(COPY_COUNTER.filesDone, 1);
      this.#context.progress(COPY_COUNTER.bytesDone, dataBytes);
      return;
    }
    files.remove(directory, place);
    this.#refused(name, result, 'write');
  }
  #create(directory: number, place: ByteString, entry: EntryView): number {
    const fd = this.#created.create(directory, place, entry);
    if (fd !== -ERRNO.EACCES || !this.#target.directories.unlock(directory)) return fd;
    return this.#created.create(directory, place, entry);
  }
  #temporary(): ByteString {
    return temporaryName(
      this.#options.token,
      `w${this.#context.instance}.${(this.#temporaries++).toString(36)}`,
    );
  }
  #takePlace(directory: number, place: ByteString, name: ByteString): number {
    return this.#files.rename(directory, place, directory, name);
  }
  #refused(name: ByteString, result: number, call: string): void {
    if (result !== -ERRNO.EISDIR) return this.#failed(name, result, call);
    const absolute = this.#target.absolute(this.#in.path, name);
    const message = `cannot replace ${toDisplay(absolute)}: a directory stands there`;
    this.#target.tell(absolute, 'TARGET_EXISTS', message);
  }

  #piece(): void {
    const record = this.#in;
    const { entry, number, flags } = record;
    if ((flags & COPY_FLAG.failed) !== 0) return record.keep();
    const fd = this.#openLarge(entry, number);
    if (fd === undefined) return record.keep(COPY_FLAG.failed);
    const { memory, dataAt, dataBytes, from, to } = record;
    const written = dataBytes === 0 ? 0 : this.#files.write(fd, memory, dataAt, dataBytes, from);
    if (written < 0) {
      this.#failed(entry.name, written, 'write');
      return record.keep(COPY_FLAG.failed);
    }
    this.#context.progress(COPY_COUNTER.bytesDone, dataBytes);
    const isLogged = (flags & COPY_FLAG.logged) !== 0 && dataBytes > 0 && dataBytes === to;
    if (!isLogged) return record.keep();
    const sum = crc32cOf(memory.subarray(dataAt, dataAt + dataBytes), 0);
    record.keep(flags | COPY_FLAG.written, false, sum);
  }
  /** The temporary file of a large one, which whoever comes first makes. */
  #openLarge(entry: EntryView, number: number): number | undefined {
    if (number === this.#number && this.#file >= 0) return this.#file;
    this.#closeFile();
    const { name } = entry;
    const directory = this.#open(name);
    if (directory === undefined) return undefined;
    const files = this.#files;
    const place = temporaryName(this.#options.token, number);
    let fd = files.openWrite(directory, place);
    const part = fd === -ERRNO.ENOENT ? partOf(entry) : undefined;
    if (part !== undefined) {
      // Of several instances one is the first; for the others it has its new name already.
      if (isTemporaryName(part.place)) files.rename(directory, part.place, directory, place);
      fd = files.openWrite(directory, place);
    } else if (fd === -ERRNO.ENOENT) fd = files.createExclusive(directory, place, PRIVATE_MODE);
    if (fd === -ERRNO.EACCES && this.#target.directories.unlock(directory)) {
      fd = files.createExclusive(directory, place, PRIVATE_MODE);
    }
    if (fd === -ERRNO.EEXIST) fd = files.openWrite(directory, place);
    if (fd < 0) {
      this.#failed(name, fd, 'create');
      return undefined;
    }
    this.#number = number;
    this.#file = fd;
    this.#filePath = this.#target.absolute(this.#in.path, name);
    return fd;
  }
  /** Over networks, that data was lost may be told last; the pieces have gone on by then. */
  #closeFile(): void {
    const closed = this.#file < 0 ? 0 : this.#files.close(this.#file);
    this.#file = -1;
    if (closed < 0) throw ioError(closed, 'write', this.#filePath);
  }

  #special(): void {
    const { entry, flags } = this.#in;
    const { name } = entry;
    const directory = this.#open(name);
    if (directory === undefined) return;
    let place = (flags & COPY_FLAG.replaces) === 0 ? name : this.#temporary();
    let result = this.#make(directory, place, entry);
    if (result === -ERRNO.EACCES && this.#target.directories.unlock(directory)) {
      result = this.#make(directory, place, entry);
    }
    if (result === -ERRNO.EEXIST && place === name) {
      place = this.#temporary();
      result = this.#make(directory, place, entry);
    }
    if (result >= 0 && place !== name) {
      result = this.#takePlace(directory, place, name);
      if (result < 0) this.#files.remove(directory, place);
    }
    if (result >= 0) return this.#target.metadata.applyAt(directory, entry);
    const isDevice = entry.kind === ENTRY.characterDevice || entry.kind === ENTRY.blockDevice;
    if (isDevice && errnoName(-result) === 'EPERM') {
      this.#target.metadata.refused('device', result, name);
    } else this.#refused(name, result, 'make');
  }
  #make(directory: number, place: ByteString, entry: EntryView): number {
    if (entry.kind === ENTRY.symlink) {
      const target = entry.extra(EXTRA.linkTarget)?.toString('latin1') ?? '';
      return this.#files.symlink(target, directory, place);
    }
    const node = entry.extra(EXTRA.node);
    return this.#files.makeNode(
      directory,
      place,
      (NODE_MODES[entry.kind] ?? 0o010000) | PRIVATE_MODE,
      node?.readUInt32LE(0) ?? 0,
      node?.readUInt32LE(4) ?? 0,
    );
  }

  /** Other metadata for what has the same content. */
  #metadata(): void {
    const { entry } = this.#in;
    const { name } = entry;
    const directory = this.#open(name);
    if (directory === undefined) return;
    const files = this.#files;
    this.#target.removeExtras(entry, files.attributes(directory, name), (attribute) =>
      files.removeAttribute(directory, name, attribute),
    );
    this.#target.metadata.applyAt(directory, entry);
  }

  /** What an interrupted copy left over; nothing else is ever removed. */
  #remove(): void {
    const { name } = this.#in;
    const isOurs = isTemporaryName(name) && !name.includes(this.#options.token);
    const directory = isOurs ? this.#open(name) : undefined;
    if (directory !== undefined) this.#files.remove(directory, name);
  }
}
