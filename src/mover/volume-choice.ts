/**
 * Which volume of a pool is written next, and with which label.
 *
 * Contract: a volume that has room comes first, then one on which nothing is needed any more, then a new
 * one. Nothing is chosen that is not where it should be: that volume is `missing` from then on.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import type { LabelRecord, VolumeLabel } from '../format/volume-label.ts';
import { CWD, FileStatus, openFiles } from '../host/mod.ts';
import type { Medium, WritableVolume } from '../media/drive-messages.ts';
import type { Pool } from './pools.ts';
import type { Repository } from './repository.ts';
import type { VolumeRecord } from './volume-records.ts';

export interface ChosenVolume {
  readonly writable: WritableVolume;
  /** What the repository is to know of it once it was labelled. */
  readonly record: Omit<VolumeRecord, 'revision'>;
}

/** The medium of a volume. */
export function mediumOf(pool: Pool, name: string): Medium {
  return { path: `${pool.path}/${name}.tap`, volumeBytes: pool.volumeBytes };
}

export function isThere(path: ByteString): boolean {
  return openFiles().statusFollow(CWD, path, new FileStatus()) >= 0;
}

/** A volume of the pool with another label than before: an expired one, or a new one. */
export async function freshVolume(
  repository: Repository,
  pool: Pool,
  volumes: readonly VolumeRecord[],
): Promise<ChosenVolume> {
  const expired = volumes.find(
    (one) => one.state === 'expired' && isThere(mediumOf(pool, one.name).path),
  );
  const sequence = Math.max(0, ...volumes.map((one) => one.sequence)) + 1;
  const name = expired?.name ?? freeName(pool, volumes);
  return await labelled(repository, pool, name, sequence, expired?.volume);
}

/** A volume with a label that is to be written. */
export async function labelled(
  repository: Repository,
  pool: Pool,
  name: string,
  sequence: number,
  replace?: string,
): Promise<ChosenVolume> {
  const id = repository.around.random.bytes(16);
  const createdMs = repository.around.clock.nowMs();
  const label: VolumeLabel = {
    volume: id.toString('hex'),
    name,
    pool: pool.name,
    repository: repository.settings.id,
    sequence,
    blockBytes: pool.blockBytes,
    createdMs,
    writer: 'penstock',
    records: await keyRecords(repository),
  };
  const record = repository.sealer.encodeRecord(RECORD.volumeLabel, id, label, undefined);
  return {
    writable: {
      medium: mediumOf(pool, name),
      label,
      newLabel: { record, ...(replace === undefined ? {} : { replace }) },
    },
    record: {
      volume: label.volume,
      pool: pool.id,
      name,
      sequence,
      state: 'appendable',
      labelledMs: createdMs,
      writtenMs: createdMs,
      sessions: 0,
      objects: 0,
      bytes: 0,
      chunks: [],
    },
  };
}

/** The label of a volume that has one: what the drive is to find. */
export function knownLabel(repository: Repository, pool: Pool, record: VolumeRecord): VolumeLabel {
  return {
    volume: record.volume,
    name: record.name,
    pool: pool.name,
    repository: repository.settings.id,
    sequence: record.sequence,
    blockBytes: pool.blockBytes,
    createdMs: record.labelledMs,
    writer: 'penstock',
    records: [],
  };
}

/** The repository record and the key records: with one of them and a passphrase all can be read. */
async function keyRecords({ store }: Repository): Promise<LabelRecord[]> {
  const records: LabelRecord[] = [];
  for (const kind of ['repository', 'keys'] as const) {
    for (const { name } of await store.list(kind)) {
      const bytes = await store.read(kind, name, LIMITS.recordBytesMax);
      const path = kind === 'repository' ? name : `${kind}/${name}`;
      records.push({ name: path, record: bytes.toString('base64') });
    }
  }
  return records;
}

const LETTERS = 3;
const NUMBERS_MAX = 999;

/** Such as TAP001: the pool's first letters, and the lowest number that is free. */
function freeName(pool: Pool, volumes: readonly VolumeRecord[]): string {
  const letters = pool.name.toUpperCase().replace(/[^A-Z]/g, '');
  const prefix = (letters === '' ? 'VOL' : letters).slice(0, LETTERS);
  const taken = new Set(volumes.map(({ name }) => name));
  for (let number = 1; number <= NUMBERS_MAX; number++) {
    const name = `${prefix}${String(number).padStart(LETTERS, '0')}`;
    if (!taken.has(name) && !isThere(mediumOf(pool, name).path)) return name;
  }
  throw new PenstockError('POOL_EXHAUSTED', `pool ${pool.name} has ${NUMBERS_MAX} volumes`);
}
