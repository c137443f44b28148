/**
 * Prune gives space back, and every archive that is left stays what it was.
 *
 * Method: real repositories, sources that change, archives that are forgotten. What is gone is looked
 * for by its bytes, what is left is read back and restored and compared with the source as it was.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LIMITS } from '../../src/base/limits.ts';
import { listArchives } from '../../src/mover/archives.ts';
import { noteForgotten } from '../../src/mover/forgotten.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import { isSessionMap } from '../../src/mover/storage-map.ts';
import {
  assertSame,
  numbered,
  pruneNow,
  restoreContents,
  Scene,
  storedBytes,
  storedChunks,
} from './prune-fixture.ts';

function sceneTest(title: string, encrypted: boolean, body: (scene: Scene) => Promise<void>): void {
  test(title, async () => {
    const scene = await Scene.make(encrypted);
    try {
      await body(scene);
    } finally {
      await scene.close();
    }
  });
}

async function forgetArchive(scene: Scene, id: string): Promise<void> {
  await noteForgotten(scene.repository, [id]);
  assert.ok(await scene.repository.store.remove('archives', id));
  scene.wanted.delete(id);
}

/** Whether the bytes stand in some chunk as they are. */
function isStored(scene: Scene, bytes: Buffer): boolean {
  const chunks = join(scene.repositoryPath, 'chunks');
  return readdirSync(chunks, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .some((entry) => readFileSync(join(entry.parentPath, entry.name)).includes(bytes));
}

for (const encrypted of [false, true]) {
  const kind = encrypted ? 'an encrypted' : 'a plain';
  sceneTest(
    `generations are forgotten one by one in ${kind} repository`,
    encrypted,
    async (scene) => {
      const names = numbered('d/f', 0, 240);
      const ids: string[] = [];
      for (let generation = 0; generation < 5; generation++) {
        scene.write(
          generation === 0 ? names : names.filter((_, i) => i % 5 === generation),
          16_000,
        );
        scene.write(numbered(`only-${generation}/g`, 0, 20), 10_000);
        if (generation > 0) scene.remove(numbered(`only-${generation - 1}/g`, 0, 20));
        ids.push((await scene.backup()).id);
      }
      for (const id of [ids[2], ids[0], ids[3], ids[1]]) {
        await forgetArchive(scene, id ?? '');
        const before = storedBytes(scene.repositoryPath);
        const result = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
        assert.equal(result.bytesFreed, before - storedBytes(scene.repositoryPath));
        assert.ok(result.bytesFreed > 150_000, `freed ${result.bytesFreed}`);
        await scene.verify();
      }
      const [last] = (await listArchives(scene.repository)).archives;
      assert.ok(last !== undefined);
      assertSame(
        await restoreContents(scene.repository, last),
        scene.wanted.get(last.id) ?? new Map(),
      );
      // Beside the files' bytes there are only manifests and headers.
      const stored = storedBytes(scene.repositoryPath);
      assert.ok(stored < 4_040_000 * 1.02, `${stored} bytes are stored`);
    },
  );
}

sceneTest('bytes that nobody needs are gone, and those beside them stay', false, async (scene) => {
  const names = numbered('f', 0, 120);
  scene.write(names, 16_000);
  const first = await scene.backup();
  const old = names.map((name) => readFileSync(join(scene.source, name)));
  const changed = names.filter((_, i) => i % 3 === 0);
  scene.write(changed, 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
  for (const bytes of old) assert.ok(isStored(scene, bytes));
  const result = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.ok(result.chunksRewritten > 0);
  for (const [i, bytes] of old.entries()) assert.equal(isStored(scene, bytes), i % 3 !== 0);
  for (const name of changed) assert.ok(isStored(scene, readFileSync(join(scene.source, name))));
  await scene.verify();
});

sceneTest('a second prune finds nothing to do', true, async (scene) => {
  scene.write(numbered('f', 0, 200), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 200, 2), 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
  await pruneNow(scene.repository);
  const before = [...storedChunks(scene.repositoryPath)].sort();
  const result = await pruneNow(scene.repository);
  const { chunksDeleted, chunksRewritten, chunksCondemned, bytesFreed } = result;
  assert.deepEqual([chunksDeleted, chunksRewritten, chunksCondemned, bytesFreed], [0, 0, 0, 0]);
  assert.deepEqual([...storedChunks(scene.repositoryPath)].sort(), before);
  for (const folder of ['condemned', 'deleting', 'verdicts', 'pending', 'leases', 'writing']) {
    assert.deepEqual(readdirSync(join(scene.repositoryPath, folder)), [], folder);
  }
});

sceneTest('a dry run changes nothing and foresees what is freed', false, async (scene) => {
  scene.write(numbered('f', 0, 200), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 200, 2), 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
  const before = readdirSync(scene.repositoryPath, { recursive: true }).sort();
  const foreseen = await pruneNow(scene.repository, { dryRun: true });
  assert.deepEqual(readdirSync(scene.repositoryPath, { recursive: true }).sort(), before);
  const { bytesFreed } = await pruneNow(scene.repository);
  assert.ok(Math.abs(foreseen.bytesFreed - bytesFreed) < 0.05 * bytesFreed);
});

sceneTest('waste below the limit is left alone', false, async (scene) => {
  scene.write(numbered('f', 0, 200), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 20), 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
  const lazy = await pruneNow(scene.repository, { maxUnusedPercent: 30 });
  assert.equal(lazy.chunksRewritten, 0);
  assert.ok(lazy.bytesUnused > 300_000, `${lazy.bytesUnused} bytes are unused`);
  const strict = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.ok(strict.chunksRewritten > 0);
  assert.equal(strict.bytesUnused, 0);
  await scene.verify();
});

sceneTest('many small chunks become few', true, async (scene) => {
  for (let i = 0; i < LIMITS.smallChunksMergeAbove + 4; i++) {
    scene.write([`f${i}`], 5_000);
    await scene.backup();
  }
  const before = storedChunks(scene.repositoryPath).size;
  const archives = scene.wanted.size;
  await pruneNow(scene.repository);
  // One chunk of each archive stays, which holds its record.
  const after = storedChunks(scene.repositoryPath).size - archives;
  assert.ok(after <= 4 && before >= archives * 3, `${before} chunks became ${after}`);
  await scene.verify();
});

sceneTest('holes and lists of blobs are walked, too', true, async (scene) => {
  const { open } = await import('node:fs/promises');
  for (const name of ['sparse', 'dead']) {
    const file = await open(join(scene.source, name), 'w');
    // More pieces than an entry holds.
    for (let i = 0; i < LIMITS.contentListInlineMax; i++) {
      await file.write(`${name} ${i} `.repeat(40), i * 1024 * 1024);
    }
    await file.close();
  }
  const first = await scene.backup();
  scene.remove(['dead']);
  await scene.backup();
  await forgetArchive(scene, first.id);
  const { bytesFreed } = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.ok(bytesFreed > 0);
  await scene.verify();
});

sceneTest('a file that is the same as a leaf of a manifest hides nothing', false, async (scene) => {
  scene.write(numbered('a/f', 0, 60), 3_000);
  const first = await scene.backup();
  const reader = await openArchiveReader(scene.repository);
  const leaf = Buffer.from(reader.blobs.read(first.root.ref.name));
  await reader.close();
  const { writeFileSync } = await import('node:fs');
  writeFileSync(join(scene.source, 'leaf'), leaf);
  scene.write(numbered('a/f', 0, 60), 3_000);
  for (const name of ['b', 'c', 'd', 'e']) {
    scene.write([name], 3_000);
    await scene.backup();
  }
  const { archives } = await listArchives(scene.repository);
  await forgetArchive(scene, archives[2]?.id ?? '');
  await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  await scene.verify();
});

sceneTest('the map keeps step, and notes go with the chunks', false, async (scene) => {
  scene.write(numbered('f', 0, 100), 16_000);
  const first = await scene.backup();
  scene.write(numbered('f', 0, 100, 2), 16_000);
  await scene.backup();
  await forgetArchive(scene, first.id);
  await pruneNow(scene.repository);
  const { readSessionMap } = await import('../../src/mover/storage-map.ts');
  const present = storedChunks(scene.repositoryPath);
  const mapped = new Set<string>();
  const names = (await scene.repository.store.list('maps')).map(({ name }) => name);
  for (const name of names) {
    assert.ok(isSessionMap(name), name);
    const map = await readSessionMap(scene.repository, name);
    assert.notEqual(map.archive?.id, first.id);
    for (const { id } of map.chunks) mapped.add(id);
  }
  assert.deepEqual([...mapped].sort(), [...present.keys()].sort());
});
