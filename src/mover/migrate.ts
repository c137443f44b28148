/**
 * The flow of a migration (M13): chunks go from one pool to another, as they are.
 *
 * Contract: a chunk is copied, made durable, read back and compared; only then is it released where it
 * was. What is interrupted has copied some chunks twice at most: a further run goes on. Chunks of
 * manifests stay in the repository's own storage, as they do when they are written: archives are
 * browsed without a volume.
 */
import { must } from '../base/assert.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ChunkMedia, openChunkMedia } from '../format/chunk-media.ts';
import { CONTENT_CLASS, classOf, TAG_FIXED_BYTES } from '../format/tag-header.ts';
import type { DriveReport } from '../media/drive-messages.ts';
import { copyChunk, sumChunk } from '../media/volume-chunks.ts';
import { type ChunkTarget, inRoot } from './chunk-target.ts';
import type { PooledStore } from './pooled-store.ts';
import type { Repository } from './repository.ts';
import { openSession } from './session.ts';
import { ROOT_POOL } from './storage-map.ts';

export interface MigrateRequest {
  /** Names of pools (`root` among them), names or ids of volumes, ids of chunks; or their beginnings. */
  readonly what: readonly string[];
  readonly writer: string;
  readonly signal: AbortSignal;
  onProgress(progress: {
    readonly chunks: number;
    readonly bytes: number;
    readonly chunksTotal: number;
    readonly bytesTotal: number;
  }): void;
  onProblem(error: PenstockError): void;
}

export interface MigrateResult {
  readonly chunks: number;
  readonly bytes: number;
  /** Chunks that were in the pool already, and are only released elsewhere. */
  readonly alreadyThere: number;
  readonly problems: number;
  readonly drive: DriveReport | undefined;
}

/** A chunk that is to go, and where it is. */
interface Moving {
  readonly id: string;
  readonly bytes: number;
  readonly fromRoot: boolean;
  /** Volumes that have it and are to be rid of it. */
  readonly fromVolumes: readonly string[];
  readonly isThere: boolean;
}

/**
 * Moves chunks to the target pool of the repository's store, or to the root pool.
 *
 * @throws USAGE, POOL_MISSING, VOLUME_…, REPO_IO, REPO_FULL, INTERRUPTED
 */
export async function migrate(
  repository: Repository,
  request: MigrateRequest,
): Promise<MigrateResult> {
  const { pooled } = repository;
  if (pooled === undefined)
    throw new PenstockError('POOL_MISSING', 'the repository has no pool but its own storage');
  const session = await openSession(repository, 'restore');
  try {
    const moving = (await chosen(pooled, request.what)).filter(({ id }) => !session.avoid.has(id));
    return await new Migration(repository, pooled, request, moving).run();
  } finally {
    await session.end().catch(() => undefined);
  }
}

class Migration {
  readonly #repository: Repository;
  readonly #pooled: PooledStore;
  readonly #request: MigrateRequest;
  readonly #moving: readonly Moving[];
  readonly #sums = new Map<string, number>();
  #problems = 0;
  #chunks = 0;
  #bytes = 0;

  constructor(
    repository: Repository,
    pooled: PooledStore,
    request: MigrateRequest,
    moving: readonly Moving[],
  ) {
    this.#repository = repository;
    this.#pooled = pooled;
    this.#request = request;
    this.#moving = moving;
  }

  async run(): Promise<MigrateResult> {
    const copying = this.#moving.filter(({ isThere }) => !isThere);
    const drive = copying.length > 0 ? await this.#copyAll(copying) : undefined;
    const verified = await this.#verified(copying);
    for (const one of this.#moving) {
      if (one.isThere || verified.has(one.id)) await this.#release(one);
    }
    await this.#pooled.flush();
    return {
      chunks: this.#chunks,
      bytes: this.#bytes,
      alreadyThere: this.#moving.length - copying.length,
      problems: this.#problems,
      drive,
    };
  }

  async #copyAll(copying: readonly Moving[]): Promise<DriveReport | undefined> {
    const { target } = this.#pooled;
    const source = await openChunkMedia(this.#repository.store.chunkMedia);
    const root = await openChunkMedia(this.#pooled.rootMedia);
    const create = (id: string): ChunkTarget =>
      target === undefined ? inRoot(root, id) : this.#pooled.createOnVolume(id);
    if (target !== undefined) {
      const id = this.#repository.around.random.bytes(16).toString('hex');
      await this.#pooled.begin({ id, writer: this.#request.writer });
    }
    try {
      const longest = target?.blockBytes ?? LIMITS.tapeImageRecordBytesMax;
      const view = Buffer.alloc(longest);
      for (const one of copying) {
        this.#request.signal.throwIfAborted();
        await this.#copy(one, source, create, view);
        this.#progress(copying);
        // Others get a turn: the drive tells of chunks, signals come.
        await new Promise((resolve) => setImmediate(resolve));
      }
      return target === undefined ? undefined : await this.#pooled.end();
    } finally {
      source.close();
      root.close();
    }
  }

  async #copy(
    { id, bytes }: Moving,
    from: ChunkMedia,
    create: (id: string) => ChunkTarget,
    view: Buffer,
  ): Promise<void> {
    try {
      const source = from.open(id);
      try {
        const target = create(id);
        try {
          const sum = await copyChunk(id, source, target, view);
          await target.end();
          this.#sums.set(id, sum);
        } catch (error) {
          await target.discard();
          throw error;
        }
      } finally {
        source.close();
      }
      this.#chunks++;
      this.#bytes += bytes;
    } catch (error) {
      this.#problem(error);
    }
  }

  #progress(copying: readonly Moving[]): void {
    this.#request.onProgress({
      chunks: this.#chunks,
      bytes: this.#bytes,
      chunksTotal: copying.length,
      bytesTotal: copying.reduce((sum, { bytes }) => sum + bytes, 0),
    });
  }

  /** What concerns one chunk is told, and the others go on. */
  #problem(thrown: unknown): void {
    const error = toPenstockError(thrown);
    const ofOne = ['DAMAGED', 'OBJECT_MISSING', 'VOLUME_DAMAGED', 'VOLUME_NOT_READY', 'LIMIT'];
    if (!ofOne.includes(error.code)) throw thrown;
    this.#problems++;
    this.#request.onProblem(error);
  }

  /** Reads the copies back. */
  async #verified(copying: readonly Moving[]): Promise<ReadonlySet<string>> {
    const verified = new Set<string>();
    if (copying.length === 0) return verified;
    const { target } = this.#pooled;
    if (target !== undefined) await this.#pooled.readFrom(target);
    const place = target === undefined ? this.#pooled.rootMedia : this.#pooled.driveMedia;
    const media = await openChunkMedia(place);
    const view = Buffer.alloc(target?.blockBytes ?? LIMITS.tapeImageRecordBytesMax);
    try {
      for (const { id } of copying) {
        const sum = this.#sums.get(id);
        if (sum === undefined) continue;
        try {
          const source = media.open(id);
          const isSame = sumChunk(id, source, view) === sum;
          source.close();
          if (!isSame) throw new PenstockError('DAMAGED', `the copy of chunk ${id} is another`);
          verified.add(id);
        } catch (error) {
          this.#problem(error);
        }
      }
    } finally {
      media.close();
    }
    return verified;
  }

  async #release({ id, fromRoot, fromVolumes }: Moving): Promise<void> {
    for (const volume of fromVolumes) await this.#pooled.release(id, volume);
    if (!fromRoot || this.#pooled.target === undefined) return;
    if ((await this.#classOf(id)) !== CONTENT_CLASS.manifest) await this.#pooled.release(id);
  }

  async #classOf(id: string): Promise<number> {
    const media = await openChunkMedia(this.#pooled.rootMedia);
    const source = media.open(id);
    const head = Buffer.alloc(TAG_FIXED_BYTES);
    source.read(head, 0, head.length, 0);
    source.close();
    media.close();
    return classOf(head, 0);
  }
}

/** What is to go, and where it is now. */
async function chosen(pooled: PooledStore, what: readonly string[]): Promise<Moving[]> {
  const root = await pooled.rootChunks();
  const sizes = new Map((await pooled.list('chunks')).map(({ name, bytes }) => [name, bytes]));
  const target = pooled.target;
  const wanted = new Map<string, { root: boolean; volumes: Set<string> }>();
  const want = (id: string, volume: string | undefined): void => {
    const one = wanted.get(id) ?? { root: false, volumes: new Set() };
    if (volume === undefined) one.root = true;
    else one.volumes.add(volume);
    wanted.set(id, one);
  };
  for (const name of what) {
    const pool = pooled.pools.find((one) => one.name === name);
    const volumes = pooled.volumes.filter(
      (one) =>
        one.pool === pool?.id ||
        one.name === name ||
        (ID_START.test(name) && one.volume.startsWith(name)),
    );
    const chunks = ID_START.test(name) ? [...sizes.keys()].filter((id) => id.startsWith(name)) : [];
    if (name === ROOT_POOL) for (const id of root) want(id, undefined);
    else if (volumes.length > 0)
      for (const volume of volumes) for (const { id } of volume.chunks) want(id, volume.volume);
    else if (pool === undefined && chunks.length === 0)
      throw new PenstockError('USAGE', `there is no pool, volume or chunk ${name}`, {
        hint: 'see `penstock pool list` and `penstock volume list`',
      });
    for (const id of chunks) {
      if (root.has(id)) want(id, undefined);
      for (const volume of pooled.volumes)
        if (volume.chunks.some((one) => one.id === id)) want(id, volume.volume);
    }
  }
  const isIn = (id: string): boolean =>
    target === undefined
      ? root.has(id)
      : pooled.volumes.some(
          (one) => one.pool === target.id && one.chunks.some((chunk) => chunk.id === id),
        );
  return [...wanted].flatMap(([id, { root: fromRoot, volumes }]) => {
    const fromVolumes = [...volumes].filter(
      (volume) => pooled.volumes.find((one) => one.volume === volume)?.pool !== target?.id,
    );
    if (target === undefined && fromVolumes.length === 0) return [];
    if (target !== undefined && !fromRoot && fromVolumes.length === 0) return [];
    const bytes = must(sizes.get(id), 'a chunk that is listed');
    return [{ id, bytes, fromRoot, fromVolumes, isThere: isIn(id) }];
  });
}

const ID_START = /^[0-9a-f]{4,32}$/;
