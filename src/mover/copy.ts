/**
 * The flow of a copy: what is at the source comes to be at the target; what is the same already is passed
 * over, so that a copy that was interrupted continues.
 *
 * Where something is at the target, it is listed into a file without a name; the source is scanned beside
 * that listing, and what differs is read, sent, written. The pipes stand in copy-pipe.ts.
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { type ErrorRecord, PenstockError } from '../base/errors.ts';
import type { Server } from '../channel/net/api-client.ts';
import { CWD, ERRNO, FileStatus, ioError, KIND, openFiles } from '../host/mod.ts';
import type { CopyTotal } from '../modules/copy-compare.ts';
import { closeListing, type Listing, openListing } from '../modules/copy-keep.ts';
import type { Looked } from '../modules/copy-look.ts';
import { PART_FROM_BYTES } from '../modules/copy-parts.ts';
import { below, resolveCopyRoot, rootPath } from '../modules/copy-root.ts';
import { COPY_COUNTER } from '../modules/copy-stream.ts';
import type { CopyRefusals } from '../modules/copy-target.ts';
import type { MetadataRefusals } from '../modules/file-metadata.ts';
import type { SourceProblem } from '../modules/source-problems.ts';
import { dropWarmThreads } from '../pipe/mod.ts';
import {
  compareStages,
  copyScan,
  discardStage,
  keepModule,
  listStage,
  readStage,
  scanStage,
  scansAhead,
  writeStages,
} from './copy-pipe.ts';
import {
  type CopyLegs,
  type CopyNetwork,
  CopyRunner,
  type Counter,
  together,
} from './copy-runner.ts';
import { mergeRefusals } from './restore-problems.ts';
import { warmCopy } from './warm-threads.ts';

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
  /** Owners are the same by number; else, between machines, by name. */
  readonly byNumber: boolean;
  /** When it is done, all is on the disk. */
  readonly syncs: boolean;
  readonly dryRun: boolean;
  /** That read, and that write; undefined: one for a single item, for a tree one for each processor. */
  readonly threads: number | undefined;
  readonly signal: AbortSignal;
  onProblem(path: ByteString, error: ErrorRecord): void;
  onProgress(progress: CopyProgress): void;
}

export interface CopyProgress {
  readonly files: number;
  readonly bytes: number;
  /** Of what is to be copied, as far as that is known. */
  readonly filesTotal?: number;
  readonly bytesTotal?: number;
  /** That is what was found so far. */
  readonly isTotalLeast?: boolean;
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
  /** Of large files that an interrupted copy had brought already. */
  readonly bytesResumed: number;
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
  /** Something is at the target already, or may be. */
  readonly exists: boolean;
}

/**
 * Copies.
 *
 * @throws SOURCE_MISSING, USAGE, INTERRUPTED, HOST_IO, PIPE_FAILED; NET_DENIED and what else networks do
 */
export async function copy(request: CopyRequest): Promise<CopyResult> {
  try {
    return await new Copy(request).run();
  } finally {
    dropWarmThreads();
  }
}

class Copy {
  readonly #request: CopyRequest;
  readonly #runner: CopyRunner;
  readonly #refusals: MetadataRefusals[] = [];
  readonly #token = randomBytes(8).toString('hex');
  /** Under this name the other machine keeps the listing, where it has the source. */
  readonly #listingId = randomBytes(16).toString('hex');
  readonly #told = new Set<string>();
  #problems = 0;
  #total: Pick<CopyProgress, 'filesTotal' | 'bytesTotal' | 'isTotalLeast'> = {};

  constructor(request: CopyRequest) {
    this.#request = request;
    this.#runner = new CopyRunner(request.network, request.signal);
    if (request.source.server !== undefined && request.target.server !== undefined) {
      throw new PenstockError('USAGE', 'one side of a copy must be this machine');
    }
  }

  async run(): Promise<CopyResult> {
    try {
      return await this.#run();
    } finally {
      this.#runner.close();
    }
  }

  async #run(): Promise<CopyResult> {
    const plan = await this.#plan();
    this.#warm(plan);
    if (!plan.exists) {
      const copying = await this.#runner.begin(this.#copying(plan, undefined));
      return this.#result(await copying.done);
    }
    const listing = openListing();
    try {
      // Beside each other: what compares follows the listing while it grows. The listing begins first: it waits
      // for nobody, while a copy that has the last room on a machine would wait for it.
      const listed = await this.#runner.begin(this.#listing(plan, listing));
      const copying = this.#runner.begin(this.#copying(plan, listing));
      return this.#result(await together(listed, copying));
    } finally {
      closeListing(listing);
    }
  }

  async #plan(): Promise<Plan> {
    const { source, target } = this.#request;
    const server = source.server ?? target.server;
    const [found, there] = await Promise.all([
      this.#look(source, 'source'),
      this.#look(target, 'target'),
      // Those of the listing and of the copy.
      server === undefined ? undefined : this.#runner.openAhead(server, 2),
    ]);
    if (found.kind === undefined) {
      const message = `${toDisplay(source.path)} does not exist`;
      throw new PenstockError('SOURCE_MISSING', message, { subject: source.path });
    }
    const isLocal = source.server === undefined && target.server === undefined;
    if (found.kind === KIND.directory) {
      if (isLocal) refuseNested(source.path, target.path);
      const exists = there.kind !== undefined || there.isDirectory;
      return { source, target, item: undefined, rename: undefined, exists };
    }
    const from = split(source);
    const isInto = target.path.endsWith('/') || there.isDirectory;
    const to = isInto ? { place: target, name: from.name } : split(target);
    if (isLocal && isSame(from.place.path, to.place.path) && from.name === to.name) {
      throw new PenstockError('USAGE', 'source and target are the same');
    }
    // Of a large file that is not there yet a part may be.
    const mayGoOn = (found.size ?? 0) >= PART_FROM_BYTES;
    const exists = mayGoOn || (isInto ? there.isDirectory : there.kind !== undefined);
    return { source: from.place, target: to.place, item: from.name, rename: to.name, exists };
  }

  /** The other machine does the same for itself. */
  #warm({ source, target, exists, rename }: Plan): void {
    const isLocal = source.server === undefined && target.server === undefined;
    const side = isLocal ? 'both' : source.server === undefined ? 'source' : 'target';
    warmCopy(side, exists, 'none', this.#threads(rename));
  }

  async #look({ path, server }: CopyPlace, as: 'source' | 'target'): Promise<Looked> {
    if (server !== undefined) return this.#runner.look(server, path, as);
    const isDirectory = statusOf(`${path}/`)?.kind === KIND.directory;
    const { kind, size } = statusOf(path) ?? {};
    return {
      isDirectory,
      ...(kind === undefined ? {} : { kind }),
      ...(kind === KIND.file && size !== undefined ? { size } : {}),
    };
  }

  /** Lists the target to where the source is. */
  #listing({ source, target, rename }: Plan, listing: Listing): CopyLegs {
    const isOneMachine = source.server === undefined && target.server === undefined;
    const tellsOwners = !isOneMachine && !this.#request.byNumber;
    const what = { mayBeMissing: true, compares: true, findsParts: true, tellsOwners };
    if (target.server !== undefined) {
      const options = { path: target.path, item: rename, ...what };
      const stages = [{ name: 'scan', modules: [{ name: 'copy-scan', options }] }];
      const { server } = target;
      const agentTail = [keepModule({ listing })];
      const far = {
        server,
        flow: 'pull',
        stages,
        allocating: 1,
        ordered: true,
        agentTail,
      } as const;
      return { near: [], allocating: 1, far };
    }
    const scan = copyScan(resolveCopyRoot(target.path), rename, what);
    if (source.server === undefined) return { near: [listStage(scan, { listing })], allocating: 1 };
    const options = { listing: this.#listingId };
    const stages = [{ name: 'keep', modules: [{ name: 'copy-keep', options }] }];
    const { server } = source;
    const far = { server, flow: 'push', stages, allocating: 1, ordered: true, links: 1 } as const;
    return { near: [scanStage(scan)], allocating: 1, far };
  }

  #copying(plan: Plan, listing: Listing | undefined): CopyLegs {
    const legs =
      plan.source.server !== undefined
        ? this.#pull(plan, plan.source.server)
        : this.#push(plan, plan.target.server, listing);
    const stage = plan.target.server === undefined ? 'write' : 'read';
    return {
      ...legs,
      onMessage: (message) => this.#message(message as CopyMessage),
      onLook: (counter) =>
        this.#request.onProgress({
          files: counter(COPY_COUNTER.filesDone, stage),
          bytes: counter(COPY_COUNTER.bytesDone, stage),
          ...this.#total,
        }),
    };
  }

  /** The source is here; the target is `server`'s, or here too. */
  #push(plan: Plan, server: Server | undefined, listing: Listing | undefined): CopyLegs {
    const { owners, dryRun, byNumber, syncs } = this.#request;
    const { source, target, item, rename, exists } = plan;
    const threads = this.#threads(rename);
    const root = resolveCopyRoot(source.path);
    const comparing = compareStages(copyScan(root, item, { compares: exists }), {
      listing,
      byNumber: byNumber || server === undefined,
      comparesOwners: owners,
      rename,
      dryRun,
    });
    const heads = comparing.length;
    if (dryRun) return { near: [...comparing, discardStage()], allocating: 1 };
    const near = [
      ...comparing,
      readStage({ root, rename, namesOwners: server !== undefined && !byNumber }, threads),
    ];
    const allocating = threads + heads;
    if (server === undefined) {
      const options = { root: resolveCopyRoot(target.path), owners, syncs, token: this.#token };
      return { near: [...near, ...writeStages(options, threads)], allocating };
    }
    const options = { path: target.path, owners, syncs, token: this.#token };
    const lazily = { startWhen: 'first-buffer' } as const;
    const write = { name: 'write', modules: [{ name: 'copy-write', options }], instances: threads };
    const finish = { name: 'finish', modules: [{ name: 'copy-finish', options }] };
    // What was copied before is put on the disk also where there is nothing to be copied.
    const stages = [{ ...write, ...lazily }, syncs ? finish : { ...finish, ...lazily }];
    const far = { server, flow: 'push', stages, allocating: 2, ordered: false } as const;
    return { near, allocating, far };
  }

  /** The source is the server's, the target here. */
  #pull({ source, target, item, rename, exists }: Plan, server: Server): CopyLegs {
    const { owners, dryRun, byNumber, syncs } = this.#request;
    const { path } = source;
    const threads = this.#threads(rename);
    const isAhead = scansAhead(exists, rename);
    const options = {
      path,
      item,
      isScanned: isAhead,
      ...(exists ? { listing: this.#listingId } : {}),
      byNumber,
      comparesOwners: owners,
      rename,
      dryRun,
    };
    const scanning = { name: 'copy-scan', options: { path, item, compares: exists } };
    const heads = [
      ...(isAhead ? [{ name: 'scan', modules: [scanning] }] : []),
      {
        name: 'compare',
        modules: [{ name: 'copy-compare', options }],
        allocates: isAhead && !dryRun,
      },
    ];
    const modules = [{ name: 'copy-read', options: { path, rename, namesOwners: !byNumber } }];
    const startWhen = 'first-buffer';
    const read = { name: 'read', modules, instances: threads, allocates: true, startWhen } as const;
    const far = {
      server,
      flow: 'pull',
      stages: dryRun ? heads : [...heads, read],
      allocating: threads + heads.length,
      ordered: false,
    } as const;
    if (dryRun) return { near: [discardStage()], allocating: 1, far };
    const written = { root: resolveCopyRoot(target.path), owners, syncs, token: this.#token };
    return { near: writeStages(written, threads), allocating: 2, far };
  }

  /** One file is read and written from its beginning to its end: a second thread would only take its turns. */
  #threads(rename: ByteString | undefined): number {
    return this.#request.threads ?? (rename === undefined ? availableParallelism() : 1);
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
      bytesResumed: compared(COPY_COUNTER.bytesResumed),
      metadataOnly: compared(COPY_COUNTER.metadataOnly),
      filesDone: written(COPY_COUNTER.filesDone),
      bytesDone: written(COPY_COUNTER.bytesDone),
      problems: this.#problems,
      refusals: mergeRefusals(this.#refusals),
    };
  }

  #message(message: CopyMessage): void {
    if (message.type === 'refusals') this.#refusals.push(message.refusals);
    else if (message.type === 'total') {
      const { files: filesTotal, bytes: bytesTotal, isLeast: isTotalLeast } = message;
      this.#total = { filesTotal, bytesTotal, isTotalLeast };
    } else if (message.type === 'problem') {
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
  | CopyTotal;

/** What is at a path, through its last link where it ends in a slash; undefined: nothing. */
function statusOf(path: ByteString): FileStatus | undefined {
  const status = new FileStatus();
  const files = openFiles();
  const looked = path.endsWith('/')
    ? files.statusFollow(CWD, path, status)
    : files.status(CWD, path, status);
  if (looked === -ERRNO.ENOENT || looked === -ERRNO.ENOTDIR) return undefined;
  if (looked < 0) throw ioError(looked, 'look at', path);
  return status;
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
