/**
 * The flow of a backup: sources → walk → work (collect, seal) → place → chunks, index, archive record.
 *
 * Commit order: (1) a chunk is durable, (2) so is its index segment, (3) when all chunks that the
 * archive names are durable, the archive record: the one commit point. Every few minutes a partial
 * archive is committed the same way, as the base of the next run if this one is interrupted (M11).
 * Whatever goes wrong before (3), earlier archives are as they were.
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { usedChunks } from '../index/blob-index.ts';
import { COUNTER } from '../modules/backup-buffers.ts';
import type { ChunkWriterOptions, PlacedChunk } from '../modules/chunk-writer.ts';
import { receiveRoot } from '../modules/manifest-cursor.ts';
import type { SelectionOptions } from '../modules/selection.ts';
import type { SourceProblem } from '../modules/source-problems.ts';
import type { WalkReport } from '../modules/walk-options.ts';
import { dropWarmThreads, type Pipe, startPipe } from '../pipe/mod.ts';
import { type Archive, type ArchiveStatistics, encodeArchive, listArchives } from './archives.ts';
import { backupPipe, isInOneThread } from './backup-pipe.ts';
import { readDamageNotes } from './damage-notes.ts';
import {
  type LoadedIndex,
  loadIndex,
  mergeIndex,
  storeSegment,
  toChunkNames,
} from './index-store.ts';
import { runProtocol } from './protocol-store.ts';
import { presentChunks } from './prune-protocol.ts';
import type { Repository } from './repository.ts';
import { idleSession, openSession, type Session } from './session.ts';
import { writeSessionChunk } from './session-chunk.ts';
import { type ChunkTable, storeMapRecords } from './storage-map.ts';

export interface BackupRequest {
  /** Absolute paths, canonical, without a trailing slash (but "/"). */
  readonly paths: readonly ByteString[];
  readonly name: string;
  readonly host: string;
  readonly user: string;
  readonly writer: string;
  readonly selection: SelectionOptions;
  /** Reads everything again. */
  readonly full: boolean;
  /** Shared memory of the pipe, bytes; undefined: by the number of threads. */
  readonly memoryBytes?: number | undefined;
  readonly threads: number;
  /** One of many at the same time: it gets by with fewer threads. */
  readonly isOneOfMany?: boolean;
  /** zstd level; 0: nothing is compressed. */
  readonly level: number;
  readonly checkpointMs: number;
  /** For so long the archive cannot be forgotten. */
  readonly protectMs?: number | undefined;
  /** Walks the sources beside the backup, so that progress has a total. */
  readonly estimates: boolean;
  /** Nothing is written to the repository. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
  onProblem(problem: SourceProblem): void;
  onProgress(progress: BackupProgress): void;
}

export interface BackupProgress {
  readonly files: number;
  readonly bytes: number;
  /** Undefined until something of it is known. */
  readonly bytesTotal: number | undefined;
  /** That is what was found so far. */
  readonly isTotalLeast: boolean;
  readonly bytesRead: number;
  readonly bytesStored: number;
}

export interface BackupResult {
  /** Undefined for a dry run. */
  readonly archive: Archive | undefined;
  /** Items left out or incomplete. */
  readonly problems: number;
  /** The whole archive that was the base, if any. */
  readonly previous: Archive | undefined;
  readonly filesSeen: number;
  readonly filesUnchanged: number;
  readonly filesChanged: number;
  readonly directories: number;
  readonly others: number;
  readonly bytes: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly blobsDuplicate: number;
}

/**
 * Makes one archive.
 *
 * @throws SESSION_LOST (run again: it continues), INTERRUPTED, REPO_FULL, REPO_IO, PIPE_FAILED
 */
export async function backup(
  repository: Repository,
  request: BackupRequest,
): Promise<BackupResult> {
  const session = request.dryRun
    ? idleSession(repository)
    : await openSession(repository, 'backup');
  // A drive has buffers for some streams at once: the others begin when one has ended.
  const pooled = request.dryRun ? undefined : repository.pooled;
  try {
    await pooled?.openStream(session.id);
    return await new Backup(repository, request, session).run();
  } finally {
    dropWarmThreads();
    await pooled?.endStream(session.id).catch(() => undefined);
    await session.end().catch(() => undefined);
  }
}

class Backup {
  readonly #repository: Repository;
  readonly #request: BackupRequest;
  readonly #session: Session;
  readonly #startedMs: number;
  /** Chunks that this session has made durable and indexed. */
  readonly #chunks: ChunkTable[] = [];
  #problems = 0;
  #index: LoadedIndex | undefined;
  #bases: readonly Archive[] = [];
  /** Whether a chunk is where this archive's data go. */
  #isKnown: (chunk: string) => boolean = () => true;
  /** Partial archives of the name that this one makes needless. */
  #superseded: readonly string[] = [];
  #pipe: Pipe | undefined;
  /** Index segments being stored, in order. */
  #indexing: Promise<void> = Promise.resolve();
  #walked: ((report: WalkReport) => void) | undefined;
  #checkpointed: ((report: WalkReport) => void) | undefined;
  #partial: string | undefined;

  constructor(repository: Repository, request: BackupRequest, session: Session) {
    this.#repository = repository;
    this.#request = request;
    this.#session = session;
    this.#startedMs = repository.around.clock.nowMs();
  }

  async run(): Promise<BackupResult> {
    const { archives } = await listArchives(this.#repository);
    this.#isKnown = (await this.#repository.pooled?.knowing()) ?? (() => true);
    const own = archives.filter(
      ({ name, chunks }) => name === this.#request.name && chunks.every(this.#isKnown),
    );
    this.#bases = this.#request.full ? [] : chooseBases(own);
    this.#superseded = own.filter((archive) => archive.partial).map((archive) => archive.id);
    const index = await this.#loadIndex();
    this.#index = index;
    try {
      const report = await this.#runPipe(index);
      return await this.#finish(report);
    } finally {
      index.close();
    }
  }

  /** What is in damaged blocks is read and stored again. */
  async #loadIndex(): Promise<LoadedIndex> {
    const present = await runProtocol(presentChunks(), this.#session.store);
    const { blocks } = await readDamageNotes(this.#repository);
    const usable = (id: string): boolean =>
      present.has(id) && !this.#session.avoid.has(id) && this.#isKnown(id);
    return loadIndex(this.#repository, usable, { blocks });
  }

  async #runPipe(index: LoadedIndex): Promise<WalkReport> {
    const { signal } = this.#request;
    signal.throwIfAborted();
    const walked = new Promise<WalkReport>((resolve) => {
      this.#walked = resolve;
    });
    const pipe = await startPipe({
      ...backupPipe({
        repository: this.#repository,
        request: this.#request,
        index: index.share,
        bases: this.#bases.map((archive) => archive.root),
        chunks: this.#chunkOptions(),
        startedMs: this.#startedMs,
      }),
      onMessage: (_stage: string, _instance: number, message: unknown) =>
        this.#message(message as StageMessage),
    });
    this.#pipe = pipe;
    const stop = (): void => void pipe.stop('interrupted');
    signal.addEventListener('abort', stop, { once: true });
    const ended = new AbortController();
    if (this.#request.estimates) this.#estimate(ended.signal);
    const progress = setInterval(() => this.#progress(), 200);
    const checkpoints = setInterval(() => void this.#checkpoint(), this.#request.checkpointMs);
    try {
      await pipe.done.finally(() => {
        this.#isOver = true;
      });
    } catch (error) {
      // Where indexing failed, that is what ended the pipe.
      const cause = await this.#indexing.then(
        () => error,
        (first: unknown) => first,
      );
      signal.throwIfAborted();
      throw cause;
    } finally {
      ended.abort();
      clearInterval(progress);
      clearInterval(checkpoints);
      signal.removeEventListener('abort', stop);
    }
    await this.#checkpointing;
    await this.#indexing;
    this.#progress();
    return await walked;
  }

  #chunkOptions(): ChunkWriterOptions {
    const { settings, pooled } = this.#repository;
    const pool = pooled?.target;
    return {
      session: this.#session.id,
      chunkBytes: pool?.chunkBytes ?? settings.chunkBytes,
      partBytesMax: pool && pool.blockBytes - LIMITS.headerRoomBytes,
      writer: this.#request.writer,
      createdMs: this.#startedMs,
    };
  }

  #message(message: StageMessage): void {
    if (message.type === 'placed') this.#placed(message.chunk);
    else if (message.type === 'problem') {
      this.#problems++;
      this.#request.onProblem(message.problem);
    } else if (message.type === 'walked') this.#walked?.(message.report);
    else this.#checkpointed?.(message.report);
  }

  /** A chunk is durable: its index segment is next. */
  #placed(chunk: PlacedChunk): void {
    this.#indexing = this.#indexing.then(async () => {
      if (chunk.names.length > 0)
        await storeSegment(this.#repository, [toChunkNames(chunk, this.#session.id)]);
      this.#chunks.push(toChunkTable(chunk));
    });
    // Seen where the result is awaited; without a handler here the process would end.
    this.#indexing.catch(
      (error) => void this.#pipe?.stop(error instanceof Error ? error.message : String(error)),
    );
  }

  #counter(which: number): number {
    const pipe = this.#pipe;
    return pipe === undefined ? 0 : pipe.counter(which);
  }
  #progress(): void {
    this.#request.onProgress({
      files: this.#counter(COUNTER.filesSeen),
      bytes: this.#counter(COUNTER.bytesSeen),
      bytesTotal: this.#total,
      isTotalLeast: this.#isCounting,
      bytesRead: this.#counter(COUNTER.bytesRead),
      bytesStored: this.#counter(COUNTER.bytesStored),
    });
  }
  #total: number | undefined;
  #isCounting = false;
  #estimate(signal: AbortSignal): void {
    const { paths, selection } = this.#request;
    this.#isCounting = true;
    const found = ({ bytes }: { readonly bytes: number }): void => {
      this.#total = bytes;
    };
    import('./estimate.ts')
      .then(({ estimateSources }) => estimateSources(paths, selection, signal, found))
      .then((all) => {
        found(all);
        this.#isCounting = false;
      })
      .catch(() => undefined);
  }

  /** Checkpoint: a partial archive of all that is safe. */
  #checkpointing: Promise<void> | undefined;
  #isOver = false;
  /** Bytes that had been read when the last one was taken. */
  #checkpointBytes = 0;
  async #checkpoint(): Promise<void> {
    const bytesRead = this.#counter(COUNTER.bytesRead);
    // Where nothing was read since the last one, there is nothing to make safe.
    if (bytesRead === this.#checkpointBytes) return;
    if (this.#checkpointing !== undefined || this.#request.dryRun) return;
    this.#checkpointBytes = bytesRead;
    // A checkpoint that fails is no reason to end the backup: its own commit will tell.
    this.#checkpointing = this.#takeCheckpoint().catch(() => undefined);
    await this.#checkpointing;
    this.#checkpointing = undefined;
  }
  async #takeCheckpoint(): Promise<void> {
    const pipe = must(this.#pipe, 'a pipe');
    const reported = new Promise<WalkReport>((resolve) => {
      this.#checkpointed = resolve;
    });
    await pipe.control('walk', 'checkpoint');
    const report = await Promise.race([
      reported,
      pipe.done.then(
        () => undefined,
        () => undefined,
      ),
    ]);
    if (report === undefined) return;
    // What the walk has taken is in blocks of the walk (sent) and of collectors (open until flushed).
    const isInOne = isInOneThread(this.#request);
    await pipe.control(isInOne ? 'walk' : 'work', 'flush', 'started');
    if (!isInOne) await pipe.drained('place', 'walk');
    await pipe.control(isInOne ? 'walk' : 'place', 'commit', 'started');
    await this.#indexing;
    // Where the pipe has ended meanwhile, the archive itself is about to be committed.
    if (this.#isOver) return;
    const previous = this.#partial;
    this.#partial = (await this.#commit(report, true)).id;
    if (previous !== undefined && !this.#keepsAll)
      await this.#repository.store.remove('archives', previous);
  }

  /** Superseded partial archives stay where they cannot be removed. */
  get #keepsAll(): boolean {
    return this.#repository.store.appendOnly === true;
  }

  async #finish(report: WalkReport): Promise<BackupResult> {
    const archive = this.#request.dryRun ? undefined : await this.#commit(report, false);
    if (archive !== undefined) {
      const superseded = [...this.#superseded];
      if (this.#partial !== undefined) superseded.push(this.#partial);
      if (this.#keepsAll) superseded.length = 0;
      for (const id of superseded) await this.#repository.store.remove('archives', id);
      await mergeIndex(this.#repository);
    }
    return {
      archive,
      problems: this.#problems,
      previous: this.#bases.find((base) => !base.partial),
      filesSeen: this.#counter(COUNTER.filesSeen),
      filesUnchanged: this.#counter(COUNTER.filesUnchanged),
      filesChanged: this.#counter(COUNTER.filesChanged),
      directories: this.#counter(COUNTER.directories),
      others: this.#counter(COUNTER.others),
      bytes: this.#counter(COUNTER.bytesSeen),
      bytesRead: this.#counter(COUNTER.bytesRead),
      bytesNew: this.#counter(COUNTER.bytesNew),
      bytesStored: this.#counter(COUNTER.bytesStored),
      blobsDuplicate: this.#counter(COUNTER.blobsDuplicate),
    };
  }
  async #commit(report: WalkReport, partial: boolean): Promise<Archive> {
    const { around } = this.#repository;
    const index = must(this.#index, 'the index');
    const draft: Archive = {
      id: around.random.bytes(16).toString('hex'),
      session: this.#session.id,
      name: this.#request.name,
      host: this.#request.host,
      user: this.#request.user,
      paths: this.#request.paths,
      startedMs: this.#startedMs,
      endedMs: around.clock.nowMs(),
      partial,
      previous: this.#bases.find((base) => !base.partial)?.id,
      root: receiveRoot(report.root),
      owners: report.owners,
      groups: report.groups,
      statistics: this.#statistics(),
      chunks: [],
      protectedUntilMs: partial ? undefined : await this.#protectedUntil(),
      writer: this.#request.writer,
      system: `${process.platform} bytes`,
    };
    this.#chunks.push(
      toChunkTable(await writeSessionChunk(this.#repository, draft, this.#chunkOptions())),
    );
    const archive: Archive = {
      ...draft,
      chunks: [...usedChunks(index.share), ...this.#chunks.map((chunk) => chunk.id)],
    };
    const outcome = await this.#session.commit(
      archive.id,
      archive.chunks,
      encodeArchive(this.#repository, archive),
    );
    if (outcome.outcome === 'lost') {
      const because =
        outcome.because === 'lease'
          ? 'its lease ran out'
          : 'a prune has removed data that it relied on';
      throw new PenstockError('SESSION_LOST', `the backup could not be committed: ${because}`);
    }
    // The archive stands; a map that could not be stored is made again by `catalog rebuild`.
    await storeMapRecords(this.#repository, this.#chunks, archive).catch(() => undefined);
    return archive;
  }
  /** By the clock of the storage, which `forget` goes by too. */
  async #protectedUntil(): Promise<number | undefined> {
    const { protectMs } = this.#request;
    return protectMs === undefined ? undefined : (await this.#repository.store.nowMs()) + protectMs;
  }
  #statistics(): ArchiveStatistics {
    return {
      files: this.#counter(COUNTER.filesSeen),
      entries: this.#counter(COUNTER.entries),
      bytes: this.#counter(COUNTER.bytesSeen),
      bytesRead: this.#counter(COUNTER.bytesRead),
      bytesNew: this.#counter(COUNTER.bytesNew),
      bytesStored: this.#counter(COUNTER.bytesStored),
      problems: this.#problems,
    };
  }
}

/** What the map keeps of a chunk: not the names. */
function toChunkTable({ id, contentClass, bytes, blocks }: PlacedChunk): ChunkTable {
  return { id, contentClass, bytes, blocks };
}

type StageMessage =
  | { readonly type: 'placed'; readonly chunk: PlacedChunk }
  | { readonly type: 'problem'; readonly problem: SourceProblem }
  | { readonly type: 'walked'; readonly report: WalkReport }
  | { readonly type: 'checkpoint'; readonly report: WalkReport };

/** Of runs that were killed, each may have come further in another part of the sources. */
const PARTIAL_BASES_MAX = 4;

/** The last whole archive, and before it partial ones since, newest first: what they have is safe. */
function chooseBases(own: readonly Archive[]): Archive[] {
  const whole = own.findLast((archive) => !archive.partial);
  const partials = own.filter(
    ({ partial, startedMs }) => partial && startedMs >= (whole?.startedMs ?? 0),
  );
  const bases = partials.reverse().slice(0, PARTIAL_BASES_MAX);
  return whole === undefined ? bases : [...bases, whole];
}
