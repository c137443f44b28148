/**
 * What is on a volume of which nothing is known: its label, and the chunks that are on it, in whole or in
 * part. From the write logs on the medium; where there is none, from the headers of all records.
 */
import { TRAILER_BYTES } from '../format/chunk.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import type { LogEntry, LogRun } from '../format/write-log.ts';
import type { Volume } from './volume.ts';
import { pagesOnMedium, readContents } from './volume-index.ts';
import { inspectVolume } from './volume-label.ts';
import { newScanReport, scanVolume } from './volume-scan.ts';
import { entriesOf } from './write-log.ts';

export interface SurveyedVolume {
  readonly label: VolumeLabel;
  readonly runs: readonly LogRun[];
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
  const { label } = found;
  const { sessions, openFrom, end } = await readContents(volume, label.volume);
  const runs: LogRun[] = [];
  const report = newScanReport();
  const take = async (entries: AsyncIterable<LogEntry>): Promise<void> => {
    for await (const entry of entries) if (entry.kind === 'run') runs.push(entry);
  };
  for (const session of sessions) {
    const before = runs.length;
    try {
      if (session.pages.length > 0)
        await take(entriesOf(pagesOnMedium(volume, label.volume, session)));
      else await take(scanVolume(volume, session.firstObject, session.endObject, report));
    } catch {
      // A page that cannot be read: the records themselves say the same.
      runs.length = before;
      await take(scanVolume(volume, session.firstObject, session.endObject, report));
    }
  }
  if (openFrom < end) await take(scanVolume(volume, openFrom, end, report));
  return {
    label,
    runs,
    sessions: sessions.length,
    objects: end,
    bytes: runs.reduce((sum, run) => sum + run.bytes, 0),
    writtenMs: runs.reduce((last, run) => Math.max(last, run.writtenMs), label.createdMs),
    damaged: report.damaged,
  };
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

/** The chunks that are whole, over all volumes; in the order in which their volumes are given. */
export function wholeChunks(volumes: readonly SurveyedVolume[]): SurveyedChunk[] {
  const all = new Map<string, { run: LogRun; volume: string }[]>();
  for (const { label, runs } of volumes) {
    for (const run of runs) {
      const list = all.get(run.chunk) ?? [];
      list.push({ run, volume: label.volume });
      all.set(run.chunk, list);
    }
  }
  const whole: SurveyedChunk[] = [];
  for (const [id, list] of all) {
    let part = 0;
    let bytes = 0;
    let isComplete = false;
    const sorted = list.toSorted((a, b) => a.run.part - b.run.part);
    for (const { run } of sorted) {
      if (run.part > part || isComplete) break;
      // Where records were written twice, the log has each of them as a run of its own.
      if (run.part < part) continue;
      part += run.records;
      bytes += run.bytes;
      isComplete = run.isLast;
    }
    const first = sorted[0];
    if (!isComplete || first === undefined) continue;
    whole.push({
      id,
      stream: first.run.stream,
      bytes: bytes + TRAILER_BYTES,
      writtenMs: Math.max(...list.map(({ run }) => run.writtenMs)),
      places: placesOf(list),
    });
  }
  return whole;
}

function placesOf(
  list: readonly { readonly run: LogRun; readonly volume: string }[],
): SurveyedChunk['places'] {
  const places = new Map<string, { firstObject: number; endObject: number }>();
  for (const { run, volume } of list) {
    const known = places.get(volume);
    const end = run.object + run.records;
    places.set(volume, {
      firstObject: Math.min(known?.firstObject ?? run.object, run.object),
      endObject: Math.max(known?.endObject ?? end, end),
    });
  }
  return places;
}
