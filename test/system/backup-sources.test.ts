/**
 * Goal: an archive holds the paths that were named, however they were named, without what was to be
 * left out (U8), and names what could not be read.
 * Method: whole commands; what an archive holds is told by restoring it.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Archive } from '../../src/mover/archives.ts';
import { walkManifest } from '../../src/mover/manifest-walk.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import { Bench } from '../bench.ts';
import {
  NOBODY,
  penstock,
  type RunOptions,
  scratchFolder,
  succeed,
  WITH_ROOT,
} from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const source = join(scratch, 'source');
let number = 0;
let bench: Bench;

before(async () => {
  bench = await Bench.make(scratch, 'repo');
  const tree = TreeMaker.open(source);
  tree.file('file', 'content');
  tree.file('old', 'old', { mtime: [1_000_000_000, 0] });
  tree.file('large', Buffer.alloc(100_000));
  tree.file('.ignore', '*.log\n!kept.log\n/only-here\n');
  tree.file('x.log', 'x');
  tree.file('kept.log', 'x');
  tree.file('only-here', 'x');
  tree.directory('sub', (sub) => {
    sub.file('only-here', 'x');
    sub.file('y.log', 'x');
    sub.file('a.tmp', 'x');
    sub.directory('cache', (cache) => cache.file('z', 'x'));
    sub.directory('.git', (git) => git.file('config', 'x'));
  });
  tree.link('to sub', 'sub');
  tree.close();
});

after(() => bench.close());

/** Backs up, and returns the paths below the source that the archive has. */
async function stored(
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ paths: string[]; archive: Archive }> {
  // Without a base each time: what an archive holds does not hang on an earlier one.
  succeed(['backup', ...args, '--repo', bench.path, '--full'], options);
  const archive = await bench.archive();
  const reader = await openArchiveReader(bench.repository);
  const paths: string[] = [];
  for (const { path } of walkManifest(reader.blobs, archive.root, [])) {
    if (`/${path}`.startsWith(`${source}/`)) paths.push(path.slice(source.length));
  }
  await reader.close();
  return { paths, archive };
}
async function restored(archive: Archive): Promise<string> {
  const target = join(scratch, `target${number++}`);
  await bench.restore(target, { archive });
  return target + source;
}
const ALL = [
  ...[
    '.ignore',
    'file',
    'kept.log',
    'large',
    'old',
    'only-here',
    'sub',
    'sub/.git',
    'sub/.git/config',
  ],
];
const REST = [
  'sub/a.tmp',
  'sub/cache',
  'sub/cache/z',
  'sub/only-here',
  'sub/y.log',
  'to sub',
  'x.log',
];
const EVERYTHING = [...ALL, ...REST];
const without = (...names: string[]): string[] =>
  EVERYTHING.filter((path) => !names.some((name) => path === name || path.startsWith(`${name}/`)));

test('several paths in one archive: nested, named twice, files and links among them', async () => {
  const { paths, archive } = await stored([
    join(source, 'sub'),
    source,
    join(source, 'sub/cache'),
    source,
  ]);
  assert.deepEqual(paths, EVERYTHING);
  assertSameTree(capture(await restored(archive)), capture(source));
  const some = await stored([
    join(source, 'sub/cache/z'),
    join(source, 'file'),
    join(source, 'to sub'),
  ]);
  assert.deepEqual(some.paths, ['file', 'sub', 'sub/cache', 'sub/cache/z', 'to sub']);
  // Directories on the way come with what they are, not with what is in them.
  assert.deepEqual(capture(await restored(some.archive)).get('sub'), capture(source).get('sub'));
});

test('relative paths, with dots and slashes, are those of the working directory', async () => {
  assert.deepEqual((await stored(['sub/../sub//cache/'], { cwd: source })).paths, [
    'sub',
    'sub/cache',
    'sub/cache/z',
  ]);
  assert.deepEqual((await stored(['.'], { cwd: source })).paths, EVERYTHING);
  assert.deepEqual((await stored(['..'], { cwd: join(source, 'sub') })).paths, EVERYTHING);
});

test('a path that is a link is the link; with a slash behind it what it leads to', async () => {
  assert.deepEqual((await stored([join(source, 'to sub')])).paths, ['to sub']);
  assert.deepEqual((await stored([`${join(source, 'to sub')}/`])).paths.slice(0, 2), [
    'sub',
    'sub/.git',
  ]);
  // Links on the way are not stored: the archive has the real path.
  symlinkSync(source, join(scratch, 'link to source'));
  assert.deepEqual((await stored([join(scratch, 'link to source', 'file')])).paths, ['file']);
});

test('the whole system, as far as patterns leave any of it', async () => {
  const ways = source
    .split('/')
    .slice(1)
    .map((_, i, parts) => `/${parts.slice(0, i + 1).join('/')}`);
  const include = [...ways, `${source}/**`].flatMap((way) => ['--include', way]);
  const { paths } = await stored(['/', '--exclude', '/**', ...include]);
  assert.deepEqual(paths, EVERYTHING);
});

test('a path that does not exist is refused before anything is made', () => {
  for (const path of [
    '/no such place',
    join(source, 'nothing'),
    join(source, 'file/below'),
    'nothing/..',
  ]) {
    const repo = join(scratch, 'not made');
    const run = penstock(['backup', source, path, '--repo', repo]);
    assert.deepEqual([run.status, run.errors[0]?.code], [1, 'SOURCE_MISSING'], path);
    assert.equal(existsSync(repo), false);
  }
});

test('exclude, include and pattern files', async () => {
  const patterns = join(scratch, 'patterns');
  writeFileSync(patterns, '# not these\ncache\n\n  x.log  \n');
  const { paths } = await stored([
    source,
    '--exclude',
    '*.tmp',
    '--exclude-from',
    patterns,
    '-e',
    `${source}/old`,
    '--exclude',
    '*.log',
    '--include',
    'k*.log',
  ]);
  assert.deepEqual(paths, without('sub/a.tmp', 'sub/cache', 'x.log', 'sub/y.log', 'old'));
  assert.equal(
    penstock(['backup', source, '--exclude-from', '/nonexistent', '--repo', join(scratch, 'r')])
      .status,
    2,
  );
});

test('ignore files', async () => {
  const { paths } = await stored([source, '--ignore-file', '.ignore']);
  assert.deepEqual(paths, without('x.log', 'sub/y.log', 'only-here'));
});

test('size and age', async () => {
  assert.deepEqual((await stored([source, '--max-size', '50K'])).paths, without('large'));
  assert.deepEqual((await stored([source, '--newer-than', '2020-01-01'])).paths, without('old'));
  const old = (await stored([source, '--older-than', '1y'])).paths;
  assert.deepEqual(old, ['old', 'sub', 'sub/.git', 'sub/cache', 'to sub']);
});

test('one file system: what is mounted below is an empty directory', WITH_ROOT, async (t) => {
  const mounted = join(source, 'sub/cache');
  if (spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', mounted]).status !== 0) {
    t.skip('needs a mount');
    return;
  }
  try {
    writeFileSync(join(mounted, 'on another'), 'x');
    assert.deepEqual((await stored([source, '-x'])).paths, without('sub/cache/z'));
    assert.ok((await stored([source])).paths.includes('sub/cache/on another'));
    // Named itself, it is entered.
    assert.ok(
      (await stored([source, mounted, '-x'])).paths.includes('sub/cache/on another') === false,
    );
    assert.deepEqual((await stored([mounted, '-x'])).paths, [
      'sub',
      'sub/cache',
      'sub/cache/on another',
    ]);
  } finally {
    spawnSync('umount', [mounted]);
  }
});

test('what cannot be read is named, and the rest is stored', WITH_ROOT, () => {
  const own = join(scratch, 'own');
  const tree = TreeMaker.open(own);
  tree.file('a', 'x', { mode: 0o644 });
  tree.file('secret', 'x', { mode: 0 });
  tree.file('large secret', [{ at: 50_000_000, bytes: Buffer.from('x') }], { mode: 0o600 });
  tree.directory('closed', (closed) => closed.file('in it', 'x'), { mode: 0 });
  tree.directory('listed', (listed) => listed.file('in it', 'x'), { mode: 0o444 });
  tree.file('z', 'x', { mode: 0o644 });
  tree.close();
  const repo = join(scratch, 'of nobody');
  mkdirSync(repo);
  spawnSync('chown', [`${NOBODY}:${NOBODY}`, repo]);
  const run = succeed(['backup', own, '--repo', repo], { user: NOBODY }, 3);
  const told = run.warnings
    .map(({ code, path }) => [code, String(path).slice(own.length + 1)])
    .sort();
  assert.deepEqual(
    told,
    ['closed', 'large secret', 'listed/in it', 'secret'].map((path) => ['SOURCE_UNREADABLE', path]),
  );
  assert.equal(run.summary.failed, 4);
  const target = join(scratch, 'target of nobody');
  succeed(['restore', 'latest', '--repo', repo, '--target', target]);
  const restored = capture(target + own);
  assert.deepEqual([...restored.keys()], ['', 'a', 'closed', 'listed', 'z']);
  assert.equal(restored.get('closed')?.mode, '0');
});

test('directories on the way that may be entered but not read', WITH_ROOT, () => {
  const way = join(scratch, 'way');
  const tree = TreeMaker.open(way);
  tree.directory('mine', (mine) => mine.file('file', 'x', { owner: [NOBODY, NOBODY] }), {
    owner: [NOBODY, NOBODY],
    mode: 0o700,
  });
  tree.file('of others', 'x', { mode: 0o600 });
  tree.close();
  spawnSync('chmod', ['711', way]);
  const repo = join(scratch, 'of the way');
  mkdirSync(repo);
  spawnSync('chown', [`${NOBODY}:${NOBODY}`, repo]);
  const mine = join(way, 'mine');
  succeed(['backup', mine, '--repo', repo], { user: NOBODY });
  const was = capture(way);
  rmSync(join(mine, 'file'));
  succeed(['restore', 'latest', mine, '--repo', repo, '--target', '/', '--overwrite', 'always'], {
    user: NOBODY,
  });
  assertSameTree(capture(way), was);
});

test('a user without an entry in the list of users', WITH_ROOT, () => {
  const repo = join(scratch, 'of a number');
  mkdirSync(repo);
  spawnSync('chown', ['12345:12345', repo]);
  succeed(['backup', join(source, 'file'), '--repo', repo], { user: 12_345 });
});

test('a dry run stores nothing and says what it would', () => {
  const repo = join(scratch, 'dry');
  const run = succeed(['backup', source, '--repo', repo, '--dry-run']);
  assert.equal(existsSync(repo), false);
  assert.equal(run.summary.files, 12);
  succeed(['backup', source, '--repo', repo]);
  const made = capture(repo);
  rmSync(join(source, 'file'));
  writeFileSync(join(source, 'file'), 'content');
  const again = succeed(['backup', source, '--repo', repo, '--dry-run', '--full']);
  assert.deepEqual([(again.summary.bytesNew as number) < 5000, again.summary.files], [true, 12]);
  assertSameTree(capture(repo), made);
});
