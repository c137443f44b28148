/**
 * Goal: content of every size and kind comes back: around the borders of blobs, units and regions,
 * long lists, mixed kinds, holes, which cost nothing and come back as holes (U2, M2).
 * Method: one archive of all, restored once; contents, sizes and allocated space are compared.
 */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { LIMITS } from '../../src/base/limits.ts';
import { type JsonLine, scratchFolder, succeed } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, prose, TreeMaker } from '../tree-make.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const scratch = scratchFolder();
const repo = join(scratch, 'repo');
const source = join(scratch, 'source');
const target = join(scratch, 'target');
let summary: JsonLine;

const BORDERS = [
  LIMITS.cutBytesMin,
  LIMITS.wholeFileBytesMax,
  LIMITS.cutBytesMax,
  LIMITS.blockRawBytesDefault,
  2 * LIMITS.blockRawBytesDefault,
];

before(() => {
  const tree = TreeMaker.open(source);
  tree.directory('borders', (borders) => {
    const text = prose(5 * MIB, 'borders');
    for (const border of BORDERS) {
      for (const size of [border - 1, border, border + 1, border - KIB, border + KIB]) {
        borders.file(`text ${size}`, text.subarray(0, size));
      }
    }
    borders.file('one byte', 'x');
    borders.file('noise', noise(LIMITS.wholeFileBytesMax + 1, 'border'));
  });
  tree.directory('large', (large) => {
    // What repeats is stored once; the cuts are those of noise.
    const block = noise(16 * MIB, 'large');
    const copies = (count: number): { at: number; bytes: Buffer }[] =>
      Array.from({ length: count }, (_, i) => ({ at: i * block.length, bytes: block }));
    large.file('unit', copies(2));
    large.file('unit and one', [...copies(2), { at: 32 * MIB, bytes: Buffer.from('1') }]);
    large.file(
      'unit less one',
      [block, block.subarray(1)].map((bytes, i) => ({ at: i * block.length, bytes })),
    );
    large.file('region and one', [...copies(16), { at: 256 * MIB, bytes: Buffer.from('1') }]);
    large.file('zeros', Buffer.alloc(40 * MIB));
  });
  tree.directory('mixed', (mixed) => {
    mixed.file(
      'text, noise, text',
      Buffer.concat([prose(3 * MIB, '1'), noise(3 * MIB, '2'), prose(3 * MIB, '3')]),
    );
    mixed.file('noise, text', Buffer.concat([noise(MIB, '4'), prose(MIB, '5')]));
    mixed.file(
      'called compressed',
      Buffer.concat([Buffer.from('\x1f\x8b', 'latin1'), noise(300_000, '6')]),
    );
    mixed.file(
      'text called compressed',
      Buffer.concat([Buffer.from('PK\x03\x04'), prose(300_000, '7')]),
    );
  });
  tree.directory('holes', (holes) => {
    const data = noise(256 * KIB, 'holes');
    holes.file(
      '3 GB',
      [0, 1000 * MIB, 2047 * MIB, 3000 * MIB].map((at) => ({ at, bytes: data })),
    );
    holes.file('only a hole', '');
    holes.lengthen('only a hole', 700 * MIB);
    holes.file('hole at the end', [{ at: 0, bytes: data }]);
    holes.lengthen('hole at the end', 10 * MIB);
    holes.file('hole at the start', [{ at: 10 * MIB, bytes: data }]);
    holes.file('small', [{ at: 100_000, bytes: Buffer.from('end') }]);
    const pieces = Array.from({ length: 1500 }, (_, i) => ({
      at: i * 8 * KIB,
      bytes: Buffer.from(`piece ${i}`),
    }));
    holes.file('many', pieces);
    holes.file('ends within a page', [{ at: 5 * MIB + 7, bytes: Buffer.from('x') }]);
  });
  tree.close();
  summary = succeed(['backup', source, '--repo', repo]).summary;
  succeed(['restore', 'latest', '--repo', repo, '--target', target]);
});

for (const name of ['borders', 'large', 'mixed', 'holes']) {
  test(`content comes back: ${name}`, () => {
    assertSameTree(capture(join(target + source, name)), capture(join(source, name)));
  });
}

test('holes are neither read nor stored, and come back as holes', () => {
  const holes = join(source, 'holes');
  for (const name of readdirSync(holes)) {
    // One blob anyway: its holes are stored as zeros.
    if (name === 'small') continue;
    const [from, to] = [statSync(join(holes, name)), statSync(join(target + holes, name))];
    assert.ok(to.blocks <= from.blocks, `${name}: ${to.blocks} blocks of ${from.blocks}`);
  }
  assert.ok(statSync(join(target + holes, '3 GB')).blocks * 512 < 2 * MIB);
  // Beside the holes there are some 450 MB.
  assert.ok((summary.bytesRead as number) < 600 * MIB, `${summary.bytesRead} bytes read`);
});

test('what repeats is stored once', () => {
  assert.ok((summary.bytesStored as number) < 45 * MIB, `${summary.bytesStored} bytes stored`);
});

test('the archive is whole', () => {
  succeed(['check', '--read-data', '--repo', repo]);
});
