/**
 * Goal: a chunk goes from a store to a volume and back as the same bytes, and only if it is whole.
 * Method: chunks in memory, spoiled and cut at each part; a volume in memory.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  labelled,
  type MadeChunk,
  makeChunk,
  makeStream,
  volumeEntries,
} from '../../test/volume-fixture.ts';
import { encodeTrailer } from '../format/chunk.ts';
import type { ChunkSink, ChunkSource } from '../format/chunk-media.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import { seededRandom } from '../host/mod.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { partsOfChunk, readChunk, writeChunk } from './volume-chunks.ts';
import { crcOf } from './volume-label.ts';
import { planVolumeRead } from './volume-plan.ts';
import { VolumeReader } from './volume-reader.ts';
import { VolumeWriter } from './volume-writer.ts';

const random = seededRandom(41);
const BLOCK_BYTES = 4096;
const view = Buffer.alloc(BLOCK_BYTES);

/** The chunk as a store has it: with its trailer. */
function stored({ records }: MadeChunk): Buffer {
  const parts = Buffer.concat(records);
  const footer = records.at(-1)?.length ?? 0;
  return Buffer.concat([parts, encodeTrailer(parts.length - footer, footer, crcOf)]);
}

function sourceOf(bytes: Buffer): ChunkSource {
  return {
    bytes: bytes.length,
    read: (into, offset, length, position) => {
      const piece = bytes.subarray(position, position + length);
      into.set(piece, offset);
      return piece.length;
    },
    close: () => {},
  };
}

function newSink(): ChunkSink & { bytes: Buffer; state: string } {
  const sink = {
    bytes: Buffer.alloc(0),
    state: 'open',
    write: (from: Uint8Array, offset: number, length: number, position: number) => {
      const bytes = Buffer.alloc(Math.max(sink.bytes.length, position + length));
      bytes.set(sink.bytes);
      bytes.set(from.subarray(offset, offset + length), position);
      sink.bytes = bytes;
    },
    commit: () => {
      sink.state = 'committed';
    },
    discard: () => {
      sink.state = 'discarded';
    },
  };
  return sink;
}

const newChunk = (): MadeChunk => makeChunk(random, makeStream(random), 9, BLOCK_BYTES - 300);

async function onVolume(chunks: readonly MadeChunk[]): Promise<{
  volume: MemoryVolume;
  label: VolumeLabel;
}> {
  const volume = new MemoryVolume(new MemoryMedium());
  const { label } = await labelled(volume, random, BLOCK_BYTES);
  const writer = await VolumeWriter.open({ volume, label }, { id: 'copy', writer: 'test' });
  await Promise.all(
    chunks.map(async (chunk) => {
      const stream = await writer.openStream(chunk.stream);
      const memory = Buffer.alloc(BLOCK_BYTES);
      const count = await writeChunk(stream, chunk.chunk, sourceOf(stored(chunk)), memory);
      assert.equal(count, chunk.records.length);
      stream.end();
    }),
  );
  await writer.close();
  return { volume, label };
}

async function back(
  { volume, label }: { volume: MemoryVolume; label: VolumeLabel },
  chunk: string,
  parts?: readonly number[],
): Promise<ReturnType<typeof newSink>> {
  const entries = await volumeEntries(volume, label.volume, 'log');
  const plan = await planVolumeRead(entries, [
    { chunk, ...(parts === undefined ? {} : { parts }) },
  ]);
  const sink = newSink();
  const reader = new VolumeReader(volume, label.blockBytes);
  try {
    assert.equal(await readChunk(chunk, reader.read(plan), sink), sink.bytes.length);
  } catch (thrown) {
    assert.equal(sink.state, 'discarded');
    throw thrown;
  }
  return sink;
}

test('chunks go onto a volume together and come back as the same bytes', async () => {
  const chunks = [newChunk(), newChunk(), newChunk()];
  const loaded = await onVolume(chunks);
  for (const chunk of chunks) {
    const sink = await back(loaded, chunk.chunk);
    assert.equal(sink.state, 'committed');
    assert.deepEqual(sink.bytes, stored(chunk));
  }
});

test('a chunk of which any part is missing or damaged is not committed', async () => {
  const chunk = newChunk();
  const loaded = await onVolume([chunk]);
  const all = chunk.records.map((_, part) => part);
  for (const missing of all) {
    const parts = all.filter((part) => part !== missing);
    await assert.rejects(back(loaded, chunk.chunk, parts), { code: 'DAMAGED' });
  }
  const at = loaded.volume.medium.objects.findIndex((one) =>
    one?.equals(chunk.records[3] as Buffer),
  );
  loaded.volume.medium.unreadable.add(at);
  await assert.rejects(back(loaded, chunk.chunk), { code: 'VOLUME_DAMAGED' });
});

test('what is stored is looked at before it is copied', async () => {
  const chunk = newChunk();
  const bytes = stored(chunk);
  const stream = { write: async () => {}, end: () => {} };
  const copy = (from: Buffer): Promise<number> =>
    writeChunk(stream, chunk.chunk, sourceOf(from), view);
  assert.equal(await copy(bytes), chunk.records.length);
  let offset = 0;
  for (const record of chunk.records) {
    for (const at of [offset + 60, offset + record.length - 1]) {
      const spoiled = Buffer.from(bytes);
      spoiled[at] = (spoiled[at] ?? 0) ^ 4;
      await assert.rejects(copy(spoiled), { code: 'DAMAGED' });
    }
    await assert.rejects(copy(bytes.subarray(0, offset + 20)), { code: 'DAMAGED' });
    offset += record.length;
  }
  await assert.rejects(copy(Buffer.concat([bytes, bytes])), { code: 'DAMAGED' });
  await assert.rejects(writeChunk(stream, 'ff'.repeat(16), sourceOf(bytes), view), {
    code: 'DAMAGED',
  });
  await assert.rejects(writeChunk(stream, chunk.chunk, sourceOf(bytes), view.subarray(0, 200)), {
    code: 'LIMIT',
  });
  assert.equal([...partsOfChunk(chunk.chunk, sourceOf(bytes))].length, chunk.records.length);
});
