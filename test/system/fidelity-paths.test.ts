/**
 * Goal: paths far longer than the system's calls take, and trees far deeper than most, come back.
 * Method: trees made by handle, one directory inside the other; whole commands on them.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder, succeed } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const repo = join(scratch, 'repo');

/** Directories one inside the other, `fill` in each. */
function nest(
  top: TreeMaker,
  names: readonly string[],
  fill: (inside: TreeMaker, depth: number) => void,
): void {
  const open: TreeMaker[] = [top];
  for (const [depth, name] of names.entries()) {
    const inside = open.at(-1) as TreeMaker;
    assert.ok(inside.files.makeDirectory(inside.fd, name, 0o755) >= 0);
    const deeper = new TreeMaker(inside.files.openDirectory(inside.fd, name));
    fill(deeper, depth);
    open.push(deeper);
    // Only the last are still needed.
    if (open.length > 2) open.shift()?.close();
  }
  for (const tree of open) tree.close();
}

function roundTrip(
  name: string,
  names: readonly string[],
  fill: (inside: TreeMaker, depth: number) => void,
): void {
  const source = join(scratch, name);
  nest(TreeMaker.open(source), names, fill);
  const expected = capture(source);
  assert.equal([...expected.keys()].filter((path) => path.endsWith('file')).length > 0, true);
  succeed(['backup', source, '--repo', repo]);
  const target = `${source}-target`;
  succeed(['restore', 'latest', '--repo', repo, '--target', target]);
  assertSameTree(capture(target + source), expected);
}

test('a path of 20,000 bytes, with entries of every kind on its way', () => {
  const names = Array.from({ length: 100 }, (_, i) => `${i}-`.padEnd(200, '\xe4x'));
  let first: TreeMaker | undefined;
  roundTrip('long', names, (inside, depth) => {
    inside.file('file', `at depth ${depth}`, { mtime: [depth, depth], mode: 0o600 });
    if (depth % 10 !== 0) return;
    inside.file('large', noise(600_000, `${depth}`), { mtime: [depth, 1] });
    inside.link('link', 'x'.repeat(4000), { mtime: [depth, 2] });
    inside.node('fifo', 'fifo', { mode: 0o640, attributes: {} });
    inside.file('attributes', 'x', { attributes: { 'user.depth': `${depth}` } });
    // Further links to a file at the top, whose path is short, from the bottom.
    if (first === undefined) first = new TreeMaker(inside.files.openDirectory(inside.fd, '.'));
    first.files.link(first.fd, 'file', inside.fd, 'further link');
  });
  first?.close();
});

test('a tree of 1,500 levels', () => {
  roundTrip(
    'deep',
    Array.from({ length: 1500 }, () => 'd'),
    (inside, depth) => {
      if (depth % 100 === 99) inside.file('file', `${depth}`);
    },
  );
});

test('a path that is too long for an archive is told, and the rest is there', () => {
  const source = join(scratch, 'too long');
  const top = TreeMaker.open(source);
  top.file('before', 'x');
  top.file('zlast', 'x');
  nest(
    top,
    Array.from({ length: 140 }, () => 'n'.repeat(250)),
    (inside) => inside.file('file', 'x'),
  );
  const run = succeed(['backup', source, '--repo', repo], {}, 3);
  assert.deepEqual(
    run.warnings.map(({ code }) => code),
    ['LIMIT'],
  );
  const target = `${source}-target`;
  succeed(['restore', 'latest', '--repo', repo, '--target', target]);
  const restored = [...capture(target + source).keys()];
  assert.deepEqual([restored[1], restored.at(-1)], ['before', 'zlast']);
  // 32 KiB of path are 130 directories of 251 bytes.
  assert.ok(restored.length > 2 * 129, `${restored.length} entries`);
});
