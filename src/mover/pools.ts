/**
 * The pools of a repository (M4, M13): besides the root pool, which is the repository's own storage, any
 * number of pools of volumes.
 *
 * A pool is a map record `maps/pool-<id>`, sealed, written once and never changed; its volumes are map
 * records of their own (volume-records.ts). Settings that only say how to write (sizes, where the log
 * goes) are the pool's; where a chunk is stands in the volumes' records.
 */
import type { ByteString } from '../base/bytes.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { makeDirectories } from '../media/directory-store.ts';
import type { DriveAddress } from '../media/drive-messages.ts';
import type { Repository } from './repository.ts';
import { putMapRecord, ROOT_POOL, readMapRecord } from './storage-map.ts';
import { drivesOf } from './volume-medium.ts';

export const POOL_KINDS = ['tape-image', 'tape'] as const;
export type PoolKind = (typeof POOL_KINDS)[number];

/** Where the write log of a session is kept: on the volume, in the repository, or both (L6). */
export const LOG_PLACES = ['medium', 'beside', 'both'] as const;
export type LogPlace = (typeof LOG_PLACES)[number];

/** What an entry of the write log covers (L4). */
export const LOG_ENTRIES = ['run', 'record'] as const;
export type LogEntries = (typeof LOG_ENTRIES)[number];

export interface PoolSettings {
  /** What people call it; unique in the repository. */
  readonly name: string;
  readonly kind: PoolKind;
  /** The folder of its images; empty for tapes. */
  readonly path: ByteString;
  /** Of tapes: the drive's address, its library's, and which of the library's drives it is, from 1. */
  readonly device?: string;
  readonly changer?: string;
  readonly drive?: number;
  /** More drives for its tapes. */
  readonly otherDrives?: readonly DriveAddress[];
  /** Of images: how many volumes one command writes at once; absent: one. */
  readonly drives?: number;
  /** What one volume holds; 0 for tapes, whose drive says when they are full. */
  readonly volumeBytes: number;
  /** The longest record that is written. */
  readonly blockBytes: number;
  /** A chunk is ended once it holds so much. */
  readonly chunkBytes: number;
  /** A file mark is written after so much; 0: only at the end of a session. */
  readonly markBytes: number;
  /** The drive synchronises after so much; by default as media limits say. */
  readonly syncBytes?: number;
  /** Memory between streams and the drive; by default as media limits say. */
  readonly bufferBytes?: number;
  /** How full the buffers are before a drive that ran dry begins again; by default 50 for tapes, 0 for images. */
  readonly startPercent?: number;
  readonly logPlace: LogPlace;
  readonly logEntries: LogEntries;
}

export interface Pool extends PoolSettings {
  /** 32 hex digits. */
  readonly id: string;
  readonly createdMs: number;
}

interface StoredPool {
  readonly pool: PoolSettings;
  readonly createdMs: number;
}

const GIB = 2 ** 30;
const PREFIX = 'pool-';
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;

export interface PoolList {
  /** By name. */
  readonly pools: readonly Pool[];
  /** Records that cannot be read. */
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
}

/** All pools but the root pool. REPO_IO and what else ends a listing. */
export async function listPools(repository: Repository): Promise<PoolList> {
  const pools: Pool[] = [];
  const damaged: { name: string; error: PenstockError }[] = [];
  for (const { name } of await mapRecords(repository)) {
    if (!isPoolRecord(name)) continue;
    try {
      const { pool, createdMs } = await readMapRecord<StoredPool>(repository, name);
      pools.push({ ...pool, id: name.slice(PREFIX.length), createdMs });
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      if (error.code !== 'OBJECT_MISSING') damaged.push({ name, error });
    }
  }
  pools.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { pools, damaged };
}

/** Where the folder of all map records is lost there are no pools: a rebuild must get so far. */
async function mapRecords({ store }: Repository): Promise<readonly { readonly name: string }[]> {
  try {
    return await store.list('maps');
  } catch (error) {
    if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return [];
    throw error;
  }
}

export const isPoolRecord = (name: string): boolean => /^pool-[0-9a-f]{32}$/.test(name);

/** The pool of a name. POOL_MISSING. */
export async function findPool(repository: Repository, name: string): Promise<Pool> {
  const { pools } = await listPools(repository);
  const pool = pools.find((one) => one.name === name);
  if (pool !== undefined) return pool;
  throw new PenstockError('POOL_MISSING', `the repository has no pool ${name}`, {
    hint:
      pools.length === 0
        ? 'make one with `penstock pool add`'
        : `there are: ${pools.map((one) => one.name).join(', ')}`,
  });
}

/**
 * Makes a pool, and the folder of its images.
 *
 * @throws USAGE for settings that do not fit together, POOL_EXISTS, REPO_IO, REPO_FULL, REPO_READ_ONLY
 */
export async function addPool(repository: Repository, settings: PoolSettings): Promise<Pool> {
  checkSettings(repository, settings);
  const { pools } = await listPools(repository);
  if (pools.some(({ name }) => name === settings.name))
    throw new PenstockError('POOL_EXISTS', `there is a pool ${settings.name} already`);
  if (settings.kind === 'tape-image') makeDirectories(settings.path);
  const createdMs = repository.around.clock.nowMs();
  const stored: StoredPool = { pool: settings, createdMs };
  const name = await putMapRecord(repository, PREFIX, stored);
  return { ...settings, id: name.slice(PREFIX.length), createdMs };
}

/** Forgets a pool. The caller has made sure that it holds nothing. */
export async function removePool(repository: Repository, pool: Pool): Promise<void> {
  await repository.store.remove('maps', `${PREFIX}${pool.id}`);
}

/**
 * The repository over its own storage and all its volumes.
 *
 * @param target name of the pool to which new chunks go; the root pool by default
 * @throws POOL_MISSING, and what a listing throws; the repository is closed then
 */
export async function withPools(repository: Repository, target?: string): Promise<Repository> {
  try {
    const { pools } = await listPools(repository);
    const isRoot = target === undefined || target === ROOT_POOL;
    const pool = isRoot ? undefined : await findPool(repository, target);
    if (pools.length === 0) return repository;
    const { PooledStore } = await import('./pooled-store.ts');
    return repository.over(await PooledStore.open(repository, pools, pool));
  } catch (error) {
    await repository.close();
    throw error;
  }
}

/** What labels of a pool's volumes say of it: with them it can be made again, where its volumes are found. */
export type LabelSettings = Omit<PoolSettings, 'name' | 'otherDrives'>;

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
const isText = (value: unknown): boolean => typeof value === 'string';

/** Settings as a label has them; nothing where it has none that are understood. */
export function settingsOfLabel(value: unknown): LabelSettings | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const given = value as Record<keyof LabelSettings, unknown>;
  const counts = ['volumeBytes', 'blockBytes', 'chunkBytes', 'markBytes'] as const;
  const optionalCounts = ['drive', 'drives', 'syncBytes', 'bufferBytes', 'startPercent'] as const;
  const isUnderstood =
    POOL_KINDS.some((kind) => kind === given.kind) &&
    LOG_PLACES.some((place) => place === given.logPlace) &&
    LOG_ENTRIES.some((entries) => entries === given.logEntries) &&
    isText(given.path) &&
    [given.device, given.changer].every((one) => one === undefined || isText(one)) &&
    counts.every((name) => isCount(given[name])) &&
    optionalCounts.every((name) => given[name] === undefined || isCount(given[name]));
  return isUnderstood ? (value as LabelSettings) : undefined;
}

function checkSettings(repository: Repository, settings: PoolSettings): void {
  const { name, volumeBytes, blockBytes, chunkBytes, markBytes, bufferBytes } = settings;
  if (name === ROOT_POOL || !NAME.test(name)) {
    throw new PenstockError('USAGE', `not a name of a pool: ${name}`, {
      hint: 'use up to 32 letters, digits, dots, dashes and underscores; root is taken',
    });
  }
  const { drives = Math.max(1, drivesOf(settings).length) } = settings;
  if (drives < 1 || drives > LIMITS.poolDrivesMax)
    throw new PenstockError('USAGE', `a pool has 1 to ${LIMITS.poolDrivesMax} drives`);
  const least = leastBlockBytes(repository);
  if (blockBytes < least || blockBytes > LIMITS.tapeImageRecordBytesMax) {
    const most = LIMITS.tapeImageRecordBytesMax;
    throw new PenstockError('USAGE', `--block-size must be ${least} to ${most} bytes`, {
      hint: 'one sealed block of this repository is one record',
    });
  }
  if (chunkBytes < blockBytes || chunkBytes > LIMITS.volumeChunkBytesMax)
    throw new PenstockError('USAGE', '--chunk-size must be at least one block, and at most 64G');
  if (markBytes !== 0 && markBytes < blockBytes)
    throw new PenstockError('USAGE', '--mark-every must be at least one block, or 0 for none');
  const buffersLeast = LIMITS.driveBuffersLeast * blockBytes;
  if (bufferBytes !== undefined && (bufferBytes < buffersLeast || bufferBytes > GIB)) {
    const least = Math.ceil(buffersLeast / 2 ** 20);
    throw new PenstockError('USAGE', `--buffers must be ${least}M to 1G`, {
      hint: `${LIMITS.driveBuffersLeast} blocks are the least`,
    });
  }
  if (settings.kind === 'tape-image' && volumeBytes < LIMITS.volumeBytesMin + 4 * blockBytes) {
    throw new PenstockError(
      'USAGE',
      `--volume-size is too little for blocks of ${blockBytes} bytes`,
      {
        hint: `give at least ${Math.ceil((LIMITS.volumeBytesMin + 4 * blockBytes) / 2 ** 20)}M`,
      },
    );
  }
}

/** The longest record that a block of this repository makes: payload and headers. */
export function leastBlockBytes(repository: Repository): number {
  return repository.settings.blockBytes + LIMITS.headerRoomBytes;
}
