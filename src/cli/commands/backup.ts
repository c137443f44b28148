/**
 * `penstock backup`: makes an archive of some paths, and the repository where there is none yet.
 */
import { lstatSync, readFileSync, realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { type ByteString, fromBytes, toBytes, toDisplay } from '../../base/bytes.ts';
import { EXIT, fromErrorRecord, PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { openFiles, openSystem } from '../../host/mod.ts';
import { parsePatternFile } from '../../modules/selection.ts';
import type { BackupProgress, BackupRequest } from '../../mover/backup.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { backupSummary } from '../render-summary.ts';
import { programVersion } from '../version.ts';

/** zstd level by default: on two cores, the one with which compressing is not slower than `zstd -3`. */
const LEVEL_DEFAULT = 2;

export default async function run(invocation: Invocation<'backup'>): Promise<number> {
  const { options, output } = invocation;
  const startedMs = output.clockMs();
  const paths = invocation.positionals.paths.map(canonical);
  const name = options.name ?? defaultName(paths);
  if (Buffer.byteLength(name) > LIMITS.archiveNameBytesMax)
    throw new PenstockError('USAGE', 'the name is too long');
  const exclude = [...options.exclude, ...options.excludeFrom.flatMap(readPatterns)];
  // The key is derived by another thread: the code of the flow is loaded meanwhile.
  const opening = openRepositoryOf(invocation, { create: !options.dryRun, dryRun: options.dryRun });
  opening.catch(() => undefined);
  const { backup } = await import('../../mover/backup.ts');
  const repository = await opening;
  try {
    output.progress.start('backing up');
    const result = await backup(repository, {
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
      memoryBytes: options.memoryBytes,
      threads: options.threads ?? openSystem().cores(),
      level: options.level ?? LEVEL_DEFAULT,
      checkpointMs: options.checkpointIntervalMs ?? LIMITS.checkpointMs,
      protectMs: options.protectMs,
      estimates: output.style === 'terminal' || output.style === 'json',
      dryRun: options.dryRun,
      signal: invocation.signal,
      ...listeners(invocation),
    });
    output.progress.finish();
    output.summary(
      ...backupSummary({
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
        elapsedMs: output.clockMs() - startedMs,
      }),
    );
    return result.problems > 0 ? EXIT.partial : EXIT.ok;
  } finally {
    await repository.close();
  }
}

function listeners({
  output,
}: Invocation<'backup'>): Pick<BackupRequest, 'onProblem' | 'onProgress'> {
  return {
    onProblem: ({ path, error }) => {
      const { message, code } = fromErrorRecord(error);
      const shown = message.includes(toDisplay(path)) ? message : `${toDisplay(path)}: ${message}`;
      output.warning(shown, { code, path });
    },
    onProgress: ({ bytes, bytesTotal, files }: BackupProgress) =>
      output.progress.update({ bytesDone: bytes, bytesTotal, filesDone: files }),
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
