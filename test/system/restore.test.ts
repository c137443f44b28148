/**
 * Goal: a restore puts back what was asked for, over whatever stands in the target, never writes
 * outside of it, and says what it could not do (U6; issue 2, items 4 and 5).
 * Method: one archive, restored by whole commands over prepared targets, which are then taken down.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NO_HOME, penstock, type Run, scratchFolder, succeed, WITH_ROOT } from '../commands.ts';
import { assertSameTree, type Captured, capture, type Tree } from '../tree-compare.ts';
import { noise, prose, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const repo = join(scratch, 'repo');
const source = join(scratch, 'source');
let expected: Tree;
let targets = 0;

before(() => {
  const tree = TreeMaker.open(source);
  tree.file('a file', 'stored', { mtime: [1000, 5], mode: 0o640 });
  tree.file('empty', '', { mtime: [1000, 6] });
  tree.file('large', noise(3_000_000, 'restore'), { mtime: [1000, 7] });
  tree.link('link', 'a file', { mtime: [1000, 8] });
  tree.node('fifo', 'fifo', { mtime: [1000, 9] });
  tree.file('linked', 'linked', { mtime: [1000, 10] });
  tree.hardLink('linked', tree, 'linked too');
  tree.directory(
    'sub',
    (sub) => {
      sub.file('inner', 'inner stored', { mtime: [1000, 11] });
      sub.directory('deeper', (deeper) => deeper.file('innermost', prose(700_000, 'r')), {
        mtime: [1000, 12],
      });
    },
    { mtime: [1000, 13], mode: 0o750 },
  );
  tree.close();
  expected = capture(source);
  succeed(['backup', source, '--repo', repo]);
});

/** A new target, whose place of the source is filled first. Its path, and that of the place. */
function prepare(fill?: (place: TreeMaker) => void): {
  readonly target: string;
  readonly place: string;
} {
  const target = join(scratch, `target${targets++}`);
  const place = target + source;
  if (fill !== undefined) {
    mkdirSync(place, { recursive: true });
    const tree = TreeMaker.open(place);
    fill(tree);
    tree.close();
  }
  return { target, place };
}
function restore(target: string, options: readonly string[] = [], status = 0): Run {
  return succeed(['restore', 'latest', '--repo', repo, '--target', target, ...options], {}, status);
}
const names = (run: Run): unknown[] => run.warnings.map(({ code, path }) => [code, path]).sort();
const at = (...parts: string[]): string => [source.slice(1), ...parts].join('/');

/** Files that stand where those of the archive belong: older, newer, and of another kind. */
function occupy(place: TreeMaker): void {
  place.file('a file', 'older and longer than what was stored', { mtime: [999, 0] });
  place.file('large', 'newer', { mtime: [2000, 0] });
  place.file('empty', 'older', { mtime: [1000, 5] });
  place.link('link', 'older', { mtime: [999, 0] });
  place.link('fifo', 'to nowhere', { mtime: [999, 0] });
  place.file('of others', 'stays', { mtime: [1, 1] });
  place.directory('sub', (sub) => sub.file('inner', 'older', { mtime: [999, 0] }), {
    mtime: [5, 5],
    mode: 0o700,
  });
}

test('what is there is kept by default, and what is missing comes beside it', () => {
  const { target, place } = prepare(occupy);
  const kept = capture(place, { without: ['mtime'] });
  const run = restore(target);
  assert.equal(run.summary.skipped, 6);
  const now = capture(place, { without: ['mtime'] });
  for (const [path, entry] of kept) assert.deepEqual(now.get(path), entry, path);
  assert.deepEqual(
    [...now.keys()].sort(),
    [...new Set([...kept.keys(), ...expected.keys()])].sort(),
  );
  assertSameTree(capture(`${place}/sub/deeper`), capture(`${source}/sub/deeper`));
});

test('--overwrite always replaces all that is there and leaves the rest', () => {
  const { target, place } = prepare(occupy);
  const run = restore(target, ['--overwrite', 'always']);
  assert.equal(run.summary.skipped, 0);
  assert.equal(readFileSync(join(place, 'of others'), 'utf8'), 'stays');
  assertSameTree(capture(place, { only: (path) => path !== 'of others' }), expected);
  // Again, over what is the same: nothing is left beside it.
  restore(target, ['--overwrite', 'always']);
  assertSameTree(capture(place, { only: (path) => path !== 'of others' }), expected);
});

test('--overwrite newer replaces what is older only', () => {
  const { target, place } = prepare(occupy);
  const run = restore(target, ['--overwrite', 'newer']);
  assert.equal(run.summary.skipped, 1);
  assert.equal(readFileSync(join(place, 'large'), 'utf8'), 'newer');
  const only = (path: string): boolean => !['of others', 'large'].includes(path);
  assertSameTree(capture(place, { only }), capture(source, { only }));
});

test('a link is never made to a file that was kept in place of the one that was stored', () => {
  const { target, place } = prepare((tree) => tree.file('linked', 'another', { mtime: [1, 1] }));
  restore(target);
  assert.equal(readFileSync(join(place, 'linked'), 'utf8'), 'another');
  assert.equal(readFileSync(join(place, 'linked too'), 'utf8'), 'linked');
  // The same file, as an interrupted restore leaves it, is linked.
  const again = prepare((tree) => tree.file('linked', 'linked', { mtime: [1000, 10] }));
  restore(again.target);
  assert.equal(statSync(join(again.place, 'linked too')).nlink, 2);
});

test('directories that only lead to what was asked for keep their metadata', () => {
  const { target, place } = prepare((tree) => tree.directory('sub', () => {}, { mode: 0o711 }));
  restore(target, [join(source, 'sub/deeper'), '--overwrite', 'always']);
  assert.equal(statSync(join(place, 'sub')).mode & 0o777, 0o711);
  assert.equal(statSync(place).mode & 0o777, 0o755);
  assertSameTree(capture(join(place, 'sub/deeper')), capture(join(source, 'sub/deeper')));
  // Those that were not there get theirs.
  const empty = prepare();
  restore(empty.target, [join(source, 'sub/deeper')]);
  assert.deepEqual(capture(empty.place).get('sub'), expected.get('sub'));
});

test('a link where a directory belongs is not followed', () => {
  for (const overwrite of ['never', 'always']) {
    const outside = join(scratch, `outside-${overwrite}`);
    mkdirSync(outside);
    const { target, place } = prepare((tree) => tree.link('sub', outside));
    const run = restore(target, ['--overwrite', overwrite], 3);
    assert.deepEqual(names(run), [['TARGET_EXISTS', at('sub')]]);
    assert.deepEqual(readdirSync(outside), []);
    const only = (path: string): boolean => path !== 'sub';
    const now = new Map(capture(place, { only }));
    // What was there keeps its time, unless it may be replaced.
    if (overwrite === 'never') now.set('', expected.get('') as Captured);
    assertSameTree(now, capture(source, { only }));
  }
});

test('links in the middle of the way and in place of files are not followed either', () => {
  const outside = join(scratch, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'precious'), 'precious');
  const { target, place } = prepare((tree) => {
    tree.link('a file', join(outside, 'precious'));
    tree.link('large', join(outside, 'precious'));
    tree.link('empty', join(outside, 'not there'));
    tree.link('fifo', join(outside, 'not there'));
  });
  restore(target);
  assert.deepEqual(readdirSync(outside), ['precious']);
  restore(target, ['--overwrite', 'always']);
  assertSameTree(capture(place), expected);
  assert.deepEqual(readdirSync(outside), ['precious']);
  assert.equal(readFileSync(join(outside, 'precious'), 'utf8'), 'precious');
  // The whole way below the target is a link to elsewhere.
  const other = join(scratch, `target${targets++}`);
  mkdirSync(other);
  symlinkSync(outside, join(other, source.split('/')[1] as string));
  const run = restore(other, ['--overwrite', 'always'], 3);
  assert.equal(run.summary.failed, 1);
  assert.deepEqual(readdirSync(outside), ['precious']);
});

test('files and directories in each other place are told, one by one', () => {
  const { target, place } = prepare((tree) => {
    tree.directory('a file');
    tree.directory('large');
    tree.directory('fifo');
    tree.file('sub', 'a file');
  });
  const run = restore(target, ['--overwrite', 'always'], 3);
  assert.deepEqual(
    names(run),
    [at('a file'), at('fifo'), at('large'), at('sub')].map((path) => ['TARGET_EXISTS', path]),
  );
  assert.equal(readFileSync(join(place, 'sub'), 'utf8'), 'a file');
  const only = (path: string): boolean => !/^(a file|large|fifo|sub)/.test(path);
  assertSameTree(capture(place, { only }), capture(source, { only }));
});

test('a dry run writes nothing', () => {
  const { target } = prepare();
  const run = restore(target, ['--dry-run']);
  assert.equal(existsSync(target), false);
  assert.equal(run.summary.dryRun, true);
  assert.deepEqual([run.summary.files, run.summary.others, run.summary.bytes], [7, 2, 3_700_024]);
  const occupied = prepare(occupy);
  const was = capture(occupied.target);
  restore(occupied.target, ['--dry-run', '--overwrite', 'always']);
  assertSameTree(capture(occupied.target), was);
});

test('single files, several paths, and paths as people write them', () => {
  const { target, place } = prepare();
  restore(target, [
    join(source, 'a file'),
    `${at('sub', 'deeper')}/`,
    `/${at('sub')}/./inner`,
    join(source, 'large'),
  ]);
  const now = capture(place);
  assert.deepEqual(
    [...now.keys()],
    ['', 'a file', 'large', 'sub', 'sub/deeper', 'sub/deeper/innermost', 'sub/inner'],
  );
  for (const [path, entry] of now) assert.deepEqual(entry, expected.get(path), path);
});

test('an unknown path is refused before anything is written', () => {
  const { target } = prepare();
  const run = penstock([
    'restore',
    'latest',
    join(source, 'a file'),
    join(source, 'zzz'),
    '--repo',
    repo,
    '--target',
    target,
  ]);
  assert.equal(run.status, 1);
  assert.equal(run.errors[0]?.code, 'PATH_UNKNOWN');
  assert.match(String(run.errors[0]?.message), /zzz/);
  assert.equal(existsSync(target + dirname(source)), false);
  for (const [path, status, code] of [
    ['../x', 2, 'USAGE'],
    [join(source, 'a file/below'), 1, 'PATH_UNKNOWN'],
  ] as const) {
    const wrong = penstock(['restore', 'latest', path, '--repo', repo, '--target', target]);
    assert.deepEqual([wrong.status, wrong.errors[0]?.code], [status, code]);
  }
});

test('a target that is a file is refused', () => {
  const file = join(scratch, 'a file as target');
  writeFileSync(file, 'x');
  assert.equal(penstock(['restore', 'latest', '--repo', repo, '--target', file]).status, 1);
  assert.equal(
    penstock(['restore', 'latest', '--repo', repo, '--target', join(file, 'below')]).status,
    1,
  );
  assert.equal(readFileSync(file, 'utf8'), 'x');
});

test('a file system that cannot rename without replacing, nor make links', () => {
  for (const fault of [
    'renameExclusive:error=EINVAL:repeat=forever',
    'renameExclusive:error=EINVAL:repeat=forever;link:name=.penstock:error=EPERM:repeat=forever',
  ]) {
    const { target, place } = prepare();
    succeed(['restore', 'latest', '--repo', repo, '--target', target], {
      env: { PENSTOCK_TEST: '1', PENSTOCK_FAULT: fault },
    });
    assertSameTree(capture(place), expected);
  }
});

test('few open files allowed: slower, but whole', () => {
  const tree = TreeMaker.open(join(scratch, 'many'));
  for (let i = 0; i < 400; i++) {
    tree.directory(`${i}`, (inside) => {
      inside.file('small', `${i}`);
      inside.directory('empty');
      if (i % 4 === 0) inside.file('large', prose(600_000, `${i}`));
    });
  }
  tree.close();
  const limited = (...args: string[]): void => {
    const launcher = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));
    const env = { PATH: process.env.PATH, PENSTOCK_PASSPHRASE: 'x', HOME: NO_HOME };
    const run = spawnSync('prlimit', ['--nofile=160:160', process.execPath, launcher, ...args], {
      env,
      encoding: 'utf8',
    });
    assert.equal(run.status, 0, run.stderr.slice(0, 1000));
  };
  const other = join(scratch, 'other repo');
  const { target } = prepare();
  limited('backup', join(scratch, 'many'), '--repo', other);
  limited('restore', 'latest', '--repo', other, '--target', target);
  assertSameTree(capture(target + join(scratch, 'many')), capture(join(scratch, 'many')));
});

test('a full target: told, nothing wrong left behind', WITH_ROOT, (t) => {
  const target = join(scratch, 'small');
  mkdirSync(target);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', target]).status !== 0) {
    t.skip('needs a mount');
    return;
  }
  try {
    const run = restore(target, [], 3);
    assert.deepEqual(new Set(run.warnings.map(({ code }) => code)), new Set(['RESTORE_PARTIAL']));
    assert.ok(
      run.warnings.some(
        ({ path, message }) => path === at('large') && String(message).includes('ENOSPC'),
      ),
    );
    assert.equal(run.warnings.length, new Set(run.warnings.map(({ path }) => path)).size);
    for (const [path, entry] of capture(target + source)) {
      if (entry.kind === 'file') assert.deepEqual(entry, expected.get(path), path);
    }
  } finally {
    spawnSync('umount', [target]);
  }
});

test('the time of the target itself and of what stands around is nobody else business', () => {
  const { target } = prepare(() => {});
  utimesSync(target, 7, 7);
  restore(target, ['--overwrite', 'always']);
  assert.equal(statSync(target).mtimeMs, 7000);
});
