/**
 * Goal: leaves of the manifest that are as long as they may be are records like all others, with the smallest
 * records that a pool may have, and with larger ones.
 *
 * Method: entries with as many attributes as an entry may have, in a deep folder; restored from the volume
 * alone.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LIMITS } from '../../src/base/limits.ts';
import { penstock } from '../commands.ts';
import { readTap } from '../tap-reader.ts';
import { noise, TreeMaker } from '../tree-make.ts';
import { assertRestores, makePlace, scratch } from '../volume-place.ts';

const ATTRIBUTE_BYTES = 62_000;
const LEAST = LIMITS.blockRawBytesDefault + LIMITS.headerRoomBytes;

/** Two files, each with a leaf of its own. */
function makeTree(name: string): string {
  const root = join(scratch, name);
  const tree = TreeMaker.open(root);
  const count = Math.floor(LIMITS.xattrsPerEntryBytesMax / (ATTRIBUTE_BYTES + 100));
  for (const file of ['one', 'two']) {
    const attributes = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `user.${i}`,
        noise(ATTRIBUTE_BYTES, `${file} ${i}`),
      ]),
    );
    tree.file(`${file}-${'x'.repeat(200)}`, 'x', { attributes });
  }
  tree.close();
  return root;
}

test('leaves of the greatest length fit the records of a pool', () => {
  const least = makePlace('least');
  const wide = makePlace('wide', '--block-size', '8M', '--volume-size', '128M');
  assert.equal(
    least.fails(
      'pool',
      'add',
      'less',
      '--kind',
      'tape-image',
      '--path',
      least.tapes,
      '--volume-size',
      '64M',
      '--block-size',
      '1M',
    ),
    'USAGE',
  );
  const source = makeTree('leaves');
  for (const place of [least, wide]) {
    const { archive } = place.run('backup', source, '--pool', 'tapes');
    const longest = Math.max(...readTap(place.tap('TAP001')).map((one) => one.length));
    assert(longest > LIMITS.xattrsPerEntryBytesMax * 0.9 && longest <= LEAST, `${longest} bytes`);
    assertRestores(place, archive as string, source);
    // From the volume alone.
    rmSync(place.repo, { recursive: true });
    const { status, stdout } = penstock(
      ['catalog', 'rebuild', '--volumes', place.tapes, '--repo', place.repo],
      place.options,
    );
    assert.equal(status, 0, stdout);
    assertRestores(place, archive as string, source);
  }
});
