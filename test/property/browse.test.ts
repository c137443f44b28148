/**
 * Goal: listing, comparing and searching archives whose manifests have many leaves give what a plain
 * walk of the trees gives, whatever the trees are.
 * Method: random trees are backed up, changed at random and backed up again; the answers are compared
 * with ones that are worked out from the trees themselves. PENSTOCK_SEED chooses the trees.
 */
import assert from 'node:assert/strict';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { comparePaths, fromText } from '../../src/base/bytes.ts';
import { openClock, openRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { type ArchiveDifference, compareArchives } from '../../src/mover/archive-diff.ts';
import { ArchiveSearch, pathMatch } from '../../src/mover/archive-find.ts';
import type { Archive } from '../../src/mover/archives.ts';
import { backup } from '../../src/mover/backup.ts';
import { leavesOf } from '../../src/mover/manifest-leaves.ts';
import { listEntries } from '../../src/mover/manifest-list.ts';
import { type ArchiveReader, openArchiveReader } from '../../src/mover/reader.ts';
import { createRepository, type Repository } from '../../src/mover/repository.ts';
import { fastFolder } from '../system/workplace.ts';

const SEED = Number(process.env.PENSTOCK_SEED ?? 20_261_121);
const RUNS = 3;

/** Names that sort differently by bytes, by component and by whole path. */
const NAMES = ['a', 'a b', 'a-b', 'a.b', 'B', 'z', 'ü', '~'];

/** What the tests know of a tree: by path as in a manifest. */
type Model = Map<string, { readonly kind: string; readonly content: string }>;

class Generator {
  readonly #next: (max: number) => number;
  constructor(seed: number) {
    let state = seed >>> 0;
    this.#next = (max) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * max);
    };
  }
  below(max: number): number {
    return this.#next(max);
  }
  name(): string {
    const tail = '-'.repeat(90 * this.below(2));
    return `${NAMES[this.below(NAMES.length)]}${this.below(90)}${tail}`;
  }
}

/** Grows a tree of about `count` entries below `directory`. */
function grow(generator: Generator, directory: string, count: number): void {
  const directories = [directory];
  for (let i = 0; i < count; i++) {
    const parent = directories[generator.below(directories.length)] ?? directory;
    const path = join(parent, generator.name());
    try {
      const choice = generator.below(10);
      if (choice === 0) {
        mkdirSync(path);
        directories.push(path);
      } else if (choice === 1) symlinkSync(`to ${generator.below(9)}`, path);
      else writeFileSync(path, `content ${generator.below(1000)}`, { flag: 'wx' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Changes, removes and adds some things. */
function change(generator: Generator, directory: string): void {
  const paths = [...modelOf(directory).keys()].map((path) => `/${Buffer.from(path, 'latin1')}`);
  for (let i = 0; i < 12; i++) {
    const path = paths[generator.below(paths.length)] ?? '';
    if (
      !path.startsWith(`${directory}/`) ||
      lstatSync(path, { throwIfNoEntry: false }) === undefined
    )
      continue;
    const isFile = lstatSync(path).isFile();
    if (isFile && generator.below(2) === 0) writeFileSync(path, `changed ${i}`);
    else if (isFile && i % 2 === 0) utimesSync(path, i, i);
    else rmSync(path, { recursive: true });
  }
  grow(generator, directory, 10);
}

function modelOf(directory: string): Model {
  const model: Model = new Map();
  const walk = (path: string): void => {
    const status = lstatSync(path);
    const kind = status.isDirectory() ? 'directory' : status.isFile() ? 'file' : 'symlink';
    const content =
      kind === 'file' ? readFileSync(path, 'utf8') : kind === 'symlink' ? readlinkSync(path) : '';
    model.set(fromText(path.slice(1)), { kind, content });
    if (kind === 'directory') for (const name of readdirSync(path)) walk(join(path, name));
  };
  walk(directory);
  return model;
}

const sorted = (model: Model): string[] => [...model.keys()].sort(comparePaths);

async function archiveOf(repository: Repository, directory: string): Promise<Archive> {
  const { archive } = await backup(repository, {
    paths: [fromText(directory)],
    name: 'tree',
    host: 'here',
    user: 'me',
    writer: 'test',
    selection: { exclude: [], include: [], ignoreFiles: [], oneFileSystem: false },
    full: false,
    threads: 1,
    level: 3,
    checkpointMs: 60_000,
    estimates: false,
    dryRun: false,
    signal: new AbortController().signal,
    onProblem: ({ path }) => assert.fail(`could not read ${path}`),
    onProgress: () => {},
  });
  assert(archive !== undefined);
  return archive;
}

/** Directories above the source are in the archive too, and may change under other hands. */
const within = (directory: string) => (path: string) =>
  path.startsWith(fromText(directory.slice(1)));

function checkListings(
  { blobs }: ArchiveReader,
  { root }: Archive,
  model: Model,
  directory: string,
  generator: Generator,
): void {
  const all = [...listEntries(blobs, root, { path: '', recursive: true })].map(({ path }) => path);
  assert.deepEqual(all.filter(within(directory)), sorted(model));
  const directories = sorted(model).filter((path) => model.get(path)?.kind === 'directory');
  for (let i = 0; i < 8; i++) {
    const path =
      i === 0 ? fromText(directory.slice(1)) : directories[generator.below(directories.length)];
    assert(path !== undefined);
    const below = sorted(model).filter((one) => one.startsWith(`${path}/`));
    const children = below.filter((one) => !one.slice(path.length + 1).includes('/'));
    const list = (recursive: boolean): string[] =>
      [...listEntries(blobs, root, { path: `/${path}/`, recursive })].map((entry) => entry.path);
    assert.deepEqual(list(false), children);
    assert.deepEqual(list(true), below);
  }
}

/** Paths by how they changed; directories' own times are left out. */
function changesOf(
  differences: Iterable<ArchiveDifference>,
  directory: string,
): Map<string, string> {
  const changes = new Map<string, string>();
  let last: string | undefined;
  for (const { path, change, kind, aspects } of differences) {
    assert(last === undefined || comparePaths(last, path) < 0, 'in the order of paths');
    last = path;
    const said = aspects.filter(
      (aspect) => aspect === 'content' || aspect === 'kind' || aspect === 'target',
    );
    const isOnlyTime = change === 'modified' && said.length === 0;
    if (isOnlyTime || !within(directory)(path)) continue;
    assert(kind > 0);
    changes.set(path, change);
  }
  return changes;
}

function expectedChanges(before: Model, after: Model): Map<string, string> {
  const changes = new Map<string, string>();
  for (const path of [...new Set([...before.keys(), ...after.keys()])].sort(comparePaths)) {
    const [a, b] = [before.get(path), after.get(path)];
    if (a === undefined) changes.set(path, 'added');
    else if (b === undefined) changes.set(path, 'removed');
    else if (a.kind !== b.kind || a.content !== b.content) changes.set(path, 'modified');
  }
  return changes;
}

async function oneCase(seed: number, directory: string): Promise<number> {
  const generator = new Generator(seed);
  const source = join(directory, 'tree');
  mkdirSync(source);
  grow(generator, source, 2500);
  const around = { clock: openClock(), random: openRandom() };
  const store = openDirectoryStore(fromText(join(directory, 'repo')), true);
  const repository = await createRepository(store, undefined, around);
  const first = await archiveOf(repository, source);
  const before = modelOf(source);
  change(generator, source);
  const second = await archiveOf(repository, source);
  const after = modelOf(source);
  const reader = await openArchiveReader(repository);
  try {
    checkListings(reader, first, before, source, generator);
    checkListings(reader, second, after, source, generator);
    const { blobs } = reader;
    const forth = changesOf(compareArchives(blobs, first.root, second.root), source);
    assert.deepEqual(forth, expectedChanges(before, after));
    const back = changesOf(compareArchives(blobs, second.root, first.root), source);
    assert.deepEqual(back, expectedChanges(after, before));
    for (const pattern of ['*1', fromText('ü*'), '/**', `${fromText(source)}/*`]) {
      const matches = pathMatch(pattern);
      const search = new ArchiveSearch(blobs, matches);
      for (const [archive, model] of [
        [first, before],
        [second, after],
      ] as const) {
        const found = [...search.in(archive.root, assert.fail)].map(({ path }) => path);
        assert.deepEqual(
          found.filter(within(source)),
          sorted(model).filter((path) => matches(path, false)),
          pattern,
        );
      }
    }
    return [...leavesOf(blobs, first.root)].length;
  } finally {
    await reader.close();
    await repository.close();
  }
}

test('archives of random trees are listed, compared and searched as the trees themselves', async () => {
  let leaves = 0;
  await fc.assert(
    fc.asyncProperty(fc.nat(), async (seed) => {
      const directory = mkdtempSync(join(fastFolder(), 'penstock-trees-'));
      try {
        leaves += await oneCase(seed, directory);
      } finally {
        rmSync(directory, { recursive: true });
      }
    }),
    { seed: SEED, numRuns: RUNS, endOnFailure: true },
  );
  assert(leaves >= 3 * RUNS, `only ${leaves} leaves: the trees are too small to tell`);
});
