/**
 * The chunks of a repository that has volumes besides its own storage, for worker threads
 * (format/chunk-media.ts).
 *
 * Contract: a chunk is read from the repository's own storage where that has it, else from a volume. New
 * ones go to the drive where `toDrive` says so; those of manifests go to both, so that archives can be
 * browsed without a volume, and be restored from volumes alone.
 */
import { codeFile } from '../base/code-file.ts';
import { PenstockError } from '../base/errors.ts';
import {
  type ChunkCommit,
  type ChunkMedia,
  type ChunkMediaPlace,
  type ChunkRange,
  type ChunkSink,
  openChunkMedia,
} from '../format/chunk-media.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';

export interface PooledChunksOptions {
  readonly root: ChunkMediaPlace;
  readonly drive: ChunkMediaPlace;
  readonly toDrive: boolean;
}

/** URL of this file and options, for threads that open such chunks. */
export function pooledChunks(options: PooledChunksOptions): ChunkMediaPlace {
  return { module: codeFile('media/pooled-chunks').href, options };
}

export default async function openPooledChunks(given: unknown): Promise<ChunkMedia> {
  const options = given as PooledChunksOptions;
  const root = await openChunkMedia(options.root);
  const drive = await openChunkMedia(options.drive);
  const { nextReads } = drive;
  const isInRoot = rememberedIn(root);
  return {
    ...(nextReads === undefined
      ? {}
      : { nextReads: (ranges) => rootFirst(ranges, isInRoot, nextReads) }),
    create: (id, contentClass) => {
      if (!options.toDrive) return root.create(id, contentClass);
      const sink = drive.create(id, contentClass);
      if (contentClass !== CONTENT_CLASS.manifest) return sink;
      return both(sink, root.create(id, contentClass));
    },
    open: (id) => {
      try {
        return root.open(id);
      } catch (error) {
        const isElsewhere = error instanceof PenstockError && error.code === 'OBJECT_MISSING';
        if (!isElsewhere) throw error;
        return drive.open(id);
      }
    },
    close: () => {
      root.close();
      drive.close();
    },
  };
}

/** Whether a chunk is in the repository's own storage; asked once for each. */
function rememberedIn(root: ChunkMedia): (id: string) => boolean {
  const known = new Map<string, boolean>();
  return (id) => {
    const was = known.get(id);
    if (was !== undefined) return was;
    let isThere = true;
    try {
      root.open(id).close();
    } catch {
      // Whoever reads it is told why.
      isThere = false;
    }
    known.set(id, isThere);
    return isThere;
  };
}

/** What is in the repository's own storage in the order given, then what the drive says of the others. */
function rootFirst(
  ranges: readonly ChunkRange[],
  isInRoot: (id: string) => boolean,
  ofDrive: (ranges: readonly ChunkRange[]) => readonly number[],
): readonly number[] {
  const here: number[] = [];
  const there: number[] = [];
  for (const [i, { id }] of ranges.entries()) (isInRoot(id) ? here : there).push(i);
  if (here.length > 0 || there.length === 0) return here;
  return ofDrive(ranges);
}

function both(first: ChunkSink, second: ChunkSink): ChunkSink {
  const { commitLater } = first;
  return {
    ...(commitLater === undefined ? {} : { commitLater: () => inTurn(commitLater(), second) }),
    write: (view, offset, length, position) => {
      first.write(view, offset, length, position);
      second.write(view, offset, length, position);
    },
    commit: () => {
      first.commit();
      second.commit();
    },
    discard: () => {
      first.discard();
      second.discard();
    },
  };
}

/** The second is committed once the first is durable. */
function inTurn(first: ChunkCommit, second: ChunkSink): ChunkCommit {
  let isDone = false;
  const follow = (): void => {
    if (!isDone) second.commit();
    isDone = true;
  };
  return {
    isDone: () => {
      if (!isDone && first.isDone()) follow();
      return isDone;
    },
    wait: () => {
      first.wait();
      follow();
    },
  };
}
