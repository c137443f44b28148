/**
 * Goal: on media that synchronise when it suits them, writing goes on, and a chunk is told only once it
 * is durable, in order.
 * Method: chunk media in memory, of which the test says which chunks are durable.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { Keyring } from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import type { ChunkMedia } from '../format/chunk-media.ts';
import {
  COMPRESSION,
  CONTENT_CLASS,
  ENCRYPTION,
  PART,
  TAG_FIXED_BYTES,
  writeTag,
} from '../format/tag-header.ts';
import { openCodec, openRandom } from '../host/mod.ts';
import { ChunkWriter } from './chunk-writer.ts';

class LateMedia implements ChunkMedia {
  /** In the order in which they were ended. */
  readonly ended: string[] = [];
  readonly durable = new Set<string>();
  readonly discarded: string[] = [];
  waits = 0;
  failure: PenstockError | undefined;

  create(id: string): ReturnType<ChunkMedia['create']> {
    return {
      write: () => undefined,
      commit: () => assert.fail('nobody waits for a single chunk'),
      commitLater: () => {
        this.ended.push(id);
        return { isDone: () => this.durable.has(id), wait: () => this.#synchronise() };
      },
      discard: () => void this.discarded.push(id),
    };
  }
  #synchronise(): void {
    this.waits++;
    if (this.failure !== undefined) throw this.failure;
    for (const id of this.ended) this.durable.add(id);
  }
  open(): never {
    assert.fail('nothing is read');
  }
  close(): void {
    // Nothing is open.
  }
}

interface Made {
  readonly writer: ChunkWriter;
  /** Chunks that were told. */
  readonly placed: string[];
  /** Writes a block, with which its chunk is full. */
  block(): void;
}

function newWriter(media: ChunkMedia): Made {
  const placed: string[] = [];
  const random = openRandom();
  const generations = [{ number: 1, seed: Buffer.alloc(32, 2), createdMs: 1 }];
  const keyring = new Keyring({ root: Buffer.alloc(32, 1), generations }, false);
  const sealer = new Sealer(keyring, openCodec(keyring.nameKey), random);
  const options = { session: '0'.repeat(32), chunkBytes: 1, writer: 'test', createdMs: 0 };
  const writer = new ChunkWriter(options, media, sealer, random, ({ id }) => void placed.push(id));
  const bytes = TAG_FIXED_BYTES + 100;
  const memory = Buffer.alloc(bytes);
  const contentClass = CONTENT_CLASS.compressible;
  const block = (): void => {
    writeTag(memory, 0, TAG_FIXED_BYTES, {
      ...{ part: PART.block, contentClass, flags: 0, keyGeneration: 1 },
      ...{ compression: COMPRESSION.none, encryption: ENCRYPTION.none },
      ...{ rawBytes: 100, storedBytes: 100, blobCount: 0 },
    });
    const where = { memory, headerAt: 0, bytes, directoryAt: 0 };
    writer.block({ ...where, contentClass, blobCount: 0 });
  };
  return { writer, placed, block };
}

test('a chunk is told with the block after it has become durable, in order', () => {
  const media = new LateMedia();
  const { writer, placed, block } = newWriter(media);
  for (let i = 0; i < 4; i++) block();
  const [first = '', second = '', third = '', fourth = ''] = media.ended;
  assert.deepEqual(placed, []);
  media.durable.add(second);
  block();
  assert.deepEqual(placed, [], 'the first one is not durable');
  media.durable.add(first);
  block();
  assert.deepEqual(placed, [first, second]);
  assert.equal(media.waits, 0);
  writer.discard();
  assert.deepEqual(media.discarded.slice(0, 2), [third, fourth]);
});

test('only so many chunks wait; then one synchronisation is for all of them', () => {
  const media = new LateMedia();
  const { placed, block } = newWriter(media);
  for (let i = 0; i <= LIMITS.chunksEndedMax; i++) block();
  assert.equal(media.waits, 0);
  block();
  assert.equal(media.waits, 1);
  assert.deepEqual(placed, media.ended.slice(0, -1));
});

test('all are durable and told when everything is committed', () => {
  const media = new LateMedia();
  const { writer, placed, block } = newWriter(media);
  for (let i = 0; i < 3; i++) block();
  for (const contentClass of Object.values(CONTENT_CLASS))
    writer.part(contentClass, PART.sessionHeader, Buffer.from('{}'));
  writer.commitAll();
  assert.equal(media.ended.length, 6);
  assert.deepEqual(placed, media.ended);
  assert.equal(media.waits, 1);
});

test('an error of the medium ends the writer, and nothing is told that is not durable', () => {
  const media = new LateMedia();
  const { writer, placed, block } = newWriter(media);
  block();
  media.failure = new PenstockError('VOLUME_IO', 'the drive has failed');
  assert.throws(() => writer.commitAll(), { code: 'VOLUME_IO' });
  assert.deepEqual(placed, []);
});
