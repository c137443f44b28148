/**
 * `penstock copy` as a user runs it: trees and single items, what is passed over, interruptions, targets
 * with things in the way, sources that cannot be read (issue 3, item 6).
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import {
  IS_ROOT,
  NOBODY,
  penstock,
  scratchFolder,
  start,
  succeed,
  WITH_ROOT,
} from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';

const scratch = scratchFolder();
const tree = (path: string) => capture(fromText(path));

function makeTree(name: string, files = 40): string {
  const source = join(scratch, name);
  mkdirSync(join(source, 'a', 'b'), { recursive: true });
  for (let i = 0; i < files; i++) {
    writeFileSync(join(source, i % 2 === 0 ? 'a' : 'a/b', `file${i}`), noise(i * 500, `${i}`));
  }
  writeFileSync(join(source, 'large'), noise(5_000_000, 'large'));
  writeFileSync(join(source, 'sparse'), 'begin');
  truncateSync(join(source, 'sparse'), 40_000_000);
  symlinkSync('a/file0', join(source, 'link'));
  linkSync(join(source, 'large'), join(source, 'a', 'same'));
  utimesSync(join(source, 'a'), 1, -5);
  return source;
}

/** Names below a tree that only an unfinished copy leaves. */
function temporaries(root: string): string[] {
  return readdirSync(root, { recursive: true })
    .map(String)
    .filter((path) => path.includes('.penstock.'));
}

test('a tree is copied, then only what changed, and a dry run writes nothing', () => {
  const source = makeTree('first');
  const target = join(scratch, 'first-target', 'deep');
  const dry = succeed(['copy', source, target, '--dry-run']).summary;
  assert.equal(dry.filesWanted, 43);
  assert.ok(!existsSync(target));
  const first = succeed(['copy', source, target]).summary;
  assert.equal(first.filesDone, 43);
  assertSameTree(tree(target), tree(source));
  assert.ok(lstatSync(join(target, 'sparse')).blocks < 1000, 'holes stay holes');

  writeFileSync(join(source, 'a', 'file2'), 'other content');
  chmodSync(join(source, 'a', 'file4'), 0o600);
  writeFileSync(join(target, 'mine'), 'stays');
  const { ino } = lstatSync(join(target, 'a', 'file4'));
  const second = succeed(['copy', source, target]).summary;
  assert.equal(second.filesDone, 1);
  assert.equal(second.bytesDone, 13);
  assert.equal(second.metadataOnly, 1);
  assert.equal(lstatSync(join(target, 'a', 'file4')).ino, ino, 'its content was not written again');
  assert.equal(readFileSync(join(target, 'mine'), 'utf8'), 'stays');
  const expected = new Map([...tree(source)].filter(([path]) => path !== ''));
  const there = [...tree(target)].filter(([path]) => path !== '' && path !== 'mine');
  assertSameTree(new Map(there), expected);
});

test('single items: to a new path, into a directory, links as links', () => {
  const source = makeTree('items', 4);
  const target = join(scratch, 'items-target');
  mkdirSync(target);
  succeed(['copy', join(source, 'a', 'file2'), join(target, 'renamed')]);
  assert.deepEqual(readFileSync(join(target, 'renamed')), noise(1000, '2'));
  succeed(['copy', join(source, 'large'), target]);
  assert.deepEqual(readFileSync(join(target, 'large')), noise(5_000_000, 'large'));
  succeed(['copy', join(source, 'large'), join(target, 'other')]);
  assert.equal(succeed(['copy', join(source, 'large'), `${target}/`]).summary.filesSame, 1);
  succeed(['copy', join(source, 'link'), `${join(target, 'new')}/`]);
  assert.equal(readlinkSync(join(target, 'new', 'link')), 'a/file0');
  assert.deepEqual(readdirSync(target).sort(), ['large', 'new', 'other', 'renamed']);
});

test('what makes no sense is refused before anything is written', () => {
  const source = makeTree('refused', 2);
  const before = tree(source);
  const nested = penstock(['copy', source, join(source, 'a', 'inside')]);
  assert.deepEqual([nested.status, nested.errors[0]?.code], [2, 'USAGE']);
  const same = penstock(['copy', join(source, 'large'), source]);
  assert.deepEqual([same.status, same.errors[0]?.code], [2, 'USAGE']);
  const missing = penstock(['copy', join(source, 'none'), join(scratch, 'refused-target')]);
  assert.deepEqual([missing.status, missing.errors[0]?.code], [1, 'SOURCE_MISSING']);
  assertSameTree(tree(source), before);
});

test('a copy that is killed again and again continues, and leaves nothing over', async () => {
  const source = makeTree('killed', 400);
  for (let i = 0; i < 6; i++) {
    writeFileSync(join(source, `large${i}`), noise(6_000_000, `killed ${i}`));
  }
  const target = join(scratch, 'killed-target');
  for (let round = 0; round < 3; round++) {
    const { child, ended } = start(['copy', source, target]);
    // As soon as it has written something more.
    const before = existsSync(target) ? readdirSync(target, { recursive: true }).length : 0;
    const timer = setInterval(() => {
      const now = existsSync(target) ? readdirSync(target, { recursive: true }).length : 0;
      if (now > before + round * 50) child.kill('SIGKILL');
    }, 5);
    await ended;
    clearInterval(timer);
  }
  const last = succeed(['copy', source, target]).summary;
  assert.equal((last.filesSame as number) + (last.filesDone as number), last.files);
  assertSameTree(tree(target), tree(source));
  assert.deepEqual(temporaries(target), []);
});

test('nothing is written through links in the target, nor over its directories', () => {
  const source = makeTree('hostile', 4);
  const target = join(scratch, 'hostile-target');
  const outside = join(scratch, 'hostile-outside');
  mkdirSync(target);
  mkdirSync(outside);
  writeFileSync(join(outside, 'large'), 'precious');
  writeFileSync(join(outside, 'file0'), 'precious');
  symlinkSync(outside, join(target, 'a'));
  symlinkSync(join(outside, 'large'), join(target, 'large'));
  mkdirSync(join(target, 'sparse', 'mine'), { recursive: true });
  const run = penstock(['copy', source, target]);
  assert.equal(run.status, 3);
  assert.deepEqual(
    run.warnings.map(({ code, path }) => [code, path]),
    [['COPY_PARTIAL', join(target, 'sparse')]],
  );
  assert.deepEqual(readdirSync(outside).sort(), ['file0', 'large']);
  for (const name of ['file0', 'large']) {
    assert.equal(readFileSync(join(outside, name), 'utf8'), 'precious');
  }
  assert.ok(existsSync(join(target, 'sparse', 'mine')));
  const whole = (path: string) =>
    new Map([...tree(path)].filter(([name]) => !/^(sparse.*|)$/.test(name)));
  assertSameTree(whole(target), whole(source));
  assert.deepEqual(temporaries(target), []);
});

test('what cannot be read is told, and the rest is copied', WITH_ROOT, () => {
  assert.ok(IS_ROOT);
  const source = makeTree('unreadable', 6);
  chmodSync(join(source, 'a', 'file2'), 0o000);
  mkdirSync(join(source, 'closed'), { mode: 0o700 });
  const place = join(scratch, 'unreadable-place');
  mkdirSync(place, { mode: 0o777 });
  chmodSync(place, 0o777);
  const target = join(place, 'target');
  const run = penstock(['copy', source, target, '--no-owner'], { user: NOBODY });
  assert.equal(run.status, 3);
  assert.deepEqual(run.warnings.map(({ code, path }) => [code, path]).sort(), [
    ['SOURCE_UNREADABLE', join(source, 'a', 'file2')],
    ['SOURCE_UNREADABLE', join(source, 'closed')],
  ]);
  const got = [...tree(target).keys()];
  const wanted = [...tree(source).keys()].filter((path) => !/^(a\/file2|closed)$/.test(path));
  assert.deepEqual(got, wanted);
});

test('a directory without the right to write is written into all the same', WITH_ROOT, () => {
  const source = join(scratch, 'readonly');
  mkdirSync(join(source, 'd'), { recursive: true });
  writeFileSync(join(source, 'd', 'one'), '1');
  chmodSync(join(source, 'd'), 0o555);
  const place = join(scratch, 'readonly-place');
  mkdirSync(place);
  chmodSync(place, 0o777);
  const target = join(place, 'target');
  const args = ['copy', source, target, '--no-owner'];
  succeed(args, { user: NOBODY });
  writeFileSync(join(source, 'd', 'two'), '2');
  succeed(args, { user: NOBODY });
  assert.deepEqual(readdirSync(join(target, 'd')), ['one', 'two']);
  assert.equal(lstatSync(join(target, 'd')).mode & 0o7777, 0o555);
});
