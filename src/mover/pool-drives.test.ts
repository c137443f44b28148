/**
 * Goal: drives of one session get volumes of their own, as many as there are, and no more than they need.
 * Method: pools of small images, filled to their ends.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { around, MIB, someChunk, withPool, write } from '../../test/pool-fixture.ts';
import { type MadeChunk, makeChunk, makeStream } from '../../test/volume-fixture.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { earlyWarningBytesOf } from '../media/tape-image.ts';
import type { Pool } from './pools.ts';
import { listVolumes } from './volume-records.ts';

test('drives that need another volume at the same time take one each, and no number twice', async () => {
  await withPool(async ({ process, repository, pool }) => {
    const store = await process(3);
    const streams = [
      makeStream(around.random),
      makeStream(around.random),
      makeStream(around.random),
    ];
    await store.begin({ id: makeStream(around.random), writer: 'test', streams: 3 });
    const stored: string[] = [];
    const writeAll = async (stream: string): Promise<void> => {
      await store.openStream(stream);
      for (let i = 0; i < 2; i++) {
        const { chunk, records } = makeChunk(around.random, stream, 14, pool.blockBytes - 200);
        await store.putChunk(stream, chunk, [...records, Buffer.alloc(TRAILER_BYTES)]);
        stored.push(chunk);
      }
      await store.endStream(stream);
    };
    await Promise.all(streams.map(writeAll));
    const reports = await store.end();
    assert.equal(reports.length, 3);
    const { volumes } = await listVolumes(repository);
    assert(volumes.length > 3, `${volumes.length} volumes`);
    for (const what of ['name', 'sequence', 'volume'] as const)
      assert.equal(new Set(volumes.map((one) => one[what])).size, volumes.length, what);
    const chunks = new Set(volumes.flatMap((one) => one.chunks.map(({ id }) => id)));
    assert.deepEqual([...chunks].sort(), stored.sort());
    // A chunk that goes on, on another volume, has one stream; each volume has those of one only.
    for (const one of volumes)
      assert.equal(new Set(one.chunks.map(({ stream }) => stream)).size, 1, one.name);
  });
});

test('a volume that is full with the last record of a session is known to be, and no other is begun', async () => {
  await withPool(async ({ pool, process, volumes }) => {
    const store = await process();
    const path = join(String(pool.path), 'TAP001.tap');
    const volumeBytes = Number(pool.volumeBytes);
    const early = earlyWarningBytesOf(volumeBytes);
    const room = (): number => volumeBytes - early - (existsSync(path) ? statSync(path).size : 0);
    const chunkOf = (payloadBytesMax: number): MadeChunk =>
      makeChunk(around.random, makeStream(around.random), 0, payloadBytesMax);
    const stored: string[] = [];
    while (room() > 1.5 * MIB) {
      const chunk = chunkOf(MIB / 2);
      await write(store, chunk);
      stored.push(chunk.chunk);
    }
    assert.equal((await volumes())[0]?.state, 'appendable');
    // Its first record leaves room, its last one the little that is kept for a session's end.
    const own = 2000;
    const isLast = ({ records: [header, footer] }: MadeChunk): boolean =>
      Number(header?.length) + own < room() &&
      Number(header?.length) + Number(footer?.length) > room() &&
      Number(header?.length) + Number(footer?.length) + own < room() + early;
    let last = chunkOf(room());
    while (!isLast(last)) last = chunkOf(room());
    await write(store, last);
    stored.push(last.chunk);
    const [full, ...others] = await volumes();
    assert.deepEqual([full?.state, full?.chunks, others], ['full', stored, []]);
    await write(store, someChunk());
    assert.deepEqual(
      (await volumes()).map(({ name, state }) => [name, state]),
      [
        ['TAP001', 'full'],
        ['TAP002', 'appendable'],
      ],
    );
  });
});

/** Files of the names that volumes would have. */
function giveAway({ path = '' }: Pool, from: number): void {
  mkdirSync(path, { recursive: true });
  for (let number = from; number <= 999; number++)
    writeFileSync(join(path, `TAP${String(number).padStart(3, '0')}.tap`), '');
}

test('where all names are given away, a volume that has room is written; else the pool is exhausted', async () => {
  await withPool(async ({ pool, process, volumes }) => {
    const chunks = [someChunk(), someChunk()] as const;
    await write(await process(), chunks[0]);
    giveAway(pool, 2);
    await write(await process(), chunks[1]);
    const [volume, ...more] = await volumes();
    assert.deepEqual([volume?.name, more], ['TAP001', []]);
    assert.deepEqual(
      volume?.chunks,
      chunks.map(({ chunk }) => chunk),
    );
  });
  await withPool(async ({ pool, process }) => {
    giveAway(pool, 1);
    await assert.rejects(write(await process(), someChunk()), {
      code: 'POOL_EXHAUSTED',
      message: /no name or tape left/,
    });
  });
});

test('where there is no volume for a further drive, all streams go to those that there are', async () => {
  await withPool(async ({ process, pool, volumes }) => {
    for (let number = 2; number <= 999; number++)
      writeFileSync(`${pool.path}/TAP${String(number).padStart(3, '0')}.tap`, '');
    const store = await process(3);
    await store.begin({ id: makeStream(around.random), writer: 'test', streams: 3 });
    const made = [someChunk(), someChunk(), someChunk()];
    for (const { stream, chunk, records } of made) {
      await store.openStream(stream);
      await store.putChunk(stream, chunk, [...records, Buffer.alloc(TRAILER_BYTES)]);
      await store.endStream(stream);
    }
    assert.equal((await store.end()).length, 1);
    const [volume, ...others] = await volumes();
    assert.deepEqual(others, []);
    assert.deepEqual(volume?.chunks.sort(), made.map(({ chunk }) => chunk).sort());
  });
});
