/**
 * Brings a repository back of which only volumes are left (M8): its own records from their labels, what is
 * known of pools and volumes from what is on them. The rest, index, map and archives, `rebuild` makes
 * from the chunks.
 *
 * Contract: volumes may be given in any order, and more can be added later. Nothing that the repository
 * knows already is replaced by what a volume says.
 */
import { readdirSync } from 'node:fs';
import { type ByteString, fromBytes, toBytes, toDisplay } from '../base/bytes.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ObjectKind, ObjectStore } from '../format/object-store.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import { openTapeImage } from '../media/tape-image.ts';
import { type SurveyedVolume, surveyVolume, wholeChunks } from '../media/volume-survey.ts';
import { addPool, listPools, type Pool } from './pools.ts';
import { isRepository, type Repository } from './repository.ts';
import { addVolume, listVolumes } from './volume-records.ts';

export interface FoundVolume extends SurveyedVolume {
  /** The folder in which its image is. */
  readonly folder: ByteString;
  readonly fileBytes: number;
}

export interface Survey {
  readonly volumes: readonly FoundVolume[];
  /** What was passed over, and why. */
  readonly problems: readonly string[];
}

const ENDING = '.tap';

/** Looks through all images of a folder. HOST_IO when it cannot be listed. */
export async function surveyFolder(folder: ByteString): Promise<Survey> {
  const volumes: FoundVolume[] = [];
  const problems: string[] = [];
  for (const name of imagesIn(folder)) {
    const path = `${folder}/${name}`;
    try {
      const image = openTapeImage({ path, readOnly: true });
      try {
        const found = await surveyVolume(image);
        const right = 'label' in found ? `${found.label.name}${ENDING}` : name;
        if ('foreign' in found) problems.push(`${toDisplay(path)} holds ${found.foreign}`);
        else if (name !== right)
          problems.push(`${toDisplay(path)} is volume ${found.label.name}: name it ${right}`);
        else {
          const { capacityBytes = 0 } = await image.status();
          volumes.push({ ...found, folder, fileBytes: capacityBytes });
          for (const object of found.damaged)
            problems.push(`volume ${found.label.name}, object ${object}: it cannot be read`);
        }
      } finally {
        await image.close();
      }
    } catch (error) {
      problems.push(`${toDisplay(path)}: ${toPenstockError(error).message}`);
    }
  }
  return { volumes, problems };
}

function imagesIn(folder: ByteString): string[] {
  try {
    return readdirSync(toBytes(folder), { encoding: 'buffer' })
      .map((name) => fromBytes(name))
      .filter((name) => name.endsWith(ENDING))
      .sort();
  } catch (cause) {
    throw new PenstockError('HOST_IO', `cannot list ${toDisplay(folder)}`, { cause });
  }
}

/**
 * Puts the repository record and the keys that the labels carry into a store that has none.
 *
 * @throws USAGE when the volumes are of several repositories, or of another one than is there; REPO_IO
 */
export async function recoverRecords(
  store: ObjectStore,
  volumes: readonly FoundVolume[],
): Promise<void> {
  const repositories = new Set(volumes.map(({ label }) => label.repository));
  if (repositories.size > 1) {
    throw new PenstockError('USAGE', 'the volumes are of several repositories', {
      hint: 'put those of each repository into a folder of their own',
    });
  }
  if (await isRepository(store)) return;
  const labels = volumes.map(({ label }) => label).sort((a, b) => b.createdMs - a.createdMs);
  const newest = labels[0];
  if (newest === undefined)
    throw new PenstockError('REPO_MISSING', 'there is no volume from which to make a repository');
  await store.prepare();
  // Keys of older labels were valid then; the newest label says which are now.
  for (const { name, record } of ordered(newest)) {
    const slash = name.indexOf('/');
    const kind = (slash < 0 ? 'repository' : name.slice(0, slash)) as ObjectKind;
    await store.put(kind, name.slice(slash + 1), Buffer.from(record, 'base64'));
  }
}

/** The repository record last: with it the repository exists. */
function ordered({ records }: VolumeLabel): VolumeLabel['records'] {
  const known = records.filter(({ name }) => name === 'repository' || name.startsWith('keys/'));
  return known.toSorted(
    (a, b) => Number(a.name === 'repository') - Number(b.name === 'repository'),
  );
}

export interface RecoveredVolumes {
  readonly poolsMade: readonly string[];
  readonly volumesAdded: number;
  readonly chunks: number;
}

/** Makes known to the repository what is on the volumes. REPO_IO, REPO_FULL. */
export async function recoverVolumes(
  repository: Repository,
  volumes: readonly FoundVolume[],
): Promise<RecoveredVolumes> {
  const { id } = repository.settings;
  const foreign = volumes.find(({ label }) => label.repository !== id);
  if (foreign !== undefined) {
    const text = `volume ${foreign.label.name} is of another repository, ${foreign.label.repository}`;
    throw new PenstockError('VOLUME_FOREIGN', text);
  }
  const poolsMade: string[] = [];
  const pools = new Map<string, Pool>();
  for (const pool of (await listPools(repository)).pools) pools.set(pool.name, pool);
  for (const group of Map.groupBy(volumes, ({ label }) => label.pool).values()) {
    const { pool: name } = (group[0] as FoundVolume).label;
    if (pools.has(name)) continue;
    pools.set(name, await addPool(repository, settingsOf(name, group)));
    poolsMade.push(name);
  }
  const known = new Set((await listVolumes(repository)).volumes.map(({ volume }) => volume));
  const chunks = wholeChunks(volumes);
  let added = 0;
  for (const volume of volumes) {
    const { label } = volume;
    if (known.has(label.volume)) continue;
    const pool = pools.get(label.pool) as Pool;
    const isLast = volumes.every(
      (other) => other.label.pool !== label.pool || other.label.sequence <= label.sequence,
    );
    await addVolume(repository, {
      volume: label.volume,
      pool: pool.id,
      name: label.name,
      sequence: label.sequence,
      // Only of the last one it is not known that another followed it.
      state: isLast ? 'appendable' : 'full',
      labelledMs: label.createdMs,
      writtenMs: volume.writtenMs,
      sessions: volume.sessions,
      objects: volume.objects,
      bytes: volume.bytes,
      chunks: chunks.flatMap(({ id: chunk, bytes, writtenMs, stream, places }) => {
        const place = places.get(label.volume);
        return place === undefined
          ? []
          : [{ id: chunk, bytes, committedMs: writtenMs, stream, ...place }];
      }),
    });
    added++;
  }
  return { poolsMade, volumesAdded: added, chunks: chunks.length };
}

/** What the labels do not say of their pool is as for a new one. */
function settingsOf(name: string, volumes: readonly FoundVolume[]): Parameters<typeof addPool>[1] {
  const first = volumes[0] as FoundVolume;
  const { blockBytes } = first.label;
  const largest = Math.max(...volumes.map(({ fileBytes }) => fileBytes));
  return {
    name,
    kind: 'tape-image',
    path: first.folder,
    volumeBytes: Math.max(largest, LIMITS.volumeBytesDefault),
    blockBytes,
    chunkBytes: Math.max(blockBytes, LIMITS.volumeChunkBytesDefault / 8),
    markBytes: 0,
    logPlace: 'both',
    logEntries: 'run',
  };
}
