/**
 * Prune beside others: backups, restores, other prunes, and what they leave when they die.
 *
 * Method: leases and sessions of this process, and real backups that run at the same time. Every
 * archive is read back afterwards; what waited is deleted by a later prune.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PenstockError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { ChunkSource } from '../../src/format/chunk-media.ts';
import { scanParts } from '../../src/format/chunk-scan.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { type Crc, finishTag, PART, setPayloadCrc } from '../../src/format/tag-header.ts';
import { encodeArchive, listArchives } from '../../src/mover/archives.ts';
import { noteForgotten } from '../../src/mover/forgotten.ts';
import { loadIndex, rewriteSegments } from '../../src/mover/index-store.ts';
import { contentOf, walkManifest } from '../../src/mover/manifest-walk.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import { openSession } from '../../src/mover/session.ts';
import {
  contentsOf,
  numbered,
  openSmall,
  pruneNow,
  Scene,
  storedBytes,
  storedChunks,
} from './prune-fixture.ts';

function sceneTest(title: string, body: (scene: Scene) => Promise<void>): void {
  test(title, async () => {
    const scene = await Scene.make();
    try {
      await body(scene);
    } finally {
      await scene.close();
    }
  });
}

/** Two archives that share half of their files, of which the first is forgotten. */
function readerOf(bytes: Buffer): ChunkSource {
  const read: ChunkSource['read'] = (target, offset, length, position) =>
    bytes.copy(target, offset, position, position + length);
  return { bytes: bytes.length, read, close: () => {} };
}

async function forgetHalf(scene: Scene): Promise<void> {
  scene.write(numbered('f', 0, 120), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 120, 2), 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
}

async function forgetArchive(scene: Scene, id: string): Promise<void> {
  await noteForgotten(scene.repository, [id]);
  assert.ok(await scene.repository.store.remove('archives', id));
  scene.wanted.delete(id);
}

const folder = (scene: Scene, name: string): string[] =>
  readdirSync(join(scene.repositoryPath, name)).sort();

sceneTest('while a session is at work nothing goes; afterwards it does', async (scene) => {
  await forgetHalf(scene);
  const before = storedChunks(scene.repositoryPath);
  const session = await openSession(scene.repository, 'backup');
  const waiting = await pruneNow(scene.repository);
  assert.equal(waiting.chunksDeleted, 0);
  assert.ok(waiting.chunksCondemned > 0 && waiting.bytesCondemned > 0);
  const during = storedChunks(scene.repositoryPath);
  for (const id of before.keys()) assert.ok(during.has(id));
  await scene.verify();
  const again = await pruneNow(scene.repository);
  assert.equal(again.chunksRewritten, 0);
  assert.equal(again.chunksCondemned, waiting.chunksCondemned);
  assert.deepEqual(storedChunks(scene.repositoryPath), during);
  await session.end();
  const done = await pruneNow(scene.repository);
  assert.equal(done.chunksDeleted, waiting.chunksCondemned);
  assert.equal(done.chunksCondemned, 0);
  assert.deepEqual(folder(scene, 'condemned'), []);
  await scene.verify();
});

sceneTest('an archive that came after the condemning keeps its chunks', async (scene) => {
  await forgetHalf(scene);
  const files = numbered('f', 0, 120);
  const old = new Map(files.map((name) => [name, readFileSync(join(scene.source, name))]));
  scene.write(files, 16_000);
  const third = await scene.backup();
  // Its index shows all chunks as they are now.
  const session = await openSession(scene.repository, 'backup');
  const index = await loadIndex(scene.repository, () => true);
  const [second] = (await listArchives(scene.repository)).archives;
  assert.ok(second !== undefined);
  await forgetArchive(scene, second.id);
  await pruneNow(scene.repository);
  const copy = { ...second, id: 'c'.repeat(32), session: session.id };
  const { outcome } = await session.commit(
    copy.id,
    copy.chunks,
    encodeArchive(scene.repository, copy),
  );
  assert.equal(outcome, 'published');
  await session.end();
  index.close();
  const settled = await pruneNow(scene.repository);
  assert.equal(settled.chunksCondemned, 0);
  for (const [name, bytes] of old) writeFileSync(join(scene.source, name), bytes);
  scene.wanted.set(copy.id, contentsOf(scene.source));
  await scene.verify();
  assert.ok(scene.wanted.has(third.id));
});

sceneTest('backups and prunes at the same time', async (scene) => {
  scene.write(numbered('f', 0, 100), 16_000);
  await scene.backup();
  const random = [3, 1, 4, 1, 5, 9, 2, 6];
  for (const [round, step] of random.entries()) {
    scene.write(numbered('f', round, 100, step + 1), 16_000);
    const { archives } = await listArchives(scene.repository);
    const oldest = archives[0];
    const running = scene.backup({ full: round % 2 === 0 });
    if (oldest !== undefined && archives.length > 2) await forgetArchive(scene, oldest.id);
    const prunes = [
      pruneNow(scene.repository),
      pruneNow(scene.repository, { maxUnusedPercent: 0 }),
    ];
    await Promise.all([running, ...prunes]);
    await scene.verify();
  }
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  const last = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.equal(last.chunksCondemned, 0);
  assert.equal(last.bytesFreed, 0);
  await scene.verify();
});

sceneTest('a reader that came after the condemning finds what stays', async (scene) => {
  await forgetHalf(scene);
  const session = await openSession(scene.repository, 'backup');
  await pruneNow(scene.repository);
  // Long ago, so that the reader's lease is no older one.
  for (const name of folder(scene, 'condemned')) {
    const past = Date.now() / 1000 - 60;
    utimesSync(join(scene.repositoryPath, 'condemned', name), past, past);
  }
  const [archive] = (await listArchives(scene.repository)).archives;
  assert.ok(archive !== undefined);
  const reader = await openArchiveReader(scene.repository);
  await session.end();
  const { chunksDeleted } = await pruneNow(scene.repository);
  assert.ok(chunksDeleted > 0);
  const present = storedChunks(scene.repositoryPath);
  for (const { entry } of walkManifest(reader.blobs, archive.root, [])) {
    for (const { name } of [...contentOf(reader.blobs, entry)]) {
      if (name === undefined) continue;
      assert.ok(reader.index.find(name, 0));
      assert.ok(present.has(reader.chunkIds[reader.index.chunk] ?? ''));
    }
  }
  await reader.close();
});

sceneTest('the lease of a process that died holds nothing up', async (scene) => {
  await forgetHalf(scene);
  const session = await openSession(scene.repository, 'backup');
  const [name] = folder(scene, 'leases');
  const lease = await session.store.read('lease', name ?? '');
  assert.ok(lease !== null);
  const { pid } = spawnSync('true');
  await session.end();
  await session.store.put('lease', 'd'.repeat(32), { ...lease, pid });
  writeFileSync(join(scene.repositoryPath, 'writing', 'left'), 'behind');
  const { chunksDeleted, chunksCondemned } = await pruneNow(scene.repository);
  assert.ok(chunksDeleted > 0);
  assert.equal(chunksCondemned, 0);
  assert.deepEqual(folder(scene, 'leases'), []);
  assert.deepEqual(folder(scene, 'writing'), ['left']);
  await scene.verify();
});

sceneTest('a lease from elsewhere expires, and the grace is waited for', async (scene) => {
  await forgetHalf(scene);
  const session = await openSession(scene.repository, 'backup');
  const [name] = folder(scene, 'leases');
  const lease = await session.store.read('lease', name ?? '');
  assert.ok(lease !== null);
  await session.end();
  const far = { ...lease, hostName: 'far', machineId: 'f'.repeat(32), bootId: 'f'.repeat(32) };
  await session.store.put('lease', 'd'.repeat(32), far);
  const path = join(scene.repositoryPath, 'leases', 'd'.repeat(32));
  assert.equal((await pruneNow(scene.repository)).chunksDeleted, 0);
  const past = Date.now() / 1000 - LIMITS.leaseExpiryMs / 1000 - 60;
  utimesSync(path, past, past);
  const left = join(scene.repositoryPath, 'writing', 'left');
  writeFileSync(left, 'behind');
  utimesSync(left, past, past);
  const waiting = await pruneNow(scene.repository);
  assert.equal(waiting.chunksDeleted, 0);
  assert.ok(waiting.chunksCondemned > 0);
  const done = await pruneNow(scene.repository, { graceMs: 0 });
  assert.equal(done.chunksDeleted, waiting.chunksCondemned);
  assert.ok(!existsSync(left));
  await scene.verify();
});

sceneTest('a grace that is asked for is kept where nobody is at work, too', async (scene) => {
  await forgetHalf(scene);
  const kept = await pruneNow(scene.repository, { graceMs: 60_000 });
  assert.equal(kept.chunksDeleted, 0);
  assert.ok(kept.chunksCondemned > 0);
  assert.ok((await pruneNow(scene.repository)).chunksDeleted > 0);
  await scene.verify();
});

sceneTest('what an interrupted prune has copied is not stored twice for long', async (scene) => {
  await forgetHalf(scene);
  const wanted = scene.copy('other');
  const stop = new AbortController();
  const interrupted = pruneNow(scene.repository, {
    maxUnusedPercent: 0,
    signal: stop.signal,
    onProgress: (done, total) => {
      if (done === total) stop.abort(new PenstockError('INTERRUPTED', 'stop'));
    },
  });
  await assert.rejects(interrupted, { code: 'INTERRUPTED' });
  await scene.verify();
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  await scene.verify();
  const other = await openSmall(wanted);
  await pruneNow(other, { maxUnusedPercent: 0 });
  await other.close();
  const difference = storedBytes(scene.repositoryPath) - storedBytes(wanted);
  assert.ok(Math.abs(difference) < 20_000, `${difference} bytes`);
});

sceneTest('a merge that was cut off leaves entries twice, and nothing is lost', async (scene) => {
  scene.write(numbered('f', 0, 120), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 120, 2), 16_000);
  await scene.backup();
  const index = join(scene.repositoryPath, 'index');
  const before = join(scene.directory, 'index-before');
  cpSync(index, before, { recursive: true });
  await rewriteSegments(scene.repository, folder(scene, 'index'), new Set());
  assert.equal(folder(scene, 'index').length, 1);
  cpSync(before, index, { recursive: true });
  await forgetArchive(scene, first.id);
  const { bytesFreed } = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.ok(bytesFreed > 900_000, `freed ${bytesFreed}`);
  await scene.verify();
});

sceneTest('without all of the index nothing is deleted', async (scene) => {
  await forgetHalf(scene);
  const segments = folder(scene, 'index');
  const before = storedChunks(scene.repositoryPath);
  for (const segment of segments) {
    const path = join(scene.repositoryPath, 'index', segment);
    const bytes = readFileSync(path);
    rmSync(path);
    await pruneNow(scene.repository).catch((error) => assert.equal(error.code, 'OBJECT_MISSING'));
    for (const id of before.keys()) {
      if (!storedChunks(scene.repositoryPath).has(id)) {
        // Only what is needed by no archive has gone.
        writeFileSync(path, bytes);
        await scene.verify();
        return;
      }
    }
    writeFileSync(path, bytes);
  }
  await scene.verify();
});

sceneTest('a record that is lost or damaged ends the prune before anything goes', async (scene) => {
  await forgetHalf(scene);
  scene.write(numbered('g', 0, 20), 16_000);
  await scene.backup();
  const [name] = folder(scene, 'archives');
  const path = join(scene.repositoryPath, 'archives', name ?? '');
  const bytes = readFileSync(path);
  const before = storedChunks(scene.repositoryPath);
  writeFileSync(path, bytes.subarray(0, -1));
  await assert.rejects(pruneNow(scene.repository), { code: 'DAMAGED', subject: name });
  assert.deepEqual(storedChunks(scene.repositoryPath), before);
  writeFileSync(path, bytes);
  // Chunks that wait to be deleted are not deleted either.
  await pruneNow(scene.repository, { graceMs: 60_000 });
  const waiting = storedChunks(scene.repositoryPath);
  rmSync(path);
  await assert.rejects(pruneNow(scene.repository), { code: 'OBJECT_MISSING', subject: name });
  assert.deepEqual(storedChunks(scene.repositoryPath), waiting);
  writeFileSync(path, bytes);
  const { chunksDeleted } = await pruneNow(scene.repository);
  assert.ok(chunksDeleted > 0);
  await scene.verify();
});

/**
 * A prune copies what is needed of chunks while a backup is at work, so that these stay; that they are condemned is
 * lost. Gives the chunks of copies.
 */
async function copyBeside(scene: Scene): Promise<{ id: string; path: string }[]> {
  await forgetHalf(scene);
  const session = await openSession(scene.repository, 'backup');
  const old = storedChunks(scene.repositoryPath);
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  await session.end();
  for (const name of folder(scene, 'condemned'))
    rmSync(join(scene.repositoryPath, 'condemned', name));
  return [...storedChunks(scene.repositoryPath).keys()]
    .filter((id) => !old.has(id))
    .map((id) => ({ id, path: join(scene.repositoryPath, 'chunks', id.slice(0, 2), id) }));
}

/** A prune tells of the copies that are wrong, and keeps the others. */
async function assertOthersAreKept(scene: Scene): Promise<void> {
  const problems: PenstockError[] = [];
  await pruneNow(scene.repository, {
    maxUnusedPercent: 0,
    onProblem: (error) => problems.push(error),
  });
  assert.ok(problems.length > 0);
  await scene.verify();
}

sceneTest('of two places the one that can be read is kept', async (scene) => {
  const copies = await copyBeside(scene);
  for (const { path } of copies) {
    const bytes = readFileSync(path);
    for (let at = 3000; at < bytes.length; at += 4000) bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  }
  assert.ok(copies.length > 0);
  await assertOthersAreKept(scene);
});

sceneTest('of two places the one that holds what its name says is kept', async (scene) => {
  const copies = await copyBeside(scene);
  // Other bytes came into the copies before their checksums were made: these match.
  const { codec } = scene.repository;
  const crc: Crc = (view, at, length, seed = 0) => codec.crc32c(view, at, length, seed);
  let changed = 0;
  for (const { id, path } of copies) {
    const bytes = readFileSync(path);
    for (const found of scanParts(readerOf(bytes), Buffer.from(id, 'hex'), 0, bytes.length, crc)) {
      if (!('part' in found) || found.part.part !== PART.block) continue;
      const { offset, headerBytes, storedBytes } = found.part;
      const payload = offset + headerBytes;
      bytes[payload + 5] = (bytes[payload + 5] ?? 0) ^ 1;
      setPayloadCrc(bytes, offset, crc(bytes, payload, storedBytes));
      finishTag(bytes, offset, crc);
      changed++;
    }
    writeFileSync(path, bytes);
  }
  assert.ok(changed > 0);
  await assertOthersAreKept(scene);
});

sceneTest('chunks that are damaged stay, are named, and hold up nothing else', async (scene) => {
  await forgetHalf(scene);
  // The block of a chunk that is partly needed: it cannot be rewritten.
  const [victim] = [...storedChunks(scene.repositoryPath)].sort((a, b) => b[1] - a[1]);
  const id = victim?.[0] ?? '';
  const path = join(scene.repositoryPath, 'chunks', id.slice(0, 2), id);
  const bytes = readFileSync(path);
  const whole = Buffer.from(bytes);
  for (let at = 3000; at < bytes.length - 9000; at += 4000) bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const problems: PenstockError[] = [];
  const result = await pruneNow(scene.repository, {
    maxUnusedPercent: 0,
    onProblem: (error) => problems.push(error),
  });
  assert.deepEqual(
    [...new Set(problems.map(({ code, subject }) => `${code} ${subject}`))],
    [`DAMAGED ${id}`],
  );
  assert.ok(result.chunksRewritten > 0);
  assert.ok(existsSync(path));
  writeFileSync(path, whole);
  await scene.verify();
});

sceneTest('a full disk gets its space back', async (scene) => {
  scene.write(numbered('f', 0, 120), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 120), 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
  let freed = 0;
  const path = scene.repositoryPath;
  const repository = await openSmall(path, (store) => {
    const put: ObjectStore['put'] = async (kind, name, bytes) => {
      // Room for small records, not for index segments, until chunks have gone.
      if (kind === 'index' && freed === 0) throw new PenstockError('REPO_FULL', 'full');
      return store.put(kind, name, bytes);
    };
    const remove: ObjectStore['remove'] = async (kind, name) => {
      if (kind === 'chunks') freed++;
      return store.remove(kind, name);
    };
    const changed: Partial<ObjectStore> = { put, remove };
    return new Proxy(store, {
      get: (target, property) => {
        const value = Reflect.get(changed, property) ?? Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  });
  // Entries of chunks that stay and of some that go, in one segment.
  await rewriteSegments(scene.repository, folder(scene, 'index'), new Set());
  const { bytesFreed } = await pruneNow(repository);
  assert.ok(bytesFreed > 1_800_000, `freed ${bytesFreed}`);
  const index = await loadIndex(repository, () => true);
  const present = storedChunks(path);
  for (const id of index.share.chunkIds) assert.ok(present.has(id));
  index.close();
  await scene.verify(repository);
  await repository.close();
});
