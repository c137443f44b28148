/**
 * Goal: a restore stays below its target and gives no wrong content, whatever a manifest says: entries
 * that would leave their directory are refused, others are restored or told (issue 2, item 4).
 * Method: archives made by hand with the code of the format, sealed with the right key.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PenstockError } from '../../src/base/errors.ts';
import { ENTRY, ENTRY_FLAG, EXTRA } from '../../src/format/entry.ts';
import { Bench } from '../bench.ts';
import { scratchFolder } from '../commands.ts';
import { type HandMadeLeaf, storeHandMade } from '../hand-made.ts';
import { capture } from '../tree-compare.ts';

const scratch = scratchFolder();
const outside = join(scratch, 'outside');
let bench: Bench;
let number = 0;

before(async () => {
  bench = await Bench.make(scratch, 'repo');
  mkdirSync(outside);
  writeFileSync(join(outside, 'precious'), 'precious');
});
after(() => bench.close());

/** Asserts that nothing but the target has changed, and returns what came into it. */
function assertInside(target: string): string[] {
  assert.deepEqual(readdirSync(outside), ['precious']);
  assert.equal(readFileSync(join(outside, 'precious'), 'utf8'), 'precious');
  assert.deepEqual(
    readdirSync(scratch).filter((name) => !/^(repo|outside|place\d+)$/.test(name)),
    [],
  );
  assert.deepEqual(
    readdirSync(join(target, '..')).filter((name) => name !== 'target'),
    [],
  );
  return existsSync(target) ? [...capture(target).keys()].filter((path) => path !== '') : [];
}

async function restore(
  leaf: HandMadeLeaf,
  change?: (bytes: Buffer) => void,
): Promise<{ paths: string[]; told: string[]; target: string; refused: string | undefined }> {
  const archive = await storeHandMade(bench.repository, leaf, change);
  const target = join(scratch, `place${number++}`, 'target');
  mkdirSync(join(target, '..'));
  let refused: string | undefined;
  let told: string[] = [];
  try {
    const result = await bench.restore(target, { archive, overwrite: 'always' });
    told = result.told.map(({ code, path }) => `${code} ${path}`);
  } catch (error) {
    assert.ok(error instanceof PenstockError);
    refused = error.code;
  }
  const findings = await bench.check(false);
  // What is refused here is damage for a check, of this archive and no other.
  const damaged = findings.damages.filter(({ id }) => id === archive.id);
  assert.equal(damaged.length > 0, refused !== undefined, JSON.stringify(findings.damages));
  await bench.repository.store.remove('archives', archive.id);
  return { paths: assertInside(target), told, target, refused };
}

test('names that would leave their directory are refused', async () => {
  for (const name of ['..', '.', '../outside/precious', '/x', 'a/b', 'a\0b']) {
    const { refused, paths } = await restore({
      entries: [
        { name: 'a', content: 'a' },
        { name, content: 'hostile' },
      ],
    });
    assert.equal(refused, 'DAMAGED', JSON.stringify(name));
    assert.deepEqual(
      paths.filter((path) => path !== 'a'),
      [],
    );
  }
});

test('names of directories are refused likewise', async () => {
  const entries = [
    { name: '..', kind: ENTRY.directory },
    { name: 'x', depth: 1, content: 'x' },
  ];
  assert.equal((await restore({ entries })).refused, 'DAMAGED');
});

test('so are leaves whose place would be elsewhere, and depths without a directory', async () => {
  for (const prefix of ['..', 'a/../..', '/', 'a//b', 'a/\0']) {
    const depth = prefix.split('/').length;
    const { refused, paths } = await restore({
      prefix,
      entries: [{ name: 'x', depth, content: 'x' }],
    });
    assert.equal(refused, 'DAMAGED', prefix);
    assert.deepEqual(paths, []);
  }
  const deep = await restore({
    entries: [
      { name: 'a', content: 'a' },
      { name: 'x', depth: 2, content: 'x' },
    ],
  });
  assert.equal(deep.refused, 'DAMAGED');
  const belowFile = await restore({
    entries: [
      { name: 'a', content: 'a' },
      { name: 'x', depth: 1, content: 'x' },
    ],
  });
  assert.equal(belowFile.refused, 'DAMAGED');
});

test('a link that is followed by a directory of its name is not gone through', async () => {
  const { paths, told } = await restore({
    entries: [
      { name: 'd', kind: ENTRY.symlink, extras: [[EXTRA.linkTarget, outside]] },
      { name: 'd', kind: ENTRY.directory },
      { name: 'precious', depth: 1, content: 'hostile' },
      { name: 'new', depth: 1, kind: ENTRY.fifo },
      { name: 'z', content: 'z' },
    ],
  });
  assert.deepEqual(paths, ['d', 'z']);
  assert.deepEqual(told, ['TARGET_EXISTS d']);
});

test('entries of one name do not overwrite what they lead to', async () => {
  const { paths } = await restore({
    entries: [
      { name: 'l', kind: ENTRY.symlink, extras: [[EXTRA.linkTarget, join(outside, 'precious')]] },
      { name: 'l', content: 'hostile' },
      { name: 'l', size: 5, content: 'again' },
      { name: 'm', kind: ENTRY.symlink, extras: [[EXTRA.linkTarget, join(outside, 'new')]] },
      { name: 'm', size: 0 },
    ],
  });
  assert.deepEqual(paths, ['l', 'm']);
});

test('hard links are made to nothing outside, through nothing that is a link', async () => {
  const link = (name: string, to: string) => ({
    name,
    links: 2,
    flags: ENTRY_FLAG.hardLink,
    extras: [[EXTRA.hardLink, to]] as const,
  });
  const targets = [
    '../outside/precious',
    `${outside}/precious`,
    'd/../../outside/precious',
    'way/precious',
    '..',
    '',
    '.',
    'nothing',
    'd',
  ];
  const entries = targets.map((to, i) => link(`x${i}`, to));
  const { paths, told } = await restore({
    entries: [
      { name: 'd', kind: ENTRY.directory },
      { name: 'way', kind: ENTRY.symlink, extras: [[EXTRA.linkTarget, outside]] },
      ...entries,
    ],
  });
  assert.deepEqual(paths, ['d', 'way']);
  assert.equal(told.length, targets.length);
  assert.deepEqual(readFileSync(join(outside, 'precious'), 'utf8'), 'precious');
});

test('content that is not as long as its file says is told, not restored', async () => {
  const { told, paths, refused } = await restore({
    entries: [
      { name: 'longer', content: '0123456789', size: 4, contentLength: 4 },
      { name: 'shorter', content: 'abc', size: 100, contentLength: 100 },
      { name: 'right', content: 'right' },
    ],
  });
  assert.equal(refused, undefined);
  assert.deepEqual(paths, ['right']);
  assert.deepEqual(told.sort(), ['DAMAGED longer', 'DAMAGED shorter']);
});
