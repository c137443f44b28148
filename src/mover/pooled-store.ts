/**
 * The storage of a repository with pools of volumes: its own, and chunks on volumes besides.
 *
 * Contract: to all flows a chunk on a volume is a chunk like any other: it is listed, opened and
 * removed. Before a record is stored that relies on chunks (an index segment, an archive), the
 * repository knows on which volumes they are. Removing a chunk from a volume only says that it is not
 * needed there; a volume without needed chunks is expired, and written anew when room is wanted.
 */
import { must } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { type ChunkMediaPlace, openChunkMedia } from '../format/chunk-media.ts';
import type { ObjectKind, ObjectStore, StoredObject } from '../format/object-store.ts';
import { CONTENT_CLASS, sessionIdOf } from '../format/tag-header.ts';
import { DriveLink } from '../media/drive-link.ts';
import type { DriveReport, ReadableVolume, WritableVolume } from '../media/drive-messages.ts';
import { pooledChunks } from '../media/pooled-chunks.ts';
import type { CommittedChunk } from '../media/volume-commits.ts';
import type { ReadFigures } from '../media/volume-reader.ts';
import { KnownVolumes } from './known-volumes.ts';
import type { Pool } from './pools.ts';
import { readableVolumes } from './readable-volumes.ts';
import type { Repository } from './repository.ts';
import {
  type ChosenVolume,
  checkFolder,
  couldGrow,
  freshVolumes,
  isThere,
  knownLabel,
  leastObjects,
} from './volume-choice.ts';
import { dropLogs, putLog } from './volume-logs.ts';
import { mediumOf } from './volume-medium.ts';
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
  /** What may be labelled next. */
  readonly #fresh = new Map<string, ChosenVolume>();
  #link: DriveLink | undefined;

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
  }

  static async open(
    repository: Repository,
    pools: readonly Pool[],
    target: Pool | undefined,
  ): Promise<PooledStore> {
    return new PooledStore(repository, pools, await KnownVolumes.open(repository), target);
  }

  /** Writing ------------------------------------------------------------------------------------ */

  /** Begins a session on a volume of the target pool. POOL_EXHAUSTED, VOLUME_… */
  async begin(session: { readonly id: string; readonly writer: string }): Promise<void> {
    const pool = must(this.#target, 'a pool that is written');
    const { markBytes, logPlace, logEntries, syncBytes, bufferBytes } = pool;
    const startPercent = pool.startPercent ?? (pool.kind === 'tape' ? LIMITS.tapeStartPercent : 0);
    const volumes = await this.#choose(undefined);
    const first = volumes[0] && this.#volumes.get(volumes[0].label.volume);
    const id = first?.nextLogId ?? session.id;
    const any = await mediumOf(this.#repository, pool, '');
    await this.#drive().write(
      {
        ...{ ...session, id, markBytes, logPlace, logPerRecord: logEntries === 'record' },
        ...(syncBytes === undefined ? {} : { syncBytes }),
        ...(bufferBytes === undefined ? {} : { bufferBytes }),
        ...(any.kind === 'tape' ? { tape: any } : {}),
        startLevel: Math.min(1, startPercent / 100),
      },
      volumes,
    );
  }

  /**
   * A chunk that this thread writes to the volume. `end` says that all of it was written; it is on the
   * medium once the session has ended.
   */
  createOnVolume(id: string): VolumeChunkTarget {
    const drive = this.#drive();
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

  /** Ends the session: its log is stored, and what is known of its volumes. */
  async end(): Promise<DriveReport> {
    const report = await this.#drive().finish();
    for (const { volume, objects, bytes, entry, pages } of report.written) {
      const known = must(this.#volumes.get(volume), 'a chosen volume');
      const writtenMs = this.#repository.around.clock.nowMs();
      this.#volumes.change(volume, ({ nextLogId: _, ...now }) => ({
        ...now,
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
    await this.flush();
    // Only now others may write to the volumes: they find on record what is there.
    await this.#drive().release();
    return report;
  }

  /** Waits until the drive has buffers for one more stream. */
  async openStream(id: string): Promise<void> {
    if (this.#target !== undefined) await this.#drive().openStream(id);
  }
  /** Gives them back: nothing more comes of it. */
  async endStream(id: string): Promise<void> {
    if (this.#target !== undefined) await this.#link?.endStream(id);
  }

  /** Stores a chunk of manifests, here and on a volume, without holding this thread up meanwhile. */
  async putChunk(id: string, parts: readonly Uint8Array[]): Promise<void> {
    await this.#drive().putChunk(id, parts);
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

  /** Volumes that may be written, the best first. */
  async #choose(full: string | undefined): Promise<readonly WritableVolume[]> {
    const pool = must(this.#target, 'a pool that is written');
    // What is on a disk that is not mounted is not missing.
    checkFolder(pool);
    if (full !== undefined) this.#volumes.change(full, (known) => ({ ...known, state: 'full' }));
    await this.#volumes.refresh();
    const own = this.#volumes.all.filter((one) => one.pool === pool.id);
    const volumes: WritableVolume[] = [];
    const found: WritableVolume[] = [];
    const readOnly: WritableVolume[] = [];
    for (const volume of own) {
      const medium = await mediumOf(this.#repository, pool, volume.name);
      // At the beginning only: what has become full since is not tried again.
      const isTried = full === undefined && volume.state === 'full';
      const state = isTried && couldGrow(medium, pool.blockBytes) ? 'appendable' : volume.state;
      if (state === 'full' || state === 'expired') continue;
      const label = knownLabel(this.#repository, pool, volume);
      const writable = { medium, label, leastObjects: leastObjects(volume) };
      if (!(await isThere(medium))) this.#setState(volume, 'missing');
      else if (state === 'read-only') readOnly.push(writable);
      else {
        this.#setState(volume, 'appendable');
        // One that was away has come back.
        (state === 'missing' ? found : volumes).push(writable);
      }
    }
    this.#fresh.clear();
    for (const fresh of await freshVolumes(this.#repository, pool, own))
      this.#fresh.set(fresh.record.volume, fresh);
    await this.flush();
    const fresh = [...this.#fresh.values()].map(({ writable }) => writable);
    // Whether a tape may be written again says only the drive that has it.
    return pool.device === undefined
      ? [...volumes, ...found, ...readOnly, ...fresh]
      : [...volumes, ...found, ...fresh, ...readOnly];
  }
  #setState({ volume, state: before }: KnownVolume, state: KnownVolume['state']): void {
    if (state !== before) this.#volumes.change(volume, (known) => ({ ...known, state }));
  }

  /**
   * Whether a volume of this repository, which the drive holds for us alone, may be labelled anew: when
   * nothing on it is needed by now, or it is not known and has nothing but a label.
   */
  async #mayReplace(volume: string, isEmpty: boolean): Promise<boolean> {
    await this.#volumes.refresh();
    const known = this.#volumes.get(volume);
    return known === undefined ? isEmpty : known.state === 'expired';
  }

  /** A volume is written: of one with a new label the repository is to know. */
  #loaded(volume: string, replaced: string | undefined): void {
    const fresh = this.#fresh.get(volume);
    if (fresh !== undefined) this.#volumes.add(fresh.record, replaced);
    const known = this.#volumes.get(volume);
    if (known !== undefined) this.#setState(known, 'appendable');
  }

  #committed({ chunk, stream, bytes, places }: CommittedChunk): void {
    for (const { volume, firstObject, endObject } of places) {
      this.#volumes.addChunk(volume, {
        id: chunk,
        bytes: bytes + TRAILER_BYTES,
        committedMs: this.#repository.around.clock.nowMs(),
        stream,
        firstObject,
        endObject,
      });
    }
  }

  /** Stores what has changed of volumes. */
  async flush(): Promise<void> {
    // What the drive has told before is heard first.
    await this.#link?.barrier();
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
    const toDrive = this.#target !== undefined;
    if (!toDrive && !this.#volumes.hasChunks) return this.#root.chunkMedia;
    return pooledChunks({
      root: this.#root.chunkMedia,
      drive: this.#drive().chunkMedia,
      toDrive,
    });
  }

  /** Chunks on volumes only, and in the repository's own storage only. */
  get driveMedia(): ChunkMediaPlace {
    return this.#drive().chunkMedia;
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
    await this.#drive().read(await readableVolumes(this.#repository, this.#pools, volumes));
  }

  /** The chunk is not needed in the repository's own storage (no volume named), or on that volume. */
  async release(chunk: string, volume?: string): Promise<void> {
    if (volume === undefined) await this.#root.remove('chunks', chunk);
    else this.#volumes.releaseChunk(volume, chunk);
  }

  #drive(): DriveLink {
    if (this.#link !== undefined) return this.#link;
    const recordBytes = Math.max(...this.#pools.map(({ blockBytes }) => blockBytes));
    this.#link = new DriveLink(
      recordBytes,
      {
        nextVolumes: (full) => this.#choose(full),
        mayReplace: (volume, isEmpty) => this.#mayReplace(volume, isEmpty),
        onProtected: (volume) => {
          const known = this.#volumes.get(volume);
          if (known !== undefined) this.#setState(known, 'read-only');
        },
        onLoaded: (volume, replaced) => this.#loaded(volume, replaced),
        onCommitted: (chunk) => this.#committed(chunk),
      },
      this.#repository.around.mounts,
    );
    // What cannot be told is an error of whoever reads.
    void this.#readable()
      .then((volumes) => this.#link?.read(volumes))
      .catch(() => undefined);
    return this.#link;
  }

  /** Whether somebody is asked for tapes that are not there; false: nobody is, they are errors at once. */
  askForTapes(are: boolean): boolean {
    const waitMs = this.#repository.around.mounts?.waitMs ?? 0;
    if (waitMs > 0) this.#drive().askForTapes(are);
    return are && waitMs > 0;
  }

  #readable(): Promise<ReadableVolume[]> {
    return readableVolumes(this.#repository, this.#pools, this.volumes);
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
    return this.#link === undefined ? undefined : (await this.#link.finish()).reading;
  }

  async close(): Promise<void> {
    try {
      if (this.#root.appendOnly !== true) await this.flush();
    } finally {
      await this.#link?.close();
      await this.#root.close();
    }
  }
}
