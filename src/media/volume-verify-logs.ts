/**
 * The logs of a volume that is read through (volume-verify.ts): what was seen is logged anew, and
 * compared with the logs that come along on the medium, and with those that are kept beside.
 *
 * Contract: sessions are told apart by the indexes: one ends with its index and a mark. What was seen of a
 * session is kept until a log of it was compared: its pages may come later, with those of another.
 */
import { PenstockError } from '../base/errors.ts';
import { decodeRecord, RECORD } from '../format/record.ts';
import { LABEL_OBJECTS } from '../format/volume-label.ts';
import { decodeLogPage, type LogEntry, readPlainRecord } from '../format/write-log.ts';
import { crcOf } from '../host/mod.ts';
import type { VolumeFindings } from './volume-findings.ts';
import type { SessionEntry } from './volume-index.ts';
import { entriesOf, type LogPages, WriteLog } from './write-log.ts';
import { type ComparedLog, LogComparison, type LoggedObject } from './write-log-compare.ts';

/** What was seen since the last index. */
interface Seen {
  readonly log: WriteLog;
  readonly unreadable: Set<number>;
  readonly firstObject: number;
  comparison: LogComparison | undefined;
  /** Pages of its log on the medium, as they have come. */
  pages: number;
}

/** An index of which not all records have been seen. */
interface PartialIndex {
  readonly parts: number;
  readonly bodies: Buffer[];
}

const NO_DIFFERENCES: ComparedLog = { differences: [], total: 0 };

export class VerifiedLogs {
  /** Sessions of the last index. */
  sessions = 0;
  readonly #volume: string;
  readonly #findings: VolumeFindings;
  readonly #beside: (session: number) => LogPages | undefined;
  /** By their numbers: sessions of which no log has come. */
  readonly #waiting = new Map<number, Seen>();
  #seen: Seen | undefined;
  /** Pages and marks since the last record of a chunk are the session's own. */
  #isEnding = false;
  #index: PartialIndex | undefined;
  #firstObject = LABEL_OBJECTS;
  /** Objects that could not be read, before anything of their session was. */
  readonly #early = new Set<number>();

  constructor(
    volume: string,
    findings: VolumeFindings,
    beside: (session: number) => LogPages | undefined,
  ) {
    this.#volume = volume;
    this.#findings = findings;
    this.#beside = beside;
  }

  /** What belongs in the log. */
  async seen(entry: LogEntry): Promise<void> {
    await (await this.#current()).log.add(entry);
  }

  async mark(object: number): Promise<void> {
    // The mark behind an index ends the session, and is in no log.
    if (this.#seen === undefined && object === this.#firstObject) this.#firstObject += 1;
    else if (!this.#isEnding) await this.seen({ kind: 'marks', object, count: 1, writtenMs: 0 });
  }

  /** Nothing is known of an object but that it is there. */
  unreadable(object: number): void {
    (this.#seen?.unreadable ?? this.#early).add(object);
  }

  /** A record of Penstock that is of no chunk; what is wrong with it. */
  async own(object: number, bytes: Buffer): Promise<string | undefined> {
    try {
      const { kind, id } = decodeRecord(bytes, 'it', crcOf, false);
      if (id.toString('hex') !== this.#volume) return 'a record of another volume';
      this.#isEnding = kind !== RECORD.volumeSession;
      if (kind === RECORD.volumeLogPage) await this.#page(object, bytes);
      else if (kind === RECORD.volumeIndex) await this.#indexPart(object, bytes);
      else if (kind !== RECORD.volumeSession && kind !== RECORD.volumeSessionEnd)
        return `a record of kind ${kind}, which does not belong here`;
      return undefined;
    } catch (thrown) {
      if (thrown instanceof PenstockError && thrown.code === 'DAMAGED') return thrown.message;
      throw thrown;
    }
  }

  /** The end of data: what is left is compared. Returns the objects of a session that was not closed. */
  async end(object: number): Promise<{ from: number; end: number } | undefined> {
    for (const [session, seen] of this.#waiting) await this.#finish(session, seen, undefined);
    const open = this.#seen;
    if (open === undefined && this.#firstObject >= object) return undefined;
    const beside = open === undefined ? undefined : this.#beside(this.sessions);
    if (open !== undefined && beside !== undefined)
      this.#tell(this.sessions, 'beside the volume', await this.#compareBeside(open, beside));
    return { from: this.#firstObject, end: object };
  }

  async #current(): Promise<Seen> {
    if (this.#seen !== undefined) return this.#seen;
    const log = new WriteLog();
    const session = this.sessions;
    await log.initiate({ id: '', volume: this.#volume, session });
    const unreadable = new Set(this.#early);
    this.#early.clear();
    const firstObject = this.#firstObject;
    this.#seen = { log, unreadable, firstObject, comparison: undefined, pages: 0 };
    return this.#seen;
  }

  async #page(object: number, bytes: Buffer): Promise<void> {
    const { head, entries } = decodeLogPage(bytes, 'it', crcOf);
    // A higher number: an index in between could not be read.
    const seen =
      this.#waiting.get(head.session) ??
      (head.session >= this.sessions ? await this.#current() : undefined);
    if (seen === undefined) {
      const message = `a page of the log of session ${head.session}, which has come already`;
      this.#findings.add({ kind: 'log', object, message });
      return;
    }
    seen.comparison ??= this.#comparison(seen);
    if (head.page !== seen.pages) await seen.comparison.skipTo(head.firstObject);
    seen.pages = head.page + 1;
    // The log of a session may be about all sessions before it.
    for (const entry of entries)
      if (entry.object >= seen.firstObject) await seen.comparison.told(entry);
  }

  #comparison(seen: Seen): LogComparison {
    return new LogComparison(
      seen.log.entries(),
      (object) => seen.unreadable.has(object),
      (told) => this.#explain(told),
    );
  }

  #explain({ object, run, index }: LoggedObject): void {
    if (run === undefined) return;
    this.#findings.explain(object, run.chunk, `part ${run.part + index} of chunk ${run.chunk}`);
  }

  async #indexPart(object: number, bytes: Buffer): Promise<void> {
    const { clear, body } = readPlainRecord(bytes, RECORD.volumeIndex, 'it', crcOf);
    const { part, parts } = clear as { part: number; parts: number };
    if (part === 0) this.#index = { parts, bodies: [] };
    const index = this.#index;
    if (index === undefined || index.parts !== parts || index.bodies.length !== part) {
      this.#index = undefined;
      this.#findings.add({ kind: 'log', object, message: 'a part of an index without the others' });
      return;
    }
    index.bodies.push(Buffer.from(body));
    if (part < parts - 1) return;
    this.#index = undefined;
    const sessions = parsedIndex(Buffer.concat(index.bodies));
    if (sessions === undefined)
      this.#findings.add({ kind: 'log', object, message: 'an index that says nothing' });
    else await this.#indexed(object, sessions);
  }

  /** The index ends a session. */
  async #indexed(object: number, sessions: readonly SessionEntry[]): Promise<void> {
    const entry = sessions.at(-1);
    const current = await this.#current();
    const number = Math.max(this.sessions, entry?.session ?? 0);
    const isWhole = current.unreadable.size === 0;
    if (number > this.sessions && isWhole) {
      const message = `the index has session ${number}, and session ${this.sessions} comes here`;
      this.#findings.add({ kind: 'log', object, message });
    }
    const { firstObject, endObject } = entry ?? { firstObject: 0, endObject: 0 };
    const isHere = firstObject === current.firstObject || firstObject === LABEL_OBJECTS;
    if ((!isHere && isWhole) || endObject !== object + 2) {
      const message = `the index has session ${number} at objects ${firstObject} to ${endObject - 1}, and it lies at ${current.firstObject} to ${object + 1}`;
      this.#findings.add({ kind: 'log', object, message });
    }
    this.#waiting.set(number, current);
    for (const { session, pages } of sessions) {
      const seen = this.#waiting.get(session);
      if (seen === undefined || pages.length === 0) continue;
      this.#waiting.delete(session);
      await this.#finish(session, seen, pages.length);
    }
    this.sessions = number + 1;
    this.#seen = undefined;
    this.#isEnding = false;
    this.#firstObject = object + 1;
  }

  /** Compares what is left of a session's logs; `pages`: so many of one should have come, if any. */
  async #finish(session: number, seen: Seen, pages: number | undefined): Promise<void> {
    if (seen.comparison !== undefined) {
      // The last page could not be read: that was told.
      if (seen.pages !== pages) await seen.comparison.skipTo(Number.POSITIVE_INFINITY);
      this.#tell(session, 'on the volume', await seen.comparison.end());
    }
    const beside = this.#beside(session);
    if (beside !== undefined)
      this.#tell(session, 'beside the volume', await this.#compareBeside(seen, beside));
    else if (pages === undefined && seen.log.entryCount > 0) {
      const message = `there is no log of session ${session}, neither on the volume nor beside it`;
      this.#findings.add({ kind: 'log', object: seen.firstObject, message });
    }
  }

  async #compareBeside(seen: Seen, pages: LogPages): Promise<ComparedLog> {
    const comparison = this.#comparison(seen);
    try {
      for await (const entry of entriesOf(pages)) await comparison.told(entry);
      return await comparison.end();
    } catch (thrown) {
      if (!(thrown instanceof PenstockError) || thrown.code !== 'DAMAGED') throw thrown;
      this.#findings.add({ kind: 'log', message: thrown.message });
      return NO_DIFFERENCES;
    }
  }

  #tell(session: number, where: string, { differences, total }: ComparedLog): void {
    const log = `the log of session ${session} ${where}`;
    for (const { object, text } of differences)
      this.#findings.add({ kind: 'log', object, message: `${text} (${log})` });
    this.#findings.addMore('log', total - differences.length);
  }
}

function parsedIndex(bytes: Buffer): SessionEntry[] | undefined {
  try {
    const sessions: unknown = JSON.parse(bytes.toString('utf8'));
    return Array.isArray(sessions) ? sessions : undefined;
  } catch {
    return undefined;
  }
}
