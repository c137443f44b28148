/**
 * Errors of tape drives and libraries and the targets behind which they stand; part of the table in errors.ts.
 */
import { spec } from './error-spec.ts';

export const DEVICE_ERRORS = {
  DEVICE_UNREACHABLE: spec(
    1,
    true,
    'no connection to a drive or library came about',
    'check the address, and that the target runs there',
  ),
  DEVICE_REFUSED: spec(
    1,
    false,
    'the target of a drive or library does not let this machine in',
    'check the target, the user and the secret, and what the target lets this initiator do',
  ),
  DEVICE_BUSY: spec(
    1,
    true,
    'a drive or library has too much to do, or is reserved for another machine',
    'wait a little, then run the command again',
  ),
  DEVICE_LOST: spec(
    1,
    true,
    'the connection to a drive or library broke; whether its last command was carried out is not known',
    'look at the network and the target, then run the command again: it continues',
  ),
  DEVICE_TIMEOUT: spec(
    1,
    true,
    'a drive or library did not carry out a command in time',
    'look at the device, then run the command again: it continues',
  ),
  DEVICE_PROTOCOL: spec(
    1,
    true,
    'a target sent what iSCSI or SCSI does not allow',
    'run the command again; if it stays, look for newer firmware of the target',
  ),
  DEVICE_ERROR: spec(
    1,
    false,
    'a drive or library answered with an error',
    'see the message, and look for the numbers in the manual of the device',
  ),
  LIBRARY_MISSING: spec(
    1,
    false,
    'a library does not have the tape, drive or free slot that is needed',
    'put the tape in, or take one out; the label is what the library reads on the cartridge',
  ),
} as const;
