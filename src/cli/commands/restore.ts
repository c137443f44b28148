/**
 * `penstock restore`: writes an archive, or some of its paths, below a directory.
 */
import { type ByteString, toDisplay } from '../../base/bytes.ts';
import { EXIT } from '../../base/errors.ts';
import { openSystem } from '../../host/mod.ts';
import { listArchives, resolveArchive } from '../../mover/archives.ts';
import { type RestoreResult, restore } from '../../mover/restore.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import type { Output } from '../output.ts';
import { plural, restoreSummary } from '../render-summary.ts';

export default async function run(invocation: Invocation<'restore'>): Promise<number> {
  const { options, positionals, output } = invocation;
  const startedMs = output.clockMs();
  const repository = await openRepositoryOf(invocation);
  try {
    const list = await listArchives(repository);
    const named =
      options.name === undefined
        ? list
        : { ...list, archives: list.archives.filter((one) => one.name === options.name) };
    const archive = resolveArchive(named, positionals.archive);
    output.progress.start('restoring');
    const result = await restore(repository, {
      archive,
      paths: positionals.paths,
      target: options.target,
      overwrite: options.overwrite,
      dryRun: options.dryRun,
      owners: !options.noOwner,
      threads: options.threads ?? openSystem().cores(),
      signal: invocation.signal,
      onProblem: (path: ByteString, error) => {
        const shown = error.message.includes(toDisplay(path))
          ? error.message
          : `${toDisplay(path)}: ${error.message}`;
        output.warning(shown, { code: error.code, path });
      },
      onProgress: ({ files, bytes, bytesTotal }) =>
        output.progress.update({ bytesDone: bytes, bytesTotal, filesDone: files }),
    });
    output.progress.finish();
    reportRefusals(output, result);
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
      }),
    );
    return result.problems > 0 || Object.keys(result.refusals).length > 0 ? EXIT.partial : EXIT.ok;
  } finally {
    await repository.close();
  }
}

const REFUSED = {
  owner: 'set owner or group of',
  mode: 'set the mode of',
  attribute: 'set extended attributes of',
  time: 'set the times of',
  device: 'make the devices of',
} as const;

/** Once per kind, not per file: without root nobody can give files away. */
function reportRefusals(output: Output, result: RestoreResult): void {
  for (const [kind, refusal] of Object.entries(result.refusals)) {
    const what = REFUSED[kind as keyof typeof REFUSED];
    output.warning(
      `could not ${what} ${plural(refusal.count, 'item')}, first ${toDisplay(refusal.path)}: ${refusal.first}`,
      {
        code: 'RESTORE_PARTIAL',
        ...(kind === 'owner' ? { hint: 'restore as root, or give --no-owner' } : {}),
      },
    );
  }
}
