/**
 * The storage of a repository with pools of volumes: its own, and chunks on volumes besides.
 *
 * Contract: to all flows a chunk on a volume is a chunk like any other: it is listed, opened and
 * removed. Before a record is stored that relies on chunks (an index segment, an archive), the
 * repository knows on which volumes they are. Removing a chunk from a volume only says that it is not
 * needed there; a volume without needed chunks is expired, and written anew when room is wanted.
 */
import { must } from '../base/assert.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { type ChunkMediaPlace, openChunkMedia } from '../format/chunk-media.ts';
import type { ObjectKind, ObjectStore, StoredObject } from '../format/object-store.ts';
import { CONTENT_CLASS, sessionIdOf } from '../format/tag-header.ts';
import { DriveLink } from '../media/drive-link.ts';
import type { DriveReport, ReadableVolume, WritableVolume } from '../media/drive-messages.ts';
import { pooledChunks } from '../media/pooled-chunks.ts';
import type { CommittedChunk } from '../media/volume-commits.ts';
import type { ReadFigures } from '../media/volume-reader.ts';
import type { Pool } from './pools.ts';
import { readableVolumes } from './readable-volumes.ts';
import type { Repository } from './repository.ts';
import { type ChosenVolume, freshVolumes, isThere, knownLabel, mediumOf } from './volume-choice.ts';
import { dropLogs, putLog } from './volume-logs.ts';
import {
  dropVolume,
  listVolumes,
  putVolume,
  type VolumeChunk,
  type VolumeRecord,
} from './volume-records.ts';

/** Records of these kinds rely on chunks. */
const RELYING: ReadonlySet<ObjectKind> = new Set(['index', 'archives', 'pending', 'maps']);

type VolumeState = Omit<VolumeRecord, 'revision'>;

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
  readonly #volumes = new Map<string, VolumeState>();
  readonly #changed = new Set<string>();
  /** What may be labelled next, and volumes whose label was replaced. */
  readonly #fresh = new Map<string, ChosenVolume>();
  readonly #replaced = new Set<string>();
  /** On which volumes each chunk is. */
  readonly #places = new Map<string, Set<string>>();
  #link: DriveLink | undefined;
  #flushing: Promise<void> = Promise.resolve();

  private constructor(
    repository: Repository,
    pools: readonly Pool[],
    volumes: readonly VolumeState[],
    target: Pool | undefined,
  ) {
    this.#repository = repository;
    this.#root = repository.store;
    this.url = this.#root.url;
    if (this.#root.appendOnly !== undefined) this.appendOnly = this.#root.appendOnly;
    if (this.#root.readsAtOnce !== undefined) this.readsAtOnce = this.#root.readsAtOnce;
    this.#pools = pools;
    this.#target = target;
    for (const volume of volumes) {
      this.#volumes.set(volume.volume, volume);
      for (const { id } of volume.chunks) this.#placed(id, volume.volume);
    }
  }

  static async open(
    repository: Repository,
    pools: readonly Pool[],
    target: Pool | undefined,
  ): Promise<PooledStore> {
    const { volumes } = await listVolumes(repository);
    return new PooledStore(repository, pools, volumes, target);
  }

  #placed(chunk: string, volume: string): void {
    const places = this.#places.get(chunk) ?? new Set();
    places.add(volume);
    this.#places.set(chunk, places);
  }

  /** Writing ------------------------------------------------------------------------------------ */

  /** Begins a session on a volume of the target pool. POOL_EXHAUSTED, VOLUME_… */
  async begin(session: { readonly id: string; readonly writer: string }): Promise<void> {
    const pool = must(this.#target, 'a pool that is written');
    const { markBytes, logPlace, logEntries, syncBytes, bufferBytes } = pool;
    const volumes = await this.#choose(undefined);
    const first = volumes[0] && this.#volumes.get(volumes[0].label.volume);
    const id = first?.nextLogId ?? session.id;
    await this.#drive().write(
      {
        ...{ ...session, id, markBytes, logPlace, logPerRecord: logEntries === 'record' },
        ...(syncBytes === undefined ? {} : { syncBytes }),
        ...(bufferBytes === undefined ? {} : { bufferBytes }),
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
      const { nextLogId: _, ...known } = must(this.#volumes.get(volume), 'a chosen volume');
      this.#change({
        ...known,
        sessions: known.sessions + 1,
        objects: Math.max(known.objects, objects),
        bytes: known.bytes + bytes,
        writtenMs: this.#repository.around.clock.nowMs(),
      });
      const session = entry?.session ?? known.sessions;
      if (must(this.#target, 'a target').logPlace !== 'medium' && pages.length > 0)
        await putLog(this.#repository, volume, { session, pages, entry });
      else if (known.logRebuilt === true) await dropLogs(this.#repository, volume, session);
    }
    await this.flush();
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
    const known = full === undefined ? undefined : this.#volumes.get(full);
    if (known !== undefined) this.#change({ ...known, state: 'full' });
    const own = [...this.#volumes.values()].filter((one) => one.pool === pool.id);
    const volumes: WritableVolume[] = [];
    for (const volume of own) {
      if (volume.state !== 'appendable') continue;
      const medium = await mediumOf(this.#repository, pool, volume.name);
      if (await isThere(medium)) {
        const record: VolumeRecord = { ...volume, revision: 0 };
        volumes.push({ medium, label: knownLabel(this.#repository, pool, record) });
      } else this.#change({ ...volume, state: 'missing' });
    }
    const records = own.map((one) => ({ ...one, revision: 0 }));
    this.#fresh.clear();
    for (const fresh of await freshVolumes(this.#repository, pool, records)) {
      this.#fresh.set(fresh.record.volume, fresh);
      volumes.push(fresh.writable);
    }
    await this.flush();
    return volumes;
  }

  /** A volume is written: of one with a new label the repository is to know. */
  #loaded(volume: string): void {
    const fresh = this.#fresh.get(volume);
    if (fresh === undefined) return;
    const { replace } = fresh.writable.newLabel ?? {};
    if (replace !== undefined) {
      this.#volumes.delete(replace);
      this.#replaced.add(replace);
    }
    this.#change(fresh.record);
  }

  #committed({ chunk, stream, bytes, places }: CommittedChunk): void {
    for (const { volume, firstObject, endObject } of places) {
      const known = this.#volumes.get(volume);
      if (known === undefined) continue;
      const added: VolumeChunk = {
        id: chunk,
        bytes: bytes + TRAILER_BYTES,
        committedMs: this.#repository.around.clock.nowMs(),
        stream,
        firstObject,
        endObject,
      };
      this.#change({
        ...known,
        objects: Math.max(known.objects, endObject),
        chunks: [...known.chunks.filter(({ id }) => id !== chunk), added],
      });
      this.#placed(chunk, volume);
    }
  }

  #change(volume: VolumeState): void {
    this.#volumes.set(volume.volume, volume);
    this.#changed.add(volume.volume);
  }

  /** Stores what has changed of volumes. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#flush());
    return this.#flushing;
  }
  async #flush(): Promise<void> {
    // What the drive has told before is heard first.
    await this.#link?.barrier();
    for (const id of [...this.#replaced]) {
      this.#replaced.delete(id);
      await dropVolume(this.#repository, id);
      await dropLogs(this.#repository, id);
    }
    for (const id of [...this.#changed]) {
      this.#changed.delete(id);
      const volume = this.#volumes.get(id);
      if (volume !== undefined) await putVolume(this.#repository, volume);
    }
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
    for (const id of this.#places.get(chunk) ?? []) {
      const volume = this.#volumes.get(id);
      if (volume?.pool === this.#target?.id && volume?.state !== 'missing') return true;
    }
    return false;
  }

  /** Number of the pool whose volumes have the chunk; 0: it is in the root pool only. */
  poolNumber(chunk: string): number {
    const [first] = this.#places.get(chunk) ?? [];
    const volume = first === undefined ? undefined : this.#volumes.get(first);
    return volume === undefined ? 0 : this.#pools.findIndex(({ id }) => id === volume.pool) + 1;
  }

  /** The pool to which new chunks go, if it is not the root pool. */
  get target(): Pool | undefined {
    return this.#target;
  }

  get chunkMedia(): ChunkMediaPlace {
    const toDrive = this.#target !== undefined;
    if (!toDrive && this.#places.size === 0) return this.#root.chunkMedia;
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
  get volumes(): readonly Omit<VolumeRecord, 'revision'>[] {
    return [...this.#volumes.values()];
  }
  get pools(): readonly Pool[] {
    return this.#pools;
  }

  /** Reads from the volumes of one pool only from now on, or from all; what was written since too. */
  async readFrom(pool?: Pool): Promise<void> {
    const readable = await this.#readable();
    const names = new Set(
      this.volumes
        .filter((one) => pool === undefined || one.pool === pool.id)
        .map((one) => one.volume),
    );
    await this.#drive().read(readable.filter(({ volume }) => names.has(volume)));
  }

  /** The chunk is not needed in the repository's own storage (no volume named), or on that volume. */
  async release(chunk: string, volume?: string): Promise<void> {
    if (volume === undefined) await this.#root.remove('chunks', chunk);
    else this.#drop(chunk, volume);
  }
  #drop(chunk: string, id: string): void {
    const volume = must(this.#volumes.get(id), 'a volume that is known');
    const chunks = volume.chunks.filter((one) => one.id !== chunk);
    const isExpired = chunks.length === 0 && volume.state !== 'missing';
    this.#change({ ...volume, chunks, state: isExpired ? 'expired' : volume.state });
    const places = this.#places.get(chunk);
    places?.delete(id);
    if (places?.size === 0) this.#places.delete(chunk);
  }

  #drive(): DriveLink {
    if (this.#link !== undefined) return this.#link;
    const recordBytes = Math.max(...this.#pools.map(({ blockBytes }) => blockBytes));
    this.#link = new DriveLink(recordBytes, {
      nextVolumes: (full) => this.#choose(full),
      onLoaded: (volume) => this.#loaded(volume),
      onCommitted: (chunk) => this.#committed(chunk),
    });
    // What cannot be told is an error of whoever reads.
    void this.#readable()
      .then((volumes) => this.#link?.read(volumes))
      .catch(() => undefined);
    return this.#link;
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
    if (kind !== 'chunks' || this.#places.size === 0) return listed;
    const names = new Set(listed.map(({ name }) => name));
    for (const { chunks } of this.#volumes.values()) {
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
    const places = kind === 'chunks' ? this.#places.get(name) : undefined;
    const removed = await this.#root.remove(kind, name);
    if (places === undefined) return removed;
    for (const id of [...places]) this.#drop(name, id);
    return true;
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
