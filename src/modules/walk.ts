/**
 * Stage `walk` (M1, M14): receives the entries of a backup from the scan, takes over what did not change
 * since the bases, sends the rest to collectors, and builds the manifest.
 *
 * An entry is taken over when kind, size, mtime, ctime and inode agree with the base, it was not too
 * young to be sure of, and every blob that it needs is still where the index says. Directories are
 * opened again, without following links and by handle: wherever the scan was, nothing else is read.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { fromKeyringRecord } from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import { type ChunkMedia, openChunkMedia } from '../format/chunk-media.ts';
import { ENTRY, ENTRY_FLAG, EntryView, EntryWriter, EXTRA } from '../format/entry.ts';
import {
  type Attribute,
  CWD,
  ERRNO,
  type FileStatus,
  type Files,
  ioError,
  KIND,
  openCodec,
  openFiles,
  openRandom,
} from '../host/mod.ts';
import { BlobIndex } from '../index/blob-index.ts';
import { SessionTable } from '../index/session-table.ts';
import type { ModuleContext, PipeModule } from '../pipe/mod.ts';
import { COUNTER } from './backup-buffers.ts';
import { BaseArchive } from './base-archive.ts';
import { BlobReader } from './blob-reader.ts';
import { BlockPacker } from './block-packer.ts';
import { FirstLinks } from './first-links.ts';
import { ManifestBuilder } from './manifest-builder.ts';
import { type ManifestRoot, receiveRoot } from './manifest-cursor.ts';
import { openResultReceiver } from './result-link.ts';
import type { InlineScan } from './scan-inline.ts';
import { SCAN, SCAN_FLAG, ScanReader } from './scan-stream.ts';
import { writeAttributes } from './source-attributes.ts';
import { postFailure, postProblem } from './source-problems.ts';
import { childPath } from './source-tree.ts';
import { StatusEntry } from './status-entry.ts';
import { FILE_UNIT_BYTES_MAX } from './unit.ts';
import type { WalkOptions, WalkReport } from './walk-options.ts';
import { WalkOutput } from './walk-output.ts';

interface Frame {
  /** Its handle, or one of the two below. */
  fd: number;
  readonly depth: number;
  readonly name: ByteString;
  /** Absolute path, for messages. */
  readonly path: ByteString;
  /** Flags of the scan. */
  readonly flags: number;
  /** One bit a base: it has this directory too, and its cursor is inside. */
  readonly bases: number;
}

/** A directory without changes is opened when something in it is to be read: mostly never. */
const NOT_OPENED = -1;
/** It could not be opened, which was told: what the scan saw in it is passed over. */
const PASSED_OVER = -2;

export default function walk(options: WalkOptions): PipeModule {
  let walker: Walker | undefined;
  return {
    open: async (context) => {
      const media = await openChunkMedia(options.media);
      walker = new Walker(options, context, media, await openInline(options, context));
    },
    run: () => must(walker, 'the walk was opened').run(),
    control: (message) => must(walker, 'the walk was opened').control(message),
    abort: () => walker?.abort(),
  };
}

/** The scan, where it is no stage of its own: elsewhere its code is not loaded. */
async function openInline(
  { scan }: WalkOptions,
  context: ModuleContext,
): Promise<InlineScan | undefined> {
  if (scan === undefined) return undefined;
  const { InlineScan } = await import('./scan-inline.ts');
  return new InlineScan(scan, context);
}

class Walker {
  readonly #context: ModuleContext;
  readonly #files: Files = openFiles();
  readonly #scan: ScanReader;
  readonly #inline: InlineScan | undefined;
  readonly #index: BlobIndex;
  readonly #reader: BlobReader;
  readonly #packer: BlockPacker;
  readonly #manifest: ManifestBuilder;
  readonly #output: WalkOutput;
  readonly #bases: BaseArchive[];
  readonly #status: FileStatus;
  readonly #skeleton = new EntryWriter();
  readonly #view = new EntryView();
  readonly #entry: StatusEntry;
  readonly #stack: Frame[] = [];
  /** So many directories that were left wait for their files. */
  readonly #closingMax: number;
  readonly #closing: { fd: number; batch: number }[] = [];
  readonly #links = new FirstLinks();
  #checkpointWanted = false;

  constructor(
    options: WalkOptions,
    context: ModuleContext,
    media: ChunkMedia,
    inline: InlineScan | undefined,
  ) {
    this.#context = context;
    const keyring = fromKeyringRecord(options.keyring);
    const codec = openCodec(keyring.nameKey);
    const random = openRandom();
    this.#inline = inline;
    this.#scan = new ScanReader(inline ?? context);
    this.#status = this.#scan.status;
    this.#index = new BlobIndex(options.index, this.#files, openCodec(keyring.indexKey).hash);
    this.#reader = new BlobReader(
      this.#index,
      options.index.chunkIds,
      media,
      new Sealer(keyring, codec, random),
    );
    // What of the manifest turns out damaged is stored again.
    this.#reader.onBadPlace = () => this.#index.distrust();
    this.#packer = new BlockPacker(
      context,
      codec.hash,
      this.#index,
      new SessionTable(options.session),
    );
    const crc = (view: Uint8Array, offset: number, length: number, seed?: number): number =>
      codec.crc32c(view, offset, length, seed);
    this.#manifest = new ManifestBuilder(this.#packer, crc);
    this.#output = new WalkOutput(
      context,
      openResultReceiver(context),
      this.#manifest,
      this.#packer,
      {
        problem: (path, error, omitted) => postProblem(context, path, error, omitted),
        settled: (batch) => this.#closeSettled(batch),
      },
    );
    this.#bases = options.bases.map(
      (root) => new BaseArchive(this.#reader, receiveRoot(root), this.#index),
    );
    this.#entry = new StatusEntry(this.#files, options.startedMs);
    const handles = this.#files.openFilesLimit();
    this.#closingMax = Math.min(LIMITS.batchFilesMax, Math.ceil(handles / 8));
  }

  abort(): void {
    this.#inline?.abort();
  }

  run(): void {
    this.#openTop();
    while (this.#scan.next()) {
      const frame = must(this.#stack.at(-1), 'a directory');
      if (this.#scan.kind === SCAN.leave) {
        this.#leave(frame);
        // Nothing need be waited for here for thousands of entries.
        this.#context.notice();
      } else if (frame.fd !== PASSED_OVER) this.#visit(frame);
      else if ((this.#scan.flags & SCAN_FLAG.entered) !== 0) this.#stack.push(frame);
      if (this.#checkpointWanted) this.#checkpoint();
    }
    this.#leave(must(this.#stack.at(-1), 'the directory of all'));
    this.#output.drain();
    const root = this.#manifest.root();
    this.#packer.flush();
    this.#reader.close();
    this.#context.post({ type: 'walked', report: this.#report(root) });
  }

  /** A checkpoint is taken between two entries; its report is posted. */
  control(message: unknown): unknown {
    if (message === 'checkpoint') this.#checkpointWanted = true;
    return undefined;
  }
  #checkpoint(): void {
    this.#checkpointWanted = false;
    this.#output.drain();
    const root = this.#manifest.root();
    this.#packer.flush();
    this.#context.post({ type: 'checkpoint', report: this.#report(root) });
  }
  #report(root: ManifestRoot): WalkReport {
    return { root, owners: [...this.#entry.owners], groups: [...this.#entry.groups] };
  }

  #failed(path: ByteString, result: number, call: string): void {
    postFailure(this.#context, path, result, call);
  }

  #openTop(): void {
    const fd = this.#files.openDirectory(CWD, '/');
    if (fd < 0) throw ioError(fd, 'open', '/');
    let bases = 0;
    for (const [i, base] of this.#bases.entries()) if (base.begin()) bases |= 1 << i;
    this.#stack.push({ fd, depth: 0, name: '', path: '/', flags: 0, bases });
  }

  #leave(frame: Frame): void {
    this.#stack.pop();
    if (frame.fd < 0) return;
    this.#closing.push({ fd: frame.fd, batch: this.#output.current });
    // Nothing may be out any more: then no later batch comes to settle it.
    if (this.#closing.length > this.#closingMax) this.#output.endBatch();
    while (this.#closing.length > 2 * this.#closingMax && this.#output.wait());
  }
  #closeSettled(batch: number): void {
    while (this.#closing[0] !== undefined && this.#closing[0].batch <= batch) {
      this.#files.close(must(this.#closing.shift(), 'a handle').fd);
    }
  }

  #visit(frame: Frame): void {
    const { kind } = this.#status;
    const matches = this.#matches(frame);
    this.#context.progress(COUNTER.entries, 1);
    this.#entry.take(this.#status, frame.depth);
    if (kind === KIND.directory) {
      const { name } = this.#scan;
      const path = childPath(frame.path, name);
      this.#context.progress(COUNTER.directories, 1);
      const inside = this.#directory(frame, name, path, matches);
      if ((this.#scan.flags & SCAN_FLAG.entered) !== 0) this.#stack.push(inside);
      return;
    }
    if (this.#status.nlink > 1 && this.#isFurtherLink(frame, matches)) return;
    if (kind === KIND.file) {
      this.#context.progress(COUNTER.filesSeen, 1);
      this.#context.progress(COUNTER.bytesSeen, this.#status.size);
    } else this.#context.progress(COUNTER.others, 1);
    if (this.#takeOver(matches) || !this.#reach()) return;
    const { name } = this.#scan;
    const path = childPath(frame.path, name);
    if (kind === KIND.file) {
      if (matches !== 0) this.#context.progress(COUNTER.filesChanged, 1);
      this.#file(frame, name, path);
    } else this.#special(frame, name, path, kind);
  }

  /** Bases whose directory has an entry of this name; their cursors stand on it. */
  #matches(frame: Frame): number {
    let matches = 0;
    for (let i = 0; i < this.#bases.length; i++) {
      if (
        (frame.bases & (1 << i)) !== 0 &&
        must(this.#bases[i], 'base').seek(frame.depth, this.#scan)
      )
        matches |= 1 << i;
    }
    return matches;
  }

  #takeOver(matches: number): boolean {
    for (let i = 0; i < this.#bases.length; i++) {
      const base = must(this.#bases[i], 'base');
      if ((matches & (1 << i)) === 0 || !base.isUnchanged(this.#entry.fields)) continue;
      const entry = base.entry;
      const writer = this.#output.literal;
      writer.copy(entry.bytes, entry.at, entry.entryBytes);
      this.#output.entryWritten();
      if (entry.kind === ENTRY.file) this.#context.progress(COUNTER.filesUnchanged, 1);
      return true;
    }
    return false;
  }

  /** Stores a directory; returns the frame for what the scan saw in it. */
  #directory(frame: Frame, name: ByteString, path: ByteString, matches: number): Frame {
    const { flags } = this.#scan;
    const depth = frame.depth + 1;
    const passedOver: Frame = { fd: PASSED_OVER, depth, name, path, flags, bases: 0 };
    if ((flags & SCAN_FLAG.entered) !== 0 && this.#takeOver(matches))
      return { ...passedOver, fd: NOT_OPENED, bases: this.#descend(matches) };
    if (!this.#reach()) return passedOver;
    let fd = this.#files.openDirectory(frame.fd, name);
    const isReadable = fd >= 0;
    if (!isReadable) fd = this.#openedOtherwise(frame.fd, name, flags, fd);
    // One that may not be opened is stored as it stands there.
    if (fd < 0) this.#failed(path, fd, 'open');
    if (fd === -ERRNO.ENOENT || fd === -ERRNO.ENOTDIR || fd === -ERRNO.ELOOP) return passedOver;
    if (!this.#takeOver(matches)) {
      const attributes = isReadable
        ? this.#files.attributesOf(fd)
        : this.#files.attributes(frame.fd, name);
      if (typeof attributes === 'number') {
        if (fd >= 0) this.#files.close(fd);
        this.#failed(path, attributes, 'read attributes of');
        return passedOver;
      }
      this.#complete(name, path, attributes);
    }
    if (fd < 0) return passedOver;
    if ((flags & SCAN_FLAG.entered) === 0) {
      this.#files.close(fd);
      if ((flags & SCAN_FLAG.notOpened) !== 0) this.#failed(path, -ERRNO.EACCES, 'open');
      return passedOver;
    }
    return { ...passedOver, fd, bases: this.#descend(matches) };
  }
  /** Of the bases that have this directory, those whose cursor is inside then. */
  #descend(matches: number): number {
    let bases = 0;
    for (let i = 0; i < this.#bases.length; i++) {
      if ((matches & (1 << i)) !== 0 && must(this.#bases[i], 'base').descend()) bases |= 1 << i;
    }
    return bases;
  }
  /** A directory above a source that may not be read can be gone through. */
  #openedOtherwise(parent: number, name: ByteString, flags: number, result: number): number {
    const mayPass = result === -ERRNO.EACCES && (flags & SCAN_FLAG.onTheWay) !== 0;
    return mayPass ? this.#files.openThrough(parent, name) : result;
  }
  /** Opens the current directory, and those above it, where that was put off; false: it cannot be. */
  #reach(): boolean {
    const stack = this.#stack;
    let first = stack.length;
    while (stack[first - 1]?.fd === NOT_OPENED) first--;
    for (let i = first; i < stack.length; i++) {
      const frame = must(stack[i], 'a directory');
      const parent = must(stack[i - 1], 'the directory above').fd;
      let fd = this.#files.openDirectory(parent, frame.name);
      if (fd < 0) fd = this.#openedOtherwise(parent, frame.name, frame.flags, fd);
      if (fd < 0) {
        this.#failed(frame.path, fd, 'open');
        for (const below of stack.slice(i)) below.fd = PASSED_OVER;
        return false;
      }
      frame.fd = fd;
    }
    return true;
  }

  /** A further link of a file that is in the archive already. */
  #isFurtherLink(frame: Frame, matches: number): boolean {
    const status = this.#status;
    const { name } = this.#scan;
    const path = childPath(frame.path, name);
    const first = this.#links.find(status, path, (lost) => this.#output.isOmitted(lost));
    if (first === undefined) return false;
    const writer = this.#output.literal;
    this.#entry.fields.flags |= ENTRY_FLAG.hardLink;
    writer.begin(this.#entry.fields, name);
    writer.extra(EXTRA.hardLink, Buffer.from(first.slice(1), 'latin1'));
    writer.end();
    this.#output.linkWritten(path, first);
    const files = status.kind === KIND.file ? 1 : 0;
    this.#context.progress(COUNTER.filesSeen, files);
    if (matches !== 0) this.#context.progress(COUNTER.filesUnchanged, files);
    return true;
  }

  #file(frame: Frame, name: ByteString, path: ByteString): void {
    const status = this.#status;
    const size = status.size;
    const sparse = status.blocks512 * 512 < size && size > LIMITS.cutBytesMin;
    if (sparse) this.#entry.fields.flags |= ENTRY_FLAG.sparse;
    this.#skeleton.reset();
    this.#skeleton.begin(this.#entry.fields, name);
    if (size <= FILE_UNIT_BYTES_MAX && !sparse) {
      this.#skeleton.end();
      this.#output.addFile(frame.fd, this.#view.set(this.#skeleton.bytes, 0), path);
      return;
    }
    const attributes = this.#files.attributes(frame.fd, name);
    if (typeof attributes === 'number') return this.#failed(path, attributes, 'read attributes of');
    this.#attributes(this.#skeleton, attributes, path);
    this.#skeleton.end();
    this.#view.set(this.#skeleton.bytes, 0);
    this.#context.progress(COUNTER.filesRead, 1);
    // A sparse file may be of any size: its regions grow, so that their number does not.
    const region = sparse
      ? LIMITS.regionBytes * Math.ceil(size / (1024 * LIMITS.regionBytes))
      : LIMITS.regionBytes;
    for (let start = 0; start < size; start += region) {
      const end = Math.min(size, start + region);
      this.#output.addRegion(frame.fd, this.#view, path, start, end, start === 0, end === size);
    }
  }

  #special(frame: Frame, name: ByteString, path: ByteString, kind: number): void {
    const attributes = this.#files.attributes(frame.fd, name);
    if (typeof attributes === 'number') return this.#failed(path, attributes, 'read attributes of');
    if (kind === KIND.symlink) {
      const target = this.#files.readLink(frame.fd, name);
      if (typeof target === 'number') return this.#failed(path, target, 'read the link');
      this.#complete(name, path, attributes, EXTRA.linkTarget, Buffer.from(target, 'latin1'));
    } else if (kind === KIND.characterDevice || kind === KIND.blockDevice) {
      const node = Buffer.alloc(8);
      node.writeUInt32LE(this.#status.rdevMajor, 0);
      node.writeUInt32LE(this.#status.rdevMinor, 4);
      this.#complete(name, path, attributes, EXTRA.node, node);
    } else this.#complete(name, path, attributes);
  }

  /** An entry for which nothing must be read. */
  #complete(
    name: ByteString,
    path: ByteString,
    attributes: readonly Attribute[],
    extra = 0,
    value?: Buffer,
  ): void {
    const writer = this.#output.literal;
    writer.begin(this.#entry.fields, name);
    if (value !== undefined) writer.extra(extra, value);
    this.#attributes(writer, attributes, path);
    writer.end();
    this.#output.entryWritten();
  }
  #attributes(writer: EntryWriter, attributes: readonly Attribute[], path: ByteString): void {
    const wrong = writeAttributes(writer, attributes, path);
    if (wrong !== undefined) postProblem(this.#context, path, toErrorRecord(wrong), false);
  }
}
