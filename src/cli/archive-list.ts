/**
 * The archives of a repository for commands that show or choose them.
 *
 * Contract: what the catalog knows is not read again; everything else is, and the catalog learns it.
 * The store's own list of names decides what there is. Records that cannot be read are named.
 */

import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ArchiveSummary, Catalog, type CatalogedArchive } from '../catalog/mod.ts';
import { type Archive, decodeArchive } from '../mover/archives.ts';
import type { Repository } from '../mover/repository.ts';
import type { Invocation } from './invocation.ts';
import type { Output } from './output.ts';
import type { ArchiveFacts } from './render.ts';
import { ensureStateDirectory } from './state-folder.ts';

export interface ArchiveSummaries {
  /** Oldest first. */
  readonly archives: readonly ArchiveSummary[];
  readonly damaged: readonly PenstockError[];
}

type Context = Pick<Invocation, 'output' | 'stateDirectory'>;

/** Lists the archives, by the catalog where it can be used. */
export async function listSummaries(
  context: Context,
  repository: Repository,
): Promise<ArchiveSummaries> {
  const listed = await repository.store.list('archives');
  const catalog = openCatalog(context, repository);
  try {
    const known = (await catalog?.archives(listed)) ?? new Map<string, ArchiveSummary>();
    const archives: ArchiveSummary[] = [];
    const damaged: PenstockError[] = [];
    const added: CatalogedArchive[] = [];
    for (const record of listed) {
      const cached = known.get(record.name);
      if (cached !== undefined) {
        archives.push(cached);
        continue;
      }
      try {
        const archive = await readArchive(repository, record.name);
        // Forgotten by somebody else meanwhile.
        if (archive === undefined) continue;
        const summary = toSummary(archive);
        archives.push(summary);
        added.push({ record, summary });
      } catch (error) {
        if (!(error instanceof PenstockError)) throw error;
        damaged.push(error);
      }
    }
    catalog?.update(listed, added);
    archives.sort((a, b) => a.startedMs - b.startedMs || (a.id < b.id ? -1 : 1));
    return { archives, damaged };
  } finally {
    catalog?.close();
  }
}

/** An unusable state folder is no reason to fail: the repository holds everything. */
function openCatalog(
  { output, stateDirectory }: Context,
  repository: Repository,
): Catalog | undefined {
  const onTrouble = (reason: string): void => output.detail(`the catalog is not used: ${reason}`);
  try {
    ensureStateDirectory(stateDirectory);
  } catch (error) {
    if (!(error instanceof PenstockError)) throw error;
    onTrouble(error.message);
    return undefined;
  }
  return new Catalog({ stateDirectory, repositoryId: repository.settings.id, onTrouble });
}

/**
 * The archive that a user names: an id, a unique beginning of one, or `latest`.
 *
 * @throws ARCHIVE_UNKNOWN, DAMAGED
 */
export async function openArchive(
  context: Context,
  repository: Repository,
  text: string,
): Promise<Archive> {
  const id =
    text === 'latest' ? await latestId(context, repository) : await wholeId(repository, text);
  const archive = await readArchive(repository, id);
  if (archive !== undefined) return archive;
  throw new PenstockError('ARCHIVE_UNKNOWN', `archive ${id} was removed just now`);
}

async function latestId(context: Context, repository: Repository): Promise<string> {
  const { archives, damaged } = await listSummaries(context, repository);
  const latest = archives.findLast(({ partial }) => !partial);
  if (latest === undefined) {
    const none = new PenstockError('ARCHIVE_UNKNOWN', 'the repository has no archive yet', {
      hint: 'run `penstock backup`',
    });
    throw damaged[0] ?? none;
  }
  warnOfLater(context.output, damaged);
  return latest.id;
}

/** Where a record cannot be read, the latest archive of those that can may not be the latest. */
export function warnOfLater(output: Output, damaged: readonly PenstockError[]): void {
  const error = damaged[0];
  if (error === undefined) return;
  output.problem(`${error.message}: a later archive may be missing`, { code: error.code });
}

/** The names of archive records are the ids of archives. */
async function wholeId(repository: Repository, text: string): Promise<string> {
  const listed = await repository.store.list('archives');
  const prefix = text.toLowerCase();
  const ids = listed.map(({ name }) => name).filter((name) => name.startsWith(prefix));
  const only = ids[0];
  if (only !== undefined && ids.length === 1 && prefix !== '') return only;
  const found = ids.length === 0 ? 'no archive has an id' : `${ids.length} archives have ids`;
  const verb = ids.length === 0 ? 'begins' : 'begin';
  throw new PenstockError('ARCHIVE_UNKNOWN', `${found} that ${verb} with ${JSON.stringify(text)}`);
}

/** An archive by the name of its record; undefined when it is gone. DAMAGED. */
export async function readArchive(
  repository: Repository,
  name: string,
): Promise<Archive | undefined> {
  try {
    const bytes = await repository.store.read('archives', name, LIMITS.recordBytesMax);
    return decodeArchive(repository, bytes, name);
  } catch (error) {
    if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return undefined;
    throw error;
  }
}

function toSummary(archive: Archive): ArchiveSummary {
  const { id, name, host, user, paths, startedMs, endedMs, partial } = archive;
  const { files, entries, bytes, bytesStored, problems } = archive.statistics;
  const statistics = { files, entries, bytes, bytesStored, problems };
  return { id, name, host, user, paths, startedMs, endedMs, partial, statistics };
}

/** As listings show it. */
export function archiveFacts(summary: ArchiveSummary): ArchiveFacts {
  const { id, startedMs, name, host, paths, partial, statistics } = summary;
  return {
    id,
    timeMs: startedMs,
    name,
    host,
    files: statistics.files,
    bytes: statistics.bytes,
    storedBytes: statistics.bytesStored,
    paths,
    isPartial: partial,
  };
}
