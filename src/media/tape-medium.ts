/**
 * Opens tape drives and libraries by their addresses.
 *
 * Contract: what is opened in vain is closed again.
 */
import { PenstockError } from '../base/errors.ts';
import { parseIscsiAddress } from '../scsi/iscsi-address.ts';
import type { ChapSecrets } from '../scsi/iscsi-chap.ts';
import { IscsiDevice } from '../scsi/iscsi-initiator.ts';
import { TapeLibrary } from '../scsi/library.ts';
import type { TapeMedium } from './drive-messages.ts';
import type { MountDesk } from './mount-requests.ts';
import { openScsiVolume } from './scsi-volume.ts';
import { type DriveInLibrary, SharedDrive } from './shared-drive.ts';

/** @throws DEVICE_*, LIBRARY_MISSING */
export async function openDrive(medium: TapeMedium, desk?: MountDesk): Promise<SharedDrive> {
  const device = deviceAt(medium.device, medium.chap);
  const volume = await openScsiVolume(device);
  try {
    return new SharedDrive(volume, await placeOf(medium), desk);
  } catch (error) {
    await volume.close();
    throw error;
  }
}

async function placeOf({ changer, chap, drive }: TapeMedium): Promise<DriveInLibrary | undefined> {
  if (changer === undefined) return undefined;
  const library = await openLibrary(changer, chap);
  const drives = await library.drives();
  const found = drives[(drive ?? 1) - 1];
  if (found !== undefined && (drive !== undefined || drives.length === 1)) {
    return { library, drive: found.address };
  }
  await library.close();
  const text = `${library.name} has ${drives.length} drives`;
  throw new PenstockError('LIBRARY_MISSING', text, { hint: 'say which one it is with --drive' });
}

/** @throws DEVICE_*; USAGE where it is no address */
export async function openLibrary(address: string, chap?: ChapSecrets): Promise<TapeLibrary> {
  return await TapeLibrary.open(deviceAt(address, chap));
}

/** With CHAP for the user whom the address names, without where it names none. */
function deviceAt(text: string, chap: ChapSecrets | undefined): IscsiDevice {
  const address = parseIscsiAddress(text);
  const { user } = address;
  const isAsked = chap !== undefined && user !== undefined;
  return new IscsiDevice(address, isAsked ? { chap: { ...chap, user } } : {});
}
