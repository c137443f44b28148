/**
 * The storage of a repository with pools of volumes: its own, and chunks on volumes besides.
 *
 * Contract: to all flows a chunk on a volume is a chunk like any other: it is listed, opened and
 * removed. Before a record is stored that relies on chunks (an index segment, an archive), the
 * repository knows on which volumes they are. Removing a chunk from a volume only says that it is not
 * needed there; a volume without needed chunks is expired, and written anew when room is wanted.
 */
import { must } from '../base/assert.ts';
import { type ChunkMediaPlace, openChunkMedia } from '../format/chunk-media.ts';
import type { ObjectKind, ObjectStore, StoredObject } from '../format/object-store.ts';
import { CONTENT_CLASS, sessionIdOf } from '../format/tag-header.ts';
import type { DriveReport, WrittenReport } from '../media/drive-messages.ts';
import { pooledChunks } from '../media/pooled-chunks.ts';
import type { ReadFigures } from '../media/volume-reader.ts';
import { KnownVolumes } from './known-volumes.ts';
import { PoolDrives, type PoolSession } from './pool-drives.ts';
import type { Pool } from './pools.ts';
import { readableVolumes } from './readable-volumes.ts';
import type { Repository } from './repository.ts';
import { dropLogs, putLog } from './volume-logs.ts';
import type { KnownVolume } from './volume-records.ts';

/** Records of these kinds rely on chunks. */
const RELYING: ReadonlySet<ObjectKind> = new Set(['index', 'archives', 'pending', 'maps']);

const ROOT_ONLY: readonly number[] = [0];

/** A chunk that is being written to a volume. */
export interface VolumeChunkTarget {
  write(bytes: Uint8Array, position: number): Promise<void>;
  end(): Promise<void>;
  discard(): Promise<void>;
}

export class PooledStore implements ObjectStore {
  readonly url: string;
  readonly appendOnly?: boolean;
  readonly readsAtOnce?: number;
  readonly #root: ObjectStore;
  /** Over the root store: for records of volumes. */
  readonly #repository: Repository;
  readonly #pools: readonly Pool[];
  readonly #target: Pool | undefined;
  readonly #volumes: KnownVolumes;
  readonly #drives: PoolDrives;

  private constructor(
    repository: Repository,
    pools: readonly Pool[],
    volumes: KnownVolumes,
    target: Pool | undefined,
  ) {
    this.#repository = repository;
    this.#root = repository.store;
    this.url = this.#root.url;
    if (this.#root.appendOnly !== undefined) this.appendOnly = this.#root.appendOnly;
    if (this.#root.readsAtOnce !== undefined) this.readsAtOnce = this.#root.readsAtOnce;
    this.#pools = pools;
    this.#volumes = volumes;
    this.#target = target;
    this.#drives = new PoolDrives(repository, pools, target, volumes, () =>
      readableVolumes(repository, pools, volumes.all),
    );
  }

  static async open(
    repository: Repository,
    pools: readonly Pool[],
    target: Pool | undefined,
  ): Promise<PooledStore> {
    return new PooledStore(repository, pools, await KnownVolumes.open(repository), target);
  }

  /** Writing ------------------------------------------------------------------------------------ */

  /** Begins a session on volumes of the target pool. POOL_EXHAUSTED, VOLUME_… */
  async begin(session: PoolSession): Promise<void> {
    await this.#drives.begin(session);
  }

  /**
   * A chunk that this thread writes to the volume. `end` says that all of it was written; it is on the
   * medium once the session has ended.
   */
  createOnVolume(id: string): VolumeChunkTarget {
    const drive = this.#drives.first;
    let stream: string | undefined;
    return {
      write: async (bytes, position) => {
        stream ??= sessionIdOf(Buffer.from(bytes), 0).toString('hex');
        await drive.part(id, position, bytes);
      },
      end: async () => {
        if (stream !== undefined) await drive.endStream(stream);
      },
      discard: () => drive.discard(id),
    };
  }

  /**
   * Ends the session: its logs are stored, and what is known of its volumes.
   *
   * @returns what each drive did
   * @throws what a drive has failed with, once the others have ended theirs
   */
  async end(): Promise<readonly DriveReport[]> {
    const ended = await this.#drives.finish();
    const reports = ended.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    for (const { written } of reports) for (const one of written) await this.#written(one);
    await this.flush();
    // Only now others may write to the volumes: they find on record what is there.
    await this.#drives.release();
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return reports;
  }

  async #written(report: WrittenReport): Promise<void> {
    const { volume, objects, bytes, entry, pages, isFull } = report;
    const known = must(this.#volumes.get(volume), 'a chosen volume');
    const writtenMs = this.#repository.around.clock.nowMs();
    this.#volumes.change(volume, ({ nextLogId: _, ...now }) => ({
      ...now,
      state: isFull ? 'full' : now.state,
      sessions: now.sessions + 1,
      objects: Math.max(now.objects, objects),
      bytes: now.bytes + bytes,
      writtenMs,
    }));
    const session = entry?.session ?? known.sessions;
    if (must(this.#target, 'a target').logPlace !== 'medium' && pages.length > 0)
      await putLog(this.#repository, volume, { session, pages, entry });
    else if (known.logRebuilt === true) await dropLogs(this.#repository, volume, session);
  }

  /** Waits until a drive has buffers for one more stream. */
  async openStream(id: string): Promise<void> {
    if (this.#target !== undefined) await this.#drives.openStream(id);
  }
  /** Gives them back: nothing more comes of it. */
  async endStream(id: string): Promise<void> {
    if (this.#target !== undefined) await this.#drives.endStream(id);
  }

  /** Stores a chunk of manifests, here and where its stream goes, without holding this thread up meanwhile. */
  async putChunk(stream: string, id: string, parts: readonly Uint8Array[]): Promise<void> {
    await this.#drives.ofStream(stream).putChunk(id, parts);
    const media = await openChunkMedia(this.#root.chunkMedia);
    try {
      const sink = media.create(id, CONTENT_CLASS.manifest);
      let position = 0;
      for (const part of parts) {
        sink.write(part, 0, part.length, position);
        position += part.length;
      }
      sink.commit();
    } finally {
      media.close();
    }
  }

  /** Stores what has changed of volumes. */
  async flush(): Promise<void> {
    // What the drives have told before is heard first.
    await this.#drives.barrier();
    await this.#volumes.flush();
  }

  /** Reading ------------------------------------------------------------------------------------ */

  /** Says of a chunk whether its blobs count as known where new chunks go (M10). */
  async knowing(): Promise<(chunk: string) => boolean> {
    if (this.#target === undefined) {
      const names = new Set((await this.#root.list('chunks')).map(({ name }) => name));
      return (chunk) => names.has(chunk);
    }
    return (chunk) => this.#isInTarget(chunk);
  }
  #isInTarget(chunk: string): boolean {
    return this.#volumes
      .volumesWith(chunk)
      .some(({ pool, state }) => pool === this.#target?.id && state !== 'missing');
  }

  /** Numbers of the pools whose volumes have the chunk, in order; only 0: it is in the root pool alone. */
  poolsOf(chunk: string): readonly number[] {
    const numbers = new Set<number>();
    for (const { pool } of this.#volumes.volumesWith(chunk))
      numbers.add(this.#pools.findIndex(({ id }) => id === pool) + 1);
    return numbers.size === 0 ? ROOT_ONLY : [...numbers].sort((a, b) => a - b);
  }

  /** The pool to which new chunks go, if it is not the root pool. */
  get target(): Pool | undefined {
    return this.#target;
  }

  get chunkMedia(): ChunkMediaPlace {
    return this.mediaOf(undefined);
  }
  /** Where the chunks of a stream that was opened go. */
  mediaOf(stream: string | undefined): ChunkMediaPlace {
    const toDrive = this.#target !== undefined;
    if (!toDrive && !this.#volumes.hasChunks) return this.#root.chunkMedia;
    return pooledChunks({
      root: this.#root.chunkMedia,
      drive: this.#drives.ofStream(stream).chunkMedia,
      toDrive,
    });
  }

  /** Chunks on volumes only, and in the repository's own storage only. */
  get driveMedia(): ChunkMediaPlace {
    return this.#drives.first.chunkMedia;
  }
  get rootMedia(): ChunkMediaPlace {
    return this.#root.chunkMedia;
  }
  /** Ids of the chunks in the repository's own storage, and on each volume. */
  async rootChunks(): Promise<ReadonlySet<string>> {
    return new Set((await this.#root.list('chunks')).map(({ name }) => name));
  }
  get volumes(): readonly KnownVolume[] {
    return this.#volumes.all;
  }
  get pools(): readonly Pool[] {
    return this.#pools;
  }

  /** Reads from the volumes of these pools from now on, by their ids, or of all; what was written since too. */
  async readFrom(isRead: (pool: string) => boolean = () => true): Promise<void> {
    const volumes = this.volumes.filter(({ pool }) => isRead(pool));
    await this.#drives.first.read(await readableVolumes(this.#repository, this.#pools, volumes));
  }

  /** The chunk is not needed in the repository's own storage (no volume named), or on that volume. */
  async release(chunk: string, volume?: string): Promise<void> {
    if (volume === undefined) await this.#root.remove('chunks', chunk);
    else this.#volumes.releaseChunk(volume, chunk);
  }

  /** Whether somebody is asked for tapes that are not there; false: nobody is, they are errors at once. */
  askForTapes(are: boolean): boolean {
    const waitMs = this.#repository.around.mounts?.waitMs ?? 0;
    if (waitMs > 0) this.#drives.first.askForTapes(are);
    return are && waitMs > 0;
  }

  /** The store ---------------------------------------------------------------------------------- */

  prepare(): Promise<void> {
    return this.#root.prepare();
  }

  async list(kind: ObjectKind): Promise<StoredObject[]> {
    const listed = await this.#root.list(kind);
    if (kind !== 'chunks') return listed;
    await this.#volumes.refresh();
    const names = new Set(listed.map(({ name }) => name));
    for (const { chunks } of this.#volumes.all) {
      for (const { id, bytes, committedMs } of chunks) {
        if (names.has(id)) continue;
        names.add(id);
        listed.push({ name: id, bytes, modifiedMs: committedMs });
      }
    }
    return listed;
  }

  read(kind: ObjectKind, name: string, bytesMax: number): Promise<Buffer> {
    return this.#root.read(kind, name, bytesMax);
  }

  async put(kind: ObjectKind, name: string, bytes: Uint8Array): Promise<boolean> {
    if (RELYING.has(kind)) await this.flush();
    return await this.#root.put(kind, name, bytes);
  }

  async remove(kind: ObjectKind, name: string): Promise<boolean> {
    const removed = await this.#root.remove(kind, name);
    const volumes = kind === 'chunks' ? this.#volumes.volumesWith(name) : [];
    for (const { volume } of volumes) this.#volumes.releaseChunk(volume, name);
    return removed || volumes.length > 0;
  }

  async publish(from: ObjectKind, to: ObjectKind, name: string): Promise<boolean> {
    await this.flush();
    return await this.#root.publish(from, to, name);
  }
  touch(kind: ObjectKind, name: string): Promise<boolean> {
    return this.#root.touch(kind, name);
  }
  nowMs(): Promise<number> {
    return this.#root.nowMs();
  }
  async openFile(kind: ObjectKind, name: string): Promise<number> {
    return await this.#root.openFile(kind, name);
  }
  sweep(olderThanMs: number): Promise<number> {
    return this.#root.sweep(olderThanMs);
  }
  foreign(): ReturnType<ObjectStore['foreign']> {
    return this.#root.foreign();
  }

  /** What was read from volumes so far; undefined where nothing was. */
  async readFigures(): Promise<ReadFigures | undefined> {
    const [first] = this.#drives.all;
    return first === undefined ? undefined : (await first.finish()).reading;
  }

  async close(): Promise<void> {
    try {
      if (this.#root.appendOnly !== true) await this.flush();
    } finally {
      await this.#drives.close();
      await this.#root.close();
    }
  }
}
