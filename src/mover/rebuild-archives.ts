/**
 * Makes archive records again (rebuild.ts): from the map, or from the chunks of their sessions.
 *
 * The list of an archive's chunks is found anew by walking its manifest through the index. The record
 * is committed like that of a backup. An archive whose session chunk is lost gets another one.
 */
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { BlobReader } from '../modules/blob-reader.ts';
import {
  type Archive,
  type ArchiveHead,
  encodeArchive,
  headFromParts,
  listArchiveHeads,
  type RecordedArchive,
} from './archives.ts';
import { type VerifiedIndex, verifyIndex } from './check-index.ts';
import { ManifestWalk } from './check-walk.ts';
import { listForgotten } from './forgotten.ts';
import type { KnownChunk, Rebuilding } from './rebuild.ts';
import { writeSessionChunk } from './session-chunk.ts';

/** An archive to be recorded, and the chunk that repeats its record; undefined: there is none any more. */
interface Candidate {
  readonly archive: ArchiveHead;
  readonly sessionChunk: string | undefined;
}

/** Makes the records that are missing or damaged. Returns the ids of their archives. */
export async function rebuildArchives(rebuilding: Rebuilding): Promise<string[]> {
  const { repository, problems } = rebuilding;
  const { archives } = await listArchiveHeads(repository);
  const recorded = new Set((await repository.store.list('archives')).map(({ name }) => name));
  const whole = new Map(archives.map((archive) => [archive.id, archive]));
  // Noted before their records go: after these were listed every one that was forgotten is known.
  const forgotten = await listForgotten(repository);
  const tellers = await remainingTellers(rebuilding);
  const candidates = findCandidates(tellers, whole, recorded, forgotten.ids);
  for (const name of recorded) {
    if (whole.has(name) || candidates.has(name) || !/^[0-9a-f]{32}$/.test(name)) continue;
    problems.push(
      `the record of archive ${name} is damaged, and nothing else tells of it: \`penstock forget\` removes it`,
    );
  }
  if (candidates.size === 0) return [];
  const index = await verifyIndex(repository);
  const made: string[] = [];
  try {
    for (const candidate of candidates.values()) {
      rebuilding.signal.throwIfAborted();
      if (await record(rebuilding, candidate, index, recorded, whole.has(candidate.archive.id)))
        made.push(candidate.archive.id);
    }
  } finally {
    index.close();
  }
  return made;
}

/**
 * What tells of archives and is still there. A prune drops the note of a forgotten archive once nothing
 * tells of it any more: what has gone since the chunks were read must not bring it back.
 */
async function remainingTellers(rebuilding: Rebuilding): Promise<Rebuilding> {
  const { repository, maps, footers } = rebuilding;
  const namesOf = async (kind: 'chunks' | 'maps'): Promise<ReadonlySet<string>> =>
    new Set((await repository.store.list(kind)).map(({ name }) => name));
  const [chunks, records] = [await namesOf('chunks'), await namesOf('maps')];
  return {
    ...rebuilding,
    maps: { ...maps, sessions: maps.sessions.filter(({ name }) => records.has(name)) },
    footers: footers.filter(({ chunk }) => chunks.has(chunk)),
  };
}

/** Whether an archive that was told of when the chunks were read has been forgotten since. */
async function isForgottenNow(rebuilding: Rebuilding, id: string): Promise<boolean> {
  if ((await listForgotten(rebuilding.repository)).ids.has(id)) return true;
  const { footers, maps } = await remainingTellers(rebuilding);
  const isTold =
    footers.some((footer) => footer.id === id) ||
    maps.sessions.some(({ archive }) => archive?.id === id);
  return !isTold;
}

function findCandidates(
  { maps, footers, atWork, chunks, problems }: Rebuilding,
  whole: ReadonlyMap<string, RecordedArchive>,
  recorded: ReadonlySet<string>,
  forgotten: ReadonlySet<string>,
): Map<string, Candidate> {
  const told = new Map<string, Candidate>();
  const repeated = new Map<string, string>();
  /** Sessions of which the map tells that they have no other archive. */
  const settled = new Set<string>();
  for (const footer of footers) repeated.set(footer.id, footer.chunk);
  for (const { session, archive } of maps.sessions) {
    if (archive !== undefined)
      told.set(archive.id, { archive, sessionChunk: repeated.get(archive.id) });
    if (archive === undefined || !archive.partial) settled.add(session);
  }
  for (const { id, session, partial, sealed, chunk } of footers) {
    if (told.has(id) || (settled.has(session) && !recorded.has(id))) continue;
    try {
      told.set(id, {
        archive: headFromParts({ id, session, timeMs: sealed.startedMs, partial }, sealed),
        sessionChunk: chunk,
      });
    } catch (error) {
      problems.push(
        `chunk ${chunk} tells of an archive that cannot be understood: ${toPenstockError(error).message}`,
      );
    }
  }
  const all = [...whole.values(), ...[...told.values()].map(({ archive }) => archive)];
  const candidates = new Map<string, Candidate>();
  for (const [id, candidate] of told) {
    if (whole.has(id) || forgotten.has(id) || atWork.has(candidate.archive.session)) continue;
    if (!isSuperseded(candidate.archive, all)) candidates.set(id, candidate);
  }
  // Recorded ones whose session chunk is lost, or no longer tells of them.
  for (const [id, archive] of whole) {
    const own = archive.sessionChunk ?? '';
    const repeats =
      chunks.has(own) && footers.some((footer) => footer.chunk === own && footer.id === id);
    if (!repeats && !atWork.has(archive.session))
      candidates.set(id, { archive, sessionChunk: undefined });
  }
  return candidates;
}

/** A partial archive is of no use beside a later one, or beside a whole one that is not older. */
function isSuperseded(archive: ArchiveHead, all: readonly ArchiveHead[]): boolean {
  if (!archive.partial) return false;
  return all.some((other) => {
    if (other.id === archive.id || other.name !== archive.name) return false;
    return other.partial ? other.endedMs > archive.endedMs : other.startedMs >= archive.startedMs;
  });
}

/** Finds the chunks of an archive and commits its record; false when it cannot be. */
async function record(
  rebuilding: Rebuilding,
  { archive, sessionChunk }: Candidate,
  index: VerifiedIndex,
  recorded: ReadonlySet<string>,
  isWhole: boolean,
): Promise<boolean> {
  const { repository, problems, session } = rebuilding;
  const found = await findChunks(rebuilding, archive, index);
  // Its list of chunks is not made shorter by what it has lost.
  if (isWhole && !found.isWhole) return false;
  // What it lacks a prune may just have taken, because it was forgotten.
  if (!found.isWhole && (await isForgottenNow(rebuilding, archive.id))) return false;
  if (found.chunks.size === 0) {
    problems.push(`archive ${archive.id} cannot be made again: its manifest is lost`);
    return false;
  }
  if (!found.isWhole)
    problems.push(
      `archive ${archive.id} is there again, but lacks content: run \`penstock check\``,
    );
  const own = sessionChunk ?? (await replaceSessionChunk(rebuilding, archive));
  const complete: Archive = { ...archive, chunks: [...found.chunks, own] };
  const bytes = encodeArchive(repository, complete);
  if (bytes.length > LIMITS.recordBytesMax)
    throw new PenstockError(
      'LIMIT',
      `the record of archive ${archive.id} has ${bytes.length} bytes`,
    );
  const before = isWhole
    ? await repository.store.read('archives', archive.id, LIMITS.recordBytesMax)
    : undefined;
  // Left by a commit that was cut off, or the record that is damaged.
  await repository.store.remove('pending', archive.id);
  if (recorded.has(archive.id)) await repository.store.remove('archives', archive.id);
  const outcome = await session.commit(archive.id, complete.chunks, bytes);
  if (outcome.outcome === 'published') return true;
  if (before !== undefined) await repository.store.put('archives', archive.id, before);
  problems.push(
    `the record of archive ${archive.id} could not be committed beside a prune: run this again`,
  );
  return false;
}

async function replaceSessionChunk(
  { repository, chunks }: Rebuilding,
  archive: ArchiveHead,
): Promise<string> {
  const { chunkBytes } = repository.settings;
  const placed = await writeSessionChunk(repository, archive, {
    chunkBytes,
    writer: archive.writer,
    createdMs: archive.startedMs,
  });
  chunks.set(placed.id, { ...placed, session: archive.session, hasFooter: true });
  return placed.id;
}

/** The chunks that hold what an archive needs, and whether that is all. */
async function findChunks(
  { repository, media, chunks, signal }: Rebuilding,
  archive: ArchiveHead,
  index: VerifiedIndex,
): Promise<{ chunks: Set<string>; isWhole: boolean }> {
  const { chunkIds } = index.share;
  const used = new Set<string>();
  const blobs = new BlobReader(index.open(), chunkIds, media, repository.sealer);
  const walk = new ManifestWalk<true>(index.open(), blobs, {
    isGood: (found) =>
      isThere(chunks.get(chunkIds[found.chunk] ?? ''), found.blockOffset + found.blockBytes),
    onBlob: (chunk) => used.add(chunkIds[chunk] ?? ''),
    blame: () => [true],
    onEntries: () => undefined,
    turn: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
    },
  });
  try {
    const { blames, wrong } = await walk.walk(archive.root);
    return { chunks: used, isWhole: blames.size + wrong.length === 0 };
  } finally {
    blobs.close();
  }
}

function isThere(chunk: KnownChunk | undefined, end: number): boolean {
  return chunk !== undefined && end <= chunk.bytes;
}
