/**
 * The write log of a volume, session by session, wherever it is kept (L6).
 *
 * Contract: the log that is kept beside the volume comes first, then the one on its medium, then the
 * headers of the records. The medium is not touched where all sessions have their logs beside. Entries
 * are read page by page.
 */
import { PenstockError } from '../base/errors.ts';
import type { LogEntry } from '../format/write-log.ts';
import type { Volume } from '../media/volume.ts';
import { pagesOnMedium, readContents, type SessionEntry } from '../media/volume-index.ts';
import { newScanReport, scanVolume } from '../media/volume-scan.ts';
import { entriesOf, givenPages, type LogPages } from '../media/write-log.ts';
import type { Repository } from './repository.ts';
import { type NamedVolume, withMedium } from './volume-find.ts';
import { type LogBeside, readLogs } from './volume-logs.ts';

/** Where a session's log was found. */
export type LogSource = 'beside' | 'medium' | 'headers';

export interface SessionLog {
  readonly session: number;
  /** What the index of the volume says of it; absent for a session that was not closed. */
  readonly entry: SessionEntry | undefined;
  readonly source: LogSource;
  readonly firstObject: number;
  /** Behind its last object. */
  readonly endObject: number;
  entries(): AsyncIterable<LogEntry>;
}

/** What of a session is on the medium. */
export interface SessionOnMedium {
  readonly session: number;
  readonly entry: SessionEntry | undefined;
  readonly firstObject: number;
  readonly endObject: number;
  /** Nothing where the medium has no log of it. */
  readonly pages: LogPages | undefined;
}

/**
 * The logs of all sessions of a volume, in order, to be read while `work` lasts.
 *
 * @throws PenstockError VOLUME_NOT_READY and others when the medium is needed; DAMAGED from `entries`
 *   when a page of the log cannot be read
 */
export async function withSessionLogs<T>(
  repository: Repository,
  found: NamedVolume,
  work: (logs: readonly SessionLog[]) => Promise<T>,
): Promise<T> {
  const beside = await readLogs(repository, found.record.volume);
  const kept = allBeside(found, beside);
  if (kept !== undefined) return await work(kept);
  return await withMedium(repository, found, 'read', async (volume) => {
    const sessions = await sessionsOnMedium(volume, found.record.volume);
    const logs = sessions.map((session) => {
      const own = beside.find((one) => one.session === session.session);
      return logOf(volume, session, own);
    });
    return await work(logs);
  });
}

/** The sessions on a medium; last, if there is such, the one that was not closed. */
export async function sessionsOnMedium(
  volume: Volume,
  volumeId: string,
): Promise<SessionOnMedium[]> {
  const { sessions, openFrom, end } = await readContents(volume, volumeId);
  const listed: SessionOnMedium[] = sessions.map((entry) => ({
    session: entry.session,
    entry,
    firstObject: entry.firstObject,
    endObject: entry.endObject,
    pages: entry.pages.length === 0 ? undefined : pagesOnMedium(volume, volumeId, entry),
  }));
  const session = (sessions.at(-1)?.session ?? -1) + 1;
  if (openFrom < end)
    listed.push({
      session,
      entry: undefined,
      firstObject: openFrom,
      endObject: end,
      pages: undefined,
    });
  return listed;
}

/** The logs beside, if they tell of all that the repository knows to be on the volume. */
function allBeside(
  { record }: NamedVolume,
  beside: readonly LogBeside[],
): SessionLog[] | undefined {
  const logs: SessionLog[] = [];
  for (const { session, entry, pages } of beside) {
    if (entry === undefined || session !== logs.length) return undefined;
    const { firstObject, endObject } = entry;
    const entries = (): AsyncIterable<LogEntry> => entriesOf(givenPages(pages));
    logs.push({ session, entry, source: 'beside', firstObject, endObject, entries });
  }
  const isAll = logs.length === record.sessions && logs.at(-1)?.endObject === record.objects;
  return isAll || (record.sessions === 0 && record.objects === 0) ? logs : undefined;
}

function logOf(
  volume: Volume,
  session: SessionOnMedium,
  beside: LogBeside | undefined,
): SessionLog {
  const { pages, ...facts } = session;
  if (beside !== undefined)
    return { ...facts, source: 'beside', entries: () => entriesOf(givenPages(beside.pages)) };
  if (pages !== undefined) return { ...facts, source: 'medium', entries: () => entriesOf(pages) };
  const { firstObject, endObject } = session;
  const entries = (): AsyncIterable<LogEntry> =>
    scanVolume(volume, firstObject, endObject, newScanReport());
  return { ...facts, source: 'headers', entries };
}

/** Whether something thrown says that a log cannot be read, and no more. */
export const isDamagedLog = (thrown: unknown): boolean =>
  thrown instanceof PenstockError && thrown.code === 'DAMAGED';
