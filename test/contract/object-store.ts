/**
 * What every object store must do (src/format/object-store.ts), and the chunk media that belongs to it.
 *
 * Method: each test gets an empty, prepared store; contents are compared byte by byte.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PenstockError } from '../../src/base/errors.ts';
import { type ChunkMedia, openChunkMedia } from '../../src/format/chunk-media.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { CONTENT_CLASS } from '../../src/format/tag-header.ts';

/** Makes an empty store; `dispose` removes what it left. */
export type StoreMaker = () => Promise<{ store: ObjectStore; dispose: () => Promise<void> }>;

const LEFT_BYTES = 5 << 20;
const CHUNK = '00112233445566778899aabbccddeeff';
const code = (error: unknown): string => (error as PenstockError).code;

type Work = (store: ObjectStore) => Promise<void>;
type MediaWork = (media: ChunkMedia, store: ObjectStore) => Promise<void>;

async function withStore(make: StoreMaker, work: Work): Promise<void> {
  const { store, dispose } = await make();
  try {
    await store.prepare();
    await work(store);
  } finally {
    await store.close();
    await dispose();
  }
}

function withMedia(make: StoreMaker, work: MediaWork): Promise<void> {
  return withStore(make, async (store) => {
    const media = await openChunkMedia(store.chunkMedia);
    try {
      await work(media, store);
    } finally {
      media.close();
    }
  });
}

/** All of the contract. */
export function objectStoreContract(name: string, make: StoreMaker): void {
  describe(`object store: ${name}`, () => {
    objectTests(make);
    namingTests(make);
    chunkTests(make);
  });
}

function objectTests(make: StoreMaker): void {
  test('an object is read back as it was put, and listed with its size', () =>
    withStore(make, async (store) => {
      const bytes = Buffer.from([0, 1, 2, 255, 0]);
      assert.equal(await store.put('archives', 'one', bytes), true);
      assert.equal(await store.put('archives', 'empty', Buffer.alloc(0)), true);
      assert.deepEqual(await store.read('archives', 'one', 100), bytes);
      assert.deepEqual(await store.read('archives', 'empty', 0), Buffer.alloc(0));
      const listed = (await store.list('archives')).map((one) => [one.name, one.bytes]);
      assert.deepEqual(listed.sort(), [
        ['empty', 0],
        ['one', 5],
      ]);
      assert.deepEqual(await store.list('keys'), []);
    }));

  test('an object is never overwritten', () =>
    withStore(make, async (store) => {
      await store.put('keys', 'k', Buffer.from('first'));
      assert.equal(await store.put('keys', 'k', Buffer.from('second')), false);
      assert.equal((await store.read('keys', 'k', 100)).toString(), 'first');
    }));

  test('of many who put the same name at once, one is told true and its bytes stay', () =>
    withStore(make, async (store) => {
      const answers = await Promise.all(
        Array.from({ length: 16 }, (_, i) => store.put('maps', 'm', Buffer.from(`writer ${i}`))),
      );
      const winner = answers.indexOf(true);
      assert.equal(answers.filter((one) => one).length, 1);
      assert.equal((await store.read('maps', 'm', 100)).toString(), `writer ${winner}`);
    }));

  test('what is missing, and what is too long, is an error that says so', () =>
    withStore(make, async (store) => {
      await assert.rejects(
        store.read('index', 'none', 10),
        (error) => code(error) === 'OBJECT_MISSING',
      );
      await store.put('index', 'long', Buffer.alloc(11));
      await assert.rejects(store.read('index', 'long', 10), (error) => code(error) === 'LIMIT');
    }));
}

function namingTests(make: StoreMaker): void {
  test('removing tells whether there was something', () =>
    withStore(make, async (store) => {
      await store.put('leases', 'l', Buffer.from('x'));
      assert.equal(await store.remove('leases', 'l'), true);
      assert.equal(await store.remove('leases', 'l'), false);
      assert.deepEqual(await store.list('leases'), []);
    }));

  test('publishing gives a second name, once the first is there', () =>
    withStore(make, async (store) => {
      assert.equal(await store.publish('pending', 'archives', 'a'), false);
      await store.put('pending', 'a', Buffer.from('record'));
      assert.equal(await store.publish('pending', 'archives', 'a'), true);
      assert.equal(await store.publish('pending', 'archives', 'a'), true, 'again is harmless');
      assert.equal((await store.read('archives', 'a', 100)).toString(), 'record');
      await store.remove('pending', 'a');
      assert.equal((await store.read('archives', 'a', 100)).toString(), 'record');
    }));

  test('touching sets the time by the store itself', () =>
    withStore(make, async (store) => {
      assert.equal(await store.touch('leases', 'l'), false);
      await store.put('leases', 'l', Buffer.from('x'));
      const before = await store.nowMs();
      assert.equal(await store.touch('leases', 'l'), true);
      const [lease] = await store.list('leases');
      assert.ok(lease !== undefined && lease.modifiedMs >= before - 20);
      assert.ok((await store.nowMs()) >= lease.modifiedMs - 20);
    }));

  test('a name that could lead elsewhere is a defect, not a path', () =>
    withStore(make, async (store) => {
      for (const bad of ['..', '.', '', 'a/b', '/etc/passwd', 'a\0b', '-x'.repeat(80)]) {
        await assert.rejects(
          store.put('archives', bad, Buffer.alloc(1)),
          (error) => code(error) === 'INTERNAL',
          bad,
        );
      }
    }));
}

function chunkTests(make: StoreMaker): void {
  test('a chunk is there once it is committed, whole, and not before', () =>
    withMedia(make, async (media, store) => {
      const bytes = Buffer.from('0123456789abcdef');
      const sink = media.create(CHUNK, CONTENT_CLASS.compressible);
      sink.write(bytes, 8, 8, 8);
      sink.write(bytes, 0, 8, 0);
      assert.deepEqual(await store.list('chunks'), []);
      assert.throws(
        () => media.open(CHUNK),
        (error) => code(error) === 'OBJECT_MISSING',
      );
      sink.commit();
      assert.deepEqual(
        (await store.list('chunks')).map((one) => [one.name, one.bytes]),
        [[CHUNK, 16]],
      );
      const source = media.open(CHUNK);
      const read = Buffer.alloc(20, 0x2e);
      assert.equal(source.bytes, 16);
      assert.equal(source.read(read, 2, 18, 4), 12);
      assert.equal(read.toString(), '..456789abcdef......');
      source.close();
    }));

  test('a chunk that is discarded leaves nothing', () =>
    withMedia(make, async (media, store) => {
      const sink = media.create(CHUNK, CONTENT_CLASS.compressible);
      sink.write(Buffer.from('x'), 0, 1, 0);
      sink.discard();
      assert.deepEqual(await store.list('chunks'), []);
      assert.equal(await store.sweep(0), 0);
    }));

  test('a chunk never replaces another', () =>
    withMedia(make, async (media) => {
      const first = media.create(CHUNK, CONTENT_CLASS.compressible);
      first.write(Buffer.from('first'), 0, 5, 0);
      first.commit();
      const second = media.create(CHUNK, CONTENT_CLASS.compressible);
      second.write(Buffer.from('other'), 0, 5, 0);
      assert.throws(() => second.commit());
      second.discard();
      const source = media.open(CHUNK);
      const read = Buffer.alloc(5);
      source.read(read, 0, 5, 0);
      source.close();
      assert.equal(read.toString(), 'first');
    }));

  test('what a dead writer left is swept, and only once it is old', () =>
    withMedia(make, async (media, store) => {
      // More than any medium collects before it sends.
      media
        .create(CHUNK, CONTENT_CLASS.compressible)
        .write(Buffer.alloc(LEFT_BYTES), 0, LEFT_BYTES, 0);
      assert.equal(await store.sweep(3_600_000), 0);
      let swept = 0;
      for (let round = 0; swept === 0 && round < 6000; round++) {
        swept = await store.sweep(0);
        await sleep(10);
      }
      assert.equal(swept, 1);
    }));
}
