/**
 * Stage `read` of a copy: reads what the plan names, and packs it with its entries into buffers.
 *
 * Small files travel whole. Of large ones each instance reads the regions that it is given, passing over
 * holes. Status and attributes are those of the moment of reading; a file that changes meanwhile is read
 * once more, and told when that does not help.
 */
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError, toErrorRecord } from '../base/errors.ts';
import {
  type EntryFields,
  type EntryView,
  EntryWriter,
  EXTRA,
  renamedEntry,
} from '../format/entry.ts';
import { type Attribute, FileStatus, ioError, KIND, openFiles } from '../host/files-only.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { CopyDirectories } from './copy-directories.ts';
import { partOf } from './copy-parts.ts';
import { type CopyRoot, openCopyRoot, rootPath } from './copy-root.ts';
import {
  COPY,
  COPY_COUNTER,
  COPY_FLAG,
  COPY_PIECE_BYTES,
  CopyReader,
  CopyWriter,
} from './copy-stream.ts';
import { DataRanges } from './data-ranges.ts';
import { isCopied, writeAttributes } from './source-attributes.ts';
import { postFailure, postProblem } from './source-problems.ts';
import { childPath } from './source-tree.ts';
import { StatusEntry } from './status-entry.ts';

export interface CopyReadOptions {
  readonly root: CopyRoot;
  /** Whether owners are told by name; else their numbers count. */
  readonly namesOwners: boolean;
  /** One item is copied, under this name. */
  readonly rename: ByteString | undefined;
}

const ATTEMPTS = 2;

export default function read(options: CopyReadOptions): PipeModule {
  let reading: Reading | undefined;
  return {
    open: (context) => {
      reading = new Reading(options, context);
    },
    process: (buffer) => must(reading, 'reading was opened').process(buffer),
    close: () => must(reading, 'reading was opened').close(),
    abort: () => reading?.abort(),
  };
}

class Reading {
  readonly #options: CopyReadOptions;
  readonly #context: ModuleContext;
  readonly #files = openFiles();
  readonly #ranges = new DataRanges(this.#files);
  readonly #directories: CopyDirectories;
  readonly #path: ByteString;
  readonly #plan = new CopyReader();
  readonly #out: CopyWriter;
  readonly #status = new FileStatus();
  readonly #entry: StatusEntry;
  readonly #entries = new EntryWriter();
  /** The last large file that was found to change, which was told. */
  #changed = 0;

  constructor(options: CopyReadOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    this.#files.openFilesLimit();
    this.#path = rootPath(options.root);
    const root = openCopyRoot(this.#files, options.root, false);
    if (root < 0) throw ioError(root, 'open', this.#path);
    this.#directories = new CopyDirectories(this.#files, root, false);
    this.#entry = new StatusEntry(this.#files, 0);
    this.#out = new CopyWriter(context, options.namesOwners ? this.#files : undefined);
  }

  process(buffer: PipeBuffer): null {
    const plan = this.#plan;
    plan.open(buffer);
    while (plan.next()) {
      this.#out.path = plan.path;
      if (plan.kind === COPY.directory) this.#directory();
      else if (plan.kind === COPY.remove) this.#out.record(COPY.remove, plan.name);
      else if (plan.kind === COPY.link) this.#link();
      else if (plan.kind !== COPY.path) this.#item();
    }
    this.#context.freeBuf(buffer);
    return null;
  }
  close(): void {
    this.#out.flush();
    this.abort();
  }
  abort(): void {
    this.#directories.close();
  }

  /** Of an item of the directory, or of this itself. */
  #absolute(name: ByteString | undefined): ByteString {
    const { path } = this.#plan;
    const directory = path === '' ? this.#path : childPath(this.#path, path);
    return name === undefined ? directory : childPath(directory, name);
  }

  #directory(): void {
    const { path } = this.#plan;
    const absolute = this.#absolute(undefined);
    const fd = this.#directories.open(path);
    if (fd < 0) return postFailure(this.#context, absolute, fd, 'open');
    const looked = this.#files.statusOf(fd, this.#status);
    if (looked < 0) return postFailure(this.#context, absolute, looked, 'look at');
    const attributes = this.#files.attributesOf(fd);
    const name = path.slice(path.lastIndexOf('/') + 1) || 'root';
    if (!this.#begin(name, undefined, attributes)) return;
    this.#out.record(COPY.directory, this.#end());
  }

  #link(): void {
    const { name, dataAt, dataBytes, flags, memory: plan } = this.#plan;
    const { memory, at } = this.#out.begin(COPY.link, Buffer.from(name, 'latin1'), dataBytes);
    plan.copy(memory, at, dataAt, dataAt + dataBytes);
    this.#out.end(dataBytes, { flags });
  }

  #item(): void {
    const plan = this.#plan;
    const isRegion = plan.kind === COPY.region;
    const name = isRegion ? plan.entry.name : plan.name;
    const directory = this.#directories.open(plan.path);
    if (directory < 0) return this.#lost(name, directory, 'open the directory of');
    if (plan.kind === COPY.special || plan.kind === COPY.metadata) {
      return this.#special(directory, name);
    }
    const fd = this.#files.openRead(directory, name);
    if (fd < 0) return this.#lost(name, fd, 'open');
    try {
      if (isRegion) this.#region(fd, name, plan.entry);
      else this.#file(fd, name);
    } finally {
      this.#files.close(fd);
    }
  }
  /** Tells of an item that the system does not give; what waits for its pieces learns it too. */
  #lost(name: ByteString, result: number, call: string): void {
    postFailure(this.#context, this.#absolute(name), result, call);
    this.#failed();
  }
  #failed(): void {
    if (this.#plan.kind !== COPY.region) return;
    const { number } = this.#plan;
    const body = this.#pieceBody(this.#plan.entry);
    this.#out.record(COPY.piece, body, { number, flags: COPY_FLAG.failed });
  }
  #tell(name: ByteString, what: string, omitted: boolean): void {
    const path = this.#absolute(name);
    const message = `${what}: ${toDisplay(path)}`;
    const error = new PenstockError('SOURCE_CHANGED', message, { subject: path });
    postProblem(this.#context, path, toErrorRecord(error), omitted);
  }
  /** The name that an item gets. */
  #given(name: ByteString): ByteString {
    return this.#options.rename ?? name;
  }

  /** Begins the entry of the status that was taken; false when its attributes cannot be read. */
  #begin(
    name: ByteString,
    original: ByteString | undefined,
    attributes: readonly Attribute[] | number,
    extra = 0,
    value?: Buffer,
    planned?: EntryFields,
  ): boolean {
    if (typeof attributes === 'number') {
      postFailure(this.#context, this.#absolute(original), attributes, 'read attributes of');
      return false;
    }
    if (planned === undefined) this.#entry.take(this.#status, 0);
    this.#entries.reset();
    this.#entries.begin(planned ?? this.#entry.fields, name);
    if (value !== undefined) this.#entries.extra(extra, value);
    if (attributes.length > 0) this.#attributes(attributes, this.#absolute(original));
    return true;
  }
  #attributes(attributes: readonly Attribute[], path: ByteString): void {
    const copied = attributes.filter((attribute) => isCopied(attribute.name));
    const wrong = writeAttributes(this.#entries, copied, path);
    if (wrong !== undefined) postProblem(this.#context, path, toErrorRecord(wrong), false);
  }
  #end(): Buffer {
    this.#entries.end();
    return this.#entries.bytes.subarray(0, this.#entries.length);
  }

  /** A link or node, or anything but a directory of which only metadata is wanted. */
  #special(directory: number, name: ByteString): void {
    const files = this.#files;
    const { kind, flags } = this.#plan;
    const looked = files.status(directory, name, this.#status);
    if (looked < 0) return this.#lost(name, looked, 'look at');
    const status = this.#status;
    if (status.kind === KIND.directory || (status.kind === KIND.file && kind === COPY.special)) {
      return this.#tell(name, 'became another kind of entry', true);
    }
    let extra = 0;
    let value: Buffer | undefined;
    if (status.kind === KIND.symlink) {
      const target = files.readLink(directory, name);
      if (typeof target === 'number') return this.#lost(name, target, 'read the link');
      extra = EXTRA.linkTarget;
      value = Buffer.from(target, 'latin1');
    } else if (status.kind === KIND.characterDevice || status.kind === KIND.blockDevice) {
      extra = EXTRA.node;
      value = Buffer.alloc(8);
      value.writeUInt32LE(status.rdevMajor, 0);
      value.writeUInt32LE(status.rdevMinor, 4);
    }
    const attributes = files.attributes(directory, name);
    if (!this.#begin(this.#given(name), name, attributes, extra, value)) return;
    this.#out.record(kind, this.#end(), { flags });
  }

  #file(fd: number, name: ByteString): void {
    const files = this.#files;
    for (let attempt = 1; ; attempt++) {
      const looked = files.statusOf(fd, this.#status);
      if (looked < 0) return this.#lost(name, looked, 'look at');
      const { kind, size } = this.#status;
      if (kind !== KIND.file) return this.#tell(name, 'became another kind of entry', true);
      if (size > COPY_PIECE_BYTES) return this.#tell(name, 'grew before it was read', true);
      const attributes = files.attributesOf(fd);
      if (!this.#begin(this.#given(name), name, attributes)) return;
      const { fields } = this.#entry;
      const body = this.#end();
      const { memory, at } = this.#out.begin(COPY.file, body, size);
      const got = size === 0 ? 0 : files.read(fd, memory, at, size, 0);
      if (got < 0) return this.#lost(name, got, 'read');
      const again = files.statusOf(fd, this.#status);
      if (again < 0) return this.#lost(name, again, 'look at');
      const stable = got === size && agrees(this.#status, fields);
      if (!stable && attempt < ATTEMPTS) continue;
      if (!stable) this.#tell(name, 'changed while it was read', false);
      this.#out.end(got, { flags: this.#plan.flags });
      this.#context.progress(COPY_COUNTER.filesDone, 1);
      this.#context.progress(COPY_COUNTER.bytesDone, got);
      return;
    }
  }

  #region(fd: number, name: ByteString, entry: EntryView): void {
    const { from, to, number } = this.#plan;
    const looked = this.#files.statusOf(fd, this.#status);
    if (looked < 0) return this.#lost(name, looked, 'look at');
    if (this.#status.kind !== KIND.file) {
      this.#tell(name, 'became another kind of entry', true);
      return this.#failed();
    }
    const body = this.#pieceBody(entry);
    const flags = this.#plan.flags & COPY_FLAG.logged;
    if ((this.#plan.flags & COPY_FLAG.first) !== 0) {
      const attributes = this.#files.attributesOf(fd);
      // As it was planned: if it changed since, its time will tell the next copy.
      const planned = fieldsOf(entry);
      if (!this.#begin(this.#given(name), name, attributes, 0, undefined, planned)) {
        return this.#failed();
      }
      this.#out.record(COPY.large, this.#end(), { number });
      // Whoever goes on with a part takes it over, also where nothing is missing.
      if (partOf(entry) !== undefined) this.#out.record(COPY.piece, body, { number, flags });
      this.#context.progress(COPY_COUNTER.filesDone, 1);
    }
    this.#ranges.begin(entry);
    for (let position = from; position < to; ) {
      const data = flags === 0 ? this.#ranges.dataFrom(fd, position, to) : position;
      const hole = flags === 0 && data < to ? this.#ranges.holeFrom(fd, data, to) : to;
      const end = Math.min(data + COPY_PIECE_BYTES, hole);
      if (!this.#piece(fd, body, position, data, end)) return;
      position = end;
    }
    const again = this.#files.statusOf(fd, this.#status);
    if (again < 0) return this.#lost(name, again, 'look at');
    if (agrees(this.#status, entry) || this.#changed === number) return;
    this.#changed = number;
    this.#tell(name, 'changed while it was read', false);
  }
  /** What a large file's pieces say of it. */
  #pieceBody(entry: EntryView): Buffer {
    const { name } = entry;
    const given = this.#given(name);
    return Buffer.from(given === name ? entry.raw() : renamedEntry(entry, given).raw());
  }
  #piece(fd: number, body: Buffer, start: number, data: number, end: number): boolean {
    const { number } = this.#plan;
    const length = end - data;
    const flags = this.#plan.flags & COPY_FLAG.logged;
    const { memory, at } = this.#out.begin(COPY.piece, body, length);
    const got = length === 0 ? 0 : this.#files.read(fd, memory, at, length, data);
    if (got < 0) {
      this.#lost(this.#plan.entry.name, got, 'read');
      return false;
    }
    // What a file that became shorter lacks counts as a hole.
    this.#out.end(got, { number, from: data, to: end - start, flags });
    this.#context.progress(COPY_COUNTER.bytesDone, got);
    return true;
  }
}

interface Stable {
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanos: number;
}

function fieldsOf(entry: EntryView): EntryFields {
  const { kind, flags, mode, depth, uid, gid, links, inode, size } = entry;
  const { mtimeSeconds, mtimeNanos, ctimeSeconds, ctimeNanos, deviceMajor, deviceMinor } = entry;
  const times = { mtimeSeconds, mtimeNanos, ctimeSeconds, ctimeNanos };
  const numbers = { links, inode, size, deviceMajor, deviceMinor };
  return { kind, flags, mode, depth, uid, gid, ...times, ...numbers };
}

function agrees(status: FileStatus, before: Stable): boolean {
  return (
    status.size === before.size &&
    status.mtimeSeconds === before.mtimeSeconds &&
    status.mtimeNanos === before.mtimeNanos &&
    status.ctimeSeconds === before.ctimeSeconds &&
    status.ctimeNanos === before.ctimeNanos
  );
}
