/**
 * Goal: everything about an entry comes back (U2): kinds, names, times, owners, modes, links,
 * attributes, ACLs, and whatever odd values a file system holds.
 * Method: whole commands on small trees; source and target are taken down by lstat and compared.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestOptions, test } from 'node:test';
import { fromBytes } from '../../src/base/bytes.ts';
import { IS_ROOT, NOBODY, scratchFolder, succeed, WITH_ROOT } from '../commands.ts';
import { assertSameTree, capture, subtreeOf } from '../tree-compare.ts';
import { noise, prose, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const repo = join(scratch, 'repo');
let folders = 0;

function folder(): string {
  const path = join(scratch, `t${folders++}`);
  mkdirSync(path);
  return path;
}

/** Trees that come back as they were: one archive holds them all, each test looks at one. */
const situations: { name: string; fill: (tree: TreeMaker) => void; options: TestOptions }[] = [];

function roundTrip(name: string, fill: (tree: TreeMaker) => void, options: TestOptions = {}): void {
  situations.push({ name, fill, options });
}

roundTrip('every byte that a name can have, and names as long as can be', (tree) => {
  for (let byte = 1; byte < 256; byte++) {
    const name = String.fromCharCode(byte);
    if (name === '/' || name === '.') continue;
    if (byte % 3 === 0) tree.directory(name, (inside) => inside.file(`${name}${name}`, name));
    else if (byte % 3 === 1) tree.file(name, name);
    else tree.link(name, `${name}\n${name}`);
  }
  for (const name of ['...', '..a', ' ', '-rf', '\\', '*', 'a\nb', '\xff\xfe', '.penstock.1.0']) {
    if (name.length > 1 || name === '\xff\xfe') tree.file(`x${name}`, name);
  }
  tree.file('...', 'three dots');
  tree.directory('\xe4'.repeat(255), (inside) => {
    inside.file('\x01'.repeat(255), 'long');
    inside.link('l'.repeat(255), 't'.repeat(4095));
  });
});

roundTrip('times before 1970 and after 2100, to the nanosecond, on every kind', (tree) => {
  const times: (readonly [number, number])[] = [
    [0, 0],
    [0, 1],
    [-1, 999_999_999],
    [-2_147_483_648, 1],
    [-5_000_000_000, 123_456_789],
    [4_102_444_800, 999_999_999],
    [4_294_967_296, 1],
    [15_032_385_535, 5],
    [253_402_300_800, 7],
    [-62_135_596_801, 3],
  ];
  for (const [i, mtime] of times.entries()) {
    tree.file(`empty${i}`, '', { mtime });
    tree.file(`file${i}`, `content ${i}`, { mtime });
    tree.directory(`directory${i}`, (inside) => inside.file('in it'), { mtime });
    tree.link(`link${i}`, 'nowhere', { mtime });
    tree.node(`fifo${i}`, 'fifo', { mtime });
  }
  tree.file('large', noise(1_500_000, 'times'), { mtime: [-7, 7] });
});

roundTrip('modes, with set-id and sticky bits, and modes that nobody may read', (tree) => {
  for (let mode = 0; mode < 0o10000; mode += 0o111 * 7)
    tree.file(`file${mode}`, `${mode}`, { mode });
  for (const mode of [0, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777, 0o400, 0o222]) {
    tree.file(`small${mode}`, 'x', { mode });
    tree.file(`large${mode}`, prose(600_000, `${mode}`), { mode });
    tree.node(`fifo${mode}`, 'fifo', { mode });
    if (IS_ROOT || (mode & 0o500) === 0o500) {
      tree.directory(`directory${mode}`, (inside) => inside.file('in it', 'x', { mode }), { mode });
    }
  }
});

roundTrip(
  'devices, FIFOs, sockets and other owners',
  (tree) => {
    tree.node('null', 'characterDevice', { mode: 0o666, owner: [1, 2] }, 1, 3);
    tree.node('large numbers', 'characterDevice', {}, 4095, 1_048_575);
    tree.node('disk', 'blockDevice', { mode: 0o640, owner: [0, 6], mtime: [1, 1] }, 8, 17);
    tree.node('whiteout', 'characterDevice', {}, 0, 0);
    tree.node('fifo', 'fifo', { owner: [1234, 4321], mode: 0o604 });
    tree.node('socket', 'socket', { owner: [1234, 4321], mode: 0o711 });
    tree.file('given away', 'x', { owner: [NOBODY, NOBODY], mode: 0o6755 });
    tree.file('number without a name', 'x', { owner: [3_000_000_000, 4_294_967_294] });
    tree.link('link of another', 'x', { owner: [77, 78], mtime: [5, 5] });
    tree.directory('directory of another', (inside) => inside.file('x', 'x', { owner: [77, 0] }), {
      owner: [77, 78],
      mode: 0o3770,
    });
  },
  WITH_ROOT,
);

roundTrip('hard links of files, links and FIFOs, across directories', (tree) => {
  tree.file('a', 'first', { mtime: [10, 10] });
  tree.hardLink('a', tree, 'b');
  tree.file('large', noise(3_000_000, 'hard link'), { mode: 0o444 });
  tree.file('empty', '');
  tree.link('symbolic', 'somewhere', { mtime: [3, 3] });
  tree.node('fifo', 'fifo', { mode: 0o640 });
  tree.directory(
    'sub',
    (sub) => {
      tree.hardLink('large', sub, 'large too');
      tree.hardLink('empty', sub, 'empty too');
      tree.hardLink('symbolic', sub, 'symbolic too');
      tree.hardLink('fifo', sub, 'fifo too');
      sub.directory(
        'deeper',
        (deeper) => {
          deeper.file('0', 'inner');
          deeper.hardLink('0', tree, '0 of inner');
          tree.hardLink('a', deeper, 'c');
        },
        { mtime: [6, 6] },
      );
    },
    { mtime: [7, 7] },
  );
});

test('one of several hard links is restored alone, with its content', () => {
  const base = folder();
  const source = join(base, 'source');
  const tree = TreeMaker.open(source);
  tree.file('a', 'the content', { mtime: [10, 10], mode: 0o640 });
  tree.file('large', noise(2_000_000, 'alone'), { mtime: [11, 11] });
  tree.link('symbolic', 'somewhere', { mtime: [12, 12] });
  tree.directory('z', (sub) => {
    for (const name of ['a', 'large', 'symbolic']) {
      tree.hardLink(name, sub, `${name} 1`);
      tree.hardLink(name, sub, `${name} 2`);
    }
  });
  tree.close();
  succeed(['backup', source, '--repo', repo]);
  const whole = capture(source, { without: ['linkedWith'] });
  const one = join(base, 'one');
  succeed(['restore', 'latest', `${source}/z/a 2`, '--repo', repo, '--target', one]);
  const restored = capture(one + source, { without: ['linkedWith'] });
  assert.deepEqual([...restored.keys()], ['', 'z', 'z/a 2']);
  assert.deepEqual(restored.get('z/a 2'), whole.get('z/a 2'));
  // Those that are restored together are linked with each other again.
  const both = join(base, 'both');
  succeed(['restore', 'latest', `${source}/z`, '--repo', repo, '--target', both]);
  assertSameTree(capture(`${both}${source}/z`), capture(`${source}/z`));
});

roundTrip('extended attributes of files, directories and links, empty and large', (tree) => {
  const attributes = { 'user.empty': '', 'user.text': 'value', 'user.bytes': noise(1000, 'a') };
  tree.file('small', 'x', { attributes, mode: 0o444 });
  tree.file('empty', '', { attributes });
  tree.file('large', prose(3_000_000, 'xattr'), { attributes });
  tree.file('sparse', [{ at: 50_000_000, bytes: Buffer.from('end') }], { attributes });
  tree.directory('directory', (inside) => inside.file('x', 'x', { attributes }), {
    attributes,
    mode: 0o555,
  });
  if (!IS_ROOT) return;
  const trusted = { 'trusted.one': '1', 'security.two': '2' };
  tree.link('link', 'nowhere', { attributes: trusted });
  tree.node('fifo', 'fifo', { attributes: trusted });
  tree.node('device', 'characterDevice', { attributes: trusted }, 1, 3);
  // cap_net_raw=ep: what a change of owner would drop.
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  tree.file('ping', 'x', {
    owner: [55, 0],
    mode: 0o755,
    attributes: { 'security.capability': capability },
  });
});

const ACL_TOOL = {
  skip: spawnSync('setfacl', ['--version']).error === undefined ? false : 'needs setfacl',
};

roundTrip(
  'access control lists',
  (tree) => {
    tree.file('file', 'x', { mode: 0o640 });
    tree.file('large', prose(1_000_000, 'acl'), { mode: 0o604 });
    tree.directory('directory', (inside) => inside.file('before', 'x'), { mode: 0o750 });
    const cwd = `/proc/${process.pid}/fd/${tree.fd}`;
    const set = (...args: string[]): void => {
      const { status, stderr } = spawnSync('setfacl', args, { cwd, encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    };
    set('-m', 'u:1:rwx,g:2:r,m:rx', 'file', 'large');
    set('-m', 'u:3:rwx,d:u:4:rw,d:g:5:rwx,d:o:-', 'directory');
    // Made below a directory with a default list: it has inherited one.
    const inside = new TreeMaker(tree.files.openDirectory(tree.fd, 'directory'));
    inside.file('after', 'x');
    inside.close();
  },
  ACL_TOOL,
);

roundTrip('empty files and directories', (tree) => {
  tree.directory('a', (a) => a.directory('b', (b) => b.directory('c')));
  tree.directory('d', (d) => d.file('e'));
});

test('an empty source is an archive of one directory', () => {
  const empty = join(folder(), 'empty');
  TreeMaker.open(empty).close();
  const { summary } = succeed(['backup', empty, '--repo', repo]);
  assert.deepEqual([summary.files, summary.bytesRead], [0, 0]);
  succeed(['restore', 'latest', '--repo', repo, '--target', `${empty}-target`]);
  assertSameTree(capture(`${empty}-target${empty}`), capture(empty));
});

const TMPFS = { skip: scratch.startsWith('/dev/shm') ? false : 'needs tmpfs' };

test('values that no sane file has end no backup', TMPFS, () => {
  const base = folder();
  const source = join(base, 'source');
  const tree = TreeMaker.open(source);
  tree.file('before', 'x');
  tree.file('far future', 'x');
  tree.file('longer than can be', 'x');
  tree.file('many attributes', 'content');
  tree.file('zlast', 'x');
  spawnSync('touch', ['-d', '@1152921504606846976', join(source, 'far future')]);
  spawnSync('truncate', ['-s', '7E', join(source, 'longer than can be')]);
  const attributes: Record<string, Buffer> = {};
  for (let i = 0; i < 20; i++) attributes[`user.${i}`] = noise(60_000, `${i}`);
  tree.set('many attributes', { attributes });
  tree.close();
  const run = succeed(['backup', source, '--repo', repo], {}, 3);
  const named = run.warnings.map(({ code, path }) => [code, path]);
  assert.deepEqual(named.sort(), [
    ['LIMIT', join(source, 'longer than can be')],
    ['LIMIT', join(source, 'many attributes')],
  ]);
  const target = join(base, 'target');
  succeed(['restore', 'latest', '--repo', repo, '--target', target]);
  const restored = capture(target + source);
  assert.deepEqual([...restored.keys()], ['', 'before', 'far future', 'many attributes', 'zlast']);
  assert.equal(restored.get('many attributes')?.attributes, undefined);
});

test('inode numbers beyond 2^53, as overlays and network file systems have', WITH_ROOT, (t) => {
  const base = folder();
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(base, name));
  const options = `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work,xino=on`;
  const merged = join(base, 'merged');
  if (spawnSync('mount', ['-t', 'overlay', 'overlay', '-o', options, merged]).status !== 0) {
    t.skip('needs an overlay');
    return;
  }
  try {
    const tree = TreeMaker.open(merged);
    tree.file('a', 'x');
    tree.hardLink('a', tree, 'b');
    tree.file('c', 'x');
    tree.close();
    const expected = capture(merged, { attributes: ['user.'] });
    succeed(['backup', merged, '--repo', repo]);
    const target = join(base, 'target');
    succeed(['restore', 'latest', '--repo', repo, '--target', target]);
    assertSameTree(capture(target + merged), expected);
  } finally {
    spawnSync('umount', [merged]);
  }
});

test(
  'without root, what cannot be restored is told once a kind, and the rest comes back',
  WITH_ROOT,
  () => {
    const base = folder();
    const source = join(base, 'source');
    const tree = TreeMaker.open(source);
    for (const name of ['a', 'b', 'c']) {
      tree.file(name, name, { owner: [7, 8], mode: 0o644, mtime: [5, 5] });
      tree.file(`${name} set-id`, name, { owner: [0, 0], mode: 0o6755, mtime: [5, 5] });
      tree.node(`${name} device`, 'characterDevice', {}, 1, 3);
      tree.file(`${name} attributes`, name, { attributes: { 'trusted.x': 'x', 'user.y': 'y' } });
      tree.directory(`${name} directory`, (inside) => inside.file('x', 'x'), {
        mtime: [4, 4],
        mode: 0o555,
      });
      tree.file(`${name} own`, 'own', {
        owner: [NOBODY, NOBODY],
        mode: 0o444,
        attributes: { 'user.y': 'y' },
      });
    }
    tree.close();
    succeed(['backup', source, '--repo', repo]);
    spawnSync('chown', ['-R', `${NOBODY}:${NOBODY}`, repo]);
    const target = join(base, 'target');
    mkdirSync(target);
    spawnSync('chown', [`${NOBODY}:${NOBODY}`, target]);
    const run = succeed(
      ['restore', 'latest', '--repo', repo, '--target', target],
      { user: NOBODY },
      3,
    );
    assert.deepEqual(
      run.warnings
        .map(({ message }) => fromBytes(Buffer.from(String(message))).replace(/, first.*/, ''))
        .sort(),
      [
        'could not make the devices of 3 items',
        'could not set extended attributes of 3 items',
        run.warnings
          .map(({ message }) => String(message).replace(/, first.*/, ''))
          .find((text) => text.includes('owner')),
      ],
    );
    assert.equal(run.warnings.filter(({ message }) => String(message).includes('owner')).length, 1);
    const without = ['owner'] as const;
    const expected = new Map(
      subtreeOf(capture(base, { without, attributes: ['user.'] }), 'source'),
    );
    for (const name of ['a', 'b', 'c']) {
      expected.delete(`${name} device`);
      // Whoever cannot give a file away must not lend his own rights by it.
      const kept = expected.get(`${name} set-id`);
      assert.ok(kept !== undefined);
      expected.set(`${name} set-id`, { ...kept, mode: '755' });
    }
    assertSameTree(capture(target + source, { without, attributes: ['user.'] }), expected);
    spawnSync('chown', ['-R', '0:0', repo]);
  },
);

const source = join(scratch, 'source');
const target = join(scratch, 'target');

before(() => {
  const tree = TreeMaker.open(source);
  for (const [number, { fill, options }] of situations.entries()) {
    tree.directory(`${number}`, options.skip ? undefined : fill);
  }
  tree.close();
  const made = capture(source);
  succeed(['backup', source, '--repo', repo]);
  assertSameTree(capture(source), made);
  succeed(['restore', 'latest', '--repo', repo, '--target', target]);
});

for (const [number, { name, options }] of situations.entries()) {
  test(name, options, () => {
    const place = join(source, `${number}`);
    assertSameTree(capture(target + place), capture(place));
  });
}
