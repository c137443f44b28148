/**
 * Situation: a leaf of an archive's manifest is damaged or missing.
 * Goal: ls, find, diff and cat show what can be known, nothing that may be wrong, say once what is
 * lost, and end with the status for it.
 * Method: single leaves are spoiled in the index; the program is run as a user runs it; what it must
 * show is worked out from the tree.
 */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { comparePaths } from '../../src/base/bytes.ts';
import type { ManifestRef } from '../../src/format/manifest.ts';
import { listArchives } from '../../src/mover/archives.ts';
import type { Repository } from '../../src/mover/repository.ts';
import { untilOld } from '../commands.ts';
import { open } from '../fault/repository-fixture.ts';
import { leafRefs, type Spoiling, spoilBlob } from '../spoil.ts';
import { type JsonLine, Workplace } from './workplace.ts';

const place = new Workplace('browse-damage');
const { source } = place;
const top = source.slice(1);
let repository: Repository;
const ids: string[] = [];
const leaves: ManifestRef[][] = [];

before(async () => {
  for (const [directory, files] of [
    ['a', 3000],
    ['big', 3000],
    ['c', 300],
    ['d', 300],
  ] as const)
    for (let i = 0; i < files; i++)
      place.write(`${directory}/${String(i).padStart(4, '0')}-${'n'.repeat(50)}`, `${i}`);
  place.write('e', 'the last');
  // Else the next backup writes all entries anew, and the archives share no leaf.
  await untilOld();
  ids.push(place.backup());
  for (const directory of ['a', 'd'])
    for (const [i, name] of readdirSync(join(source, directory)).sort().entries())
      if (i === 100) writeFileSync(join(source, directory, name), 'changed');
  ids.push(place.backup());
  repository = await open(place.repo);
  const { archives } = await listArchives(repository);
  for (const id of ids) {
    const archive = archives.find((one) => one.id === id);
    assert.ok(archive !== undefined);
    leaves.push(await leafRefs(repository, archive));
  }
});
after(async () => {
  await repository.close();
  place.remove();
});

/** All paths below the source as manifests have them, in order. */
function allPaths(): string[] {
  const paths = readdirSync(source, { recursive: true }).map((path) => `${top}/${path}`);
  return paths.sort(comparePaths);
}

interface Lost {
  readonly from: string;
  readonly until: string | undefined;
}
const isIn = ({ from, until }: Lost, path: string): boolean =>
  comparePaths(path, from) >= 0 && (until === undefined || comparePaths(path, until) < 0);

/** The number of the leaf of an archive that holds a path. */
const leafOf = (archive: number, path: string): number =>
  (leaves[archive] ?? []).findLastIndex((leaf) => comparePaths(leaf.path, path) <= 0);

/** The first path of a leaf of the large directory that does not hold the directory's own entry. */
function amidst(archive: number): string {
  const leaf = leaves[archive]?.[leafOf(archive, `${top}/big`) + 1];
  assert.ok(leaf !== undefined);
  assert.ok(leaf.path.startsWith(`${top}/big/`));
  return leaf.path;
}

/** Runs with the leaf of a path spoiled in one archive. */
async function without(
  archive: number,
  path: string,
  how: Spoiling,
  work: (lost: Lost) => void,
): Promise<void> {
  const number = leafOf(archive, path);
  const leaf = leaves[archive]?.[number];
  assert.ok(leaf !== undefined && number > 0);
  const undo = await spoilBlob(repository, leaf.name, how);
  try {
    work({ from: leaf.path, until: leaves[archive]?.[number + 1]?.path });
  } finally {
    await undo();
  }
}

const of = (lines: readonly JsonLine[], type: string): JsonLine[] =>
  lines.filter((line) => line.type === type);
const pathsIn = (lines: readonly JsonLine[]): string[] =>
  of(lines, 'entry').map(({ path }) => String(path).slice(1));

function assertTold(lines: readonly JsonLine[], code: string, lost: Lost, times = 1): void {
  const warnings = of(lines, 'warning');
  assert.equal(warnings.length, times, JSON.stringify(warnings));
  for (const warning of warnings) {
    assert.equal(warning.code, code);
    assert.ok(warning.message.includes(`from /${lost.from} `), warning.message);
    assert.ok(lost.until === undefined || warning.message.includes(`before /${lost.until}:`));
  }
  assert.equal(lines.at(-1)?.problems, times);
}

test('ls lists the rest and says what is lost', async () => {
  const all = allPaths();
  await without(0, amidst(0), 'damaged', (lost) => {
    const whole = place.json(['ls', ids[0] ?? '', source, '--recursive'], 3);
    assert.deepEqual(
      pathsIn(whole),
      all.filter((path) => !isIn(lost, path)),
    );
    assertTold(whole, 'DAMAGED', lost);
    const run = place.run(['ls', ids[0] ?? '', source, '--recursive']);
    assert.equal(run.status, 3);
    assert.equal(run.stderr.match(/^warning: part of the archive's manifest/gm)?.length, 1);
    const d = place.json(['ls', ids[0] ?? '', join(source, 'd')]);
    assert.equal(pathsIn(d).length, 300);
  });
});

test('ls of a directory whose entry is lost lists what is left of it', async () => {
  const all = allPaths();
  await without(0, `${top}/big`, 'missing', (lost) => {
    assert.ok(isIn(lost, `${top}/big`));
    const left = all.filter((path) => path.startsWith(`${top}/big/`) && !isIn(lost, path));
    assert.ok(left.length > 600);
    const big = place.json(['ls', ids[0] ?? '', join(source, 'big')], 3);
    assert.deepEqual(pathsIn(big), left);
    assertTold(big, 'OBJECT_MISSING', lost);
    // More is left in it than is gone through entry by entry: the others are found all the same.
    const children = ['a', 'big', 'c', 'd', 'e'].map((name) => `${top}/${name}`);
    const lines = place.json(['ls', ids[0] ?? '', source], 3);
    assert.deepEqual(
      pathsIn(lines),
      children.filter((path) => !isIn(lost, path)),
    );
    assertTold(lines, 'OBJECT_MISSING', lost);
  });
});

test('find searches the rest of each archive', async () => {
  const all = allPaths();
  // Both archives have this leaf: it is told of each.
  await without(0, amidst(0), 'damaged', (lost) => {
    const lines = place.json(['find', '0*'], 3);
    const matches = all.filter((path) => /\/0[^/]*$/.test(path) && !isIn(lost, path));
    assert.deepEqual(
      of(lines, 'entry')
        .map(({ path }) => String(path).slice(1))
        .filter((path) => path.startsWith(top)),
      [...matches, ...matches],
    );
    assertTold(lines, 'DAMAGED', lost, 2);
  });
});

test('diff says nothing of what is lost in one of two archives', async () => {
  const [first = '', second = ''] = ids;
  const changed = (lines: readonly JsonLine[]): [string, string][] =>
    lines
      .filter(({ change, kind }) => change !== undefined && kind === 'file')
      .map(({ change, path }) => [String(change), String(path).slice(1)]);
  const paths = ['a', 'd'].map((directory) => {
    const name = readdirSync(join(source, directory)).sort()[100];
    return `${top}/${directory}/${name}`;
  });
  const both = paths.map((path): [string, string] => ['modified', path]);
  assert.deepEqual(changed(place.json(['diff', first, second])), both);
  for (const archive of [0, 1]) {
    await without(archive, paths[1] ?? '', 'damaged', (lost) => {
      assert.ok(!isIn(lost, paths[0] ?? ''));
      const lines = place.json(['diff', first, second], 3);
      assert.deepEqual(changed(lines), both.slice(0, 1));
      assertTold(lines, 'DAMAGED', lost);
    });
  }
  // A leaf that both have is the same in both, whatever it says.
  await without(0, amidst(0), 'missing', () => {
    assert.deepEqual(changed(place.json(['diff', first, second])), both);
  });
});

test('cat of other files works; of what is lost it says why it does not', async () => {
  await without(1, amidst(1), 'damaged', (lost) => {
    assert.equal(place.must(['cat', 'latest', join(source, 'e')]).stdout, 'the last');
    const error = place.fails(['cat', 'latest', `/${lost.from}`], 1);
    assert.equal(error.code, 'DAMAGED');
    assert.ok(error.message.includes(`/${lost.from}`), error.message);
    assert.equal(place.fails(['cat', 'latest', join(source, 'f')], 1).code, 'PATH_UNKNOWN');
  });
});

test('restore ends with the status for what is lost, and names it', async () => {
  await without(1, amidst(1), 'missing', (lost) => {
    const lines = place.json(['restore', 'latest', '--target', join(place.directory, 'out')], 3);
    const [warning, ...none] = of(lines, 'warning');
    assert.deepEqual(none, []);
    assert.equal(warning?.code, 'OBJECT_MISSING');
    assert.ok(warning.message.includes(`from /${lost.from} up to before /${lost.until}:`));
    const restored = readdirSync(join(place.directory, 'out', source), { recursive: true });
    assert.deepEqual(
      restored.map((path) => `${top}/${path}`).sort(comparePaths),
      allPaths().filter((path) => !isIn(lost, path)),
    );
  });
});
