/**
 * Goal: a tape drive behind iSCSI keeps the contract of volumes.
 * Method: the suite runs over Debian's tgt, which emulates drives in user space, on loopback; and over a
 * scripted target with a drive that keeps to the standard, which tgt's does not.
 */

/**
 * Goal: a tape drive behind iSCSI keeps the contract of volumes.
 * Method: the suite runs over Debian's tgt, which emulates drives in user space, on loopback; and over a
 * scripted target with a drive that keeps to the standard, which tgt's does not.
 */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { SharedDrive } from '../../src/media/shared-drive.ts';
import type { Volume } from '../../src/media/volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { ScriptedTarget, type TargetOptions } from '../iscsi-target.ts';
import { descriptorSense, fixedSense, type TapeModel } from '../scsi-tape.ts';
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

const scripted = (options: TargetOptions, senseOf: TapeModel['senseOf'], lacks: number[] = []) => {
  const targets = new WeakMap<object, ScriptedTarget>();
  return {
    recordBytes: 1 << 20,
    make: async ({ capacityBytes }: { capacityBytes?: number }) => {
      const target = await ScriptedTarget.start(options);
      target.device.capacityBytes = capacityBytes ?? Number.POSITIVE_INFINITY;
      target.device.earlyBytes = 32 << 10;
      target.device.bufferObjects = 4;
      target.device.senseOf = senseOf;
      for (const code of lacks) target.device.lacks.add(code);
      const open = () => openScsiVolume(new IscsiDevice(parseIscsiAddress(target.url())));
      const under = {
        volume: await open(),
        reopen: async () => {
          await under.volume.close();
          under.volume = await open();
          return under.volume;
        },
        dispose: async () => {
          await under.volume.close();
          await target.stop();
          assert.deepEqual(target.violations, []);
        },
      };
      targets.set(under, target);
      return under;
    },
    protect: async (under: object) => {
      const target = targets.get(under);
      if (target !== undefined) target.device.writeProtected = true;
    },
  };
};

volumeContract('a drive by the standard, fixed sense data', scripted({}, fixedSense));
const keys = { HeaderDigest: 'CRC32C', DataDigest: 'CRC32C', InitialR2T: 'No' };
volumeContract(
  'a drive by the standard, sense data of descriptors, digests, unsolicited data',
  scripted({ keys: { ...keys, MaxRecvDataSegmentLength: '1000' } }, descriptorSense),
);
const LOCATE = 0x2b;
const READ_POSITION = 0x34;
volumeContract(
  'a drive that cannot tell or find positions',
  scripted({ keys: { ImmediateData: 'No' } }, fixedSense, [LOCATE, READ_POSITION]),
);
volumeContract('a drive that cannot find positions', scripted({}, fixedSense, [LOCATE]));

const several = scripted({}, fixedSense);
const inner = new WeakMap<object, object>();
/** Another volume of the same tape takes the drive before each call. */
const between = (drive: Volume): Volume => {
  const shared = new SharedDrive(drive);
  const other = shared.volume({ name: 'TAPE', isRead: false });
  return new Proxy(shared.volume({ name: 'TAPE', isRead: false }), {
    get: (target, name) => {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      if (name === 'close') return value.bind(target);
      return async (...words: unknown[]) => {
        await other.rewind().catch(() => undefined);
        return await value.apply(target, words);
      };
    },
  });
};
volumeContract('one of several volumes in a drive', {
  ...several,
  protect: async (under) => await several.protect(inner.get(under) ?? under),
  make: async (wish) => {
    const under = await several.make(wish);
    const result = {
      volume: between(under.volume),
      reopen: async () => {
        result.volume = between(await under.reopen());
        return result.volume;
      },
      dispose: () => under.dispose(),
    };
    inner.set(result, under);
    return result;
  },
});
