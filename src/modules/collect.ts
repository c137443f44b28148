/**
 * Stage `collect` (M1): reads what the plans of the walk name, cuts large files by content, names and
 * looks up every blob, packs new ones into blocks for the next module, and tells the walk each
 * batch's result.
 *
 * A file is opened only after the walk has seen that it is a regular file, without following links
 * and without blocking, and is looked at again after the reading: a file that changed meanwhile is
 * read once more, and reported when it still does. Holes are not read.
 */

import { toDisplay } from '../base/bytes.ts';
import { PenstockError, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { BLOB, STORED_RECORD_BYTES } from '../format/block.ts';
import { CONTENT_RECORD_BYTES, writeBlobRecord, writeHoleRecord } from '../format/content.ts';
import { DECISION, ENTRY_FLAG, EntryWriter, REASON, readI64, writeI64 } from '../format/entry.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';
import {
  errnoName,
  FileStatus,
  type Files,
  ioError,
  KIND,
  openCodec,
  openFiles,
} from '../host/mod.ts';
import { BlobIndex, type IndexShare } from '../index/blob-index.ts';
import { SessionTable, type SessionTableShare } from '../index/session-table.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { BUFFER_KIND, COUNTER } from './backup-buffers.ts';
import { BlockPacker } from './block-packer.ts';
import { type Classified, classify } from './content-class.ts';
import { Cutter, GEAR_BYTES } from './cutter.ts';
import { DataRanges } from './data-ranges.ts';
import { openResultSender, type ResultSender } from './result-link.ts';
import { writeAttributes } from './source-attributes.ts';
import { FILE_UNIT_BYTES_MAX, PlanReader, UNIT, type UnitProblem } from './unit.ts';
import { COLLECT_WINDOW_BYTES } from './window-bytes.ts';

export interface CollectOptions {
  readonly nameKey: Uint8Array;
  readonly cutKey: Uint8Array;
  readonly indexKey: Uint8Array;
  readonly index: IndexShare;
  readonly session: SessionTableShare;
}

/** In the instance's private memory, behind the gear table. */
const WINDOW_AT = 4096;

/** Why a unit gave no entry, or an incomplete one. */
class UnitFailure {
  readonly error: PenstockError;
  readonly omitted: boolean;
  constructor(error: PenstockError, omitted: boolean) {
    this.error = error;
    this.omitted = omitted;
  }
}

export default function collect(options: CollectOptions): PipeModule {
  let collector: Collector;
  return {
    open: (context) => {
      collector = new Collector(options, context);
    },
    process: (buffer) => collector.process(buffer),
    control: (message) => collector.control(message),
    close: () => collector.close(),
    abort: () => undefined,
  };
}

class Collector {
  readonly #context: ModuleContext;
  readonly #files: Files = openFiles();
  readonly #ranges = new DataRanges(this.#files);
  readonly #packer: BlockPacker;
  readonly #cutter: Cutter;
  readonly #results: ResultSender;
  readonly #plan = new PlanReader();
  readonly #entries = new EntryWriter();
  readonly #status = new FileStatus();
  readonly #classified: Classified = { contentClass: 0, reason: 0 };
  readonly #memory: Buffer;
  readonly #windowAt: number;
  readonly #windowBytes: number;
  readonly #blobBytesMax: number;
  #problems: UnitProblem[] = [];
  #lengths: number[] = [];
  #classes = 0;
  #reason = 0;

  constructor(options: CollectOptions, context: ModuleContext) {
    this.#context = context;
    const codec = openCodec(options.nameKey);
    const index = new BlobIndex(options.index, this.#files, openCodec(options.indexKey).hash);
    this.#packer = new BlockPacker(context, codec.hash, index, new SessionTable(options.session));
    this.#memory = Buffer.from(context.segment.memory.buffer);
    const gearAt = context.window.byteOffset;
    this.#blobBytesMax = Math.min(
      LIMITS.cutBytesMax,
      context.segment.config.payloadBytes - STORED_RECORD_BYTES,
    );
    this.#cutter = new Cutter(context.segment.memory, gearAt, options.cutKey, this.#blobBytesMax);
    this.#windowAt = gearAt + WINDOW_AT;
    this.#windowBytes = COLLECT_WINDOW_BYTES - WINDOW_AT;
    if (GEAR_BYTES > WINDOW_AT)
      throw new PenstockError('INTERNAL', 'the gear table leaves its place');
    this.#results = openResultSender(context);
  }

  process(buffer: PipeBuffer): PipeBuffer | null {
    // A block of the manifest, packed by the walk: it only passes by.
    if (buffer.kind === BUFFER_KIND.block) return buffer;
    this.#plan.open(buffer.memory, buffer.payloadOffset);
    this.#entries.reset();
    this.#problems = [];
    this.#lengths = [];
    this.#classes = 0;
    this.#reason = REASON.none;
    for (let unit = 0; this.#plan.next(); unit++) {
      const start = this.#entries.length;
      try {
        if (this.#plan.kind === UNIT.region) this.#region();
        else this.#file();
      } catch (thrown) {
        if (!(thrown instanceof UnitFailure)) throw thrown;
        if (thrown.omitted) this.#entries.length = start;
        this.#problems.push({ unit, omitted: thrown.omitted, error: toErrorRecord(thrown.error) });
      }
      this.#lengths.push(this.#entries.length - start);
    }
    const batch = this.#plan.batch;
    this.#context.freeBuf(buffer);
    const bytes = new Uint8Array(this.#entries.bytes.subarray(0, this.#entries.length)).buffer;
    this.#results.send({
      batch,
      bytes,
      lengths: this.#lengths,
      problems: this.#problems,
      classes: this.#classes,
      reason: this.#reason,
    });
    return null;
  }

  control(message: unknown): unknown {
    if (message === 'flush') this.#packer.flush();
    return undefined;
  }
  close(): void {
    this.#packer.flush();
  }

  /** A whole file: one blob, or cut by content where it is large. */
  #file(): void {
    const plan = this.#plan;
    const entry = plan.entry;
    const name = entry.name;
    const fd = this.#open(plan.directory, name);
    try {
      this.#entries.beginFrom(entry);
      const start = this.#entries.length;
      this.#content(fd, entry.size, name);
      let stable = this.#isUnchanged(fd, name);
      if (!stable) {
        // Once more from the start, with what the file is now.
        this.#entries.length = start;
        this.#entries.bytes.writeUInt32LE(0, this.#entries.end() + 76);
        // More than a unit would be more blobs than an entry holds: then its beginning must do.
        const size = Math.min(this.#status.size, FILE_UNIT_BYTES_MAX);
        this.#refresh(size);
        this.#content(fd, size, name);
        stable = this.#agrees(fd, name, this.#entries.end());
      }
      const attributes = this.#attributes(fd, name);
      this.#entries.end();
      this.#context.progress(COUNTER.filesRead, 1);
      if (!stable) {
        this.#entries.setFlags(ENTRY_FLAG.incomplete | ENTRY_FLAG.recent);
        throw new UnitFailure(
          new PenstockError('SOURCE_CHANGED', `changed while it was read: ${toDisplay(name)}`, {
            subject: name,
          }),
          false,
        );
      }
      if (attributes !== undefined) throw new UnitFailure(attributes, false);
    } finally {
      this.#files.close(fd);
    }
  }

  #open(directory: number, name: string): number {
    const fd = this.#files.openRead(directory, name);
    if (fd >= 0) return fd;
    const vanished = errnoName(-fd) === 'ENOENT' || errnoName(-fd) === 'ELOOP';
    const error = vanished
      ? new PenstockError('SOURCE_CHANGED', `vanished before it was read: ${toDisplay(name)}`, {
          subject: name,
        })
      : unreadable(fd, 'open', name);
    throw new UnitFailure(error, true);
  }

  /** Whether the file is still as the walk saw it; leaves the status as it is now. */
  #isUnchanged(fd: number, name: string): boolean {
    this.#stat(fd, name);
    const entry = this.#plan.entry;
    const status = this.#status;
    return (
      status.mtimeNanos === entry.mtimeNanos &&
      status.ctimeNanos === entry.ctimeNanos &&
      status.size === entry.size &&
      status.mtimeSeconds === entry.mtimeSeconds &&
      status.ctimeSeconds === entry.ctimeSeconds
    );
  }
  #stat(fd: number, name: string): void {
    const result = this.#files.statusOf(fd, this.#status);
    if (result < 0) throw new UnitFailure(unreadable(result, 'look at', name), true);
    if (this.#status.kind !== KIND.file) {
      const message = `is no regular file any more: ${toDisplay(name)}`;
      throw new UnitFailure(new PenstockError('SOURCE_CHANGED', message, { subject: name }), true);
    }
  }
  /** What was replaced by a FIFO or directory meanwhile has changed rather than failed. */
  #readFailure(fd: number, result: number, name: string): UnitFailure {
    this.#stat(fd, name);
    return new UnitFailure(unreadable(result, 'read', name), true);
  }
  /** Takes what the file is now into the entry that is being written. */
  #refresh(size: number): void {
    const at = this.#entries.end();
    const bytes = this.#entries.bytes;
    const status = this.#status;
    bytes.writeUInt16LE(status.mode, at + 6);
    bytes.writeUInt32LE(status.uid, at + 12);
    bytes.writeUInt32LE(status.gid, at + 16);
    bytes.writeUInt32LE(status.mtimeNanos, at + 20);
    writeI64(bytes, at + 24, status.mtimeSeconds);
    writeI64(bytes, at + 32, status.ctimeSeconds);
    bytes.writeUInt32LE(status.ctimeNanos, at + 40);
    this.#entries.setSize(size);
    // It was changed after the walk had judged its age.
    this.#entries.setFlags(ENTRY_FLAG.recent);
  }
  #agrees(fd: number, name: string, at: number): boolean {
    this.#stat(fd, name);
    const bytes = this.#entries.bytes;
    return (
      this.#status.ctimeNanos === bytes.readUInt32LE(at + 40) &&
      this.#status.mtimeNanos === bytes.readUInt32LE(at + 20) &&
      this.#status.mtimeSeconds === readI64(bytes, at + 24) &&
      this.#status.ctimeSeconds === readI64(bytes, at + 32) &&
      this.#status.size ===
        bytes.readUInt32LE(at + 56) + bytes.readUInt32LE(at + 60) * 0x1_0000_0000
    );
  }

  /** Returns why the attributes had to be left out. */
  #attributes(fd: number, name: string): PenstockError | undefined {
    const attributes = this.#files.attributesOf(fd);
    if (typeof attributes === 'number') {
      throw new UnitFailure(unreadable(attributes, 'read attributes of', name), true);
    }
    return writeAttributes(this.#entries, attributes, name);
  }

  /** Content of a file that the walk did not split into regions. */
  #content(fd: number, size: number, name: string): void {
    if (size === 0) {
      this.#entries.setAnalysis(DECISION.none, REASON.empty);
      return;
    }
    if (size > LIMITS.wholeFileBytesMax) {
      this.#classes = 0;
      this.#reason = REASON.none;
      const got = this.#cutRange(fd, 0, size, name);
      if (got !== size) this.#entries.setSize(got);
      const mixed = (this.#classes & (this.#classes - 1)) !== 0;
      this.#entries.setAnalysis(
        mixed ? DECISION.split : DECISION.cut,
        mixed ? REASON.mixed : this.#reason === REASON.none ? REASON.large : this.#reason,
      );
      return;
    }
    const roomClass = CONTENT_CLASS.compressible;
    const buffer = this.#packer.room(roomClass, size);
    const at = buffer.payloadOffset + buffer.length;
    const got = this.#files.read(fd, buffer.memory, at, size, 0);
    if (got < 0) throw this.#readFailure(fd, got, name);
    this.#context.progress(COUNTER.bytesRead, got);
    if (got === 0) {
      this.#entries.setAnalysis(DECISION.none, REASON.empty);
      this.#entries.setSize(0);
      return;
    }
    classify(buffer.memory, at, got, true, this.#classified);
    this.#packer.offerInPlace(roomClass, this.#classified.contentClass, BLOB.data, got);
    const record = this.#entries.content();
    writeBlobRecord(this.#entries.bytes, record, got, this.#packer.name);
    const reason = this.#classified.reason === REASON.none ? REASON.small : this.#classified.reason;
    this.#entries.setAnalysis(DECISION.whole, reason);
    if (got !== size) this.#entries.setSize(got);
  }

  /** One region of a large file: content records only. */
  #region(): void {
    const { entry, directory, start, end } = this.#plan;
    const name = entry.name;
    const fd = this.#open(directory, name);
    try {
      this.#cutRegion(fd, start, end, name);
      if (!this.#isUnchanged(fd, name)) {
        const message = `changed while it was read: ${toDisplay(name)}`;
        throw new UnitFailure(
          new PenstockError('SOURCE_CHANGED', message, { subject: name }),
          false,
        );
      }
    } finally {
      this.#files.close(fd);
    }
  }
  #cutRegion(fd: number, start: number, end: number, name: string): void {
    const ranges = this.#ranges;
    ranges.begin(this.#plan.entry);
    let position = start;
    while (position < end) {
      const data = ranges.dataFrom(fd, position, end);
      if (data > position) this.#recordHole(data - position);
      position = data;
      if (position >= end) break;
      const hole = ranges.holeFrom(fd, position, end);
      const got = this.#cutRange(fd, position, hole, name);
      if (got < hole - position) {
        // The file became shorter: the rest of the region is a hole.
        this.#recordHole(end - position - got);
        return;
      }
      position = hole;
    }
  }

  /** Reads and cuts [start, end); returns how many bytes there were. */
  #cutRange(fd: number, start: number, end: number, name: string): number {
    const memory = this.#memory;
    const most = this.#blobBytesMax;
    let position = start;
    let from = this.#windowAt;
    let filled = 0;
    for (;;) {
      // Refill when a blob of the greatest size might not be whole.
      if (filled < most && position + filled < end) {
        memory.copyWithin(this.#windowAt, from, from + filled);
        from = this.#windowAt;
        const wanted = Math.min(this.#windowBytes - filled, end - position - filled);
        const got = this.#files.read(fd, memory, from + filled, wanted, position + filled);
        if (got < 0) throw this.#readFailure(fd, got, name);
        this.#context.progress(COUNTER.bytesRead, got);
        if (got < wanted) end = position + filled + got;
        filled += got;
      }
      if (filled === 0) return position - start;
      const length = this.#cutter.next(from, filled);
      classify(memory, from, length, position === 0, this.#classified);
      this.#classes |= 1 << this.#classified.contentClass;
      if (this.#reason === REASON.none) this.#reason = this.#classified.reason;
      this.#packer.offer(this.#classified.contentClass, BLOB.data, memory, from, length);
      this.#recordBlob(length);
      from += length;
      position += length;
      filled -= length;
    }
  }

  #recordBlob(length: number): void {
    const at = this.#plan.kind === UNIT.file ? this.#entries.content() : this.#regionRecord();
    writeBlobRecord(this.#entries.bytes, at, length, this.#packer.name);
  }
  #recordHole(length: number): void {
    writeHoleRecord(this.#entries.bytes, this.#regionRecord(), length);
  }
  #regionRecord(): number {
    this.#entries.reserve(CONTENT_RECORD_BYTES);
    const at = this.#entries.length;
    this.#entries.length += CONTENT_RECORD_BYTES;
    return at;
  }
}

function unreadable(result: number, call: string, name: string): PenstockError {
  const cause = ioError(result, call, name);
  return new PenstockError('SOURCE_UNREADABLE', cause.message, {
    cause,
    subject: name,
    ...(cause.errno === undefined ? {} : { errno: cause.errno }),
  });
}
