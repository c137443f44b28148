/**
 * The write log of one session on a volume (L4, L6): entries come in, pages go out.
 *
 * Contract: entries are added in the order of their objects, once they are true: what was written is
 * on the medium. What is in memory is one page; full ones are kept by `LogPages`. The log is begun by
 * `initiate`, and is cleared only when every entry is stored elsewhere: on the medium, or beside it.
 *
 *   state      from                  to
 *   clear      stored (clear)        recording (initiate)
 *   recording  clear, stored         stored (markStored)
 *   stored     recording             recording (add), clear (clear), recording (initiate)
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  decodeLogPage,
  type LogEntry,
  type LogPageHead,
  LogPageWriter,
  type LogRun,
} from '../format/write-log.ts';
import { crcOf } from '../host/mod.ts';

/** Keeps encoded pages, in order. */
export interface LogPages {
  readonly count: number;
  add(page: Buffer): Promise<void>;
  read(index: number): Promise<Buffer>;
  clear(): Promise<void>;
  /** What was added is safe. */
  synchronise(): Promise<void>;
}

export class MemoryLogPages implements LogPages {
  readonly #pages: Buffer[] = [];

  get count(): number {
    return this.#pages.length;
  }
  async add(page: Buffer): Promise<void> {
    this.#pages.push(page);
  }
  async read(index: number): Promise<Buffer> {
    return this.#pages[index] as Buffer;
  }
  async clear(): Promise<void> {
    this.#pages.length = 0;
  }
  async synchronise(): Promise<void> {}
}

/** Pages that are there as they are. */
export function givenPages(pages: readonly Uint8Array[]): LogPages {
  return readOnlyPages(pages.length, async (index) => Buffer.from(must(pages[index], 'a page')));
}

/** Pages that are only read. */
export function readOnlyPages(count: number, read: (index: number) => Promise<Buffer>): LogPages {
  const refuse = async (): Promise<void> => {
    throw new PenstockError('INTERNAL', 'these pages are only read');
  };
  return { count, read, add: refuse, clear: refuse, synchronise: async () => undefined };
}

export type WriteLogState = 'clear' | 'recording' | 'stored';

export interface WriteLogIdentity {
  /** Given by the application. */
  readonly id: string;
  readonly volume: string;
  readonly session: number;
}

export class WriteLog {
  readonly pages: LogPages;
  #identity: WriteLogIdentity | undefined;
  #writer: LogPageWriter | undefined;
  #state: WriteLogState = 'clear';
  #entries = 0;

  constructor(pages: LogPages = new MemoryLogPages()) {
    this.pages = pages;
  }

  get state(): WriteLogState {
    return this.#state;
  }
  get identity(): WriteLogIdentity | undefined {
    return this.#identity;
  }
  get entryCount(): number {
    return this.#entries;
  }

  /** Begins the log of a session. @throws PenstockError USAGE while another is not stored */
  async initiate(identity: WriteLogIdentity): Promise<void> {
    if (this.#state === 'recording') throw this.#refused('begun anew');
    await this.pages.clear();
    this.#identity = identity;
    this.#writer = new LogPageWriter(identity.volume, identity.session);
    this.#entries = 0;
    this.#state = 'recording';
  }

  async add(entry: LogEntry): Promise<void> {
    if (this.#writer === undefined)
      throw new PenstockError('INTERNAL', 'an entry for a log that was not begun');
    this.#state = 'recording';
    this.#writer.add(entry);
    this.#entries += 1;
    if (this.#writer.isFull) await this.finish();
  }

  /** Ends the open page, so that `pages` has all entries. */
  async finish(): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined || writer.isEmpty) return;
    await this.pages.add(writer.finish(crcOf));
  }

  /** All entries are stored on the medium, or beside it. */
  markStored(): void {
    if (this.#state === 'recording') this.#state = 'stored';
  }

  /** @throws PenstockError USAGE while there are entries that are stored nowhere else */
  async clear(): Promise<void> {
    if (this.#state === 'recording' && this.#entries > 0) throw this.#refused('cleared');
    await this.pages.clear();
    this.#writer = undefined;
    this.#identity = undefined;
    this.#entries = 0;
    this.#state = 'clear';
  }

  /** All entries so far, page by page. */
  async *entries(): AsyncGenerator<LogEntry> {
    await this.finish();
    yield* entriesOf(this.pages);
  }

  #refused(what: string): PenstockError {
    const { id = '', volume = '' } = this.#identity ?? {};
    return new PenstockError(
      'USAGE',
      `the write log ${id} of volume ${volume} cannot be ${what}: it is stored nowhere else`,
      { hint: 'append it to the medium first', subject: volume },
    );
  }
}

/** The entries of pages, one page in memory at a time. */
export async function* entriesOf(
  pages: LogPages,
  wanted: (head: LogPageHead) => boolean = () => true,
): AsyncGenerator<LogEntry> {
  for (let i = 0; i < pages.count; i++) {
    const page = decodeLogPage(await pages.read(i), `page ${i} of the write log`, crcOf);
    if (wanted(page.head)) yield* page.entries;
  }
}

/** A record that was written, as the log sees it. */
export interface LoggedRecord {
  readonly stream: string;
  readonly chunk: string;
  readonly part: number;
  readonly bytes: number;
  /** The fixed length of the stream's records; 0: none. */
  readonly recordBytes: number;
  readonly isLast: boolean;
  readonly object: number;
  readonly hint: number | undefined;
  readonly receivedMs: number;
  readonly writtenMs: number;
}

/**
 * The run with a record added; nothing if the record begins another run: other stream or chunk, not the
 * next object or part, another fixed length, behind the end of its chunk, or the run is long enough
 * (so that rates can be told over time).
 */
export function extendRun(run: LogRun, record: LoggedRecord): LogRun | undefined {
  const follows =
    run.stream === record.stream &&
    run.chunk === record.chunk &&
    run.object + run.records === record.object &&
    run.part + run.records === record.part &&
    run.recordBytes === fixedBytes(record) &&
    run.bytes < LIMITS.logRunBytes &&
    !run.isLast;
  if (!follows) return undefined;
  return {
    ...run,
    records: run.records + 1,
    bytes: run.bytes + record.bytes,
    isLast: record.isLast,
    writtenMs: record.writtenMs,
  };
}

/** A run of one record. */
export function runOf(record: LoggedRecord): LogRun {
  const { stream, chunk, part, bytes, isLast, object, hint, receivedMs, writtenMs } = record;
  return {
    kind: 'run',
    ...{ stream, chunk, part, records: 1, bytes, recordBytes: fixedBytes(record), object },
    ...{ isLast, receivedMs, writtenMs },
    ...(hint === undefined ? {} : { hint }),
  };
}

/** A shorter record, as a stream may end with, is no fixed one. */
const fixedBytes = ({ recordBytes, bytes }: LoggedRecord): number =>
  recordBytes === bytes ? recordBytes : 0;
