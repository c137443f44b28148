/**
 * Goal: a plan reads what is wanted and nothing else, finds its way when hints or records are wrong, and
 * says what could not be had.
 * Method: eight streams on one volume in memory and in an image; every call of the drive is counted.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  labelled,
  type MadeChunk,
  makeChunk,
  makeStream,
  volumeEntries,
  writeChunks,
} from '../../test/volume-fixture.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import type { LogEntry } from '../format/write-log.ts';
import { seededRandom } from '../host/mod.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { openTapeImage } from './tape-image.ts';
import type { Volume } from './volume.ts';
import { planVolumeRead, type VolumePlan, type WantedChunk } from './volume-plan.ts';
import { type ReadProblem, type ReadRecord, VolumeReader } from './volume-reader.ts';
import { VolumeWriter } from './volume-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-reader-'));
after(() => rmSync(folder, { recursive: true }));
const BLOCK_BYTES = 2048;

interface Written {
  readonly volume: Volume;
  readonly label: VolumeLabel;
  readonly streams: readonly (readonly MadeChunk[])[];
  readonly entries: readonly LogEntry[];
}

/** Eight streams of three chunks each, interleaved, with marks between. */
async function eightStreams(volume: Volume, markBytes = 40_000): Promise<Written> {
  const random = seededRandom(8);
  const { label } = await labelled(volume, random, BLOCK_BYTES);
  const streams = Array.from({ length: 8 }, () => {
    const stream = makeStream(random);
    return [1, 2, 3].map(() => makeChunk(random, stream, 12, BLOCK_BYTES - 200));
  });
  const options = { id: 'eight', writer: 'test', markBytes, bufferBytes: 64 * BLOCK_BYTES };
  const writer = await VolumeWriter.open({ volume, label }, options);
  await Promise.all(streams.map((chunks) => writeChunks(writer, chunks)));
  await writer.close();
  return { volume, label, streams, entries: await volumeEntries(volume, label.volume, 'log') };
}

async function carryOut(
  { volume, label }: Written,
  plan: VolumePlan,
): Promise<{ got: (ReadRecord | ReadProblem)[]; reader: VolumeReader }> {
  const reader = new VolumeReader(volume, label.blockBytes);
  const got: (ReadRecord | ReadProblem)[] = [];
  for await (const one of reader.read(plan))
    got.push(one.kind === 'record' ? { ...one, bytes: Buffer.from(one.bytes) } : one);
  return { got, reader };
}

const newMemory = (): MemoryVolume => new MemoryVolume(new MemoryMedium());

/** The numbers of objects that a drive was asked to read. */
function watched(volume: Volume): { volume: Volume; read: number[] } {
  const read: number[] = [];
  const spy = new Proxy(volume, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      if (name !== 'read') return value.bind(target);
      return async (into: Uint8Array) => {
        read.push((await target.tell()).object);
        return await target.read(into);
      };
    },
  });
  return { volume: spy, read };
}

test('one stream of eight: its records are read once each, and no others', async () => {
  const written = await eightStreams(newMemory());
  for (const chunks of written.streams) {
    const plan = await planVolumeRead(
      written.entries,
      chunks.map(({ chunk }) => ({ chunk })),
    );
    assert.deepEqual(plan.missing, []);
    const { volume, read } = watched(written.volume);
    const { got, reader } = await carryOut({ ...written, volume }, plan);
    const expected = chunks.flatMap(({ chunk, records }) =>
      records.map((bytes, part) => ({ chunk, part, bytes })),
    );
    assert.deepEqual(
      got
        .map((one) => (one.kind === 'record' ? one : assert.fail(one.error.message)))
        .map(({ chunk, part, bytes }) => ({ chunk, part, bytes })),
      expected,
    );
    assert.equal(read.length, expected.length);
    assert.equal(new Set(read).size, expected.length);
    assert.equal(reader.figures.recordsRead, expected.length);
    assert(reader.figures.recordsSkipped > expected.length);
    assert.equal(
      reader.figures.bytesRead,
      expected.reduce((sum, { bytes }) => sum + bytes.length, 0),
    );
  }
});

test('a plan is copy segments: near records are spaced over, far ones and marks located', async () => {
  const run = (chunk: string, object: number, records: number): LogEntry => ({
    ...{ kind: 'run', stream: 's', chunk, part: 0, records, bytes: records, recordBytes: 0 },
    ...{ object, isLast: true, receivedMs: 0, writtenMs: 0 },
  });
  const entries: LogEntry[] = [
    run('a', 10, 2),
    run('x', 12, 5),
    run('b', 17, 1),
    { kind: 'marks', object: 18, count: 1, writtenMs: 0 },
    run('c', 19, 2),
    run('x', 21, 300),
    run('d', 321, 1),
  ];
  const wanted: WantedChunk[] = ['d', 'a', 'c', 'b'].map((chunk) => ({ chunk }));
  const plan = await planVolumeRead(entries, [...wanted, { chunk: 'none' }]);
  const read = (chunk: string, object: number, records: number) => {
    return { kind: 'read', records, object, stream: 's', chunk, part: 0 };
  };
  assert.deepEqual(plan, {
    segments: [
      { kind: 'locate', object: 10 },
      read('a', 10, 2),
      { kind: 'space', records: 5 },
      read('b', 17, 1),
      { kind: 'locate', object: 19 },
      read('c', 19, 2),
      { kind: 'locate', object: 321 },
      read('d', 321, 1),
    ],
    ...{ records: 6, skipped: 306, positionings: 4, missing: [{ chunk: 'none' }] },
  });
});

test('single parts are found within runs; those that are not there are named', async () => {
  const written = await eightStreams(newMemory());
  const [one] = written.streams[3] as readonly MadeChunk[];
  const { chunk, records } = one as MadeChunk;
  const plan = await planVolumeRead(written.entries, [{ chunk, parts: [2, 5, 6, 13, 20] }]);
  assert.deepEqual(plan.missing, [{ chunk, parts: [20] }]);
  const { got } = await carryOut(written, plan);
  assert.deepEqual(
    got.map((each) => [each.part, each.kind === 'record' && each.bytes]),
    [2, 5, 6, 13].map((part) => [part, records[part]]),
  );
});

test('of a part that was written twice the later one is read', async () => {
  const run = (part: number, object: number, records: number): LogEntry => ({
    ...{ kind: 'run', stream: 's', chunk: 'a', part, records, bytes: 1, recordBytes: 0, object },
    ...{ isLast: part + records === 6, receivedMs: 0, writtenMs: 0 },
  });
  const plan = await planVolumeRead([run(0, 5, 4), run(2, 20, 4)], [{ chunk: 'a' }]);
  assert.deepEqual(plan.missing, []);
  assert.deepEqual(
    plan.segments.flatMap((one) =>
      one.kind === 'read' ? [[one.part, one.object, one.records]] : [],
    ),
    [
      [0, 5, 2],
      [2, 20, 4],
    ],
  );
});

test('hints that lead elsewhere cost time and nothing else', async () => {
  const path = join(folder, 'hints.tap');
  const written = await eightStreams(openTapeImage({ path, create: true }));
  const [{ chunk, records }] = written.streams[5] as readonly MadeChunk[] as [MadeChunk];
  const runs = written.entries.filter((entry) => entry.kind === 'run');
  const hints = runs.map(({ hint }) => hint as number);
  const wrong = runs.map((run, i) => ({ ...run, hint: hints[(i + 3) % hints.length] as number }));
  const plan = await planVolumeRead(wrong, [{ chunk }]);
  const volume = openTapeImage({ path, readOnly: true });
  const { got } = await carryOut({ ...written, volume }, plan);
  assert.deepEqual(
    got.map((one) => (one.kind === 'record' ? one.bytes : one.error.message)),
    records,
  );
  await volume.close();
});

test('a record that cannot be read, or was spoiled, is named, and the rest is read', async () => {
  const memory = newMemory();
  const written = await eightStreams(memory);
  const [{ chunk, records }] = written.streams[1] as readonly MadeChunk[] as [MadeChunk];
  const plan = await planVolumeRead(written.entries, [{ chunk }]);
  const { got: before } = await carryOut(written, plan);
  const objects = before.map((one) => (one.kind === 'record' ? one.object : -1));
  memory.medium.unreadable.add(objects[4] as number);
  const spoiled = memory.medium.objects[objects[7] as number] as Buffer;
  spoiled[spoiled.length - 1] = (spoiled.at(-1) ?? 0) ^ 1;
  const { got } = await carryOut(written, plan);
  for (const [part, one] of got.entries()) {
    if (part === 4 || part === 7) {
      assert(one.kind === 'problem');
      assert.equal(one.error.code, 'VOLUME_DAMAGED');
      assert(one.error.message.includes(`volume memory, object ${objects[part]}`));
    } else assert.deepEqual(one.kind === 'record' && one.bytes, records[part]);
  }
  assert.equal(got.length, records.length);
});

test('a log that knows of more than the medium has: problems, and no end of it', async () => {
  const memory = newMemory();
  const written = await eightStreams(memory);
  const chunks = written.streams[2] as readonly MadeChunk[];
  const plan = await planVolumeRead(
    written.entries,
    chunks.map(({ chunk }) => ({ chunk })),
  );
  memory.medium.cut(60);
  const { got } = await carryOut(written, plan);
  assert.equal(got.length, plan.records);
  assert(got.some(({ kind }) => kind === 'record'));
  for (const one of got.slice(-10)) assert(one.kind === 'problem');
});
