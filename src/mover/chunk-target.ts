/**
 * Where a copy of a whole chunk goes: the repository's own storage, or a volume (pooled-store.ts).
 */
import type { ChunkMedia } from '../format/chunk-media.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';
import type { ChunkTaker } from '../media/volume-chunks.ts';

/** A chunk that is being written. */
export interface ChunkTarget extends ChunkTaker {
  /** All of it was written. */
  end(): Promise<void> | void;
  discard(): Promise<void> | void;
}

/** A chunk of the repository's own storage; it is durable once it has ended. */
export function inRoot(
  root: ChunkMedia,
  id: string,
  contentClass: number = CONTENT_CLASS.compressible,
): ChunkTarget {
  const sink = root.create(id, contentClass);
  return {
    write: (bytes, position) => sink.write(bytes, 0, bytes.length, position),
    end: () => void sink.commit(),
    discard: () => sink.discard(),
  };
}
