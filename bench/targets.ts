/**
 * What is asked of Penstock, and whether the figures show it.
 */
import type { Figures } from './figures.ts';
import type { PrimitiveTimes } from './primitives.ts';
import { megabytes, type Target } from './table.ts';

export interface Measured {
  readonly figures: Figures;
  readonly cores: number;
  /** Size of each large file; 0: there were none. */
  readonly largeBytes: number;
  readonly primitives: Readonly<Record<string, PrimitiveTimes>>;
  readonly versionMs: number;
  readonly workerMs: number;
  /** Peak memory by number of small files. */
  readonly many: ReadonlyMap<number, number>;
}

const PENSTOCK = 'penstock';
const TAR = 'tar | zstd';

export function judge(measured: Measured): Target[] {
  const { figures } = measured;
  return [
    faster(figures, 'first backup', 'restic', 3),
    faster(figures, 'first backup', TAR, 1),
    smaller(figures, 'stored size', 'restic', 0.85),
    faster(figures, 'second backup', 'restic', 4),
    faster(figures, 'restore', 'restic', 3),
    faster(figures, 'restore', TAR, 1.3),
    atMost(
      'first backup to a remote repository, times that to a local one',
      ratio(
        figures.of('remote: first backup', PENSTOCK, 'ms'),
        figures.of('first backup', PENSTOCK, 'ms'),
      ),
      1.15,
      (value) => value.toFixed(2),
    ),
    ...largeTargets(measured, 'text'),
    ...largeTargets(measured, 'noise'),
    ...memoryTargets(measured),
    atMost('penstock --version', measured.versionMs, 150, (ms) => `${ms.toFixed(0)} ms`),
    atMost('start of a worker', measured.workerMs, 40, (ms) => `${ms.toFixed(0)} ms`),
  ];
}

function ratio(value: number | undefined, of: number | undefined): number | undefined {
  return value === undefined || of === undefined ? undefined : value / of;
}

function faster(figures: Figures, work: string, other: string, least: number): Target {
  const own = figures.of(work, PENSTOCK, 'ms');
  const theirs = figures.of(work, other, 'ms');
  const times = ratio(theirs, own);
  return {
    what: `${work}, times the speed of ${other}`,
    least: least.toFixed(2),
    got: times?.toFixed(2),
    ok: times !== undefined && times >= least,
  };
}

function smaller(figures: Figures, work: string, other: string, most: number): Target {
  const own = figures.of(work, PENSTOCK, 'bytes');
  const theirs = figures.of(work, other, 'bytes');
  const times = ratio(own, theirs);
  return {
    what: `${work}, times that of ${other}`,
    least: `≤ ${most.toFixed(2)}`,
    got: times?.toFixed(2),
    ok: times !== undefined && times <= most,
  };
}

/** Of the rate that the cores could have if they did nothing but what cannot be left out. */
const OF_PRIMITIVES = 0.8;

function largeTargets(measured: Measured, kind: string): Target[] {
  const { figures, cores, largeBytes, primitives } = measured;
  const work = `large ${kind}: first backup`;
  const elapsedMs = figures.of(work, PENSTOCK, 'ms');
  const sum = primitives[kind]?.sum;
  const share =
    elapsedMs === undefined || sum === undefined
      ? undefined
      : largeBytes / (elapsedMs * 1e6) / (cores / sum);
  return [
    faster(figures, work, 'restic', 2),
    faster(figures, `large ${kind}: restore`, 'restic', 2),
    {
      what: `${work}, of cores ÷ primitives`,
      least: `${OF_PRIMITIVES * 100} %`,
      got: share === undefined ? undefined : `${(share * 100).toFixed(0)} %`,
      ok: share !== undefined && share >= OF_PRIMITIVES,
    },
  ];
}

const PEAK_BYTES_MAX = 300e6;
const GROWTH_BYTES_MAX = 100e6;

function memoryTargets({ figures, many }: Measured): Target[] {
  const peak = Math.max(figures.peakBytes(PENSTOCK), ...many.values());
  const sizes = [...many.keys()].sort((a, b) => a - b);
  const [fewest, most] = [sizes[0], sizes.at(-1)];
  const growth =
    fewest === undefined || most === undefined || fewest === most
      ? undefined
      : (many.get(most) ?? 0) - (many.get(fewest) ?? 0);
  return [
    atMost('peak memory of all works', peak, PEAK_BYTES_MAX, megabytes),
    atMost('more memory for 1,000,000 than for 100,000 files', growth, GROWTH_BYTES_MAX, megabytes),
  ];
}

function atMost(
  what: string,
  value: number | undefined,
  most: number,
  format: (value: number) => string,
): Target {
  return {
    what,
    least: `≤ ${format(most)}`,
    got: value === undefined ? undefined : format(value),
    ok: value !== undefined && value <= most,
  };
}
