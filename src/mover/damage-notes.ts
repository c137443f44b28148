/**
 * Which blocks were found damaged: by a check, or by a restore that had to read them.
 *
 * A note is a map record `maps/damaged-<random>`, sealed: { notedMs, chunks: [{ id, offsets }] }, the
 * offsets of blocks in their chunks; offset 0, where no block stands, for a chunk's own parts: its header,
 * details, footer or trailer. It never makes anything unreachable: whoever reads takes such a
 * block last, a backup takes what is in it for not stored and stores it anew, and a prune lets go of a
 * chunk whose damaged blocks nobody relies on any more. So a note that is wrong, lost or unknown to an
 * older program costs room or time, never data. Notes only come and go as a whole; a block is noted if
 * any of them says so.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { DamagedBlocks } from './index-store.ts';
import type { Repository } from './repository.ts';
import { putMapRecord, readMapRecord } from './storage-map.ts';

/** A block, by its place. */
export interface BlockAt {
  /** Id of the chunk, hex. */
  readonly chunk: string;
  readonly offset: number;
}

interface Note {
  readonly notedMs: number;
  readonly chunks: readonly { readonly id: string; readonly offsets: readonly number[] }[];
}

export interface DamageNotes {
  readonly blocks: DamagedBlocks;
  /** Names of the notes that were read. */
  readonly names: readonly string[];
}

/** In the place of a block's offset: the chunk's own parts. */
export const FRAME_AT = 0;

const PREFIX = 'damaged-';

const isDamageNote = (name: string): boolean => /^damaged-[0-9a-f]{32}$/.test(name);

/** All blocks that are noted. Notes that cannot be read are left out: `check` names them. */
export async function readDamageNotes(repository: Repository): Promise<DamageNotes> {
  const blocks = new Map<string, Set<number>>();
  const names: string[] = [];
  for (const name of await listNotes(repository)) {
    try {
      const { chunks } = await readMapRecord<Note>(repository, name);
      names.push(name);
      for (const { id, offsets } of chunks) {
        const known = blocks.get(id) ?? new Set();
        for (const offset of offsets) known.add(offset);
        blocks.set(id, known);
      }
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
    }
  }
  return { blocks, names };
}

/** Where the folder of all map records is lost nothing is noted. */
async function listNotes({ store }: Repository): Promise<string[]> {
  try {
    return (await store.list('maps')).map(({ name }) => name).filter(isDamageNote);
  } catch (error) {
    if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return [];
    throw error;
  }
}

/**
 * Notes blocks as damaged, those that are not noted yet and whose chunks are there: one that is gone was
 * taken away by a prune. REPO_FULL, REPO_IO, REPO_READ_ONLY.
 */
export async function noteDamage(repository: Repository, found: readonly BlockAt[]): Promise<void> {
  if (found.length === 0) return;
  const present = new Set((await repository.store.list('chunks')).map(({ name }) => name));
  const { blocks } = await readDamageNotes(repository);
  const fresh = new Map<string, Set<number>>();
  for (const { chunk, offset } of found) {
    if (!present.has(chunk) || blocks.get(chunk)?.has(offset) === true) continue;
    const offsets = fresh.get(chunk) ?? new Set();
    offsets.add(offset);
    fresh.set(chunk, offsets);
  }
  await putNotes(repository, fresh);
}

/**
 * Takes blocks off the notes: their chunks are gone, or they were read and are whole. What stays noted is
 * durable before an old note goes. Where nothing may be removed all stays as it is.
 *
 * @param isOver of a block that is noted
 */
export async function dropDamageNotes(
  repository: Repository,
  isOver: (block: BlockAt) => boolean,
): Promise<void> {
  if (repository.store.appendOnly === true) return;
  const { blocks, names } = await readDamageNotes(repository);
  const left = new Map<string, Set<number>>();
  let dropped = 0;
  for (const [chunk, offsets] of blocks) {
    const kept = new Set([...offsets].filter((offset) => !isOver({ chunk, offset })));
    dropped += offsets.size - kept.size;
    if (kept.size > 0) left.set(chunk, kept);
  }
  if (dropped === 0) return;
  await putNotes(repository, left);
  for (const name of names) await repository.store.remove('maps', name);
}

/** As many records as it takes. */
async function putNotes(repository: Repository, blocks: DamagedBlocks): Promise<void> {
  const notedMs = repository.around.clock.nowMs();
  let chunks: { id: string; offsets: number[] }[] = [];
  let count = 0;
  const put = async (): Promise<void> => {
    if (chunks.length === 0) return;
    await putMapRecord(repository, PREFIX, { notedMs, chunks } satisfies Note);
    chunks = [];
    count = 0;
  };
  for (const [id, offsets] of blocks) {
    chunks.push({ id, offsets: [...offsets].sort((a, b) => a - b) });
    count += offsets.size;
    if (count >= LIMITS.damageNoteBlocks) await put();
  }
  await put();
}
