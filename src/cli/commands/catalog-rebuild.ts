/**
 * `penstock catalog rebuild`: makes again what the repository has lost of its index, map and archive
 * records, and drops this machine's catalog, which is made anew when it is needed.
 */
import { EXIT, toPenstockError } from '../../base/errors.ts';
import { removeCatalog } from '../../catalog/mod.ts';
import { openSystem } from '../../host/mod.ts';
import { type RebuildResult, rebuild } from '../../mover/rebuild.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { plural } from '../render-summary.ts';

export default async function run(invocation: Invocation<'catalog rebuild'>): Promise<number> {
  const { output, signal } = invocation;
  const repository = await openRepositoryOf(invocation);
  try {
    output.progress.start('rebuilding');
    const result = await rebuild(repository, {
      threads: openSystem().cores(),
      signal,
      onProgress: ({ chunks, chunksTotal, bytesRead }) =>
        output.progress.update({
          bytesDone: bytesRead,
          filesDone: chunks,
          filesTotal: chunksTotal,
        }),
    });
    output.progress.finish();
    dropCatalog(invocation, repository.settings.id);
    for (const problem of result.problems) output.warning(problem, { code: 'DAMAGED' });
    for (const archive of result.archivesMade)
      output.detail(`made the record of archive ${archive} again`);
    output.summary({ command: 'catalog rebuild', ...result }, summaryText(result));
    return result.problems.length > 0 ? EXIT.partial : EXIT.ok;
  } finally {
    await repository.close();
  }
}

/** A catalog that cannot be removed is a nuisance, no reason to fail: each use of it is checked. */
function dropCatalog({ stateDirectory, output }: Invocation, repositoryId: string): void {
  try {
    removeCatalog(stateDirectory, repositoryId);
  } catch (error) {
    const { message, code } = toPenstockError(error);
    output.warning(`the catalog of this machine stays: ${message}`, { code });
  }
}

function summaryText(result: RebuildResult): string {
  const made = [
    ...(result.chunksIndexed > 0 ? [`${plural(result.chunksIndexed, 'chunk')} indexed again`] : []),
    ...(result.segmentsReplaced > 0
      ? [`${plural(result.segmentsReplaced, 'damaged index segment')} replaced`]
      : []),
    ...(result.mapsMade > 0 ? [`the map of ${plural(result.mapsMade, 'session')} made again`] : []),
    ...(result.archivesMade.length > 0
      ? [`${plural(result.archivesMade.length, 'archive record')} made again`]
      : []),
  ];
  const lines =
    made.length === 0
      ? ['nothing had to be made again']
      : [made[0] ?? '', ...made.slice(1).map((line) => `  ${line}`)];
  if (result.problems.length > 0)
    lines.push(
      `  ${plural(result.problems.length, 'thing')} could not be made again wholly: see the warnings`,
    );
  return lines.join('\n');
}
