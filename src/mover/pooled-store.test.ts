/**
 * Goal: processes that use the volumes of one pool at the same time lose nothing of each other: neither in
 * what is known of a volume, nor by labelling one anew that another has just written to.
 * Method: two stores over one repository, as two processes have them, each with a drive of its own; one
 * acts where the other stands between two steps.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, renameSync } from 'node:fs';
import { test } from 'node:test';
import { around, beforeListing, someChunk, withPool, write } from '../../test/pool-fixture.ts';
import { makeStream } from '../../test/volume-fixture.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';

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
    beforeListing('keys', async () => {
      let position = 0;
      for (const record of [...fresh.records, Buffer.alloc(TRAILER_BYTES)]) {
        await target.write(record, position);
        position += record.length;
      }
      await target.end();
      await writer.end();
      ended.resolve();
    });
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
    beforeListing('maps', async () => {
      throw new Error('not now');
    });
    await assert.rejects(writer.flush(), /not now/);
    await writer.flush();
    assert.deepEqual((await volumes())[0]?.chunks, [second.chunk]);
  });
});
