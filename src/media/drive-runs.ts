/**
 * Where the records of a chunk are, for whoever reads it from volumes (drive-reading.ts): its runs, from the
 * log beside a volume, the one on it, or the headers of its records; and the way to one of them.
 */
import { must } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import type { LogRun } from '../format/write-log.ts';
import type { ReadableChunk, ReadableVolume } from './drive-messages.ts';
import { wholeChain } from './run-chain.ts';
import type { Volume } from './volume.ts';
import { pagesOnMedium, type SessionEntry } from './volume-index.ts';
import type { VolumePlan, VolumeSegment } from './volume-plan.ts';
import type { VolumeReader } from './volume-reader.ts';
import { newScanReport, scanVolume } from './volume-scan.ts';
import { entriesOf, givenPages, type LogPages } from './write-log.ts';

/** A run of the chunk's records, on one of its volumes. */
export interface ChunkRun extends LogRun {
  readonly on: MountedVolume;
}

/** A volume that is open, and what its sessions' logs are. */
export interface MountedVolume {
  readonly volume: Volume;
  readonly reader: VolumeReader;
  readonly readable: ReadableVolume;
  readonly sessions: readonly SessionEntry[];
  /** Objects from here on are told by no index: their log is read from headers. */
  readonly openFrom: number;
  readonly end: number;
}

/** A chunk that is being read. */
export interface OpenChunk {
  readonly id: string;
  readonly bytes: number;
  /** By part. */
  readonly runs: readonly ChunkRun[];
  /** Where each part begins, as far as it is known; the first is at 0. */
  readonly offsets: Map<number, number>;
}

/** Where a run begins in its chunk. */
export const offsetOf = (chunk: OpenChunk | undefined, { part }: ChunkRun): number =>
  must(chunk?.offsets.get(part), 'runs have offsets');

/** The chunk, if its runs are all of it. */
export function assembled(
  id: string,
  bytes: number,
  runs: readonly ChunkRun[],
): OpenChunk | undefined {
  const offsets = new Map<number, number>();
  const inOrder: ChunkRun[] = [];
  let offset = 0;
  for (const run of wholeChain(runs.toSorted((a, b) => a.object - b.object)) ?? []) {
    offsets.set(run.part, offset);
    const last = inOrder.at(-1);
    if (last !== undefined && isNext(last, run)) {
      const more = { records: last.records + run.records, bytes: last.bytes + run.bytes };
      inOrder[inOrder.length - 1] = { ...last, ...more, isLast: run.isLast };
    } else inOrder.push(run);
    offset += run.bytes;
  }
  return offset === bytes - TRAILER_BYTES ? { id, bytes, runs: inOrder, offsets } : undefined;
}

/** By headers each record is a run of its own. */
const isNext = (run: ChunkRun, { on, object }: ChunkRun): boolean =>
  run.on === on && run.object + run.records === object;

/** To one record; nothing but reading where the drive stands before it. */
export function planFor(
  chunk: string,
  run: LogRun,
  part: number,
  object: number,
  position: number,
): VolumePlan {
  const { stream, hint } = run;
  const read: VolumeSegment = { kind: 'read', records: 1, object, stream, chunk, part };
  const way = wayTo(object, position, run, hint);
  const skipped = Math.max(0, object - position);
  return {
    segments: [...way, read],
    records: 1,
    skipped,
    positionings: way.length,
    missing: [],
  };
}

/** Within a run there are records only: they are spaced over. */
function wayTo(
  object: number,
  position: number,
  run: LogRun,
  hint: number | undefined,
): VolumeSegment[] {
  if (position === object) return [];
  const isInRun = position >= run.object && position < object;
  if (isInRun && object - position <= LIMITS.volumeSpaceRecords)
    return [{ kind: 'space', records: object - position }];
  // Without a hint the drive finds any object as fast as another.
  if (hint === undefined) return [{ kind: 'locate', object }];
  const toRun: VolumeSegment = { kind: 'locate', object: run.object, hint };
  const more = object - run.object;
  return more > 0 ? [toRun, { kind: 'space', records: more }] : [toRun];
}

/** The chunk's runs on a volume: from the log beside it, the one on the medium, or the headers. */
export async function* runsOf(
  on: MountedVolume,
  chunk: ReadableChunk,
  byHeaders: boolean,
): AsyncGenerator<LogRun> {
  const { sessions, openFrom, end } = on;
  for (const session of sessions) {
    const { firstObject, endObject } = session;
    if (endObject <= chunk.firstObject || firstObject >= chunk.endObject) continue;
    const pages = byHeaders ? undefined : pagesOf(on, session);
    if (pages === undefined) yield* scanned(on, chunk, firstObject, endObject);
    else {
      const entries = entriesOf(
        pages,
        (head) => head.firstObject < chunk.endObject && head.endObject > chunk.firstObject,
      );
      for await (const entry of entries)
        if (entry.kind === 'run' && entry.chunk === chunk.id) yield entry;
    }
  }
  // A session that was not closed has its log beside the medium, or nowhere.
  if (chunk.endObject <= openFrom) return;
  const number = (sessions.at(-1)?.session ?? -1) + 1;
  const pages = byHeaders ? undefined : besidePages(on, number);
  if (pages === undefined) yield* scanned(on, chunk, openFrom, end);
  else
    for await (const entry of entriesOf(pages))
      if (entry.kind === 'run' && entry.chunk === chunk.id) yield entry;
}

async function* scanned(
  { volume, reader }: MountedVolume,
  chunk: ReadableChunk,
  from: number,
  end: number,
): AsyncGenerator<LogRun> {
  const first = Math.max(from, chunk.firstObject);
  const last = Math.min(end, chunk.endObject);
  for await (const entry of scanVolume(volume, first, last, newScanReport(), true)) {
    if (entry.kind !== 'run') continue;
    if (entry.chunk === chunk.id) yield entry;
    else reader.figures.recordsOfOthers += entry.records;
  }
}

/** What is kept beside comes first: it is there where the medium has none, or a damaged one. */
function pagesOf(on: MountedVolume, session: SessionEntry): LogPages | undefined {
  const beside = besidePages(on, session.session);
  if (beside !== undefined || session.pages.length === 0) return beside;
  return pagesOnMedium(on.volume, on.readable.volume, session);
}

function besidePages({ readable }: MountedVolume, session: number): LogPages | undefined {
  const pages = readable.beside.find((one) => one.session === session)?.pages;
  return pages === undefined ? undefined : givenPages(pages);
}
