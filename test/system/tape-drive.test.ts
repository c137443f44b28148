/**
 * Goal: drives and libraries as they are used, against a target that others wrote.
 * Method: Debian's tgt on loopback: discovery, CHAP in both directions, digests, sizes of PDUs, several
 * sessions, a library whose tapes go through its drives, and a target that is killed under a write.
 */
import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import type { PenstockError } from '../../src/base/errors.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import type { Volume } from '../../src/media/volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { discoverTargets, IscsiDevice, type IscsiOptions } from '../../src/scsi/iscsi-initiator.ts';
import { TapeLibrary } from '../../src/scsi/library.ts';
import { TapeDrive } from '../../src/scsi/tape-drive.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';

const skip = tgtMissing();
const random = seededRandom(4);
const PORT_LOCAL = '127.0.0.1';

/** A target with a drive that holds a tape of so many megabytes, at unit 1. */
async function driveOf(server: TgtServer, megabytes = 16): Promise<number> {
  const tid = await server.addTarget();
  await server.addDrive(tid, 1, await server.makeTape(`D${tid}`, megabytes));
  return tid;
}

async function readAll(volume: Volume): Promise<(Buffer | string)[]> {
  const seen: (Buffer | string)[] = [];
  const into = Buffer.alloc(volume.limits.recordBytesMax);
  for (;;) {
    const got = await volume.read(into);
    if (got.kind === 'end') return seen;
    seen.push(got.kind === 'mark' ? 'mark' : Buffer.from(into.subarray(0, got.bytes)));
  }
}

async function roundTrip(server: TgtServer, tid: number, options: IscsiOptions): Promise<void> {
  const device = new IscsiDevice(parseIscsiAddress(server.url(tid, 1)), options);
  const volume = await openScsiVolume(device);
  try {
    const records = [1, 511, 8192, 8193, 65_536, 70_001, 262_145, 1_048_576].map((bytes) =>
      random.bytes(bytes),
    );
    for (const record of records) await volume.append(record);
    await volume.writeMarks(1);
    await volume.rewind();
    assert.deepEqual(await readAll(volume), [...records, 'mark']);
  } finally {
    await volume.close();
  }
}

describe('a drive of tgt', { skip }, () => {
  let server: TgtServer;
  before(async () => {
    server = await TgtServer.start();
  });
  after(async () => await server?.stop());

  test('targets are discovered', async () => {
    const tid = await driveOf(server);
    const found = await discoverTargets({ host: PORT_LOCAL, port: server.port });
    const one = found.find(({ target }) => target === server.targetName(tid));
    assert.deepEqual(one?.portals, [{ host: PORT_LOCAL, port: server.port }]);
  });

  for (const [what, parameters, offer] of [
    ['as it is', {}, {}],
    ['digests of headers and data', { HeaderDigest: 'CRC32C', DataDigest: 'CRC32C' }, {}],
    ['unsolicited data', { InitialR2T: 'No' }, {}],
    ['no immediate data', { ImmediateData: 'No' }, {}],
    ['neither', { ImmediateData: 'No', InitialR2T: 'No' }, {}],
    ['long PDUs', { MaxRecvDataSegmentLength: 262_144, MaxBurstLength: 1_048_576 }, {}],
    [
      'short PDUs',
      { MaxRecvDataSegmentLength: 512, FirstBurstLength: 512 },
      { receiveBytesMax: 512 },
    ],
  ] as const) {
    test(`what is written is read: ${what}`, async () => {
      const tid = await driveOf(server);
      for (const [name, value] of Object.entries(parameters)) await server.set(tid, name, value);
      const digests = 'HeaderDigest' in parameters;
      const required = { headerDigest: 'required', dataDigest: 'required' } as const;
      await roundTrip(server, tid, { offer: digests ? required : offer });
    });
  }

  test('CHAP in one and in both directions; without, or wrong, nobody comes in', async () => {
    const tid = await driveOf(server);
    await server.addAccount(tid, { user: 'in', secret: 'secret-of-ours' });
    await server.addAccount(tid, { user: 'out', secret: 'secret-of-theirs' }, true);
    const secret = Buffer.from('secret-of-ours');
    const theirs = Buffer.from('secret-of-theirs');
    await roundTrip(server, tid, { chap: { user: 'in', secret } });
    await roundTrip(server, tid, {
      chap: { user: 'in', secret, target: { user: 'out', secret: theirs } },
    });
    const refused = async (options: IscsiOptions): Promise<void> => {
      const device = new IscsiDevice(parseIscsiAddress(server.url(tid, 1)), options);
      await assert.rejects(openScsiVolume(device), { code: 'DEVICE_REFUSED' });
    };
    await refused({});
    await refused({ chap: { user: 'in', secret: theirs } });
    await refused({ chap: { user: 'nobody', secret } });
    const wrong = { user: 'out', secret: Buffer.from('something else') };
    await refused({ chap: { user: 'in', secret, target: wrong } });
  });

  test('a target, a unit or a kind of device that is not there is told', async () => {
    const tid = await driveOf(server);
    const missing = server.url(tid, 1).replace(/:\d+\/1$/, ':999/1');
    const open = (url: string): Promise<Volume> =>
      openScsiVolume(new IscsiDevice(parseIscsiAddress(url)));
    await assert.rejects(open(missing), { code: 'DEVICE_REFUSED' });
    await assert.rejects(open(server.url(tid, 7)), /no tape drive|DEVICE|sense/);
    await assert.rejects(open(server.url(tid, 0)), {
      code: 'DEVICE_ERROR',
      message: /no tape drive/,
    });
  });

  test('tgt warns before the end of its tape', async () => {
    const tid = await driveOf(server, 1);
    const volume = await openScsiVolume(new IscsiDevice(parseIscsiAddress(server.url(tid, 1))));
    const warned: boolean[] = [];
    for (let i = 0; i < 6; i++) warned.push(await volume.append(random.bytes(250_000)));
    assert.deepEqual(warned, [false, false, false, false, true, true]);
    assert.equal((await volume.tell()).earlyWarning, true);
    await volume.close();
  });

  test('blocks of a fixed length are written and read by the number', async () => {
    const tid = await driveOf(server);
    const drive = await TapeDrive.open(new IscsiDevice(parseIscsiAddress(server.url(tid, 1))));
    await drive.unit.settle();
    const { mode, form } = await drive.mode();
    assert(mode !== undefined);
    await drive.setMode(form, { ...mode, blockBytes: 512 });
    assert.equal((await drive.mode()).mode?.blockBytes, 512);
    const data = random.bytes(8 * 512);
    await drive.rewind();
    assert.equal((await drive.write(data, 512)).kind, 'good');
    await drive.writeMarks(1);
    await drive.rewind();
    const into = Buffer.alloc(8 * 512);
    assert.equal((await drive.read(into, 512)).kind, 'good');
    assert.deepEqual(into, data);
    assert.equal((await drive.read(into, 512)).kind, 'file-mark');
    await drive.unit.device.close();
  });

  test('a target that is killed while a tape is written, and started again', async () => {
    const own = await TgtServer.start();
    try {
      const tid = await driveOf(own);
      const address = parseIscsiAddress(own.url(tid, 1));
      const device = new IscsiDevice(address, { reconnectMs: 20_000 });
      const volume = await openScsiVolume(device);
      const records = Array.from({ length: 6 }, () => random.bytes(100_000));
      for (const record of records.slice(0, 3)) await volume.append(record);
      await volume.synchronise();
      await own.restart(async () => {
        await own.addTarget();
        await own.addDrive(tid, 1, `${own.mediaHome()}/D${tid}`);
      });
      await assert.rejects(volume.append(records[3] as Buffer), (error: PenstockError) => {
        assert(['VOLUME_IO', 'VOLUME_CHANGED'].includes(error.code), error.message);
        return true;
      });
      // It stands at the beginning now: found by asking, and the end by going there.
      await volume.tell().catch(() => undefined);
      await volume.spaceEnd();
      assert.equal((await volume.tell()).object, 3);
      for (const record of records.slice(3)) await volume.append(record);
      await volume.rewind();
      assert.deepEqual(await readAll(volume), records);
      await volume.close();
    } finally {
      await own.stop();
    }
  });
});

describe('a library of tgt', { skip }, () => {
  let server: TgtServer;
  let tid = 0;
  before(async () => {
    server = await TgtServer.start();
    tid = await server.addTarget();
    for (const label of ['AAA001L8', 'BBB002L8', 'CCC003L8']) await server.makeTape(label, 8);
    await server.addEmptyDrive(tid, 1);
    await server.addEmptyDrive(tid, 2);
    await server.addChanger(tid, 3, ['AAA001L8', '', 'BBB002L8', 'CCC003L8'], [1, 2]);
  });
  after(async () => await server?.stop());

  const library = (): Promise<TapeLibrary> =>
    TapeLibrary.open(new IscsiDevice(parseIscsiAddress(server.url(tid, 3))));
  const drive = (unit: number): IscsiDevice =>
    new IscsiDevice(parseIscsiAddress(server.url(tid, unit)));

  test('its places and what is in them are told', async () => {
    const one = await library();
    await one.initialise();
    const elements = await one.elements();
    const told = elements.map(({ kind, address, full, label }) => [kind, address, full, label]);
    assert.deepEqual(told, [
      ['arm', 1, false, ''],
      ['drive', 256, false, ''],
      ['drive', 257, false, ''],
      ['slot', 1024, true, 'AAA001L8'],
      ['slot', 1025, false, ''],
      ['slot', 1026, true, 'BBB002L8'],
      ['slot', 1027, true, 'CCC003L8'],
    ]);
    assert.deepEqual(
      (await one.drives()).map(({ address }) => address),
      [256, 257],
    );
    assert.equal((await one.find('BBB002L8')).address, 1026);
    await assert.rejects(one.find('ZZZ999L8'), { code: 'LIBRARY_MISSING' });
    await one.close();
    await assert.rejects(TapeLibrary.open(drive(1)), { code: 'DEVICE_ERROR' });
    await assert.rejects(openScsiVolume(drive(3)), { code: 'DEVICE_ERROR' });
  });

  test('tapes go through the drives, and come back to their slots with what was written', async () => {
    const one = await library();
    const volume = await openScsiVolume(drive(1));
    assert.equal((await volume.status()).loaded, false);
    await assert.rejects(volume.tell(), { code: 'VOLUME_NOT_READY' });
    const written = new Map<string, Buffer>();
    for (const label of ['AAA001L8', 'CCC003L8']) {
      await volume.unload().catch(() => undefined);
      await one.load(label, 256);
      await volume.load();
      const record = random.bytes(5000);
      written.set(label, record);
      await volume.append(record);
      await volume.synchronise();
    }
    assert.equal((await one.find('AAA001L8')).address, 1024, 'it went back by itself');
    const inDrive = await one.find('CCC003L8');
    assert.deepEqual([inDrive.kind, inDrive.source], ['drive', 1027]);
    await assert.rejects(one.load('CCC003L8', 257), { code: 'LIBRARY_MISSING' });
    // In the other drive it is the same tape.
    const other = await openScsiVolume(drive(2));
    await one.load('AAA001L8', 257);
    await other.load();
    assert.deepEqual(await readAll(other), [written.get('AAA001L8')]);
    await volume.rewind();
    assert.deepEqual(await readAll(volume), [written.get('CCC003L8')]);
    await volume.unload();
    await other.unload();
    await one.unload(256);
    await one.unload(257);
    await one.unload(257);
    assert.equal(
      (await one.drives()).some(({ full }) => full),
      false,
    );
    await assert.rejects(one.unload(999), { code: 'LIBRARY_MISSING' });
    for (const closed of [volume, other, one]) await closed.close();
  });

  test('a tape that somebody exchanged under a volume is told before anything is written', async () => {
    const one = await library();
    await one.load('AAA001L8', 256);
    const volume = await openScsiVolume(drive(1));
    await volume.load();
    await volume.append(random.bytes(100));
    await volume.synchronise();
    const other = await openScsiVolume(drive(1));
    await other.unload();
    await one.load('BBB002L8', 256);
    await other.load();
    await assert.rejects(volume.append(random.bytes(100)), (error: PenstockError) => {
      assert(['VOLUME_CHANGED', 'VOLUME_NOT_READY'].includes(error.code), error.message);
      return true;
    });
    await other.rewind();
    assert.deepEqual(await readAll(other), [], 'nothing was written to the other tape');
    await other.unload();
    await one.unload(256);
    for (const closed of [volume, other, one]) await closed.close();
  });
});
