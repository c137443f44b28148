/**
 * Which archives were forgotten, as long as their chunks may still be there.
 *
 * A session's chunk holds what its archive record holds, so that archives can be made again from the
 * chunks (rebuild.ts). Those that were forgotten must not come back: `forget` notes them before it
 * removes their records, and `prune` drops the note once their chunks are gone. A note is a map record
 * `maps/forgotten-<random>`, sealed: { archives: [ids], notedMs }.
 */
import { PenstockError } from '../base/errors.ts';
import type { Repository } from './repository.ts';
import { putMapRecord, readMapRecord, readMapRecords } from './storage-map.ts';

interface Note {
  readonly archives: readonly string[];
  readonly notedMs: number;
}

export interface ForgottenList {
  /** Ids of archives. */
  readonly ids: ReadonlySet<string>;
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
}

export const isForgottenNote = (name: string): boolean => /^forgotten-[0-9a-f]{32}$/.test(name);

/** Notes archives as forgotten; to be called before their records are removed. REPO_FULL, REPO_IO. */
export async function noteForgotten(repository: Repository, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const note: Note = { archives: ids, notedMs: repository.around.clock.nowMs() };
  await putMapRecord(repository, 'forgotten-', note);
}

/** All archives that were noted; damaged notes are left out and named. */
export async function listForgotten(repository: Repository): Promise<ForgottenList> {
  const { records, damaged } = await readMapRecords(
    repository,
    isForgottenNote,
    readMapRecord<Note>,
  );
  return { ids: new Set([...records.values()].flatMap(({ archives }) => archives)), damaged };
}

/**
 * Takes archives off the notes: neither the map nor a chunk tells of them any more. What stays noted is
 * durable before an old note goes.
 */
export async function dropForgotten(
  repository: Repository,
  ids: ReadonlySet<string>,
): Promise<void> {
  for (const { name } of await repository.store.list('maps')) {
    if (!isForgottenNote(name)) continue;
    let note: Note;
    try {
      note = await readMapRecord<Note>(repository, name);
    } catch (error) {
      if (error instanceof PenstockError && ['OBJECT_MISSING', 'DAMAGED'].includes(error.code))
        continue;
      throw error;
    }
    const left = note.archives.filter((id) => !ids.has(id));
    if (left.length === note.archives.length) continue;
    if (left.length > 0)
      await putMapRecord(repository, 'forgotten-', { ...note, archives: left } satisfies Note);
    await repository.store.remove('maps', name);
  }
}
