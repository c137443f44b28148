/**
 * Goal: a chunk is copied as the same bytes, and only if it is whole.
 * Method: chunks in memory, spoiled and cut at each part.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MadeChunk, makeChunk, makeStream } from '../../test/volume-fixture.ts';
import { encodeTrailer } from '../format/chunk.ts';
import type { ChunkSource } from '../format/chunk-media.ts';
import { crcOf, seededRandom } from '../host/mod.ts';
import { copyChunk, partsOfChunk, sumChunk } from './volume-chunks.ts';

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

const newChunk = (): MadeChunk => makeChunk(random, makeStream(random), 9, BLOCK_BYTES - 300);

/** What a copy brings, part by part, and its sum. */
async function copyOf(
  id: string,
  bytes: Buffer,
  memory: Buffer = view,
): Promise<{ readonly parts: readonly Buffer[]; readonly sum: number }> {
  const parts: Buffer[] = [];
  let end = 0;
  const write = (part: Uint8Array, position: number): void => {
    assert.equal(position, end, 'one behind the other');
    end += part.length;
    parts.push(Buffer.from(part));
  };
  const sum = await copyChunk(id, sourceOf(bytes), { write }, memory);
  return { parts, sum };
}

test('a copy has the parts of the chunk, its trailer, and its sum', async () => {
  const chunk = newChunk();
  const bytes = stored(chunk);
  const { parts, sum } = await copyOf(chunk.chunk, bytes);
  assert.deepEqual(parts.slice(0, -1), chunk.records);
  assert.deepEqual(Buffer.concat(parts), bytes);
  assert.equal(sumChunk(chunk.chunk, sourceOf(Buffer.concat(parts)), view), sum);
  const other = newChunk();
  assert.notEqual(sumChunk(other.chunk, sourceOf(stored(other)), view), sum);
  assert.equal([...partsOfChunk(chunk.chunk, sourceOf(bytes))].length, chunk.records.length);
});

test('what is stored is looked at before it is copied', async () => {
  const chunk = newChunk();
  const bytes = stored(chunk);
  const isDamaged = async (spoiled: Buffer, id: string = chunk.chunk): Promise<void> => {
    await assert.rejects(copyOf(id, spoiled), { code: 'DAMAGED' });
    assert.throws(() => sumChunk(id, sourceOf(spoiled), view), { code: 'DAMAGED' });
  };
  let offset = 0;
  for (const record of chunk.records) {
    for (const at of [offset + 60, offset + record.length - 1]) {
      const spoiled = Buffer.from(bytes);
      spoiled[at] = (spoiled[at] ?? 0) ^ 4;
      await isDamaged(spoiled);
    }
    await isDamaged(bytes.subarray(0, offset + 20));
    const rest = bytes.subarray(offset + record.length);
    await isDamaged(Buffer.concat([bytes.subarray(0, offset), rest]));
    offset += record.length;
  }
  await isDamaged(Buffer.concat([bytes, bytes]));
  await isDamaged(bytes, 'ff'.repeat(16));
  const little = view.subarray(0, 200);
  await assert.rejects(copyOf(chunk.chunk, bytes, little), { code: 'LIMIT' });
});
