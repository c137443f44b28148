/**
 * Goal: a library brings the tapes of a pool into several drives, which are written at the same time; a tape is
 * read in whichever drive it is, or comes into one that is free; the same without a library (L3).
 *
 * Method: whole commands against Debian's tgt on loopback: a changer with two drives, and two drives without one;
 * what is restored is compared with its source. tape-drives.test.ts has drives that know reservations.
 */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { TapeLibrary } from '../../src/scsi/library.ts';
import { ScsiUnit } from '../../src/scsi/scsi-unit.ts';
import { type JsonLine, penstock, scratchFolder, succeed, untilOld } from '../commands.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';

const skip = tgtMissing();
const scratch = scratchFolder();
const sources = [join(scratch, 'left'), join(scratch, 'right')];
let server: TgtServer;

before(async () => {
  if (skip !== undefined) return;
  server = await TgtServer.start();
  for (const root of sources) {
    mkdirSync(root);
    for (let i = 0; i < 10; i++) writeFileSync(join(root, `file-${i}`), noise(200_000, root + i));
  }
  await untilOld();
});
after(async () => await server?.stop());

const device = (tid: number, lun: number): IscsiDevice =>
  new IscsiDevice(parseIscsiAddress(server.url(tid, lun)));

function assertRestores(repo: string, archive: string, source: string): void {
  const target = join(scratch, 'restored');
  rmSync(target, { recursive: true, force: true });
  succeed(['restore', archive, '--target', target, '--repo', repo]);
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
}

/** Backs both sources up at once; the archives in their order, and the volumes that each drive wrote. */
function backupBoth(repo: string): { archives: string[]; volumes: string[][] } {
  const { summary } = succeed(['backup', '--each', ...sources, '--pool', 'lto', '--repo', repo]);
  const drives = (summary.drives ?? [summary.drive]) as { volumes: { volume: string }[] }[];
  return {
    archives: (summary.archives as { archive: string }[]).map(({ archive }) => archive),
    volumes: drives.map(({ volumes }) => volumes.map(({ volume }) => volume)),
  };
}

function volumeNames(repo: string): string[] {
  return succeed(['volume', 'list', '--repo', repo])
    .stdout.split('\n')
    .filter((line) => line.includes('"type":"volume"'))
    .map((line) => (JSON.parse(line) as JsonLine).name as string)
    .toSorted();
}

test('a library with two drives: two tapes at once, and each is read where it is, or brought', {
  skip,
}, async () => {
  const tid = await server.addTarget();
  const labels = ['AAA001L8', 'AAA002L8', 'AAA003L8'];
  for (const label of labels) await server.makeTape(label, 64);
  await server.addEmptyDrive(tid, 1);
  await server.addEmptyDrive(tid, 2);
  await server.addChanger(tid, 3, [...labels, ''], [1, 2]);
  const repo = join(scratch, 'library-repo');
  succeed(['init', '--repo', repo]);
  const drives = ['--device', server.url(tid, 1), '--device', server.url(tid, 2)];
  const add = ['pool', 'add', 'lto', '--kind', 'tape', ...drives, '--changer', server.url(tid, 3)];
  const once = penstock([...add, '--drive', '1', '--repo', repo]);
  assert.equal(once.errors[0]?.code, 'USAGE');
  const twice = penstock([...add, '--device', server.url(tid, 2), '--repo', repo]);
  assert.match(String(twice.errors[0]?.message), /is given twice/);
  succeed([...add, '--repo', repo]);

  const { archives, volumes } = backupBoth(repo);
  assert.deepEqual(
    volumes.map(({ length }) => length),
    [1, 1],
  );
  assert.deepEqual(volumeNames(repo), ['AAA001', 'AAA002']);
  const library = await TapeLibrary.open(device(tid, 3));
  const placeOf = async (label: string): Promise<string> => (await library.find(label)).kind;
  assert.deepEqual(
    [await placeOf('AAA001'), await placeOf('AAA002'), await placeOf('AAA003')],
    ['drive', 'drive', 'slot'],
  );
  for (const [i, source] of sources.entries()) assertRestores(repo, archives[i] as string, source);
  // They are in the drives still: none had to be moved.
  assert.deepEqual([await placeOf('AAA001'), await placeOf('AAA002')], ['drive', 'drive']);

  // Both go back to their slots, and one comes into the other drive.
  const inSecond = (await library.drives())[1]?.label as string;
  for (const [lun, element] of [
    [1, 256],
    [2, 257],
  ] as const) {
    const volume = await openScsiVolume(device(tid, lun));
    await volume.unload();
    await volume.close();
    await library.unload(element);
  }
  await library.load(inSecond, 256);
  await library.close();
  for (const [i, source] of sources.entries()) assertRestores(repo, archives[i] as string, source);
  succeed(['check', '--read-data', '--repo', repo]);
  for (const name of volumeNames(repo)) succeed(['volume', 'verify', name, '--repo', repo]);
  const label = ['volume', 'label', 'AAA003', '--pool', 'lto', '--repo', repo];
  succeed(label);

  // From the tapes alone, by both drives.
  rmSync(repo, { recursive: true });
  const places = [server.url(tid, 1), server.url(tid, 2)].flatMap((one) => ['--volumes', one]);
  const rebuild = ['catalog', 'rebuild', ...places, '--changer', server.url(tid, 3)];
  const made = succeed([...rebuild, '--repo', repo]).summary;
  assert.deepEqual([made.volumes, (made.archivesMade as string[]).length], [3, 2]);
  assertRestores(repo, archives[1] as string, sources[1] as string);
});

test('a library tells which drive is which by their serial numbers', { skip }, async () => {
  const tid = await server.addTarget();
  for (const lun of [1, 2, 3]) await server.addEmptyDrive(tid, lun);
  await server.addChanger(tid, 4, ['', ''], [1, 2, 3]);
  const library = await TapeLibrary.open(device(tid, 4));
  const told: (number | undefined)[] = [];
  for (const lun of [1, 2, 3]) {
    const unit = new ScsiUnit(device(tid, lun));
    told.push((await library.driveOf(await unit.identity()))?.address);
    await unit.device.close();
  }
  await library.close();
  // Of the last one tgt does not tell all.
  assert.deepEqual(told, [256, 257, undefined]);
});

test('two drives without a library: two tapes at once, and each is found when it is in the other drive', {
  skip,
}, async () => {
  const tids = [await server.addTarget(), await server.addTarget()];
  const tapes = [await server.makeTape('HAND01', 64), await server.makeTape('HAND02', 64)];
  for (const [i, tid] of tids.entries()) await server.addDrive(tid, 1, tapes[i] as string);
  const repo = join(scratch, 'hand-repo');
  succeed(['init', '--repo', repo]);
  const drives = tids.flatMap((tid) => ['--device', server.url(tid, 1)]);
  succeed(['pool', 'add', 'lto', '--kind', 'tape', ...drives, '--repo', repo]);
  const { archives, volumes } = backupBoth(repo);
  assert.deepEqual(
    volumes.map(({ length }) => length),
    [1, 1],
  );
  const swap = async (): Promise<void> => {
    for (const tid of tids) {
      const volume = await openScsiVolume(device(tid, 1));
      await volume.unload();
      await volume.close();
    }
    for (const [i, tid] of tids.entries()) await server.changeTape(tid, 1, tapes[1 - i] as string);
  };
  await swap();
  for (const [i, source] of sources.entries()) assertRestores(repo, archives[i] as string, source);
  const names = volumeNames(repo);
  assert.deepEqual(names, ['LTO001', 'LTO002']);
  for (const name of names) succeed(['volume', 'verify', name, '--repo', repo]);
  // What is appended goes to the same tapes.
  writeFileSync(join(sources[0] as string, 'more'), noise(300_000, 'more'));
  await untilOld();
  const again = backupBoth(repo);
  assert.deepEqual(volumeNames(repo), names);
  assertRestores(repo, again.archives[0] as string, sources[0] as string);
});
