/**
 * Goal: what a session on volumes promises besides contents: when chunks are committed, that one stream
 * stops no other, where the log is kept, and how it ends when there is no way on.
 * Method: drives in memory that the test holds back or breaks. Contents under random conditions are
 * the matter of test/property/volumes.test.ts.
 */
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readTap, tapBytes } from '../../test/tap-reader.ts';
import {
  assertReadBack,
  labelled,
  makeChunk,
  makeLabel,
  makeStream,
  volumeEntries,
  writeChunks,
} from '../../test/volume-fixture.ts';
import { FakeClock } from '../host/fake/mod.ts';
import { seededRandom } from '../host/mod.ts';
import { faultyVolume } from './fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { openTapeImage } from './tape-image.ts';
import { readContents } from './volume-index.ts';
import { VolumeWriter } from './volume-writer.ts';
import { WriteLog } from './write-log.ts';
import { openLogFile } from './write-log-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-writer-'));
after(() => rmSync(folder, { recursive: true }));
const BLOCK_BYTES = 2048;
const random = seededRandom(12);
const options = { id: 'job', writer: 'test', bufferBytes: 32 * BLOCK_BYTES };
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const newVolume = (capacityBytes = Number.POSITIVE_INFINITY): MemoryVolume => {
  const medium = new MemoryMedium();
  medium.capacityBytes = capacityBytes;
  return new MemoryVolume(medium);
};
const newChunk = (blocks = 6) => makeChunk(random, makeStream(random), blocks, BLOCK_BYTES - 200);

test('a chunk is committed after a synchronisation behind its last record, and not before', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const committed: string[] = [];
  const writer = await VolumeWriter.open(loaded, {
    ...options,
    onCommitted: ({ chunk }) => void committed.push(chunk),
  });
  const [first, second] = [newChunk(), newChunk()];
  const stream = await writer.openStream(second.stream);
  await writeChunks(writer, [first]);
  const last = second.records.length - 1;
  for (const [part, record] of second.records.entries())
    if (part < last) await stream.write(record, { chunk: second.chunk, part, isLast: false });
  await settle();
  assert.deepEqual(committed, []);
  await writer.synchronise();
  assert.deepEqual(committed, [first.chunk]);
  await stream.write(second.records[last] as Buffer, {
    ...{ chunk: second.chunk, part: last, isLast: true },
  });
  stream.end();
  await settle();
  assert.deepEqual(committed, [first.chunk]);
  await writer.close();
  assert.deepEqual(committed, [first.chunk, second.chunk]);
  await assertReadBack([loaded], [first, second], 'log');
});

test('it synchronises by itself after so long, even if nothing more comes', async () => {
  const clock = new FakeClock();
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  let tell: () => void = () => {};
  const told = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const writer = await VolumeWriter.open(loaded, {
    ...{ ...options, clock, syncMs: 1 },
    onCommitted: () => tell(),
  });
  await writeChunks(writer, [newChunk()]);
  await settle();
  clock.advance(2);
  await told;
  await writer.close();
});

test('a stream that stands still stops no other', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, options);
  const [still, ...fast] = Array.from({ length: 5 }, () => newChunk(60));
  if (still === undefined) return;
  const stream = await writer.openStream(still.stream);
  const write = (part: number): Promise<void> =>
    stream.write(still.records[part] as Buffer, {
      ...{ chunk: still.chunk, part, isLast: part === still.records.length - 1 },
    });
  await write(0);
  await Promise.all(fast.map((chunk) => writeChunks(writer, [chunk])));
  await writer.synchronise();
  for (let part = 1; part < still.records.length; part++) await write(part);
  stream.end();
  const { figures } = await writer.close();
  assert.equal(figures.records, 5 * 62);
  await assertReadBack([loaded], [still, ...fast], 'log');
});

test('a drive that stands still takes no more than the buffers have', async () => {
  const inner = newVolume();
  const loaded = await labelled(inner, random, BLOCK_BYTES);
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const held = Object.assign(Object.create(inner), {
    append: async (record: Uint8Array) => {
      if (record.length > 1000) await gate;
      return await inner.append(record);
    },
  });
  for (const name of ['tell', 'rewind', 'spaceEnd', 'spaceMarks', 'locate', 'read'] as const)
    held[name] = (inner[name] as (...parameters: unknown[]) => unknown).bind(inner);
  for (const name of ['writeMarks', 'synchronise', 'spaceRecords'] as const)
    held[name] = (inner[name] as (...parameters: unknown[]) => unknown).bind(inner);
  Object.defineProperty(held, 'medium', { value: inner.medium });
  const writer = await VolumeWriter.open({ volume: held, label: loaded.label }, options);
  let taken = 0;
  const chunk = newChunk(200);
  const work = writeChunks(writer, [chunk], async () => {
    taken += 1;
  });
  for (let i = 0; i < 20; i++) await settle();
  assert(taken > 10);
  assert(taken <= 33, `${taken} records in 32 buffers`);
  open();
  await work;
  await writer.close();
  await assertReadBack([loaded], [chunk], 'log');
});

test('more streams than buffers allow wait, and are admitted as others end', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, { ...options, bufferBytes: 8 * BLOCK_BYTES });
  const chunks = Array.from({ length: 12 }, () => newChunk());
  await Promise.all(chunks.map((chunk) => writeChunks(writer, [chunk])));
  await writer.close();
  await assertReadBack([loaded], chunks, 'scan');
});

test('when there is no next volume everybody is told, and what was committed is there', async () => {
  const loaded = await labelled(newVolume(130_000), random, BLOCK_BYTES);
  const chunks = Array.from({ length: 20 }, () => newChunk());
  const committed: string[] = [];
  const writer = await VolumeWriter.open(loaded, {
    ...options,
    onCommitted: ({ chunk }) => void committed.push(chunk),
  });
  const ends = await Promise.allSettled(chunks.map((chunk) => writeChunks(writer, [chunk])));
  await assert.rejects(writer.close(), { code: 'VOLUME_FULL' });
  await assert.rejects(writer.openStream(makeStream(random)), { code: 'VOLUME_FULL' });
  const failed = ends.filter(({ status }) => status === 'rejected');
  assert(failed.length > 0);
  assert(committed.length > 0);
  const safe = chunks.filter(({ chunk }) => committed.includes(chunk));
  await assertReadBack([loaded], safe, 'log');
});

test('a volume that is full with the last record needs no next one', async () => {
  const volume = newVolume();
  const loaded = await labelled(volume, random, BLOCK_BYTES);
  const chunk = newChunk();
  const asked: string[] = [];
  const writer = await VolumeWriter.open(loaded, {
    ...options,
    nextVolume: async ({ volume: full }) => {
      asked.push(full);
      return undefined;
    },
  });
  // The drive warns of the end with the last record of what comes, and not before.
  const bytes = chunk.records.reduce((sum, one) => sum + one.length, 0);
  volume.medium.capacityBytes = volume.medium.usedBytes + bytes + 10_000;
  volume.medium.earlyWarningBytes = 10_000;
  await writeChunks(writer, [chunk]);
  const report = await writer.close();
  assert.deepEqual(asked, []);
  assert.deepEqual(
    report.volumes.map(({ isFull, entry }) => [isFull, entry?.bytes]),
    [[true, bytes]],
  );
  await assertReadBack([loaded], [chunk], 'log');
});

test('a drive that stays broken ends the session with its error, named', async () => {
  const inner = newVolume();
  const loaded = await labelled(inner, random, BLOCK_BYTES);
  const faulty = faultyVolume(inner);
  faulty.fault('append').after(5).error('EIO').forever();
  const writer = await VolumeWriter.open({ ...loaded, volume: faulty }, options);
  const ends = await Promise.allSettled(
    [newChunk(40), newChunk(40)].map((chunk) => writeChunks(writer, [chunk])),
  );
  for (const end of ends) {
    assert(end.status === 'rejected');
    assert.equal((end.reason as { code: string }).code, 'VOLUME_IO');
    assert.match((end.reason as Error).message, /volume memory/);
  }
  await assert.rejects(writer.close(), { code: 'VOLUME_IO' });
});

test('another medium in the drive is not written', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const other = makeLabel(random, BLOCK_BYTES);
  const before = loaded.volume;
  await assert.rejects(VolumeWriter.open({ ...loaded, label: other }, options), {
    code: 'VOLUME_FOREIGN',
  });
  // Put in while the session runs: the drive tells of a change.
  const [ours, foreign] = [new MemoryMedium(), new MemoryMedium()];
  foreign.objects = [Buffer.from('somebody’s data')];
  const drive = new MemoryVolume(ours);
  const { label } = await labelled(drive, random, BLOCK_BYTES);
  const writer = await VolumeWriter.open({ volume: drive, label }, options);
  await writeChunks(writer, [newChunk()]);
  await writer.synchronise();
  Object.assign(drive, { medium: foreign });
  drive.reset();
  const ends = await Promise.allSettled([writeChunks(writer, [newChunk(40)])]);
  await assert.rejects(writer.close(), { code: 'VOLUME_FOREIGN' });
  assert(ends.length === 1);
  assert.deepEqual(foreign.objects, [Buffer.from('somebody’s data')]);
  assert.equal((await before.tell()).object > 0, true);
});

test('a record that is longer than the pool allows is refused, and the stream goes on', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, options);
  const chunk = newChunk();
  const stream = await writer.openStream(chunk.stream);
  const place = { chunk: chunk.chunk, part: 0, isLast: false };
  await assert.rejects(stream.write(Buffer.alloc(BLOCK_BYTES + 1), place), { code: 'LIMIT' });
  stream.end();
  await writeChunks(writer, [chunk]);
  await writer.close();
  await assertReadBack([loaded], [chunk], 'log');
});

test('the log is on the medium, beside it, or both; each has all of it', async () => {
  for (const logPlace of ['medium', 'beside', 'both'] as const) {
    const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
    const file = openLogFile(join(folder, `${logPlace}.log`), 'write');
    const log = new WriteLog(file);
    const chunks = [newChunk(), newChunk()];
    const writer = await VolumeWriter.open(loaded, { ...options, logPlace, newLog: () => log });
    await Promise.all(chunks.map((chunk) => writeChunks(writer, [chunk])));
    await writer.close();
    assert.equal(log.state, 'stored');
    const { sessions, openFrom, end } = await readContents(loaded.volume, loaded.label.volume);
    assert.equal(openFrom, end);
    assert.equal(sessions[0]?.pages.length, logPlace === 'beside' ? 0 : 1);
    const beside = [];
    for await (const entry of log.entries()) beside.push(entry);
    const records = chunks.reduce((sum, one) => sum + one.records.length, 0);
    const runs = beside.filter((entry) => entry.kind === 'run');
    assert.equal(
      runs.reduce((sum, run) => sum + run.records, 0),
      records,
    );
    if (logPlace !== 'beside')
      assert.deepEqual(await volumeEntries(loaded.volume, loaded.label.volume, 'log'), beside);
    file.close();
  }
});

test('sessions follow each other; the last index tells of all', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const all = [];
  for (let i = 0; i < 30; i++) {
    const chunk = newChunk(2);
    all.push(chunk);
    const writer = await VolumeWriter.open(loaded, { ...options, id: `job ${i}` });
    await writeChunks(writer, [chunk]);
    await writer.close();
  }
  const { sessions } = await readContents(loaded.volume, loaded.label.volume);
  assert.deepEqual(
    sessions.map(({ session, id }) => [session, id]),
    all.map((_, i) => [i, `job ${i}`]),
  );
  // The index does not fit one record of this pool.
  assert(JSON.stringify(sessions).length > 2 * BLOCK_BYTES);
  for (const [i, { firstObject }] of sessions.entries())
    assert.equal(firstObject, i === 0 ? 3 : sessions[i - 1]?.endObject);
  await assertReadBack([loaded], all, 'log');
});

test('a stopped session leaves what was committed, and says why it stopped', async () => {
  const loaded = await labelled(newVolume(), random, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, options);
  const chunk = newChunk();
  await writeChunks(writer, [chunk]);
  await writer.synchronise();
  const stream = await writer.openStream(makeStream(random));
  await writer.abort();
  const place = { chunk: chunk.chunk, part: 0, isLast: false };
  await assert.rejects(stream.write(Buffer.alloc(9), place), { code: 'INTERRUPTED' });
  await assert.rejects(writer.synchronise(), { code: 'INTERRUPTED' });
  await assert.rejects(writer.close(), { code: 'INTERRUPTED' });
  await assertReadBack([loaded], [chunk], 'log');
});

test('a log that is damaged on the medium is written again from headers', async () => {
  const inner = newVolume();
  const loaded = await labelled(inner, random, BLOCK_BYTES);
  const chunks = [newChunk(), newChunk()];
  for (const chunk of chunks) {
    const writer = await VolumeWriter.open(loaded, options);
    await writeChunks(writer, [chunk]);
    await writer.close();
  }
  const { volume: id } = loaded.label;
  const { sessions } = await readContents(inner, id);
  const page = sessions[0]?.pages[0]?.object ?? 0;
  (inner.medium.objects[page] as Buffer).fill(0, 200);
  await assert.rejects(volumeEntries(inner, id, 'log'), { code: 'DAMAGED' });
  const writer = await VolumeWriter.open(loaded, { ...options, id: 'again', rebuildLog: true });
  await writer.close();
  const after = await readContents(inner, id);
  assert.deepEqual(
    after.sessions.map((one) => [one.session, one.id, one.firstObject]),
    [[2, 'again', 3]],
  );
  await assertReadBack([loaded], chunks, 'log');
});

test('an image that another program writes at the same time is left to it', async () => {
  const path = join(folder, 'two.tap');
  const loaded = await labelled(openTapeImage({ path, create: true }), random, BLOCK_BYTES);
  const writer = await VolumeWriter.open(loaded, options);
  const [first, second] = [newChunk(), newChunk()];
  await writeChunks(writer, [first]);
  await writer.synchronise();
  assert.throws(() => openTapeImage({ path }), { code: 'VOLUME_NOT_READY' });
  // A program that knows nothing of our locks.
  const theirs = [Buffer.from('theirs'), Buffer.from('as well')];
  appendFileSync(path, tapBytes(6, theirs[0] as Buffer, 6, 7, theirs[1] as Buffer));
  appendFileSync(path, tapBytes(Buffer.alloc(1), 7));
  const end = await Promise.allSettled([writeChunks(writer, [second])]);
  assert.equal(end.length, 1);
  await assert.rejects(writer.close(), { code: 'VOLUME_IO', message: /another|not at object/ });
  assert.deepEqual(readTap(path).slice(-2), theirs);
  await loaded.volume.close();
});

test('a disk that is full under the images ends the session, not one volume after the other', async () => {
  const loaded = await labelled(newVolume(40_000), random, BLOCK_BYTES);
  let volumes = 0;
  const writer = await VolumeWriter.open(loaded, {
    ...options,
    nextVolume: async () => {
      volumes++;
      const next = newVolume();
      const empty = await labelled(next, random, BLOCK_BYTES);
      // For the session's own first record.
      next.medium.capacityBytes = next.medium.usedBytes + 500;
      return empty;
    },
  });
  await assert.rejects(writeChunks(writer, [newChunk(60)]), { code: 'VOLUME_FULL' });
  await assert.rejects(writer.close(), { code: 'VOLUME_FULL' });
  assert.equal(volumes, 1, 'no further volume is asked for');
});

test('a drive that ran dry begins when the buffers are filled to a level, or when they will not be', async () => {
  const volume = newVolume();
  const loaded = await labelled(volume, random, BLOCK_BYTES);
  // Of 32 buffers 8 are kept for what was written: half of the others are 12.
  const writer = await VolumeWriter.open(loaded, { ...options, startLevel: 0.5 });
  const chunk = newChunk(20);
  const stream = await writer.openStream(chunk.stream);
  const last = chunk.records.length - 1;
  let part = 0;
  const write = async (count: number): Promise<number> => {
    for (let i = 0; i < count; i++, part++)
      await stream.write(chunk.records[part] as Buffer, {
        ...{ chunk: chunk.chunk, part, isLast: part === last },
      });
    for (let i = 0; i < 20; i++) await settle();
    return writer.figures().records;
  };
  assert.equal(await write(11), 0);
  assert.equal(await write(1), 12);
  assert.equal(await write(5), 12, 'it ran dry meanwhile');
  assert.equal(writer.figures().waits, 1, 'held back is not dry once more');
  await writer.synchronise();
  assert.equal(writer.figures().records, 17);
  assert.equal(await write(last + 1 - part), 17);
  stream.end();
  for (let i = 0; i < 20; i++) await settle();
  assert.equal(writer.figures().records, last + 1);
  await writer.close();
  await assertReadBack([loaded], [chunk], 'log');
});
