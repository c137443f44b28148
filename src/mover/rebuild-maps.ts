/**
 * Makes map records again (rebuild.ts): of each session of which a chunk or an archive is not in them.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { sameBlocks } from '../format/chunk.ts';
import { type Archive, type ArchiveHead, decodeArchive } from './archives.ts';
import type { KnownChunk, Rebuilding } from './rebuild.ts';
import type { Repository } from './repository.ts';
import { storeMapRecords } from './storage-map.ts';

/** Makes what is missing. Returns of how many sessions. */
export async function rebuildMaps(
  rebuilding: Rebuilding,
  archives: readonly ArchiveHead[],
): Promise<number> {
  const { repository, chunks, maps, atWork, problems } = rebuilding;
  const bySession = new Map<string, KnownChunk[]>();
  for (const chunk of chunks.values()) {
    const known = bySession.get(chunk.session);
    if (known === undefined) bySession.set(chunk.session, [chunk]);
    else known.push(chunk);
  }
  const mapped = new Set<string>();
  const mappedArchives = new Set<string>();
  for (const map of maps.sessions) {
    for (const { id, blocks } of map.chunks) {
      const known = chunks.get(id);
      // One that says something else than the chunk itself is no good.
      if (known?.hasFooter !== true || sameBlocks(known.blocks, blocks)) mapped.add(id);
    }
    if (map.archive !== undefined) mappedArchives.add(map.archive.id);
  }
  let made = 0;
  for (const [session, own] of bySession) {
    if (atWork.has(session)) continue;
    const archive = latestOf(archives, session);
    const damaged = maps.damaged.some(({ name }) => name.startsWith(`session-${session}-`));
    const isMapped =
      own.every(({ id }) => mapped.has(id)) &&
      (archive === undefined || mappedArchives.has(archive.id));
    if (isMapped && !damaged) continue;
    rebuilding.signal.throwIfAborted();
    const whole = archive && (await readArchive(repository, archive.id));
    await storeMapRecords(repository, own, whole, session);
    made++;
  }
  // Of sessions of which nothing else is left.
  for (const { name, error } of maps.damaged) {
    if (error.code !== 'DAMAGED')
      problems.push(`map record ${name} was left as it is: ${error.message}`);
    else await repository.store.remove('maps', name);
  }
  return made;
}

async function readArchive(repository: Repository, id: string): Promise<Archive | undefined> {
  try {
    return decodeArchive(
      repository,
      await repository.store.read('archives', id, LIMITS.recordBytesMax),
      id,
    );
  } catch (error) {
    // Forgotten meanwhile.
    if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return undefined;
    throw error;
  }
}

/** A session has one archive, or a partial one for the time being. */
function latestOf(archives: readonly ArchiveHead[], session: string): ArchiveHead | undefined {
  const own = archives.filter((archive) => archive.session === session);
  return own.findLast((archive) => !archive.partial) ?? own.at(-1);
}
