/**
 * `penstock backup`: makes an archive of some paths, and the repository where there is none yet.
 */
import { lstatSync, readFileSync, realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { type ByteString, fromBytes, toBytes, toDisplay } from '../../base/bytes.ts';
import { EXIT, fromErrorRecord, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { openFiles } from '../../host/mod.ts';
import type { DriveReport } from '../../media/drive-messages.ts';
import { parsePatternFile } from '../../modules/selection.ts';
import type { SourceProblem } from '../../modules/source-problems.ts';
import type { BackupProgress, BackupResult } from '../../mover/backup.ts';
import type { Repository } from '../../mover/repository.ts';
import { threadsOfEach, warmBackingUp } from '../../mover/warm-threads.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf, type WhileDeriving } from '../open.ts';
import { type BackupFacts, backupSummary } from '../render-summary.ts';
import { programVersion } from '../version.ts';

/** zstd level by default: on two cores, the one with which compressing is not slower than `zstd -3`. */
const LEVEL_DEFAULT = 2;

export default async function run(invocation: Invocation<'backup'>): Promise<number> {
  const { options, output } = invocation;
  const startedMs = output.clockMs();
  const sources = sourcesOf(invocation);
  const exclude = [...options.exclude, ...options.excludeFrom.flatMap(readPatterns)];
  const { dryRun, pool } = options;
  // The key is derived by another thread: the code of the flow is loaded meanwhile.
  const whileDeriving: WhileDeriving = ({ isEmpty }) => {
    const { threads } = options;
    void warmBackingUp({ sources: sources.length, threads, dryRun }, isEmpty);
  };
  const opening = openRepositoryOf(invocation, { create: !dryRun, dryRun, pool, whileDeriving });
  opening.catch(() => undefined);
  const { backup } = await import('../../mover/backup.ts');
  const repository = await opening;
  try {
    output.progress.start('backing up');
    const drives = dryRun ? undefined : await beginDrives(repository, sources.length);
    const progress = progressOfAll(invocation, sources.length);
    const running = sources.map(({ paths, name }, i) =>
      backup(repository, {
        paths,
        name,
        host: hostname(),
        user: userName(),
        writer: `penstock ${programVersion()}`,
        selection: {
          exclude,
          include: options.include,
          ignoreFiles: options.ignoreFile,
          oneFileSystem: options.oneFileSystem,
          sizeMax: options.maxSizeBytes,
          newerThanMs: options.newerThanMs,
          olderThanMs: options.olderThanMs,
        },
        full: options.full,
        memoryBytes: options.memoryBytes && Math.floor(options.memoryBytes / sources.length),
        threads: threadsOfEach(options.threads, sources.length),
        isOneOfMany: sources.length > 1,
        level: options.level ?? LEVEL_DEFAULT,
        checkpointMs: options.checkpointIntervalMs ?? LIMITS.checkpointMs,
        protectMs: options.protectMs,
        estimates: output.style === 'terminal' || output.style === 'json',
        dryRun,
        signal: invocation.signal,
        onProblem: (problem) => warn(invocation, problem),
        onProgress: (made) => progress(i, made),
      }),
    );
    const ended = await Promise.allSettled(running);
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) {
      // Where one drive has failed, the others' sessions end in order.
      if (!invocation.signal.aborted) await drives?.end().catch(() => undefined);
      throw failed.reason;
    }
    const results = ended.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const written = await drives?.end();
    output.progress.finish();
    const facts = results.map((result, i) =>
      factsOf(result, sources[i]?.name ?? '', output.clockMs() - startedMs),
    );
    output.summary(...backupSummary(facts, written));
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}

interface Source {
  readonly paths: readonly ByteString[];
  readonly name: string;
}

/** What goes into each archive. */
function sourcesOf({ options, positionals }: Invocation<'backup'>): readonly Source[] {
  const paths = positionals.paths.map(canonical);
  const sources = options.each
    ? paths.map((path) => ({ paths: [path], name: defaultName([path]) }))
    : [{ paths, name: options.name ?? defaultName(paths) }];
  for (const { name } of sources) {
    if (Buffer.byteLength(name) > LIMITS.archiveNameBytesMax)
      throw new PenstockError('USAGE', 'the name is too long');
  }
  if (new Set(sources.map(({ name }) => name)).size < sources.length)
    throw new PenstockError('USAGE', 'a path was given twice');
  return sources;
}

/** Begins writing to the volumes of a pool, where one was named. */
async function beginDrives(
  repository: Repository,
  streams: number,
): Promise<{ end(): Promise<readonly DriveReport[]> } | undefined> {
  const { pooled } = repository;
  if (pooled?.target === undefined) return undefined;
  const id = repository.around.random.bytes(16).toString('hex');
  await pooled.begin({ id, writer: `penstock ${programVersion()}`, streams });
  return { end: () => pooled.end() };
}

function factsOf(result: BackupResult, name: string, elapsedMs: number): BackupFacts {
  return {
    archiveId: result.archive?.id,
    name,
    filesNew: result.filesSeen - result.filesUnchanged - result.filesChanged,
    filesChanged: result.filesChanged,
    filesUnchanged: result.filesUnchanged,
    directories: result.directories,
    others: result.others,
    failed: result.problems,
    bytes: result.bytes,
    bytesRead: result.bytesRead,
    bytesNew: result.bytesNew,
    bytesStored: result.bytesStored,
    elapsedMs,
  };
}

function warn({ output }: Invocation<'backup'>, { path, error }: SourceProblem): void {
  const { message, code } = fromErrorRecord(error);
  const shown = message.includes(toDisplay(path)) ? message : `${toDisplay(path)}: ${message}`;
  output.problem(shown, { code, path });
}

/** Of several backups at once, the sum is shown. */
function progressOfAll(
  { output }: Invocation<'backup'>,
  count: number,
): (which: number, made: BackupProgress) => void {
  const all: (BackupProgress | undefined)[] = new Array(count).fill(undefined);
  return (which, made) => {
    all[which] = made;
    const sum = { bytesDone: 0, bytesTotal: undefined as number | undefined, filesDone: 0 };
    let isTotalLeast = false;
    for (const one of all) {
      sum.bytesDone += one?.bytes ?? 0;
      sum.filesDone += one?.files ?? 0;
      const total = one?.bytesTotal;
      if (total !== undefined) sum.bytesTotal = (sum.bytesTotal ?? 0) + total;
      if (total === undefined || one?.isTotalLeast === true) isTotalLeast = true;
    }
    output.progress.update({ ...sum, isTotalLeast });
  };
}

/** The path without links in its directories; a link that is named itself is backed up as a link. */
function canonical(path: ByteString): ByteString {
  const trimmed = path.length > 1 ? path.replace(/\/+$/, '') || '/' : path;
  const slash = trimmed.lastIndexOf('/');
  const last = trimmed.slice(slash + 1);
  const whole = path.endsWith('/') || last === '' || last === '.' || last === '..';
  try {
    if (whole) return real(trimmed);
    const directory = real(slash < 0 ? '.' : slash === 0 ? '/' : trimmed.slice(0, slash));
    const named = directory === '/' ? `/${last}` : `${directory}/${last}`;
    lstatSync(toBytes(named));
    return named;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
    const what = isMissing ? 'does not exist' : `cannot be looked at: ${code}`;
    throw new PenstockError('SOURCE_MISSING', `${toDisplay(path)} ${what}`, {
      cause,
      subject: path,
    });
  }
}
function real(path: ByteString): ByteString {
  return fromBytes(realpathSync.native(toBytes(path), { encoding: 'buffer' }));
}

function readPatterns(file: ByteString): ByteString[] {
  try {
    return parsePatternFile(readFileSync(toBytes(file)));
  } catch (cause) {
    throw new PenstockError('USAGE', `cannot read the patterns in ${toDisplay(file)}`, { cause });
  }
}

/** A user may have no entry in the system's list, as in containers. */
function userName(): string {
  const uid = openFiles().effectiveUserId();
  return openFiles().userName(uid) ?? `${uid}`;
}

/** Archives of the same paths of the same machine follow each other. */
function defaultName(paths: readonly ByteString[]): string {
  return `${hostname()}:${[...paths].sort().map(toDisplay).join(',')}`;
}
