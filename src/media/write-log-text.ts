/**
 * A write log for people and programs: lines of text, JSON objects, a picture.
 *
 * Contract: pure; names of streams are given by the caller, who knows them. The picture is SVG
 * without scripts, fonts or anything from elsewhere; what is in it is escaped.
 */
import { formatBytes, formatDuration } from '../base/units.ts';
import type { LogEntry } from '../format/write-log.ts';
import type { LogFigures, StreamFigures } from './write-log-figures.ts';

/** What a stream is called; its id where that is not known. */
export type StreamName = (stream: string) => string;

/** One line for an entry. */
export function logEntryText(entry: LogEntry, nameOf: StreamName): string {
  const time = new Date(entry.writtenMs).toISOString();
  const at = String(entry.object).padStart(10);
  if (entry.kind === 'synchronised') return `${at}  ${time}  synchronised`;
  if (entry.kind === 'marks') return `${at}  ${time}  ${entry.count} file mark(s)`;
  const { records, bytes, recordBytes, chunk, part } = entry;
  const fixed = recordBytes === 0 ? '' : ` of ${recordBytes}`;
  const last = entry.isLast ? ', end of chunk' : '';
  const run = `${records} record(s)${fixed}, ${formatBytes(bytes)}`;
  return `${at}  ${time}  ${nameOf(entry.stream)}: ${run}, chunk ${chunk} from part ${part}${last}`;
}

/** The same as an object for a line of JSON. */
export function logEntryJson(entry: LogEntry, nameOf: StreamName): Record<string, unknown> {
  return entry.kind === 'run' ? { ...entry, name: nameOf(entry.stream) } : { ...entry };
}

/** The figures of a log, a line a stream. */
export function logFiguresText(figures: LogFigures, nameOf: StreamName): string[] {
  const lasted = figures.lastMs - figures.firstMs;
  const head = [
    `${figures.streams.length} stream(s), ${figures.records} records, ${formatBytes(figures.bytes)}`,
    `in ${formatDuration(lasted)}, ${figures.marks} file mark(s)`,
    `${figures.synchronisations} synchronisation(s)`,
  ].join(', ');
  return [
    head,
    ...figures.streams.map((one) => {
      const runs = `${one.runs} runs of ${one.runAverage.toFixed(1)} (at most ${one.runLongest})`;
      const gaps = `gaps of ${one.gapAverage.toFixed(1)} (at most ${one.gapLongest})`;
      const rate = `${formatBytes(one.bytesPerSecond)}/s`;
      return `${nameOf(one.stream)}: ${formatBytes(one.bytes)}, ${rate}, ${runs}, ${gaps}`;
    }),
  ];
}

const WIDTH = 960;
const LEFT = 90;
const TOP = 30;
const PLOT = 320;
const LINE = 18;
const COLOURS = [
  '#1b6ca8',
  '#d1495b',
  '#2e933c',
  '#edae49',
  '#7d4f9e',
  '#00798c',
  '#8d6a3a',
  '#555',
];

/** Rates of all streams over time, one on top of the other. */
export function logFiguresSvg(figures: LogFigures, nameOf: StreamName, title: string): string {
  const { streams, sliceMs } = figures;
  const count = Math.max(1, ...streams.map(({ slices }) => slices.length));
  const totals = Array.from({ length: count }, (_, i) =>
    streams.reduce((sum, { slices }) => sum + (slices[i] ?? 0), 0),
  );
  const most = Math.max(1, ...totals);
  const height = TOP + PLOT + 40 + streams.length * LINE;
  const x = (i: number): number => LEFT + (i * (WIDTH - LEFT - 10)) / count;
  const y = (bytes: number): number => TOP + PLOT - (bytes * PLOT) / most;
  const below = totals.map(() => 0);
  const areas = streams.map((stream, number) => area(stream, number, below, x, y));
  const legend = streams.map((stream, number) => {
    const top = TOP + PLOT + 40 + number * LINE;
    const text = `${nameOf(stream.stream)}: ${formatBytes(stream.bytes)}, ${formatBytes(stream.bytesPerSecond)}/s, runs of ${stream.runAverage.toFixed(1)}`;
    return `<rect x="${LEFT}" y="${top - 10}" width="12" height="12" fill="${colour(number)}"/><text x="${LEFT + 18}" y="${top}">${escaped(text)}</text>`;
  });
  const rate = (part: number): string => `${formatBytes((most * part * 1000) / sliceMs)}/s`;
  const axis = [0, 0.5, 1].map((part) => {
    const top = y(most * part);
    return `<line x1="${LEFT}" x2="${WIDTH - 10}" y1="${top}" y2="${top}" stroke="#ccc"/><text x="${LEFT - 6}" y="${top + 4}" text-anchor="end">${rate(part)}</text>`;
  });
  const lasted = formatDuration(figures.lastMs - figures.firstMs);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title><rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${LEFT}" y="18" font-size="14">${escaped(title)}</text>`,
    ...axis,
    ...areas,
    `<text x="${LEFT}" y="${TOP + PLOT + 16}">0</text>`,
    `<text x="${WIDTH - 10}" y="${TOP + PLOT + 16}" text-anchor="end">${lasted}</text>`,
    ...legend,
    '</svg>',
    '',
  ].join('\n');
}

/** A stream's area on top of those before it; `below` grows by it. */
function area(
  { slices }: StreamFigures,
  number: number,
  below: number[],
  x: (i: number) => number,
  y: (bytes: number) => number,
): string {
  const upper: string[] = [];
  const lower: string[] = [];
  for (const [i, base] of below.entries()) {
    const top = base + (slices[i] ?? 0);
    const [from, to] = [x(i).toFixed(1), x(i + 1).toFixed(1)];
    upper.push(`${from},${y(top).toFixed(1)} ${to},${y(top).toFixed(1)}`);
    lower.unshift(`${to},${y(base).toFixed(1)} ${from},${y(base).toFixed(1)}`);
    below[i] = top;
  }
  return `<polygon fill="${colour(number)}" points="${upper.join(' ')} ${lower.join(' ')}"/>`;
}

const colour = (number: number): string => COLOURS[number % COLOURS.length] as string;

function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
  };
  // Control characters are not allowed in XML at all.
  return text
    .replace(/[&<>"]/g, (character) => entities[character] as string)
    .replace(/\p{Cc}/gu, '?');
}
