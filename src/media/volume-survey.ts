/**
 * What is on a volume of which nothing is known: its label, and the chunks that are on it, in whole or in
 * part. From the write logs on the medium; where there is none, from the headers of all records.
 */
import { PenstockError } from '../base/errors.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import type { LogEntry } from '../format/write-log.ts';
import { wholeChain } from './run-chain.ts';
import type { Volume } from './volume.ts';
import { pagesOnMedium, readContents } from './volume-index.ts';
import { inspectVolume } from './volume-label.ts';
import { newScanReport, scanVolume } from './volume-scan.ts';
import { entriesOf } from './write-log.ts';

/** Records of one chunk that lie on one volume and follow each other: all of it, or a run. */
export interface ChunkStretch {
  /** Ids. */
  readonly chunk: string;
  readonly stream: string;
  /** The first part of them, how many there are, and their bytes. */
  readonly part: number;
  readonly records: number;
  readonly bytes: number;
  /** The last one is the last of the chunk. */
  readonly isLast: boolean;
  /** They lie between these objects, among others. */
  readonly firstObject: number;
  readonly endObject: number;
  readonly writtenMs: number;
}

export interface SurveyedVolume {
  readonly label: VolumeLabel;
  /** The label's record, as it stands on the medium. */
  readonly record: Buffer;
  readonly stretches: readonly ChunkStretch[];
  /** Sessions that were closed, objects, and bytes of records of chunks. */
  readonly sessions: number;
  readonly objects: number;
  readonly bytes: number;
  /** When the last record was written; the time of the label where there is none. */
  readonly writtenMs: number;
  /** Objects that could not be read. */
  readonly damaged: readonly number[];
}

/** What is in the drive, for people, where it is no volume of ours. */
export interface ForeignVolume {
  readonly foreign: string;
}

/** Looks through a volume. VOLUME_NOT_READY, VOLUME_CHANGED, VOLUME_IO, REPO_FEATURE. */
export async function surveyVolume(volume: Volume): Promise<SurveyedVolume | ForeignVolume> {
  const found = await inspectVolume(volume);
  if (found.kind === 'blank') return { foreign: 'nothing' };
  if (found.kind === 'foreign') return { foreign: found.what };
  const { label, record } = found;
  const { sessions, openFrom, end } = await readContents(volume, label.volume);
  const stretches: ChunkStretch[] = [];
  const report = newScanReport();
  const scanned = async (from: number, to: number): Promise<void> => {
    // Record by record: some may have been written again on the next volume (run-chain.ts).
    for (const one of await stretchesOf(scanVolume(volume, from, to, report, true)))
      stretches.push(one);
  };
  for (const session of sessions) {
    const { firstObject, endObject } = session;
    if (session.pages.length === 0) await scanned(firstObject, endObject);
    else {
      try {
        const pages = pagesOnMedium(volume, label.volume, session);
        stretches.push(...(await stretchesOf(entriesOf(pages))));
      } catch (error) {
        if (!(error instanceof PenstockError) || error.code !== 'DAMAGED') throw error;
        // A page that cannot be read: the records themselves say the same.
        await scanned(firstObject, endObject);
      }
    }
  }
  if (openFrom < end) await scanned(openFrom, end);
  return {
    label,
    record,
    stretches,
    sessions: sessions.length,
    objects: end,
    bytes: stretches.reduce((sum, one) => sum + one.bytes, 0),
    writtenMs: stretches.reduce((last, one) => Math.max(last, one.writtenMs), label.createdMs),
    damaged: report.damaged,
  };
}

/** The runs of a log, those of a whole chunk as one: a tape has millions of runs, and thousands of chunks. */
async function stretchesOf(entries: AsyncIterable<LogEntry>): Promise<ChunkStretch[]> {
  const done: ChunkStretch[] = [];
  const open = new Map<string, ChunkStretch[]>();
  for await (const entry of entries) {
    if (entry.kind !== 'run') continue;
    const { chunk, stream, part, records, bytes, isLast, object, writtenMs } = entry;
    const place = { firstObject: object, endObject: object + records };
    const runs = open.get(chunk) ?? [];
    runs.push({ chunk, stream, part, records, bytes, isLast, ...place, writtenMs });
    const joined = isLast ? joinedOf(runs) : undefined;
    if (joined === undefined) open.set(chunk, runs);
    else {
      done.push(joined);
      open.delete(chunk);
    }
  }
  return [...done, ...[...open.values()].flat()];
}

/** A whole chunk; nothing where its runs do not follow each other from its beginning to its end. */
function joinedOf(runs: readonly ChunkStretch[]): ChunkStretch | undefined {
  let joined: ChunkStretch | undefined;
  for (const run of runs) {
    if (run.part !== (joined?.records ?? 0)) return undefined;
    joined = {
      ...run,
      part: 0,
      records: run.records + (joined?.records ?? 0),
      bytes: run.bytes + (joined?.bytes ?? 0),
      firstObject: joined?.firstObject ?? run.firstObject,
    };
  }
  return joined?.isLast === true ? joined : undefined;
}

/** A chunk of which all records are on some volumes. */
export interface SurveyedChunk {
  readonly id: string;
  readonly stream: string;
  /** Its trailer included. */
  readonly bytes: number;
  readonly writtenMs: number;
  /** Between which objects of each volume its records lie. */
  readonly places: ReadonlyMap<
    string,
    { readonly firstObject: number; readonly endObject: number }
  >;
}

/** Of which volume what is known. */
export interface VolumeStretches {
  readonly volume: string;
  readonly stretches: readonly ChunkStretch[];
}

/** The chunks that are whole, over all volumes; in the order in which their volumes are given. */
export function wholeChunks(volumes: readonly VolumeStretches[]): SurveyedChunk[] {
  const all = new Map<string, (ChunkStretch & { readonly volume: string })[]>();
  for (const { volume, stretches } of volumes) {
    for (const stretch of stretches) {
      const list = all.get(stretch.chunk) ?? [];
      list.push({ ...stretch, volume });
      all.set(stretch.chunk, list);
    }
  }
  const whole: SurveyedChunk[] = [];
  for (const [id, list] of all) {
    const chain = wholeChain(list);
    const first = chain?.[0];
    if (chain === undefined || first === undefined) continue;
    whole.push({
      id,
      stream: first.stream,
      bytes: chain.reduce((sum, { bytes }) => sum + bytes, TRAILER_BYTES),
      writtenMs: Math.max(...list.map(({ writtenMs }) => writtenMs)),
      places: placesOf(list),
    });
  }
  return whole;
}

function placesOf(
  list: readonly (ChunkStretch & { readonly volume: string })[],
): SurveyedChunk['places'] {
  const places = new Map<string, { firstObject: number; endObject: number }>();
  for (const { volume, firstObject, endObject } of list) {
    const known = places.get(volume);
    places.set(volume, {
      firstObject: Math.min(known?.firstObject ?? firstObject, firstObject),
      endObject: Math.max(known?.endObject ?? endObject, endObject),
    });
  }
  return places;
}
