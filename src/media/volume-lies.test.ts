/**
 * Goal: labels, indexes and log pages with checksums that are right, and contents that are not, are taken
 * for damage: they neither stop a program, nor have it count to the end of all numbers.
 * Method: the records of a session are made again with other contents; all is then found by headers.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  assertReadBack,
  labelled,
  makeChunk,
  makeStream,
  volumeEntries,
  writeChunks,
} from '../../test/volume-fixture.ts';
import { RECORD } from '../format/record.ts';
import { decodeLogPage, LogPageWriter, plainRecord } from '../format/write-log.ts';
import { crcOf, seededRandom } from '../host/mod.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { readContents, type SessionEntry } from './volume-index.ts';
import { inspectVolume } from './volume-label.ts';
import { VolumeWriter } from './volume-writer.ts';

const BLOCK_BYTES = 2048;
const random = seededRandom(15);
const HUGE = Number.MAX_SAFE_INTEGER;

async function written() {
  const medium = new MemoryMedium();
  const one = await labelled(new MemoryVolume(medium), random, BLOCK_BYTES);
  const chunk = makeChunk(random, makeStream(random), 4, BLOCK_BYTES - 200);
  const writer = await VolumeWriter.open(one, { id: 'job', writer: 'test' });
  await writeChunks(writer, [chunk]);
  await writer.close();
  const { sessions } = await readContents(one.volume, one.label.volume);
  return { ...one, medium, chunk, entry: sessions[0] as SessionEntry };
}

const page = { object: 5, firstObject: 3, endObject: 4 };
const LIES: readonly (readonly [string, (entry: SessionEntry) => unknown])[] = [
  ['no list', () => ({})],
  ['nothing in its list', () => [null]],
  ['no numbers', (one) => [{ ...one, session: 'first' }]],
  ['a number that is none', (one) => [{ ...one, session: 1e300 }]],
  ['no pages', (one) => [{ ...one, pages: undefined }]],
  ['a page that is none', (one) => [{ ...one, pages: [null] }]],
  ['a page without end', (one) => [{ ...one, pages: [{ ...page, endObject: HUGE }] }]],
  ['a hint that is none', (one) => [{ ...one, pages: [{ ...page, hint: -1.5 }] }]],
  ['more objects than there are', (one) => [{ ...one, endObject: HUGE }]],
  ['an end before its beginning', (one) => [{ ...one, endObject: 2 }]],
  ['two sessions of one number', (one) => [one, { ...one, firstObject: one.endObject }]],
  ['two sessions in one place', (one) => [one, { ...one, session: 1 }]],
];

for (const [what, lie] of LIES) {
  test(`an index with ${what}`, async () => {
    const { volume, label, medium, chunk, entry } = await written();
    const body = Buffer.from(JSON.stringify(lie(entry)));
    const head = { volume: label.volume, part: 0, parts: 1 };
    const at = medium.objects.length - 2;
    medium.objects[at] = plainRecord(RECORD.volumeIndex, label.volume, head, body, crcOf);
    const found = await readContents(volume, label.volume);
    assert.deepEqual(found, { sessions: [], openFrom: 3, end: medium.objects.length });
    await assertReadBack([{ volume, label }], [chunk], 'log');
    // The next session has it all.
    const writer = await VolumeWriter.open({ volume, label }, { id: 'next', writer: 'test' });
    await writer.close();
    await assertReadBack([{ volume, label }], [chunk], 'log');
  });
}

for (const head of [null, 7, { part: 0 }, { part: 0, parts: 1e300 }, { part: -1, parts: 0 }]) {
  test(`a part of an index with ${JSON.stringify(head)} as its head`, async () => {
    const { volume, label, medium } = await written();
    const body = Buffer.from('[]');
    const at = medium.objects.length - 2;
    medium.objects[at] = plainRecord(RECORD.volumeIndex, label.volume, head, body, crcOf);
    assert.deepEqual((await readContents(volume, label.volume)).sessions, []);
  });
}

test('a log page that tells of more objects than it covers', async () => {
  const { volume, label, medium, entry } = await written();
  const id = '1'.repeat(32);
  for (const gap of [0, 5]) {
    const writer = new LogPageWriter(label.volume, 0);
    writer.add({ kind: 'marks', object: 3 + gap, count: HUGE - 20, writtenMs: 1 });
    writer.add({ kind: 'marks', object: 7, count: 1, writtenMs: 1 });
    const bytes = writer.finish(crcOf);
    assert.throws(() => decodeLogPage(bytes, 'a page', crcOf), {
      code: 'DAMAGED',
      message: /behind its end/,
    });
  }
  // Nor does one count whose end is not that of the index.
  const writer = new LogPageWriter(label.volume, 0);
  const [place] = entry.pages;
  const from = place?.firstObject ?? 0;
  const run = { kind: 'run', stream: id, chunk: id, part: 0, bytes: 1, recordBytes: 0 } as const;
  const times = { receivedMs: 1, writtenMs: 1, isLast: true };
  writer.add({ ...run, ...times, records: HUGE - from, object: from });
  medium.objects[place?.object ?? 0] = writer.finish(crcOf);
  await assert.rejects(volumeEntries(volume, label.volume, 'log'), { code: 'DAMAGED' });
});

for (const clear of [null, [], { session: 0 }, { firstObject: -1 }, { firstObject: 'x' }]) {
  test(`a log page with ${JSON.stringify(clear)} as its head`, async () => {
    const head =
      clear === null || Array.isArray(clear)
        ? clear
        : { volume: '2'.repeat(32), session: 0, page: 0, entries: 0, endObject: 9, ...clear };
    const bytes = plainRecord(RECORD.volumeLogPage, '2'.repeat(32), head, Buffer.alloc(8), crcOf);
    assert.throws(() => decodeLogPage(bytes, 'a page', crcOf), { code: 'DAMAGED' });
  });
}

for (const clear of [null, 5, [], {}]) {
  test(`a label that says ${JSON.stringify(clear)}`, async () => {
    const { volume, label, medium } = await written();
    medium.objects[1] = plainRecord(
      RECORD.volumeLabel,
      label.volume,
      clear,
      Buffer.alloc(0),
      crcOf,
    );
    assert.equal((await inspectVolume(volume)).kind, 'foreign');
  });
}
