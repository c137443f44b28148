/**
 * Labels a medium for a pool, and erases one.
 *
 * Contract: what the repository may still need is never overwritten, whatever the caller says: chunks
 * of volumes that it knows, and of volumes of its own that it does not know (any more) while archives count
 * on their chunks. All else goes only with `force`, but for blank media, and volumes of the pool on
 * which nothing is needed. The medium is locked against other writers before it is looked at.
 */
import { PenstockError } from '../base/errors.ts';
import { checkVolumeName, LABEL_OBJECTS } from '../format/volume-label.ts';
import { refuseProtected, type Volume, volumeError } from '../media/volume.ts';
import { readContents } from '../media/volume-index.ts';
import { heldBy, type Inspected, inspectVolume, labelVolume } from '../media/volume-label.ts';
import { newScanReport, scanVolume } from '../media/volume-scan.ts';
import { listArchives } from './archives.ts';
import { findPool, type Pool } from './pools.ts';
import type { Repository } from './repository.ts';
import { isThere, labelled } from './volume-choice.ts';
import { type NamedVolume, volumeAgain, withAnyMedium } from './volume-find.ts';
import { dropLogs } from './volume-logs.ts';
import { drivesOf, mediumOf } from './volume-medium.ts';
import { addVolume, dropVolume, listVolumes, type VolumeRecord } from './volume-records.ts';

export interface LabelRequest {
  /** What is on the cartridge: 1 to 6 capital letters and digits. */
  readonly name: string;
  readonly pool: string;
  /** Overwrites what is not of this repository. */
  readonly force: boolean;
  /** Which of the pool's drives has the tape, from 1; undefined: the only one that has one. */
  readonly drive?: number | undefined;
}

export interface LabelResult {
  readonly pool: Pool;
  readonly record: VolumeRecord;
  /** What the medium held before; nothing: it was blank. */
  readonly replaced: string | undefined;
}

/**
 * Labels a medium, so that the pool can use it.
 *
 * @throws PenstockError POOL_MISSING, USAGE for a name that cannot be, VOLUME_FOREIGN, VOLUME_USED,
 *   VOLUME_PROTECTED, VOLUME_…
 */
export async function labelMedium(
  repository: Repository,
  { name, pool: poolName, force, drive }: LabelRequest,
): Promise<LabelResult> {
  checkVolumeName(name);
  const pool = await findPool(repository, poolName);
  const place = drive === undefined ? pool : onlyDrive(pool, drive);
  // Nothing is made in the place of a volume that is needed and only away.
  await ofName(repository, pool, name);
  return await withAnyMedium(repository, place, name, 'create', async (volume) => {
    await refuseProtected(volume);
    const same = await ofName(repository, pool, name);
    const { volumes } = await listVolumes(repository);
    const found = await inspectVolume(volume);
    const known = await mayOverwrite(repository, volume, found, volumes, { pool, name, force });
    const sequence =
      1 + Math.max(0, ...volumes.map((one) => (one.pool === pool.id ? one.sequence : 0)));
    const { writable, record } = await labelled(repository, pool, name, sequence);
    const bytes = Buffer.from(writable.newLabel ?? []);
    await labelVolume(volume, writable.label, { encode: () => bytes, force: true });
    const stored = await addVolume(repository, record);
    for (const { volume: id } of [...same, ...known]) await forgetVolume(repository, id);
    const replaced = found.kind === 'blank' ? undefined : heldBy(found);
    return { pool, record: stored, replaced };
  });
}

/** The pool as if it had this drive alone. */
function onlyDrive(pool: Pool, number: number): Pool {
  const drives = drivesOf(pool);
  const one = drives[number - 1];
  if (pool.changer !== undefined)
    throw new PenstockError('USAGE', '--drive: the library of the pool knows where its tapes are');
  if (one === undefined)
    throw new PenstockError('USAGE', `--drive: pool ${pool.name} has ${drives.length} drives`);
  return { ...pool, device: one.device, otherDrives: [] };
}

/** Volumes that have the name; none of them may be needed. */
async function ofName(
  repository: Repository,
  pool: Pool,
  name: string,
): Promise<readonly VolumeRecord[]> {
  const { volumes } = await listVolumes(repository);
  const same = volumes.filter((one) => one.pool === pool.id && one.name === name);
  for (const record of same) refuseUsed(record);
  return same;
}

/** Known volumes that are on the medium; refuses what must not be overwritten. */
async function mayOverwrite(
  repository: Repository,
  volume: Volume,
  found: Inspected,
  volumes: readonly VolumeRecord[],
  { pool, name, force }: { pool: Pool; name: string; force: boolean },
): Promise<VolumeRecord[]> {
  if (found.kind === 'blank') return [];
  const isOwn = found.kind === 'ours' && found.label.repository === repository.settings.id;
  const known = isOwn ? volumes.filter((one) => one.volume === found.label.volume) : [];
  for (const record of known) refuseUsed(record);
  if (isOwn && known.length === 0) await refuseNeeded(repository, volume, found.label.volume);
  const isExpected = known.some((one) => one.pool === pool.id && one.name === name);
  if (isExpected || force) return known;
  const whose = found.kind === 'ours' && !isOwn ? ' of another repository' : '';
  throw volumeError('VOLUME_FOREIGN', volume.name, 0, `the medium holds ${heldBy(found)}${whose}`);
}

function refuseUsed({ name, chunks }: VolumeRecord): void {
  if (chunks.length === 0) return;
  const text = `volume ${name} holds ${chunks.length} chunk(s) that archives may need`;
  throw new PenstockError('VOLUME_USED', text, {
    subject: name,
    hint: 'forget the archives that need them, then run `penstock prune`; or `penstock migrate`',
  });
}

/** Refuses a volume of this repository that it does not know, if archives count on what is there. */
async function refuseNeeded(repository: Repository, volume: Volume, id: string): Promise<void> {
  const stored = new Set((await repository.store.list('chunks')).map((one) => one.name));
  const { archives } = await listArchives(repository);
  const missing = new Set(archives.flatMap(({ chunks }) => chunks.filter((c) => !stored.has(c))));
  if (missing.size === 0) return;
  const { end } = await readContents(volume, id);
  for await (const entry of scanVolume(volume, LABEL_OBJECTS, end, newScanReport())) {
    if (entry.kind !== 'run' || !missing.has(entry.chunk)) continue;
    const text = `the medium ${volume.name} holds chunk ${entry.chunk}, which an archive needs`;
    throw new PenstockError('VOLUME_USED', text, {
      subject: volume.name,
      hint: 'make it known to the repository again: `penstock catalog rebuild --volumes DIR`',
    });
  }
}

export interface EraseRequest {
  /** Forgets the volume also when its medium is not there, or is another one: that is left alone. */
  readonly force: boolean;
}

/**
 * Erases a volume on which nothing is needed, and forgets it. Returns whether the medium was erased.
 *
 * @throws PenstockError VOLUME_USED, VOLUME_FOREIGN, VOLUME_NOT_READY, VOLUME_PROTECTED, VOLUME_…
 */
export async function eraseVolume(
  repository: Repository,
  found: NamedVolume,
  { force }: EraseRequest,
): Promise<boolean> {
  refuseUsed(found.record);
  const isErased = await eraseMedium(repository, found, force);
  await forgetVolume(repository, found.record.volume);
  return isErased;
}

async function eraseMedium(
  repository: Repository,
  found: NamedVolume,
  force: boolean,
): Promise<boolean> {
  const { pool, record } = found;
  // Of several drives, in that which has it.
  const wanted = drivesOf(pool).length > 1 ? record.volume : undefined;
  const erase = async (volume: Volume): Promise<boolean> => {
    await refuseProtected(volume);
    // Whoever was writing to it has ended, and has said what is there.
    refuseUsed((await volumeAgain(repository, found)).record);
    const held = await inspectVolume(volume);
    if (held.kind === 'ours' && held.label.volume === record.volume) {
      await volume.rewind();
      await volume.erase();
      return true;
    }
    if (held.kind === 'blank' || force) return false;
    const text = `the medium holds ${heldBy(held)}, not volume ${record.name} of pool ${pool.name}`;
    throw volumeError('VOLUME_FOREIGN', volume.name, 0, text, {
      hint: 'to forget the volume, and leave this medium as it is, use --force',
    });
  };
  try {
    return await withAnyMedium(repository, pool, record.name, 'write', erase, wanted);
  } catch (error) {
    // Not that somebody is writing to it.
    const isAway = error instanceof PenstockError && error.code === 'VOLUME_NOT_READY';
    const medium = await mediumOf(repository, pool, record.name);
    if (!isAway || (medium.kind === 'tape-image' && (await isThere(medium)))) throw error;
    if (force) return false;
    throw new PenstockError(error.code, error.message, {
      subject: record.name,
      hint: 'load it; to forget a volume that is lost, use --force',
    });
  }
}

async function forgetVolume(repository: Repository, volume: string): Promise<void> {
  await dropVolume(repository, volume);
  await dropLogs(repository, volume);
}
