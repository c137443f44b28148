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
import type { ScsiDevice } from '../scsi/scsi-device.ts';
import { ScsiUnit } from '../scsi/scsi-unit.ts';
import type { DriveAddress, TapeMedium } from './drive-messages.ts';
import type { MountDesk } from './mount-requests.ts';
import { openScsiVolume } from './scsi-volume.ts';
import { type DriveInLibrary, SharedDrive } from './shared-drive.ts';

/**
 * @param address one of the drives of the medium
 * @throws DEVICE_*, LIBRARY_MISSING
 */
export async function openDrive(
  medium: TapeMedium,
  address: DriveAddress,
  desk?: MountDesk,
): Promise<SharedDrive> {
  const device = deviceAt(address.device, medium.chap);
  const volume = await openScsiVolume(device);
  try {
    return new SharedDrive(volume, await placeOf(medium, address, device), desk);
  } catch (error) {
    await volume.close();
    throw error;
  }
}

async function placeOf(
  medium: TapeMedium,
  address: DriveAddress,
  device: ScsiDevice,
): Promise<DriveInLibrary | undefined> {
  const { changer, chap } = medium;
  if (changer === undefined) return undefined;
  const library = await openLibrary(changer, chap);
  try {
    return { library, drive: await elementOf(library, medium, address, device) };
  } catch (error) {
    await library.close();
    throw error;
  }
}

/** Address of a drive in its library: as the user said, as the library tells, or by its place among all. */
async function elementOf(
  library: TapeLibrary,
  { drives }: TapeMedium,
  address: DriveAddress,
  device: ScsiDevice,
): Promise<number> {
  const elements = await library.drives();
  const named = elements[(address.drive ?? 0) - 1];
  if (named !== undefined) return named.address;
  if (address.drive === undefined) {
    if (elements.length === 1) return elements[0]?.address ?? 0;
    const told = await library.driveOf(await new ScsiUnit(device).identity());
    if (told !== undefined) return told.address;
    // All of its drives, in order.
    const place = elements[drives.indexOf(address)];
    if (place !== undefined && elements.length === drives.length) return place.address;
  }
  const text = `${library.name} has ${elements.length} drives`;
  throw new PenstockError('LIBRARY_MISSING', text, {
    hint: `say which one ${address.device} is with --drive`,
  });
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
