/**
 * The flow of a migration (M13): chunks go from one pool to another, as they are.
 *
 * Contract: a chunk is copied, made durable, read back and compared; only then is it released where it
 * was. A copy that is there already is read back as well, and made anew where it is not whole. What is
 * interrupted has copied some chunks twice at most: a further run goes on. One migration is at work at
 * a time: two might each release the copy that the other counts on. Chunks of manifests stay in the
 * repository's own storage, as they do when they are written: archives are browsed without a volume.
 *
 * Trouble with a chunk, or with the volume that it is on, is told, and the others go on. Trouble with
 * the pool to which they go ends all.
 */
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ChunkMedia, type ChunkSource, openChunkMedia } from '../format/chunk-media.ts';
import { CONTENT_CLASS, classOf, TAG_FIXED_BYTES } from '../format/tag-header.ts';
import type { DriveReport } from '../media/drive-messages.ts';
import { copyChunk, sumChunk } from '../media/volume-chunks.ts';
import { sumFigures } from '../media/volume-streaming.ts';
import { type ChunkTarget, inRoot } from './chunk-target.ts';
import { readLeases } from './leases.ts';
import { chooseMoving, type Moving } from './migrate-choice.ts';
import { MigrateStage } from './migrate-stage.ts';
import type { PooledStore } from './pooled-store.ts';
import { runProtocol } from './protocol-store.ts';
import { beat } from './prune-protocol.ts';
import type { Repository } from './repository.ts';
import { leasePolicy, openSession, type Session } from './session.ts';

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
  /** A chunk that was not moved, or a volume whose chunks were not. */
  onProblem(error: PenstockError): void;
  /** Damage that was found, and is made good. */
  onMended(error: PenstockError): void;
}

export interface MigrateResult {
  readonly chunks: number;
  readonly bytes: number;
  /** Chunks that were in the pool already, and are only released elsewhere. */
  readonly alreadyThere: number;
  /** Chunks that waited in a file, since one drive both reads and writes them. */
  readonly staged: number;
  readonly problems: number;
  readonly drive: DriveReport | undefined;
}

/**
 * Moves chunks to the target pool of the repository's store, or to the root pool.
 *
 * @throws USAGE, POOL_MISSING, MIGRATION_RUNS, DRIVE_SHARED, VOLUME_…, REPO_IO, REPO_FULL, SESSION_LOST,
 *   INTERRUPTED
 */
export async function migrate(
  repository: Repository,
  request: MigrateRequest,
): Promise<MigrateResult> {
  const { pooled } = repository;
  if (pooled === undefined)
    throw new PenstockError('POOL_MISSING', 'the repository has no pool but its own storage');
  const session = await openSession(repository, 'migrate');
  try {
    await refuseOthers(session);
    const chosen = await chooseMoving(pooled, request.what);
    const moving = chosen.filter(({ id }) => !session.avoid.has(id));
    return await new Migration(repository, pooled, request, session).run(moving);
  } finally {
    await session.end().catch(() => undefined);
  }
}

/**
 * Each puts its lease, then looks for others': of two that begin together both may be refused. One that
 * has slept, its lease run out, loses it here, and notices before it releases anything.
 */
async function refuseOthers({ id, store }: Session): Promise<void> {
  for (const lease of await runProtocol(readLeases(leasePolicy()), store)) {
    if (lease.role !== 'migrate' || lease.id === id) continue;
    if (lease.state === 'alive')
      throw new PenstockError('MIGRATION_RUNS', 'another migration is at work in the repository');
    await store.remove('lease', lease.id);
  }
}

class Migration {
  readonly #repository: Repository;
  readonly #pooled: PooledStore;
  readonly #request: MigrateRequest;
  readonly #session: Session;
  readonly #sums = new Map<string, number>();
  /** What was told of volumes, so that it is told once. */
  readonly #told = new Set<string>();
  /** For one part of a chunk. */
  readonly #view: Buffer;
  #problems = 0;
  #chunks = 0;
  #bytes = 0;
  #staged = 0;
  #totals = { chunksTotal: 0, bytesTotal: 0 };
  #drive: DriveReport | undefined;

  constructor(
    repository: Repository,
    pooled: PooledStore,
    request: MigrateRequest,
    session: Session,
  ) {
    this.#repository = repository;
    this.#pooled = pooled;
    this.#request = request;
    this.#session = session;
    this.#view = Buffer.alloc(pooled.target?.blockBytes ?? LIMITS.tapeImageRecordBytesMax);
  }

  async run(moving: readonly Moving[]): Promise<MigrateResult> {
    const there = moving.filter(({ isThere }) => isThere);
    const damaged = await this.#releaseWhole(there);
    const copying = [...damaged, ...moving.filter(({ isThere }) => !isThere)];
    this.#totals = {
      chunksTotal: copying.length,
      bytesTotal: copying.reduce((sum, { bytes }) => sum + bytes, 0),
    };
    const direct = copying.filter(({ sharesDrive }) => !sharesDrive);
    if (direct.length > 0) await this.#throughDrives(direct);
    const shared = copying.filter(({ sharesDrive }) => sharesDrive);
    if (shared.length > 0) await this.#throughStage(shared);
    await this.#pooled.flush();
    return {
      chunks: this.#chunks,
      bytes: this.#bytes,
      alreadyThere: there.length - damaged.length,
      staged: this.#staged,
      problems: this.#problems,
      drive: this.#drive,
    };
  }

  /** Releases what is whole in the target already; returns what is to be copied there again. */
  async #releaseWhole(there: readonly Moving[]): Promise<Moving[]> {
    if (there.length === 0) return [];
    const whole = await this.#verified(there, (one, error) => {
      const text = `the copy of chunk ${one.id} in pool ${this.#targetName} is damaged: it is made again`;
      this.#request.onMended(new PenstockError(error.code, text, { cause: error }));
    });
    for (const one of there) if (whole.has(one)) await this.#release(one);
    return there.filter((one) => !whole.has(one));
  }

  get #targetName(): string {
    return this.#pooled.target?.name ?? 'root';
  }

  async #throughDrives(copying: readonly Moving[]): Promise<void> {
    await this.#readSources();
    const { target } = this.#pooled;
    const place =
      target === undefined ? this.#pooled.driveMedia : this.#repository.store.chunkMedia;
    const media = await openChunkMedia(place);
    try {
      await this.#copyAll(copying, (id) => media.open(id));
    } finally {
      media.close();
    }
  }

  /** Some at a time: their tapes are read, then the target's are written. */
  async #throughStage(copying: readonly Moving[]): Promise<void> {
    const stage = new MigrateStage();
    const media = await openChunkMedia(this.#pooled.driveMedia);
    try {
      for (let next = 0; next < copying.length; ) {
        await this.#readSources();
        const lot: Moving[] = [];
        for (; next < copying.length; next++) {
          const one = copying[next] as Moving;
          if (lot.length > 0 && stage.bytes + one.bytes > LIMITS.migrateStageBytes) break;
          const took = await this.#stage(stage, one, media);
          if (took === 'full') break;
          if (took === 'taken') lot.push(one);
        }
        if (lot.length > 0) await this.#copyAll(lot, (id) => stage.open(id));
        this.#staged += lot.length;
        stage.clear();
      }
    } finally {
      media.close();
      stage.close();
    }
  }

  async #stage(
    stage: MigrateStage,
    { id }: Moving,
    media: ChunkMedia,
  ): Promise<'taken' | 'full' | 'damaged'> {
    await this.#turn();
    try {
      const source = media.open(id);
      try {
        return (await stage.take(id, source, this.#view)) ? 'taken' : 'full';
      } finally {
        source.close();
      }
    } catch (error) {
      this.#problem(error);
      return 'damaged';
    }
  }

  /** From all volumes but the target's: a copy there is not what is copied. */
  async #readSources(): Promise<void> {
    const { target } = this.#pooled;
    await this.#pooled.readFrom((pool) => pool !== target?.id);
  }

  /** Copies, reads the copies back, and releases what they were made of. */
  async #copyAll(copying: readonly Moving[], open: (id: string) => ChunkSource): Promise<void> {
    const { target } = this.#pooled;
    const root = await openChunkMedia(this.#pooled.rootMedia);
    const create = (id: string): ChunkTarget =>
      target === undefined ? inRoot(root, id) : this.#pooled.createOnVolume(id);
    const replaced: (() => Promise<void>)[] = [];
    if (target !== undefined) {
      const id = this.#repository.around.random.bytes(16).toString('hex');
      await this.#pooled.begin({ id, writer: this.#request.writer });
    }
    try {
      for (const one of copying) {
        await this.#turn();
        if (one.isThere && !(await this.#replacing(one, open, replaced))) continue;
        await this.#copy(one, open, create);
        this.#request.onProgress({ chunks: this.#chunks, bytes: this.#bytes, ...this.#totals });
        // What the drive has synchronised is found again if this run is killed.
        await this.#pooled.flush();
      }
    } finally {
      root.close();
    }
    const reports = target === undefined ? [] : await this.#pooled.end();
    for (const report of reports) this.#drive = together(this.#drive, report);
    for (const release of replaced) await release();
    const verified = await this.#verified(copying, (_, error) => this.#problem(error));
    for (const one of copying) if (verified.has(one)) await this.#release(one);
    await this.#pooled.flush();
  }

  /** Others get a turn: the drive tells of chunks, signals come. */
  async #turn(): Promise<void> {
    this.#request.signal.throwIfAborted();
    if (!this.#session.alive) throw lost();
    await new Promise((resolve) => setImmediate(resolve));
  }

  /**
   * A damaged copy makes way for another, once it is known that this can be made: in the repository's own
   * storage before, on volumes after it.
   */
  async #replacing(
    { id }: Moving,
    open: (id: string) => ChunkSource,
    replaced: (() => Promise<void>)[],
  ): Promise<boolean> {
    const { target } = this.#pooled;
    try {
      const source = open(id);
      try {
        sumChunk(id, source, this.#view);
      } finally {
        source.close();
      }
    } catch (error) {
      this.#problem(error);
      return false;
    }
    if (target === undefined) {
      await this.#pooled.release(id);
      return true;
    }
    for (const { pool, volume, chunks } of this.#pooled.volumes) {
      const old = chunks.find((one) => one.id === id);
      if (pool !== target.id || old === undefined) continue;
      replaced.push(async () => {
        const known = this.#pooled.volumes.find((one) => one.volume === volume);
        const now = known?.chunks.find((one) => one.id === id);
        if (now?.firstObject === old.firstObject) await this.#pooled.release(id, volume);
      });
    }
    return true;
  }

  async #copy(
    { id, bytes }: Moving,
    open: (id: string) => ChunkSource,
    create: (id: string) => ChunkTarget,
  ): Promise<void> {
    let ofTarget: unknown;
    const guarded = async (work: () => Promise<void> | void): Promise<void> => {
      try {
        await work();
      } catch (error) {
        ofTarget = error;
        throw error;
      }
    };
    try {
      const source = open(id);
      try {
        const target = create(id);
        try {
          const write = (part: Uint8Array, at: number): Promise<void> =>
            guarded(() => target.write(part, at));
          const sum = await copyChunk(id, source, { write }, this.#view);
          await guarded(() => target.end());
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
      if (ofTarget !== undefined) throw ofTarget;
      this.#problem(error);
    }
  }

  /** What concerns one chunk, or the volume on which it is, is told, and the others go on. */
  #problem(thrown: unknown): void {
    const error = toPenstockError(thrown);
    if (!OF_ONE.has(error.code)) throw thrown;
    this.#problems++;
    if (this.#told.has(error.message)) return;
    this.#told.add(error.message);
    this.#request.onProblem(error);
  }

  /** Reads what is in the target back, and as much as is known of it is compared. */
  async #verified(
    copies: readonly Moving[],
    onDamage: (one: Moving, error: PenstockError) => void,
  ): Promise<ReadonlySet<Moving>> {
    const verified = new Set<Moving>();
    const { target } = this.#pooled;
    await this.#pooled.readFrom((pool) => pool === target?.id);
    const place = target === undefined ? this.#pooled.rootMedia : this.#pooled.driveMedia;
    const media = await openChunkMedia(place);
    try {
      for (const one of copies) {
        const { id, isThere } = one;
        const expected = this.#sums.get(id);
        if (expected === undefined && !isThere) continue;
        await this.#turn();
        try {
          const sum = sumOf(id, media, this.#view);
          if (expected !== undefined && sum !== expected)
            throw new PenstockError('DAMAGED', `the copy of chunk ${id} is another`);
          verified.add(one);
        } catch (thrown) {
          const error = toPenstockError(thrown);
          if (!IS_DAMAGE.has(error.code)) throw thrown;
          onDamage(one, error);
        }
      }
    } finally {
      media.close();
    }
    return verified;
  }

  async #release({ id, fromRoot, fromVolumes }: Moving): Promise<void> {
    if (!(await runProtocol(beat(this.#session.id), this.#session.store))) throw lost();
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

/** A copy that is not whole, or not there. */
const IS_DAMAGE: ReadonlySet<string> = new Set(['DAMAGED', 'OBJECT_MISSING', 'VOLUME_DAMAGED']);
/** Of the source: a chunk, or the volume that it is on, which somebody may have to bring. */
const OF_ONE: ReadonlySet<string> = new Set([
  ...IS_DAMAGE,
  'VOLUME_FOREIGN',
  'VOLUME_NOT_READY',
  'LIBRARY_MISSING',
  'LIMIT',
]);

const lost = (): PenstockError =>
  new PenstockError('SESSION_LOST', 'the lease of this migration ran out');

function sumOf(id: string, media: ChunkMedia, view: Buffer): number {
  const source = media.open(id);
  try {
    return sumChunk(id, source, view);
  } finally {
    source.close();
  }
}

/** What several sessions of a drive did, one after the other. */
function together(before: DriveReport | undefined, after: DriveReport): DriveReport {
  if (before?.streaming === undefined || after.streaming === undefined) return after;
  const streaming = sumFigures(before.streaming, after.streaming);
  return { ...after, streaming, written: [...before.written, ...after.written] };
}
