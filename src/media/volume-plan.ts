/**
 * From what is wanted and the write log to what the drive is to do (L5, L8): locate, space, read.
 *
 * Contract: a plan goes over the volume once, forwards. It reads wanted records and nothing else.
 * What lies between is spaced over where it is little and without marks, else located. Where a part
 * was written twice, the later one counts. Memory grows with what is wanted, not with the log.
 */

import { LIMITS } from '../base/limits.ts';
import type { LogEntry, LogRun } from '../format/write-log.ts';

/** Parts of a chunk, from 0: its header, its blocks (block n is part n + 1), what follows them. */
export interface WantedChunk {
  readonly chunk: string;
  /** Ascending; all of them where absent. */
  readonly parts?: readonly number[];
  /** Only those of this stream: where streams have no chunks. */
  readonly stream?: string;
}

/** One operation, as a segment of a copy command would have it. */
export type VolumeSegment =
  | { readonly kind: 'locate'; readonly object: number; readonly hint?: number }
  | { readonly kind: 'space'; readonly records: number }
  | {
      readonly kind: 'read';
      readonly records: number;
      readonly object: number;
      readonly stream: string;
      readonly chunk: string;
      readonly part: number;
    };

export interface VolumePlan {
  readonly segments: readonly VolumeSegment[];
  readonly records: number;
  /** Records between the first and the last wanted one that are passed over. */
  readonly skipped: number;
  readonly positionings: number;
  /** What the log does not have. Of a chunk that is wanted whole, no `parts`: something is missing. */
  readonly missing: readonly WantedChunk[];
}

/** Consecutive wanted records. */
interface Piece {
  readonly stream: string;
  readonly chunk: string;
  readonly part: number;
  readonly records: number;
  readonly object: number;
  /** Of the run's first record, and its number. */
  readonly run: { readonly object: number; readonly hint?: number };
  /** Marks before it, as far as the log tells: where two have as many, there is none between. */
  readonly marks: number;
}

class WantedParts {
  readonly wanted: WantedChunk;
  readonly #parts: ReadonlySet<number> | undefined;
  pieces: Piece[] = [];
  endPart: number | undefined;

  constructor(wanted: WantedChunk) {
    this.wanted = wanted;
    this.#parts = wanted.parts === undefined ? undefined : new Set(wanted.parts);
  }

  take(run: LogRun, marks: number): void {
    if (this.wanted.stream !== undefined && this.wanted.stream !== run.stream) return;
    const end = run.part + run.records;
    this.pieces = this.pieces.flatMap((piece) => without(piece, run.part, end));
    if (run.isLast) this.endPart = end;
    const add = (part: number, records: number): void => {
      const { stream, chunk } = run;
      const object = run.object + (part - run.part);
      this.pieces.push({ stream, chunk, part, records, object, run, marks });
    };
    if (this.#parts === undefined) {
      add(run.part, run.records);
      return;
    }
    let from = -1;
    for (let part = run.part; part <= end; part++) {
      const isWanted = part < end && this.#parts.has(part);
      if (isWanted && from < 0) from = part;
      else if (!isWanted && from >= 0) {
        add(from, part - from);
        from = -1;
      }
    }
  }

  missing(): WantedChunk | undefined {
    const found = this.pieces.reduce((sum, { records }) => sum + records, 0);
    const { parts } = this.wanted;
    if (parts === undefined) return found === this.endPart ? undefined : this.wanted;
    if (found === this.#parts?.size) return undefined;
    const has = (part: number): boolean =>
      this.pieces.some((piece) => part >= piece.part && part < piece.part + piece.records);
    return { ...this.wanted, parts: parts.filter((part) => !has(part)) };
  }
}

/** What is left of a piece without the parts from `from` to before `end`. */
function without(piece: Piece, from: number, end: number): Piece[] {
  const pieceEnd = piece.part + piece.records;
  if (end <= piece.part || from >= pieceEnd) return [piece];
  const left: Piece[] = [];
  if (from > piece.part) left.push({ ...piece, records: from - piece.part });
  if (end < pieceEnd) {
    const cut = end - piece.part;
    left.push({ ...piece, part: end, records: pieceEnd - end, object: piece.object + cut });
  }
  return left;
}

/** Makes the plan. @param entries the log, in its order */
export async function planVolumeRead(
  entries: AsyncIterable<LogEntry> | Iterable<LogEntry>,
  wanted: readonly WantedChunk[],
): Promise<VolumePlan> {
  const chunks = new Map<string, WantedParts[]>();
  for (const one of wanted) {
    const list = chunks.get(one.chunk) ?? [];
    list.push(new WantedParts(one));
    chunks.set(one.chunk, list);
  }
  let marks = 0;
  for await (const entry of entries) {
    if (entry.kind === 'marks') marks += entry.count;
    else if (entry.kind === 'run')
      for (const parts of chunks.get(entry.chunk) ?? []) parts.take(entry, marks);
  }
  const all = [...chunks.values()].flat();
  const pieces = all.flatMap(({ pieces: list }) => list).sort((a, b) => a.object - b.object);
  const missing = all.flatMap((parts) => parts.missing() ?? []);
  return { ...segmentsOf(pieces), missing };
}

function segmentsOf(pieces: readonly Piece[]): Omit<VolumePlan, 'missing'> {
  const segments: VolumeSegment[] = [];
  let at: number | undefined;
  let marks = 0;
  let records = 0;
  let skipped = 0;
  for (const piece of pieces) {
    const distance = piece.object - (at ?? 0);
    if (at !== undefined) skipped += distance;
    if (at === undefined || piece.marks !== marks || distance > LIMITS.volumeSpaceRecords)
      segments.push(...locating(piece));
    else if (distance > 0) segments.push({ kind: 'space', records: distance });
    const { stream, chunk, part, object } = piece;
    segments.push({ kind: 'read', records: piece.records, object, stream, chunk, part });
    records += piece.records;
    at = object + piece.records;
    marks = piece.marks;
  }
  const positionings = segments.filter(({ kind }) => kind !== 'read').length;
  return { segments, records, skipped, positionings };
}

/** To a piece: by the hint of its run's first record, where there is one. */
function locating({ object, run }: Piece): VolumeSegment[] {
  if (run.hint === undefined) return [{ kind: 'locate', object }];
  const first: VolumeSegment = { kind: 'locate', object: run.object, hint: run.hint };
  const more = object - run.object;
  return more === 0 ? [first] : [first, { kind: 'space', records: more }];
}
