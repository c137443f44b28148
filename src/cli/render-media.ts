/**
 * How pools and volumes look (render.ts has archives and their contents).
 *
 * Contract: as render.ts: a `…Record` of each kind for --json, lines for people.
 */
import { toDisplay, toJsonPath } from '../base/bytes.ts';
import type { PenstockError } from '../base/errors.ts';
import { formatBytes, formatCount } from '../base/units.ts';
import type { DriveReport } from '../media/drive-messages.ts';
import { type MountRequest, mountText } from '../media/mount-requests.ts';
import type { StreamingFigures } from '../media/volume-streaming.ts';
import type { Pool } from '../mover/pools.ts';
import { drivesOf } from '../mover/volume-medium.ts';
import type { VolumeRecord } from '../mover/volume-records.ts';
import type { JsonRecord, Output } from './output.ts';
import { textTable } from './text-table.ts';

const ID_SHOWN = 8;
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 16).replace('T', ' ');

function totals(
  pool: Pool,
  volumes: readonly VolumeRecord[],
): { volumes: number; chunks: number; bytes: number } {
  const own = volumes.filter((volume) => volume.pool === pool.id);
  return {
    volumes: own.length,
    chunks: own.reduce((sum, volume) => sum + volume.chunks.length, 0),
    bytes: own.reduce((sum, volume) => sum + volume.bytes, 0),
  };
}

/** Where its volumes are, for people. */
export function poolPlace(pool: Pool): string {
  const drives = drivesOf(pool).map(({ device }) => device);
  return drives.length === 0 ? toDisplay(pool.path) : drives.join(', ');
}

export function poolRecord(pool: Pool, volumes: readonly VolumeRecord[]): JsonRecord {
  const { path, createdMs, ...settings } = pool;
  return {
    type: 'pool',
    ...settings,
    ...toJsonPath(path),
    created: new Date(createdMs).toISOString(),
    ...totals(pool, volumes),
  };
}

export function poolTable(pools: readonly Pool[], volumes: readonly VolumeRecord[]): string[] {
  const columns = [
    { title: 'pool' },
    { title: 'kind' },
    { title: 'volumes', right: true },
    { title: 'chunks', right: true },
    { title: 'stored', right: true },
    { title: 'volume size', right: true },
    { title: 'path' },
  ];
  const rows = pools.map((pool) => {
    const sum = totals(pool, volumes);
    return [
      pool.name,
      pool.kind,
      formatCount(sum.volumes),
      formatCount(sum.chunks),
      formatBytes(sum.bytes),
      pool.volumeBytes === 0 ? '' : formatBytes(pool.volumeBytes),
      poolPlace(pool),
    ];
  });
  return textTable(columns, rows);
}

/** Says that a tape is wanted, also where nothing else is said. */
export function showMount(output: Output, request: MountRequest): void {
  const { waitMs, ...wanted } = request;
  const limit = Number.isFinite(waitMs) ? { waitMs } : {};
  if (output.json) {
    output.entry({ type: 'mount', ...wanted, ...limit });
    output.flush();
  } else output.urgent(mountText(request));
}

/** Volumes as entries for programs, or as a table. */
export function showVolumes(
  output: Output,
  volumes: readonly VolumeRecord[],
  pools: readonly Pool[],
): void {
  const poolName = ({ pool }: VolumeRecord): string =>
    pools.find(({ id }) => id === pool)?.name ?? pool.slice(0, ID_SHOWN);
  for (const volume of volumes) {
    output.entry(volumeRecord(volume, poolName(volume)));
  }
  if (output.json) return;
  const columns = [
    { title: 'volume' },
    { title: 'id' },
    { title: 'pool' },
    { title: 'state' },
    { title: 'chunks', right: true },
    { title: 'written', right: true },
    { title: 'sessions', right: true },
    { title: 'last written' },
  ];
  const rows = volumes.map((volume) => [
    volume.name,
    volume.volume.slice(0, ID_SHOWN),
    poolName(volume),
    volume.state,
    formatCount(volume.chunks.length),
    formatBytes(volume.bytes),
    formatCount(volume.sessions),
    day(volume.writtenMs),
  ]);
  for (const line of textTable(columns, rows)) output.line(line);
}

export function volumeRecord(volume: VolumeRecord, pool: string): JsonRecord {
  const { volume: id, name, sequence, state, sessions, objects, bytes, chunks } = volume;
  return {
    type: 'volume',
    id,
    name,
    pool,
    sequence,
    state,
    sessions,
    objects,
    bytes,
    chunks: chunks.length,
    labelled: new Date(volume.labelledMs).toISOString(),
    written: new Date(volume.writtenMs).toISOString(),
  };
}

/** How well a drive was kept busy. */
export function driveLine(figures: StreamingFigures, drive = 'drive'): string {
  const waited = figures.totalMs > 0 ? (100 * figures.waitedMs) / figures.totalMs : 0;
  const parts = [
    `  ${drive}: ${formatBytes(figures.bytes)} in ${formatCount(figures.records)} records`,
    `${formatBytes(figures.bytesPerSecond)}/s`,
    `waited ${waited.toFixed(0)} % of the time`,
    `${figures.filledAverage.toFixed(1)} of ${figures.buffers} buffers filled`,
  ];
  return parts.join(', ');
}

/** What each of several drives did; of one just that. */
export function drivesSummary(reports: readonly DriveReport[]): {
  readonly record: Readonly<Record<string, unknown>>;
  readonly lines: readonly string[];
} {
  const busy = reports.filter(({ streaming }) => streaming !== undefined);
  const [first] = busy;
  if (first === undefined) return { record: {}, lines: [] };
  const isOne = busy.length === 1;
  const lines = busy.flatMap(({ streaming }, i) =>
    streaming === undefined ? [] : [driveLine(streaming, isOne ? 'drive' : `drive ${i + 1}`)],
  );
  return {
    record: isOne ? { drive: driveRecord(first) } : { drives: busy.map(driveRecord) },
    lines,
  };
}

/** What a drive did, for programs. */
export function driveRecord({
  streaming,
  written,
}: DriveReport): Readonly<Record<string, unknown>> {
  const volumes = written.map(({ volume, objects }) => ({ volume, objects }));
  return { ...streaming, volumes };
}

/** Records of pools and volumes that cannot be read: what they tell of is missing in a list. */
export function showLostRecords(
  output: Output,
  lost: readonly { readonly error: PenstockError }[],
): void {
  for (const { error } of lost) {
    output.problem(error.message, { code: error.code, hint: 'run `penstock catalog rebuild`' });
  }
}
