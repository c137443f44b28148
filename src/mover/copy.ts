/**
 * The flow of a copy: what is at the source comes to be at the target; what is the same already is passed
 * over, so that a copy that was interrupted continues.
 *
 * First the target is listed into a file without a name; then the source is scanned beside that listing,
 * and what differs is read, sent, written. The pipes stand in copy-pipe.ts.
 */
import { randomBytes } from 'node:crypto';
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { type ErrorRecord, PenstockError } from '../base/errors.ts';
import { CWD, ERRNO, FileStatus, ioError, KIND, openFiles } from '../host/mod.ts';
import { below, type CopyRoot, resolveCopyRoot, rootPath } from '../modules/copy-root.ts';
import { COPY_COUNTER } from '../modules/copy-stream.ts';
import type { CopyRefusals } from '../modules/copy-target.ts';
import type { MetadataRefusals } from '../modules/file-metadata.ts';
import { closeFile, openNamelessFile } from '../modules/nameless-file.ts';
import type { ScanOwners } from '../modules/scan.ts';
import type { SourceProblem } from '../modules/source-problems.ts';
import { type Pipe, type PipeSpec, startPipe } from '../pipe/mod.ts';
import {
  compareStage,
  copyPipe,
  copyScan,
  keepStage,
  readStage,
  scanStage,
  writeStages,
} from './copy-pipe.ts';
import { mergeRefusals } from './restore-problems.ts';

export interface CopyRequest {
  /** Absolute. One that ends in a slash is a directory whose links are followed. */
  readonly source: ByteString;
  /** Absolute. An item goes into it where it is a directory; else it is the item's new path. */
  readonly target: ByteString;
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
  readonly filesSame: number;
  readonly filesWanted: number;
  readonly bytesWanted: number;
  readonly metadataOnly: number;
  readonly filesDone: number;
  readonly bytesDone: number;
  readonly problems: number;
  readonly refusals: MetadataRefusals;
}

/** What is copied: a whole tree, or one item of a directory. */
interface Plan {
  readonly source: CopyRoot;
  readonly target: CopyRoot;
  readonly item: ByteString | undefined;
  readonly rename: ByteString | undefined;
}

/** Copies. SOURCE_MISSING, USAGE, INTERRUPTED, HOST_IO, PIPE_FAILED. */
export function copy(request: CopyRequest): Promise<CopyResult> {
  return new Copy(request).run();
}

class Copy {
  readonly #request: CopyRequest;
  readonly #refusals: MetadataRefusals[] = [];
  readonly #token = randomBytes(8).toString('hex');
  readonly #told = new Set<string>();
  #problems = 0;

  constructor(request: CopyRequest) {
    this.#request = request;
  }

  async run(): Promise<CopyResult> {
    const plan = this.#plan();
    const listing = openNamelessFile();
    try {
      await this.#list(plan, listing);
      return await this.#copy(plan, listing);
    } finally {
      closeFile(listing);
    }
  }

  #plan(): Plan {
    const { source, target } = this.#request;
    const kind = kindOf(source);
    if (kind === undefined) {
      const message = `${toDisplay(source)} does not exist`;
      throw new PenstockError('SOURCE_MISSING', message, { subject: source });
    }
    if (kind === KIND.directory) {
      const roots = { source: resolveCopyRoot(source), target: resolveCopyRoot(target) };
      refuseNested(roots.source, roots.target);
      return { ...roots, item: undefined, rename: undefined };
    }
    const from = split(source);
    const isInto = target.endsWith('/') || kindOf(`${target}/`) === KIND.directory;
    const to = isInto ? { directory: target, name: from.name } : split(target);
    const roots = {
      source: resolveCopyRoot(from.directory),
      target: resolveCopyRoot(to.directory),
    };
    if (rootPath(roots.source) === rootPath(roots.target) && from.name === to.name) {
      throw new PenstockError('USAGE', 'source and target are the same');
    }
    return { ...roots, item: from.name, rename: to.name };
  }

  async #list({ target, rename }: Plan, listing: number): Promise<void> {
    const scan = scanStage(copyScan(target, rename, true));
    // What of the target cannot be looked at is copied again.
    await this.#run(copyPipe([scan, keepStage({ file: listing })], 1), () => undefined);
  }

  async #copy(plan: Plan, listing: number): Promise<CopyResult> {
    const { owners, dryRun, threads } = this.#request;
    const { source, item, rename } = plan;
    const head = [
      scanStage(copyScan(source, item, false)),
      compareStage({
        listing,
        owners: undefined,
        comparesOwners: owners,
        rename,
        sourcePath: rootPath(source),
        dryRun,
      }),
    ];
    const target = { root: plan.target, owners, token: this.#token };
    const rest = dryRun
      ? []
      : [readStage({ root: source, rename }, threads), ...writeStages(target, threads)];
    const pipe = await this.#run(copyPipe([...head, ...rest], dryRun ? 1 : threads + 2), (now) =>
      this.#progress(now),
    );
    this.#progress(pipe);
    return this.#result(pipe);
  }

  #progress(pipe: Pipe): void {
    if (this.#request.dryRun) return;
    this.#request.onProgress({
      files: pipe.counter(COPY_COUNTER.filesDone, 'write'),
      bytes: pipe.counter(COPY_COUNTER.bytesDone, 'write'),
    });
  }

  #result(pipe: Pipe): CopyResult {
    const compared = (counter: number): number => pipe.counter(counter, 'compare');
    const written = (counter: number): number =>
      this.#request.dryRun ? 0 : pipe.counter(counter, 'write') + pipe.counter(counter, 'finish');
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

  /** Runs a pipe to its end. */
  async #run(spec: PipeSpec, look: (pipe: Pipe) => void): Promise<Pipe> {
    const { signal } = this.#request;
    signal.throwIfAborted();
    const isCopy = spec.stages.some(({ name }) => name === 'compare');
    const pipe = await startPipe({
      ...spec,
      onMessage: (_stage, _instance, message) => {
        if (isCopy) this.#message(message as CopyMessage);
      },
    });
    const stop = (): void => void pipe.stop('interrupted');
    signal.addEventListener('abort', stop, { once: true });
    const looking = setInterval(() => look(pipe), 200);
    try {
      await pipe.done;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      clearInterval(looking);
      signal.removeEventListener('abort', stop);
    }
    return pipe;
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

function split(path: ByteString): { directory: ByteString; name: ByteString } {
  const slash = path.lastIndexOf('/');
  return { directory: path.slice(0, slash) || '/', name: path.slice(slash + 1) };
}

/** A target inside its source would be copied into itself. */
function refuseNested(source: CopyRoot, target: CopyRoot): void {
  if (below(rootPath(source), rootPath(target)) === undefined) return;
  const message = `the target lies in the source: ${toDisplay(rootPath(target))}`;
  throw new PenstockError('USAGE', message);
}
