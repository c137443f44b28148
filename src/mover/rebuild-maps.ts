/**
 * Makes map records again (rebuild.ts): of each session of which a chunk or an archive is not in them.
 */
import type { Archive } from './archives.ts';
import type { KnownChunk, Rebuilding } from './rebuild.ts';
import { storeMapRecords } from './storage-map.ts';

/** Makes what is missing. Returns of how many sessions. */
export async function rebuildMaps(
  rebuilding: Rebuilding,
  archives: readonly Archive[],
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
    for (const chunk of map.chunks) mapped.add(chunk.id);
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
    await storeMapRecords(repository, own, archive, session);
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

/** A session has one archive, or a partial one for the time being. */
function latestOf(archives: readonly Archive[], session: string): Archive | undefined {
  const own = archives.filter((archive) => archive.session === session);
  return own.findLast((archive) => !archive.partial) ?? own.at(-1);
}
