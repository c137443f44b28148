/**
 * Goal: whoever reads any parts of chunks, in any order, gets the bytes that were written, however little of
 * what was read is kept, and whichever memory it is kept in.
 * Method: chunks of two streams on one volume in memory, records of random lengths; random ranges.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { below, labelled, makeChunk, makeStream, writeChunks } from '../../test/volume-fixture.ts';
import { encodeTrailer } from '../format/chunk.ts';
import { seededRandom } from '../host/mod.ts';
import { DriveReading } from './drive-reading.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { crcOf } from './volume-label.ts';
import { VolumeWriter } from './volume-writer.ts';

const BLOCK_BYTES = 2048;
const READS = 400;

test('ranges of chunks are what was written, while records give way to others', async () => {
  const random = seededRandom(31);
  const medium = new MemoryMedium();
  const volume = new MemoryVolume(medium);
  const { label } = await labelled(volume, random, BLOCK_BYTES);
  const streams = [1, 2].map(() => {
    const stream = makeStream(random);
    return [1, 2].map(() => makeChunk(random, stream, 10, BLOCK_BYTES - 200));
  });
  const options = { id: 'two', writer: 'test', markBytes: 9000, bufferBytes: 64 * BLOCK_BYTES };
  const writer = await VolumeWriter.open({ volume, label }, options);
  await Promise.all(streams.map((chunks) => writeChunks(writer, chunks)));
  await writer.close();
  await volume.spaceEnd();
  const endObject = (await volume.tell()).object;
  await volume.close();

  const whole = new Map<string, Buffer>();
  for (const { chunk, records } of streams.flat()) {
    const bytes = Buffer.concat(records);
    const footerBytes = records.at(-1)?.length ?? 0;
    const trailer = encodeTrailer(bytes.length - footerBytes, footerBytes, crcOf);
    whole.set(chunk, Buffer.concat([bytes, trailer]));
  }
  const chunks = [...whole].map(([id, { length }]) => {
    return { id, bytes: length, firstObject: 0, endObject };
  });
  for (const heldBytesMax of [0, 3 * BLOCK_BYTES, 100 * BLOCK_BYTES]) {
    const readable = { volume: label.volume, name: label.name, blockBytes: BLOCK_BYTES };
    const image = { kind: 'tape-image', path: '', volumeBytes: 0 } as const;
    const reading = new DriveReading(
      [{ ...readable, medium: image, chunks, beside: [] }],
      async () => new MemoryVolume(medium),
      heldBytesMax,
    );
    for (let i = 0; i < READS; i++) {
      const [id, bytes] = [...whole][below(random, whole.size)] as [string, Buffer];
      const position = below(random, bytes.length + 10);
      const into = Buffer.alloc(1 + below(random, 3 * BLOCK_BYTES), 0xee);
      const count = await reading.read(id, position, into);
      const expected = bytes.subarray(position, position + into.length);
      assert.equal(count, expected.length);
      assert.deepEqual(into.subarray(0, count), expected);
    }
    await reading.close();
    const records = streams.flat().reduce((sum, one) => sum + one.records.length, 0);
    const isAllHeld = heldBytesMax === 100 * BLOCK_BYTES;
    assert(isAllHeld === (reading.figures.recordsRead === records), 'how much was read again');
  }
});
