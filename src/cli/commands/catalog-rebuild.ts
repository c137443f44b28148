/**
 * `penstock catalog rebuild`: makes again what the repository has lost of its index, map and archive
 * records, and drops this machine's catalog, which is made anew when it is needed.
 */
import { EXIT, PenstockError, toPenstockError } from '../../base/errors.ts';
import { removeCatalog } from '../../catalog/mod.ts';
import { openSystem } from '../../host/mod.ts';
import { type RebuildResult, rebuild } from '../../mover/rebuild.ts';
import {
  type FoundVolume,
  recoverRecords,
  recoverVolumes,
  type Survey,
  surveyFolder,
} from '../../mover/recover-volumes.ts';
import { absolutePath } from '../absolute-path.ts';
import type { Invocation } from '../invocation.ts';
import { openRepositoryOf } from '../open.ts';
import { plural } from '../render-summary.ts';
import { repositoryPlace } from '../repository-place.ts';

export default async function run(invocation: Invocation<'catalog rebuild'>): Promise<number> {
  const { output, signal, options } = invocation;
  const found = await survey(invocation);
  output.progress.start('rebuilding');
  if (found.volumes.length > 0) await recoverInto(invocation, found.volumes);
  const repository = await openRepositoryOf(invocation);
  try {
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
    const problems = [...found.problems, ...result.problems];
    for (const problem of problems) output.warning(problem, { code: 'DAMAGED' });
    for (const archive of result.archivesMade)
      output.detail(`made the record of archive ${archive} again`);
    const volumes = options.volumes.length > 0 ? { volumes: found.volumes.length } : {};
    output.summary({ command: 'catalog rebuild', ...volumes, ...result }, summaryText(result));
    return problems.length > 0 ? EXIT.partial : EXIT.ok;
  } finally {
    await repository.close();
  }
}

/** What lies in the folders that were named. */
async function survey({ options }: Invocation<'catalog rebuild'>): Promise<Survey> {
  const all = { volumes: [] as FoundVolume[], problems: [] as string[] };
  for (const folder of options.volumes) {
    const { volumes, problems } = await surveyFolder(absolutePath(folder));
    all.volumes.push(...volumes);
    all.problems.push(...problems);
  }
  if (options.volumes.length > 0 && all.volumes.length === 0) {
    const hint = all.problems[0] ?? 'images of volumes are files that end in .tap';
    throw new PenstockError('VOLUME_MISSING', 'there is no volume of a repository', { hint });
  }
  return all;
}

/** The repository's own records, and what it is to know of the volumes. */
async function recoverInto(
  invocation: Invocation<'catalog rebuild'>,
  volumes: readonly FoundVolume[],
): Promise<void> {
  const store = await repositoryPlace(invocation).open(true);
  try {
    await recoverRecords(store, volumes);
  } finally {
    await store.close();
  }
  const repository = await openRepositoryOf(invocation);
  try {
    const { poolsMade, volumesAdded } = await recoverVolumes(repository, volumes);
    for (const pool of poolsMade) invocation.output.note(`made pool ${pool} again`);
    invocation.output.note(`took in ${plural(volumesAdded, 'volume')}`);
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
