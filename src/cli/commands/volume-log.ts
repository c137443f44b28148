/**
 * `penstock volume log`: shows the write log of a volume, or does something with it (L6, L7).
 */
import { writeFile } from 'node:fs/promises';
import { type ByteString, toBytes, toDisplay } from '../../base/bytes.ts';
import { EXIT, PenstockError } from '../../base/errors.ts';
import { writeLogFigures } from '../../media/write-log-figures.ts';
import { logFiguresSvg } from '../../media/write-log-picture.ts';
import {
  LOG_ENTRY_TITLE,
  logEntryJson,
  logEntryText,
  type StreamName,
} from '../../media/write-log-text.ts';
import { listArchiveHeads } from '../../mover/archives.ts';
import type { Repository } from '../../mover/repository.ts';
import { findVolume, type NamedVolume } from '../../mover/volume-find.ts';
import { appendLog, clearLog, initiateLog, rebuildLog } from '../../mover/volume-log-changing.ts';
import { type SessionLog, withSessionLogs } from '../../mover/volume-log-reading.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { shortIds } from '../render.ts';
import { plural } from '../render-summary.ts';
import {
  ratesLine,
  ratesRecord,
  ratesTable,
  sessionLines,
  sessionRecord,
} from '../render-volume-log.ts';
import { programVersion } from '../version.ts';

type Log = Invocation<'volume log'>;

export default async function run(invocation: Log): Promise<number> {
  const { options, positionals } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    const found = await findVolume(repository, positionals.volume);
    if (options.initiate !== undefined)
      return await initiate(invocation, repository, found, options.initiate);
    if (options.append) return await append(invocation, repository, found);
    if (options.clear) return await clear(invocation, repository, found);
    if (options.rebuild) return await rebuild(invocation, repository, found);
    return await show(invocation, repository, found);
  } finally {
    await repository.close();
  }
}

async function show(invocation: Log, repository: Repository, found: NamedVolume): Promise<number> {
  const { options, output } = invocation;
  const nameOf = await streamNames(repository);
  const { name, volume } = found.record;
  const shown = await withSessionLogs(repository, found, async (logs) => {
    const { session, svg } = options;
    const wanted = logs.filter((log) => session === undefined || log.session === session);
    if (session !== undefined && wanted.length === 0)
      throw new PenstockError('USAGE', `volume ${name} has no session ${session}`, {
        hint: `it has ${plural(logs.length, 'session')}; the first one is 0`,
      });
    const last = wanted.at(-1);
    if (svg !== undefined && last !== undefined) await draw(last, nameOf, svg, name);
    for (const log of wanted) {
      if (options.rates) await showRates(invocation, log, nameOf);
      else if (svg === undefined) await showEntries(invocation, log, nameOf);
    }
    return wanted.length;
  });
  const picture = options.svg === undefined ? '' : `; the picture is ${toDisplay(options.svg)}`;
  const text = `volume ${name}: ${plural(shown, 'session')}${picture}`;
  output.summary({ command: 'volume log', volume, name, sessions: shown }, text);
  return EXIT.ok;
}

async function showEntries(
  { output, signal }: Log,
  log: SessionLog,
  nameOf: StreamName,
): Promise<void> {
  const { session } = log;
  output.entry(sessionRecord(log));
  for (const line of sessionLines(log)) output.line(line);
  output.line(LOG_ENTRY_TITLE);
  for await (const entry of log.entries()) {
    output.line(logEntryText(entry, nameOf));
    output.entry({ type: 'entry', session, ...logEntryJson(entry, nameOf) });
    await output.settled();
    signal.throwIfAborted();
  }
}

async function showRates({ output }: Log, log: SessionLog, nameOf: StreamName): Promise<void> {
  const figures = await writeLogFigures(log.entries());
  output.entry(ratesRecord(log.session, figures, nameOf));
  for (const line of sessionLines(log)) output.line(line);
  output.line(`  ${ratesLine(figures)}`);
  for (const line of ratesTable(figures, nameOf)) output.line(`  ${line}`);
}

async function draw(
  log: SessionLog,
  nameOf: StreamName,
  path: ByteString,
  name: string,
): Promise<void> {
  const figures = await writeLogFigures(log.entries());
  const svg = logFiguresSvg(figures, nameOf, `volume ${name}, session ${log.session}`);
  try {
    await writeFile(toBytes(path), svg);
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    const text = `cannot write the picture ${toDisplay(path)}: ${errno}`;
    throw new PenstockError('HOST_IO', text, { cause, errno, subject: path });
  }
}

/** A stream is a session of a backup: it is called after the archive, as far as that is there. */
async function streamNames(repository: Repository): Promise<StreamName> {
  const { archives } = await listArchiveHeads(repository);
  const ids = shortIds(archives.map(({ id }) => id));
  const names = new Map(
    archives.map(({ session, name }, i) => [session, `${ids[i]} ${name}`] as const),
  );
  return (stream) => names.get(stream) ?? stream.slice(0, 8);
}

async function initiate(
  { output }: Log,
  repository: Repository,
  found: NamedVolume,
  id: string,
): Promise<number> {
  await initiateLog(repository, found, id);
  const { name, volume } = found.record;
  const text = `the log of the next session on volume ${name} is called ${id}`;
  output.summary({ command: 'volume log', volume, name, initiated: id }, text);
  return EXIT.ok;
}

async function append(
  { output }: Log,
  repository: Repository,
  found: NamedVolume,
): Promise<number> {
  const { sessions } = await appendLog(repository, found, `penstock ${programVersion()}`);
  const { name, volume } = found.record;
  const text =
    sessions.length === 0
      ? `volume ${name} has all of its log`
      : `volume ${name} has got the log of ${plural(sessions.length, 'session')}`;
  output.summary({ command: 'volume log', volume, name, appended: sessions }, text);
  return EXIT.ok;
}

async function clear({ output }: Log, repository: Repository, found: NamedVolume): Promise<number> {
  const sessions = await clearLog(repository, found);
  const { name, volume } = found.record;
  const text =
    sessions.length === 0
      ? `no log is kept beside volume ${name}`
      : `the log of ${plural(sessions.length, 'session')} is kept on volume ${name} alone`;
  output.summary({ command: 'volume log', volume, name, cleared: sessions }, text);
  return EXIT.ok;
}

const REBUILT = {
  right: 'says the same as the one that was there, which stays',
  wrong: 'differs from the one that was there',
  damaged: 'takes the place of one that could not be read',
  missing: 'is new: there was none',
} as const;

async function rebuild(
  { output, signal }: Log,
  repository: Repository,
  found: NamedVolume,
): Promise<number> {
  const { name, volume, objects: filesTotal } = found.record;
  output.progress.start(`reading headers of ${name}`, 'objects');
  output.progress.update({ filesTotal });
  const onProgress = (filesDone: number): void => output.progress.update({ filesDone });
  const rebuilt = await rebuildLog(repository, found, { signal, onProgress });
  output.progress.finish();
  for (const { session, was, differences, records } of rebuilt) {
    const differ = differences === 0 ? '' : `, at ${plural(differences, 'object')}`;
    const log = `session ${session}, ${plural(records, 'record')}: its log`;
    output.line(`${log} ${REBUILT[was]}${differ}`);
    output.entry({ type: 'rebuilt', session, was, differences, records });
  }
  const stored = rebuilt.filter(({ was }) => was !== 'right').length;
  const text =
    stored === 0
      ? `the log of volume ${name} is right`
      : `the log of ${plural(stored, 'session')} of volume ${name} is kept beside it`;
  output.summary({ command: 'volume log', volume, name, rebuilt: rebuilt.length, stored }, text);
  return EXIT.ok;
}
