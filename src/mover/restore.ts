/**
 * The flow of a restore: manifest → plan → fetch → restore → files.
 *
 * The plan is made window by window (modules/restore-window.ts): entries → blobs → (chunk, block),
 * sorted by position, read once and forward. This thread makes directories, links and nodes, and
 * plans; the pipe reads, opens, verifies and writes files. Directories are held as handles, so paths
 * of any length work and nothing is ever written through a link: a restore stays below its target
 * whatever a manifest or somebody else in the target does. A window's links and directories get their
 * metadata when its files are done.
 */
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { toKeyringRecord } from '../crypto/keyring.ts';
import { contentIsHole, contentLength } from '../format/content.ts';
import { ENTRY, ENTRY_FLAG, EntryView, EXTRA } from '../format/entry.ts';
import { CWD, errnoName, type Files, FileStatus, ioError, KIND, openFiles } from '../host/mod.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import { FETCH_COUNTER, type FetchCommand, type FetchOptions } from '../modules/fetch.ts';
import {
  type MetadataKind,
  type MetadataOptions,
  type MetadataRefusals,
  MetadataWriter,
} from '../modules/file-metadata.ts';
import {
  type RestoreCommand,
  type RestoreFilesOptions,
  type RestoreMessage,
  restoreWindowBytes,
} from '../modules/restore-files.ts';
import { RestoreWindow, Slots, WindowBuilder } from '../modules/restore-window.ts';
import { type Pipe, startPipe } from '../pipe/mod.ts';
import type { Archive } from './archives.ts';
import { moduleFile } from './module-file.ts';
import { contentOf, walkManifest, type WalkedEntry } from './manifest-walk.ts';
import { type ArchiveReader, openArchiveReader } from './reader.ts';
import type { Repository } from './repository.ts';

export type Overwrite = 'never' | 'always' | 'newer';

export interface RestoreRequest {
  readonly archive: Archive;
  /** Paths in the archive; empty: everything. */
  readonly paths: readonly ByteString[];
  readonly target: ByteString;
  readonly overwrite: Overwrite;
  readonly dryRun: boolean;
  readonly owners: boolean;
  readonly threads: number;
  readonly signal: AbortSignal;
  onProblem(path: ByteString, error: PenstockError): void;
  onProgress(progress: RestoreProgress): void;
}

export interface RestoreProgress {
  readonly files: number;
  readonly bytes: number;
  /** Undefined until it is known. */
  readonly bytesTotal: number | undefined;
}

export interface RestoreResult {
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  readonly directories: number;
  /** Links, devices, FIFOs. */
  readonly others: number;
  /** Entries left alone because something stands there. */
  readonly skipped: number;
  readonly problems: number;
  readonly refusals: MetadataRefusals;
  /** Blocks read, and their bytes. */
  readonly blocksRead: number;
  readonly bytesFetched: number;
}

const WINDOW_FILES = 8192;
const WINDOWS_KEPT = 3;
const WINDOW_BYTES = 16 * 1024 * 1024;

/** A directory on the way to the current entry. */
interface OpenDirectory {
  readonly name: ByteString;
  readonly path: ByteString;
  readonly fd: number;
  readonly entry: Buffer;
  /** It was not there before. */
  readonly created: boolean;
  readonly wanted: boolean;
}

/** What is done once a window's files are complete. */
interface Closing {
  readonly number: number;
  readonly links: { directory: number; entry: Buffer; path: ByteString; to: ByteString }[];
  readonly directories: OpenDirectory[];
  /** Directories of the files by their numbers, and the window itself: for messages. */
  readonly parents: OpenDirectory[];
  window: RestoreWindow | undefined;
  finished: boolean;
  resolve: () => void;
  readonly done: Promise<void>;
}

/** A file under a temporary name. */
interface SlotFile {
  readonly fd: number;
  readonly directory: number;
  readonly temporary: ByteString;
  readonly entry: Buffer;
  readonly path: ByteString;
  readonly replace: boolean;
}

/** Restores an archive or parts of it. PATH_UNKNOWN, INTERRUPTED, TARGET_EXISTS, HOST_IO. */
export async function restore(
  repository: Repository,
  request: RestoreRequest,
): Promise<RestoreResult> {
  const reader = await openArchiveReader(repository);
  try {
    return await new Restore(repository, request, reader).run();
  } finally {
    await reader.close();
  }
}

class Restore {
  readonly #repository: Repository;
  readonly #request: RestoreRequest;
  readonly #archive: ArchiveReader;
  readonly #blobs: BlobReader;
  readonly #index: BlobIndex;
  readonly #files: Files = openFiles();
  readonly #status = new FileStatus();
  readonly #view = new EntryView();
  readonly #slotShare = Slots.share();
  readonly #slots: Slots;
  readonly #freeSlots: number[];
  readonly #slotFiles = new Map<number, SlotFile>();
  readonly #metadataOptions: MetadataOptions;
  readonly #metadata: MetadataWriter;
  readonly #refusals: MetadataRefusals[] = [];
  readonly #stack: OpenDirectory[] = [];
  readonly #closings = new Map<number, Closing>();
  readonly #directoriesMax: number;
  readonly #window = new WindowBuilder();
  readonly #memory: SharedArrayBuffer[] = [];
  #closing: Closing;
  #windows = 0;
  #pipe: Pipe | undefined;
  #root = -1;
  #slotFreed: (() => void) | undefined;
  #entries = 0;
  #wholeFiles = 0;
  #directories = 0;
  #others = 0;
  #skipped = 0;
  #problems = 0;
  #temporaries = 0;

  constructor(repository: Repository, request: RestoreRequest, archive: ArchiveReader) {
    this.#repository = repository;
    this.#request = request;
    this.#archive = archive;
    this.#blobs = archive.blobs;
    this.#index = archive.index;
    this.#slots = new Slots(this.#slotShare);
    this.#freeSlots = Array.from({ length: Slots.COUNT }, (_, i) => i);
    this.#metadataOptions = {
      owners: request.owners && (this.#files.effectiveUserId() === 0 || request.owners),
      users: localNumbers(request.archive.owners, (name) => this.#files.userId(name)),
      groups: localNumbers(request.archive.groups, (name) => this.#files.groupId(name)),
    };
    this.#metadata = new MetadataWriter(this.#files, this.#metadataOptions);
    this.#directoriesMax = Math.min(
      2048,
      Math.floor((this.#files.openFilesLimit() - Slots.COUNT - 128) / 3),
    );
    this.#closing = this.#newClosing();
  }

  async run(): Promise<RestoreResult> {
    if (!this.#request.dryRun) this.#root = this.#openTarget();
    const pipe = await this.#startPipe();
    this.#pipe = pipe;
    const { signal } = this.#request;
    const stop = (): void => void pipe.stop('interrupted');
    signal.addEventListener('abort', stop, { once: true });
    const progress = setInterval(() => this.#progress(), 200);
    try {
      await Promise.race([this.#plan(), pipe.done.then(() => undefined)]);
      await pipe.control('fetch', 'end' satisfies FetchCommand);
      await pipe.done;
    } catch (error) {
      await pipe.stop('failed');
      await pipe.done.catch(() => undefined);
      this.#dropTemporaries();
      signal.throwIfAborted();
      throw error;
    } finally {
      clearInterval(progress);
      signal.removeEventListener('abort', stop);
    }
    this.#progress();
    if (this.#root >= 0) this.#files.close(this.#root);
    return this.#result(pipe);
  }

  #result(pipe: Pipe): RestoreResult {
    this.#refusals.push(this.#metadata.refusals);
    return {
      entries: this.#entries,
      files: this.#wholeFiles + pipe.counter(FETCH_COUNTER.filesRestored),
      bytes: pipe.counter(FETCH_COUNTER.bytesRestored),
      directories: this.#directories,
      others: this.#others,
      skipped: this.#skipped,
      problems: this.#problems,
      refusals: mergeRefusals(this.#refusals),
      blocksRead: pipe.counter(FETCH_COUNTER.blocksFetched),
      bytesFetched: pipe.counter(FETCH_COUNTER.bytesFetched),
    };
  }

  #openTarget(): number {
    const { target } = this.#request;
    let at = target.startsWith('/') ? 1 : 0;
    while (at <= target.length) {
      const slash = target.indexOf('/', at);
      const end = slash < 0 ? target.length : slash;
      if (end > at) {
        const made = this.#files.makeDirectory(CWD, target.slice(0, end), 0o777);
        if (made < 0 && errnoName(-made) !== 'EEXIST')
          throw ioError(made, 'create', target.slice(0, end));
      }
      at = end + 1;
    }
    const fd = this.#files.openDirectoryFollow(CWD, target);
    if (fd < 0) throw ioError(fd, 'open', target);
    return fd;
  }

  #startPipe(): Promise<Pipe> {
    const { blockBytes } = this.#repository.settings;
    const { keyring, store } = this.#repository;
    const fetch: FetchOptions = { media: store.chunkMedia, chunkIds: this.#archive.chunkIds };
    const files: RestoreFilesOptions = {
      keyring: toKeyringRecord(keyring),
      slots: this.#slotShare,
      metadata: this.#metadataOptions,
      dryRun: this.#request.dryRun,
    };
    const instances = Math.max(1, this.#request.threads);
    return startPipe({
      maxBuffers: instances * 2 + 2,
      payloadBytes: blockBytes,
      sharedWords: 8,
      stages: [
        { name: 'fetch', modules: [{ module: moduleFile('fetch'), options: fetch }] },
        {
          name: 'restore',
          modules: [{ module: moduleFile('restore-files'), options: files }],
          instances,
          windowBytes: restoreWindowBytes(blockBytes),
        },
      ],
      onMessage: (_stage: string, _instance: number, message: unknown) =>
        this.#message(message as RestoreMessage),
    });
  }

  #progress(): void {
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    this.#request.onProgress({
      files: this.#wholeFiles + pipe.counter(FETCH_COUNTER.filesRestored),
      bytes: pipe.counter(FETCH_COUNTER.bytesRestored),
      bytesTotal:
        this.#request.paths.length === 0 ? this.#request.archive.root.ref.fileBytes : undefined,
    });
  }

  #problem(path: ByteString, error: PenstockError): void {
    this.#problems++;
    this.#request.onProblem(path, error);
  }
  #failed(path: ByteString, result: number, call: string): void {
    const error = ioError(result, call, path);
    this.#problem(
      path,
      new PenstockError('RESTORE_PARTIAL', error.message, {
        cause: error,
        subject: path,
        ...(error.errno === undefined ? {} : { errno: error.errno }),
      }),
    );
  }

  /** Planning ------------------------------------------------------------------------------------ */

  async #plan(): Promise<void> {
    for (const walked of walkManifest(
      this.#blobs,
      this.#request.archive.root,
      this.#request.paths,
    )) {
      this.#request.signal.throwIfAborted();
      this.#leaveTo(walked.components);
      if (walked.wanted) this.#entries++;
      const parent = this.#parent(walked.components.length - 1);
      // Its directory could not be made: that was reported.
      if (parent === undefined) continue;
      if (walked.entry.kind === ENTRY.directory) this.#directory(parent, walked);
      else if ((walked.entry.flags & ENTRY_FLAG.hardLink) !== 0)
        await this.#hardLink(parent, walked);
      else if (walked.entry.kind === ENTRY.file) await this.#file(parent, walked, walked.entry);
      else this.#special(parent, walked);
      if (this.#isFull()) await this.#endWindow();
    }
    this.#leaveTo([]);
    await this.#endWindow();
    for (const closing of [...this.#closings.values()]) await this.#finishWindow(closing);
  }
  #isFull(): boolean {
    return (
      this.#window.files >= WINDOW_FILES ||
      this.#window.bytes >= WINDOW_BYTES ||
      this.#closing.directories.length + this.#stack.length >= this.#directoriesMax
    );
  }

  /** Handle of the directory at a depth; undefined when it could not be made. */
  #parent(depth: number): OpenDirectory | undefined {
    if (depth === 0) {
      return {
        name: '',
        path: '',
        fd: this.#root,
        entry: Buffer.alloc(0),
        created: this.#targetWasEmpty,
        wanted: false,
      };
    }
    const directory = this.#stack[depth - 1];
    return this.#stack.length === depth && directory !== undefined ? directory : undefined;
  }
  /** The target itself may hold anything: what stands there is looked at. */
  readonly #targetWasEmpty = false;

  /** Leaves the directories that the next entry is not in. */
  #leaveTo(components: readonly ByteString[]): void {
    let common = 0;
    while (
      common < this.#stack.length &&
      common < components.length - 1 &&
      this.#stack[common]?.name === components[common]
    )
      common++;
    while (this.#stack.length > common)
      this.#closing.directories.push(must(this.#stack.pop(), 'a directory'));
  }

  #directory(parent: OpenDirectory, walked: WalkedEntry): void {
    this.#directories++;
    const { entry, path, wanted } = walked;
    const name = entry.name;
    const raw = Buffer.from(entry.raw());
    if (this.#request.dryRun) {
      this.#stack.push({ name, path, fd: -1, entry: raw, created: true, wanted });
      return;
    }
    const made = this.#files.makeDirectory(parent.fd, name, 0o700);
    if (made < 0 && errnoName(-made) !== 'EEXIST') return this.#failed(path, made, 'create');
    const fd = this.#files.openDirectory(parent.fd, name);
    if (fd < 0) {
      const error = new PenstockError(
        'TARGET_EXISTS',
        `cannot restore into ${toDisplay(path)}: something that is no directory stands there`,
        { subject: path },
      );
      return this.#problem(path, error);
    }
    this.#stack.push({ name, path, fd, entry: raw, created: made >= 0, wanted });
  }

  /** Whether a non-directory may be put at this place; removes nothing yet. */
  #mayPut(
    parent: OpenDirectory,
    name: ByteString,
    of: { readonly path: ByteString },
    entry: EntryView,
  ): 'create' | 'replace' | 'skip' {
    if (this.#request.dryRun || parent.created) return 'create';
    const result = this.#files.status(parent.fd, name, this.#status);
    if (result < 0) return 'create';
    if (this.#status.kind === KIND.directory) {
      const { path } = of;
      this.#problem(
        path,
        new PenstockError(
          'TARGET_EXISTS',
          `cannot restore ${toDisplay(path)}: a directory stands there`,
          { subject: path },
        ),
      );
      return 'skip';
    }
    const { overwrite } = this.#request;
    const newer =
      this.#status.mtimeSeconds < entry.mtimeSeconds ||
      (this.#status.mtimeSeconds === entry.mtimeSeconds &&
        this.#status.mtimeNanos < entry.mtimeNanos);
    if (overwrite === 'always' || (overwrite === 'newer' && newer)) return 'replace';
    this.#skipped++;
    return 'skip';
  }

  async #file(parent: OpenDirectory, walked: WalkedEntry, entry: EntryView): Promise<void> {
    const place = this.#mayPut(parent, entry.name, walked, entry);
    if (place === 'skip') return;
    if (place === 'create' && entry.contentCount <= 1 && entry.contentLevels === 0) {
      if (entry.contentCount === 0) return this.#emptyFile(parent, entry, walked.path);
      const at = entry.contentAt;
      if (contentLength(entry.bytes, at) === entry.size && !contentIsHole(entry.bytes, at)) {
        if (this.#locate(entry.bytes, at + 8, walked)) this.#wholeFile(parent, entry, at + 8);
        return;
      }
    }
    const raw = Buffer.from(entry.raw());
    await this.#slotFile(
      parent,
      new EntryView().set(raw, 0),
      walked.path,
      raw,
      place === 'replace',
    );
  }
  #wholeFile(parent: OpenDirectory, entry: EntryView, nameAt: number): void {
    const index = this.#index;
    const file = this.#window.addFile(parent.fd, entry.bytes, entry.at, entry.entryBytes);
    this.#closing.parents.push(parent);
    this.#window.addPiece(
      index.chunk,
      index.blockOffset,
      index.blockBytes,
      entry.bytes,
      nameAt,
      file,
      false,
      0,
    );
  }
  #locate(names: Buffer, at: number, of: { readonly path: ByteString }): boolean {
    if (this.#index.find(names, at)) return true;
    const { path } = of;
    const name = names.toString('hex', at, at + 8);
    this.#problem(
      path,
      new PenstockError(
        'OBJECT_MISSING',
        `the content of ${toDisplay(path)} is not in the repository: no chunk holds blob ${name}`,
        { subject: path },
      ),
    );
    return false;
  }

  #emptyFile(parent: OpenDirectory, entry: EntryView, path: ByteString): void {
    this.#wholeFiles++;
    if (this.#request.dryRun) return;
    const fd = this.#files.createExclusive(parent.fd, entry.name, 0o600);
    if (fd < 0) return this.#failed(path, fd, 'create');
    if (entry.size > 0) this.#files.truncate(fd, entry.size);
    this.#metadata.apply(fd, entry);
    this.#files.close(fd);
  }

  /** A file of several pieces, or one that replaces another: under a temporary name first. */
  async #slotFile(
    parent: OpenDirectory,
    entry: EntryView,
    path: ByteString,
    raw: Buffer,
    replace: boolean,
  ): Promise<void> {
    while (this.#freeSlots.length === 0) {
      const freed = new Promise<void>((resolve) => {
        this.#slotFreed = resolve;
      });
      await this.#endWindow();
      if (this.#freeSlots.length === 0) await freed;
    }
    const temporary = `.penstock.${process.pid}.${this.#temporaries++}`;
    let fd = -1;
    if (!this.#request.dryRun) {
      fd = this.#files.createExclusive(parent.fd, temporary, 0o600);
      if (fd < 0) return this.#failed(path, fd, 'create');
      const sized = this.#files.truncate(fd, entry.size);
      if (sized < 0) {
        this.#failed(path, sized, 'set the size of');
        this.#files.close(fd);
        this.#files.remove(parent.fd, temporary);
        return;
      }
    }
    const slot = must(this.#freeSlots.pop(), 'a free slot');
    this.#slots.open(slot, fd);
    this.#slotFiles.set(slot, { fd, directory: parent.fd, temporary, entry: raw, path, replace });
    let end = 0;
    for (const piece of contentOf(this.#blobs, entry)) {
      end = piece.offset + piece.length;
      if (piece.name === undefined) continue;
      if (!this.#locate(piece.name, 0, { path })) {
        this.#slots.fail(slot);
        break;
      }
      this.#slots.expect(slot, 1);
      this.#window.addPiece(
        this.#index.chunk,
        this.#index.blockOffset,
        this.#index.blockBytes,
        piece.name,
        0,
        slot,
        true,
        piece.offset,
      );
      if (this.#isFull()) await this.#endWindow();
    }
    if (end !== entry.size && !this.#slots.failed(slot) && end > entry.size) {
      this.#slots.fail(slot);
      this.#problem(
        path,
        new PenstockError('DAMAGED', `the content of ${toDisplay(path)} is longer than the file`, {
          subject: path,
        }),
      );
    }
    if (this.#slots.arrived(slot)) this.#finishSlot(slot);
  }

  #special(parent: OpenDirectory, walked: WalkedEntry): void {
    const { entry, path } = walked;
    const name = entry.name;
    const place = this.#mayPut(parent, name, walked, entry);
    if (place === 'skip') return;
    this.#others++;
    if (this.#request.dryRun) return;
    if (place === 'replace') this.#files.remove(parent.fd, name);
    const result = this.#make(parent.fd, name, entry);
    if (result < 0)
      return this.#failed(
        path,
        result,
        entry.kind === ENTRY.symlink ? 'make the link' : 'make the node',
      );
    this.#metadata.applyAt(parent.fd, entry);
  }
  #make(directory: number, name: ByteString, entry: EntryView): number {
    if (entry.kind === ENTRY.symlink) {
      return this.#files.symlink(
        entry.extra(EXTRA.linkTarget)?.toString('latin1') ?? '',
        directory,
        name,
      );
    }
    const node = entry.extra(EXTRA.node);
    const major = node?.readUInt32LE(0) ?? 0;
    const minor = node?.readUInt32LE(4) ?? 0;
    return this.#files.makeNode(
      directory,
      name,
      (NODE_MODES[entry.kind] ?? 0) | 0o600,
      major,
      minor,
    );
  }

  /** A further link: made when the window's files are there. The first may lie outside of what is restored. */
  async #hardLink(parent: OpenDirectory, walked: WalkedEntry): Promise<void> {
    const { entry, path } = walked;
    const place = this.#mayPut(parent, entry.name, walked, entry);
    if (place === 'skip') return;
    const to = entry.extra(EXTRA.hardLink)?.toString('latin1') ?? '';
    const raw = Buffer.from(entry.raw());
    if (place === 'replace') this.#files.remove(parent.fd, entry.name);
    this.#closing.links.push({ directory: parent.fd, entry: raw, path, to });
  }

  /** Windows ------------------------------------------------------------------------------------- */

  #newClosing(): Closing {
    let resolve = (): void => undefined;
    const done = new Promise<void>((settle) => {
      resolve = settle;
    });
    return {
      number: this.#windows,
      links: [],
      directories: [],
      parents: [],
      window: undefined,
      finished: false,
      resolve,
      done,
    };
  }

  /** Hands the window to the pipe; waits so that at most two are out. */
  async #endWindow(): Promise<void> {
    const closing = this.#closing;
    const window = this.#window;
    const pipe = must(this.#pipe, 'a pipe');
    this.#closings.set(closing.number, closing);
    this.#windows++;
    this.#closing = this.#newClosing();
    if (window.blocks > 0) {
      // The last window but two is done: at most two are out, and one is being planned.
      const shared = window.build(closing.number, this.#memory[closing.number % WINDOWS_KEPT]);
      this.#memory[closing.number % WINDOWS_KEPT] = shared;
      closing.window = new RestoreWindow(shared);
      await pipe.control('restore', { window: shared } satisfies RestoreCommand);
      await pipe.control('fetch', { window: shared } satisfies FetchCommand);
    } else closing.resolve();
    window.reset();
    const oldest = this.#closings.get(closing.number - 1);
    if (oldest !== undefined) await this.#finishWindow(oldest);
  }

  async #finishWindow(closing: Closing): Promise<void> {
    await closing.done;
    if (closing.finished) return;
    closing.finished = true;
    // Kept a little longer: messages of other threads about its files may still be on their way.
    this.#closings.delete(closing.number - 1);
    for (const link of closing.links) await this.#link(link);
    // Children stand before their parents.
    for (const directory of closing.directories) {
      if (directory.fd < 0) continue;
      if (directory.created || this.#request.overwrite !== 'never') {
        this.#metadata.apply(directory.fd, this.#view.set(directory.entry, 0));
      }
      if (!this.#hasSlotIn(directory.fd)) this.#files.close(directory.fd);
      else this.#heldDirectories.add(directory.fd);
    }
  }
  /** Directories that are left but in which a large file is still being written. */
  readonly #heldDirectories = new Set<number>();
  #hasSlotIn(fd: number): boolean {
    for (const file of this.#slotFiles.values()) if (file.directory === fd) return true;
    return false;
  }

  async #link(link: {
    directory: number;
    entry: Buffer;
    path: ByteString;
    to: ByteString;
  }): Promise<void> {
    const entry = this.#view.set(link.entry, 0);
    if (this.#request.dryRun) return;
    const source = this.#openParent(link.to);
    let result = -1;
    if (source !== undefined) {
      result = this.#files.link(source.fd, source.name, link.directory, entry.name);
      if (source.close) this.#files.close(source.fd);
    }
    if (source !== undefined && result >= 0) {
      this.#wholeFiles++;
      return;
    }
    const error = new PenstockError(
      'RESTORE_PARTIAL',
      `cannot link ${toDisplay(link.path)} to ${toDisplay(link.to)}, which was not restored`,
      {
        subject: link.path,
        hint: 'restore both paths together',
      },
    );
    this.#problem(link.path, error);
  }
  /** Opens the directory of a path below the target, link by link not followed. */
  #openParent(path: ByteString): { fd: number; name: ByteString; close: boolean } | undefined {
    const parts = path.split('/');
    const name = parts.pop() ?? '';
    let fd = this.#root;
    for (const part of parts) {
      if (part === '' || part === '.' || part === '..') return undefined;
      const next = this.#files.openDirectory(fd, part);
      if (fd !== this.#root) this.#files.close(fd);
      if (next < 0) return undefined;
      fd = next;
    }
    return { fd, name, close: fd !== this.#root };
  }

  /** Messages of the pipe ------------------------------------------------------------------------ */

  #message(message: RestoreMessage): void {
    switch (message.type) {
      case 'window':
        this.#closings.get(message.number)?.resolve();
        return;
      case 'slot':
        this.#finishSlot(message.slot);
        return;
      case 'refusals':
        this.#refusals.push(message.refusals);
        return;
      case 'file': {
        const path = this.#pathOf(message.window, message.file);
        this.#problem(
          path,
          new PenstockError(
            'RESTORE_PARTIAL',
            `cannot ${message.call} ${toDisplay(path)}: ${message.errno}`,
            { errno: message.errno, subject: path },
          ),
        );
        return;
      }
      case 'slot-error': {
        const path = this.#slotFiles.get(message.slot)?.path ?? '';
        this.#problem(
          path,
          new PenstockError(
            'RESTORE_PARTIAL',
            `cannot write ${toDisplay(path)}: ${message.errno}`,
            { errno: message.errno, subject: path },
          ),
        );
        return;
      }
      case 'damage':
        this.#damage(message);
    }
  }
  #damage(message: Extract<RestoreMessage, { type: 'damage' }>): void {
    const chunk = this.#archive.chunkIds[message.chunk] ?? '?';
    const lost = [
      ...message.files.map((file) => this.#pathOf(message.window, file)),
      ...new Set(message.slots.map((slot) => this.#slotFiles.get(slot)?.path ?? '')),
    ];
    for (const path of lost) {
      this.#problem(
        path,
        new PenstockError(
          'DAMAGED',
          `cannot restore ${toDisplay(path)}: chunk ${chunk} is damaged: ${message.reason}`,
          { subject: path },
        ),
      );
    }
  }

  #pathOf(number: number, file: number): ByteString {
    const closing = this.#closings.get(number);
    const parent = closing?.parents[file];
    const window = closing?.window;
    if (parent === undefined || window === undefined) return '';
    const { name } = this.#view.set(window.bytes, window.entryAt(file));
    return parent.path === '' ? name : `${parent.path}/${name}`;
  }

  /** The last piece of a file has come. */
  #finishSlot(slot: number): void {
    const file = must(this.#slotFiles.get(slot), 'a slot in use');
    this.#slotFiles.delete(slot);
    if (!this.#request.dryRun) this.#settle(file, this.#slots.failed(slot));
    else this.#wholeFiles++;
    if (this.#heldDirectories.has(file.directory) && !this.#hasSlotIn(file.directory)) {
      this.#heldDirectories.delete(file.directory);
      this.#files.close(file.directory);
    }
    this.#freeSlots.push(slot);
    this.#slotFreed?.();
    this.#slotFreed = undefined;
  }
  #settle(file: SlotFile, failed: boolean): void {
    const entry = this.#view.set(file.entry, 0);
    if (failed) {
      this.#files.close(file.fd);
      this.#files.remove(file.directory, file.temporary);
      return;
    }
    this.#metadata.apply(file.fd, entry);
    this.#files.close(file.fd);
    const name = entry.name;
    const moved = file.replace
      ? this.#files.rename(file.directory, file.temporary, file.directory, name)
      : this.#files.renameExclusive(file.directory, file.temporary, file.directory, name);
    if (moved >= 0) this.#wholeFiles++;
    else {
      this.#files.remove(file.directory, file.temporary);
      this.#failed(file.path, moved, 'rename the restored file to');
    }
  }
  #dropTemporaries(): void {
    for (const file of this.#slotFiles.values()) {
      if (file.fd < 0) continue;
      this.#files.close(file.fd);
      this.#files.remove(file.directory, file.temporary);
    }
    this.#slotFiles.clear();
  }
}

const NODE_MODES: Readonly<Record<number, number>> = {
  [ENTRY.fifo]: 0o010000,
  [ENTRY.socket]: 0o140000,
  [ENTRY.characterDevice]: 0o020000,
  [ENTRY.blockDevice]: 0o060000,
};

function localNumbers(
  stored: readonly (readonly [number, string])[],
  lookUp: (name: string) => number | undefined,
): (readonly [number, number])[] {
  const pairs: (readonly [number, number])[] = [];
  for (const [number, name] of stored) {
    const local = name === '' ? undefined : lookUp(name);
    if (local !== undefined && local !== number) pairs.push([number, local]);
  }
  return pairs;
}

function mergeRefusals(all: readonly MetadataRefusals[]): MetadataRefusals {
  const merged: MetadataRefusals = {};
  for (const refusals of all) {
    for (const [kind, refusal] of Object.entries(refusals) as [
      MetadataKind,
      { count: number; first: string; path: ByteString },
    ][]) {
      const known = merged[kind];
      if (known === undefined) merged[kind] = { ...refusal };
      else known.count += refusal.count;
    }
  }
  return merged;
}
