/**
 * Goal: whatever was put into segments is found again, at every one of its places, in memory and page by
 * page from files; what was not is not; merging keeps all of that; damaged pages are told.
 * Method: random chunks with names that repeat, against a plain map as the model.
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import { layoutOf, PAGE_BYTES, readIndexHead } from '../format/index-segment.ts';
import { openFiles, openKeyedHash, seededRandom } from '../host/mod.ts';
import {
  BlobIndex,
  type IndexShare,
  LAST_RESORT,
  type SegmentShare,
  usedChunks,
} from './blob-index.ts';
import {
  buildSegment,
  type ChunkNames,
  mergeSegments,
  readTables,
  segmentHash,
  sortRecords,
} from './segment-builder.ts';

const hash = openKeyedHash(Buffer.alloc(32, 3));
const files = openFiles();
const folder = mkdtempSync(join(tmpdir(), 'penstock-index-'));
const opened: number[] = [];
after(() => {
  for (const fd of opened) closeSync(fd);
  rmSync(folder, { recursive: true });
});

const nameOf = (number: number): Buffer => {
  const name = Buffer.alloc(32);
  hash.digestInto(Buffer.from(String(number)), 0, String(number).length, name, 0);
  return name;
};

/** Chunks of blocks of numbers of blobs. */
type Numbers = readonly (readonly (readonly number[])[])[];

function toChunks(numbers: Numbers, first = 0): ChunkNames[] {
  return numbers.map((blocks, i) => {
    let offset = 100;
    const places = blocks.map((block, k) => {
      const place = { offset, bytes: 200 + k, blobCount: block.length };
      offset += place.bytes;
      return place;
    });
    return {
      id: Buffer.alloc(16, first + i + 1),
      session: Buffer.alloc(16, 0x77),
      contentClass: 1 + (i % 3),
      bytes: offset + 500,
      blocks: places,
      names: Buffer.concat(blocks.flat().map(nameOf)),
    };
  });
}

/** Segments as a repository loads them; `paged`: records are read from files. */
function shareOf(
  segments: readonly Buffer[],
  paged: boolean,
  unusable: ReadonlySet<string> = new Set(),
): IndexShare {
  const chunkIds: string[] = [];
  const shares = segments.map((bytes, number): SegmentShare => {
    const shape = readIndexHead(bytes, bytes.length, 'a segment');
    const layout = layoutOf(shape);
    const shared = new SharedArrayBuffer(paged ? layout.records : bytes.length);
    bytes.copy(Buffer.from(shared));
    let fd = -1;
    if (paged) {
      const path = join(folder, `${number}-${opened.length}`);
      writeFileSync(path, bytes);
      fd = openSync(path, 'r');
      opened.push(fd);
    }
    const tables = readTables(bytes, shape);
    const firstBlocks = new Uint32Array(tables.length);
    let block = 0;
    const chunkNumbers = Int32Array.from(tables, (chunk, i) => {
      firstBlocks[i] = block;
      block += chunk.blocks.length;
      const id = chunk.id.toString('hex');
      if (unusable.has(id)) return -1;
      if (!chunkIds.includes(id)) chunkIds.push(id);
      return chunkIds.indexOf(id);
    });
    return { id: String(number), shape, bytes: shared, fd, chunkNumbers, firstBlocks };
  });
  return {
    segments: shares,
    chunkIds,
    used: new SharedArrayBuffer(4 * Math.ceil((chunkIds.length + 1) / 32)),
  };
}

/** Every place at which the index finds a blob: `chunk id/offset`. */
function placesOf(share: IndexShare, index: BlobIndex, number: number): string[] {
  const name = nameOf(number);
  const places: string[] = [];
  for (let skip = 0; index.find(name, 0, skip); skip++) {
    assert.ok(skip < 100, 'the places of a blob end');
    places.push(
      `${share.chunkIds[index.chunk]?.slice(0, 2)}/${index.blockOffset}+${index.blockBytes}`,
    );
  }
  return places.sort();
}
/** The same by the model: one place a chunk, since equal ones of a chunk are kept once when merged. */
function modelOf(chunks: readonly ChunkNames[], numbers: Numbers, number: number): string[] {
  const places: string[] = [];
  for (const [i, blocks] of numbers.entries()) {
    for (const [k, block] of blocks.entries()) {
      for (const one of block) {
        const chunk = chunks[i];
        if (one === number && chunk !== undefined)
          places.push(
            `${chunk.id.toString('hex', 0, 1)}/${chunk.blocks[k]?.offset}+${chunk.blocks[k]?.bytes}`,
          );
      }
    }
  }
  return places.sort();
}

const numbers: fc.Arbitrary<number[][][]> = fc.array(
  fc.array(fc.uniqueArray(fc.nat(60), { maxLength: 12 }), { maxLength: 4 }),
  { minLength: 1, maxLength: 6 },
);

test('every blob is found at every place, and nothing else, from memory and from files', () => {
  fc.assert(
    fc.property(numbers, fc.boolean(), (lists, paged) => {
      const chunks = toChunks(lists);
      const share = shareOf([buildSegment(Buffer.alloc(16, 9), chunks, hash)], paged);
      const index = new BlobIndex(share, files, hash);
      for (let number = 0; number <= 60; number++)
        assert.deepEqual(placesOf(share, index, number), modelOf(chunks, lists, number));
      assert.equal(index.find(nameOf(1000), 0), false);
    }),
    { numRuns: 60 },
  );
});

test('segments together find what each of them has; chunks that must not be used are left out', () => {
  fc.assert(
    fc.property(numbers, numbers, fc.nat(10), (one, other, left) => {
      const first = toChunks(one);
      const second = toChunks(other, 100);
      const segments = [
        buildSegment(Buffer.alloc(16, 1), first, hash),
        buildSegment(Buffer.alloc(16, 2), second, hash),
      ];
      const out = [...first, ...second][left]?.id.toString('hex');
      const share = shareOf(segments, false, new Set(out === undefined ? [] : [out]));
      const index = new BlobIndex(share, files, hash);
      for (let number = 0; number <= 60; number++) {
        const expected = [...modelOf(first, one, number), ...modelOf(second, other, number)].filter(
          (place) => !out?.startsWith(place.slice(0, 2)),
        );
        assert.deepEqual(placesOf(share, index, number), expected.sort());
      }
    }),
    { numRuns: 60 },
  );
});

test('places of last resort come after all others, and do not count as known', () => {
  const blocks = fc.uniqueArray(fc.nat(23), { maxLength: 8 });
  fc.assert(
    fc.property(numbers, fc.nat(5), blocks, fc.boolean(), (lists, condemned, noted, paged) => {
      const chunks = toChunks(lists);
      const share = shareOf([buildSegment(Buffer.alloc(16, 9), chunks, hash)], paged);
      const flags = new Uint8Array(new SharedArrayBuffer(share.chunkIds.length));
      const lastBlocks = new Map<number, Set<number>>();
      for (const one of noted) {
        const [chunk, block] = [one >> 2, one & 3];
        if (chunk >= share.chunkIds.length) continue;
        flags[chunk] = LAST_RESORT.blocks;
        lastBlocks.set(chunk, (lastBlocks.get(chunk) ?? new Set()).add(block));
      }
      if (condemned < flags.length) flags[condemned] = LAST_RESORT.chunk;
      const isLast = (index: BlobIndex): boolean =>
        index.chunk === condemned || lastBlocks.get(index.chunk)?.has(index.block) === true;
      const index = new BlobIndex({ ...share, lastResort: flags.buffer, lastBlocks }, files, hash);
      for (let number = 0; number <= 60; number++) {
        const order: boolean[] = [];
        for (let skip = 0; index.find(nameOf(number), 0, skip); skip++) order.push(isLast(index));
        assert.deepEqual(order, order.toSorted(), 'sound ones first');
        assert.deepEqual(placesOf(share, index, number), modelOf(chunks, lists, number));
        assert.equal(index.use(nameOf(number), 0), order[0] === false);
      }
    }),
    { numRuns: 60 },
  );
});

test('a merged segment finds what its parts found, without what was dropped', () => {
  fc.assert(
    fc.property(numbers, numbers, fc.nat(10), (one, other, left) => {
      const first = toChunks(one);
      // The last chunk of the first stands in both, as after a merge that was cut off.
      const shared = first.slice(-1);
      const second = [...toChunks(other, 100), ...shared];
      const parts = [first, second].map((chunks, i) => {
        const bytes = buildSegment(Buffer.alloc(16, i), chunks, hash);
        return { shape: readIndexHead(bytes, bytes.length, 'it'), bytes };
      });
      const dropped = new Set(
        [...first, ...second].slice(left, left + 1).map(({ id }) => id.toString('hex')),
      );
      const merged = mergeSegments(Buffer.alloc(16, 5), parts, dropped, hash);
      const share = shareOf([merged], false);
      const index = new BlobIndex(share, files, hash);
      assert.ok([...dropped].every((id) => !share.chunkIds.includes(id)));
      for (let number = 0; number <= 60; number++) {
        const all = [
          ...modelOf(first, one, number),
          ...modelOf(second.slice(0, -1), other, number),
        ];
        const expected = all.filter(
          (place) => ![...dropped].some((id) => id.startsWith(place.slice(0, 2))),
        );
        // A blob that stands twice in one chunk may be kept once.
        assert.deepEqual(
          new Set(placesOf(share, index, number).map((place) => place.slice(0, 2))),
          new Set(expected.map((place) => place.slice(0, 2))),
        );
        assert.ok(placesOf(share, index, number).every((place) => expected.includes(place)));
      }
    }),
    { numRuns: 60 },
  );
});

test('the chunk and block tables are read as they were given', () => {
  fc.assert(
    fc.property(numbers, (lists) => {
      const chunks = toChunks(lists);
      const bytes = buildSegment(Buffer.alloc(16, 9), chunks, hash);
      const read = readTables(bytes, readIndexHead(bytes, bytes.length, 'it'));
      assert.deepEqual(
        read,
        chunks.map(({ names: _names, ...chunk }) => chunk),
      );
    }),
  );
});

test('many pages: names are found page by page, and a damaged page is told', () => {
  const lists: Numbers = [
    Array.from({ length: 3 }, (_, block) =>
      Array.from({ length: 1500 }, (_unused, i) => block * 1500 + i),
    ),
  ];
  const bytes = buildSegment(Buffer.alloc(16, 9), toChunks(lists), hash);
  const shape = readIndexHead(bytes, bytes.length, 'it');
  assert.equal(shape.pageCount, 5);
  const layout = layoutOf(shape);
  assert.ok(segmentHash(bytes, layout, hash).equals(bytes.subarray(96, 128)));
  const share = shareOf([bytes], true);
  const index = new BlobIndex(share, files, hash);
  for (let number = 0; number < 4500; number++) {
    assert.ok(index.find(nameOf(number), 0), String(number));
    assert.equal(index.block, Math.floor(number / 1500));
  }
  const damaged = Buffer.from(bytes);
  const at = layout.records + PAGE_BYTES + 77;
  damaged[at] = (damaged[at] ?? 0) ^ 1;
  const broken = new BlobIndex(shareOf([damaged], true), files, hash);
  let told = 0;
  for (let number = 0; number < 4500; number++) {
    try {
      assert.ok(broken.find(nameOf(number), 0));
    } catch (error) {
      assert.ok(error instanceof PenstockError && error.code === 'DAMAGED', String(error));
      told++;
    }
  }
  assert.ok(told > 500 && told < 2500, `${told} lookups came to the damaged page`);
});

test('which chunks were used is noted, one bit each', () => {
  const lists: Numbers = Array.from({ length: 70 }, (_, i) => [[i]]);
  const share = shareOf([buildSegment(Buffer.alloc(16, 9), toChunks(lists), hash)], false);
  const index = new BlobIndex(share, files, hash);
  for (const number of [0, 31, 32, 69]) assert.ok(index.use(nameOf(number), 0));
  assert.equal(index.use(nameOf(99), 0), false);
  index.find(nameOf(5), 0);
  assert.deepEqual(
    usedChunks(share),
    [0, 31, 32, 69].map((i) => Buffer.alloc(16, i + 1).toString('hex')),
  );
});

test('records are sorted by the whole name, then by chunk', () => {
  const random = seededRandom(7);
  fc.assert(
    fc.property(
      fc.array(fc.record({ same: fc.nat(31), chunk: fc.nat(5) }), { maxLength: 60 }),
      (list) => {
        const common = random.bytes(32);
        const records = Buffer.concat(
          list.map(({ same, chunk }) => {
            // Names that agree in their first bytes, so that the rest of them decides.
            const record = Buffer.alloc(40);
            common.copy(record, 0, 0, 32);
            random.bytes(32 - same).copy(record, same);
            record.writeUInt32LE(chunk, 32);
            return record;
          }),
        );
        const sorted = sortRecords(records);
        const keys = (bytes: Buffer): string[] =>
          Array.from({ length: bytes.length / 40 }, (_, i) =>
            bytes.toString('hex', i * 40, i * 40 + 33),
          );
        assert.deepEqual(keys(sorted), keys(records).sort());
      },
    ),
  );
});
