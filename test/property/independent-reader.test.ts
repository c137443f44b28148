/**
 * Goal: docs/format.md is true and complete: who has only that page, a passphrase and the chunks gets
 * every file back; and what else it says of the index, of cutting and of records holds.
 * Method: repositories that the real command makes of random trees; the reader is
 * independent-reader.ts, which shares no code with src/.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { CWD, KIND, NO_ATTRIBUTES, openFiles } from '../../src/host/mod.ts';
import { scratchFolder, succeed } from '../commands.ts';
import { noise } from '../tree-make.ts';
import { cutLengths, IndependentSegment } from './independent-index.ts';
import { IndependentReader, type ReadEntry } from './independent-reader.ts';
import type { Json } from './independent-records.ts';

const ATTRIBUTE = 'user.penstock';
const PASSPHRASE = 'tr\u00e8s secret';
const HOME = scratchFolder();

function penstock(repository: string, ...args: string[]): void {
  const env = { PENSTOCK_PASSPHRASE: PASSPHRASE, PENSTOCK_NEW_PASSPHRASE: 'another' };
  succeed([...args, '--repo', repository], { env });
}

const raw = (path: string): Buffer => Buffer.from(path, 'latin1');

/** Every kind of thing that needs no root, and every shape of content. */
function makeTree(tree: string): void {
  mkdirSync(join(tree, 'empty'), { recursive: true });
  mkdirSync(join(tree, 'many'));
  for (let i = 0; i < 1200; i++) writeFileSync(join(tree, 'many', `file ${i}`), `${i}\n`.repeat(9));
  writeFileSync(join(tree, 'nothing'), '');
  writeFileSync(join(tree, 'noise'), noise(2_500_000, 'a'));
  writeFileSync(join(tree, 'text'), 'all work and no play\n'.repeat(150_000));
  writeFileSync(
    join(tree, 'mixed'),
    Buffer.concat([Buffer.alloc(900_000, 'abc'), noise(1_500_000, 'b')]),
  );
  writeFileSync(raw(`${tree}/caf\xe9 \xff\x01`), 'a name that is no UTF-8');
  writeFileSync(join(tree, 'before-1970'), 'old');
  utimesSync(join(tree, 'before-1970'), -86_400.5, -86_400.5);
  writeFileSync(join(tree, 'secret'), 'only mine', { mode: 0o600 });
  linkSync(join(tree, 'secret'), join(tree, 'secret link'));
  symlinkSync('../no/where', join(tree, 'symbolic link'));
  const files = openFiles();
  files.makeNode(CWD, join(tree, 'fifo'), (KIND.fifo << 12) | 0o640, 0, 0);
  files.setAttribute(CWD, join(tree, 'text'), ATTRIBUTE, Buffer.from('value'));
  const fd = openSync(join(tree, 'sparse'), 'w');
  // Enough stretches of data that their list does not fit an entry.
  for (let i = 0; i < 300; i++) writeSync(fd, `island ${i}`, i * 262_144);
  closeSync(fd);
  truncateSync(join(tree, 'sparse'), 300 * 262_144 + 12_345);
  chmodSync(join(tree, 'empty'), 0o1750);
}

const KIND_BITS: readonly number[] = [0, 0o10, 0o04, 0o12, 0o01, 0o14, 0o02, 0o06];

/** All paths below a folder, as the manifest has them. */
function pathsOf(folder: string): string[] {
  const names = readdirSync(raw(folder), { encoding: 'buffer' }).map((name) =>
    name.toString('latin1'),
  );
  return names.flatMap((name) => {
    const path = `${folder}/${name}`;
    return lstatSync(raw(path)).isDirectory() ? [path, ...pathsOf(path)] : [path];
  });
}

/** Compares every entry with what stands in the file system. */
function compareTree(tree: string, entries: ReadonlyMap<string, ReadEntry>): void {
  const below = tree.slice(1);
  const stored = [...entries.keys()].filter((path) => path.startsWith(`${below}/`));
  assert.deepEqual(
    stored.sort(),
    pathsOf(tree)
      .map((path) => path.slice(1))
      .sort(),
  );
  for (const path of stored) {
    const entry = entries.get(path) as ReadEntry;
    const place = raw(`/${path}`);
    const status = lstatSync(place, { bigint: true });
    assert.equal(KIND_BITS[entry.kind], Number(status.mode >> 12n), path);
    assert.equal(entry.mode, Number(status.mode & 0o7777n), path);
    assert.equal(entry.mtimeNanos, status.mtimeNs, path);
    assert.deepEqual([entry.uid, entry.gid], [Number(status.uid), Number(status.gid)], path);
    if (entry.kind === 3) assert.equal(entry.linkTarget, readlinkSync(place));
    if (entry.kind !== 1) continue;
    assert.equal(entry.size, Number(status.size), path);
    const of = entry.hardLink === undefined ? entry : entries.get(entry.hardLink);
    assert(of?.content.equals(readFileSync(place)), `${path} has its content`);
    assert.equal((entry.flags & 8) !== 0, entry.hardLink !== undefined);
  }
}

function newestArchive(reader: IndependentReader): Json {
  const byTime = reader.archives
    .filter(({ partial }) => !partial)
    .sort((a, b) => Number(a.sealed.startedMs) - Number(b.sealed.startedMs));
  const newest = byTime.at(-1);
  assert(newest !== undefined, 'an archive footer is in the chunks');
  return newest.sealed;
}

test('every kind of entry comes back from the chunks alone', () => {
  const tree = join(HOME, 'tree');
  const repository = join(HOME, 'repository');
  makeTree(tree);
  penstock(repository, 'backup', tree);
  // The second archive has entries of the first, and is sealed with another key.
  penstock(repository, 'key', 'add');
  penstock(repository, 'key', 'rotate');
  writeFileSync(join(tree, 'many', 'file 7'), 'changed');
  rmSync(join(tree, 'many', 'file 8'));
  penstock(repository, 'backup', tree);
  const whole = new IndependentReader(repository, Buffer.from(PASSPHRASE));
  checkIndex(repository, whole);
  checkRecords(repository, whole);
  checkForgotten(repository, whole);

  // Nothing is left but the chunks and what opens them.
  for (const name of readdirSync(repository)) {
    if (!['repository', 'keys', 'chunks'].includes(name)) {
      rmSync(join(repository, name), { recursive: true });
    }
  }
  const reader = new IndependentReader(repository, Buffer.from('another'));
  assert.deepEqual([...reader.generations].sort(), [1, 2]);
  assert.equal(reader.archives.length, 2);
  const entries = reader.entries(newestArchive(reader));
  compareTree(tree, entries);
  assert.throws(() => new IndependentReader(repository, Buffer.from('wrong')), /no slot opens/);

  const of = (name: string): ReadEntry => entries.get(`${tree.slice(1)}/${name}`) as ReadEntry;
  assert(of('sparse').levels > 0 && of('sparse').pieces.some((length) => length < 0));
  assert.equal(of('secret link').hardLink, `${tree.slice(1)}/secret`);
  const attributes = openFiles().attributes(CWD, join(tree, 'text'));
  // Some file systems have none.
  assert.equal(
    of('text').attributes.get(ATTRIBUTE),
    attributes === NO_ATTRIBUTES ? undefined : 'value',
  );
  checkCuts(reader, of);
});

/** (10) Every blob of the chunks is found where it is, and nothing else is. */
function checkIndex(repository: string, reader: IndependentReader): void {
  const key = reader.key('index');
  const folder = join(repository, 'index');
  const segments = readdirSync(folder).map(
    (name) => new IndependentSegment(readFileSync(join(folder, name)), name, key),
  );
  for (const segment of segments) {
    const names = [...segment.order()];
    assert.deepEqual(names, [...names].sort(Buffer.compare));
    for (const name of names) assert(segment.mayHave(name));
  }
  for (const [name, { chunk, block, offset, bytes }] of reader.places) {
    const found = segments.flatMap((segment) => segment.find(Buffer.from(name, 'hex')));
    assert.deepEqual(found, [{ chunk, block, offset, bytes }], name);
  }
  let passed = 0;
  for (let i = 0; i < 2000; i++) {
    const stranger = noise(32, `stranger ${i}`);
    assert.deepEqual(
      segments.flatMap((segment) => segment.find(stranger)),
      [],
    );
    if (segments.some((segment) => segment.mayHave(stranger))) passed++;
  }
  assert(passed < 200, `the filter lets ${passed} of 2000 strangers pass`);
}

/** (5, 6.5) */
function checkRecords(repository: string, reader: IndependentReader): void {
  const read = (folder: string): [string, Buffer][] =>
    readdirSync(join(repository, folder)).map((name) => [
      name,
      readFileSync(join(repository, folder, name)),
    ]);
  const chunks = readdirSync(join(repository, 'chunks')).flatMap((folder) =>
    readdirSync(join(repository, 'chunks', folder)),
  );
  const footers = new Map(reader.archives.map(({ id, sealed }) => [id, sealed]));
  for (const [name, bytes] of read('archives')) {
    assert.equal(bytes.toString('hex', 32, 48), name);
    assert.deepEqual(reader.sealedPart(bytes, 3), footers.get(name));
  }
  const mapped = read('maps').flatMap(([name, bytes]) => {
    assert(name.startsWith('session-'));
    return reader.sealedPart(bytes, 4).chunks as { id: string; blocks: string }[];
  });
  assert.deepEqual(mapped.map(({ id }) => id).sort(), chunks.sort());
  for (const [name, bytes] of read('keys')) {
    assert.equal(bytes.toString('hex', 32, 40), name.split('.')[0]);
    assert.equal(typeof reader.sealedPart(bytes, 2).madeBy, 'string');
  }
  const detailed = [...reader.details.values()].flat();
  assert.equal(detailed.length, reader.places.size);
}

/** (5.6, 11.4) A forgotten archive is noted, and still stands in its session's chunk. */
function checkForgotten(repository: string, reader: IndependentReader): void {
  const before = readdirSync(join(repository, 'archives'));
  penstock(repository, 'forget', '--keep-last', '1');
  const left = readdirSync(join(repository, 'archives'));
  const notes = readdirSync(join(repository, 'maps')).filter((name) =>
    name.startsWith('forgotten-'),
  );
  const noted = notes.flatMap((name) => {
    const bytes = readFileSync(join(repository, 'maps', name));
    return reader.sealedPart(bytes, 4).archives as string[];
  });
  assert.deepEqual(
    noted,
    before.filter((id) => !left.includes(id)),
  );
  assert.equal(noted.length, 1);
}

/** (8.2, 8.3) */
function checkCuts(reader: IndependentReader, of: (name: string) => ReadEntry): void {
  const cutKey = reader.key('cutting');
  const blockBytes = Number(reader.settings.blockBytes);
  for (const name of ['noise', 'text', 'mixed']) {
    const { content, pieces } = of(name);
    assert.deepEqual(cutLengths(cutKey, content, blockBytes), pieces, name);
    assert(pieces.length > 1);
  }
}

test('without encryption too, for any tree of files', () => {
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 24 })
    .map((bytes) => Buffer.from(bytes).toString('latin1').replace(/[/\0]/g, '_'))
    .filter((text) => text !== '.' && text !== '..');
  const content = fc.tuple(fc.string(), fc.nat(200_000), fc.boolean());
  const file = fc.record({ folder: fc.nat(3), name, content });
  fc.assert(
    fc.property(
      fc.array(file, { maxLength: 40 }),
      fc.boolean(),
      fc.uuid(),
      (files, encrypted, id) => {
        const tree = join(HOME, `tree ${id}`);
        const repository = join(HOME, `repository ${id}`);
        for (let i = 0; i < 4; i++) mkdirSync(join(tree, `${i}`), { recursive: true });
        for (const {
          folder,
          name: own,
          content: [seed, length, random],
        } of files) {
          const bytes = random ? noise(length, seed) : Buffer.alloc(length, `${seed}.`);
          writeFileSync(raw(`${tree}/${folder}/${own}`), bytes);
        }
        if (!encrypted) penstock(repository, 'init', '--no-encryption');
        penstock(repository, 'backup', tree);
        const reader = new IndependentReader(repository, Buffer.from(PASSPHRASE));
        assert.equal(reader.settings.encrypted, encrypted);
        compareTree(tree, reader.entries(newestArchive(reader)));
        rmSync(tree, { recursive: true });
        rmSync(repository, { recursive: true });
      },
    ),
    { numRuns: 4 },
  );
});
