/**
 * The flow of a restore: manifest → plan → fetch → restore → files.
 *
 * The plan is made window by window (modules/restore-window.ts): entries → blobs → (chunk, block),
 * sorted by position, read once and forward. This thread makes directories, links and nodes, and
 * plans; the pipe reads, opens, verifies and writes files. Directories are held as handles, so paths
 * of any length work and nothing is ever written through a link: a restore stays below its target
 * whatever a manifest or somebody else in the target does. A window's links and directories get their
 * metadata when its files are done.
 *
 * Damage costs what it hits and nothing else: a part of the manifest that cannot be read is told
 * and passed over, directories whose entries are lost are made for what is left in them, and blobs of a
 * damaged block are looked for elsewhere (restore-retry.ts).
 */
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import type { ErrorCode, PenstockError } from '../base/errors.ts';
import { toKeyringRecord } from '../crypto/keyring.ts';
import { ENTRY, ENTRY_FLAG, EntryView, EXTRA, renamedEntry } from '../format/entry.ts';
import { type Files, openFiles } from '../host/mod.ts';
import { isUnreadable } from '../modules/blob-reader.ts';
import {
  FETCH_COUNTER,
  type FetchCommand,
  type FetchOptions,
  type FetchWarning,
} from '../modules/fetch.ts';
import {
  localNumbers,
  type MetadataOptions,
  type MetadataRefusals,
  MetadataWriter,
} from '../modules/file-metadata.ts';
import { findEntry } from '../modules/manifest-cursor.ts';
import type {
  RestoreCommand,
  RestoreFilesOptions,
  RestoreMessage,
} from '../modules/restore-files.ts';
import { Slots } from '../modules/restore-window.ts';
import { restoreWindowBytes } from '../modules/window-bytes.ts';
import { dropWarmThreads, type Pipe, startPipe } from '../pipe/mod.ts';
import type { Archive } from './archives.ts';
import { ManifestDamage } from './manifest-damage.ts';
import { isBelow, type WalkedEntry, walkManifest } from './manifest-walk.ts';
import { moduleFile } from './module-file.ts';
import { type ArchiveReader, openArchiveReader } from './reader.ts';
import type { Repository } from './repository.ts';
import { ContentPlan } from './restore-content.ts';
import { mergeRefusals, RestoreProblems } from './restore-problems.ts';
import { RestoreRetry } from './restore-retry.ts';
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
    dropWarmThreads();
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
  readonly #damage: ManifestDamage;
  /** Why chunks could not be read, where that was told. */
  readonly #unreadable: Map<string, string> = new Map();
  readonly #content: ContentPlan;
  readonly #retry: RestoreRetry;
  /** The last directory that could not be made, which was told. */
  #refused: ByteString | undefined;
  #pipe: Pipe | undefined;
  #isOver = false;
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
    const problems = this.#problems;
    this.#damage = new ManifestDamage((error, path) => problems.tell(path, error));
    const [windows, slots] = [this.#windows, this.#slots];
    this.#content = new ContentPlan({
      ...{ archive, target: this.#target, windows, slots, problems },
      openDirectories: () => this.#stack.length,
    });
    const metadata = this.#metadata;
    this.#retry = new RestoreRetry({
      ...{ archive, files, metadata, problems, windows, slots, dryRun },
      unreadable: this.#unreadable,
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
      this.#isOver = true;
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
      bytes: this.#bytesDone(pipe),
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
    const apart = this.#wholeFiles + this.#content.emptyFiles + this.#retry.filesRestored;
    return apart + this.#slots.complete + pipe.counter(FETCH_COUNTER.filesRestored);
  }
  #bytesDone(pipe: Pipe): number {
    return this.#retry.bytesRestored + pipe.counter(FETCH_COUNTER.bytesRestored);
  }
  #progress(): void {
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    const { paths, archive } = this.#request;
    this.#request.onProgress({
      files: this.#filesDone(pipe),
      bytes: this.#bytesDone(pipe),
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
      onWarning: (_stage: string, _instance: number, warning: unknown) => {
        const { chunk, message } = warning as FetchWarning;
        this.#unreadable.set(chunk, message);
      },
    });
  }

  /** Planning ------------------------------------------------------------------------------------ */

  async #plan(): Promise<void> {
    const { archive, paths, signal } = this.#request;
    const { note } = this.#damage;
    for (const walked of walkManifest(this.#archive.blobs, archive.root, paths, note)) {
      signal.throwIfAborted();
      this.#leaveTo(walked.parents);
      if (walked.wanted) this.#entries++;
      const parent = this.#parent(walked.parents);
      // Where its directory could not be made, that was told.
      const pending = parent === undefined ? undefined : this.#entry(parent, walked);
      if (pending !== undefined) await pending;
      if (this.#windows.isFull(this.#stack.length)) await this.#windows.end();
    }
    this.#leaveTo([]);
    await this.#windows.finish();
  }

  #parent(parents: readonly ByteString[]): TargetDirectory | undefined {
    const depth = parents.length;
    if (depth === 0) return this.#target.root;
    return this.#stack.length === depth ? this.#stack[depth - 1] : this.#lostParent(parents);
  }
  /** Makes directories whose own entries are lost; undefined where one was refused. */
  #lostParent(parents: readonly ByteString[]): TargetDirectory | undefined {
    const stack = this.#stack;
    if (this.#refused !== undefined && `${parents.join('/')}/`.startsWith(`${this.#refused}/`))
      return undefined;
    while (stack.length < parents.length) {
      const parent = stack.at(-1) ?? this.#target.root;
      const path = parents.slice(0, stack.length + 1).join('/');
      const directory = this.#target.enterLost(parent, must(parents[stack.length], 'name'), path);
      if (directory === undefined) {
        this.#refused = path;
        return undefined;
      }
      const what = `what the archive says of the directory ${toDisplay(path)} is lost`;
      const message = `${what}: its owner, mode, times and attributes are not restored`;
      this.#problems.add(path, 'DAMAGED', message);
      this.#directories++;
      stack.push(directory);
    }
    return stack.at(-1);
  }
  /** Leaves the directories that the next entry is not in. */
  #leaveTo(parents: readonly ByteString[]): void {
    const stack = this.#stack;
    let common = 0;
    while (
      common < stack.length &&
      common < parents.length &&
      stack[common]?.name === parents[common]
    ) {
      common++;
    }
    while (stack.length > common) this.#windows.leave(must(stack.pop(), 'a directory'));
  }

  /** Returns a promise only where something must be waited for: most entries need none. */
  #entry(parent: TargetDirectory, walked: WalkedEntry): Promise<void> | undefined {
    const { entry } = walked;
    if (entry.kind === ENTRY.directory) {
      this.#directories++;
      const directory = this.#target.enter(parent, walked);
      if (directory === undefined) this.#refused = walked.path;
      else this.#stack.push(directory);
      return undefined;
    }
    const place = this.#target.mayPut(parent, entry, walked);
    if (place === 'skip') {
      if (entry.links > 1 && !this.#target.foundAlike(entry)) this.#absent.add(walked.path);
      return undefined;
    }
    const replace = place === 'replace';
    if ((entry.flags & ENTRY_FLAG.hardLink) !== 0) return this.#hardLink(parent, walked, replace);
    if (entry.kind === ENTRY.file) return this.#content.file(parent, entry, walked, replace);
    if (this.#target.makeSpecial(parent, entry, walked.path, replace)) this.#others++;
    return undefined;
  }

  /**
   * A further name of an entry: made when the window's files are there. Where the first lies outside of
   * what is restored, this one takes its content.
   */
  async #hardLink(parent: TargetDirectory, walked: WalkedEntry, replace: boolean): Promise<void> {
    const { entry, path } = walked;
    const { name } = entry;
    const first = entry.extra(EXTRA.hardLink)?.toString('latin1') ?? '';
    if (this.#damage.holds(first)) {
      const reason = 'whose entry is lost';
      return this.#brokenLink(path, first, 'DAMAGED', reason);
    }
    let to: ByteString | undefined = first;
    if (!isBelow(first, this.#request.paths) || this.#absent.has(first)) {
      to = this.#standIns.get(first);
      if (to === undefined) {
        this.#standIns.set(first, path);
        const own = this.#firstEntry(path, first, name);
        if (own === undefined) return;
        if (own.kind === ENTRY.file) await this.#content.file(parent, own, { path }, replace);
        else if (this.#target.makeSpecial(parent, own, path, replace)) this.#others++;
        return;
      }
    }
    this.#windows.link({ parent, name, path, to, replace });
  }
  /** The entry that holds a link's content, under the link's name; undefined when it is lost. */
  #firstEntry(path: ByteString, first: ByteString, name: ByteString): EntryView | undefined {
    try {
      const found = findEntry(this.#archive.blobs, this.#request.archive.root, first);
      if (found !== undefined) return renamedEntry(found.entry, name);
      this.#brokenLink(path, first, 'DAMAGED', 'which the archive does not have');
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.#brokenLink(path, first, error.code, `of which no more is known: ${error.message}`);
    }
    return undefined;
  }
  #brokenLink(path: ByteString, first: ByteString, code: ErrorCode, reason: string): void {
    // What stands at its path, if anything, is another one.
    this.#absent.add(path);
    const link = `it is a link to ${toDisplay(first)}, ${reason}`;
    const message = `cannot restore ${toDisplay(path)}: ${link}`;
    this.#problems.add(path, code, message);
  }

  #link({ parent, name, path, to, replace }: FurtherLink): void {
    if (this.#absent.has(to)) return this.#problems.unlinked(path, to);
    if (this.#target.makeHardLink(parent.fd, name, path, to, replace)) this.#wholeFiles++;
  }

  /** Messages of the pipe ------------------------------------------------------------------------ */

  #message(message: RestoreMessage): void {
    // Its files are closed: what a thread still says of them is too late.
    if (this.#isOver) return;
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
        if (this.#slots.slots.arrived(message.slot)) this.#slots.finish(message.slot);
        break;
      case 'damage':
        this.#retry.block(message);
        break;
    }
  }
}
