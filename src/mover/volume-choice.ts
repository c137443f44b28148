/**
 * Which volume of a pool is written next, and with which label.
 *
 * Contract: a volume that has room comes first, then one on which nothing is needed any more, then a new
 * one. Nothing is chosen that is not where it should be: that volume is `missing` from then on.
 */
import { toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RECORD } from '../format/record.ts';
import type { LabelRecord, LabelSealed, VolumeLabel } from '../format/volume-label.ts';
import { CWD, FileStatus, openFiles } from '../host/mod.ts';
import type { Medium, TapeMedium, WritableVolume } from '../media/drive-messages.ts';
import { earlyWarningBytesOf } from '../media/tape-image.ts';
import type { LabelSettings, Pool } from './pools.ts';
import type { Repository } from './repository.ts';
import { mediumOf } from './volume-medium.ts';
import type { KnownVolume } from './volume-records.ts';

export interface ChosenVolume {
  readonly writable: WritableVolume;
  /** What the repository is to know of it once it was labelled. */
  readonly record: KnownVolume;
}

/** Refuses a pool whose images cannot be there. VOLUME_NOT_READY. */
export function checkFolder({ name, kind, path }: Pool): void {
  if (kind !== 'tape-image' || openFiles().statusFollow(CWD, path, new FileStatus()) >= 0) return;
  const folder = toDisplay(path);
  throw new PenstockError('VOLUME_NOT_READY', `the folder ${folder} of pool ${name} is not there`, {
    subject: folder,
    hint: 'mount its disk; where the folder was lost with its volumes, make it again',
  });
}

/** Whether it is where it should be. Of a drive without a library only who reads the label can know. */
export async function isThere(medium: Medium): Promise<boolean> {
  if (medium.kind === 'tape') return (await tapesFor(medium))?.includes(medium.name) ?? true;
  return openFiles().statusFollow(CWD, medium.path, new FileStatus()) >= 0;
}

/**
 * Whether an image that counts as full could be longer: its disk was full, and it is written again as soon as
 * there is room. Of a tape only its drive knows.
 */
export function couldGrow(medium: Medium, blockBytes: number): boolean {
  if (medium.kind === 'tape') return false;
  const status = new FileStatus();
  if (openFiles().statusFollow(CWD, medium.path, status) < 0) return false;
  const reserve = earlyWarningBytesOf(medium.volumeBytes) + 2 * blockBytes;
  return status.size + reserve < medium.volumeBytes;
}

const NAME_LENGTH = 6;

/** Names of the tapes in a drive's library, in order; undefined without one. */
export async function tapesFor({ changer, chap }: TapeMedium): Promise<string[] | undefined> {
  if (changer === undefined) return undefined;
  const { openLibrary } = await import('../media/tape-medium.ts');
  const library = await openLibrary(changer, chap);
  try {
    const labels = (await library.elements()).filter(({ full }) => full).map(({ label }) => label);
    // Cartridges that clean a drive are labelled so.
    const tapes = labels.filter((label) => label !== '' && !label.startsWith('CLN'));
    return tapes.map((label) => label.slice(0, NAME_LENGTH)).sort();
  } finally {
    await library.close();
  }
}

/**
 * Volumes of the pool that may be written with a new label, the best first: expired ones, then new ones.
 *
 * @param offered to other drives, whose numbers are not given again
 */
export async function freshVolumes(
  repository: Repository,
  pool: Pool,
  volumes: readonly KnownVolume[],
  offered: readonly KnownVolume[],
): Promise<ChosenVolume[]> {
  let sequence = Math.max(0, ...[...volumes, ...offered].map((one) => one.sequence));
  const fresh: ChosenVolume[] = [];
  for (const { state, name } of volumes) {
    if (state !== 'expired' || !(await isThere(await mediumOf(repository, pool, name)))) continue;
    fresh.push(await labelled(repository, pool, name, ++sequence));
  }
  for (const name of await newNames(repository, pool, volumes))
    fresh.push(await labelled(repository, pool, name, ++sequence));
  return fresh;
}

/** A volume with a label that is to be written. */
export async function labelled(
  repository: Repository,
  pool: Pool,
  name: string,
  sequence: number,
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
  const sealed: LabelSealed = { pool: labelSettings(pool) };
  const record = repository.sealer.encodeRecord(RECORD.volumeLabel, id, label, sealed);
  return {
    writable: {
      medium: await mediumOf(repository, pool, name),
      label,
      newLabel: record,
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

function labelSettings(pool: Pool): LabelSettings {
  const { id: _, name: __, createdMs: ___, otherDrives: ____, ...settings } = pool;
  return settings;
}

/** The label of a volume that has one: what the drive is to find. */
export function knownLabel(repository: Repository, pool: Pool, record: KnownVolume): VolumeLabel {
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

/** How many objects are certainly on it. */
export function leastObjects({ objects, chunks }: KnownVolume): number {
  return chunks.reduce((least, { endObject }) => Math.max(least, endObject), objects);
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
const NAMES_OFFERED = 8;

/**
 * Of a library its other tapes. Else such as TAP001: the pool's first letters, the lowest free numbers;
 * several, for somebody else may be taking the first one just now. None where all are taken: volumes that are
 * known may have room.
 */
async function newNames(
  repository: Repository,
  pool: Pool,
  volumes: readonly KnownVolume[],
): Promise<readonly string[]> {
  const taken = new Set(volumes.map(({ name }) => name));
  const any = await mediumOf(repository, pool, '');
  const tapes = any.kind === 'tape' ? await tapesFor(any) : undefined;
  if (tapes !== undefined)
    return tapes.filter((name) => !taken.has(name)).slice(0, LIMITS.volumesTriedMax);
  const letters = pool.name.toUpperCase().replace(/[^A-Z]/g, '');
  const prefix = (letters === '' ? 'VOL' : letters).slice(0, LETTERS);
  const names: string[] = [];
  for (let number = 1; number <= NUMBERS_MAX && names.length < NAMES_OFFERED; number++) {
    const name = `${prefix}${String(number).padStart(LETTERS, '0')}`;
    if (taken.has(name)) continue;
    if (any.kind === 'tape' || !(await isThere(await mediumOf(repository, pool, name))))
      names.push(name);
  }
  return names;
}
