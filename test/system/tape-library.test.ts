/**
 * Goal: a library brings the tapes into its drives, and nothing is written to the wrong one.
 * Method: Debian's tgt on loopback: a changer with four slots and two drives.
 */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { seededRandom } from '../../src/host/mod.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { TapeLibrary } from '../../src/scsi/library.ts';
import { readAll } from '../contract/volume.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';

const skip = tgtMissing();
const random = seededRandom(5);
let server: TgtServer;
let tid = 0;
before(async () => {
  if (skip !== undefined) return;
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

test('its places and what is in them are told', { skip }, async () => {
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
  // Only the kind of the cartridge may be left out: BBB0 is another tape's name.
  assert.equal((await one.find('BBB002')).address, 1026);
  await assert.rejects(one.find('BBB002L'), { code: 'LIBRARY_MISSING' });
  await assert.rejects(one.find('ZZZ999L8'), { code: 'LIBRARY_MISSING' });
  await one.close();
  await assert.rejects(TapeLibrary.open(drive(1)), { code: 'DEVICE_ERROR' });
  await assert.rejects(openScsiVolume(drive(3)), { code: 'DEVICE_ERROR' });
});

test('tapes go through the drives, and come back to their slots with what was written', {
  skip,
}, async () => {
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

test('a tape is not taken out under a volume that is written', { skip }, async () => {
  const one = await library();
  await one.load('AAA001L8', 256);
  const volume = await openScsiVolume(drive(1));
  await volume.load();
  const record = random.bytes(100);
  await volume.append(record);
  await volume.synchronise();
  const other = await openScsiVolume(drive(1));
  await assert.rejects(other.unload(), { code: 'VOLUME_IO', message: /sense 05\/53\/02/ });
  await assert.rejects(one.load('BBB002L8', 256), {
    code: 'DEVICE_ERROR',
    message: /MOVE MEDIUM/,
  });
  await volume.rewind();
  assert.deepEqual(await readAll(volume), [record]);
  await volume.unload();
  await one.load('BBB002L8', 256);
  await other.load();
  assert.deepEqual(await readAll(other), []);
  await other.unload();
  await one.unload(256);
  for (const closed of [volume, other, one]) await closed.close();
});
