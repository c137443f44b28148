/**
 * Situation: files of a repository are cut off, missing, empty, longer, somebody else's, or swapped.
 * Goal: a check names each and never throws; what is undamaged is restored as it was, and nothing
 * damaged is restored as good.
 * Method: one change at a time to a small repository and to one that is large enough for the pipe.
 */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path';
import { after, before, test } from 'node:test';
import { PenstockError } from '../../src/base/errors.ts';
import type { ChunkSource } from '../../src/format/chunk-media.ts';
import { readChunkEnd, scanChunk } from '../../src/format/chunk-scan.ts';
import { OBJECT_KINDS } from '../../src/format/object-store.ts';
import { listArchives } from '../../src/mover/archives.ts';
import { type CheckResult, check } from '../../src/mover/check.ts';
import type { Repository } from '../../src/mover/repository.ts';
import {
  backUp,
  checkAll,
  contentsOf,
  filesOf,
  findings,
  make,
  makeTree,
  open,
  restoreAll,
  Scratch,
  sizeOf,
} from './repository-fixture.ts';

const scratch = new Scratch();
let small: Repository;
let large: Repository;

before(async () => {
  makeTree(scratch.at('source'));
  small = await make(scratch.at('small'), true);
  await backUp(small, scratch.at('source'));
  writeFileSync(scratch.at('source', 'later'), 'written between the two archives\n');
  await backUp(small, scratch.at('source'));
  makeTree(scratch.at('source-large'), { large: true });
  large = await make(scratch.at('large'), true);
  await backUp(large, scratch.at('source-large'));
});
after(async () => {
  await small.close();
  await large.close();
  scratch.drop();
});

/** A chunk's bytes, as media give them. */
function sourceOf(bytes: Buffer): ChunkSource {
  return {
    bytes: bytes.length,
    read: (view, offset, length, position) => bytes.copy(view, offset, position, position + length),
    close: () => undefined,
  };
}

/** Offsets at which something begins or ends in a chunk. */
function boundariesOf(path: string, repository: Repository): number[] {
  const bytes = readFileSync(path);
  const crc = (view: Uint8Array, at: number, length: number, seed?: number): number =>
    repository.codec.crc32c(view, at, length, seed);
  const scanned = scanChunk(sourceOf(bytes), Buffer.from(basename(path), 'hex'), crc);
  const end = readChunkEnd(sourceOf(bytes), Buffer.from(basename(path), 'hex'), crc);
  assert.ok('footer' in end && end.footer.blocks.length === scanned.blocks.length);
  const offsets = new Set<number>([0, bytes.length]);
  for (const { offset, headerBytes, storedBytes } of scanned.parts) {
    for (const at of [offset, offset + headerBytes, offset + headerBytes + storedBytes])
      offsets.add(at);
  }
  for (const { offset, bytes: length } of scanned.blocks)
    for (const at of [offset, offset + 144, offset + length]) offsets.add(at);
  return [...offsets].sort((a, b) => a - b);
}

async function assertNamed(
  repository: Repository,
  name: string,
  situation: string,
): Promise<CheckResult> {
  const result = await checkAll(repository);
  assert.ok(findings(result).includes(name), `${situation}: ${findings(result)}`);
  return result;
}

test('a file that is cut off anywhere is found and named', async () => {
  const root = scratch.at('small');
  for (const path of filesOf(root)) {
    const file = `${root}/${path}`;
    const bytes = readFileSync(file);
    const lengths = path.startsWith('chunks/')
      ? boundariesOf(file, small)
      : [0, 1, 127, 128, bytes.length >> 1, bytes.length];
    for (const boundary of lengths) {
      for (const length of [boundary - 1, boundary, boundary + 1]) {
        if (length < 0 || length >= bytes.length) continue;
        truncateSync(file, length);
        await assertNamed(small, basename(path), `${path} cut off at ${length}`);
        writeFileSync(file, bytes);
      }
    }
  }
  assert.equal(findings(await checkAll(small)), '');
});

test('a file that has become longer is found and named', async () => {
  const root = scratch.at('small');
  for (const path of filesOf(root)) {
    const file = `${root}/${path}`;
    const bytes = readFileSync(file);
    appendFileSync(file, '\0');
    await assertNamed(small, basename(path), `${path} with a byte more`);
    writeFileSync(file, bytes);
  }
});

test('a file that is missing is found and named, or the rest is whole', async () => {
  const root = scratch.at('small');
  for (const path of filesOf(root)) {
    renameSync(`${root}/${path}`, scratch.at('taken'));
    const result = await checkAll(small);
    renameSync(scratch.at('taken'), `${root}/${path}`);
    const text = findings(result);
    if (path.startsWith('index/'))
      assert.match(text, /index segment missing: .*no index segment/, path);
    else if (path.startsWith('keys/')) assert.match(text, /no key is left/, path);
    // The map repeats what others tell: that it is gone is worth a note.
    else if (path.startsWith('maps/'))
      assert.match(result.notes.join('\n'), /without a map record/, path);
    else assert.ok(text.includes(basename(path)), `${path}: ${text}`);
  }
});

test('a missing chunk is named with the archives and paths that need it', async () => {
  const { archives } = await listArchives(small);
  const [first, second] = archives.map(({ id }) => id);
  const root = scratch.at('small/chunks');
  let concerned = 0;
  for (const path of filesOf(root)) {
    renameSync(`${root}/${path}`, scratch.at('taken'));
    const result = await checkAll(small, false);
    renameSync(scratch.at('taken'), `${root}/${path}`);
    for (const { paths, archives: ids, id } of result.damages) {
      assert.equal(id, basename(path));
      const own = paths.map((one) => `/${one}`.slice(scratch.at('source').length));
      if (own.includes('/later')) assert.deepEqual(ids, [second]);
      if (own.includes('/one')) assert.deepEqual([...ids].sort(), [first, second].sort());
      concerned += own.filter((one) =>
        ['/later', '/one', '/a/two', '/a/b/three'].includes(one),
      ).length;
    }
  }
  assert.ok(concerned >= 4, 'every file stands in some chunk');
});

test('files that are none of a repository are named', async () => {
  const root = scratch.at('small');
  const [chunk] = filesOf(`${root}/chunks`);
  const id = basename(chunk ?? '');
  const wrongFolder = id.startsWith('00') ? '01' : '00';
  const foreign: [path: string, put: (path: string) => void][] = [
    ['notes.txt', (path) => writeFileSync(path, 'mine')],
    ['repository.bak', (path) => copyFileSync(`${root}/repository`, path)],
    ['archives/notes.txt', (path) => writeFileSync(path, 'mine')],
    ['index/.hidden', (path) => writeFileSync(path, '')],
    ['keys/0123', (path) => writeFileSync(path, '')],
    ['maps/session-1', (path) => writeFileSync(path, '')],
    ['leases/sub', (path) => mkdirSync(path)],
    ['condemned/link', (path) => symlinkSync('/etc/passwd', path)],
    ['chunks/notes', (path) => writeFileSync(path, '')],
    ['chunks/zz', (path) => mkdirSync(path)],
    [`chunks/${wrongFolder}/${id}`, (path) => copyFileSync(`${root}/chunks/${chunk}`, path)],
    [`chunks/${id.slice(0, 2)}/${id}.tmp`, (path) => writeFileSync(path, '')],
  ];
  mkdirSync(`${root}/chunks/${wrongFolder}`, { recursive: true });
  for (const [path, put] of foreign) {
    put(`${root}/${path}`);
    const text = findings(await checkAll(small));
    rmSync(`${root}/${path}`, { recursive: true });
    assert.ok(text.includes(`foreign file ${path}`), `${path}: ${text}`);
  }
  assert.equal(findings(await checkAll(small)), '');
});

test('a folder that is missing is found and named', async () => {
  const root = scratch.copy('small', 'folders');
  for (const folder of [...OBJECT_KINDS.filter((kind) => kind !== 'repository'), 'writing']) {
    renameSync(`${root}/${folder}`, scratch.at('taken'));
    const repository = await open(root).catch((error: PenstockError) => error);
    if (repository instanceof PenstockError) assert.equal(folder, 'keys', repository.message);
    else {
      const text = findings(await checkAll(repository));
      assert.ok(text.includes(`folder ${folder}: it is missing`), `${folder}: ${text}`);
      await repository.close();
    }
    renameSync(scratch.at('taken'), `${root}/${folder}`);
  }
});

test('objects that were swapped for one another are named', async () => {
  const root = scratch.at('small');
  for (const kind of ['archives', 'chunks', 'index', 'maps']) {
    const [one, other] = filesOf(`${root}/${kind}`).map((path) => `${root}/${kind}/${path}`);
    assert.ok(one !== undefined && other !== undefined);
    const [first, second] = [readFileSync(one), readFileSync(other)];
    writeFileSync(one, second);
    writeFileSync(other, first);
    const text = findings(await checkAll(small));
    writeFileSync(one, first);
    writeFileSync(other, second);
    assert.ok(text.includes(basename(one)) && text.includes(basename(other)), `${kind}: ${text}`);
  }
});

test('flipped bits in large chunks are found by the pipe, block by block', async () => {
  const root = scratch.at('large');
  assert.equal(findings(await checkAll(large)), '');
  for (const path of filesOf(`${root}/chunks`)) {
    const file = `${root}/chunks/${path}`;
    const bytes = readFileSync(file);
    const places = boundariesOf(file, large).flatMap((at) => [at - 1, at, at + 1]);
    // Several flips at a time: each names the same chunk, and every block is read all the same.
    for (const at of places.filter((_, i) => i % 8 === 4)) {
      if (at < 0 || at >= bytes.length) continue;
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 16;
      writeFileSync(file, changed);
      await assertNamed(large, basename(path), `byte ${at} of ${path}`);
    }
    writeFileSync(file, bytes);
  }
});

test('what is undamaged is restored, and nothing damaged as good', async () => {
  const root = scratch.at('large');
  const source = contentsOf(scratch.at('source-large'));
  const files = filesOf(root).filter((path) => !path.startsWith('keys/') && path !== 'repository');
  let lost = 0;
  for (const [number, path] of files.entries()) {
    for (const part of path.startsWith('chunks/') ? [0.02, 0.4, 0.97] : [0.5]) {
      const file = `${root}/${path}`;
      const bytes = readFileSync(file);
      const at = Math.floor(bytes.length * part);
      bytes[at] = (bytes[at] ?? 0) ^ 4;
      writeFileSync(file, bytes);
      const target = scratch.at(`target-${number}-${part}`);
      const problems = await restoreDamaged(target);
      bytes[at] = (bytes[at] ?? 0) ^ 4;
      writeFileSync(file, bytes);
      const restored = contentsOf(target);
      for (const [name, content] of restored) {
        const original = source.get(name.slice(scratch.at('source-large').length));
        assert.ok(
          original === content,
          `${name} was restored wrong after damage to ${path} at ${at}`,
        );
      }
      if (restored.size < source.size) {
        lost++;
        assert.ok(
          problems.length > 0,
          `files are missing without a word after damage to ${path} at ${at}`,
        );
      }
      rmSync(target, { recursive: true });
    }
  }
  assert.ok(lost > 3, 'some of the damage cost files');
});

/** Restores as a command does; what ends it counts as a problem. */
async function restoreDamaged(target: string): Promise<string[]> {
  mkdirSync(target);
  const repository = await open(scratch.at('large'));
  try {
    const { archives, damaged } = await listArchives(repository);
    const [archive] = archives;
    if (archive === undefined) return damaged.map(({ message }) => message);
    return await restoreAll(repository, archive, target);
  } catch (error) {
    assert.ok(error instanceof PenstockError && error.code !== 'INTERNAL', String(error));
    return [error.message];
  } finally {
    await repository.close();
  }
}

test('a repository whose own record or only key is damaged is not opened', async () => {
  for (const path of ['repository', `keys/${filesOf(scratch.at('small/keys'))[0]}`]) {
    const file = scratch.at('small', path);
    const bytes = readFileSync(file);
    for (let at = 0; at < sizeOf(file); at += 97) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      writeFileSync(file, changed);
      await assert.rejects(
        open(scratch.at('small')),
        (error: PenstockError) => error.code === 'DAMAGED',
        `byte ${at} of ${path}`,
      );
    }
    writeFileSync(file, bytes);
  }
});

test('a check that is interrupted ends at once and leaves nothing behind', async () => {
  const before = filesOf(scratch.at('large'));
  for (const afterMs of [0, 10, 40, 80]) {
    const stop = new AbortController();
    const reason = new PenstockError('INTERRUPTED', 'interrupted');
    const timer = setTimeout(() => stop.abort(reason), afterMs);
    const request = {
      readData: true,
      threads: 2,
      signal: stop.signal,
      onProgress: () => undefined,
    };
    await check(large, request).then(
      () => undefined,
      (error: unknown) => assert.equal(error, reason),
    );
    clearTimeout(timer);
    assert.deepEqual(filesOf(scratch.at('large')), before);
  }
});
