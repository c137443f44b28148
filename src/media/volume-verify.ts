/**
 * Reads a volume through, once, forward, and looks at every object: headers, checksums, the order of
 * each chunk's parts, and whether logs and index say what is there (volume-index.ts has the layout).
 *
 * Contract: needs no key. What is wrong is a finding, with the number of its object; what cannot be
 * read costs itself alone. In memory are one record, a few numbers of each chunk, and the log of what
 * was seen, as pages, until it was compared (volume-verify-logs.ts).
 */
import { LIMITS } from '../base/limits.ts';
import { LABEL_OBJECTS } from '../format/volume-label.ts';
import type { LogRun } from '../format/write-log.ts';
import { isVolumeError, type Volume, type VolumeRead } from './volume.ts';
import { type VolumeFinding, VolumeFindings } from './volume-findings.ts';
import { contentProblem } from './volume-reader.ts';
import { PartNumbers } from './volume-scan.ts';
import { VerifiedLogs } from './volume-verify-logs.ts';
import { extendRun, type LoggedRecord, type LogPages, runOf } from './write-log.ts';

export interface VerifyOptions {
  /** Id of the volume. */
  readonly volume: string;
  /** The longest record of its pool. */
  readonly blockBytes: number;
  /** The log of a session that is kept beside. */
  beside(session: number): LogPages | undefined;
  /** Called again and again: between two calls others get their turn. Throws to stop. */
  onProgress(objects: number, bytes: number): Promise<void>;
}

/** What was seen of a chunk on the volume. */
export interface VerifiedChunk {
  readonly chunk: string;
  /** Of its parts, each counted once. */
  readonly bytes: number;
  readonly firstPart: number;
  /** One more than the last. */
  readonly endPart: number;
  /** Its last part is here. */
  readonly isEnded: boolean;
  /** Parts are missing in between. */
  readonly hasGaps: boolean;
}

export interface VerifyReport {
  readonly objects: number;
  readonly marks: number;
  /** Records of chunks. */
  readonly records: number;
  /** Of all records. */
  readonly bytes: number;
  /** Sessions that were closed. */
  readonly sessions: number;
  /** Objects of a session that was not closed: its beginning, and the end. */
  readonly open: { readonly from: number; readonly end: number } | undefined;
  readonly chunks: ReadonlyMap<string, VerifiedChunk>;
  /** Parts of chunks that are damaged, or missing between others; some of them where there are very many. */
  readonly badParts: ReadonlyMap<string, ReadonlySet<number>>;
  readonly findings: readonly VolumeFinding[];
  readonly findingsTotal: number;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** So many objects, or bytes, are read in one go. */
const TURN_OBJECTS = 64;
const TURN_BYTES = 8 * 1024 * 1024;

/** Reads a volume from behind its labels, where it stands. VOLUME_IO, VOLUME_CHANGED. */
export async function verifyVolume(volume: Volume, options: VerifyOptions): Promise<VerifyReport> {
  return await new VolumeVerification(volume, options).run();
}

class VolumeVerification {
  readonly #volume: Volume;
  readonly #options: VerifyOptions;
  readonly #view: Buffer;
  readonly #parts = new PartNumbers();
  readonly #chunks = new Map<string, Writable<VerifiedChunk>>();
  readonly #findings = new VolumeFindings();
  readonly #logs: VerifiedLogs;
  readonly #bad = new Map<string, Set<number>>();
  #badCount = 0;
  #run: LogRun | undefined;
  #marks = 0;
  #records = 0;
  #bytes = 0;
  /** The last object that could not be read. */
  #unreadable = -1;
  /** The last object of each chunk. */
  readonly #last = new Map<string, number>();

  constructor(volume: Volume, options: VerifyOptions) {
    this.#volume = volume;
    this.#options = options;
    const bytes = Math.max(options.blockBytes, LIMITS.volumeIndexBytesMax);
    this.#view = Buffer.alloc(Math.min(bytes, volume.limits.recordBytesMax));
    this.#logs = new VerifiedLogs(options.volume, this.#findings, (session) =>
      options.beside(session),
    );
  }

  async run(): Promise<VerifyReport> {
    let object = LABEL_OBJECTS;
    let turn = { object, bytes: 0 };
    for (;;) {
      const got = await this.#read(object);
      if (got === 'damaged') object = (await this.#volume.tell()).object - 1;
      else if (got.kind === 'end') break;
      else if (got.kind === 'mark') await this.#mark(object);
      else await this.#record(object, got.bytes);
      object += 1;
      if (object - turn.object < TURN_OBJECTS && this.#bytes - turn.bytes < TURN_BYTES) continue;
      turn = { object, bytes: this.#bytes };
      await this.#options.onProgress(object, this.#bytes);
    }
    await this.#closeRun();
    const open = await this.#logs.end(object);
    return {
      objects: object,
      marks: this.#marks,
      records: this.#records,
      bytes: this.#bytes,
      sessions: this.#logs.sessions,
      open,
      chunks: this.#chunks,
      badParts: this.#bad,
      findings: this.#findings.list(),
      findingsTotal: this.#findings.total,
    };
  }

  async #read(object: number): Promise<VolumeRead | 'damaged'> {
    try {
      return await this.#volume.read(this.#view);
    } catch (thrown) {
      if (!isVolumeError(thrown, 'VOLUME_DAMAGED')) throw thrown;
      const text = (thrown as Error).message.replace(/^.*object \d+: /, '');
      await this.#lost(object, 'unreadable', text);
      return 'damaged';
    }
  }

  async #lost(object: number, kind: 'unreadable' | 'damaged', message: string): Promise<void> {
    await this.#closeRun();
    this.#unreadable = object;
    this.#logs.unreadable(object);
    this.#findings.add({ kind, object, message });
  }

  async #mark(object: number): Promise<void> {
    await this.#closeRun();
    this.#marks += 1;
    await this.#logs.mark(object);
  }

  async #record(object: number, bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (bytes > this.#view.length) {
      const text = `a record of ${bytes} bytes, longer than any of the pool`;
      return await this.#lost(object, 'damaged', text);
    }
    const view = this.#view.subarray(0, bytes);
    if (view.toString('latin1', 0, 8) === 'PENSTOCK') {
      await this.#closeRun();
      const wrong = await this.#logs.own(object, view);
      if (wrong !== undefined) await this.#lost(object, 'damaged', wrong);
      return;
    }
    const seen = this.#parts.see(view, bytes);
    if (seen === undefined) return await this.#lost(object, 'damaged', 'its header is damaged');
    this.#records += 1;
    const wrong = contentProblem(view);
    if (wrong !== undefined) {
      const message = `part ${seen.part} of chunk ${seen.chunk}: ${wrong}`;
      this.#findings.add({ kind: 'damaged', object, message, chunk: seen.chunk });
      this.#badPart(seen.chunk, seen.part);
    }
    this.#order(object, bytes, seen);
    const times = { receivedMs: 0, writtenMs: 0 };
    const record: LoggedRecord = {
      ...seen,
      bytes,
      recordBytes: 0,
      object,
      hint: undefined,
      ...times,
    };
    const longer = this.#run === undefined ? undefined : extendRun(this.#run, record);
    if (longer === undefined) await this.#closeRun();
    this.#run = longer ?? runOf(record);
  }

  /** False when there are too many to keep them all. */
  #badPart(chunk: string, part: number): boolean {
    if (this.#badCount >= LIMITS.damageNoteBlocks) return false;
    const parts = this.#bad.get(chunk) ?? new Set();
    this.#bad.set(chunk, parts.add(part));
    this.#badCount += 1;
    return true;
  }

  async #closeRun(): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    if (run !== undefined) await this.#logs.seen(run);
  }

  /** Parts of a chunk follow each other; one that was written again comes later once more. */
  #order(
    object: number,
    bytes: number,
    { chunk, part, isLast }: Pick<LoggedRecord, 'chunk' | 'part' | 'isLast'>,
  ): void {
    const before = this.#last.get(chunk);
    const known = this.#chunks.get(chunk);
    if (isLast) this.#last.delete(chunk);
    else this.#last.set(chunk, object);
    if (known === undefined) {
      const made = { chunk, bytes, firstPart: part, endPart: part + 1 };
      this.#chunks.set(chunk, { ...made, isEnded: isLast, hasGaps: false });
      return;
    }
    known.isEnded ||= isLast;
    if (part < known.endPart) return;
    if (part > known.endPart) {
      known.hasGaps = true;
      for (let missing = known.endPart; missing < part && this.#badPart(chunk, missing); missing++);
      // What could not be read in between explains it, and was told.
      if (before === undefined || this.#unreadable < before) {
        const message = `part ${part} of chunk ${chunk} follows part ${known.endPart - 1}`;
        this.#findings.add({ kind: 'order', object, message, chunk });
      }
    }
    known.bytes += bytes;
    known.endPart = part + 1;
  }
}
