/**
 * Brings a repository back of which only volumes are left (M8): its own records from their labels, what is
 * known of pools and volumes from what is on them. The rest, index, map and archives, `rebuild` makes
 * from the chunks.
 *
 * Contract: volumes may be given in any order, and more can be added later: of a chunk that goes on, on a
 * volume that was not given, what there is of it is remembered. Nothing that the repository knows
 * already is replaced by what a volume says.
 */
import { must } from '../base/assert.ts';
import { toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ObjectKind, ObjectStore } from '../format/object-store.ts';
import { RECORD } from '../format/record.ts';
import type { LabelSealed, VolumeLabel } from '../format/volume-label.ts';
import { type SurveyedChunk, wholeChunks } from '../media/volume-survey.ts';
import { addPool, type LabelSettings, listPools, type Pool, settingsOfLabel } from './pools.ts';
import { isRepository, type Repository } from './repository.ts';
import type { FoundVolume } from './survey-volumes.ts';
import {
  addVolume,
  changeVolume,
  listVolumes,
  type VolumeChunk,
  type VolumeRecord,
} from './volume-records.ts';

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
  /** Chunks that are whole now. */
  readonly chunks: number;
  /** Chunks of which a part is on volumes that were not given yet, or that were never finished. */
  readonly chunksInPart: number;
  /** What is not as it was, or may not be. */
  readonly problems: readonly string[];
}

/** Makes known to the repository what is on the volumes. REPO_IO, REPO_FULL. */
export async function recoverVolumes(
  repository: Repository,
  found: readonly FoundVolume[],
): Promise<RecoveredVolumes> {
  const { id } = repository.settings;
  const foreign = found.find(({ label }) => label.repository !== id);
  if (foreign !== undefined) {
    const text = `volume ${foreign.label.name} is of another repository, ${foreign.label.repository}`;
    throw new PenstockError('VOLUME_FOREIGN', text);
  }
  const { volumes: known } = await listVolumes(repository);
  const isKnown = new Set(known.map(({ volume }) => volume));
  // Given twice it counts once.
  const added = [...new Map(found.map((one) => [one.label.volume, one])).values()].filter(
    ({ label }) => !isKnown.has(label.volume),
  );
  const problems = await keysAhead(repository, known, added);
  const { pools, poolsMade } = await recoverPools(repository, added, problems);
  const chunks = wholeChunks([
    ...known.map(({ volume, parts = [] }) => ({ volume, stretches: parts })),
    ...added.map(({ label, stretches }) => ({ volume: label.volume, stretches })),
  ]);
  const isWhole = new Set(chunks.map((chunk) => chunk.id));
  const inPart = new Set<string>();
  const restOf = (parts: NonNullable<VolumeRecord['parts']>): typeof parts => {
    const rest = parts.filter(({ chunk }) => !isWhole.has(chunk));
    for (const { chunk } of rest) inPart.add(chunk);
    return rest;
  };
  const lastOf = (pool: string): number =>
    Math.max(
      ...known.map((one) => (one.pool === pool ? one.sequence : 0)),
      ...added.map(({ label }) => (pools.get(label.pool)?.id === pool ? label.sequence : 0)),
    );
  for (const one of added) {
    const { label, writtenMs, sessions, objects, bytes } = one;
    const pool = must(pools.get(label.pool), 'a pool of each volume').id;
    await addVolume(repository, {
      ...{ volume: label.volume, pool, name: label.name, sequence: label.sequence },
      // Only of the last one it is not known that another followed it.
      state: label.sequence === lastOf(pool) ? 'appendable' : 'full',
      ...{ labelledMs: label.createdMs, writtenMs, sessions, objects, bytes },
      chunks: chunksOn(label.volume, chunks),
      parts: restOf(one.stretches),
    });
  }
  for (const { volume, pool, sequence, state, parts } of known) {
    if (parts === undefined) continue;
    const rest = restOf(parts);
    const isFollowed = state === 'appendable' && sequence < lastOf(pool);
    const more = chunksOn(volume, chunks);
    if (rest.length === parts.length && !isFollowed) continue;
    await changeVolume(repository, volume, (now) => ({
      ...now,
      state: isFollowed && now.state === 'appendable' ? 'full' : now.state,
      chunks: [...now.chunks, ...more],
      parts: rest,
    }));
  }
  const counts = { volumesAdded: added.length, chunks: chunks.length, chunksInPart: inPart.size };
  return { poolsMade, ...counts, problems };
}

function chunksOn(volume: string, chunks: readonly SurveyedChunk[]): VolumeChunk[] {
  return chunks.flatMap(({ id, bytes, writtenMs, stream, places }) => {
    const place = places.get(volume);
    return place === undefined ? [] : [{ id, bytes, committedMs: writtenMs, stream, ...place }];
  });
}

/** A volume that was labelled after all that are known may carry keys that came later. */
async function keysAhead(
  { store }: Repository,
  known: readonly VolumeRecord[],
  added: readonly FoundVolume[],
): Promise<string[]> {
  const newest = Math.max(...known.map(({ labelledMs }) => labelledMs));
  if (known.length === 0) return [];
  const own = new Set((await store.list('keys')).map(({ name }) => `keys/${name}`));
  return added.flatMap(({ label }) => {
    if (label.createdMs <= newest) return [];
    const unknown = label.records.some(({ name }) => name.startsWith('keys/') && !own.has(name));
    if (!unknown) return [];
    return [
      `volume ${label.name} carries a key that the repository does not have: if it was not removed there, ` +
        'make the repository again, beginning with that volume',
    ];
  });
}

/** The pools of the volumes by name; those that are not there are made as the newest labels say. */
async function recoverPools(
  repository: Repository,
  added: readonly FoundVolume[],
  problems: string[],
): Promise<{ pools: ReadonlyMap<string, Pool>; poolsMade: string[] }> {
  const poolsMade: string[] = [];
  const pools = new Map<string, Pool>();
  for (const pool of (await listPools(repository)).pools) pools.set(pool.name, pool);
  for (const [name, group] of Map.groupBy(added, ({ label }) => label.pool)) {
    if (pools.has(name)) continue;
    const [newest, ...others] = group.toSorted((a, b) => b.label.createdMs - a.label.createdMs);
    if (newest === undefined) continue;
    const { place, label } = newest;
    const told = toldSettings(repository, newest);
    if (told === undefined) {
      problems.push(
        `the labels of pool ${name} do not say how it is written, which an older version did not put ` +
          'there: it has the settings of a new pool; for others make another pool, and migrate to it',
      );
    }
    const settings = told ?? assumedSettings(group);
    pools.set(name, await addPool(repository, { ...withoutPlace(settings), name, ...place }));
    poolsMade.push(name);
    const elsewhere = others.find((other) => whereOf(other) !== whereOf(newest));
    if (elsewhere !== undefined)
      problems.push(
        `volumes of pool ${name} are in several places: those in ${whereOf(elsewhere)} belong to ` +
          `${whereOf(newest)}, as does ${label.name}`,
      );
  }
  return { pools, poolsMade };
}

const whereOf = ({ place }: FoundVolume): string =>
  place.changer ?? place.device ?? toDisplay(place.path);

/** The place is where the volume was found, not where it was once. */
function withoutPlace(settings: LabelSettings): LabelSettings {
  const { device: _, changer: __, drive: ___, ...others } = settings;
  return others;
}

/** What the label says of its pool; nothing where it does not say it. */
function toldSettings(
  repository: Repository,
  { label, record }: FoundVolume,
): LabelSettings | undefined {
  const subject = `the label of volume ${label.name}`;
  const { sealed } = repository.sealer.decodeRecord<unknown, Partial<LabelSealed> | undefined>(
    Buffer.from(record),
    RECORD.volumeLabel,
    subject,
  );
  return settingsOfLabel(sealed?.pool);
}

/** As for a new pool. */
function assumedSettings(volumes: readonly FoundVolume[]): LabelSettings {
  const { label, place } = must(volumes[0], 'a volume of each pool');
  const { blockBytes } = label;
  const largest = Math.max(...volumes.map(({ capacityBytes }) => capacityBytes));
  const isTape = place.kind === 'tape';
  const share = isTape ? LIMITS.volumeChunkBytesDefault : LIMITS.volumeChunkBytesDefault / 8;
  return {
    ...place,
    volumeBytes: isTape ? 0 : Math.max(largest, LIMITS.volumeBytesDefault),
    blockBytes,
    chunkBytes: Math.max(blockBytes, share),
    markBytes: 0,
    logPlace: 'both',
    logEntries: 'run',
  };
}
