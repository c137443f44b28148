/**
 * What a drive is told of the volumes that it may have to read.
 */
import type { ReadableVolume } from '../media/drive-messages.ts';
import type { Pool } from './pools.ts';
import type { Repository } from './repository.ts';
import { readLogs } from './volume-logs.ts';
import { mediumOf } from './volume-medium.ts';
import type { VolumeRecord } from './volume-records.ts';

type Volume = Omit<VolumeRecord, 'revision'>;

/** Volumes that hold chunks, with the logs that are kept beside them where they are needed. */
export async function readableVolumes(
  repository: Repository,
  pools: readonly Pool[],
  volumes: readonly Volume[],
): Promise<ReadableVolume[]> {
  const readable: ReadableVolume[] = [];
  for (const volume of volumes) {
    const pool = pools.find(({ id }) => id === volume.pool);
    if (pool === undefined || volume.chunks.length === 0) continue;
    readable.push({
      volume: volume.volume,
      name: volume.name,
      medium: await mediumOf(repository, pool, volume.name),
      blockBytes: pool.blockBytes,
      chunks: volume.chunks,
      beside: isBeside(pool, volume) ? await readLogs(repository, volume.volume) : [],
    });
  }
  return readable;
}

/** Whether the log beside is to be believed; else it is a copy of the one on the medium. */
const isBeside = (pool: Pool, { logRebuilt }: Volume): boolean =>
  pool.logPlace === 'beside' || logRebuilt === true;
