/**
 * What a write log says of performance (L7): rates over time, run lengths and gaps, stream by stream.
 *
 * Contract: goes over the entries once, in memory that does not grow with them: time is divided into a
 * fixed number of slices, which double in width when they do not suffice.
 */
import { must } from '../base/assert.ts';
import type { LogEntry, LogRun } from '../format/write-log.ts';

export interface StreamFigures {
  readonly stream: string;
  readonly records: number;
  readonly bytes: number;
  readonly runs: number;
  /** Records in a run: on average and at most. */
  readonly runAverage: number;
  readonly runLongest: number;
  /** Objects of others between two runs of the stream. */
  readonly gapAverage: number;
  readonly gapLongest: number;
  /** The longest time between two runs. */
  readonly gapLongestMs: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** From receiving to having written, on average. */
  readonly delayMs: number;
  readonly bytesPerSecond: number;
  /** How it fared in each slice of time. */
  readonly slices: readonly StreamSlice[];
}

/** What of a stream was written in a slice of time. */
export interface StreamSlice {
  readonly bytes: number;
  /** Records of the runs that ended in it. */
  readonly records: number;
  /** Runs that ended in it; records by runs: how long they were. */
  readonly runs: number;
  /** Objects of others before these runs. */
  readonly gaps: number;
}

export interface LogFigures {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly sliceMs: number;
  readonly records: number;
  readonly bytes: number;
  readonly marks: number;
  readonly synchronisations: number;
  /** In the order of their first runs. */
  readonly streams: readonly StreamFigures[];
}

const SLICES = 240;

class StreamSum {
  records = 0;
  bytes = 0;
  runs = 0;
  runLongest = 0;
  gaps = 0;
  gapLongest = 0;
  gapLongestMs = 0;
  firstMs = Number.POSITIVE_INFINITY;
  lastMs = 0;
  delayMs = 0;
  endObject = -1;
  slices: Slice[] = Array.from({ length: SLICES }, noSlice);
}

type Slice = { -readonly [K in keyof StreamSlice]: StreamSlice[K] };
const noSlice = (): Slice => ({ bytes: 0, records: 0, runs: 0, gaps: 0 });

/** @param streams the greatest number of streams that are told apart; others are put together */
export async function writeLogFigures(
  entries: AsyncIterable<LogEntry> | Iterable<LogEntry>,
  streams = 256,
): Promise<LogFigures> {
  const sums = new Map<string, StreamSum>();
  let firstMs: number | undefined;
  let lastMs = 0;
  let sliceMs = 1;
  let marks = 0;
  let synchronisations = 0;
  for await (const entry of entries) {
    if (entry.kind === 'marks') marks += entry.count;
    else if (entry.kind === 'synchronised') synchronisations += 1;
    else {
      firstMs ??= entry.receivedMs;
      lastMs = Math.max(lastMs, entry.writtenMs);
      while (lastMs - firstMs >= sliceMs * SLICES) {
        sliceMs *= 2;
        for (const sum of sums.values()) sum.slices = halved(sum.slices);
      }
      const stream = sums.has(entry.stream) || sums.size < streams ? entry.stream : 'others';
      const sum = sums.get(stream) ?? new StreamSum();
      sums.set(stream, sum);
      const sliceOf = (ms: number): number =>
        Math.max(0, Math.floor((ms - (firstMs ?? ms)) / sliceMs));
      const last = sliceOf(entry.writtenMs);
      spread(sum.slices, entry.bytes, Math.min(sliceOf(entry.receivedMs), last), last);
      addRun(sum, entry, must(sum.slices[last], 'a slice for every time'));
    }
  }
  const used = Math.floor((lastMs - (firstMs ?? 0)) / sliceMs) + 1;
  const all = [...sums].map(([stream, sum]) => figuresOf(stream, sum, used));
  return {
    firstMs: firstMs ?? 0,
    lastMs,
    sliceMs,
    records: all.reduce((sum, { records }) => sum + records, 0),
    bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    marks,
    synchronisations,
    streams: all,
  };
}

/** A run was written from the time when its first record came to when its last was on the medium. */
function spread(slices: readonly Slice[], bytes: number, first: number, last: number): void {
  const share = Math.floor(bytes / (last - first + 1));
  for (let i = first; i <= last; i++) {
    const rest = i === last ? bytes - share * (last - first) : share;
    must(slices[i], 'a slice for every time').bytes += rest;
  }
}

function addRun(sum: StreamSum, run: LogRun, slice: Slice): void {
  slice.records += run.records;
  slice.runs += 1;
  if (sum.endObject >= 0) {
    const gap = Math.max(0, run.object - sum.endObject);
    slice.gaps += gap;
    sum.gaps += gap;
    sum.gapLongest = Math.max(sum.gapLongest, gap);
    sum.gapLongestMs = Math.max(sum.gapLongestMs, run.receivedMs - sum.lastMs);
  }
  sum.endObject = run.object + run.records;
  sum.records += run.records;
  sum.bytes += run.bytes;
  sum.runs += 1;
  sum.runLongest = Math.max(sum.runLongest, run.records);
  sum.firstMs = Math.min(sum.firstMs, run.receivedMs);
  sum.lastMs = Math.max(sum.lastMs, run.writtenMs);
  sum.delayMs += Math.max(0, run.writtenMs - run.receivedMs);
}

/** Slices of twice the width. */
function halved(slices: readonly Slice[]): Slice[] {
  return slices.map((_, i) => {
    const [a = noSlice(), b = noSlice()] = slices.slice(2 * i, 2 * i + 2);
    return {
      bytes: a.bytes + b.bytes,
      records: a.records + b.records,
      runs: a.runs + b.runs,
      gaps: a.gaps + b.gaps,
    };
  });
}

function figuresOf(stream: string, sum: StreamSum, used: number): StreamFigures {
  const lastedMs = sum.lastMs - sum.firstMs;
  return {
    stream,
    records: sum.records,
    bytes: sum.bytes,
    runs: sum.runs,
    runAverage: sum.records / sum.runs,
    runLongest: sum.runLongest,
    gapAverage: sum.runs > 1 ? sum.gaps / (sum.runs - 1) : 0,
    gapLongest: sum.gapLongest,
    gapLongestMs: sum.gapLongestMs,
    firstMs: sum.firstMs,
    lastMs: sum.lastMs,
    delayMs: sum.delayMs / sum.runs,
    bytesPerSecond: lastedMs > 0 ? (sum.bytes * 1000) / lastedMs : 0,
    slices: sum.slices.slice(0, used),
  };
}
