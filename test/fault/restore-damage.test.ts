/**
 * Situation: parts of an archive cannot be read: leaves and nodes of its manifest, content lists.
 * Goal: a restore tells each part once, gives back everything else as it was, and nothing wrong.
 * Method: single blobs are spoiled in the index; what is restored is compared with the source,
 * entry by entry.
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { comparePaths } from '../../src/base/bytes.ts';
import { BLOB } from '../../src/format/block.ts';
import { encodeNode, type ManifestRef } from '../../src/format/manifest.ts';
import { CONTENT_CLASS } from '../../src/format/tag-header.ts';
import { type Archive, encodeArchive } from '../../src/mover/archives.ts';
import type { Bench } from '../bench.ts';
import { untilOld } from '../commands.ts';
import { storeBlobs } from '../hand-made.ts';
import { blobsOf, leafRefs, pathsOf, spoilBlob } from '../spoil.ts';
import { assertSameTree, type Captured, capture, type Tree } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { newBench, newPath, newTarget } from './restore-fixture.ts';

/** Directories of small files, enough for several leaves. */
function makeManyFiles(): string {
  const source = newPath('source');
  for (let d = 0; d < 24; d++) {
    const directory = join(source, `d${String(d).padStart(2, '0')}`, 'inner');
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    for (let f = 0; f < 200; f++) {
      const path = join(directory, `file ${String(f).padStart(3, '0')} ${'x'.repeat(60)}`);
      writeFileSync(path, `content of ${d} ${f}`);
    }
  }
  return source;
}

/** The part of a tree at these paths, and the directories on the way there. */
function only(tree: Tree, keep: (path: string) => boolean): Map<string, Captured> {
  const kept = new Map<string, Captured>();
  for (const [path, entry] of tree) if (keep(path)) kept.set(path, entry);
  return kept;
}

interface Lost {
  readonly from: string;
  readonly until: string | undefined;
}

const isLost = (path: string, lost: readonly Lost[]): boolean =>
  lost.some(
    ({ from, until }) =>
      comparePaths(path, from) >= 0 && (until === undefined || comparePaths(path, until) < 0),
  );

/** Restores, and asserts that all but what is lost came back, and what was told. */
async function assertRest(
  bench: Bench,
  archive: Archive,
  source: string,
  lost: readonly Lost[],
  code: string,
): Promise<void> {
  const target = newTarget();
  const { told, problems } = await bench.restore(target, { archive });
  const top = source.slice(1);
  const inArchive = (path: string): string => (path === '' ? top : `${top}/${path}`);
  const expected = only(capture(source), (path) => !isLost(inArchive(path), lost));
  const actual = capture(join(target, top));
  // Directories that are lost themselves, above what is not.
  const madeUp = [...actual.keys()].filter((path) => isLost(inArchive(path), lost));
  for (const path of madeUp) {
    assert.equal(actual.get(path)?.kind, 'directory', path);
    assert.equal(statSync(join(target, top, path)).mode & 0o777, 0o700);
    const below = `${path}/`;
    assert.ok([...expected.keys()].some((one) => one.startsWith(below)));
  }
  assertSameTree(
    only(actual, (path) => !madeUp.includes(path)),
    expected,
  );
  const gaps = told.filter(({ message }) => message.includes('manifest cannot be read'));
  assert.deepEqual(
    gaps.map((one) => [one.code, one.path]),
    lost.map(({ from }) => [code, from]),
  );
  for (const [i, { from, until }] of lost.entries()) {
    const text = gaps[i]?.message ?? '';
    assert.ok(text.includes(`from /${from} `), text);
    assert.ok(text.includes(until === undefined ? 'to the last' : `before /${until}:`), text);
  }
  const others = told.filter((one) => !gaps.includes(one));
  assert.deepEqual(
    others.map((one) => [one.code, one.path]),
    madeUp.map((path) => ['DAMAGED', inArchive(path)]),
  );
  assert.equal(problems, told.length);
  rmSync(target, { recursive: true });
}

function rangeOf(leaves: readonly ManifestRef[], first: number, end = first + 1): Lost {
  return { from: leaves[first]?.path ?? '', until: leaves[end]?.path };
}

test('a leaf that is damaged or missing costs its own entries, whichever it is', async () => {
  const bench = await newBench();
  const source = makeManyFiles();
  await bench.backup(source);
  const archive = await bench.archive();
  const leaves = await leafRefs(bench.repository, archive);
  assert.ok(leaves.length > 4, `${leaves.length} leaves`);
  for (const [i, leaf] of leaves.entries()) {
    // The ends, and some between.
    if (i > 3 && i < leaves.length - 1) continue;
    const how = i % 2 === 0 ? 'damaged' : 'missing';
    const undo = await spoilBlob(bench.repository, leaf.name, how);
    const code = how === 'damaged' ? 'DAMAGED' : 'OBJECT_MISSING';
    // The first leaf has the directories above the source: all is below what is lost.
    if (i > 0) await assertRest(bench, archive, source, [rangeOf(leaves, i)], code);
    else await assertFirstLost(bench, archive, source, rangeOf(leaves, 0));
    await undo();
  }
  await assertRest(bench, archive, source, [], '');
});

/** The first leaf: the directories above what is left are made, from the top. */
async function assertFirstLost(
  bench: Bench,
  archive: Archive,
  source: string,
  lost: Lost,
): Promise<void> {
  const target = newTarget();
  const { told } = await bench.restore(target, { archive });
  const top = source.slice(1);
  const files = [...capture(join(target, top))].filter(([, { kind }]) => kind === 'file');
  const expected = [...capture(source)].filter(
    ([path, { kind }]) => kind === 'file' && !isLost(`${top}/${path}`, [lost]),
  );
  assert.ok(expected.length > 1000);
  assert.deepEqual(files, expected);
  assert.equal(told[0]?.code, 'DAMAGED');
  const parents = (lost.until ?? '').split('/').slice(0, -1);
  assert.deepEqual(
    told.slice(1).map(({ path }) => path),
    parents.map((_, i) => parents.slice(0, i + 1).join('/')),
  );
  rmSync(target, { recursive: true });
}

test('several leaves are told one by one, next to each other or not', async () => {
  const bench = await newBench();
  const source = makeManyFiles();
  await bench.backup(source);
  const archive = await bench.archive();
  const leaves = await leafRefs(bench.repository, archive);
  const lost = [1, 2, leaves.length - 1];
  for (const i of lost) await spoilBlob(bench.repository, leaves[i]?.name as Buffer, 'missing');
  const ranges = lost.map((i) => rangeOf(leaves, i));
  await assertRest(bench, archive, source, ranges, 'OBJECT_MISSING');
});

/** An archive with the same leaves, below a root of two levels; returns the nodes between. */
async function withInnerNodes(
  bench: Bench,
  archive: Archive,
  leaves: readonly ManifestRef[],
): Promise<{ archive: Archive; nodes: ManifestRef[]; firsts: number[] }> {
  const { repository } = bench;
  const store = async (level: number, children: readonly ManifestRef[]): Promise<ManifestRef> => {
    const bytes = encodeNode(level, children);
    const blob = { contentClass: CONTENT_CLASS.manifest, type: BLOB.node, bytes };
    const [name] = await storeBlobs(repository, [blob]);
    const sum = (of: (one: ManifestRef) => number): number =>
      children.reduce((total, one) => total + of(one), 0);
    return {
      name: name as Buffer,
      blobBytes: bytes.length,
      entries: sum(({ entries }) => entries),
      fileBytes: sum(({ fileBytes }) => fileBytes),
      path: children[0]?.path ?? '',
    };
  };
  const firsts = [0, 2, 4];
  const nodes: ManifestRef[] = [];
  for (const [i, first] of firsts.entries())
    nodes.push(await store(1, leaves.slice(first, firsts[i + 1])));
  const root = { level: 2, ref: await store(2, nodes) };
  const id = repository.around.random.bytes(16).toString('hex');
  const made = { ...archive, id, root };
  await repository.store.put('archives', id, encodeArchive(repository, made));
  return { archive: made, nodes, firsts };
}

test('an inner node costs what is below it', async () => {
  const bench = await newBench();
  const source = makeManyFiles();
  await bench.backup(source);
  const leaves = await leafRefs(bench.repository, await bench.archive());
  const made = await withInnerNodes(bench, await bench.archive(), leaves);
  await assertRest(bench, made.archive, source, [], '');
  for (const i of [1, 2]) {
    const undo = await spoilBlob(bench.repository, made.nodes[i]?.name as Buffer, 'damaged');
    const range = rangeOf(leaves, made.firsts[i] ?? 0, made.firsts[i + 1] ?? leaves.length);
    await assertRest(bench, made.archive, source, [range], 'DAMAGED');
    await undo();
  }
});

test('a root that is lost ends the restore', async () => {
  const bench = await newBench();
  const source = makeManyFiles();
  await bench.backup(source);
  const archive = await bench.archive();
  await spoilBlob(bench.repository, archive.root.ref.name, 'missing');
  await assert.rejects(bench.restore(newTarget()), { code: 'OBJECT_MISSING' });
});

test('of some paths, only damage that concerns them is told', async () => {
  const bench = await newBench();
  const source = makeManyFiles();
  await bench.backup(source);
  const archive = await bench.archive();
  const leaves = await leafRefs(bench.repository, archive);
  const lost = rangeOf(leaves, 2);
  await spoilBlob(bench.repository, leaves[2]?.name as Buffer, 'damaged');
  const all = capture(source);
  const top = source.slice(1);
  const directories = [...new Set([...all.keys()].map((path) => path.split('/')[0] ?? ''))];
  const counts = { whole: 0, partly: 0 };
  const lostIn = (path: string): boolean => isLost(`${top}/${path}`, [lost]);
  for (const [i, directory] of directories.entries()) {
    const around = directories.slice(Math.max(0, i - 1), i + 2);
    const isNear = [...all.keys()].some(
      (one) => around.includes(one.split('/')[0] ?? '') && lostIn(one),
    );
    if (directory === '' || !isNear) continue;
    const target = newTarget();
    const { told } = await bench.restore(target, { paths: [join(source, directory)] });
    const below = only(all, (path) => path === directory || path.startsWith(`${directory}/`));
    const left = only(below, (path) => !lostIn(path));
    const files = (tree: Tree): [string, Captured][] =>
      [...tree].filter(([, { kind }]) => kind === 'file');
    const root = join(target, top);
    assert.deepEqual(files(existsSync(root) ? capture(root) : new Map()), files(left), directory);
    const concerned = left.size < below.size;
    counts[concerned ? 'partly' : 'whole']++;
    const gaps = told.filter(({ message }) => message.includes('manifest cannot be read'));
    assert.equal(gaps.length, concerned ? 1 : 0, directory);
    assert.equal(told.length === 0, !concerned);
    rmSync(target, { recursive: true, force: true });
  }
  assert.ok(counts.partly > 0 && counts.whole > 1, JSON.stringify(counts));
  // What surely is not there is no damage; what may be lost is.
  const unknown = { paths: [join(source, 'd00/inner/nothing')] };
  await assert.rejects(bench.restore(newTarget(), unknown), { code: 'PATH_UNKNOWN' });
  const within = { paths: [`/${lost.from}`] };
  const { told, files } = await bench.restore(newTarget(), within);
  assert.equal(files, 0);
  assert.deepEqual([told[0]?.code, told[0]?.path], ['DAMAGED', lost.from]);
});

test('a link whose first name is lost takes no other file for it', async () => {
  const bench = await newBench();
  const source = makeManyFiles();
  linkSync(
    join(source, 'd03/inner', readdirSync(join(source, 'd03/inner')).sort()[60] ?? ''),
    join(source, 'last'),
  );
  await bench.backup(source);
  const archive = await bench.archive();
  const leaves = await leafRefs(bench.repository, archive);
  const paths = await pathsOf(bench.repository, archive);
  const first = paths.find((path) => path.includes('/d03/inner/file 060')) ?? '';
  const leaf = leaves.findLast(({ path }) => comparePaths(path, first) <= 0);
  await spoilBlob(bench.repository, leaf?.name as Buffer, 'missing');
  const target = newTarget();
  // What stands where the first name was is somebody else's.
  const place = join(target, first);
  mkdirSync(join(place, '..'), { recursive: true });
  writeFileSync(place, 'not of the archive');
  for (const options of [{ archive }, { archive, paths: [join(source, 'last')] }]) {
    const { told } = await bench.restore(target, options);
    const link = told.find(({ path }) => path === `${source.slice(1)}/last`);
    assert.match(link?.message ?? '', /it is a link to /);
    assert.equal(existsSync(join(target, source, 'last')), false);
    assert.equal(readFileSync(place, 'utf8'), 'not of the archive');
  }
});

test('a content list that is lost costs its file alone', async () => {
  const bench = await newBench();
  const source = newPath('source');
  mkdirSync(source);
  for (const name of ['a', 'z']) writeFileSync(join(source, name), `content of ${name}`);
  for (const name of ['large one', 'large two']) {
    // Data and holes in turn: many records, few bytes.
    const fd = openSync(join(source, name), 'w');
    for (let i = 0; i < 400; i++) writeSync(fd, noise(5000, `${name} ${i}`), 0, 5000, i * 65536);
    closeSync(fd);
  }
  await bench.backup(source);
  const archive = await bench.archive();
  const expected = capture(source);
  for (const how of ['missing', 'damaged'] as const) {
    const path = `${source.slice(1)}/large one`;
    const { levels, names } = await blobsOf(bench.repository, archive, path);
    assert.equal(levels, 1);
    const undo = await spoilBlob(bench.repository, names[0] as Buffer, how);
    for (const overwrite of ['never', 'always'] as const) {
      const target = newTarget();
      const place = join(target, path);
      if (overwrite === 'always') {
        mkdirSync(join(place, '..'), { recursive: true });
        writeFileSync(place, 'older');
      }
      const { told } = await bench.restore(target, { overwrite });
      const code = how === 'damaged' ? 'DAMAGED' : 'OBJECT_MISSING';
      assert.deepEqual(
        told.map((one) => [one.code, one.path]),
        [[code, path]],
      );
      const actual = capture(join(target, source));
      const others = (tree: Tree): Tree => only(tree, (one) => one !== 'large one');
      assertSameTree(others(actual), others(expected));
      // Neither half of it, nor what it was to replace gone.
      if (overwrite === 'always') assert.equal(readFileSync(place, 'utf8'), 'older');
      else assert.equal(actual.has('large one'), false);
      rmSync(target, { recursive: true });
    }
    await undo();
  }
});

test('a backup stores again what of its base is damaged, which heals older archives too', async () => {
  const source = makeManyFiles();
  await untilOld();
  const bench = await newBench();
  await bench.backup(source);
  const old = must((await bench.backup(source)).archive, 'made');
  // Of entries below the source alone: directories above it change when others work beside.
  const { name } = must((await leafRefs(bench.repository, old))[2], 'a leaf');
  await spoilBlob(bench.repository, name, 'damaged');
  await assert.rejects(pathsOf(bench.repository, old), { code: 'DAMAGED' });
  const again = await bench.backup(source);
  assert.deepEqual(again.told, []);
  for (const archive of [old, must(again.archive, 'made')]) {
    const target = newTarget();
    assert.deepEqual((await bench.restore(target, { archive })).told, []);
    assertSameTree(capture(join(target, source)), capture(source));
  }
});
