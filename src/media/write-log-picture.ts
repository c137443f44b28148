/**
 * A picture of a write log: rates of all streams over time, and below them, stream by stream, how long its
 * runs were; where it wrote nothing the lane is empty.
 *
 * Contract: pure. SVG without scripts, fonts or anything from elsewhere; what is in it is escaped.
 */
import { formatBytes, formatDuration } from '../base/units.ts';
import type { LogFigures, StreamFigures, StreamSlice } from './write-log-figures.ts';
import type { StreamName } from './write-log-text.ts';

const WIDTH = 960;
const LEFT = 100;
const RIGHT = 16;
const TOP = 56;
const PLOT = 240;
const LANES_TOP = TOP + PLOT + 70;
const LANE = 50;
const BAR = 24;
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

/** Where the slices of time lie. */
interface Axis {
  readonly count: number;
  x(slice: number): number;
}

/** @param title what is shown, such as a volume and a session of it */
export function logFiguresSvg(figures: LogFigures, nameOf: StreamName, title: string): string {
  const { streams } = figures;
  const count = Math.max(1, ...streams.map(({ slices }) => slices.length));
  const axis: Axis = {
    count,
    x: (slice) => LEFT + (slice * (WIDTH - LEFT - RIGHT)) / count,
  };
  const height = LANES_TOP + Math.max(1, streams.length) * LANE + 10;
  const lasted = formatDuration(figures.lastMs - figures.firstMs);
  const facts = `${formatBytes(figures.bytes)} in ${figures.records} records of ${streams.length === 1 ? '1 stream' : `${streams.length} streams`}, ${lasted}, from ${new Date(figures.firstMs).toISOString()}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title><rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    text(16, 22, title, 'font-size="15" font-weight="bold"'),
    text(16, 40, facts, 'fill="#555"'),
    ...rates(figures, axis),
    ...lanes(figures, nameOf, axis),
    '</svg>',
    '',
  ].join('\n');
}

/** Rates of all streams, one on top of the other. */
function rates({ streams, sliceMs, firstMs, lastMs }: LogFigures, axis: Axis): string[] {
  const totals = Array.from({ length: axis.count }, (_, i) =>
    streams.reduce((sum, { slices }) => sum + (slices[i]?.bytes ?? 0), 0),
  );
  const most = Math.max(1, ...totals);
  const y = (bytes: number): number => TOP + PLOT - (bytes * PLOT) / most;
  const below = totals.map(() => 0);
  const scale = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const top = y(most * share).toFixed(1);
    const rate = `${formatBytes(Math.round((most * share * 1000) / sliceMs))}/s`;
    return [
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${top}" y2="${top}" stroke="#ddd"/>`,
      text(LEFT - 6, Number(top) + 4, rate, 'text-anchor="end"'),
    ];
  });
  const times = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const at = LEFT + share * (WIDTH - LEFT - RIGHT);
    const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
    const time = share === 0 ? '0' : formatDuration((lastMs - firstMs) * share);
    return text(at, TOP + PLOT + 16, time, `text-anchor="${anchor}"`);
  });
  const areas = streams.map((stream, number) => area(stream, number, below, axis, y));
  return [...scale, ...areas, ...times];
}

/** A stream's area on top of those before it; `below` grows by it. */
function area(
  { slices }: StreamFigures,
  number: number,
  below: number[],
  axis: Axis,
  y: (bytes: number) => number,
): string {
  const upper: string[] = [];
  const lower: string[] = [];
  for (const [i, base] of below.entries()) {
    const top = base + (slices[i]?.bytes ?? 0);
    const [from, to] = [axis.x(i).toFixed(1), axis.x(i + 1).toFixed(1)];
    upper.push(`${from},${y(top).toFixed(1)} ${to},${y(top).toFixed(1)}`);
    lower.unshift(`${to},${y(base).toFixed(1)} ${from},${y(base).toFixed(1)}`);
    below[i] = top;
  }
  return `<polygon fill="${colour(number)}" points="${upper.join(' ')} ${lower.join(' ')}"/>`;
}

/** Run lengths of each stream over time. */
function lanes({ streams }: LogFigures, nameOf: StreamName, axis: Axis): string[] {
  const lengths = streams.map(({ slices }) => runLengths(slices));
  const longest = Math.max(1, ...lengths.flat());
  const title = `run lengths over time (bars: up to ${longest.toFixed(1)} records), gaps are empty`;
  return [
    text(16, LANES_TOP - 18, title, 'font-weight="bold"'),
    ...streams.flatMap((stream, number) => {
      const bottom = LANES_TOP + number * LANE + LANE - 6;
      const bars = (lengths[number] ?? []).flatMap((length, i) => {
        if (length === 0) return [];
        const high = Math.max(2, (length * BAR) / longest);
        const [from, wide] = [axis.x(i), axis.x(i + 1) - axis.x(i)];
        return [
          `<rect x="${from.toFixed(1)}" y="${(bottom - high).toFixed(1)}" width="${wide.toFixed(1)}" height="${high.toFixed(1)}"/>`,
        ];
      });
      return [
        `<rect x="16" y="${bottom - BAR - 15}" width="10" height="10" fill="${colour(number)}"/>`,
        text(32, bottom - BAR - 6, `${nameOf(stream.stream)}: ${facts(stream)}`),
        `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${bottom}" y2="${bottom}" stroke="#ddd"/>`,
        `<g fill="${colour(number)}" shape-rendering="crispEdges">${bars.join('')}</g>`,
      ];
    }),
  ];
}

/** How long the runs of each slice are; a run counts where it ends, and is drawn where it was written. */
function runLengths(slices: readonly StreamSlice[]): number[] {
  const lengths: number[] = [];
  let next = 0;
  for (const { bytes, records, runs } of slices.toReversed()) {
    if (runs > 0) next = records / runs;
    lengths.unshift(bytes === 0 && runs === 0 ? 0 : next);
  }
  return lengths;
}

function facts(one: StreamFigures): string {
  const rate = `${formatBytes(Math.round(one.bytesPerSecond))}/s`;
  const runs = `${one.runs} runs of ${one.runAverage.toFixed(1)} records`;
  return `${formatBytes(one.bytes)}, ${rate}, ${runs}, gaps of ${one.gapAverage.toFixed(1)}`;
}

const colour = (number: number): string => COLOURS[number % COLOURS.length] as string;

const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(content)}</text>`;

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
