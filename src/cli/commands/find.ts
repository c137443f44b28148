/**
 * `penstock find PATTERN`: which archives hold paths that match.
 */
import { EXIT, PenstockError } from '../../base/errors.ts';
import { ArchiveSearch, pathMatch } from '../../mover/archive-find.ts';
import type { Archive } from '../../mover/archives.ts';
import type { Repository } from '../../mover/repository.ts';
import { archiveFacts, listSummaries, readArchive } from '../archive-list.ts';
import { entryFacts, namesOf, Pace, withReader } from '../browse.ts';
import type { Invocation } from '../invocation.ts';
import { type ArchiveFacts, findLine, findRecord, LongListing, shortIds } from '../render.ts';
import { plural } from '../render-summary.ts';

type Warn = (error: PenstockError, shortId?: string) => void;

export default async function run(invocation: Invocation<'find'>): Promise<number> {
  const { options, positionals, output, signal } = invocation;
  const matches = pathMatch(positionals.pattern);
  return withReader(invocation, async (repository, { blobs }) => {
    const { archives, damaged } = await listSummaries(invocation, repository);
    let problems = 0;
    const warn: Warn = ({ message, code, hint }, shortId) => {
      problems++;
      const where = shortId === undefined ? '' : `archive ${shortId} cannot be searched whole: `;
      output.problem(where + message, { code, hint });
    };
    for (const error of damaged) warn(error);
    const ids = shortIds(archives.map(({ id }) => id));
    const search = new ArchiveSearch(blobs, matches);
    const list = lister(invocation);
    const counts = { matches: 0, archives: 0 };
    for (const [index, summary] of archives.entries()) {
      if (options.name !== undefined && summary.name !== options.name) continue;
      const shortId = ids[index] ?? summary.id;
      const archive = await readable(repository, summary.id, (error) => warn(error, shortId));
      if (archive === undefined) continue;
      counts.archives++;
      const entries = search.in(archive.root, (error) => warn(error, shortId));
      counts.matches += await list(archiveFacts(summary), shortId, archive, entries);
      await output.settled();
      signal.throwIfAborted();
    }
    const found = plural(counts.matches, 'match', 'matches');
    const text = `${found} in ${plural(counts.archives, 'archive')}`;
    output.summary({ command: 'find', ...counts, problems }, text);
    return EXIT.ok;
  });
}

type Entries = ReturnType<ArchiveSearch['in']>;

/** Makes what shows the matches of one archive after the other; each time it returns their number. */
function lister(
  invocation: Invocation<'find'>,
): (facts: ArchiveFacts, shortId: string, archive: Archive, entries: Entries) => Promise<number> {
  const { options, output } = invocation;
  const long = options.long ? new LongListing() : undefined;
  const pace = new Pace(invocation);
  return async (facts, shortId, archive, entries) => {
    const names = namesOf(archive);
    let count = 0;
    for (const { entry, path } of entries) {
      const shown = entryFacts(entry, path, names);
      if (output.json) output.entry(findRecord(facts, shown));
      else output.line(findLine(shortId, facts, shown, long));
      count++;
      await pace.step();
    }
    return count;
  };
}

/** Undefined where the record is gone, or damaged since it was listed. */
async function readable(
  repository: Repository,
  id: string,
  warn: Warn,
): Promise<Archive | undefined> {
  try {
    return await readArchive(repository, id);
  } catch (error) {
    if (!(error instanceof PenstockError)) throw error;
    warn(error);
    return undefined;
  }
}
