/**
 * `penstock restore`: writes an archive, or some of its paths, below a directory.
 */
import { type ByteString, toDisplay } from '../../base/bytes.ts';
import { EXIT } from '../../base/errors.ts';
import { openSystem } from '../../host/mod.ts';
import { listArchives, resolveArchive } from '../../mover/archives.ts';
import { warmRestoring } from '../../mover/warm-threads.ts';
import { warnOfLater } from '../archive-list.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { reportRefusals } from '../render-refusals.ts';
import { restoreSummary } from '../render-summary.ts';

export default async function run(invocation: Invocation<'restore'>): Promise<number> {
  const { options, positionals, output } = invocation;
  const startedMs = output.clockMs();
  const threads = options.threads ?? openSystem().cores();
  const load = () => import('../../mover/restore.ts');
  const whileDeriving = (): void => {
    warmRestoring(threads);
    // Should it fail, it fails again where it is waited for.
    load().catch(() => undefined);
  };
  const repository = await openRepositoryOf(invocation, { whileDeriving });
  try {
    const { restore } = await load();
    const list = await listArchives(repository);
    const named =
      options.name === undefined
        ? list
        : { ...list, archives: list.archives.filter((one) => one.name === options.name) };
    const archive = resolveArchive(named, positionals.archive);
    if (positionals.archive === 'latest') warnOfLater(output, list.damaged);
    output.progress.start('restoring');
    const result = await restore(repository, {
      archive,
      paths: positionals.paths,
      target: options.target,
      overwrite: options.overwrite,
      dryRun: options.dryRun,
      owners: !options.noOwner,
      threads,
      signal: invocation.signal,
      onProblem: (path: ByteString, error) => {
        const shown = error.message.includes(toDisplay(path))
          ? error.message
          : `${toDisplay(path)}: ${error.message}`;
        output.problem(shown, { code: error.code, path });
      },
      onProgress: ({ files, bytes, bytesTotal }) =>
        output.progress.update({ bytesDone: bytes, bytesTotal, filesDone: files }),
    });
    const volumes = await repository.pooled?.readFigures();
    output.progress.finish();
    reportRefusals(
      output,
      result.refusals,
      'RESTORE_PARTIAL',
      'restore as root, or give --no-owner',
    );
    output.summary(
      ...restoreSummary({
        archiveId: archive.id,
        target: options.target,
        files: result.files,
        directories: result.directories,
        others: result.others,
        skipped: result.skipped,
        failed: result.problems,
        bytes: result.bytes,
        isDryRun: options.dryRun,
        elapsedMs: output.clockMs() - startedMs,
        volumes,
      }),
    );
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}
