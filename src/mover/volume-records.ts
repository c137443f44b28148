/**
 * What the repository knows of its volumes (M4, M8): map records `maps/volume-<volume>-<random>`, sealed.
 *
 * A record is never changed: a newer one, of a higher revision, takes its place. It says which chunks
 * on the volume count; where their blocks lie there says the write log. A volume's own label and records
 * say the same as long as nothing was removed, so that it can all be made again from the medium.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import type { Repository } from './repository.ts';
import { putMapRecord, readMapRecord } from './storage-map.ts';

export const VOLUME_STATES = [
  /** Labelled, with room. */
  'appendable',
  'full',
  /** Nothing on it is needed any more: it is written anew when room is wanted. */
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

/** The newest record of each volume. */
export async function listVolumes(repository: Repository): Promise<VolumeList> {
  const newest = new Map<string, VolumeRecord>();
  const damaged: { name: string; error: PenstockError }[] = [];
  for (const { name } of await repository.store.list('maps')) {
    if (!isVolumeRecord(name)) continue;
    try {
      const record = await readMapRecord<VolumeRecord>(repository, name);
      const known = newest.get(record.volume);
      if (known === undefined || known.revision < record.revision)
        newest.set(record.volume, record);
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      if (error.code !== 'OBJECT_MISSING') damaged.push({ name, error });
    }
  }
  const volumes = [...newest.values()].sort((a, b) =>
    a.pool === b.pool ? a.sequence - b.sequence : a.pool < b.pool ? -1 : 1,
  );
  return { volumes, damaged };
}

/** Puts a volume's record in the place of the ones before it. REPO_IO, REPO_FULL, REPO_READ_ONLY. */
export async function putVolume(
  repository: Repository,
  record: Omit<VolumeRecord, 'revision'>,
): Promise<VolumeRecord> {
  const prefix = `volume-${record.volume}-`;
  const older = (await repository.store.list('maps')).filter(({ name }) => name.startsWith(prefix));
  let revision = 0;
  for (const { name } of older) {
    const known = await readMapRecord<VolumeRecord>(repository, name).catch(() => undefined);
    revision = Math.max(revision, known?.revision ?? 0);
  }
  const stored: VolumeRecord = { ...record, revision: revision + 1 };
  await putMapRecord(repository, prefix, stored);
  if (repository.store.appendOnly !== true)
    for (const { name } of older) await repository.store.remove('maps', name);
  return stored;
}

/** Forgets a volume. */
export async function dropVolume(repository: Repository, volume: string): Promise<void> {
  for (const { name } of await repository.store.list('maps')) {
    if (name.startsWith(`volume-${volume}-`)) await repository.store.remove('maps', name);
  }
}
