/**
 * Several streams onto one drive at the same time (L2–L4): records are interleaved in the order in which
 * they arrive, those of one stream stay in order.
 *
 * Contract:
 * - `openStream` waits until there are buffers for one more; `write` copies the record and returns when
 *   it may be forgotten by the caller (volume-buffers.ts says who gets the next buffer).
 * - A chunk is committed, and `onCommitted` told, only when all its records lie before a
 *   synchronisation. The drive synchronises after so many bytes, or so long, and at the end.
 * - When the medium ends, or warns of its end, the session is ended there and goes on, on the next
 *   volume. What had not been synchronised is written again, there.
 * - An error that the drive does not recover from ends everything: every waiting and later call throws
 *   it. What was committed stays so.
 */
import { assert } from '../base/assert.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import { type Clock, openClock } from '../host/mod.ts';
import { isVolumeError, type Volume, volumeError } from './volume.ts';
import { type BufferShare, VolumeBuffers } from './volume-buffers.ts';
import { type CommittedChunk, VolumeCommits } from './volume-commits.ts';
import type { SessionEntry } from './volume-index.ts';
import { DrivePace, type PaceOptions } from './volume-pace.ts';
import { type LogPlace, type PendingRecord, VolumeSession } from './volume-session.ts';
import { type StreamingFigures, StreamingMeter } from './volume-streaming.ts';
import { WriteLog } from './write-log.ts';

/** A volume that is loaded, and whose label was read or written. */
export interface LoadedVolume {
  readonly volume: Volume;
  readonly label: VolumeLabel;
  /** Objects that are known to be on it (SessionOptions). */
  readonly leastObjects?: number;
}

export interface VolumeWriterOptions extends PaceOptions {
  /** Given by the application: it names the session on each of its volumes, and its logs. */
  readonly id: string;
  /** Program and version. */
  readonly writer: string;
  /** Called when `full` has no more room. Nothing: there is no other, and the session fails. */
  readonly nextVolume?: (full: VolumeLabel) => Promise<LoadedVolume | undefined>;
  readonly onCommitted?: (chunk: CommittedChunk) => void | Promise<void>;
  /** Memory of all buffers, each as long as the pool's longest record. */
  readonly bufferBytes?: number;
  /**
   * From 0 to 0.5: which part of the buffers is kept for what was written and is not synchronised. Best
   * as much as the drive itself holds back: if it loses more, the session fails.
   */
  readonly keep?: number;
  /** From 0 to 1: when a stream that had to wait goes on, as part of its even share. */
  readonly lowWater?: number;
  /** A file mark after so many bytes; 0: none but at the end. */
  readonly markBytes?: number;
  /** One entry of the log a record, instead of one a run. */
  readonly logPerRecord?: boolean;
  readonly logPlace?: LogPlace;
  /**
   * Believes no log that is on the first volume: that of this session has everything on it, found by
   * headers. So a log that is damaged is written again, also by a session without streams.
   */
  readonly rebuildLog?: boolean;
  /** The log of a volume's session; in memory by default. */
  readonly newLog?: (label: VolumeLabel) => WriteLog | Promise<WriteLog>;
  readonly clock?: Clock;
}

/** Where a record belongs. */
export interface RecordPlace {
  /** Id of the chunk, 32 hex digits; zeros in a stream that has none. */
  readonly chunk: string;
  /** Which part of the chunk (of the stream) it is, from 0. */
  readonly part: number;
  /** The last one: its footer. */
  readonly isLast: boolean;
}

/** What a session did on one volume. */
export interface WrittenVolume {
  readonly label: VolumeLabel;
  /** Absent where there was no room for the session's end: the log is found again by its headers. */
  readonly entry?: SessionEntry;
  readonly log: WriteLog;
}

export interface WriterReport {
  readonly volumes: readonly WrittenVolume[];
  readonly figures: StreamingFigures;
}

interface Queued {
  readonly record: PendingRecord;
  readonly share: BufferShare;
}
/** Asks for a synchronisation once everything before it is written. */
interface QueuedSync {
  readonly done: () => void;
  readonly fail: (error: unknown) => void;
}

export class VolumeWriter {
  readonly #options: VolumeWriterOptions;
  readonly #clock: Clock;
  readonly #buffers: VolumeBuffers;
  readonly #bufferBytes: number;
  readonly #commits = new VolumeCommits();
  readonly #meter: StreamingMeter;
  readonly #volumes: WrittenVolume[] = [];
  #session: VolumeSession;
  #log: WriteLog;
  #queue: (Queued | QueuedSync)[] = [];
  #wake: (() => void) | undefined;
  /** The session has gone on to this volume, which has no record of it yet. */
  #isFresh = false;
  #isClosing = false;
  #failure: PenstockError | undefined;
  #sinceMark = 0;
  readonly #pace: DrivePace;
  readonly #done: Promise<void>;

  private constructor(options: VolumeWriterOptions, session: VolumeSession, log: WriteLog) {
    this.#options = options;
    this.#clock = options.clock ?? openClock();
    this.#session = session;
    this.#log = log;
    this.#bufferBytes = session.label.blockBytes;
    const memory = options.bufferBytes ?? LIMITS.volumeBufferBytes;
    const least =
      options.bufferBytes === undefined ? LIMITS.volumeBuffersLeast : LIMITS.driveBuffersLeast;
    const count = Math.max(least, Math.floor(memory / this.#bufferBytes));
    const keep = Math.floor(count * (options.keep ?? 0.25));
    this.#buffers = new VolumeBuffers(count, this.#bufferBytes, keep, options.lowWater ?? 0.5);
    this.#meter = new StreamingMeter(this.#clock, count);
    this.#pace = new DrivePace(this.#clock, options);
    this.#done = this.#run();
  }

  /**
   * Begins a session on a volume.
   *
   * @throws PenstockError VOLUME_FOREIGN when another medium is in the drive, VOLUME_DAMAGED when it ends
   *   too early, VOLUME_…
   */
  static async open(first: LoadedVolume, options: VolumeWriterOptions): Promise<VolumeWriter> {
    const { session, log } = await begin(first, options);
    return new VolumeWriter(options, session, log);
  }

  /**
   * Waits until there are buffers for one more stream.
   *
   * @param stream id, 32 hex digits: in archives, that of their session
   * @param recordBytes the length of every record, where it is a fixed one
   */
  async openStream(stream: string, recordBytes = 0): Promise<VolumeStream> {
    this.#check();
    const share = await this.#buffers.admit();
    return {
      write: (record, place) => this.#accept(share, stream, recordBytes, record, place),
      end: () => {
        this.#buffers.leave(share);
        this.#look();
      },
    };
  }

  /** Everything that was written before is on the medium, and complete chunks are committed. */
  async synchronise(): Promise<void> {
    this.#check();
    await new Promise<void>((done, fail) => {
      this.#queue.push({ done, fail });
      this.#wake?.();
    });
  }

  /** Ends the session once everything is written. */
  async close(): Promise<WriterReport> {
    this.#isClosing = true;
    this.#wake?.();
    await this.#done;
    this.#check();
    return { volumes: this.#volumes, figures: this.#meter.figures() };
  }

  /** Stops: what is not synchronised is given up. The volume is then as after a crash. */
  async abort(error?: PenstockError): Promise<void> {
    this.#fail(error ?? new PenstockError('INTERRUPTED', 'writing to the volume was stopped'));
    this.#wake?.();
    await this.#done;
  }

  /** How well the drive streams, so far. */
  figures(): StreamingFigures {
    return this.#meter.figures();
  }

  /** The volume that is being written. */
  get label(): VolumeLabel {
    return this.#session.label;
  }

  async #accept(
    share: BufferShare,
    stream: string,
    fixedBytes: number,
    record: Uint8Array,
    { chunk, part, isLast }: RecordPlace,
  ): Promise<void> {
    this.#check();
    assert(!this.#isClosing, 'nothing is written to a session that is being ended');
    const bytes = record.length;
    if (bytes > this.#bufferBytes || bytes === 0) {
      const text = `a record of ${bytes} bytes, where the pool has at most ${this.#bufferBytes}`;
      throw volumeError('LIMIT', this.#session.volume.name, undefined, text);
    }
    const taking = this.#buffers.take(share);
    if (this.#buffers.waiting > 0) this.#look();
    const buffer = await taking;
    buffer.set(record);
    const pending: PendingRecord = {
      ...{ buffer, bytes, stream, chunk, part, isLast },
      recordBytes: fixedBytes,
      receivedMs: this.#clock.nowMs(),
    };
    this.#queue.push({ record: pending, share });
    this.#wake?.();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #fail(thrown: unknown): void {
    this.#failure ??= toPenstockError(thrown);
    this.#buffers.fail(this.#failure);
    for (const one of this.#queue) if ('fail' in one) one.fail(this.#failure);
    this.#queue = [];
  }

  /** Has the drive see whether it may begin with what it was given. */
  #look(): void {
    if (this.#queue.length > 0) this.#wake?.();
  }

  /** The drive's loop. */
  async #run(): Promise<void> {
    // Whoever opened the writer has it before the drive moves.
    await null;
    try {
      while (this.#failure === undefined) {
        if (this.#mayWrite()) {
          const batch = this.#queue;
          this.#queue = [];
          await this.#work(batch);
        } else if (this.#isClosing) return await this.#finish();
        else await this.#wait();
        if (this.#pace.isDue(this.#session)) await this.#synchronise();
      }
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #mayWrite(): boolean {
    const queue = this.#queue;
    if (queue.length === 0) return false;
    const isAskedFor = this.#isClosing || queue.some((one) => 'done' in one);
    return this.#pace.mayWrite(this.#buffers) || isAskedFor;
  }

  async #work(batch: readonly (Queued | QueuedSync)[]): Promise<void> {
    for (const [i, one] of batch.entries()) {
      try {
        if ('done' in one) {
          await this.#synchronise();
          one.done();
          continue;
        }
        this.#meter.filled(this.#buffers.filled);
        await this.#append(one.record);
        this.#buffers.written(one.share, one.record);
        if (this.#pace.isDue(this.#session)) await this.#synchronise();
      } catch (thrown) {
        for (const rest of batch.slice(i)) if ('fail' in rest) rest.fail(thrown);
        throw thrown;
      }
      if (this.#failure === undefined) continue;
      for (const rest of batch.slice(i + 1)) if ('fail' in rest) rest.fail(this.#failure);
      return;
    }
  }

  /** Until there is enough to write, or it is time to synchronise. */
  async #wait(): Promise<void> {
    const started = this.#meter.now();
    const isDry = this.#queue.length === 0;
    if (isDry) this.#pace.ranDry();
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((wake) => {
      this.#wake = wake;
      const waitMs = this.#pace.waitMs(this.#session);
      if (this.#mayWrite() || this.#isClosing || this.#failure !== undefined) wake();
      else if (waitMs !== undefined) timer = setTimeout(wake, waitMs);
    });
    clearTimeout(timer);
    this.#wake = undefined;
    this.#meter.waited(started, isDry);
  }

  /** Writes a record, on the next volume where this one has no room. */
  async #append(record: PendingRecord): Promise<void> {
    const started = this.#meter.now();
    let isFull = false;
    try {
      isFull = await this.#session.append(record);
    } catch (thrown) {
      if (!isVolumeError(thrown, 'VOLUME_FULL')) throw thrown;
      // What has no room on an empty volume has none on the next one: a disk is full.
      if (this.#isFresh) throw thrown;
      await this.#goOn();
      return await this.#append(record);
    }
    this.#isFresh = false;
    this.#meter.wrote(started, record.bytes);
    this.#sinceMark += record.bytes;
    const { markBytes = 0 } = this.#options;
    if (!isFull && markBytes > 0 && this.#sinceMark >= markBytes) isFull = await this.#mark();
    if (isFull) await this.#goOn();
  }

  async #mark(): Promise<boolean> {
    this.#sinceMark = 0;
    try {
      return await this.#session.mark();
    } catch (thrown) {
      if (isVolumeError(thrown, 'VOLUME_FULL')) return true;
      throw thrown;
    }
  }

  async #synchronise(): Promise<void> {
    const started = this.#meter.now();
    let full: PenstockError | undefined;
    try {
      await this.#makeSafe();
    } catch (thrown) {
      if (!isVolumeError(thrown, 'VOLUME_FULL')) throw thrown;
      full = thrown as PenstockError;
    }
    this.#meter.synchronised(started);
    if (full === undefined) return;
    await this.#goOn();
    await this.#synchronise();
  }

  async #makeSafe(): Promise<void> {
    if (!this.#session.isSafe) {
      const safe = await this.#session.synchronise();
      this.#buffers.release();
      for (const chunk of this.#commits.safe(this.#session.label.volume, safe))
        await this.#options.onCommitted?.(chunk);
    }
    this.#pace.synchronised();
  }

  /** Ends the session on this volume, and goes on, on the next one. */
  async #goOn(): Promise<void> {
    const old = this.#session;
    let again: readonly PendingRecord[] = [];
    try {
      await this.#makeSafe();
    } catch (thrown) {
      if (!isVolumeError(thrown, 'VOLUME_FULL') && !isVolumeError(thrown, 'VOLUME_IO'))
        throw thrown;
      again = old.unsafeRecords;
    }
    await this.#endVolume(again.length === 0);
    const next = await this.#options.nextVolume?.(old.label);
    if (next === undefined) {
      const text = 'the medium has no room left, and there is no next one';
      throw volumeError('VOLUME_FULL', old.volume.name, old.object, text);
    }
    if (next.label.blockBytes < this.#bufferBytes) {
      const text = `its records have at most ${next.label.blockBytes} bytes, those of the session more`;
      throw volumeError('LIMIT', next.volume.name, undefined, text);
    }
    const begun = await begin(next, this.#options, old.label.volume);
    this.#session = begun.session;
    this.#log = begun.log;
    this.#sinceMark = 0;
    this.#isFresh = true;
    for (const record of again) await this.#append(record);
  }

  /** The end of the session on a volume, as far as there is room for it. */
  async #endVolume(isSafe: boolean): Promise<void> {
    const { label } = this.#session;
    const log = this.#log;
    try {
      if (isSafe) {
        this.#volumes.push({ label, log, entry: await this.#session.end() });
        return;
      }
    } catch (thrown) {
      if (!isVolumeError(thrown, 'VOLUME_FULL')) throw thrown;
    }
    await log.finish();
    this.#volumes.push({ label, log });
  }

  async #finish(): Promise<void> {
    await this.#synchronise();
    await this.#endVolume(true);
    this.#meter.ended();
  }
}

/** A stream's end of the writer; one call at a time. */
export interface VolumeStream {
  /**
   * Takes a record over: the view may be used again when this returns.
   *
   * @throws PenstockError LIMIT for a record that is too long, or what ended the writer
   */
  write(record: Uint8Array, place: RecordPlace): Promise<void>;
  /** Its buffers are others' from now on; what it wrote is written all the same. */
  end(): void;
}

async function begin(
  { volume, label, leastObjects = 0 }: LoadedVolume,
  options: VolumeWriterOptions,
  continues?: string,
): Promise<{ session: VolumeSession; log: WriteLog }> {
  if (label.blockBytes > volume.limits.recordBytesMax) {
    const text = `the drive has records of at most ${volume.limits.recordBytesMax} bytes, the pool of ${label.blockBytes}`;
    throw volumeError('LIMIT', volume.name, undefined, text);
  }
  const log = (await options.newLog?.(label)) ?? new WriteLog();
  const session = await VolumeSession.begin(volume, label, {
    ...{ id: options.id, log, writer: options.writer, leastObjects },
    logPlace: options.logPlace ?? 'medium',
    perRecord: options.logPerRecord ?? false,
    clock: options.clock ?? openClock(),
    ...(continues === undefined ? { rebuildLog: options.rebuildLog ?? false } : { continues }),
  });
  return { session, log };
}
