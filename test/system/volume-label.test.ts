/**
 * Goal: labelling and erasing do what they say, and never more: nothing that is needed, or not ours, is
 * overwritten.
 *
 * Method: whole commands on small tape images, some of them foreign, away, forgotten or write-protected.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { IS_ROOT, NOBODY, penstock, succeed } from '../commands.ts';
import { readTap, tapBytes } from '../tap-reader.ts';
import {
  backup,
  makeEncryptedPlace,
  makePlace,
  makeTree,
  scratch,
  volumeNames,
} from '../volume-place.ts';

test('a medium is labelled if it is blank, and written by the next backup', () => {
  const place = makeEncryptedPlace('label');
  const { volume } = place.run('volume', 'label', 'A1', '--pool', 'tapes');
  const [vol1, label, mark, ...rest] = readTap(place.tap('A1'));
  assert.equal((vol1 as Buffer).toString('latin1', 0, 10), 'VOL1A1    ');
  assert((label as Buffer).includes((volume as { id: string }).id));
  for (const record of ['"name":"repository"', '"name":"keys/'])
    assert((label as Buffer).includes(record), `${record} is on it: a passphrase is enough`);
  assert.deepEqual([mark, rest], ['mark', []]);
  const [archive] = backup(place, makeTree('labelled', 2));
  assert.deepEqual(readdirSync(place.tapes), ['A1.tap']);

  // What is needed stays, whatever is asked for.
  for (const force of [[], ['--force']])
    assert.equal(place.fails('volume', 'label', 'A1', '--pool', 'tapes', ...force), 'VOLUME_USED');
  assert.equal(place.fails('volume', 'erase', 'A1'), 'VOLUME_USED');
  // Also where the medium is under another name, or away.
  renameSync(place.tap('A1'), place.tap('B2'));
  assert.equal(place.fails('volume', 'label', 'B2', '--pool', 'tapes', '--force'), 'VOLUME_USED');
  assert.equal(place.fails('volume', 'label', 'A1', '--pool', 'tapes', '--force'), 'VOLUME_USED');
  assert(!existsSync(place.tap('A1')), 'nothing was made in its place');
  renameSync(place.tap('B2'), place.tap('A1'));

  // Not needed any more: it may have another label.
  place.run('forget', archive as string, '--prune');
  const again = place.run('volume', 'label', 'A1', '--pool', 'tapes');
  assert.match(again.replaced as string, /volume A1/);
  assert.deepEqual(volumeNames(place), ['A1']);
});

test('what is not ours is overwritten only by force', () => {
  const place = makePlace('foreign');
  const vol1 = Buffer.alloc(80, ' ');
  vol1.write('VOL1OTHER1');
  vol1.write('OTHERPROGRAM', 24);
  const foreign = tapBytes(80, vol1, 80, 4, Buffer.from('data'), 4, 0);
  writeFileSync(place.tap('C1'), foreign);
  const label = ['volume', 'label', 'C1', '--pool', 'tapes'];
  assert.equal(place.fails(...label), 'VOLUME_FOREIGN');
  assert.deepEqual(readFileSync(place.tap('C1')), foreign);
  const { replaced } = place.run(...label, '--force');
  assert.equal(replaced, 'volume OTHER1 by OTHERPROGRAM');
  place.run('volume', 'verify', 'C1');

  // A volume of another repository is not ours.
  const other = makePlace('neighbour');
  writeFileSync(other.tap('C1'), readFileSync(place.tap('C1')));
  assert.equal(other.fails(...label), 'VOLUME_FOREIGN');

  assert.equal(place.fails('volume', 'label', 'tape-1', '--pool', 'tapes'), 'USAGE');
  assert.equal(place.fails('volume', 'label', 'C2', '--pool', 'none'), 'POOL_MISSING');
  assert.equal(place.fails('volume', 'verify', 'NONE'), 'VOLUME_MISSING');
});

test('a volume of this repository that it has forgotten is not overwritten while it is needed', () => {
  const place = makePlace('unknown');
  backup(place, makeTree('unknown', 1));
  const maps = join(place.repo, 'maps');
  for (const name of readdirSync(maps))
    if (name.startsWith('volume-')) renameSync(join(maps, name), join(scratch, name));
  assert.deepEqual(volumeNames(place), []);
  const label = ['volume', 'label', 'TAP001', '--pool', 'tapes', '--force'];
  assert.equal(place.fails(...label), 'VOLUME_USED');
});

test('a volume is erased and forgotten, or only forgotten where it is lost', () => {
  const place = makePlace('erase');
  for (const name of ['E1', 'E2']) place.run('volume', 'label', name, '--pool', 'tapes');
  const { erased } = place.run('volume', 'erase', 'E1');
  assert.equal(erased, true);
  assert.deepEqual(readTap(place.tap('E1')), []);
  assert.deepEqual(volumeNames(place), ['E2']);
  place.run('volume', 'label', 'E1', '--pool', 'tapes');

  renameSync(place.tap('E2'), join(scratch, 'E2.away'));
  assert.equal(place.fails('volume', 'erase', 'E2'), 'VOLUME_NOT_READY');
  assert.equal(place.run('volume', 'erase', 'E2', '--force').erased, false);
  assert.deepEqual(volumeNames(place), ['E1']);
});

test('a write-protected medium is refused, and is as it was', () => {
  const place = makePlace('protected');
  place.run('volume', 'label', 'P1', '--pool', 'tapes');
  const before = readFileSync(place.tap('P1'));
  chmodSync(place.tap('P1'), 0o444);
  // To root no file is write-protected.
  const options = IS_ROOT ? { user: NOBODY } : {};
  if (IS_ROOT) {
    const all = [place.repo, ...(readdirSync(place.repo, { recursive: true }) as string[])];
    for (const path of all)
      chownSync(join(place.repo, path.replace(place.repo, '')), NOBODY, NOBODY);
  }
  for (const args of [
    ['volume', 'erase', 'P1'],
    ['volume', 'label', 'P1', '--pool', 'tapes'],
  ]) {
    const { status, errors } = penstock([...args, '--repo', place.repo], options);
    assert.deepEqual([status, errors[0]?.code], [1, 'VOLUME_PROTECTED']);
  }
  assert.deepEqual(readFileSync(place.tap('P1')), before);
  succeed(['volume', 'verify', 'P1', '--repo', place.repo], options);
});
