/**
 * Situation: index, map, archive records, or what chunks tell of themselves are lost, alone or together.
 * Goal: `catalog rebuild` makes again what is missing from what is left, and only that; then a check is
 * clean, every archive restores as it was, and a further backup finds all of it.
 * Method: copies of one repository with two archives, each robbed of something.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { after, before, test } from 'node:test';
import { PenstockError } from '../../src/base/errors.ts';
import { readChunkEnd, scanChunk } from '../../src/format/chunk-scan.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { PART } from '../../src/format/tag-header.ts';
import {
  type Archive,
  encodeArchive,
  listArchives,
  sessionChunkOf,
} from '../../src/mover/archives.ts';
import { dropForgotten, listForgotten, noteForgotten } from '../../src/mover/forgotten.ts';
import { Repository } from '../../src/mover/repository.ts';
import { tidyMapRecords } from '../../src/mover/storage-map.ts';
import {
  backUp,
  checkAll,
  contentsOf,
  filesOf,
  findings,
  make,
  makeTree,
  open,
  rebuildAll,
  restoreAll,
  Scratch,
} from './repository-fixture.ts';

const scratch = new Scratch();
const archives: Archive[] = [];
const sources: Map<string, string>[] = [];
const NOTHING_ELSE = { archivesMade: [], volumesAway: [], problems: [] };

before(async () => {
  makeTree(scratch.at('source'), { large: true });
  const repository = await make(scratch.at('whole'), true);
  for (const text of ['first', 'second']) {
    writeFileSync(scratch.at('source/a/changing'), `${text}\n`.repeat(100));
    archives.push(await backUp(repository, scratch.at('source')));
    sources.push(contentsOf(scratch.at('source')));
  }
  await repository.close();
});
after(() => scratch.drop());

type Robbery = (root: string, repository: Repository) => void | Promise<void>;
const removing =
  (...folders: string[]): Robbery =>
  (root) => {
    for (const folder of folders) rmSync(`${root}/${folder}`, { recursive: true });
  };

/** Zeros everything of each chunk but its blocks and what stands before them. */
const wipeFooters: Robbery = (root, { codec }) => {
  for (const path of filesOf(`${root}/chunks`)) {
    const file = `${root}/chunks/${path}`;
    const bytes = readFileSync(file);
    const source = {
      bytes: bytes.length,
      read: (view: Uint8Array, at: number, length: number, from: number): number =>
        bytes.copy(view, at, from, from + length),
      close: (): void => undefined,
    };
    const crc = (view: Uint8Array, at: number, length: number, seed?: number): number =>
      codec.crc32c(view, at, length, seed);
    const { parts, blocks } = scanChunk(source, Buffer.from(basename(path), 'hex'), crc);
    const last = blocks.at(-1);
    const from =
      last === undefined
        ? parts.find(({ part }) => part === PART.sessionHeader)?.offset
        : last.offset + last.bytes;
    bytes.fill(0, from);
    assert.ok('damage' in readChunkEnd(source, Buffer.from(basename(path), 'hex'), crc));
    writeFileSync(file, bytes);
  }
};

/** Robs a copy, rebuilds it, and looks whether all archives are there and whole. */
async function robAndRebuild(
  name: string,
  robberies: readonly Robbery[],
  expected: { readonly clean: boolean },
): Promise<void> {
  const root = scratch.copy('whole', name);
  const before_ = await open(root);
  for (const rob of robberies) await rob(root, before_);
  await before_.close();
  const repository = await open(root);
  const result = await rebuildAll(repository);
  assert.deepEqual(
    (await listArchives(repository)).archives.map(({ id }) => id),
    archives.map(({ id }) => id),
    name,
  );
  for (const [i, archive] of (await listArchives(repository)).archives.entries()) {
    const target = scratch.at(`${name}-${i}`);
    assert.deepEqual(await restoreAll(repository, archive, target), [], name);
    assert.ok(
      sameContents(target, sources[i] ?? new Map()),
      `${name}: archive ${i} is what it was`,
    );
    rmSync(target, { recursive: true });
  }
  const found = await checkAll(repository);
  if (expected.clean) {
    assert.equal(findings(found), '', name);
    assert.deepEqual(found.notes, [], name);
    assert.deepEqual(result.problems, [], name);
  } else {
    const others = found.damages.filter(({ what }) => what !== 'chunk');
    assert.deepEqual(
      others.map(({ what, id }) => `${what} ${id}`),
      [],
      'only what cannot be made again is damaged',
    );
  }
  const again = await rebuildAll(repository);
  assert.deepEqual(
    { ...again, problems: [] },
    { ...{ chunksIndexed: 0, segmentsReplaced: 0, mapsMade: 0 }, ...NOTHING_ELSE },
    `${name}: nothing is made twice`,
  );
  const next = await backUp(repository, scratch.at('source'));
  // What was written just before it was read is read again; the manifest says so.
  assert.ok(next.statistics.bytesNew < 10_000, `${name}: a further backup finds everything`);
  await repository.close();
}

function sameContents(target: string, source: ReadonlyMap<string, string>): boolean {
  const restored = contentsOf(`${target}${scratch.at('source')}`);
  return (
    restored.size === source.size &&
    [...source].every(([path, content]) => restored.get(path) === content)
  );
}

test('a repository that lacks nothing stays as it is, byte for byte', async () => {
  const root = scratch.copy('whole', 'untouched');
  const repository = await open(root);
  const result = await rebuildAll(repository);
  await repository.close();
  assert.deepEqual(result, {
    chunksIndexed: 0,
    segmentsReplaced: 0,
    mapsMade: 0,
    ...NOTHING_ELSE,
  });
  assert.deepEqual(contentsOf(root), contentsOf(scratch.at('whole')));
});

test('the index is lost', () => robAndRebuild('index', [removing('index')], { clean: true }));
test('the map is lost', () => robAndRebuild('maps', [removing('maps')], { clean: true }));
test('the archive records are lost', () =>
  robAndRebuild('archives', [removing('archives')], { clean: true }));
test('the footers of all chunks are lost', () =>
  robAndRebuild('footers', [wipeFooters], { clean: false }));
test('index and map are lost', () =>
  robAndRebuild('index-maps', [removing('index', 'maps')], { clean: true }));
test('only the chunks are left', () =>
  robAndRebuild('chunks-only', [removing('index', 'maps', 'archives')], { clean: true }));
test('index and footers are lost', () =>
  robAndRebuild('index-footers', [removing('index'), wipeFooters], { clean: false }));
test('only the map is left', () =>
  robAndRebuild('map-only', [removing('index', 'archives'), wipeFooters], { clean: false }));
test('map and footers are lost', () =>
  robAndRebuild('maps-footers', [removing('maps'), wipeFooters], { clean: false }));
test('only the tag headers of blocks and the archive records are left', () =>
  robAndRebuild('headers-only', [removing('index', 'maps'), wipeFooters], { clean: false }));

test('objects that are damaged are replaced, the others stay', async () => {
  const root = scratch.copy('whole', 'damaged');
  const damaged = ['archives', 'index', 'maps'].map((kind) => {
    const path = `${kind}/${filesOf(`${root}/${kind}`)[0]}`;
    const bytes = readFileSync(`${root}/${path}`);
    bytes[200] = (bytes[200] ?? 0) ^ 8;
    writeFileSync(`${root}/${path}`, bytes);
    return path;
  });
  const others = filesOf(root).filter((path) => !damaged.includes(path));
  const repository = await open(root);
  const result = await rebuildAll(repository);
  assert.equal(findings(await checkAll(repository)), '');
  await repository.close();
  assert.equal(result.segmentsReplaced, 1);
  assert.equal(result.mapsMade, 1);
  assert.equal(result.archivesMade.length, 1);
  for (const path of others) {
    assert.deepEqual(
      readFileSync(`${root}/${path}`),
      readFileSync(scratch.at('whole', path)),
      path,
    );
  }
});

test('the chunk of a session is lost: its archive gets another', async () => {
  const lost = sessionChunkOf(archives[0] as Archive) ?? '';
  await robAndRebuild('session', [(root) => rmSync(`${root}/chunks/${lost.slice(0, 2)}/${lost}`)], {
    clean: true,
  });
});

test('a block is damaged and the index lost: all other blobs are found', async () => {
  const root = scratch.copy('whole', 'block');
  const [path] = filesOf(`${root}/chunks`).sort(
    (a, b) =>
      readFileSync(`${root}/chunks/${b}`).length - readFileSync(`${root}/chunks/${a}`).length,
  );
  const file = `${root}/chunks/${path}`;
  const repository = await open(root);
  await wipeFooters(root, repository);
  const bytes = readFileSync(file);
  bytes[4_500_000] = (bytes[4_500_000] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  rmSync(`${root}/index`, { recursive: true });
  rmSync(`${root}/maps`, { recursive: true });
  await repository.close();
  const again = await open(root);
  const result = await rebuildAll(again);
  assert.match(result.problems.join('\n'), /block \d+ at \d+ of chunk [0-9a-f]{32} is lost/);
  const target = scratch.at('block-target');
  const problems = await restoreAll(again, archives[1] as Archive, target);
  assert.equal(problems.length, 1, problems.join('\n'));
  assert.match(problems[0] ?? '', /a\/noise/);
  const restored = contentsOf(`${target}${scratch.at('source')}`);
  for (const [name, content] of sources[1] ?? [])
    if (name !== 'a/noise') assert.ok(restored.get(name) === content, name);
  await again.close();
});

test('archives that were forgotten do not come back', async () => {
  for (const [kind, rob] of [
    ['note', removing('index')],
    ['map', removing('index')],
  ] as const) {
    const root = scratch.copy('whole', `forgotten-${kind}`);
    const [gone, kept] = archives.map(({ id }) => id) as [string, string];
    const repository = await open(root);
    await noteForgotten(repository, [gone]);
    await repository.store.remove('archives', gone);
    assert.deepEqual([...(await listForgotten(repository)).ids], [gone]);
    assert.equal(
      findings(await checkAll(repository)),
      '',
      'an archive that was forgotten is not missing',
    );
    if (kind === 'map') {
      // The map alone tells it too, once it was brought up to date.
      await tidyMapRecords(repository, () => true, new Set([gone]));
      await dropForgotten(repository, new Set([gone]));
      assert.deepEqual([...(await listForgotten(repository)).ids], []);
      assert.equal(findings(await checkAll(repository)), '');
    }
    await rob(root, repository);
    await repository.close();
    const again = await open(root);
    await rebuildAll(again);
    assert.deepEqual(
      (await listArchives(again)).archives.map(({ id }) => id),
      [kept],
      kind,
    );
    assert.equal(findings(await checkAll(again)), '');
    await again.close();
  }
});

test('a partial archive comes back only where it is of use', async () => {
  const root = scratch.copy('whole', 'partial');
  const repository = await open(root);
  const [, last] = archives as [Archive, Archive];
  // As an interrupted backup leaves them: one of a name that has nothing else, one that is outdated.
  const useful = {
    ...last,
    id: '11'.repeat(16),
    session: '22'.repeat(16),
    name: 'other',
    partial: true,
  };
  const outdated = {
    ...last,
    id: '33'.repeat(16),
    session: '44'.repeat(16),
    partial: true,
    startedMs: last.startedMs - 1,
  };
  const { writeSessionChunk } = await import('../../src/mover/session-chunk.ts');
  for (const archive of [useful, outdated]) {
    const { id } = await writeSessionChunk(repository, archive, {
      chunkBytes: 1,
      writer: 'w',
      createdMs: 1,
    });
    await repository.store.put(
      'archives',
      archive.id,
      encodeArchive(repository, { ...archive, chunks: [...archive.chunks, id] }),
    );
  }
  for (const { id } of [useful, outdated]) await repository.store.remove('archives', id);
  const { archivesMade } = await rebuildAll(repository);
  assert.deepEqual(archivesMade, [useful.id]);
  await repository.close();
});

test('a rebuild that fails at any operation can be run again', async () => {
  for (let fails = 1; ; fails++) {
    const root = scratch.copy('whole', 'failing');
    for (const folder of ['index', 'maps', 'archives'])
      rmSync(`${root}/${folder}`, { recursive: true });
    const repository = await open(root);
    const store = failingStore(repository.store, fails);
    const failing = new Repository(
      store,
      repository.settings,
      repository.keyring,
      repository.slot,
      repository.around,
    );
    let failed = false;
    await rebuildAll(failing).catch((error: unknown) => {
      assert.ok(error instanceof PenstockError && error.code === 'REPO_IO', String(error));
      failed = true;
    });
    await rebuildAll(repository);
    assert.deepEqual(
      (await listArchives(repository)).archives.map(({ id }) => id),
      archives.map(({ id }) => id),
    );
    assert.equal(
      findings(await checkAll(repository, false)),
      '',
      `after operation ${fails} failed`,
    );
    await repository.close();
    if (!failed && fails > 10) break;
  }
  assert.ok(existsSync(scratch.at('failing/index')));
});

/** The nth operation that changes the store fails, done or not by turns. */
function failingStore(store: ObjectStore, nth: number): ObjectStore {
  let left = nth;
  return new Proxy(store, {
    get: (target, property: keyof ObjectStore) => {
      const member = target[property];
      if (typeof member !== 'function') return member;
      return async (...args: unknown[]): Promise<unknown> => {
        const changes = ['put', 'remove', 'publish'].includes(property);
        if (!changes || --left !== 0)
          return (member as (...given: unknown[]) => Promise<unknown>).apply(target, args);
        if (nth % 2 === 0)
          await (member as (...given: unknown[]) => Promise<unknown>).apply(target, args);
        throw new PenstockError('REPO_IO', `operation ${nth} fails`);
      };
    },
  });
}
