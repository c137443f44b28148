/**
 * The medium of a volume, as a drive is told of it (media/drive-messages.ts).
 */
import type { DriveAddress, Medium, TapeMedium } from '../media/drive-messages.ts';
import type { ChapSource } from '../scsi/iscsi-chap.ts';
import type { Pool, PoolSettings } from './pools.ts';
import type { Repository } from './repository.ts';

/** The drives for a pool's tapes; none where it has images. */
export function drivesOf({ device, drive, otherDrives = [] }: TapePlaces): readonly DriveAddress[] {
  if (device === undefined) return [];
  return [drive === undefined ? { device } : { device, drive }, ...otherDrives];
}
type TapePlaces = Pick<PoolSettings, 'device' | 'drive' | 'otherDrives'>;

/** How many volumes one command may write at once. */
export const drivesAtOnce = (pool: Pool): number =>
  pool.kind === 'tape' ? drivesOf(pool).length : (pool.drives ?? 1);

/** Where tapes are: drives, and the library that serves them. */
export interface TapePlace {
  readonly drives: readonly DriveAddress[];
  readonly changer?: string | undefined;
}

/** A tape by its name. USAGE for what is no address, or where the secret for a drive cannot be read. */
export async function tapeMedium(
  { drives, changer }: TapePlace,
  source: ChapSource | undefined,
  name: string,
): Promise<TapeMedium> {
  const { parseIscsiAddress } = await import('../scsi/iscsi-address.ts');
  const addresses = drives.map(({ device }) => device);
  if (changer !== undefined) addresses.push(changer);
  const users = addresses.map((one) => parseIscsiAddress(one).user);
  const chap = await source?.(users.find((user) => user !== undefined));
  return {
    kind: 'tape',
    name,
    drives,
    ...(changer === undefined ? {} : { changer }),
    ...(chap === undefined ? {} : { chap }),
  };
}

/** The medium of a volume. USAGE where the secret for a drive cannot be read. */
export async function mediumOf(repository: Repository, pool: Pool, name: string): Promise<Medium> {
  const { path, volumeBytes, changer } = pool;
  if (pool.device === undefined)
    return { kind: 'tape-image', path: `${path}/${name}.tap`, volumeBytes };
  return await tapeMedium({ drives: drivesOf(pool), changer }, repository.around.chap, name);
}
