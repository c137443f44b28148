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
import type { PenstockError } from '../base/errors.ts';
import { toKeyringRecord } from '../crypto/keyring.ts';
import { contentIsHole, contentLength } from '../format/content.ts';
import { ENTRY, ENTRY_FLAG, EntryView, EXTRA, renamedEntry } from '../format/entry.ts';
import { type Files, openFiles } from '../host/mod.ts';
import { FETCH_COUNTER, type FetchCommand, type FetchOptions } from '../modules/fetch.ts';
import {
  localNumbers,
  type MetadataOptions,
  type MetadataRefusals,
  MetadataWriter,
} from '../modules/file-metadata.ts';
import { findEntry } from '../modules/manifest-cursor.ts';
import {
  type RestoreCommand,
  type RestoreFilesOptions,
  type RestoreMessage,
  restoreWindowBytes,
} from '../modules/restore-files.ts';
import { Slots } from '../modules/restore-window.ts';
import { type Pipe, startPipe } from '../pipe/mod.ts';
import type { Archive } from './archives.ts';
import { contentOf, isBelow, type WalkedEntry, walkManifest } from './manifest-walk.ts';
import { moduleFile } from './module-file.ts';
import { type ArchiveReader, openArchiveReader } from './reader.ts';
import type { Repository } from './repository.ts';
import { mergeRefusals, RestoreProblems } from './restore-problems.ts';
import { type FurtherLink, SlotFiles } from './restore-slots.ts';
import { type Overwrite, RestoreTarget, type TargetDirectory } from './restore-target.ts';
import { RestoreWindows } from './restore-windows.ts';

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
  readonly #files: Files = openFiles();
  readonly #view = new EntryView();
  readonly #problems: RestoreProblems;
  readonly #metadataOptions: MetadataOptions;
  readonly #metadata: MetadataWriter;
  readonly #target: RestoreTarget;
  readonly #slotShare = Slots.share();
  readonly #slots: SlotFiles;
  readonly #refusals: MetadataRefusals[] = [];
  readonly #stack: TargetDirectory[] = [];
  readonly #windows: RestoreWindows;
  /** Where content that lies outside of what is restored was put, by its path in the archive. */
  readonly #standIns = new Map<ByteString, ByteString>();
  /** Entries with further links that were not restored: at their paths may stand other files. */
  readonly #absent = new Set<ByteString>();
  #pipe: Pipe | undefined;
  #entries = 0;
  #wholeFiles = 0;
  #directories = 0;
  #others = 0;

  constructor(repository: Repository, request: RestoreRequest, archive: ArchiveReader) {
    const files = this.#files;
    this.#repository = repository;
    this.#request = request;
    this.#archive = archive;
    this.#problems = new RestoreProblems((path, error) => request.onProblem(path, error));
    this.#metadataOptions = {
      owners: request.owners,
      users: localNumbers(request.archive.owners, (name) => files.userId(name)),
      groups: localNumbers(request.archive.groups, (name) => files.groupId(name)),
    };
    this.#metadata = new MetadataWriter(files, this.#metadataOptions);
    const { target, overwrite, dryRun } = request;
    this.#target = new RestoreTarget(
      { path: target, overwrite, dryRun },
      files,
      this.#metadata,
      this.#problems,
    );
    const handles = files.openFilesLimit();
    const filesMax = Math.min(Slots.COUNT, Math.floor(handles / 4));
    const options = { dryRun, filesMax };
    this.#slots = new SlotFiles(this.#slotShare, files, this.#metadata, this.#problems, options, {
      lost: (path) => this.#absent.add(path),
      link: (link) => this.#link(link),
      leave: (directory) => this.#target.leave(directory, this.#view),
    });
    this.#windows = new RestoreWindows(handles - filesMax, {
      send: async (window) => {
        const pipe = must(this.#pipe, 'a pipe');
        await pipe.control('restore', { window } satisfies RestoreCommand);
        await pipe.control('fetch', { window } satisfies FetchCommand);
      },
      link: (link) => {
        if (!this.#slots.takesLink(link)) this.#link(link);
      },
      leave: (directory) => {
        if (!this.#slots.holds(directory)) this.#target.leave(directory, this.#view);
      },
    });
  }

  async run(): Promise<RestoreResult> {
    this.#target.open();
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
      this.#slots.dropAll();
      signal.throwIfAborted();
      throw error;
    } finally {
      clearInterval(progress);
      signal.removeEventListener('abort', stop);
      this.#target.close();
    }
    this.#progress();
    return this.#result(pipe);
  }

  #result(pipe: Pipe): RestoreResult {
    this.#refusals.push(this.#metadata.refusals);
    return {
      entries: this.#entries,
      files: this.#filesDone(pipe),
      bytes: pipe.counter(FETCH_COUNTER.bytesRestored),
      directories: this.#directories,
      others: this.#others,
      skipped: this.#target.skipped,
      problems: this.#problems.count,
      refusals: mergeRefusals(this.#refusals),
      blocksRead: pipe.counter(FETCH_COUNTER.blocksFetched),
      bytesFetched: pipe.counter(FETCH_COUNTER.bytesFetched),
    };
  }
  #filesDone(pipe: Pipe): number {
    return this.#wholeFiles + this.#slots.complete + pipe.counter(FETCH_COUNTER.filesRestored);
  }
  #progress(): void {
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    const { paths, archive } = this.#request;
    this.#request.onProgress({
      files: this.#filesDone(pipe),
      bytes: pipe.counter(FETCH_COUNTER.bytesRestored),
      bytesTotal: paths.length === 0 ? archive.root.ref.fileBytes : undefined,
    });
  }

  #startPipe(): Promise<Pipe> {
    const { keyring, store, settings } = this.#repository;
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
      payloadBytes: settings.blockBytes,
      sharedWords: 8,
      stages: [
        { name: 'fetch', modules: [{ module: moduleFile('fetch'), options: fetch }] },
        {
          name: 'restore',
          modules: [{ module: moduleFile('restore-files'), options: files }],
          instances,
          windowBytes: restoreWindowBytes(settings.blockBytes),
        },
      ],
      onMessage: (_stage: string, _instance: number, message: unknown) =>
        this.#message(message as RestoreMessage),
    });
  }

  /** Planning ------------------------------------------------------------------------------------ */

  async #plan(): Promise<void> {
    const { archive, paths, signal } = this.#request;
    for (const walked of walkManifest(this.#archive.blobs, archive.root, paths)) {
      signal.throwIfAborted();
      this.#leaveTo(walked.components);
      if (walked.wanted) this.#entries++;
      const parent = this.#parent(walked.components.length - 1);
      // Where its directory could not be made, that was told.
      if (parent !== undefined) await this.#entry(parent, walked);
      if (this.#windows.isFull(this.#stack.length)) await this.#windows.end();
    }
    this.#leaveTo([]);
    await this.#windows.finish();
  }

  #parent(depth: number): TargetDirectory | undefined {
    if (depth === 0) return this.#target.root;
    return this.#stack.length === depth ? this.#stack[depth - 1] : undefined;
  }
  /** Leaves the directories that the next entry is not in. */
  #leaveTo(components: readonly ByteString[]): void {
    const stack = this.#stack;
    let common = 0;
    while (
      common < stack.length &&
      common < components.length - 1 &&
      stack[common]?.name === components[common]
    ) {
      common++;
    }
    while (stack.length > common) this.#windows.leave(must(stack.pop(), 'a directory'));
  }

  async #entry(parent: TargetDirectory, walked: WalkedEntry): Promise<void> {
    const { entry } = walked;
    if (entry.kind === ENTRY.directory) {
      this.#directories++;
      const directory = this.#target.enter(parent, walked);
      if (directory !== undefined) this.#stack.push(directory);
      return;
    }
    const place = this.#target.mayPut(parent, entry, walked);
    if (place === 'skip') {
      if (entry.links > 1 && !this.#target.foundAlike(entry)) this.#absent.add(walked.path);
      return;
    }
    const replace = place === 'replace';
    if ((entry.flags & ENTRY_FLAG.hardLink) !== 0) await this.#hardLink(parent, walked, replace);
    else if (entry.kind === ENTRY.file) await this.#file(parent, entry, walked, replace);
    else if (this.#target.makeSpecial(parent, entry, walked.path, replace)) this.#others++;
  }

  async #file(
    parent: TargetDirectory,
    entry: EntryView,
    of: { readonly path: ByteString },
    replace: boolean,
  ): Promise<void> {
    if (!replace && entry.contentCount <= 1 && entry.contentLevels === 0) {
      if (entry.contentCount === 0) {
        if (this.#target.makeEmptyFile(parent, entry, of.path)) this.#wholeFiles++;
        return;
      }
      const at = entry.contentAt;
      if (contentLength(entry.bytes, at) === entry.size && !contentIsHole(entry.bytes, at)) {
        if (!this.#locate(entry.bytes, at + 8, of)) return;
        const file = this.#windows.addFile(parent, entry);
        this.#addPiece(entry.bytes, at + 8, file, false, 0, entry.size);
        return;
      }
    }
    const own = new EntryView().set(Buffer.from(entry.raw()), 0);
    await this.#piecewise(parent, own, of.path, replace);
  }
  /** A piece of the blob that was located last. */
  #addPiece(
    names: Buffer,
    at: number,
    target: number,
    slot: boolean,
    offset: number,
    length: number,
  ): void {
    const { chunk, blockOffset, blockBytes } = this.#archive.index;
    const { builder } = this.#windows;
    builder.addPiece(chunk, blockOffset, blockBytes, names, at, target, slot, offset, length);
  }
  #locate(names: Buffer, at: number, of: { readonly path: ByteString }): boolean {
    if (this.#archive.index.find(names, at)) return true;
    const name = names.toString('hex', at, at + 8);
    const { path } = of;
    const message = `the content of ${toDisplay(path)} is not in the repository: no chunk holds blob ${name}`;
    this.#problems.add(path, 'OBJECT_MISSING', message);
    return false;
  }

  /** A file of several pieces, or one that replaces another. */
  async #piecewise(
    parent: TargetDirectory,
    entry: EntryView,
    path: ByteString,
    replace: boolean,
  ): Promise<void> {
    if (this.#slots.isFull) {
      await this.#windows.end();
      await this.#slots.whenFree();
    }
    const slot = this.#slots.open(parent, entry, path, replace);
    if (slot === undefined) return;
    const { slots } = this.#slots;
    let end = 0;
    for (const piece of contentOf(this.#archive.blobs, entry)) {
      end = piece.offset + piece.length;
      if (piece.name === undefined) continue;
      if (end > entry.size || !this.#locate(piece.name, 0, { path })) {
        slots.fail(slot);
        break;
      }
      slots.expect(slot, 1);
      this.#addPiece(piece.name, 0, slot, true, piece.offset, piece.length);
      if (this.#windows.isFull(this.#stack.length)) await this.#windows.end();
    }
    if (end > entry.size) {
      slots.fail(slot);
      const message = `the content of ${toDisplay(path)} is longer than the file`;
      this.#problems.add(path, 'DAMAGED', message);
    }
    if (slots.arrived(slot)) this.#slots.finish(slot);
  }

  /**
   * A further name of an entry: made when the window's files are there. Where the first lies outside of
   * what is restored, this one takes its content.
   */
  async #hardLink(parent: TargetDirectory, walked: WalkedEntry, replace: boolean): Promise<void> {
    const { entry, path } = walked;
    const { name } = entry;
    const first = entry.extra(EXTRA.hardLink)?.toString('latin1') ?? '';
    let to: ByteString | undefined = first;
    if (!isBelow(first, this.#request.paths) || this.#absent.has(first)) {
      to = this.#standIns.get(first);
      if (to === undefined) {
        this.#standIns.set(first, path);
        const found = findEntry(this.#archive.blobs, this.#request.archive.root, first);
        if (found === undefined) {
          const message = `${toDisplay(path)} is a link to ${toDisplay(first)}, which the archive does not have`;
          return this.#problems.add(path, 'DAMAGED', message);
        }
        const own = renamedEntry(found.entry, name);
        if (own.kind === ENTRY.file) await this.#file(parent, own, { path }, replace);
        else if (this.#target.makeSpecial(parent, own, path, replace)) this.#others++;
        return;
      }
    }
    this.#windows.link({ parent, name, path, to, replace });
  }

  #link({ parent, name, path, to, replace }: FurtherLink): void {
    if (this.#absent.has(to)) return this.#problems.unlinked(path, to);
    if (this.#target.makeHardLink(parent.fd, name, path, to, replace)) this.#wholeFiles++;
  }

  /** Messages of the pipe ------------------------------------------------------------------------ */

  #message(message: RestoreMessage): void {
    switch (message.type) {
      case 'window':
        this.#windows.isDone(message.number);
        break;
      case 'slot':
        this.#slots.finish(message.slot);
        break;
      case 'refusals':
        this.#refusals.push(message.refusals);
        break;
      case 'file':
        this.#problems.refused(
          this.#windows.pathOf(message.window, message.file),
          message.errno,
          message.call,
        );
        break;
      case 'slot-error':
        this.#problems.refused(this.#slots.pathOf(message.slot), message.errno, 'write');
        break;
      case 'damage':
        this.#damage(message);
        break;
    }
  }
  #damage(message: Extract<RestoreMessage, { type: 'damage' }>): void {
    const chunk = this.#archive.chunkIds[message.chunk] ?? '?';
    const lost = [
      ...message.files.map((file) => this.#windows.pathOf(message.window, file)),
      ...new Set(message.slots.map((slot) => this.#slots.pathOf(slot))),
    ];
    for (const path of lost) {
      const text = `cannot restore ${toDisplay(path)}: chunk ${chunk} is damaged: ${message.reason}`;
      this.#problems.add(path, 'DAMAGED', text);
    }
  }
}
