/**
 * Goal: an image that ends before what is stored on it, because its end cannot be found any more or because
 * it is an older copy, is not written: what lies behind would be gone.
 * Method: whole commands; another volume is taken instead, and the image stays as it is.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { succeed } from '../commands.ts';
import { noise } from '../tree-make.ts';
import {
  assertRestores,
  check,
  MB,
  makePlace,
  makeTree,
  recordsOf,
  restore,
} from './volume-place.ts';

describe('an image that ends too early', () => {
  test('with a hole of zeros that hides its end: nothing behind it is cut off', () => {
    const source = makeTree('hole', 6);
    const { repo, tapes, pool } = makePlace('hole', '64M');
    succeed(['backup', source, ...pool]);
    const image = join(tapes, 'TAP001.tap');
    // A sector with the end of one record and the beginning of the next.
    const [long] = recordsOf(tapes).filter(({ record }) => record.length > MB);
    const { record } = long as NonNullable<typeof long>;
    const bytes = readFileSync(image);
    bytes.fill(
      0,
      bytes.indexOf(record) + record.length - 2048,
      bytes.indexOf(record) + record.length + 2048,
    );
    writeFileSync(image, bytes);
    writeFileSync(join(source, 'more'), noise(MB, 'more'));
    const run = succeed(['backup', source, ...pool]);
    const second = run.summary.archive;
    const warned = run.warnings.find(({ code }) => code === 'VOLUME_DAMAGED');
    assert.match(String(warned?.message), /TAP001.*another one is taken/);
    assert(readFileSync(image).equals(bytes), 'what lies behind the hole is there');
    assert.deepEqual(readdirSync(tapes).sort(), ['TAP001.tap', 'TAP002.tap']);
    const restored = restore(repo, second as string);
    assert(readFileSync(join(restored.target, source, 'more')).equals(noise(MB, 'more')));
  });

  test('an older copy of it: nothing is written to that', () => {
    const source = makeTree('older', 2);
    const { repo, tapes, pool } = makePlace('older', '64M');
    succeed(['backup', source, ...pool]);
    const image = join(tapes, 'TAP001.tap');
    const older = readFileSync(image);
    writeFileSync(join(source, 'more'), noise(MB, 'more'));
    succeed(['backup', source, ...pool]);
    const newer = readFileSync(image);
    writeFileSync(image, older);
    writeFileSync(join(source, 'again'), noise(MB, 'again'));
    const third = succeed(['backup', source, ...pool]).summary.archive;
    assert(readFileSync(image).equals(older));
    // Where the right one comes back all is there.
    writeFileSync(image, newer);
    assertRestores(repo, third, source);
    check(repo);
  });
});
