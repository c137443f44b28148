/**
 * Goal: of an image that was spoiled, everything restores that was not hit, and what was is named by
 * volume and object (L5).
 * Method: whole commands; torn tails and flipped bytes at places that a seed chooses.
 */
import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { penstock, succeed } from '../commands.ts';
import { readTap } from '../tap-reader.ts';
import { noise } from '../tree-make.ts';
import { flip } from '../volume-place.ts';
import {
  assertRestores,
  below,
  check,
  MB,
  makePlace,
  makeTree,
  recordsOf,
  restore,
} from './volume-place.ts';

describe('an image that was spoiled', () => {
  test('with a torn tail: what was committed is there, and the next session goes on', async () => {
    const source = makeTree('torn', 3);
    const { repo, tapes, pool } = makePlace('torn', '64M');
    const first = succeed(['backup', source, ...pool]).summary.archive;
    const image = join(tapes, 'TAP001.tap');
    // The power failed in the middle of a record.
    const half = Buffer.alloc(70_000, 3);
    half.writeUInt32LE(2 * MB, 0);
    appendFileSync(image, half);
    assertRestores(repo, first, source);
    writeFileSync(join(source, 'more'), noise(MB, 'more'));
    const second = succeed(['backup', source, ...pool]).summary.archive;
    readTap(image);
    assertRestores(repo, second, source);
    check(repo);
  });

  test('with a flipped byte: volume and object are named, and all else restores', () => {
    const source = makeTree('flipped', 6);
    const { repo, tapes, pool } = makePlace('flipped', '64M');
    const { archive } = succeed(['backup', source, ...pool]).summary;
    const long = recordsOf(tapes).filter(({ record }) => record.length > MB);
    const { image, object, record } = long[below(long.length)] as (typeof long)[number];
    const at = readFileSync(image).indexOf(record);
    flip(image, at + 5000 + below(record.length - 6000));
    const { run, target } = restore(repo, archive as string);
    assert.equal(run.status, 3, run.stdout);
    const damage = run.warnings.filter(({ code }) => code === 'DAMAGED');
    const lost = damage.map(({ path }) => String(path));
    assert(lost.length > 0 && lost.length <= 4, lost.join());
    for (const { message } of damage)
      assert.match(String(message), new RegExp(`${image}, object ${object}:`));
    for (const name of readdirSync(source)) {
      if (lost.some((path) => path.endsWith(`/${name}`))) continue;
      const restored = readFileSync(join(target, source, name));
      assert(restored.equals(readFileSync(join(source, name))), name);
    }
    const checked = penstock(['check', '--read-data', '--repo', repo]);
    assert.equal(checked.status, 1);
    assert.match(checked.stdout, new RegExp(`object ${object}:`));
    // From now on what the record held is not taken for stored: the next session writes it anew.
    const again = succeed(['backup', source, ...pool]).summary.archive;
    assertRestores(repo, archive as string, source);
    assertRestores(repo, again as string, source);
    check(repo);
    const pruned = penstock(['prune', '--repo', repo, '--max-unused', '0']);
    assert.doesNotMatch(pruned.stdout, /"code"/);
    assertRestores(repo, archive as string, source);
  });
});
