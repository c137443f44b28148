/**
 * What is done with the write log of a volume after it was written (L6): a name for the next one, a copy
 * on the medium, a copy less beside it, and the making anew.
 *
 * Contract: no copy goes before another one was read and found to say the same. What is on the medium is
 * never overwritten: what is added stands behind it.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { refuseProtected, type Volume } from '../media/volume.ts';
import { newScanReport, type ScanReport, scanVolume } from '../media/volume-scan.ts';
import { VolumeSession } from '../media/volume-session.ts';
import { entriesOf, givenPages, type LogPages, WriteLog } from '../media/write-log.ts';
import { compareLogs } from '../media/write-log-compare.ts';
import type { Repository } from './repository.ts';
import { knownLabel, leastObjects } from './volume-choice.ts';
import { type NamedVolume, volumeAgain, withMedium } from './volume-find.ts';
import { isDamagedLog, type SessionOnMedium, sessionsOnMedium } from './volume-log-reading.ts';
import { dropLogs, type LogBeside, putLog, readLogs } from './volume-logs.ts';
import { changeVolume } from './volume-records.ts';

const LOG_ID = /^[A-Za-z0-9._:@/+-]+$/;

/** Gives the log of the next session on a volume an identifier. USAGE for one that cannot be. */
export async function initiateLog(
  repository: Repository,
  { record }: NamedVolume,
  id: string,
): Promise<void> {
  if (id.length > LIMITS.logIdCharactersMax || !LOG_ID.test(id))
    throw new PenstockError('USAGE', `not an identifier of a log: ${id}`, {
      hint: `use 1 to ${LIMITS.logIdCharactersMax} letters, digits and . _ : @ / + -`,
    });
  await changeVolume(repository, record.volume, (known) => ({ ...known, nextLogId: id }));
}

export interface Appended {
  /** Numbers of the sessions whose logs the medium has got. */
  readonly sessions: readonly number[];
}

/**
 * Writes the logs that are kept beside a volume to the end of its medium, where that has not got them, or
 * where they were made anew; and that of a session that was not closed. They are a session of their own.
 *
 * @throws PenstockError VOLUME_FULL when there is no room: all is then as before, but for a session
 *   that was not closed; VOLUME_PROTECTED, VOLUME_NOT_READY, VOLUME_…
 */
export async function appendLog(
  repository: Repository,
  named: NamedVolume,
  writer: string,
): Promise<Appended> {
  return await withMedium(repository, named, 'write', async (volume) => {
    const found = await volumeAgain(repository, named);
    await refuseProtected(volume);
    const { pool, record } = found;
    const beside = await readLogs(repository, record.volume);
    const sessions = await sessionsOnMedium(volume, record.volume);
    const logs = new Map<number, readonly Uint8Array[]>();
    for (const session of sessions) {
      const own = beside.find((one) => one.session === session.session);
      if (own === undefined || session.entry === undefined) continue;
      if (!(await isSameLog(own, session.pages))) logs.set(session.session, own.pages);
    }
    const open = sessions.find(({ entry }) => entry === undefined);
    if (logs.size === 0 && open === undefined) return { sessions: [] };
    const id = repository.around.random.bytes(16).toString('hex');
    const session = await VolumeSession.begin(volume, knownLabel(repository, pool, record), {
      ...{ id, log: new WriteLog(), logPlace: 'medium', perRecord: false, writer, logs },
      clock: repository.around.clock,
      leastObjects: leastObjects(record),
    });
    await session.synchronise();
    const entry = await session.end();
    if (open !== undefined) await dropLogs(repository, record.volume, open.session);
    const writtenMs = repository.around.clock.nowMs();
    await changeVolume(repository, record.volume, (known) => ({
      ...known,
      sessions: known.sessions + 1,
      objects: Math.max(known.objects, entry.endObject),
      writtenMs,
    }));
    return { sessions: [...logs.keys(), ...(open === undefined ? [] : [open.session])] };
  });
}

/**
 * Drops the logs that are kept beside a volume, once its medium has been seen to say the same.
 *
 * @returns the numbers of the sessions whose logs were dropped
 * @throws PenstockError VOLUME_UNLOGGED when the medium has not got one of them; VOLUME_…
 */
export async function clearLog(repository: Repository, found: NamedVolume): Promise<number[]> {
  const { record } = found;
  const beside = await readLogs(repository, record.volume);
  if (beside.length === 0) return [];
  await withMedium(repository, found, 'read', async (volume) => {
    const sessions = await sessionsOnMedium(volume, record.volume);
    for (const own of beside) {
      const there = sessions.find(({ session }) => session === own.session);
      if (await isSameLog(own, there?.pages)) continue;
      const text = `the medium of volume ${record.name} has not got the log of session ${own.session}`;
      throw new PenstockError('VOLUME_UNLOGGED', text, {
        subject: record.name,
        hint: `write it there first: \`penstock volume log ${record.name} --append\``,
      });
    }
  });
  await changeVolume(repository, record.volume, ({ logRebuilt: _, ...known }) => known);
  await dropLogs(repository, record.volume);
  return beside.map(({ session }) => session);
}

async function isSameLog(beside: LogBeside, medium: LogPages | undefined): Promise<boolean> {
  if (medium === undefined) return false;
  try {
    const [ours, theirs] = [entriesOf(givenPages(beside.pages)), entriesOf(medium)];
    return (await compareLogs(ours, theirs, () => false)).total === 0;
  } catch (error) {
    if (isDamagedLog(error)) return false;
    throw error;
  }
}

export interface RebuiltLog {
  readonly session: number;
  /** How the log that was there compares with the records. */
  readonly was: 'right' | 'wrong' | 'damaged' | 'missing';
  /** In how many objects they differ. */
  readonly differences: number;
  readonly records: number;
}

/**
 * Makes the log of each session from the headers of its records. Where the one that was there says the
 * same it is kept: it has the times; else the new one is kept beside the volume, and believed from
 * then on.
 *
 * @throws PenstockError VOLUME_NOT_READY, VOLUME_FOREIGN, VOLUME_IO
 */
export async function rebuildLog(
  repository: Repository,
  found: NamedVolume,
  request: { readonly signal: AbortSignal; onProgress(objects: number): void },
): Promise<RebuiltLog[]> {
  const { record } = found;
  const beside = await readLogs(repository, record.volume);
  return await withMedium(repository, found, 'read', async (volume) => {
    const rebuilt: RebuiltLog[] = [];
    for (const session of await sessionsOnMedium(volume, record.volume)) {
      const { log, report } = await scannedLog(volume, record.volume, session, request);
      const own = beside.find((one) => one.session === session.session);
      const told = own === undefined ? session.pages : givenPages(own.pages);
      const compared = await compareWith(told, log, new Set(report.damaged));
      const { records } = report;
      rebuilt.push({ session: session.session, records, ...compared });
      if (compared.was === 'right') continue;
      const pages = await pagesOfLog(log);
      const { entry } = session;
      await putLog(repository, record.volume, { session: session.session, pages, entry });
    }
    if (rebuilt.some(({ was }) => was !== 'right')) {
      await changeVolume(repository, record.volume, (known) => ({ ...known, logRebuilt: true }));
    }
    return rebuilt;
  });
}

async function scannedLog(
  volume: Volume,
  volumeId: string,
  session: SessionOnMedium,
  { signal, onProgress }: { readonly signal: AbortSignal; onProgress(objects: number): void },
): Promise<{ log: WriteLog; report: ScanReport }> {
  const log = new WriteLog();
  const report = newScanReport();
  const { firstObject, endObject, entry } = session;
  await log.initiate({ id: entry?.id ?? '', volume: volumeId, session: session.session });
  for await (const one of scanVolume(volume, firstObject, endObject, report)) {
    await log.add(one);
    onProgress(one.object);
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
  await log.finish();
  return { log, report };
}

async function compareWith(
  told: LogPages | undefined,
  log: WriteLog,
  unreadable: ReadonlySet<number>,
): Promise<Pick<RebuiltLog, 'was' | 'differences'>> {
  if (told === undefined) return { was: 'missing', differences: 0 };
  try {
    const { total } = await compareLogs(log.entries(), entriesOf(told), (object) =>
      unreadable.has(object),
    );
    return { was: total === 0 ? 'right' : 'wrong', differences: total };
  } catch (error) {
    if (!isDamagedLog(error)) throw error;
    return { was: 'damaged', differences: 0 };
  }
}

async function pagesOfLog(log: WriteLog): Promise<Buffer[]> {
  const pages: Buffer[] = [];
  for (let i = 0; i < log.pages.count; i++) pages.push(await log.pages.read(i));
  return pages;
}
