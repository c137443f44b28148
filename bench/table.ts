/**
 * Shows the figures: a table of works and programs, what the primitives cost, and a table of targets.
 * All of it is Markdown, as docs/performance.md holds it.
 */
import type { Figures, Unit } from './figures.ts';
import type { Program } from './peers.ts';
import type { PrimitiveTimes } from './primitives.ts';

/** One requirement, and what came out. */
export interface Target {
  readonly what: string;
  readonly least: string;
  /** Undefined: it was not measured, or there was nobody to compare with. */
  readonly got: string | undefined;
  readonly ok: boolean;
}

export function worksTable(figures: Figures, programs: readonly Program[]): string {
  const rows = figures.works.map((work) => [
    work,
    ...programs.map(({ name }) => cell(figures, work, name)),
  ]);
  rows.push(['peak memory', ...programs.map(({ name }) => megabytes(figures.peakBytes(name)))]);
  const heads = programs.map(({ name, version }) => `${name} ${version}`);
  return markdown(['work', ...heads], rows);
}

function cell(figures: Figures, work: string, program: string): string {
  const show: readonly (readonly [Unit, (value: number) => string])[] = [
    ['ms', seconds],
    ['bytes', megabytes],
  ];
  for (const [unit, format] of show) {
    const value = figures.of(work, program, unit);
    if (value !== undefined) return format(value);
  }
  return '';
}

export function primitivesTable(times: Readonly<Record<string, PrimitiveTimes>>): string {
  const heads = ['read', 'cut', 'hash', 'compress', 'seal', 'crc', 'write', 'sum'] as const;
  return markdown(
    ['ns a byte of the file', ...heads],
    Object.entries(times).map(([kind, one]) => [
      kind,
      ...heads.map((name) => one[name].toFixed(3)),
    ]),
  );
}

export function targetsTable(targets: readonly Target[]): string {
  return markdown(
    ['target', 'at least', 'got', ''],
    targets.map(({ what, least, got, ok }) => [
      what,
      least,
      got ?? '–',
      got === undefined ? 'not measured' : ok ? 'ok' : 'short',
    ]),
  );
}

export function markdown(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heads, ...rows].map((row) => row.map((text) => text.replaceAll('|', '\\|')));
  const widths = heads.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0), 3));
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, i) => (row[i] ?? '').padEnd(width)).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  const [head = [], ...body] = all;
  return [line(head), rule, ...body.map(line)].join('\n');
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
