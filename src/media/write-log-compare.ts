/**
 * Compares what is on a volume with what a write log says is there.
 *
 * Contract: both are in the order of their objects; runs may be divided differently, and times and hints
 * do not count. What could not be read is no difference: the log says what it was. Differences are
 * counted, and the first of them told.
 */
import { LIMITS } from '../base/limits.ts';
import type { LogEntry, LogRun } from '../format/write-log.ts';

/** What the log has at an object. */
export interface LoggedObject {
  readonly object: number;
  /** The run that it belongs to; nothing: a mark. */
  readonly run?: LogRun;
  /** Which record of the run it is. */
  readonly index: number;
}

export interface LogDifference {
  readonly object: number;
  readonly text: string;
}

export interface ComparedLog {
  /** The first of them. */
  readonly differences: readonly LogDifference[];
  readonly total: number;
}

/** The log of what was seen is complete; what a log tells comes in. */
export class LogComparison {
  readonly #seen: AsyncIterator<LoggedObject>;
  readonly #isUnreadable: (object: number) => boolean;
  readonly #onUnreadable: (told: LoggedObject) => void;
  readonly #differences: LogDifference[] = [];
  #total = 0;
  #next: LoggedObject | undefined;
  #begun = false;
  /** Bytes of runs, until runs of both end with the same object. */
  #bytes = { seen: 0, told: 0, isKnown: true };

  /** @param onUnreadable what the log has where nothing could be read */
  constructor(
    seen: AsyncIterable<LogEntry>,
    isUnreadable: (object: number) => boolean,
    onUnreadable: (told: LoggedObject) => void = () => undefined,
  ) {
    this.#seen = loggedObjects(seen)[Symbol.asyncIterator]();
    this.#isUnreadable = isUnreadable;
    this.#onUnreadable = onUnreadable;
  }

  /** Compares the next entry of the log. */
  async told(entry: LogEntry): Promise<void> {
    for (const told of objectsOfEntry(entry)) await this.#object(told);
  }

  /** Objects before this one are not compared: the log's page about them cannot be read. */
  async skipTo(object: number): Promise<void> {
    for (let seen = await this.#peek(); seen !== undefined; seen = await this.#advance())
      if (seen.object >= object) break;
    this.#bytes = { seen: 0, told: 0, isKnown: false };
  }

  /** Nothing more is told. Marks at the end are the session's own, which no log has. */
  async end(): Promise<ComparedLog> {
    for (let seen = await this.#peek(); seen !== undefined; seen = await this.#advance())
      if (seen.run !== undefined) this.#differ(seen.object, `${nameOf(seen)}, and the log ends`);
    return { differences: this.#differences, total: this.#total };
  }

  async #object(told: LoggedObject): Promise<void> {
    let seen = await this.#peek();
    while (seen !== undefined && seen.object < told.object) {
      this.#differ(seen.object, `${nameOf(seen)}, and nothing in the log`);
      this.#bytes.isKnown = false;
      seen = await this.#advance();
    }
    if (seen === undefined || seen.object > told.object) {
      this.#bytes.isKnown = false;
      if (this.#isUnreadable(told.object)) this.#onUnreadable(told);
      else if (seen !== undefined || told.run !== undefined)
        this.#differ(told.object, `in the log ${nameOf(told)}, and no such thing on the volume`);
      return;
    }
    if (!isSame(seen, told))
      this.#differ(told.object, `${nameOf(seen)}, and in the log ${nameOf(told)}`);
    this.#compareBytes(seen, told);
    await this.#advance();
  }

  #compareBytes(seen: LoggedObject, told: LoggedObject): void {
    const bytes = this.#bytes;
    if (seen.index === 0) bytes.seen += seen.run?.bytes ?? 0;
    if (told.index === 0) bytes.told += told.run?.bytes ?? 0;
    if (!endsRun(seen) || !endsRun(told)) return;
    if (bytes.isKnown && bytes.seen !== bytes.told)
      this.#differ(told.object, `${bytes.seen} bytes up to here, and ${bytes.told} in the log`);
    this.#bytes = { seen: 0, told: 0, isKnown: true };
  }

  #differ(object: number, text: string): void {
    this.#total += 1;
    if (this.#differences.length < LIMITS.volumeFindingsMax)
      this.#differences.push({ object, text });
  }

  async #peek(): Promise<LoggedObject | undefined> {
    if (this.#begun) return this.#next;
    this.#begun = true;
    return await this.#advance();
  }

  async #advance(): Promise<LoggedObject | undefined> {
    const { done, value } = await this.#seen.next();
    this.#next = done === true ? undefined : value;
    return this.#next;
  }
}

/** Compares two logs as wholes. */
export async function compareLogs(
  seen: AsyncIterable<LogEntry>,
  told: AsyncIterable<LogEntry>,
  isUnreadable: (object: number) => boolean,
): Promise<ComparedLog> {
  const comparison = new LogComparison(seen, isUnreadable);
  for await (const entry of told) await comparison.told(entry);
  return await comparison.end();
}

/** All objects that a log tells of. */
export async function* loggedObjects(
  entries: AsyncIterable<LogEntry>,
): AsyncGenerator<LoggedObject> {
  for await (const entry of entries) yield* objectsOfEntry(entry);
}

function* objectsOfEntry(entry: LogEntry): Generator<LoggedObject> {
  const { object } = entry;
  if (entry.kind === 'run')
    for (let index = 0; index < entry.records; index++)
      yield { object: object + index, run: entry, index };
  else if (entry.kind === 'marks')
    for (let index = 0; index < entry.count; index++) yield { object: object + index, index };
}

const endsRun = ({ run, index }: LoggedObject): boolean =>
  run === undefined || index === run.records - 1;

const isLast = (one: LoggedObject): boolean => one.run?.isLast === true && endsRun(one);

function isSame(seen: LoggedObject, told: LoggedObject): boolean {
  if (seen.run === undefined || told.run === undefined) return seen.run === told.run;
  return (
    seen.run.stream === told.run.stream &&
    seen.run.chunk === told.run.chunk &&
    seen.run.part + seen.index === told.run.part + told.index &&
    isLast(seen) === isLast(told)
  );
}

function nameOf({ run, index }: LoggedObject): string {
  return run === undefined ? 'a file mark' : `part ${run.part + index} of chunk ${run.chunk}`;
}
