/**
 * Stage `compare` of a copy: goes in step through the scan of the source and the listing of the target,
 * both in the same order, and plans what is to be read.
 *
 * The same kind, size and time of change (to the nanosecond) is the same content; then only owner, mode
 * and attributes are compared. A directory is planned before the first thing in it that is, after those
 * above it: whoever writes finds its record first, and what the writing does to its times is mended.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { EntryWriter } from '../format/entry.ts';
import { type FileStatus, KIND, openFiles } from '../host/files-only.ts';
import type { ModuleContext, PipeModule } from '../pipe/mod.ts';
import { DirectoryParts, regionsOf } from './copy-directory-parts.ts';
import { KeptListing, type Listing } from './copy-keep.ts';
import { CopyLinks } from './copy-links.ts';
import { missingRanges, PART_EXTRA, PART_FROM_BYTES, writePartExtra } from './copy-parts.ts';
import {
  COPY,
  COPY_COUNTER,
  COPY_FLAG,
  COPY_PIECE_BYTES,
  CopyWriter,
  isTemporaryName,
} from './copy-stream.ts';
import type { ScanOptions } from './scan.ts';
import { InlineScan } from './scan-inline.ts';
import { SCAN, SCAN_FLAG, SCAN_ROOT, ScanReader, type ScanSource } from './scan-stream.ts';
import { StatusEntry } from './status-entry.ts';

export interface CompareOptions {
  /** The source, to be scanned in this thread; undefined: the stage before scans it. */
  readonly scan: ScanOptions | undefined;
  /** The target's listing, open in this process; undefined: there is nothing yet. */
  readonly listing: Listing | undefined;
  /** Owners are the same if their numbers are; else if their names are, which come with the listing. */
  readonly byNumber: boolean;
  readonly comparesOwners: boolean;
  /** One item is copied, under this name; undefined: a tree. */
  readonly rename: ByteString | undefined;
  readonly dryRun: boolean;
}

/** What is posted of how much there is to be copied: now and then, and when all is known. */
export interface CopyTotal {
  readonly type: 'total';
  readonly isLeast: boolean;
  readonly files: number;
  readonly bytes: number;
}

interface Frame {
  readonly path: ByteString;
  /** The target has this directory too, and its listing is inside. */
  readonly inTarget: boolean;
  parts: DirectoryParts;
  isPlanned: boolean;
}

/** How often it is told how much there is to be copied, so far. */
const TELL_MS = 500;
const TELL_ENTRIES = 64;
/** Below, holes are not worth looking for. */
const HOLES_FROM_BYTES = 64 * 1024;

export default function compare(options: CompareOptions): PipeModule {
  let comparing: Comparing | undefined;
  return {
    open: (context) => {
      comparing = new Comparing(options, context);
    },
    run: () => must(comparing, 'comparing was opened').run(),
    close: () => comparing?.close(),
    abort: () => comparing?.abort(),
  };
}

class Comparing {
  readonly #options: CompareOptions;
  readonly #context: ModuleContext;
  readonly #files = openFiles();
  readonly #scan: InlineScan | undefined;
  readonly #source: ScanReader;
  readonly #target: ScanReader;
  readonly #out: CopyWriter;
  readonly #links = new CopyLinks();
  readonly #stack: Frame[] = [];
  readonly #entry: StatusEntry;
  readonly #entries = new EntryWriter();
  readonly #userName: OwnerName = (uid) => {
    this.#entry.noteOwners({ uid, gid: this.#source.status.gid });
    return this.#entry.owners.get(uid) ?? '';
  };
  readonly #groupName: OwnerName = (gid) => {
    this.#entry.noteOwners({ uid: this.#source.status.uid, gid });
    return this.#entry.groups.get(gid) ?? '';
  };
  readonly #listing: KeptListing | undefined;
  #hasTarget: boolean;
  #planned = 0;
  #plannedBytes = 0;
  #largeFiles = 0;
  #wantedFiles = 0;
  #wantedBytes = 0;
  #toldMs = 0;

  constructor(options: CompareOptions, context: ModuleContext) {
    this.#options = options;
    this.#context = context;
    this.#scan = options.scan && new InlineScan(options.scan, context);
    this.#source = new ScanReader(this.#scan ?? context);
    const { listing } = options;
    const bytesMax = context.segment.config.payloadBytes;
    this.#hasTarget = listing !== undefined;
    this.#listing =
      listing === undefined ? undefined : new KeptListing(this.#files, listing, context, bytesMax);
    this.#target = new ScanReader(this.#listing ?? NOTHING);
    this.#out = new CopyWriter(context);
    this.#entry = new StatusEntry(this.#files, 0);
  }

  run(): void {
    this.#nextTarget();
    const isTree = this.#options.rename === undefined;
    // Of a single item, the directory that it is in is nobody's concern.
    const top = newFrame('', this.#hasTarget, !isTree);
    if (!isTree) top.parts = new DirectoryParts(this.#target.parts);
    this.#stack.push(top);
    let seen = 0;
    while (this.#source.next()) {
      if (++seen % TELL_ENTRIES === 0 && performance.now() - this.#toldMs > TELL_MS) {
        this.#tellTotal(true);
      }
      const frame = must(this.#stack.at(-1), 'a directory');
      if (this.#source.kind === SCAN.leave) this.#leave(frame);
      else if (this.#source.name === SCAN_ROOT) this.#root(top);
      else this.#visit(frame);
    }
    this.#cleanRest(top);
    this.#removeParts(top);
    this.#send();
    this.#tellTotal(false);
  }

  /** How much there is to be copied, as far as that is known. */
  #tellTotal(isLeast: boolean): void {
    this.#toldMs = performance.now();
    const [files, bytes] = [this.#wantedFiles, this.#wantedBytes];
    this.#context.post({ type: 'total', isLeast, files, bytes } satisfies CopyTotal);
  }

  close(): void {
    this.#listing?.close();
  }
  abort(): void {
    this.#scan?.abort();
    this.close();
  }

  #nextTarget(): void {
    if (this.#hasTarget) this.#hasTarget = this.#target.next();
  }
  /** Passes the target's current entry with all that lies below it. */
  #passTarget(): void {
    let depth = 0;
    do {
      if (this.#target.kind === SCAN.leave) depth--;
      else if ((this.#target.flags & SCAN_FLAG.entered) !== 0) depth++;
      this.#nextTarget();
    } while (depth > 0 && this.#hasTarget);
  }
  /** Moves the target's listing to a name of the directory; whether it is there. */
  #seek(frame: Frame, name: ByteString): boolean {
    if (!frame.inTarget) return false;
    while (this.#hasTarget && this.#target.kind === SCAN.entry) {
      const there = this.#target.name;
      if (there === name) return true;
      if (there > name) return false;
      this.#extra(frame, there);
    }
    return false;
  }
  /** Something that only the target has: it stays, unless a copy that was interrupted left it. */
  #extra(frame: Frame, name: ByteString): void {
    const isOurs = isTemporaryName(name) && this.#target.status.kind === KIND.file;
    if (isOurs && !frame.parts.has(name)) this.#remove(frame, name);
    this.#passTarget();
  }
  #remove(frame: Frame, name: ByteString): void {
    if (this.#options.dryRun) return;
    this.#plan(frame);
    this.#out.path = frame.path;
    this.#out.record(COPY.remove, name);
    this.#counted(0);
  }
  /** Nothing in the directory goes on with these. */
  #removeParts(frame: Frame): void {
    for (const name of frame.parts.leftOver) this.#remove(frame, name);
  }
  #cleanRest(frame: Frame): void {
    if (!frame.inTarget) return;
    while (this.#hasTarget && this.#target.kind === SCAN.entry) {
      this.#extra(frame, this.#target.name);
    }
  }
  #leave(frame: Frame): void {
    if (frame.inTarget) {
      this.#cleanRest(frame);
      this.#removeParts(frame);
    }
    this.#stack.pop();
    if (!frame.inTarget) return;
    this.#nextTarget();
  }

  #visit(frame: Frame): void {
    const source = this.#source;
    const { kind } = source.status;
    const name = this.#options.rename ?? source.name;
    const isThere = this.#seek(frame, name);
    if (kind === KIND.directory) return this.#directory(frame, name, isThere);
    const path = frame.path === '' ? name : `${frame.path}/${name}`;
    if (kind === KIND.file) {
      this.#context.progress(COPY_COUNTER.files, 1);
      this.#context.progress(COPY_COUNTER.bytes, source.status.size);
    } else this.#context.progress(COPY_COUNTER.others, 1);
    const target = isThere ? this.#target.status : undefined;
    const first = this.#links.first(source.status);
    if (first === undefined) this.#item(frame, name, path, target);
    else if (!this.#links.isLinked(source.status, target)) this.#link(frame, name, first, isThere);
    else if (kind === KIND.file) this.#context.progress(COPY_COUNTER.filesSame, 1);
    if (isThere) this.#passTarget();
  }

  /** The root itself: the first entry of either side. */
  #root(top: Frame): void {
    this.#context.progress(COPY_COUNTER.directories, 1);
    const isThere = this.#hasTarget && this.#target.name === SCAN_ROOT;
    if (!isThere || !this.#hasSameMetadata()) this.#plan(top);
    if (isThere) this.#nextTarget();
    top.parts = new DirectoryParts(this.#target.parts);
  }

  #directory(frame: Frame, name: ByteString, isThere: boolean): void {
    this.#context.progress(COPY_COUNTER.directories, 1);
    const source = this.#source;
    const target = this.#target;
    const path = frame.path === '' ? name : `${frame.path}/${name}`;
    const both = isThere && target.status.kind === KIND.directory;
    const inTarget = both && (target.flags & SCAN_FLAG.entered) !== 0;
    const entered = (source.flags & SCAN_FLAG.entered) !== 0;
    const isSame = both && this.#hasSameMetadata();
    if (isThere && !(inTarget && entered)) this.#passTarget();
    else if (isThere) this.#nextTarget();
    const inside = newFrame(path, inTarget && entered, false);
    if (inside.inTarget) inside.parts = new DirectoryParts(this.#target.parts);
    // Of one that cannot be opened, whoever reads it tells why.
    if (!isSame || (source.flags & SCAN_FLAG.notOpened) !== 0) this.#plan(inside);
    if (entered) this.#stack.push(inside);
  }
  /** Tells of a directory, once, after those above it. */
  #plan(frame: Frame): void {
    if (frame.isPlanned) return;
    for (const above of this.#stack) if (!above.isPlanned) this.#tell(above);
    if (!frame.isPlanned) this.#tell(frame);
  }
  #tell(frame: Frame): void {
    frame.isPlanned = true;
    if (this.#options.dryRun) return;
    this.#out.path = frame.path;
    this.#out.record(COPY.directory, '');
    this.#counted(0);
  }

  #item(frame: Frame, name: ByteString, path: ByteString, target: FileStatus | undefined): void {
    const { status } = this.#source;
    const isFile = status.kind === KIND.file;
    const keeps =
      target !== undefined && this.#hasSameContent() && this.#links.mayKeep(target, path);
    this.#links.begin(status, path, keeps ? target : undefined);
    if (!keeps) return this.#content(frame, name, target !== undefined);
    if (this.#hasSameMetadata()) {
      if (isFile) this.#context.progress(COPY_COUNTER.filesSame, 1);
      return;
    }
    this.#context.progress(COPY_COUNTER.metadataOnly, 1);
    this.#put(frame, COPY.metadata, this.#source.name);
  }
  #want(files: number, bytes: number): void {
    this.#wantedFiles += files;
    this.#wantedBytes += bytes;
    this.#context.progress(COPY_COUNTER.filesWanted, files);
    this.#context.progress(COPY_COUNTER.bytesWanted, bytes);
  }
  #content(frame: Frame, name: ByteString, isThere: boolean): void {
    const { status } = this.#source;
    const flags = isThere ? COPY_FLAG.replaces : 0;
    const item = this.#source.name;
    if (status.kind !== KIND.file) return this.#put(frame, COPY.special, item, flags);
    const { size } = status;
    this.#want(1, size);
    if (size <= COPY_PIECE_BYTES && !isSparse(status))
      this.#put(frame, COPY.file, item, flags, size);
    else this.#large(frame, name);
  }
  #large(frame: Frame, name: ByteString): void {
    if (this.#options.dryRun) return;
    this.#plan(frame);
    const { size } = this.#source.status;
    const isLogged = size >= PART_FROM_BYTES && !isSparse(this.#source.status);
    const part = isLogged ? frame.parts.take(name, this.#source.status) : undefined;
    const missing = missingRanges(part?.ranges ?? [], size);
    const missingBytes = missing.reduce((sum, { from, to }) => sum + to - from, 0);
    const there = size - missingBytes;
    this.#want(0, -there);
    if (this.#options.rename !== undefined) this.#tellTotal(false);
    this.#context.progress(COPY_COUNTER.bytesResumed, there);
    const body = this.#largeEntry(part === undefined ? undefined : [part.place, there]);
    const number = ++this.#largeFiles;
    if (number > 0xffff_ffff) throw new PenstockError('LIMIT', `too many large files: ${name}`);
    let flags = COPY_FLAG.first | (isLogged ? COPY_FLAG.logged : 0);
    for (const { from, to } of regionsOf(missing, missingBytes, size)) {
      this.#out.path = frame.path;
      this.#out.record(COPY.region, body, { number, from, to, flags });
      this.#counted(to - from);
      flags &= ~COPY_FLAG.first;
    }
  }
  /** The entry of a large file as it is planned. */
  #largeEntry(part: readonly [place: ByteString, bytes: number] | undefined): Buffer {
    this.#entry.take(this.#source.status, 0);
    this.#entries.reset();
    this.#entries.begin(this.#entry.fields, this.#source.name);
    if (part !== undefined) this.#entries.extra(PART_EXTRA, writePartExtra(...part));
    this.#entries.end();
    return this.#entries.bytes.subarray(0, this.#entries.length);
  }
  #link(frame: Frame, name: ByteString, first: ByteString, isThere: boolean): void {
    this.#want(1, 0);
    if (this.#options.dryRun) return;
    this.#plan(frame);
    this.#out.path = frame.path;
    const target = Buffer.from(first, 'latin1');
    const { memory, at } = this.#out.begin(COPY.link, Buffer.from(name, 'latin1'), target.length);
    memory.set(target, at);
    this.#out.end(target.length, { flags: isThere ? COPY_FLAG.replaces : 0 });
    this.#counted(0);
  }
  #put(frame: Frame, kind: number, name: ByteString, flags = 0, bytes = 0): void {
    if (this.#options.dryRun) return;
    this.#plan(frame);
    this.#out.path = frame.path;
    this.#out.record(kind, name, { flags });
    this.#counted(bytes);
  }
  #counted(bytes: number): void {
    this.#planned++;
    this.#plannedBytes += bytes;
    if (this.#planned >= LIMITS.batchFilesMax || this.#plannedBytes >= LIMITS.batchBytes) {
      this.#send();
    }
  }
  #send(): void {
    this.#out.flush();
    this.#planned = 0;
    this.#plannedBytes = 0;
  }

  #hasSameContent(): boolean {
    const source = this.#source.status;
    const target = this.#target.status;
    if (source.kind !== target.kind) return false;
    switch (source.kind) {
      case KIND.file:
      case KIND.symlink:
        return source.size === target.size && hasSameTime(source, target);
      case KIND.characterDevice:
      case KIND.blockDevice:
        return source.rdevMajor === target.rdevMajor && source.rdevMinor === target.rdevMinor;
      default:
        return true;
    }
  }
  #hasSameMetadata(): boolean {
    const source = this.#source.status;
    const target = this.#target.status;
    if (!hasSameTime(source, target)) return false;
    if (source.mode !== target.mode && source.kind !== KIND.symlink) return false;
    if (this.#source.digest !== this.#target.digest) return false;
    if (!this.#options.comparesOwners) return true;
    if (this.#options.byNumber) return source.uid === target.uid && source.gid === target.gid;
    const { users, groups } = this.#target;
    return (
      isSameOwner(source.uid, target.uid, this.#userName, users) &&
      isSameOwner(source.gid, target.gid, this.#groupName, groups)
    );
  }
}

const NO_PARTS = new DirectoryParts([]);
const NOTHING: ScanSource = { receiveBuf: () => null, freeBuf: () => undefined };

function isSparse({ size, blocks512 }: FileStatus): boolean {
  return blocks512 * 512 < size && size > HOLES_FROM_BYTES;
}

function newFrame(path: ByteString, inTarget: boolean, isPlanned: boolean): Frame {
  return { path, inTarget, isPlanned, parts: NO_PARTS };
}

type OwnerName = (number: number) => string;

function isSameOwner(
  source: number,
  target: number,
  nameOf: OwnerName,
  targetNames: ReadonlyMap<number, string>,
): boolean {
  const there = targetNames.get(target) ?? '';
  const here = nameOf(source);
  return here === '' || there === '' ? source === target : here === there;
}

function hasSameTime(a: FileStatus, b: FileStatus): boolean {
  return a.mtimeSeconds === b.mtimeSeconds && a.mtimeNanos === b.mtimeNanos;
}
