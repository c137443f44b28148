/**
 * Goal: a volume of which nobody knows who has written it costs no more memory than the limits say.
 * Method: records that are none, and chunks that never end.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeChunk, makeStream } from '../../test/volume-fixture.ts';
import { LIMITS } from '../base/limits.ts';
import { seededRandom } from '../host/mod.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { newScanReport, PartNumbers, scanVolume } from './volume-scan.ts';

const random = seededRandom(82);

test('of damaged objects the first are listed, and all are counted', async () => {
  const medium = new MemoryMedium();
  const count = LIMITS.scanDamagedMax + 10;
  medium.objects = Array.from({ length: count }, () => Buffer.from('nothing'));
  const report = newScanReport();
  for await (const entry of scanVolume(new MemoryVolume(medium), 0, count, report))
    assert.fail(entry.kind);
  assert.equal(report.damagedCount, count);
  assert.deepEqual(
    report.damaged,
    Array.from({ length: LIMITS.scanDamagedMax }, (_, object) => object),
  );
});

test('of chunks that never end the oldest are forgotten, and the others told right', () => {
  const parts = new PartNumbers();
  const seen = makeChunk(random, makeStream(random), 4, 100);
  const see = (record: Buffer) => parts.see(record, record.length);
  for (let i = 0; i < LIMITS.scanChunksMax + 100; i++) {
    const { records } = makeChunk(random, makeStream(random), 1, 10);
    assert.equal(see(records[0] as Buffer)?.part, 0);
    // One that goes on is not the oldest.
    if (i % 1000 === 0) {
      const part = i / 1000;
      assert.equal(see(seen.records[part] as Buffer)?.part, part);
    }
  }
  assert.equal(parts.openCount, LIMITS.scanChunksMax);
  const last = see(seen.records.at(-1) as Buffer);
  assert.deepEqual([last?.part, last?.isLast], [5, true]);
  assert.equal(parts.openCount, LIMITS.scanChunksMax - 1);
});

test('record by record: each is a run of its own', async () => {
  const medium = new MemoryMedium();
  const { chunk, records } = makeChunk(random, makeStream(random), 4, 100);
  medium.objects = [...records];
  const volume = new MemoryVolume(medium);
  const found: unknown[] = [];
  for await (const entry of scanVolume(volume, 0, records.length, newScanReport(), true))
    if (entry.kind === 'run') found.push([entry.chunk, entry.part, entry.records, entry.bytes]);
  assert.deepEqual(
    found,
    records.map(({ length }, part) => [chunk, part, 1, length]),
  );
});
