/**
 * The tape drives that a command line names, and which drives of their library they are.
 */
import { PenstockError } from '../base/errors.ts';
import type { DriveAddress } from '../media/drive-messages.ts';
import { formatIscsiAddress, parseIscsiAddress } from '../scsi/iscsi-address.ts';

/**
 * @param numbers which drives of the library they are, in the same order; none where the library tells
 * @throws USAGE for what does not fit together, or is no address
 */
export function driveAddresses(
  devices: readonly string[],
  numbers: readonly number[],
  changer: string | undefined,
): readonly DriveAddress[] {
  if (numbers.length > 0 && changer === undefined)
    throw new PenstockError('USAGE', '--drive says which drive of a library it is: give --changer');
  if (numbers.length > 0 && numbers.length !== devices.length) {
    const text = `there are ${devices.length} drives, and ${numbers.length} times --drive`;
    throw new PenstockError('USAGE', text, { hint: 'give it once for each drive, in their order' });
  }
  if (changer !== undefined) parseIscsiAddress(changer);
  refuseTwice(devices.map(sameAddress), 'the drive');
  refuseTwice(numbers.map(String), '--drive');
  return devices.map((device, i) => {
    const drive = numbers[i];
    return drive === undefined ? { device } : { device, drive };
  });
}

/** However it is written, and whoever logs in there. */
function sameAddress(device: string): string {
  const { host, port, target, lun } = parseIscsiAddress(device);
  return formatIscsiAddress({ host: host.toLowerCase(), port, target, lun });
}

function refuseTwice(given: readonly string[], what: string): void {
  const twice = given.find((one, i) => given.indexOf(one) !== i);
  if (twice !== undefined) throw new PenstockError('USAGE', `${what} ${twice} is given twice`);
}
