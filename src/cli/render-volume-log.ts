/**
 * How the write log of a volume looks (render-media.ts has volumes themselves).
 *
 * Contract: as render.ts.
 */
import { formatBytes, formatCount, formatDuration } from '../base/units.ts';
import type { LogFigures, StreamSlice } from '../media/write-log-figures.ts';
import type { StreamName } from '../media/write-log-text.ts';
import type { SessionLog } from '../mover/volume-log-reading.ts';
import type { JsonRecord } from './output.ts';
import { plural } from './render-summary.ts';
import { textTable } from './text-table.ts';

const SOURCES = {
  beside: 'log kept beside the volume',
  medium: 'log on the volume',
  headers: 'no log: read from the headers',
} as const;
/** Columns of the little picture of rates. */
const SPARK_COLUMNS = 16;
const SPARKS = ' ▁▂▃▄▅▆▇█';

const minute = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ');

/** The lines above the log of a session. */
export function sessionLines({ session, entry, source, ...place }: SessionLog): string[] {
  const objects = `objects ${place.firstObject} to ${place.endObject - 1}, ${SOURCES[source]}`;
  if (entry === undefined) return [`session ${session}, not closed`, `  ${objects}`];
  const times = `${minute(entry.startedMs)} to ${minute(entry.endedMs)}`;
  const held = `${plural(entry.records, 'record')}, ${formatBytes(entry.bytes)}`;
  return [`session ${session}, ${entry.id}: ${held}`, `  ${times}, ${objects}`];
}

export function sessionRecord({ session, entry, source, ...place }: SessionLog): JsonRecord {
  return {
    type: 'session',
    session,
    source,
    firstObject: place.firstObject,
    endObject: place.endObject,
    ...(entry === undefined
      ? { closed: false }
      : {
          closed: true,
          id: entry.id,
          started: new Date(entry.startedMs).toISOString(),
          ended: new Date(entry.endedMs).toISOString(),
          records: entry.records,
          bytes: entry.bytes,
          pagesOnMedium: entry.pages.length,
        }),
  };
}

/** Rates, runs and gaps, a line a stream. */
export function ratesTable(figures: LogFigures, nameOf: StreamName): string[] {
  const most = Math.max(1, ...figures.streams.flatMap(({ slices }) => sparkBytes(slices)));
  const columns = [
    { title: 'bytes', right: true },
    { title: 'rate', right: true },
    { title: 'runs', right: true },
    { title: 'length', right: true },
    { title: 'most', right: true },
    { title: 'gap', right: true },
    { title: 'most', right: true },
    { title: 'silent', right: true },
    { title: 'over time'.padEnd(SPARK_COLUMNS) },
    { title: 'stream' },
  ];
  const rows = figures.streams.map((one) => [
    formatBytes(one.bytes),
    `${formatBytes(Math.round(one.bytesPerSecond))}/s`,
    formatCount(one.runs),
    one.runAverage.toFixed(1),
    formatCount(one.runLongest),
    one.gapAverage.toFixed(1),
    formatCount(one.gapLongest),
    formatDuration(one.gapLongestMs),
    spark(sparkBytes(one.slices), most),
    nameOf(one.stream),
  ]);
  return textTable(columns, rows);
}

/** What the table is about, in one line. */
export function ratesLine({ streams, records, bytes, ...figures }: LogFigures): string {
  const lasted = figures.lastMs - figures.firstMs;
  const rate = lasted > 0 ? ` (${formatBytes(Math.round((bytes * 1000) / lasted))}/s)` : '';
  return [
    plural(streams.length, 'stream'),
    plural(records, 'record'),
    `${formatBytes(bytes)} in ${formatDuration(lasted)}${rate}`,
    plural(figures.marks, 'file mark'),
    plural(figures.synchronisations, 'synchronisation'),
  ].join(', ');
}

export function ratesRecord(session: number, figures: LogFigures, nameOf: StreamName): JsonRecord {
  const streams = figures.streams.map((one) => ({ name: nameOf(one.stream), ...one }));
  return { type: 'rates', session, ...figures, streams };
}

function sparkBytes(slices: readonly StreamSlice[]): number[] {
  return Array.from({ length: SPARK_COLUMNS }, (_, column) => {
    const from = Math.floor((column * slices.length) / SPARK_COLUMNS);
    const to = Math.max(from + 1, Math.floor(((column + 1) * slices.length) / SPARK_COLUMNS));
    const part = slices.slice(from, to);
    return part.reduce((sum, { bytes }) => sum + bytes, 0) / Math.max(1, part.length);
  });
}

function spark(bytes: readonly number[], most: number): string {
  return bytes
    .map((one) => (one === 0 ? ' ' : SPARKS[Math.max(1, Math.round((one * 8) / most))]))
    .join('');
}
