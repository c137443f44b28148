/**
 * Reading archives of a repository: index and blob reader together, with a reader's lease where the
 * repository can be written, so that a prune does not take chunks away meanwhile. What is found damaged
 * is noted there in the end.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ChunkMedia, openChunkMedia } from '../format/chunk-media.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import { BlobReader } from '../modules/blob-reader.ts';
import { type BlockAt, noteDamage, readDamageNotes } from './damage-notes.ts';
import { type LoadedIndex, loadIndex } from './index-store.ts';
import { protocolStore } from './protocol-adapter.ts';
import { runProtocol } from './protocol-store.ts';
import { condemnedChunks } from './prune-protocol.ts';
import type { Repository } from './repository.ts';
import { openSession, type Session } from './session.ts';

export interface ArchiveReader {
  readonly blobs: BlobReader;
  readonly index: BlobIndex;
  readonly loaded: LoadedIndex;
  readonly chunkIds: readonly string[];
  readonly media: ChunkMedia;
  /** A block was read, and is damaged or cannot be read. */
  foundDamaged(chunk: string, offset: number): void;
  close(): Promise<void>;
}

/** Opens the index for reading. A repository that cannot be written is read without a lease. */
export async function openArchiveReader(repository: Repository): Promise<ArchiveReader> {
  const session = await leaseIfWritable(repository);
  try {
    const stored = new Set((await repository.store.list('chunks')).map((chunk) => chunk.name));
    // What was condemned before our lease may go while we read; what it is needed for stands elsewhere.
    const condemned =
      session?.avoid ?? (await runProtocol(condemnedChunks(), protocolStore(repository)));
    const { blocks } = await readDamageNotes(repository);
    const loaded = await loadIndex(repository, (id) => stored.has(id), {
      chunks: condemned,
      blocks,
    });
    const media = await openChunkMedia(repository.store.chunkMedia);
    const index = loaded.open();
    const blobs = new BlobReader(loaded.open(), loaded.share.chunkIds, media, repository.sealer);
    const found: BlockAt[] = [];
    const foundDamaged = (chunk: string, offset: number): void => {
      if (found.length < LIMITS.damageNoteBlocks) found.push({ chunk, offset });
    };
    blobs.onBadPlace = ({ chunk, offset, isBlock }) => {
      if (isBlock) foundDamaged(chunk, offset);
    };
    return {
      blobs,
      index,
      loaded,
      chunkIds: loaded.share.chunkIds,
      media,
      foundDamaged,
      close: async () => {
        blobs.close();
        media.close();
        loaded.close();
        // Where it cannot be noted, a later check or restore finds it again.
        if (session !== undefined) await noteDamage(repository, found).catch(() => undefined);
        await session?.end().catch(() => undefined);
      },
    };
  } catch (error) {
    await session?.end().catch(() => undefined);
    throw error;
  }
}

/** Read-only, full, or without the folder of leases. */
const NO_LEASE: ReadonlySet<string> = new Set([
  'REPO_READ_ONLY',
  'REPO_FEATURE',
  'REPO_FULL',
  'OBJECT_MISSING',
]);

/** A reader's lease; undefined where the repository cannot be written. */
export async function leaseIfWritable(repository: Repository): Promise<Session | undefined> {
  try {
    return await openSession(repository, 'restore');
  } catch (error) {
    if (error instanceof PenstockError && NO_LEASE.has(error.code)) return undefined;
    throw error;
  }
}
