/**
 * Finds the volume that a user names, and opens its medium.
 */
import { PenstockError } from '../base/errors.ts';
import { deskOf } from '../media/mount-requests.ts';
import { Media, type MediumUse } from '../media/open-medium.ts';
import type { Volume } from '../media/volume.ts';
import { checkLabel } from '../media/volume-label.ts';
import { listPools, type Pool } from './pools.ts';
import type { Repository } from './repository.ts';
import { mediumOf } from './volume-medium.ts';
import { listVolumes, type VolumeRecord } from './volume-records.ts';

export interface NamedVolume {
  readonly pool: Pool;
  readonly record: VolumeRecord;
}

/**
 * The volume of a name, or of an id or the beginning of one.
 *
 * @throws PenstockError VOLUME_MISSING, USAGE when there are several
 */
export async function findVolume(repository: Repository, text: string): Promise<NamedVolume> {
  const { volumes, damaged } = await listVolumes(repository);
  const { pools } = await listPools(repository);
  const found = volumes.flatMap((record) => {
    const pool = pools.find(({ id }) => id === record.pool);
    return pool === undefined ? [] : [{ pool, record }];
  });
  const named = found.filter(({ record }) => record.name === text);
  const isId = /^[0-9a-f]{4,32}$/.test(text);
  const meant =
    named.length > 0 || !isId
      ? named
      : found.filter(({ record }) => record.volume.startsWith(text));
  const [first] = meant;
  if (first === undefined) {
    const hint = damaged.length > 0 ? { hint: 'run `penstock catalog rebuild`' } : {};
    throw new PenstockError('VOLUME_MISSING', `the repository has no volume ${text}`, hint);
  }
  if (meant.length === 1) return first;
  const ids = meant.map(({ pool, record }) => `${record.volume.slice(0, 8)} (${pool.name})`);
  throw new PenstockError('USAGE', `${meant.length} volumes are called ${text}`, {
    hint: `give the id: ${ids.join(', ')}`,
  });
}

/** What is known of a volume by now. VOLUME_MISSING when it was forgotten. */
export async function volumeAgain(
  repository: Repository,
  { pool, record }: NamedVolume,
): Promise<NamedVolume> {
  const { volumes } = await listVolumes(repository);
  const now = volumes.find(({ volume }) => volume === record.volume);
  if (now !== undefined) return { pool, record: now };
  throw new PenstockError('VOLUME_MISSING', `volume ${record.name} was forgotten just now`);
}

/**
 * Opens the medium of a volume, behind its labels, for as long as `work` takes.
 *
 * @throws PenstockError VOLUME_NOT_READY, VOLUME_FOREIGN, VOLUME_PROTECTED, VOLUME_…, and what `work`
 *   throws
 */
export async function withMedium<T>(
  repository: Repository,
  { pool, record }: NamedVolume,
  use: MediumUse,
  work: (volume: Volume, label: Buffer) => Promise<T>,
): Promise<T> {
  const label = { volume: record.volume, name: record.name, pool: pool.name };
  const opened = async (volume: Volume): Promise<T> =>
    await work(volume, await checkLabel(volume, label));
  return await withAnyMedium(repository, pool, record.name, use, opened, record.volume);
}

/** Opens what is in the place of a volume of a pool, whatever that is; or the medium of that volume. */
export async function withAnyMedium<T>(
  repository: Repository,
  pool: Pool,
  name: string,
  use: MediumUse,
  work: (volume: Volume) => Promise<T>,
  wanted?: string,
): Promise<T> {
  const media = new Media({
    desk: deskOf(repository.around.mounts),
    onPassedOver: (error) => repository.around.onPassedOver?.(error),
  });
  try {
    const volume = await media.open(await mediumOf(repository, pool, name), use, wanted);
    try {
      await media.closeFree();
      return await work(volume);
    } finally {
      await volume.close();
    }
  } finally {
    await media.close();
  }
}
