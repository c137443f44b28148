/**
 * The chunk of a session itself (M7): session and archive header and footer, no blobs. The archive
 * footer holds what the archive record holds, so that archives can be found again from the chunks
 * alone (M8).
 */
import { must } from '../base/assert.ts';
import { toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { type ChunkMedia, type ChunkSink, openChunkMedia } from '../format/chunk-media.ts';
import { CONTENT_CLASS, PART } from '../format/tag-header.ts';
import { ChunkWriter, type ChunkWriterOptions, type PlacedChunk } from '../modules/chunk-writer.ts';
import { type ArchiveHead, toSealedPart } from './archives.ts';
import type { Repository } from './repository.ts';

/** Writes the chunk of an archive's session; it is durable when this returns. REPO_FULL, REPO_IO. */
export async function writeSessionChunk(
  repository: Repository,
  archive: ArchiveHead,
  options: Omit<ChunkWriterOptions, 'session'>,
): Promise<PlacedChunk> {
  const { sealer, around, store, pooled } = repository;
  // Who waits for a drive in this thread could not tell it which volume is next.
  const gathered = pooled?.target === undefined ? undefined : new GatheredChunks();
  const media = gathered ?? (await openChunkMedia(store.chunkMedia));
  let placed: PlacedChunk | undefined;
  try {
    const writer = new ChunkWriter(
      { ...options, session: archive.session },
      media,
      sealer,
      around.random,
      (chunk) => {
        placed = chunk;
      },
    );
    const part = (kind: number, value: unknown): void =>
      writer.part(CONTENT_CLASS.manifest, kind, Buffer.from(JSON.stringify(value)));
    const { id, session, host, name, startedMs, endedMs, partial } = archive;
    part(PART.sessionHeader, { session, host, startedMs, writer: archive.writer });
    part(PART.archiveHeader, { id, name, paths: archive.paths.map(toDisplay) });
    part(PART.archiveFooter, { id, session, partial, sealed: toSealedPart(archive) });
    part(PART.sessionFooter, { session, endedMs });
    writer.commitAll();
  } finally {
    media.close();
  }
  for (const [id, parts] of gathered?.chunks ?? [])
    await pooled?.putChunk(archive.session, id, parts);
  return must(placed, 'the session chunk was committed');
}

/** Small chunks in memory: what each write brought. */
class GatheredChunks implements ChunkMedia {
  readonly chunks = new Map<string, Buffer[]>();

  create(id: string): ChunkSink {
    const parts: Buffer[] = [];
    return {
      write: (view, offset, length) =>
        void parts.push(Buffer.from(view.subarray(offset, offset + length))),
      commit: () => void this.chunks.set(id, parts),
      discard: () => undefined,
    };
  }
  open(id: string): never {
    throw new PenstockError('OBJECT_MISSING', `chunk ${id} is only being written`);
  }
  close(): void {
    // Nothing is open.
  }
}
