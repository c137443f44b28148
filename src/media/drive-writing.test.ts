/**
 * Goal: who hands chunks to a drive hears when they are on the medium, without asking for it, and never
 * before; a stream's buffers are others' once it has ended.
 * Method: a volume in memory, of which the test says when it synchronises.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  assertReadBack,
  labelled,
  type MadeChunk,
  makeChunk,
  makeStream,
} from '../../test/volume-fixture.ts';
import { encodeTrailer } from '../format/chunk.ts';
import { crcOf, seededRandom } from '../host/mod.ts';
import { DriveWriting } from './drive-writing.ts';
import { faultyVolume } from './fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { isVolumeError } from './volume.ts';
import { makeBuffers } from './volume-buffers.ts';
import { VolumeWriter } from './volume-writer.ts';
import type { LoadedVolume } from './volume-writer-options.ts';

const random = seededRandom(77);
const BLOCK_BYTES = 2048;
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const newChunk = (stream = makeStream(random)): MadeChunk =>
  makeChunk(random, stream, 5, BLOCK_BYTES - 200);

interface Drive {
  readonly loaded: LoadedVolume;
  readonly writer: VolumeWriter;
  readonly writing: DriveWriting;
  /** Sinks that were told. */
  readonly durable: number[];
}

async function newDrive(bufferBytes = 32 * BLOCK_BYTES): Promise<Drive> {
  const loaded = await labelled(new MemoryVolume(new MemoryMedium()), random, BLOCK_BYTES);
  const durable: number[] = [];
  const drive: { writing?: DriveWriting } = {};
  const writer = await VolumeWriter.open(loaded, {
    ...{ id: 'job', writer: 'test', bufferBytes },
    onCommitted: (chunk) => drive.writing?.committed(chunk),
  });
  const writing = new DriveWriting(writer, (sink) => void durable.push(sink));
  drive.writing = writing;
  return { loaded, writer, writing, durable };
}

/** The parts of a chunk as a thread hands them in; the last one is the trailer. */
function partsOf({ records }: MadeChunk): { position: number; bytes: Buffer }[] {
  const parts: { position: number; bytes: Buffer }[] = [];
  let position = 0;
  for (const bytes of records) {
    parts.push({ position, bytes });
    position += bytes.length;
  }
  const footer = records.at(-1)?.length ?? 0;
  parts.push({ position, bytes: encodeTrailer(position - footer, footer, crcOf) });
  return parts;
}

async function hand(writing: DriveWriting, chunk: MadeChunk, sink: number): Promise<void> {
  for (const { position, bytes } of partsOf(chunk))
    await writing.write(chunk.chunk, position, bytes, sink);
}

test('that a chunk is on the medium is told when the drive synchronises, for whatever reason', async () => {
  const { loaded, writer, writing, durable } = await newDrive();
  const [first, second] = [newChunk(), newChunk()];
  await hand(writing, first, 7);
  await settle();
  assert.deepEqual(durable, []);
  await writer.synchronise();
  assert.deepEqual(durable, [7]);
  await hand(writing, second, 8);
  await writing.commit(second.chunk);
  assert.deepEqual(durable, [7, 8]);
  await writing.end();
  await writer.close();
  await assertReadBack([loaded], [first, second], 'log');
});

test('a synchronisation before the last call of a chunk: it is told with that call', async () => {
  const { writer, writing, durable } = await newDrive();
  const chunk = newChunk();
  const parts = partsOf(chunk);
  for (const { position, bytes } of parts.slice(0, -1))
    await writing.write(chunk.chunk, position, bytes, 3);
  await writer.synchronise();
  assert.deepEqual(durable, []);
  const { position, bytes } = parts.at(-1) as (typeof parts)[number];
  await writing.write(chunk.chunk, position, bytes, 3);
  assert.deepEqual(durable, [3]);
  await writing.end();
  await writer.close();
});

test('a chunk that was given up is never told', async () => {
  const { writer, writing, durable } = await newDrive();
  const chunk = newChunk();
  await hand(writing, chunk, 4);
  writing.discard(chunk.chunk);
  await writer.synchronise();
  assert.deepEqual(durable, []);
  await writing.end();
  await writer.close();
});

test('streams beyond what the buffers admit wait, in order, until others have ended', async () => {
  // Eight buffers, two of them kept: three streams.
  const { loaded, writer, writing } = await newDrive(8 * BLOCK_BYTES);
  const chunks = Array.from({ length: 9 }, () => newChunk());
  const admitted: number[] = [];
  const opening = chunks.map(({ stream }, i) =>
    writing.openStream(stream).then(() => admitted.push(i)),
  );
  await settle();
  assert.deepEqual(admitted, [0, 1, 2]);
  for (const [i, chunk] of chunks.entries()) {
    await opening[i];
    await hand(writing, chunk, i);
    await writing.endStream(chunk.stream);
  }
  assert.deepEqual(
    admitted,
    chunks.map((_, i) => i),
  );
  await writing.end();
  await writer.close();
  await assertReadBack([loaded], chunks, 'log');
});

test('a whole chunk that is put is on the medium afterwards', async () => {
  const { loaded, writer, writing } = await newDrive();
  const chunk = newChunk();
  await writing.put(
    chunk.chunk,
    partsOf(chunk).map(({ bytes }) => bytes),
  );
  await writing.end();
  await writer.abort();
  await assertReadBack([loaded], [chunk], 'scan');
});

test('records whose memory is exchanged are written from where they are, and none of it gets lost', async () => {
  const loaded = await labelled(new MemoryVolume(new MemoryMedium()), random, BLOCK_BYTES);
  const buffers = makeBuffers(8, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, {
    ...{ id: 'job', writer: 'test', bufferBytes: 8 * BLOCK_BYTES, buffers },
  });
  const writing = new DriveWriting(writer, () => undefined);
  const chunks = Array.from({ length: 3 }, () => newChunk());
  await Promise.all(
    chunks.map(async (chunk) => {
      let own: Buffer = Buffer.alloc(BLOCK_BYTES);
      for (const { position, bytes } of partsOf(chunk)) {
        own.set(bytes);
        await writing.write(chunk.chunk, position, own.subarray(0, bytes.length), 1, (empty) => {
          const brought = own;
          own = empty;
          return brought;
        });
        // Whatever is there now is the caller's.
        own.fill(0xee);
      }
    }),
  );
  await writing.end();
  await writer.close();
  await assertReadBack([loaded], chunks, 'log');
});

test('a drive that fails while a record waits for room exchanges nothing', async () => {
  const volume = faultyVolume(new MemoryVolume(new MemoryMedium()));
  const loaded = await labelled(volume, random, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, {
    ...{ id: 'job', writer: 'test', bufferBytes: 6 * BLOCK_BYTES },
  });
  const writing = new DriveWriting(writer, () => undefined);
  volume.fault('append').error('EIO').repeat(1000);
  const chunk = makeChunk(random, makeStream(random), 30, BLOCK_BYTES - 200);
  let exchanged = 0;
  let failed = 0;
  for (const { position, bytes } of partsOf(chunk)) {
    const before = exchanged;
    const writes = writing.write(chunk.chunk, position, bytes, 1, () => {
      exchanged += 1;
      return Buffer.from(bytes);
    });
    await writes.catch((error: unknown) => {
      failed += 1;
      assert(isVolumeError(error, 'VOLUME_IO'));
      assert.equal(exchanged, before);
    });
    if (failed > 0) break;
  }
  assert.equal(failed, 1);
  await writer.abort();
});

test('what comes after the drive has failed is answered with why, before its turn too', async () => {
  const { writer, writing } = await newDrive();
  const chunk = newChunk();
  const [first, second, third] = partsOf(chunk);
  assert.ok(first && second && third);
  const early = writing.write(chunk.chunk, second.position, second.bytes, 1);
  await writer.abort();
  await assert.rejects(writing.write(chunk.chunk, first.position, first.bytes, 1), {
    code: 'INTERRUPTED',
  });
  const late = writing.write(chunk.chunk, third.position, third.bytes, 1);
  for (const waiting of [early, late, writing.commit(chunk.chunk)]) {
    const ended = await Promise.race([waiting.catch((error: unknown) => error), settle()]);
    assert.equal((ended as { code?: string } | undefined)?.code, 'INTERRUPTED');
  }
});
