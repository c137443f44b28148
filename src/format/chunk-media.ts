/**
 * Port: what stores and reads whole chunks, as the modules of a pipe see it. Synchronous: it is used
 * in worker threads. Implementations live in media/; a module is told which one by the URL of its
 * file, whose default export is a ChunkMediaFactory, so that modules and media need not know each
 * other.
 */

export interface ChunkSink {
  /** Writes all `length` bytes at `position`. REPO_FULL, REPO_IO or REPO_READ_ONLY when it cannot. */
  write(view: Uint8Array, offset: number, length: number, position: number): void;
  /** Makes the chunk durable under its id; it never replaces another. */
  commit(): void;
  /** As `commit`, on media where that may take long: begins it. Nothing is written afterwards. */
  readonly commitLater?: () => ChunkCommit;
  /** Leaves nothing behind. */
  discard(): void;
}

/** A chunk that was ended, and becomes durable when its medium synchronises. */
export interface ChunkCommit {
  /** Whether it is durable; throws what its writes have met. */
  isDone(): boolean;
  /** Has the medium synchronise, and waits for it. */
  wait(): void;
}

export interface ChunkSource {
  readonly bytes: number;
  /** Reads up to `length` bytes at `position`; fewer only at the end. */
  read(view: Uint8Array, offset: number, length: number, position: number): number;
  close(): void;
}

/** A part of a chunk that is to be read. */
export interface ChunkRange {
  readonly id: string;
  readonly position: number;
  readonly length: number;
}

export interface ChunkMedia {
  /** A new chunk; `id` is 32 hex digits. Where it goes may depend on its content class. */
  create(id: string, contentClass: number): ChunkSink;
  /** OBJECT_MISSING when there is none. */
  open(id: string): ChunkSource;
  /**
   * On media that are read best in the order in which things lie there: which of the ranges are to be read
   * now, and in which order, by their places in the list; one at least. For the others it is asked again.
   */
  readonly nextReads?: (ranges: readonly ChunkRange[]) => readonly number[];
  close(): void;
}

export type ChunkMediaFactory = (options: unknown) => ChunkMedia | Promise<ChunkMedia>;

/** Chunk media as other threads are told of them: the URL of the file, and options for its factory. */
export interface ChunkMediaPlace {
  readonly module: string;
  readonly options: unknown;
}

/** Opens chunk media in this thread. */
export async function openChunkMedia({ module, options }: ChunkMediaPlace): Promise<ChunkMedia> {
  const factory: { default: ChunkMediaFactory } = await import(module);
  return await factory.default(options);
}
