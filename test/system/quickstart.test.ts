/**
 * Goal: the quick start does what it says, on a directory of one's own too. Method: it runs as npm
 * runs it; the comparison at its end is shown to find every kind of difference.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { compareTrees } from '../../scripts/compare-trees.ts';

const ROOT = join(import.meta.dirname, '../..');
const LATER_MS = Date.now() + 3_600_000;

function makeFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'penstock quick-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A small tree with one of each kind. */
function makeTree(folder: string): string {
  const tree = join(folder, "it's a tree");
  mkdirSync(join(tree, 'empty'), { recursive: true });
  writeFileSync(join(tree, 'large'), Buffer.alloc(3_000_000, 'text of a large file\n'));
  writeFileSync(join(tree, 'small'), 'small');
  writeFileSync(Buffer.from(`${tree}/byte-\xff`, 'latin1'), 'odd');
  linkSync(join(tree, 'small'), join(tree, 'same'));
  symlinkSync('small', join(tree, 'link'));
  return tree;
}

function quickstart(
  args: readonly string[],
  scratch: string,
): { status: number | null; text: string } {
  const run = spawnSync(process.execPath, ['scripts/node.js', 'scripts/quickstart.ts', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: scratch },
  });
  return { status: run.status, text: run.stdout + run.stderr };
}

test('the quick start restores what it backed up and leaves nothing', (context) => {
  const folder = makeFolder(context);
  const scratch = join(folder, 'tmp');
  mkdirSync(scratch);
  const { status, text } = quickstart([makeTree(folder)], scratch);
  assert.equal(status, 0, text);
  assert.match(text, /compared {7}7 entries: all equal/);
  for (const command of [
    'init',
    'backup',
    'archives',
    'ls',
    'check --read-data',
    'restore latest',
  ]) {
    assert(text.includes(`$ bin/penstock.js ${command}`), command);
  }
  assert.deepEqual(readdirSync(scratch), []);
});

test('a place that is no directory is refused with its name', (context) => {
  const { status, text } = quickstart(['/no/such/place'], makeFolder(context));
  assert.equal(status, 1);
  assert.match(text, /quickstart: \/no\/such\/place is not a directory/);
});

const CHANGES: Readonly<Record<string, (made: string) => void>> = {
  'a byte': (made) => {
    const content = Buffer.alloc(3_000_000, 'text of a large file\n');
    content[2_999_999] = 0;
    writeFileSync(join(made, 'large'), content);
  },
  'a mode': (made) => chmodSync(join(made, 'small'), 0o600),
  'a time': (made) => utimesSync(join(made, 'empty'), 5, 5),
  'the time of a link': (made) => lutimesSync(join(made, 'link'), 5, 5),
  'a missing file': (made) => unlinkSync(Buffer.from(`${made}/byte-\xff`, 'latin1')),
  'a further file': (made) => writeFileSync(join(made, 'empty', 'new'), ''),
  'a hard link': (made) => {
    unlinkSync(join(made, 'same'));
    writeFileSync(join(made, 'same'), 'small');
  },
  'a target': (made) => {
    unlinkSync(join(made, 'link'));
    symlinkSync('other', join(made, 'link'));
  },
};

const SEEN_AS: Readonly<Record<string, string>> = {
  'a byte': './large: other content',
  'a mode': './small: kind and mode',
  'a time': './empty: time',
  'the time of a link': './link: time',
  'a missing file': './byte-\xff: missing',
  'a further file': './empty/new: only in what was made',
  'a hard link': './small: the same file as',
  'a target': './link: target',
};

for (const [what, change] of Object.entries(CHANGES)) {
  test(`the comparison sees ${what} that differs`, (context) => {
    const folder = makeFolder(context);
    const source = makeTree(folder);
    const made = join(folder, 'made');
    spawnSync('cp', ['-a', source, made]);
    const before = compareTrees(source, made, LATER_MS);
    assert.deepEqual([...before.differences], []);
    assert.equal(before.entries, 7);
    assert.equal(before.bytes, 3_000_013);
    change(made);
    const { differences } = compareTrees(source, made, LATER_MS);
    const expected = SEEN_AS[what] ?? 'nothing';
    assert(
      differences.some((line) => line.startsWith(expected)),
      differences.join('\n'),
    );
  });
}

test('the comparison tells what changed since from what differs', (context) => {
  const folder = makeFolder(context);
  const source = makeTree(folder);
  const made = join(folder, 'made');
  cpSync(source, made, { recursive: true, verbatimSymlinks: true });
  const { differences, changed } = compareTrees(source, made, 0);
  assert.deepEqual([...differences], []);
  assert.equal(changed, 7);
});
