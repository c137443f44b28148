/**
 * One writing session on one volume: from its session record to its end record, log and index.
 *
 * Contract: appends at the end of data, and nowhere else. When the drive was reset or did not answer
 * well, the label is read again and the position found before anything more is written; what the drive
 * had not yet on the medium is written again where its buffers are still there. Entries reach the
 * log only when their objects are synchronised, so the log is never wrong about a crash.
 */
import type { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import { LABEL_OBJECTS, type VolumeLabel } from '../format/volume-label.ts';
import { type LogEntry, type LogRun, objectsOf, plainRecord } from '../format/write-log.ts';
import { type Clock, crcOf } from '../host/mod.ts';
import { isVolumeError, type Volume, volumeError } from './volume.ts';
import { encodeIndex, type PagePlace, readContents, type SessionEntry } from './volume-index.ts';
import { checkLabel } from './volume-label.ts';
import { newScanReport, scanVolume } from './volume-scan.ts';
import { extendRun, givenPages, type LogPages, runOf, type WriteLog } from './write-log.ts';

export type LogPlace = 'medium' | 'beside' | 'both';

export interface SessionOptions {
  /** Given by the application. */
  readonly id: string;
  readonly log: WriteLog;
  /** Where the log is kept when the session ends. */
  readonly logPlace: LogPlace;
  /** One entry a record, instead of one a run. */
  readonly perRecord: boolean;
  readonly clock: Clock;
  /** Program and version. */
  readonly writer: string;
  /** Id of the volume from which the session goes on. */
  readonly continues?: string;
  /** Believes no log on the medium: this session's has everything, by headers. */
  readonly rebuildLog?: boolean;
  /** Of the objects so far these are known to be stored: a medium with fewer is not written. */
  readonly leastObjects?: number;
  /** Logs of earlier sessions by their numbers: they go to the medium with that of this one. */
  readonly logs?: ReadonlyMap<number, readonly Uint8Array[]>;
}

/** A record on its way; `buffer` is there until it is synchronised, or its memory was needed. */
export interface PendingRecord {
  buffer: Buffer | undefined;
  readonly bytes: number;
  readonly stream: string;
  readonly chunk: string;
  readonly part: number;
  readonly isLast: boolean;
  readonly recordBytes: number;
  readonly receivedMs: number;
}

/** A record that has been synchronised. */
export interface SafeRecord {
  readonly record: PendingRecord;
  readonly object: number;
  readonly hint: number | undefined;
}

/** What was written and is not synchronised; a record of ours, or a mark, has no `record`. */
interface Unsafe {
  readonly object: number;
  readonly hint: number | undefined;
  readonly writtenMs: number;
  readonly record?: PendingRecord;
  /** A record of ours. */
  readonly own?: Buffer;
}

export class VolumeSession {
  readonly volume: Volume;
  readonly label: VolumeLabel;
  readonly number: number;
  readonly #options: SessionOptions;
  readonly #earlier: readonly SessionEntry[];
  readonly #firstObject: number;
  readonly #startedMs: number;
  #object: number;
  #unsafe: Unsafe[] = [];
  #unsafeBytes = 0;
  #open: LogRun | undefined;
  #records = 0;
  #bytes = 0;
  /** Whether the volume tells hints. */
  #hints = true;
  /** Faults in a row. */
  #faults = 0;
  /** What is not synchronised may not be on the medium as a whole: that comes before anything else. */
  #isInDoubt = false;

  private constructor(
    volume: Volume,
    label: VolumeLabel,
    options: SessionOptions,
    earlier: readonly SessionEntry[],
    firstObject: number,
    end: number,
    number: number,
  ) {
    this.volume = volume;
    this.label = label;
    this.#options = options;
    this.#earlier = earlier;
    this.number = number;
    this.#firstObject = firstObject;
    this.#object = end;
    this.#startedMs = options.clock.nowMs();
  }

  /**
   * Begins a session behind all others. What a session that was not closed has left is taken into the
   * log by its headers.
   *
   * @throws PenstockError VOLUME_FOREIGN when the medium is not the one of this label, VOLUME_DAMAGED
   *   when it ends before something that is stored
   */
  static async begin(
    volume: Volume,
    label: VolumeLabel,
    options: SessionOptions,
  ): Promise<VolumeSession> {
    await checkLabel(volume, label);
    const found = await readContents(volume, label.volume);
    const { end } = found;
    checkEnd(volume, end, options.leastObjects ?? 0);
    const isNew = options.rebuildLog === true;
    const sessions = isNew ? [] : found.sessions;
    const openFrom = isNew ? Math.min(LABEL_OBJECTS, end) : found.openFrom;
    const number = (found.sessions.at(-1)?.session ?? -1) + 1;
    const session = new VolumeSession(volume, label, options, sessions, openFrom, end, number);
    const { log, id } = options;
    await log.initiate({ id, volume: label.volume, session: session.number });
    if (openFrom < end)
      for await (const entry of scanVolume(volume, openFrom, end, newScanReport()))
        await log.add(entry);
    await volume.spaceEnd();
    const told = await volume.tell();
    session.#hints = told.hint !== undefined;
    if (told.object !== end) throw session.#misplaced(told.object);
    await session.#appendOwn(RECORD.volumeSession, {
      volume: label.volume,
      session: session.number,
      id,
      startedMs: session.#startedMs,
      writer: options.writer,
      ...(options.continues === undefined ? {} : { continues: options.continues }),
    });
    return session;
  }

  /** Number of the next object. */
  get object(): number {
    return this.#object;
  }
  /** Bytes of records that are not synchronised. */
  get unsafeBytes(): number {
    return this.#unsafeBytes;
  }
  /** Whether there is anything to synchronise. */
  get isSafe(): boolean {
    return this.#unsafe.length === 0;
  }
  /** Records that are not synchronised, in order. */
  get unsafeRecords(): PendingRecord[] {
    return this.#unsafe.flatMap(({ record }) => (record === undefined ? [] : [record]));
  }

  /**
   * Writes a record; true: only a little room is left.
   *
   * @throws PenstockError VOLUME_FULL: it was not written
   */
  async append(record: PendingRecord): Promise<boolean> {
    const early = await this.#write({ record });
    this.#records += 1;
    this.#bytes += record.bytes;
    this.#unsafeBytes += record.bytes;
    return early;
  }

  /** Writes a mark. */
  async mark(): Promise<boolean> {
    return await this.#write({});
  }

  /**
   * Everything so far is on the medium, and in the log. Returns what has become safe.
   *
   * @throws PenstockError VOLUME_FULL, VOLUME_IO: what was not synchronised before is unsafe
   */
  async synchronise(): Promise<readonly SafeRecord[]> {
    await this.#synchronise();
    const writtenMs = this.#options.clock.nowMs();
    const safe: SafeRecord[] = [];
    for (const one of this.#unsafe) {
      await this.#logged(one);
      const { record, object, hint } = one;
      if (record !== undefined) safe.push({ record, object, hint });
    }
    this.#unsafe = [];
    this.#unsafeBytes = 0;
    await this.#closeRun();
    await this.#options.log.add({ kind: 'synchronised', object: this.#object, writtenMs });
    return safe;
  }

  /**
   * Ends the session: end record, log, index. Everything must have been synchronised. The log counts
   * as stored where it is to be kept.
   *
   * @throws PenstockError VOLUME_FULL where there is no room: the volume is then as after a crash
   */
  async end(): Promise<SessionEntry> {
    const { log, logPlace } = this.#options;
    const endedMs = this.#options.clock.nowMs();
    await this.#closeRun();
    await log.finish();
    await log.pages.synchronise();
    if (logPlace !== 'medium') log.markStored();
    await this.mark();
    const volume = this.label.volume;
    await this.#appendOwn(RECORD.volumeSessionEnd, {
      ...{ volume, session: this.number, id: this.#options.id, endedMs },
      ...{ records: this.#records, bytes: this.#bytes },
    });
    const pages = logPlace === 'beside' ? [] : await this.#appendPages(log.pages);
    const earlier = await this.#withLogs();
    // The index and its mark are among the session's objects, so the index' own size must be known.
    const entry = (parts: number): SessionEntry => ({
      ...{ session: this.number, id: this.#options.id, startedMs: this.#startedMs, endedMs },
      ...{ firstObject: this.#firstObject, endObject: this.#object + parts + 1 },
      ...{ records: this.#records, bytes: this.#bytes, pages },
    });
    const records = (parts: number): Buffer[] =>
      encodeIndex(volume, [...earlier, entry(parts)], this.#ownBytes);
    const parts = records(records(1).length).length;
    const done = entry(parts);
    for (const record of records(parts)) await this.#write({ own: record });
    await this.mark();
    await this.#synchronise();
    this.#unsafe = [];
    if (logPlace !== 'beside') log.markStored();
    return done;
  }

  get #ownBytes(): number {
    return Math.min(
      this.label.blockBytes,
      this.volume.limits.recordBytesMax,
      LIMITS.volumeIndexBytesMax,
    );
  }

  /** The sessions before, with their logs where those have been given. */
  async #withLogs(): Promise<SessionEntry[]> {
    const entries: SessionEntry[] = [];
    for (const entry of this.#earlier) {
      const given = this.#options.logs?.get(entry.session);
      entries.push(
        given === undefined
          ? entry
          : { ...entry, pages: await this.#appendPages(givenPages(given)) },
      );
    }
    return entries;
  }

  async #appendPages(pages: LogPages): Promise<PagePlace[]> {
    const places: PagePlace[] = [];
    for (let i = 0; i < pages.count; i++) {
      const page = await pages.read(i);
      const head = JSON.parse(page.toString('utf8', 128, 128 + page.readUInt32LE(24)));
      const hint = await this.#hint();
      const { firstObject, endObject } = head as { firstObject: number; endObject: number };
      const more = hint === undefined ? {} : { hint };
      places.push({ object: this.#object, firstObject, endObject, ...more });
      await this.#write({ own: page });
      await this.#forget();
    }
    return places;
  }

  /** A log may be long: not all of it is kept until the end. */
  async #forget(): Promise<void> {
    const bytes = this.#unsafe.reduce((sum, { own }) => sum + (own?.length ?? 0), 0);
    if (bytes < LIMITS.volumeLogUnsafeBytesMax) return;
    await this.#synchronise();
    this.#unsafe = [];
  }

  async #appendOwn(kind: number, clear: unknown): Promise<void> {
    const own = plainRecord(kind, this.label.volume, clear, Buffer.alloc(0), crcOf);
    await this.#write({ own });
  }

  /** Writes an object, again if need be; remembers it until it is synchronised. */
  async #write(what: { record?: PendingRecord; own?: Buffer }): Promise<boolean> {
    const hint = await this.#hint();
    const object = this.#object;
    let early = false;
    await this.#persist(async () => {
      early = await this.#put(what);
    });
    this.#object = object + 1;
    this.#unsafe.push({ ...what, object, hint, writtenMs: this.#options.clock.nowMs() });
    return early;
  }

  /** Where the next object begins, on volumes that tell it. */
  async #hint(): Promise<number | undefined> {
    if (!this.#hints) return undefined;
    let hint: number | undefined;
    await this.#persist(async () => {
      ({ hint } = await this.volume.tell());
    });
    return hint;
  }

  async #put({ record, own }: { record?: PendingRecord; own?: Buffer }): Promise<boolean> {
    if (record === undefined && own === undefined) return await this.volume.writeMarks(1);
    const bytes = own ?? record?.buffer?.subarray(0, record.bytes);
    if (bytes !== undefined) return await this.volume.append(bytes);
    throw volumeError(
      'VOLUME_IO',
      this.volume.name,
      this.#object,
      'the drive lost records that are not in memory any more',
      { hint: 'run the command again: what was committed is safe, and it continues' },
    );
  }

  /** Also where the medium ends with it: what the drive had in its buffer may be lost then. */
  async #synchronise(): Promise<void> {
    try {
      await this.#persist(() => this.volume.synchronise());
    } catch (thrown) {
      this.#isInDoubt = true;
      throw thrown;
    }
  }

  /** Does something with the drive; where that fails, finds the position and does it again. */
  async #persist(work: () => Promise<void>): Promise<void> {
    for (;;) {
      // Also when finding the position has failed before, as where the medium has ended meanwhile.
      if (this.#isInDoubt) await this.#reposition();
      try {
        await work();
        this.#faults = 0;
        return;
      } catch (thrown) {
        const mayRecover =
          isVolumeError(thrown, 'VOLUME_IO') || isVolumeError(thrown, 'VOLUME_CHANGED');
        this.#isInDoubt ||= mayRecover;
        if (!mayRecover || this.#faults >= LIMITS.volumeFaultsMax) throw thrown;
        this.#faults += 1;
      }
    }
  }

  /** Back to where the next object belongs; what the drive had lost is written again. */
  async #reposition(): Promise<void> {
    for (;;) {
      try {
        await checkLabel(this.volume, this.label);
        await this.volume.spaceEnd();
        const end = (await this.volume.tell()).object;
        const safe = this.#unsafe[0]?.object ?? this.#object;
        if (end < safe) throw this.#misplaced(end);
        // Of the failed call at most one object is left behind; more is somebody else's.
        if (end > this.#object + 1) throw this.#misplaced(end);
        if (end >= this.#object) await this.volume.locate(this.#object);
        else for (const one of this.#unsafe) if (one.object >= end) await this.#put(one);
        this.#isInDoubt = false;
        return;
      } catch (thrown) {
        const isReset = isVolumeError(thrown, 'VOLUME_CHANGED');
        if (!isReset || this.#faults >= LIMITS.volumeFaultsMax) throw thrown;
        this.#faults += 1;
      }
    }
  }

  #misplaced(end: number): PenstockError {
    return volumeError(
      'VOLUME_IO',
      this.volume.name,
      end,
      `the data ends here, and not at object ${this.#object}, where this session has got to`,
      { hint: 'does another program write to it? else use another drive and volume' },
    );
  }

  async #logged({ object, hint, writtenMs, record, own }: Unsafe): Promise<void> {
    if (own !== undefined) return;
    const where = hint === undefined ? {} : { hint };
    if (record === undefined) {
      await this.#closeRun();
      await this.#add({ kind: 'marks', object, count: 1, writtenMs, ...where });
      return;
    }
    const logged = { ...record, object, hint, writtenMs };
    const isAlone = this.#options.perRecord || this.#open === undefined;
    const longer = isAlone ? undefined : extendRun(this.#open as LogRun, logged);
    if (longer === undefined) await this.#closeRun();
    this.#open = longer ?? runOf(logged);
  }

  async #closeRun(): Promise<void> {
    const run = this.#open;
    this.#open = undefined;
    if (run !== undefined) await this.#add(run);
  }

  async #add(entry: LogEntry): Promise<void> {
    if (objectsOf(entry) > 0) await this.#options.log.add(entry);
  }
}

/** What cannot be seen behind the end of data would be gone with the first record that is written. */
function checkEnd(volume: Volume, end: number, leastObjects: number): void {
  if (end >= leastObjects) return;
  const text = `the data ends here, and what is stored on it reaches to object ${leastObjects}`;
  throw volumeError('VOLUME_DAMAGED', volume.name, end, text, {
    hint: 'nothing is written to it: is it an older copy? else run `penstock volume verify`',
  });
}
