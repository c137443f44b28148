/**
 * Goal: a drive as it is used, against a target that others wrote.
 * Method: Debian's tgt on loopback: discovery, CHAP in both directions, digests, sizes of PDUs, and a target
 * that is killed under a write.
 */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { seededRandom } from '../../src/host/mod.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import type { Volume } from '../../src/media/volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { discoverTargets, IscsiDevice, type IscsiOptions } from '../../src/scsi/iscsi-initiator.ts';
import { TapeDrive } from '../../src/scsi/tape-drive.ts';
import { readAll } from '../contract/volume.ts';
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

let server: TgtServer;

before(async () => {
  if (skip !== undefined) return;
  server = await TgtServer.start();
});
after(async () => await server?.stop());

test('targets are discovered', { skip }, async () => {
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
  test(`what is written is read: ${what}`, { skip }, async () => {
    const tid = await driveOf(server);
    for (const [name, value] of Object.entries(parameters)) await server.set(tid, name, value);
    const digests = 'HeaderDigest' in parameters;
    const required = { headerDigest: 'required', dataDigest: 'required' } as const;
    await roundTrip(server, tid, { offer: digests ? required : offer });
  });
}

test('CHAP in one and in both directions; without, or wrong, nobody comes in', {
  skip,
}, async () => {
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

test('a target, a unit or a kind of device that is not there is told', { skip }, async () => {
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

test('tgt warns before the end of its tape', { skip }, async () => {
  const tid = await driveOf(server, 1);
  const volume = await openScsiVolume(new IscsiDevice(parseIscsiAddress(server.url(tid, 1))));
  const warned: boolean[] = [];
  for (let i = 0; i < 6; i++) warned.push(await volume.append(random.bytes(250_000)));
  assert.deepEqual(warned, [false, false, false, false, true, true]);
  assert.equal((await volume.tell()).earlyWarning, true);
  await volume.close();
});

test('blocks of a fixed length are written and read by the number', { skip }, async () => {
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

test('a target that is killed while a tape is written, and started again', { skip }, async () => {
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
    // The drive stands at the beginning now, and cannot tell: it is brought back before it is written to.
    for (const record of records.slice(3)) await volume.append(record);
    await volume.rewind();
    assert.deepEqual(await readAll(volume), records);
    await volume.close();
  } finally {
    await own.stop();
  }
});
