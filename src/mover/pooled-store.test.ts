/**
 * Goal: processes that use the volumes of one pool at the same time lose nothing of each other: neither in
 * what is known of a volume, nor by labelling one anew that another has just written to.
 * Method: two stores over one repository, as two processes have them, each with a drive of its own; one
 * acts where the other stands between two steps.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type MadeChunk, makeChunk, makeStream } from '../../test/volume-fixture.ts';
import { fromText } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import type { ObjectKind } from '../format/object-store.ts';
import { openClock, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { PooledStore } from './pooled-store.ts';
import { addPool, leastBlockBytes, type Pool } from './pools.ts';
import { createRepository, type Repository } from './repository.ts';
import { listVolumes } from './volume-records.ts';

const MIB = 2 ** 20;
const around = { clock: openClock(), random: openRandom() };

interface Place {
  readonly repository: Repository;
  readonly pool: Pool;
  /** One more process: what it knows is of now. */
  process(drives?: number): Promise<PooledStore>;
  volumes(): Promise<{ name: string; volume: string; state: string; chunks: string[] }[]>;
}

async function withPool(work: (place: Place) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock pooled '));
  const store = openDirectoryStore(fromText(join(folder, 'repository')), true);
  const repository = await createRepository(store, undefined, around);
  const open: PooledStore[] = [];
  try {
    const blockBytes = leastBlockBytes(repository);
    const volumeBytes = LIMITS.volumeBytesMin + 8 * blockBytes;
    const pool = await addPool(repository, {
      ...{
        name: 'tapes',
        kind: 'tape-image',
        path: fromText(join(folder, 'some', 'tapes')),
        volumeBytes,
      },
      ...{ blockBytes, chunkBytes: 64 * MIB, markBytes: 0, logPlace: 'both', logEntries: 'run' },
    });
    await work({
      repository,
      pool,
      process: async (drives = 1) => {
        const own = Object.create(repository, { store: { value: watched(repository) } });
        const ours = { ...pool, drives };
        const store = await PooledStore.open(own as Repository, [ours], ours);
        open.push(store);
        return store;
      },
      volumes: async () => {
        const { volumes } = await listVolumes(repository);
        return volumes.map(({ name, volume, state, chunks }) => ({
          ...{ name, volume, state, chunks: chunks.map(({ id }) => id) },
        }));
      },
    });
  } finally {
    for (const one of open) await one.close().catch(() => undefined);
    await repository.close();
    rmSync(folder, { recursive: true });
  }
}

/** Called before a listing of the kind, once. */
let meanwhile: { kind: ObjectKind; work: () => Promise<void> } | undefined;

/** The repository's storage, which stays open when a process ends. */
function watched({ store }: Repository): Repository['store'] {
  const list = async (kind: ObjectKind) => {
    const due = meanwhile?.kind === kind ? meanwhile : undefined;
    if (due !== undefined) meanwhile = undefined;
    await due?.work();
    return await store.list(kind);
  };
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'list') return list;
      if (name === 'close') return async () => undefined;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const someChunk = (): MadeChunk => makeChunk(around.random, makeStream(around.random), 3, 100_000);

/** A session that writes a chunk. */
async function write(store: PooledStore, { chunk, records }: MadeChunk): Promise<void> {
  await store.begin({ id: makeStream(around.random), writer: 'test' });
  const target = store.createOnVolume(chunk);
  let position = 0;
  for (const record of [...records, Buffer.alloc(TRAILER_BYTES)]) {
    await target.write(record, position);
    position += record.length;
  }
  await target.end();
  await store.end();
}

test('who only removes chunks does not undo what another process wrote meanwhile', async () => {
  await withPool(async ({ process, volumes }) => {
    const [first, second, third] = [someChunk(), someChunk(), someChunk()];
    const before = await process();
    await write(before, first);
    await write(before, second);
    const remover = await process();
    await write(await process(), third);
    await remover.remove('chunks', first.chunk);
    await remover.flush();
    const [volume, ...others] = await volumes();
    assert.deepEqual(others, []);
    assert.deepEqual(volume?.chunks.sort(), [second.chunk, third.chunk].sort());
    // What was removed stays so, whoever stores next.
    await write(before, someChunk());
    assert.equal((await volumes())[0]?.chunks.includes(first.chunk), false);
  });
});

test('what another process wrote is listed by one that was open before', async () => {
  await withPool(async ({ process }) => {
    const [reader, writer] = [await process(), await process()];
    const chunk = someChunk();
    await write(writer, chunk);
    const listed = await reader.list('chunks');
    assert.deepEqual(
      listed.map(({ name }) => name),
      [chunk.chunk],
    );
  });
});

test('a volume on which nothing was needed is not labelled anew once another has written to it', async () => {
  await withPool(async ({ process, volumes }) => {
    const [old, fresh] = [someChunk(), someChunk()];
    const writer = await process();
    await write(writer, old);
    // It writes on while the last of its chunks is released: the volume is expired for a moment.
    await writer.begin({ id: makeStream(around.random), writer: 'test' });
    const target = writer.createOnVolume(fresh.chunk);
    const pruner = await process();
    await pruner.remove('chunks', old.chunk);
    await pruner.flush();
    const [expired] = await volumes();
    assert.equal(expired?.state, 'expired');
    // Another has chosen it, and finds it free once the first has ended.
    const other = await process();
    const ended = Promise.withResolvers<void>();
    meanwhile = {
      kind: 'keys',
      work: async () => {
        let position = 0;
        for (const record of [...fresh.records, Buffer.alloc(TRAILER_BYTES)]) {
          await target.write(record, position);
          position += record.length;
        }
        await target.end();
        await writer.end();
        ended.resolve();
      },
    };
    const another = someChunk();
    await write(other, another);
    await ended.promise;
    const now = await volumes();
    const kept = now.find(({ volume }) => volume === expired.volume);
    assert.deepEqual(kept?.chunks, [fresh.chunk]);
    const its = now.find(({ chunks }) => chunks.includes(another.chunk));
    assert.notEqual(its?.volume, expired.volume);
    assert.notEqual(its?.name, expired.name);
    // And what is there can be read.
    const reader = await process();
    await reader.readFrom();
    assert.deepEqual(
      (await reader.list('chunks')).map(({ name }) => name).sort(),
      [fresh.chunk, another.chunk].sort(),
    );
  });
});

test('an expired volume is labelled anew, and the one that it was is forgotten', async () => {
  await withPool(async ({ process, volumes }) => {
    const [old, fresh] = [someChunk(), someChunk()];
    const writer = await process();
    await write(writer, old);
    await writer.remove('chunks', old.chunk);
    await writer.flush();
    const [expired] = await volumes();
    assert.equal(expired?.state, 'expired');
    await write(await process(), fresh);
    const now = await volumes();
    assert.deepEqual(
      now.map(({ name, state, chunks }) => ({ name, state, chunks })),
      [{ name: expired.name, state: 'appendable', chunks: [fresh.chunk] }],
    );
    assert.notEqual(now[0]?.volume, expired.volume);
  });
});

test('a volume that was away is used again once it is back', async () => {
  await withPool(async ({ process, pool, volumes }) => {
    const [first, second, third] = [someChunk(), someChunk(), someChunk()];
    await write(await process(), first);
    const image = `${pool.path}/${(await volumes())[0]?.name}.tap`;
    renameSync(image, `${image}.away`);
    await write(await process(), second);
    const [away, other] = await volumes();
    assert.equal(away?.state, 'missing');
    assert.deepEqual(other?.chunks, [second.chunk]);
    // A backup does not count on what is away.
    const isKnown = await (await process()).knowing();
    assert.deepEqual(
      [first, second].map(({ chunk }) => isKnown(chunk)),
      [false, true],
    );
    renameSync(`${image}.away`, image);
    await write(await process(), third);
    const states = (await volumes()).map(({ state }) => state);
    assert.deepEqual(states, ['appendable', 'appendable']);
  });
});

/** Makes a file one that may only be read, also by root. */
function protect(path: string): { undo(): void } | undefined {
  if (process.getuid?.() !== 0) {
    chmodSync(path, 0o400);
    return { undo: () => chmodSync(path, 0o600) };
  }
  const mount = (...args: string[]): number | null => spawnSync('mount', args).status;
  if (mount('--bind', path, path) !== 0) return undefined;
  const undo = (): void => void spawnSync('umount', [path]);
  if (mount('-o', 'remount,ro,bind', path) === 0) return { undo };
  undo();
  return undefined;
}

test('a volume that may only be read is kept as it is, until it may be written again', async (t) => {
  await withPool(async ({ process, pool, volumes }) => {
    const [first, second, third] = [someChunk(), someChunk(), someChunk()];
    await write(await process(), first);
    const [volume] = await volumes();
    const protection = protect(`${pool.path}/${volume?.name}.tap`);
    if (protection === undefined) return t.skip('files cannot be mounted to be read only here');
    try {
      await write(await process(), second);
      const [kept, other] = await volumes();
      assert.equal(kept?.state, 'read-only');
      assert.deepEqual(kept?.chunks, [first.chunk]);
      assert.deepEqual(other?.chunks, [second.chunk]);
      // It is not given up: what is on it counts.
      assert((await (await process()).knowing())(first.chunk));
      const pruner = await process();
      await pruner.remove('chunks', first.chunk);
      await pruner.flush();
      assert.equal((await volumes())[0]?.state, 'read-only');
    } finally {
      protection.undo();
    }
    const [, other] = await volumes();
    renameSync(`${pool.path}/${other?.name}.tap`, `${pool.path}/away`);
    await write(await process(), third);
    const [now] = await volumes();
    assert.equal(now?.state, 'appendable');
    assert.deepEqual(now?.chunks, [third.chunk]);
  });
});

test('a folder that is not there is told; its volumes are not taken for missing', async () => {
  await withPool(async ({ process, pool, volumes }) => {
    await write(await process(), someChunk());
    renameSync(pool.path, `${pool.path}.away`);
    await assert.rejects(
      write(await process(), someChunk()),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'VOLUME_NOT_READY');
        assert.match(error.message, /the folder .*tapes of pool tapes is not there/);
        return true;
      },
    );
    assert.deepEqual(
      (await volumes()).map(({ state }) => state),
      ['appendable'],
    );
  });
});

test('chunks on a volume that was labelled anew are not taken for stored', async () => {
  await withPool(async ({ process, repository, volumes }) => {
    const writer = await process();
    await write(writer, someChunk());
    await writer.begin({ id: makeStream(around.random), writer: 'test' });
    const chunk = someChunk();
    await writer.putChunk(chunk.stream, chunk.chunk, [
      ...chunk.records,
      Buffer.alloc(TRAILER_BYTES),
    ]);
    // As if its lock had been lost.
    const [known] = await volumes();
    for (const { name } of await repository.store.list('maps'))
      if (name.startsWith(`volume-${known?.volume}-`)) await repository.store.remove('maps', name);
    const stored = writer.put('archives', 'a'.repeat(32), Buffer.alloc(10));
    await assert.rejects(stored, { code: 'VOLUME_CHANGED' });
    await assert.rejects(writer.flush(), { code: 'VOLUME_CHANGED' });
    assert.deepEqual(await repository.store.list('archives'), []);
  });
});

test('what could not be stored is stored by the next flush', async () => {
  await withPool(async ({ process, volumes }) => {
    const [first, second] = [someChunk(), someChunk()];
    const writer = await process();
    await write(writer, first);
    await write(writer, second);
    await writer.remove('chunks', first.chunk);
    meanwhile = {
      kind: 'maps',
      work: async () => {
        throw new Error('not now');
      },
    };
    await assert.rejects(writer.flush(), /not now/);
    await writer.flush();
    assert.deepEqual((await volumes())[0]?.chunks, [second.chunk]);
  });
});

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
    // A chunk that goes on, on another volume, has one stream; each volume has those of one only. The last
    // one of a drive has none where its last record was what filled the volume before.
    for (const one of volumes)
      assert(new Set(one.chunks.map(({ stream }) => stream)).size <= 1, one.name);
    assert(volumes.filter(({ chunks }) => chunks.length === 0).length <= 3);
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
