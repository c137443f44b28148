/**
 * Several streams onto one drive at the same time (L2–L4): records are interleaved in the order in which
 * they arrive, those of one stream stay in order.
 *
 * Contract:
 * - `openStream` waits until there are buffers for one more; `write` copies the record and returns when
 *   it may be forgotten by the caller (volume-buffers.ts says who gets the next buffer). Who has memory
 *   of the writer's buffers exchanges the one that has the record for an empty one instead (`give`).
 * - A chunk is committed, and `onCommitted` told, only when all its records lie before a
 *   synchronisation. The drive synchronises after so many bytes, or so long, and at the end.
 * - When the medium ends, or warns of its end, the session is ended there and goes on, on the next
 *   volume. What had not been synchronised is written again, there.
 * - An error that the drive does not recover from ends everything: every waiting and later call throws
 *   it. What was committed stays so.
 */
import { assert } from '../base/assert.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import { type Clock, openClock } from '../host/mod.ts';
import { isVolumeError, volumeError } from './volume.ts';
import { type BufferShare, buffersFor, makeBuffers, VolumeBuffers } from './volume-buffers.ts';
import { VolumeCommits } from './volume-commits.ts';
import type { SessionEntry } from './volume-index.ts';
import { DrivePace } from './volume-pace.ts';
import type { PendingRecord, VolumeSession } from './volume-session.ts';
import { type StreamingFigures, StreamingMeter } from './volume-streaming.ts';
import {
  beginSession,
  type LoadedVolume,
  type VolumeWriterOptions,
} from './volume-writer-options.ts';
import type { WriteLog } from './write-log.ts';

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
  /** It has no room for more. */
  readonly isFull: boolean;
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
  /** Little room is left on this volume: the next record goes to the next one. */
  #isFull = false;
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
    const count = buffersFor(this.#bufferBytes, options.bufferBytes);
    const buffers = options.buffers?.slice(0, count) ?? makeBuffers(count, this.#bufferBytes);
    const keep = Math.floor(buffers.length * (options.keep ?? 0.25));
    this.#buffers = new VolumeBuffers(buffers, keep, options.lowWater ?? 0.5);
    this.#meter = new StreamingMeter(this.#clock, buffers.length);
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
    const { session, log } = await beginSession(first, options);
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
      write: (record, place) => {
        const copied = (buffer: Buffer): Buffer => {
          buffer.set(record);
          return buffer;
        };
        return this.#accept(share, stream, recordBytes, record.length, copied, place);
      },
      give: (bytes, exchange, place) =>
        this.#accept(share, stream, recordBytes, bytes, exchange, place),
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
    bytes: number,
    bring: (buffer: Buffer) => Buffer,
    { chunk, part, isLast }: RecordPlace,
  ): Promise<void> {
    this.#check();
    assert(!this.#isClosing, 'nothing is written to a session that is being ended');
    if (bytes > this.#bufferBytes || bytes === 0) {
      const text = `a record of ${bytes} bytes, where the pool has at most ${this.#bufferBytes}`;
      throw volumeError('LIMIT', this.#session.volume.name, undefined, text);
    }
    const taking = this.#buffers.take(share);
    if (this.#buffers.waiting > 0) this.#look();
    const buffer = bring(await taking);
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
    // Only now: where nothing more comes, no next volume is needed.
    if (this.#isFull) await this.#goOn();
    const started = this.#meter.now();
    try {
      this.#isFull = await this.#session.append(record);
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
    const isDue = markBytes > 0 && this.#sinceMark >= markBytes;
    if (isDue && !this.#isFull) this.#isFull = await this.#mark();
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
    this.#isFull = true;
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
    const begun = await beginSession(next, this.#options, old.label.volume);
    this.#session = begun.session;
    this.#log = begun.log;
    this.#sinceMark = 0;
    this.#isFull = false;
    this.#isFresh = true;
    for (const record of again) await this.#append(record);
  }

  /** The end of the session on a volume, as far as there is room for it. */
  async #endVolume(isSafe: boolean): Promise<void> {
    const { label } = this.#session;
    const log = this.#log;
    let entry: SessionEntry | undefined;
    try {
      if (isSafe) entry = await this.#session.end();
    } catch (thrown) {
      if (!isVolumeError(thrown, 'VOLUME_FULL')) throw thrown;
      this.#isFull = true;
    }
    await log.finish();
    const written = { label, log, isFull: this.#isFull };
    this.#volumes.push(entry === undefined ? written : { ...written, entry });
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
  /**
   * Takes the memory of a record over, without copying it.
   *
   * @param bytes    the record's length
   * @param exchange is called once there is room: it takes a buffer that is empty, and returns the one
   *   that begins with the record, which is the writer's from then on
   * @throws PenstockError as `write`; nothing was exchanged then
   */
  give(bytes: number, exchange: (empty: Buffer) => Buffer, place: RecordPlace): Promise<void>;
  /** Its buffers are others' from now on; what it wrote is written all the same. */
  end(): void;
}
