/**
 * The medium of a volume, as a drive is told of it (media/drive-messages.ts).
 */
import type { Medium, TapeMedium } from '../media/drive-messages.ts';
import type { ChapSource } from '../scsi/iscsi-chap.ts';
import type { Pool, PoolSettings } from './pools.ts';
import type { Repository } from './repository.ts';

/** Where tapes are: a drive, and the library that serves it. */
export interface TapePlace extends Pick<PoolSettings, 'changer' | 'drive'> {
  readonly device: string;
}

/** A tape by its name. USAGE for what is no address, or where the secret for a drive cannot be read. */
export async function tapeMedium(
  { device, changer, drive }: TapePlace,
  source: ChapSource | undefined,
  name: string,
): Promise<TapeMedium> {
  const { parseIscsiAddress } = await import('../scsi/iscsi-address.ts');
  const user = [device, changer ?? device].map((one) => parseIscsiAddress(one).user);
  const chap = await source?.(user[0] ?? user[1]);
  return {
    kind: 'tape',
    name,
    device,
    ...(changer === undefined ? {} : { changer }),
    ...(drive === undefined ? {} : { drive }),
    ...(chap === undefined ? {} : { chap }),
  };
}

/** The medium of a volume. USAGE where the secret for a drive cannot be read. */
export async function mediumOf(repository: Repository, pool: Pool, name: string): Promise<Medium> {
  const { path, volumeBytes, device } = pool;
  if (device === undefined) return { kind: 'tape-image', path: `${path}/${name}.tap`, volumeBytes };
  return await tapeMedium({ ...pool, device }, repository.around.chap, name);
}
