/**
 * Situation: a byte of a chunk has changed that belongs to none of its blocks: in its header, its details,
 * its footer or its trailer.
 * Goal: no changed byte of any chunk goes unseen; archives come back all the same; what a check has found, or a
 * prune comes across, is in whole chunks after the next prune, and nothing is left to tell.
 * Method: every byte of every chunk of a small repository is flipped once in memory; of each part some bytes
 * are flipped in the files, one after the other, and the whole way is gone each time.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import type { ChunkMedia } from '../../src/format/chunk-media.ts';
import { type PartPlace, scanParts } from '../../src/format/chunk-scan.ts';
import { PART } from '../../src/format/tag-header.ts';
import type { Archive } from '../../src/mover/archives.ts';
import { type CheckResult, check } from '../../src/mover/check.ts';
import { inspectChunk } from '../../src/mover/check-chunk.ts';
import { readDamageNotes } from '../../src/mover/damage-notes.ts';
import { ChunkFiles } from '../../src/mover/prune-chunk.ts';
import {
  assertSame,
  numbered,
  pruneNow,
  restoreContents,
  Scene,
  storedChunks,
} from '../system/prune-fixture.ts';

let scene: Scene;
let archive: Archive;
beforeEach(async () => {
  scene = await Scene.make(true);
  scene.write(numbered('f', 0, 3), 700);
  archive = await scene.backup();
});
afterEach(() => scene.close());

const pathOf = (id: string): string => join(scene.repositoryPath, 'chunks', id.slice(0, 2), id);

/** Chunks of that content class and what is in them, as they are now. */
function chunks(): { readonly id: string; readonly bytes: Buffer; readonly parts: PartPlace[] }[] {
  const { codec } = scene.repository;
  const crc = (view: Uint8Array, at: number, length: number, seed = 0): number =>
    codec.crc32c(view, at, length, seed);
  return [...storedChunks(scene.repositoryPath).keys()].map((id) => {
    const bytes = readFileSync(pathOf(id));
    const source = must(inMemory(bytes).open(id), 'a chunk');
    const parts = [...scanParts(source, Buffer.from(id, 'hex'), 0, bytes.length, crc)].flatMap(
      (found) => ('part' in found ? [found.part] : []),
    );
    return { id, bytes, parts };
  });
}

function inMemory(bytes: Buffer): ChunkMedia {
  return {
    create: () => assert.fail('nothing is written'),
    open: () => ({
      bytes: bytes.length,
      read: (view, at, length, from) => bytes.copy(view, at, from, from + length),
      close: () => {},
    }),
    close: () => {},
  };
}

async function checked(): Promise<CheckResult> {
  const signal = new AbortController().signal;
  const request = { readData: false, threads: 1, signal, onProgress: () => {} };
  const result = await check(scene.repository, request);
  // The scene's blocks and chunks are smaller than its record says.
  return { ...result, damages: result.damages.filter(({ what }) => what !== 'repository record') };
}

async function assertComesBack(): Promise<void> {
  const wanted = must(scene.wanted.get(archive.id), 'contents');
  assertSame(await restoreContents(scene.repository, archive), wanted);
}

async function assertClean(): Promise<void> {
  const { damages, notes } = await checked();
  assert.deepEqual([damages, notes], [[], []]);
  assert.equal((await readDamageNotes(scene.repository)).blocks.size, 0);
}

test('no changed byte goes unseen', () => {
  let flips = 0;
  for (const { id, bytes, parts } of chunks()) {
    const media = inMemory(bytes);
    const files = new ChunkFiles(scene.repository, media);
    const target = Buffer.alloc(bytes.length);
    const { blocks } = inspectChunk(scene.repository, media, id);
    const isSeen = (at: number): boolean => {
      if (inspectChunk(scene.repository, media, id).problems.length > 0) return true;
      const block = blocks.find(
        ({ offset, bytes: length }) => at >= offset && at < offset + length,
      );
      assert.ok(block !== undefined, `byte ${at} of ${bytes.length}`);
      assert.throws(() => files.readBlock(id, block, target), { code: 'DAMAGED' });
      return true;
    };
    assert.ok(parts.length > 2);
    for (let at = 0; at < bytes.length; at++) {
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at & 7));
      assert.ok(isSeen(at));
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at & 7));
      flips++;
    }
    files.close();
  }
  assert.ok(flips > 5000, `${flips}`);
});

test('what a check finds in a chunk beside its blocks, the next prune puts right', async () => {
  const isOfFrame = ({ part }: PartPlace): boolean => part !== PART.block;
  const holdsBlocks = ({ parts }: { parts: PartPlace[] }): boolean => !parts.every(isOfFrame);
  const kinds = chunks().filter(holdsBlocks).length;
  // Behind the parts there is the trailer.
  const count = must(chunks().find(holdsBlocks), 'a chunk').parts.filter(isOfFrame).length + 1;
  assert.deepEqual([kinds, count], [2, 4]);
  for (let kind = 0; kind < kinds; kind++) {
    for (let which = 0; which < count; which++) {
      const { id, bytes, parts } = must(chunks().filter(holdsBlocks)[kind], 'a chunk');
      const part = parts.filter(isOfFrame)[which];
      const at =
        part === undefined
          ? bytes.length - 9
          : part.offset + (which % 2 === 0 ? 30 : part.headerBytes + 3);
      bytes[at] = (bytes[at] ?? 0) ^ 16;
      writeFileSync(pathOf(id), bytes);
      const { damages, notes } = await checked();
      assert.deepEqual(
        damages.map((one) => one.id),
        [id],
      );
      assert.match(notes.join(), /`penstock prune` stores it anew/);
      await assertComesBack();
      await pruneNow(scene.repository, { maxUnusedPercent: 100 });
      assert.ok(!storedChunks(scene.repositoryPath).has(id), `part ${which} of ${kind}`);
      await assertComesBack();
      await assertClean();
    }
  }
  await scene.verify();
});

test('a chunk that was put right otherwise is taken off the notes', async () => {
  const { id, bytes } = must(
    chunks().find(({ parts }) => parts.some(({ part }) => part === PART.block)),
    'a chunk',
  );
  const spoiled = Buffer.from(bytes);
  spoiled.writeUInt8(spoiled.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  writeFileSync(pathOf(id), spoiled);
  assert.equal((await checked()).damages.length, 1);
  writeFileSync(pathOf(id), bytes);
  await assertClean();
  await pruneNow(scene.repository, { maxUnusedPercent: 100 });
  assert.ok(storedChunks(scene.repositoryPath).has(id));
});
