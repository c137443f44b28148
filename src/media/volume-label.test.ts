/**
 * Goal: blank, foreign and our own media are told apart, and nothing is overwritten by mistake.
 * Method: labels on media in memory, foreign contents of several kinds, and labels that were spoiled.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeLabel } from '../../test/volume-fixture.ts';
import { decodeVol1, type VolumeLabel } from '../format/volume-label.ts';
import { seededRandom } from '../host/mod.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { inspectVolume, labelVolume } from './volume-label.ts';

const random = seededRandom(3);
const label = () => makeLabel(random, 65_536);
const written = (...objects: (Buffer | undefined)[]): MemoryVolume => {
  const medium = new MemoryMedium();
  medium.objects = objects;
  return new MemoryVolume(medium);
};
const ansi = (text: string): Buffer => Buffer.from(text.padEnd(79).concat('3'), 'latin1');

test('a blank medium is labelled, and read back with all that it carries', async () => {
  const volume = written();
  assert.deepEqual(await inspectVolume(volume), { kind: 'blank' });
  const ours = { ...label(), records: [{ name: 'keys/0011.1', record: 'AAECAw==' }] };
  await labelVolume(volume, ours);
  assert.equal((await volume.tell()).object, 3);
  const found = await inspectVolume(volume);
  assert(found.kind === 'ours');
  assert.deepEqual(found.label, ours);
  assert.equal((await volume.tell()).object, 3);
});

test('the first record is a VOL1 label of 80 bytes, each field in its place', async () => {
  const volume = written();
  await labelVolume(volume, { ...label(), name: 'AB12', pool: 'tägliche bänder' });
  const vol1 = volume.medium.objects[0] as Buffer;
  assert.equal(
    vol1.toString('latin1'),
    `VOL1AB12  ${' '.repeat(14)}PENSTOCK     T-GLICHE B-NDE${' '.repeat(28)}3`,
  );
  assert.deepEqual(decodeVol1(vol1), {
    ...{ name: 'AB12', implementation: 'PENSTOCK', owner: 'T-GLICHE B-NDE' },
  });
});

test('a name that a cartridge cannot have is refused, and nothing is written', async () => {
  const volume = written();
  for (const name of ['', 'TOOLONG', 'abc', 'A B'])
    await assert.rejects(labelVolume(volume, { ...label(), name }), { code: 'USAGE' });
  assert.deepEqual(volume.medium.objects, []);
});

test('what is foreign is named, and only forced to go', async () => {
  const tar = Buffer.alloc(10_240, 'x');
  const other = ansi(`VOL1BACKUP${' '.repeat(14)}IBM BACKUP`);
  const cases: [MemoryVolume, RegExp][] = [
    [written(tar), /a record of 10240 bytes/],
    [written(other, undefined), /volume BACKUP by IBM BACKUP/],
    [written(undefined, tar), /a file mark/],
    [written(ansi(`VOL1OURS  ${' '.repeat(14)}PENSTOCK`), tar), /volume OURS of Penstock/],
    [written(ansi(`VOL1OURS  ${' '.repeat(14)}PENSTOCK`)), /whose label cannot be read/],
  ];
  const unreadable = written(tar);
  unreadable.medium.unreadable.add(0);
  cases.push([unreadable, /cannot be read/]);
  for (const [volume, what] of cases) {
    const before = [...volume.medium.objects];
    const found = await inspectVolume(volume);
    assert(found.kind === 'foreign');
    assert.match(found.what, what);
    await assert.rejects(labelVolume(volume, label()), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'VOLUME_FOREIGN');
      assert.match(error.message, what);
      return true;
    });
    assert.deepEqual(volume.medium.objects, before);
    await labelVolume(volume, label(), { force: true });
    assert.equal((await inspectVolume(volume)).kind, 'ours');
  }
});

test('one of ours is replaced only when it may be; whoever says so knows whether it is empty', async () => {
  const volume = written();
  const [first, second, third] = [label(), label(), label()];
  await labelVolume(volume, first);
  await assert.rejects(labelVolume(volume, second), { code: 'VOLUME_FOREIGN' });
  const asked: [string, boolean][] = [];
  const mayReplace = (may: boolean) => (found: VolumeLabel, isEmpty: boolean) => {
    asked.push([found.volume, isEmpty]);
    return may;
  };
  await assert.rejects(labelVolume(volume, second, { mayReplace: mayReplace(false) }), {
    code: 'VOLUME_FOREIGN',
  });
  const replaced = await labelVolume(volume, second, { mayReplace: mayReplace(true) });
  assert.equal(replaced?.volume, first.volume);
  const found = await inspectVolume(volume);
  assert(found.kind === 'ours');
  assert.equal(found.label.volume, second.volume);
  await volume.append(Buffer.alloc(100, 7));
  await labelVolume(volume, third, { mayReplace: mayReplace(true) });
  assert.deepEqual(asked, [
    [first.volume, true],
    [first.volume, true],
    [second.volume, false],
  ]);
});

test('a flipped bit anywhere in the label makes it no label of ours', async () => {
  const volume = written();
  await labelVolume(volume, label());
  const record = volume.medium.objects[1] as Buffer;
  for (let at = 0; at < record.length; at++) {
    record[at] = (record[at] ?? 0) ^ 0x10;
    const isRefused = await inspectVolume(volume).then(
      ({ kind }) => kind === 'foreign',
      // A feature that is not known is told as such: a newer version may have written it.
      ({ code }) => code === 'REPO_FEATURE',
    );
    assert(isRefused, `byte ${at}`);
    record[at] = (record[at] ?? 0) ^ 0x10;
  }
  assert.equal((await inspectVolume(volume)).kind, 'ours');
});

test('what is write-protected is not labelled', async () => {
  const volume = written();
  volume.medium.writeProtected = true;
  await assert.rejects(labelVolume(volume, label()), { code: 'VOLUME_PROTECTED' });
});
