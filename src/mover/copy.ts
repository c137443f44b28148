/**
 * The flow of a copy: what is at the source comes to be at the target; what is the same already is passed
 * over, so that a copy that was interrupted continues.
 *
 * First the target is listed into a file without a name; then the source is scanned beside that listing,
 * and what differs is read, sent, written. The pipes stand in copy-pipe.ts.
 */
import { randomBytes } from 'node:crypto';
import { must } from '../base/assert.ts';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { type ErrorRecord, PenstockError } from '../base/errors.ts';
import type { Server } from '../channel/net/api-client.ts';
import { CWD, ERRNO, FileStatus, ioError, KIND, openFiles } from '../host/mod.ts';
import type { TargetOwners } from '../modules/copy-compare.ts';
import type { Looked } from '../modules/copy-look.ts';
import { below, resolveCopyRoot, rootPath } from '../modules/copy-root.ts';
import { COPY_COUNTER } from '../modules/copy-stream.ts';
import type { CopyRefusals } from '../modules/copy-target.ts';
import type { MetadataRefusals } from '../modules/file-metadata.ts';
import { closeFile, openNamelessFile } from '../modules/nameless-file.ts';
import type { ScanOwners } from '../modules/scan.ts';
import type { SourceProblem } from '../modules/source-problems.ts';
import {
  compareStage,
  copyScan,
  keepStage,
  readStage,
  scanStage,
  writeStages,
} from './copy-pipe.ts';
import { type CopyLegs, type CopyNetwork, CopyRunner, type Counter } from './copy-runner.ts';
import { mergeRefusals } from './restore-problems.ts';

/** One side of a copy. */
export interface CopyPlace {
  /** Absolute. */
  readonly path: ByteString;
  /** The machine; undefined: this one. */
  readonly server?: Server;
}

export interface CopyRequest {
  /** A path that ends in a slash is a directory whose links are followed. */
  readonly source: CopyPlace;
  /** An item goes into it where it is a directory; else it is the item's new path. */
  readonly target: CopyPlace;
  /** Where one side is another machine. */
  readonly network?: CopyNetwork;
  readonly owners: boolean;
  readonly dryRun: boolean;
  readonly threads: number;
  readonly signal: AbortSignal;
  onProblem(path: ByteString, error: ErrorRecord): void;
  onProgress(progress: CopyProgress): void;
}

export interface CopyProgress {
  readonly files: number;
  readonly bytes: number;
}

export interface CopyResult {
  readonly files: number;
  readonly bytes: number;
  readonly directories: number;
  readonly others: number;
  /** Files that were there already. */
  readonly filesSame: number;
  /** Files that differ, and their size. */
  readonly filesWanted: number;
  readonly bytesWanted: number;
  /** Items of which only metadata differ. */
  readonly metadataOnly: number;
  /** Files, and bytes of them, that were written. */
  readonly filesDone: number;
  readonly bytesDone: number;
  readonly problems: number;
  readonly refusals: MetadataRefusals;
}

/** What is copied: a whole tree, or one item of a directory. */
interface Plan {
  readonly source: CopyPlace;
  readonly target: CopyPlace;
  readonly item: ByteString | undefined;
  readonly rename: ByteString | undefined;
}

/**
 * Copies.
 *
 * @throws SOURCE_MISSING, USAGE, INTERRUPTED, HOST_IO, PIPE_FAILED; NET_DENIED and what else networks do
 */
export function copy(request: CopyRequest): Promise<CopyResult> {
  return new Copy(request).run();
}

class Copy {
  readonly #request: CopyRequest;
  readonly #runner: CopyRunner;
  readonly #refusals: MetadataRefusals[] = [];
  readonly #token = randomBytes(8).toString('hex');
  /** Under this name the other machine keeps the listing, where it has the source. */
  readonly #listingId = randomBytes(16).toString('hex');
  readonly #told = new Set<string>();
  #owners: TargetOwners = { users: [], groups: [] };
  #problems = 0;

  constructor(request: CopyRequest) {
    this.#request = request;
    this.#runner = new CopyRunner(request.network, request.signal);
    if (request.source.server !== undefined && request.target.server !== undefined) {
      throw new PenstockError('USAGE', 'one side of a copy must be this machine');
    }
  }

  async run(): Promise<CopyResult> {
    const plan = await this.#plan();
    const listing = openNamelessFile();
    try {
      await this.#list(plan, listing);
      return this.#result(await this.#copy(plan, listing));
    } finally {
      closeFile(listing);
    }
  }

  async #plan(): Promise<Plan> {
    const { source, target } = this.#request;
    const found = await this.#look(source);
    if (found.kind === undefined) {
      const message = `${toDisplay(source.path)} does not exist`;
      throw new PenstockError('SOURCE_MISSING', message, { subject: source.path });
    }
    const isLocal = source.server === undefined && target.server === undefined;
    if (found.kind === KIND.directory) {
      if (isLocal) refuseNested(source.path, target.path);
      return { source, target, item: undefined, rename: undefined };
    }
    const from = split(source);
    const isInto = target.path.endsWith('/') || (await this.#look(target)).isDirectory;
    const to = isInto ? { place: target, name: from.name } : split(target);
    if (isLocal && isSame(from.place.path, to.place.path) && from.name === to.name) {
      throw new PenstockError('USAGE', 'source and target are the same');
    }
    return { source: from.place, target: to.place, item: from.name, rename: to.name };
  }

  async #look({ path, server }: CopyPlace): Promise<Omit<Looked, 'type'>> {
    if (server === undefined) {
      const isDirectory = kindOf(`${path}/`) === KIND.directory;
      const kind = kindOf(path);
      return { isDirectory, ...(kind === undefined ? {} : { kind }) };
    }
    let looked: Looked | undefined;
    const nothing = openNamelessFile();
    try {
      await this.#runner.run({
        near: [keepStage({ file: nothing })],
        allocating: 1,
        far: {
          server,
          flow: 'pull',
          stages: [{ name: 'look', modules: [{ name: 'copy-look', options: { path } }] }],
          allocating: 1,
          ordered: true,
        },
        onMessage: (message) => {
          looked = message as Looked;
        },
      });
    } finally {
      closeFile(nothing);
    }
    return must(looked, 'the other machine has looked');
  }

  /** Lists the target to where the source is. */
  async #list({ source, target, rename }: Plan, listing: number): Promise<void> {
    const scanSent = { path: target.path, item: rename, mayBeMissing: true };
    const onMessage = (message: unknown): void => {
      // What of the target cannot be looked at is copied again.
      if ((message as CopyMessage).type === 'owners') this.#owners = message as ScanOwners;
    };
    if (target.server !== undefined) {
      const stages = [{ name: 'scan', modules: [{ name: 'copy-scan', options: scanSent }] }];
      const { server } = target;
      const far = { server, flow: 'pull', stages, allocating: 1, ordered: true } as const;
      const near = [keepStage({ file: listing })];
      await this.#runner.run({ near, allocating: 1, far, onMessage });
      return;
    }
    const scan = scanStage(copyScan(resolveCopyRoot(target.path), rename, true));
    if (source.server === undefined) {
      const near = [scan, keepStage({ file: listing })];
      await this.#runner.run({ near, allocating: 1, onMessage });
      return;
    }
    const options = { listing: this.#listingId };
    const stages = [{ name: 'keep', modules: [{ name: 'copy-keep', options }] }];
    const { server } = source;
    const far = { server, flow: 'push', stages, allocating: 1, ordered: true } as const;
    await this.#runner.run({ near: [scan], allocating: 1, far, onMessage });
  }

  #copy(plan: Plan, listing: number): Promise<Counter> {
    const legs =
      plan.source.server !== undefined
        ? this.#pull(plan, plan.source.server, listing)
        : this.#push(plan, plan.target.server, listing);
    const stage = plan.target.server === undefined ? 'write' : 'read';
    return this.#runner.run({
      ...legs,
      onMessage: (message) => this.#message(message as CopyMessage),
      onLook: (counter) =>
        this.#request.onProgress({
          files: counter(COPY_COUNTER.filesDone, stage),
          bytes: counter(COPY_COUNTER.bytesDone, stage),
        }),
    });
  }

  /** The source is here; the target is `server`'s, or here too. */
  #push(plan: Plan, server: Server | undefined, listing: number): CopyLegs {
    const { owners, dryRun, threads } = this.#request;
    const { source, target, item, rename } = plan;
    const root = resolveCopyRoot(source.path);
    const head = [
      scanStage(copyScan(root, item, false)),
      compareStage({
        listing,
        owners: server === undefined ? undefined : this.#owners,
        comparesOwners: owners,
        rename,
        dryRun,
      }),
    ];
    if (dryRun) return { near: head, allocating: 1 };
    const near = [...head, readStage({ root, rename }, threads)];
    const allocating = threads + 2;
    if (server === undefined) {
      const options = { root: resolveCopyRoot(target.path), owners, token: this.#token };
      return { near: [...near, ...writeStages(options, threads)], allocating };
    }
    const options = { path: target.path, owners, token: this.#token };
    const stages = [
      { name: 'write', modules: [{ name: 'copy-write', options }], instances: threads },
      { name: 'finish', modules: [{ name: 'copy-finish', options }] },
    ];
    const far = { server, flow: 'push', stages, allocating: 2, ordered: false } as const;
    return { near, allocating, far };
  }

  /** The source is the server's, the target here. */
  #pull({ source, target, item, rename }: Plan, server: Server, listing: number): CopyLegs {
    const { owners, dryRun, threads } = this.#request;
    const { path } = source;
    const compare = {
      listing: this.#listingId,
      owners: this.#owners,
      comparesOwners: owners,
      rename,
      dryRun,
    };
    const head = [
      { name: 'scan', modules: [{ name: 'copy-scan', options: { path, item } }] },
      {
        name: 'compare',
        modules: [{ name: 'copy-compare', options: compare }],
        allocates: !dryRun,
      },
    ];
    const modules = [{ name: 'copy-read', options: { path, rename } }];
    const read = { name: 'read', modules, instances: threads, allocates: true };
    const far = {
      server,
      flow: 'pull',
      stages: dryRun ? head : [...head, read],
      allocating: threads + 2,
      ordered: false,
    } as const;
    // Of a dry run nothing comes; the listing is done with here.
    if (dryRun) return { near: [keepStage({ file: listing })], allocating: 1, far };
    const options = { root: resolveCopyRoot(target.path), owners, token: this.#token };
    return { near: writeStages(options, threads), allocating: 2, far };
  }

  #result(counter: Counter): CopyResult {
    const compared = (which: number): number => counter(which, 'compare');
    const written = (which: number): number => counter(which, 'write') + counter(which, 'finish');
    return {
      files: compared(COPY_COUNTER.files),
      bytes: compared(COPY_COUNTER.bytes),
      directories: compared(COPY_COUNTER.directories),
      others: compared(COPY_COUNTER.others),
      filesSame: compared(COPY_COUNTER.filesSame),
      filesWanted: compared(COPY_COUNTER.filesWanted),
      bytesWanted: compared(COPY_COUNTER.bytesWanted),
      metadataOnly: compared(COPY_COUNTER.metadataOnly),
      filesDone: written(COPY_COUNTER.filesDone),
      bytesDone: written(COPY_COUNTER.bytesDone),
      problems: this.#problems,
      refusals: mergeRefusals(this.#refusals),
    };
  }

  #message(message: CopyMessage): void {
    if (message.type === 'refusals') this.#refusals.push(message.refusals);
    else if (message.type === 'problem') {
      const { path, error } = message.problem;
      // Of a large file, each of its readers may tell.
      const key = `${path}\0${error.message}`;
      if (this.#told.has(key)) return;
      if (this.#told.size < TOLD_MAX) this.#told.add(key);
      this.#problems++;
      this.#request.onProblem(path, error);
    }
  }
}

/** Problems that are remembered so as not to tell them again. */
const TOLD_MAX = 10_000;

type CopyMessage =
  | { readonly type: 'problem'; readonly problem: SourceProblem }
  | CopyRefusals
  | ScanOwners;

/** The kind of what is at a path, through its last link where it ends in a slash; undefined: nothing. */
function kindOf(path: ByteString): number | undefined {
  const status = new FileStatus();
  const files = openFiles();
  const looked = path.endsWith('/')
    ? files.statusFollow(CWD, path, status)
    : files.status(CWD, path, status);
  if (looked === -ERRNO.ENOENT || looked === -ERRNO.ENOTDIR) return undefined;
  if (looked < 0) throw ioError(looked, 'look at', path);
  return status.kind;
}

function split({ path, ...machine }: CopyPlace): {
  readonly place: CopyPlace;
  readonly name: ByteString;
} {
  const slash = path.lastIndexOf('/');
  return { place: { ...machine, path: path.slice(0, slash) || '/' }, name: path.slice(slash + 1) };
}

const realPath = (path: ByteString): ByteString => rootPath(resolveCopyRoot(path));

function isSame(a: ByteString, b: ByteString): boolean {
  return realPath(a) === realPath(b);
}

/** A target inside its source would be copied into itself. */
function refuseNested(source: ByteString, target: ByteString): void {
  const place = realPath(target);
  if (below(realPath(source), place) === undefined) return;
  throw new PenstockError('USAGE', `the target lies in the source: ${toDisplay(place)}`);
}
