/**
 * A drive as the main thread sees it: its thread (drive-thread.ts), and the memory over which threads
 * of pipes hand chunks to it.
 *
 * Contract: the thread is started by the first call and does not keep the process alive while nothing
 * is asked. Requests that are under way when it ends fail.
 */

import { getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';
import { codeFile } from '../base/code-file.ts';
import { fromErrorRecord, PenstockError, toErrorRecord } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ChunkMediaPlace } from '../format/chunk-media.ts';
import { openClock } from '../host/mod.ts';
import { CallMemory } from '../pipe/call-memory.ts';
import { calledChunks } from '../pipe/called-chunks.ts';
import type {
  DriveAsk,
  DriveMessage,
  DriveQuestion,
  DriveReport,
  DriveRequest,
  ReadableVolume,
  Told,
  WritableVolume,
  WriteSession,
} from './drive-messages.ts';
import type { DriveThreadData } from './drive-thread.ts';
import { DriveUsers, type DriveUsersData } from './drive-users.ts';
import type { MountService } from './mount-requests.ts';
import { buffersFor } from './volume-buffers.ts';
import type { CommittedChunk } from './volume-commits.ts';

const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 512 } as const;

export interface DriveNews {
  /** A volume is full: which may be next? The first that can be written is taken. */
  nextVolumes(full: string | undefined): Promise<readonly WritableVolume[]>;
  /** May a volume of ours be labelled anew, and what is on it be lost? Nobody can write to it now. */
  mayReplace(volume: string, isEmpty: boolean): Promise<boolean>;
  /** A volume that may not be written; the next one is tried. */
  onProtected(volume: string): void;
  /** A damaged volume, or copy of a chunk, is passed over, and another one is taken. */
  onPassedOver(error: PenstockError): void;
  /** A volume is being written from now on; it was another one before it was labelled. */
  onLoaded(volume: string, replaced: string | undefined): void;
  onCommitted(chunk: CommittedChunk): void;
}

interface Waiting {
  readonly resolve: (report: DriveReport | undefined) => void;
  readonly reject: (error: Error) => void;
}

export class DriveLink {
  readonly #calls: CallMemory;
  readonly #news: DriveNews;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended: Promise<void>;
  #next = 1;
  #failure: PenstockError | undefined;

  readonly #mounts: MountService | undefined;

  /**
   * @param recordBytes the longest record
   * @param mounts who brings tapes that are not there
   * @param bufferBytes memory of the buffers of what is written (VolumeWriterOptions)
   * @param users which of the tape drives other threads use; absent: there are no others
   */
  constructor(
    recordBytes: number,
    news: DriveNews,
    mounts?: MountService,
    bufferBytes?: number,
    users?: DriveUsersData,
  ) {
    this.#mounts = mounts;
    const buffers = buffersFor(recordBytes, bufferBytes);
    this.#calls = CallMemory.make(LIMITS.driveSlots, recordBytes, buffers);
    this.#news = news;
    const data: DriveThreadData = {
      thread: codeFile('media/drive-thread').href,
      cacheFolder: getCompileCacheDir(),
      memory: this.#calls.shared,
      ...(users === undefined ? {} : { users }),
      mountWaitMs: mounts?.signal.aborted === false ? mounts.waitMs : 0,
    };
    this.#worker = new Worker(codeFile('pipe/event-worker.js'), {
      name: 'drive',
      workerData: data,
      resourceLimits: RESOURCE_LIMITS,
    });
    this.#worker.unref();
    this.#worker.on('message', (message: DriveMessage) => this.#take(message));
    this.#worker.on('error', (cause) => this.#fail(cause));
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#calls.end();
        if (users !== undefined) new DriveUsers(users).leaveAll();
        this.#fail(undefined);
        mounts?.signal.removeEventListener('abort', never);
        resolve();
      });
    });
    const never = (): void => this.#send({ type: 'mounts', are: 'never' });
    mounts?.signal.addEventListener('abort', never);
  }

  /** Whether tapes that are not there are asked for; else they are errors at once. */
  askForTapes(are: boolean): void {
    this.#send({ type: 'mounts', are: are ? 'asked' : 'held' });
  }

  /** For threads of pipes: chunks are created and opened there. */
  get chunkMedia(): ChunkMediaPlace {
    const gone = { code: 'VOLUME_IO', message: 'the drive has failed' } as const;
    return calledChunks({
      memory: this.#calls.shared,
      gone,
      wholeWrites: true,
      tellsDurable: true,
      tellsOrder: true,
    });
  }

  /** Begins a session on the first of the volumes that can be written. POOL_EXHAUSTED, VOLUME_… */
  async write(session: WriteSession, volumes: readonly WritableVolume[]): Promise<void> {
    await this.#ask({ type: 'write', session, volumes });
  }

  /** Waits until there are buffers for one more stream, in the order of asking. */
  async openStream(stream: string): Promise<void> {
    await this.#ask({ type: 'open-stream', stream });
  }

  /** Its buffers are others' from now on; what it wrote is written all the same. */
  async endStream(stream: string): Promise<void> {
    if (this.#failure === undefined) await this.#ask({ type: 'end-stream', stream });
  }

  /** Writes a whole chunk, its trailer included; it is on the medium when this returns. */
  async putChunk(chunk: string, parts: readonly Uint8Array[]): Promise<void> {
    await this.#ask({ type: 'put', chunk, parts });
  }

  /** Chunks can be read from these volumes from now on. */
  async read(volumes: readonly ReadableVolume[]): Promise<void> {
    await this.#ask({ type: 'read', volumes });
  }

  /** Resolves when all news of what the drive has done so far have come. */
  async barrier(): Promise<void> {
    if (this.#failure === undefined) await this.#ask({ type: 'barrier' });
  }

  /** Ends what is being written and read. Nobody else can write to the volumes until `release`. */
  async finish(): Promise<DriveReport> {
    const report = await this.#ask({ type: 'finish' });
    if (report === undefined) throw new PenstockError('INTERNAL', 'a drive without a report');
    return report;
  }

  async release(): Promise<void> {
    await this.#ask({ type: 'release' });
  }

  /** Ends the thread; a session that was not finished is left as after a crash. */
  async close(): Promise<void> {
    this.#worker.ref();
    this.#send({ type: 'close' });
    const late = setTimeout(() => void this.#worker.terminate(), LIMITS.threadExitMs);
    await this.#ended;
    clearTimeout(late);
  }

  /** Writes a part of a chunk; resolves when it was taken. */
  async part(chunk: string, position: number, bytes: Uint8Array): Promise<void> {
    await this.#ask({ type: 'part', chunk, position, bytes });
  }
  /** Gives a chunk up. */
  async discard(chunk: string): Promise<void> {
    await this.#ask({ type: 'discard', chunk });
  }

  #ask(request: DriveQuestion): Promise<DriveReport | undefined> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#next++;
    // While somebody waits for an answer the process must not end.
    if (this.#waiting.size === 0) this.#worker.ref();
    this.#send({ ...request, id });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #send(request: DriveRequest): void {
    this.#worker.postMessage(request);
  }

  #take(message: DriveMessage): void {
    if (message.type === 'committed') this.#news.onCommitted(message.chunk);
    else if (message.type === 'protected') this.#news.onProtected(message.volume);
    else if (message.type === 'passed-over')
      this.#news.onPassedOver(fromErrorRecord(message.error));
    else if (message.type === 'loaded') this.#news.onLoaded(message.volume, message.replaced);
    else if (message.type === 'ask') void this.#tell(message.ask, message);
    else {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (this.#waiting.size === 0) this.#worker.unref();
      if (message.error !== undefined) waiting?.reject(fromErrorRecord(message.error));
      else waiting?.resolve(message.report);
    }
  }

  async #tell(ask: number, about: DriveAsk): Promise<void> {
    try {
      this.#send({ type: 'told', ask, told: await this.#answerTo(about) });
    } catch (thrown) {
      this.#send({ type: 'told', ask, error: toErrorRecord(thrown) });
    }
  }
  async #answerTo(ask: DriveAsk): Promise<Told> {
    if (ask.about === 'mount') {
      // After so long the drive's thread has told it.
      if (openClock().nowMs() - ask.askedMs > LIMITS.mountTellMs) return false;
      this.#mounts?.tell(ask.request);
      return true;
    }
    return ask.about === 'next'
      ? await this.#news.nextVolumes(ask.full)
      : await this.#news.mayReplace(ask.volume, ask.isEmpty);
  }

  #fail(cause: unknown): void {
    this.#failure ??= new PenstockError('VOLUME_IO', 'the thread of the drive has ended', {
      cause,
    });
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
