/**
 * Progress of long work (U4): figures in, at set times a line out.
 *
 * Contract: `update` only stores figures, so it may be called as often as one likes. A timer draws:
 * on a terminal one line, redrawn at most five times a second; in a log a plain line every ten
 * seconds; with --json an object every second. Percent and time left are shown only while a total
 * is known, and never pass 100 %; of one that still grows there is no percent, and it and the time left are `≥`. Lines never exceed the terminal's width, so that a redraw always
 * covers the last one.
 */
import { type ByteString, toDisplay, toJsonPath } from '../base/bytes.ts';
import { formatBytes, formatCount, formatDuration } from '../base/units.ts';
import { shortenEnd, shortenStart, textColumns } from './width.ts';

export interface ProgressFigures {
  readonly bytesDone: number;
  /** Left undefined until it is known. */
  readonly bytesTotal: number | undefined;
  readonly filesDone: number;
  readonly filesTotal: number | undefined;
  /** The totals are what was found so far. */
  readonly isTotalLeast: boolean;
  /** What is being worked on. */
  readonly path: ByteString | undefined;
}

export type ProgressStyle = 'terminal' | 'log' | 'json' | 'none';

/** Where the lines go; Output implements it. */
export interface ProgressSink {
  readonly style: ProgressStyle;
  columns(): number;
  /** Replaces the line that is shown; an empty text removes it. */
  redraw(text: string): void;
  logLine(text: string): void;
  jsonLine(record: { readonly type: 'progress'; readonly [key: string]: unknown }): void;
  /** Monotonic. */
  clockMs(): number;
}

const TICK_MS = 200;
const INTERVAL_MS = { terminal: TICK_MS, log: 10_000, json: 1000, none: Infinity } as const;
/** The rate forgets what is older than a few of these. */
const RATE_MEMORY_MS = 5000;
/** Room for the `^C` that terminals show, so that it does not break the line in two. */
const SPARE_COLUMNS = 3;
/** Below this many columns a path says nothing. */
const PATH_COLUMNS_MIN = 12;

const NO_FIGURES: ProgressFigures = {
  bytesDone: 0,
  bytesTotal: undefined,
  filesDone: 0,
  filesTotal: undefined,
  isTotalLeast: false,
  path: undefined,
};

export class Progress {
  readonly #sink: ProgressSink;
  #activity = '';
  #items = 'files';
  #figures: ProgressFigures = NO_FIGURES;
  #timer: NodeJS.Timeout | undefined;
  #startMs = 0;
  #shownMs = 0;
  #rate: Rate = new Rate(0);

  constructor(sink: ProgressSink) {
    this.#sink = sink;
  }

  /**
   * Begins a piece of work: `backing up`, `checking`. Figures begin at nothing.
   *
   * @param items what is counted besides bytes
   */
  start(activity: string, items = 'files'): void {
    this.finish();
    this.#activity = activity;
    this.#items = items;
    this.#figures = NO_FIGURES;
    this.#startMs = this.#sink.clockMs();
    this.#shownMs = this.#startMs;
    this.#rate = new Rate(this.#startMs);
    if (this.#sink.style === 'none') return;
    // Not counted among what keeps the process alive: the work itself does that.
    this.#timer = setInterval(() => this.tick(), TICK_MS).unref();
  }

  /** Stores figures; those left out stay as they are. */
  update(figures: Partial<ProgressFigures>): void {
    this.#figures = { ...this.#figures, ...figures };
  }

  /** Ends the piece of work and removes its line. */
  finish(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#sink.style === 'terminal') this.#sink.redraw('');
    if (this.#sink.style === 'json') this.#show();
  }

  /** Draws if it is time to; the timer calls it. */
  tick(): void {
    const now = this.#sink.clockMs();
    this.#rate.sample(now, this.#figures.bytesDone);
    if (now - this.#shownMs < INTERVAL_MS[this.#sink.style]) return;
    this.#shownMs = now;
    this.#show();
  }

  #show(): void {
    const sink = this.#sink;
    const state = progressState(this.#figures, this.#rate.bytesPerSecond);
    const activity = this.#activity;
    if (sink.style === 'terminal') {
      const columns = sink.columns() - SPARE_COLUMNS;
      sink.redraw(progressLine(activity, this.#figures, state, columns, this.#items));
    } else if (sink.style === 'log') {
      const fields = progressFields(this.#figures, state, this.#items);
      sink.logLine(`${activity}: ${fields.join(', ')}`);
    } else if (sink.style === 'json') {
      const elapsedMs = sink.clockMs() - this.#startMs;
      sink.jsonLine(progressRecord(activity, this.#figures, state, elapsedMs));
    }
  }
}

/** A rate that follows changes within seconds and does not jump. */
export class Rate {
  bytesPerSecond = 0;
  #lastMs: number;
  #lastBytes = 0;
  #weight = 0;

  constructor(startMs: number) {
    this.#lastMs = startMs;
  }

  sample(nowMs: number, bytesDone: number): void {
    const passedMs = nowMs - this.#lastMs;
    if (passedMs <= 0) return;
    const current = (Math.max(0, bytesDone - this.#lastBytes) / passedMs) * 1000;
    const keep = Math.exp(-passedMs / RATE_MEMORY_MS);
    // Dividing by the weight so far makes the first samples count fully instead of starting at 0.
    const sum = this.bytesPerSecond * this.#weight * keep + current * (1 - keep);
    this.#weight = this.#weight * keep + (1 - keep);
    this.bytesPerSecond = sum / this.#weight;
    this.#lastMs = nowMs;
    this.#lastBytes = bytesDone;
  }
}

export interface ProgressState {
  /** 0 to 1; undefined while the total is not known. */
  readonly fraction: number | undefined;
  readonly bytesPerSecond: number;
  readonly leftMs: number | undefined;
}

/** What follows from the figures and the rate. */
export function progressState(figures: ProgressFigures, bytesPerSecond: number): ProgressState {
  const { bytesDone, bytesTotal, filesDone, filesTotal, isTotalLeast } = figures;
  const byBytes = bytesTotal !== undefined && bytesTotal > 0;
  const [done, total] = byBytes ? [bytesDone, bytesTotal] : [filesDone, filesTotal];
  const isKnown = total !== undefined && total > 0 && !isTotalLeast;
  const fraction = isKnown ? Math.min(1, done / total) : undefined;
  const leftMs =
    byBytes && bytesPerSecond > 0
      ? (Math.max(0, bytesTotal - bytesDone) / bytesPerSecond) * 1000
      : undefined;
  return { fraction, bytesPerSecond, leftMs };
}

/** The figures as words: percent, bytes, files, rate, time left; most telling first. */
export function progressFields(
  figures: ProgressFigures,
  state: ProgressState,
  items = 'files',
): string[] {
  const fields: string[] = [];
  // Rounded down: 100 % means that all is done.
  if (state.fraction !== undefined) fields.push(`${Math.floor(state.fraction * 100)} %`);
  const { bytesDone, bytesTotal, filesDone, filesTotal } = figures;
  const least = figures.isTotalLeast ? '≥ ' : '';
  if (bytesDone > 0 || bytesTotal !== undefined) {
    const total =
      bytesTotal === undefined ? '' : ` of ${least}${formatBytes(Math.max(bytesTotal, bytesDone))}`;
    fields.push(`${formatBytes(bytesDone)}${total}`);
  }
  const files =
    filesTotal === undefined ? '' : ` of ${least}${formatCount(Math.max(filesTotal, filesDone))}`;
  fields.push(`${formatCount(filesDone)}${files} ${items}`);
  if (state.bytesPerSecond > 0) fields.push(`${formatBytes(Math.round(state.bytesPerSecond))}/s`);
  if (state.leftMs !== undefined) fields.push(`${least}${formatDuration(state.leftMs)} left`);
  return fields;
}

/** The terminal's line in at most `columns` columns: activity, figures, and a path if it fits. */
export function progressLine(
  activity: string,
  figures: ProgressFigures,
  state: ProgressState,
  columns: number,
  items = 'files',
): string {
  const fields = [activity, ...progressFields(figures, state, items)];
  while (fields.length > 2 && textColumns(fields.join('  ')) > columns) fields.pop();
  const line = shortenEnd(fields.join('  '), columns);
  const room = columns - textColumns(line) - 2;
  if (figures.path === undefined || room < PATH_COLUMNS_MIN) return line;
  return `${line}  ${shortenStart(toDisplay(figures.path), room)}`;
}

/** The object of a JSON line. */
export function progressRecord(
  activity: string,
  figures: ProgressFigures,
  state: ProgressState,
  elapsedMs: number,
): { readonly type: 'progress'; readonly [key: string]: unknown } {
  return {
    type: 'progress',
    activity,
    elapsedSeconds: Math.round(elapsedMs) / 1000,
    bytesDone: figures.bytesDone,
    ...(figures.bytesTotal === undefined ? {} : { bytesTotal: figures.bytesTotal }),
    filesDone: figures.filesDone,
    ...(figures.filesTotal === undefined ? {} : { filesTotal: figures.filesTotal }),
    ...(figures.isTotalLeast ? { totalsGrow: true } : {}),
    ...(state.fraction === undefined ? {} : { fraction: Math.round(state.fraction * 1e4) / 1e4 }),
    bytesPerSecond: Math.round(state.bytesPerSecond),
    ...(state.leftMs === undefined ? {} : { secondsLeft: Math.round(state.leftMs / 1000) }),
    ...(figures.path === undefined ? {} : toJsonPath(figures.path)),
  };
}
