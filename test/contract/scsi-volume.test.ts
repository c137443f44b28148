/**
 * Goal: a tape drive behind iSCSI keeps the contract of volumes.
 * Method: the suite runs over Debian's tgt, which emulates drives in user space, on loopback.
 */

/**
 * Goal: a tape drive behind iSCSI keeps the contract of volumes.
 * Method: the suite runs over Debian's tgt, which emulates drives in user space, on loopback.
 */
import test, { after, before } from 'node:test';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';
import { volumeContract } from './volume.ts';

const missing = tgtMissing();
let server: TgtServer | undefined;
let tid = 0;
let made = 0;

if (missing !== undefined) test('a drive of tgt', { skip: missing }, () => undefined);
else {
  before(async () => {
    server = await TgtServer.start();
    tid = await server.addTarget();
  });
  after(async () => await server?.stop());

  volumeContract('a drive of tgt', {
    recordBytes: 1 << 20,
    noEnd: 'tgt warns before the end of a tape, and then lets it grow on',
    noErase: 'tgt does not know ERASE',
    make: async ({ capacityBytes = 4 << 20 }) => {
      const tgt = server as TgtServer;
      made += 1;
      const tape = await tgt.makeTape(`T${made}`, Math.ceil(capacityBytes / 2 ** 20));
      await tgt.addDrive(tid, made, tape);
      const address = parseIscsiAddress(tgt.url(tid, made));
      const open = () => openScsiVolume(new IscsiDevice(address));
      const under = {
        volume: await open(),
        reopen: async () => {
          await under.volume.close();
          under.volume = await open();
          return under.volume;
        },
        dispose: async () => await under.volume.close(),
      };
      return under;
    },
  });
}
