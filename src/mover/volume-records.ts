/**
 * What the repository knows of its volumes (M4, M8): map records `maps/volume-<volume>-<random>`, sealed.
 *
 * It says which chunks on the volume count; where their blocks lie there says the write log. A volume's
 * own label and records say the same as long as nothing was removed, so that it can all be made again
 * from the medium.
 *
 * Contract: a record is never changed; a newer one takes the place of those that it was made from, and
 * of no others. Where several processes write at the same time there are several records of a volume
 * for a while, and what is known of it is their union (`joinRecords`): whatever the order, no chunk that
 * was added is lost, and none that was released comes back.
 */
import { must } from '../base/assert.ts';
import type { PenstockError } from '../base/errors.ts';
import type { ChunkStretch } from '../media/volume-survey.ts';
import type { Repository } from './repository.ts';
import { type MapRecords, putMapRecord, readMapRecord, readMapRecords } from './storage-map.ts';

export const VOLUME_STATES = [
  /** Labelled, with room. */
  'appendable',
  'full',
  /** Nothing on it is needed any more: it is written anew when room is wanted. Follows from the rest. */
  'expired',
  /** It was not found where it should be. */
  'missing',
  /** Kept as it is: by the drive, or because it was found damaged. */
  'read-only',
] as const;
export type VolumeState = (typeof VOLUME_STATES)[number];

/** A chunk that is whole and durable on a volume. */
export interface VolumeChunk {
  readonly id: string;
  readonly bytes: number;
  /** When it was committed, by the clock of whoever wrote it. */
  readonly committedMs: number;
  /** Its stream: the session that wrote it. */
  readonly stream: string;
  /** Its records on this volume lie between these objects, among others. */
  readonly firstObject: number;
  readonly endObject: number;
}

export interface ReleasedChunk {
  readonly id: string;
  readonly firstObject: number;
}

export interface VolumeRecord {
  /** Ids, 32 hex digits. */
  readonly volume: string;
  readonly pool: string;
  /** As on its label. */
  readonly name: string;
  /** Number in its pool, from 1. */
  readonly sequence: number;
  readonly state: VolumeState;
  readonly labelledMs: number;
  /** When something was written last; the time of the label at first. */
  readonly writtenMs: number;
  /** Sessions that were written, and the objects and bytes that the volume holds. */
  readonly sessions: number;
  readonly objects: number;
  readonly bytes: number;
  readonly chunks: readonly VolumeChunk[];
  /** Chunks that do not count any more, where they begin at this object or before. */
  readonly released?: readonly ReleasedChunk[];
  /**
   * Of a volume that was taken in from its medium: records of chunks of which the rest has not been seen,
   * because they go on, on a volume that is not known yet, or were never finished.
   */
  readonly parts?: readonly ChunkStretch[];
  /** Identifier that the log of the next session gets. */
  readonly nextLogId?: string;
  /** A log was made again from the records and is kept beside: it is believed before the medium's. */
  readonly logRebuilt?: boolean;
  /** Grows with each change. */
  readonly revision: number;
}

export interface VolumeList {
  /** In the order of pools and of their sequence. */
  readonly volumes: readonly VolumeRecord[];
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
}

export const isVolumeRecord = (name: string): boolean =>
  /^volume-[0-9a-f]{32}-[0-9a-f]{32}$/.test(name);

/** What is known of each volume. REPO_IO and what else ends a listing. */
export async function listVolumes(repository: Repository): Promise<VolumeList> {
  const { records, damaged } = await readRecords(repository, isVolumeRecord);
  const byVolume = Map.groupBy(records.values(), ({ volume }) => volume);
  const volumes = [...byVolume.values()].map((list) => settled(joinRecords(list)));
  volumes.sort((a, b) => (a.pool === b.pool ? a.sequence - b.sequence : a.pool < b.pool ? -1 : 1));
  return { volumes, damaged };
}

const readRecords = (
  repository: Repository,
  isWanted: (name: string) => boolean,
): Promise<MapRecords<VolumeRecord>> =>
  readMapRecords(repository, isWanted, readMapRecord<VolumeRecord>);

/** Of what several say at once the most cautious counts. */
const CAUTION: readonly VolumeState[] = ['expired', 'appendable', 'full', 'read-only', 'missing'];

/**
 * What several records of one volume say together. Commutative, associative and idempotent.
 *
 * @param records at least one
 */
export function joinRecords(records: readonly VolumeRecord[]): VolumeRecord {
  const largest = (of: (record: VolumeRecord) => number): number => Math.max(...records.map(of));
  const revision = largest((one) => one.revision);
  const newest = records.filter((one) => one.revision === revision);
  const [first] = newest.toSorted((a, b) => CAUTION.indexOf(b.state) - CAUTION.indexOf(a.state));
  const { nextLogId, logRebuilt: _, ...known } = must(first, 'a record');
  const isNamed = newest.every((one) => one.nextLogId !== undefined);
  return compacted({
    ...known,
    writtenMs: largest(({ writtenMs }) => writtenMs),
    sessions: largest(({ sessions }) => sessions),
    objects: largest(({ objects }) => objects),
    bytes: largest(({ bytes }) => bytes),
    chunks: records.flatMap(({ chunks }) => chunks),
    released: records.flatMap(({ released }) => released ?? []),
    ...(isNamed && nextLogId !== undefined ? { nextLogId } : {}),
    ...(newest.some(({ logRebuilt }) => logRebuilt) ? { logRebuilt: true } : {}),
  });
}

/** With each chunk once, where it lies last, and without those that were released. */
function compacted<R extends KnownVolume>(record: R): R {
  const released = new Map<string, number>();
  for (const { id, firstObject } of record.released ?? [])
    released.set(id, Math.max(firstObject, released.get(id) ?? -1));
  const chunks = new Map<string, VolumeChunk>();
  for (const chunk of record.chunks) {
    const other = chunks.get(chunk.id)?.firstObject ?? released.get(chunk.id) ?? -1;
    if (chunk.firstObject > other) chunks.set(chunk.id, chunk);
  }
  return {
    ...record,
    chunks: [...chunks.values()].sort((a, b) => a.firstObject - b.firstObject),
    released: [...released].map(([id, firstObject]) => ({ id, firstObject })),
  };
}

/** A volume as it counts: whether it is expired follows from the rest. */
export function settled<R extends KnownVolume>(record: R): R {
  const volume = compacted(record);
  const { state } = volume;
  if (state === 'missing' || state === 'read-only') return volume;
  const wasReleased = state === 'expired' || (volume.released?.length ?? 0) > 0;
  if (volume.chunks.length === 0 && wasReleased) return { ...volume, state: 'expired' };
  // Somebody wrote to it meanwhile: whether it has room says the drive.
  return state === 'expired' ? { ...volume, state: 'appendable' } : volume;
}

export type KnownVolume = Omit<VolumeRecord, 'revision'>;
export type VolumeChange = (known: KnownVolume) => KnownVolume;

/** Stores what is known of a volume that is new. REPO_IO, REPO_FULL, REPO_READ_ONLY. */
export async function addVolume(
  repository: Repository,
  volume: KnownVolume,
): Promise<VolumeRecord> {
  const stored: VolumeRecord = { ...volume, revision: 1 };
  await putMapRecord(repository, prefixOf(volume.volume), stored);
  return stored;
}

/**
 * Changes what is known of a volume, whatever others have changed meanwhile.
 *
 * @returns undefined: the volume was forgotten
 * @throws REPO_IO, REPO_FULL, REPO_READ_ONLY
 */
export async function changeVolume(
  repository: Repository,
  volume: string,
  change: VolumeChange,
): Promise<VolumeRecord | undefined> {
  const { store } = repository;
  const prefix = prefixOf(volume);
  const isOfVolume = (name: string): boolean => name.startsWith(prefix);
  const { records } = await readRecords(repository, isOfVolume);
  if (records.size === 0) return undefined;
  const known = joinRecords([...records.values()]);
  const stored: VolumeRecord = { ...compacted(change(known)), revision: known.revision + 1 };
  const own = await putMapRecord(repository, prefix, stored);
  if (store.appendOnly === true) return stored;
  let removed = 0;
  for (const name of records.keys()) if (await store.remove('maps', name)) removed++;
  if (removed > 0) return stored;
  // Others have removed all that this was made from: they put something else there, or forgot the volume.
  const left = (await store.list('maps')).filter(({ name }) => isOfVolume(name));
  if (left.some(({ name }) => name !== own)) return stored;
  await store.remove('maps', own);
  return undefined;
}

/** Forgets a volume. */
export async function dropVolume(repository: Repository, volume: string): Promise<void> {
  const { store } = repository;
  for (;;) {
    const names = (await store.list('maps')).filter(({ name }) =>
      name.startsWith(prefixOf(volume)),
    );
    if (names.length === 0) return;
    for (const { name } of names) await store.remove('maps', name);
  }
}

const prefixOf = (volume: string): string => `volume-${volume}-`;
