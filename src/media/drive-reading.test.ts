/**
 * Goal: whoever reads any parts of chunks, in any order, gets the bytes that were written, however little of
 * what was read is kept, and whichever memory it is kept in.
 * Method: chunks of two streams on one volume in memory, records of random lengths; random ranges.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  below,
  labelled,
  type MadeChunk,
  makeChunk,
  makeLabel,
  makeStream,
  writeChunks,
} from '../../test/volume-fixture.ts';
import type { PenstockError } from '../base/errors.ts';
import { encodeTrailer } from '../format/chunk.ts';
import { LogPageWriter } from '../format/write-log.ts';
import { crcOf, type Random, seededRandom } from '../host/mod.ts';
import type { ReadableVolume } from './drive-messages.ts';
import { DriveReading } from './drive-reading.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { isVolumeError } from './volume.ts';
import { labelVolume } from './volume-label.ts';
import { VolumeWriter } from './volume-writer.ts';

const BLOCK_BYTES = 2048;
const READS = 400;

interface Written {
  readable(beside?: ReadableVolume['beside']): ReadableVolume;
  readonly volume: string;
  readonly medium: MemoryMedium;
  /** Each chunk with its trailer, by id. */
  readonly whole: ReadonlyMap<string, Buffer>;
  readonly chunks: readonly MadeChunk[];
  open(heldBytesMax: number, beside?: ReadableVolume['beside']): DriveReading;
}

async function writeVolume(random: Random): Promise<Written> {
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
  const readable = { volume: label.volume, name: label.name, blockBytes: BLOCK_BYTES };
  const image = { kind: 'tape-image', path: '', volumeBytes: 0 } as const;
  const toRead = (beside: ReadableVolume['beside'] = []): ReadableVolume => {
    return { ...readable, medium: image, chunks, beside };
  };
  const open = (heldBytesMax: number, beside: ReadableVolume['beside'] = []): DriveReading => {
    const all = [toRead(beside)];
    return new DriveReading(all, async () => new MemoryVolume(medium), { heldBytesMax });
  };
  const all = streams.flat();
  return { readable: toRead, volume: label.volume, medium, whole, chunks: all, open };
}

test('ranges of chunks are what was written, while records give way to others', async () => {
  const random = seededRandom(31);
  const { whole, chunks, open } = await writeVolume(random);
  for (const heldBytesMax of [0, 3 * BLOCK_BYTES, 100 * BLOCK_BYTES]) {
    const reading = open(heldBytesMax);
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
    const records = chunks.reduce((sum, one) => sum + one.records.length, 0);
    const isAllHeld = heldBytesMax === 100 * BLOCK_BYTES;
    assert(isAllHeld === (reading.figures.recordsRead === records), 'how much was read again');
  }
});

test('records that cannot be read cost what lies in them, and nothing behind them', async () => {
  const random = seededRandom(32);
  for (const [lost, how] of [
    [[0], 'flipped'],
    [[3], 'flipped'],
    [[4, 5], 'unreadable'],
    [[2, 3, 7], 'header'],
    [[11], 'unreadable'],
  ] as const) {
    const { medium, whole, chunks, open } = await writeVolume(random);
    const { chunk, records } = chunks[1] as MadeChunk;
    for (const part of lost) {
      const at = medium.objects.findIndex((one) => one?.equals(records[part] as Buffer));
      const object = medium.objects[at] as Buffer;
      if (how === 'unreadable') medium.unreadable.add(at);
      // Of the payload, or of the header.
      else flipByte(object, how === 'header' ? 50 : object.length - 1);
    }
    const bytes = whole.get(chunk) as Buffer;
    const parts: { from: number; to: number; isLost: boolean }[] = [];
    let from = 0;
    for (const [part, { length }] of records.entries()) {
      parts.push({ from, to: from + length, isLost: (lost as readonly number[]).includes(part) });
      from += length;
    }
    parts.push({ from, to: bytes.length, isLost: false });
    const reading = open(BLOCK_BYTES);
    for (let i = 0; i < READS / 4; i++) {
      const { from: start, to, isLost } = parts[below(random, parts.length)] as (typeof parts)[0];
      const position = start + below(random, to - start);
      const into = Buffer.alloc(1 + below(random, to - position));
      const read = reading.read(chunk, position, into);
      if (isLost) await assert.rejects(read, { code: 'VOLUME_DAMAGED' });
      else {
        assert.equal(await read, into.length);
        assert.deepEqual(into, bytes.subarray(position, position + into.length));
      }
    }
    await reading.close();
  }
});

test('a log that tells of other records than there are: what cannot be read is told as damage', async () => {
  const random = seededRandom(33);
  const { volume, medium, whole, chunks, open } = await writeVolume(random);
  const { chunk, stream, records } = chunks[0] as MadeChunk;
  const first = medium.objects.findIndex((one) => one?.equals(records[0] as Buffer));
  const bytes = records.reduce((sum, one) => sum + one.length, 0);
  const common = {
    kind: 'run',
    stream,
    chunk,
    recordBytes: 0,
    receivedMs: 1,
    writtenMs: 1,
  } as const;
  type Told = { part: number; records: number; bytes: number; object: number; isLast: boolean };
  const end = records.length;
  const lies: readonly (readonly Told[])[] = [
    [{ part: 0, records: 1, bytes, object: first, isLast: true }],
    [{ part: 0, records: end - 1, bytes, object: first, isLast: true }],
    [{ part: 0, records: end + 7, bytes, object: first, isLast: true }],
    [
      { part: 0, records: 3, bytes: bytes - 9, object: first, isLast: false },
      { part: 3, records: end - 3, bytes: 9, object: first + 3, isLast: true },
    ],
    [
      { part: 0, records: 3, bytes: 9, object: first, isLast: false },
      { part: 3, records: end - 3, bytes: bytes - 9, object: first + 3, isLast: true },
    ],
  ];
  for (const lie of lies) {
    const page = new LogPageWriter(volume, 0);
    for (const told of lie) page.add({ ...common, ...told });
    const reading = open(BLOCK_BYTES, [{ session: 0, pages: [page.finish(crcOf)] }]);
    const expected = whole.get(chunk) as Buffer;
    let failed = 0;
    for (let position = 0; position < expected.length; position += 97) {
      const into = Buffer.alloc(Math.min(500, expected.length - position));
      try {
        assert.equal(await reading.read(chunk, position, into), into.length);
        assert.deepEqual(into, expected.subarray(position, position + into.length));
      } catch (error) {
        const { code, message } = error as PenstockError;
        assert.equal(code, 'VOLUME_DAMAGED', message);
        assert.match(message, /^volume \S+, object \d+: /);
        failed += 1;
      }
    }
    assert(failed > 0);
    await reading.close();
  }
});

test('a damaged copy for which another one is read is told once for each volume', async () => {
  const random = seededRandom(34);
  const written = await writeVolume(random);
  const { chunks, whole } = written;
  const readable = written.readable();
  const copy = { ...readable, volume: makeStream(random), name: 'COPY' };
  const good = await copyOf(written.medium, copy);
  const { chunk, records } = chunks[0] as MadeChunk;
  for (const part of [2, 5]) {
    const at = written.medium.objects.findIndex((one) => one?.equals(records[part] as Buffer));
    written.medium.unreadable.add(at);
  }
  const told: string[] = [];
  const reading = new DriveReading(
    [readable, copy],
    async ({ volume }) => new MemoryVolume(volume === copy.volume ? good : written.medium),
    {
      heldBytesMax: 0,
      onPassedOver: (error) => {
        assert(isVolumeError(error, 'VOLUME_DAMAGED'));
        told.push((error as PenstockError).message);
      },
    },
  );
  for (let round = 0; round < 2; round++) {
    const into = Buffer.alloc((whole.get(chunk) as Buffer).length);
    await reading.read(chunk, 0, into);
    assert.deepEqual(into, whole.get(chunk));
  }
  await reading.close();
  assert.equal(told.length, 1);
  assert.match(told[0] as string, /^volume memory, object \d+: /);
});

/** The same records on a volume of its own. */
async function copyOf(
  { objects }: MemoryMedium,
  { volume, name }: ReadableVolume,
): Promise<MemoryMedium> {
  const medium = new MemoryMedium();
  const drive = new MemoryVolume(medium);
  await labelVolume(drive, { ...makeLabel(seededRandom(1), BLOCK_BYTES), volume, name });
  // Without an index: it is read by headers.
  for (const object of objects.slice(medium.objects.length, -2))
    if (object === undefined) await drive.writeMarks(1);
    else await drive.append(object);
  return medium;
}

function flipByte(bytes: Buffer, at: number): void {
  bytes[at] = (bytes[at] as number) ^ 0x20;
}
