/**
 * `penstock catalog rebuild`: makes again what the repository has lost of its index, map and archive
 * records, and drops this machine's catalog, which is made anew when it is needed.
 */
import { EXIT, PenstockError, toPenstockError } from '../../base/errors.ts';
import { removeCatalog } from '../../catalog/mod.ts';
import { openSystem } from '../../host/mod.ts';
import { type RebuildResult, rebuild } from '../../mover/rebuild.ts';
import { recoverRecords, recoverVolumes } from '../../mover/recover-volumes.ts';
import {
  type FoundVolume,
  type Survey,
  surveyDrives,
  surveyFolder,
} from '../../mover/survey-volumes.ts';
import { absolutePath } from '../absolute-path.ts';
import { driveAddresses } from '../drive-addresses.ts';
import type { Invocation } from '../invocation.ts';
import { chapSecrets, openRepositoryOf } from '../open.ts';
import { plural } from '../render-summary.ts';
import { repositoryPlace } from '../repository-place.ts';

export default async function run(invocation: Invocation<'catalog rebuild'>): Promise<number> {
  const { output, signal, options } = invocation;
  output.progress.start('rebuilding');
  const found = await survey(invocation);
  const more = found.volumes.length > 0 ? await recoverInto(invocation, found.volumes) : [];
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
    const problems = [...found.problems, ...more, ...result.problems];
    for (const problem of problems) output.problem(problem, { code: 'DAMAGED' });
    if (result.volumesAway.length > 0)
      output.note(`not looked at, since they are not there: ${result.volumesAway.join(', ')}`);
    for (const archive of result.archivesMade)
      output.detail(`made the record of archive ${archive} again`);
    const volumes = options.volumes.length > 0 ? { volumes: found.volumes.length } : {};
    output.summary({ command: 'catalog rebuild', ...volumes, ...result }, summaryText(result));
    return EXIT.ok;
  } finally {
    await repository.close();
  }
}

const ADDRESS = /^iscsi:\/\//i;

/** What lies in the folders, drives and libraries that were named. */
async function survey({ options, output }: Invocation<'catalog rebuild'>): Promise<Survey> {
  const { changer, drive: numbers } = options;
  const places = options.volumes;
  const drives = places.filter((place) => ADDRESS.test(place));
  if (changer !== undefined && drives.length === 0)
    throw new PenstockError('USAGE', '--changer needs a drive in --volumes');
  const all = { volumes: [] as FoundVolume[], problems: [] as string[] };
  const take = ({ volumes, problems }: Survey): void => {
    all.volumes.push(...volumes);
    all.problems.push(...problems);
  };
  if (drives.length > 0) {
    const place = { drives: driveAddresses(drives, numbers, changer), changer };
    const onTape = (tape: string): void => output.detail(`looking through ${tape}`);
    take(await surveyDrives(place, chapSecrets(), onTape));
  }
  for (const place of places) {
    if (!drives.includes(place)) take(await surveyFolder(absolutePath(place)));
  }
  if (places.length > 0 && all.volumes.length === 0) {
    const hint = all.problems[0] ?? 'images of volumes are files that end in .tap';
    throw new PenstockError('VOLUME_MISSING', 'there is no volume of a repository', { hint });
  }
  return all;
}

/** The repository's own records, and what it is to know of the volumes. Returns what is not as it was. */
async function recoverInto(
  invocation: Invocation<'catalog rebuild'>,
  volumes: readonly FoundVolume[],
): Promise<readonly string[]> {
  const { output } = invocation;
  const store = await repositoryPlace(invocation).open(true);
  try {
    await recoverRecords(store, volumes);
  } finally {
    await store.close();
  }
  const repository = await openRepositoryOf(invocation);
  try {
    const made = await recoverVolumes(repository, volumes);
    for (const pool of made.poolsMade) output.note(`made pool ${pool} again`);
    output.note(`took in ${plural(made.volumesAdded, 'volume')}`);
    if (made.chunksInPart > 0) {
      const text = `${plural(made.chunksInPart, 'chunk')} are there in part`;
      output.note(`${text}: the rest is on other volumes, or was never written`);
    }
    return made.problems;
  } finally {
    await repository.close();
  }
}

/** A catalog that cannot be removed is no reason to fail: each use of it is checked. */
function dropCatalog({ stateDirectory, output }: Invocation, repositoryId: string): void {
  try {
    removeCatalog(stateDirectory, repositoryId);
  } catch (error) {
    const { message, code } = toPenstockError(error);
    output.problem(`the catalog of this machine stays: ${message}`, { code });
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
