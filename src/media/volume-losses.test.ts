/**
 * Goal: what a drive has lost of its buffer never counts as committed, whatever else goes wrong then.
 * Method: a drive in memory that is reset, and a medium that ends, while what was lost is written again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  assertReadBack,
  labelled,
  makeChunk,
  makeLabel,
  makeStream,
  writeChunks,
} from '../../test/volume-fixture.ts';
import { LIMITS } from '../base/limits.ts';
import { LogPageWriter } from '../format/write-log.ts';
import { FakeClock } from '../host/fake/mod.ts';
import { crcOf, seededRandom } from '../host/mod.ts';
import { faultyVolume } from './fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { readContents } from './volume-index.ts';
import { labelVolume } from './volume-label.ts';
import { VolumeSession } from './volume-session.ts';
import { VolumeWriter } from './volume-writer.ts';
import { WriteLog } from './write-log.ts';

const BLOCK_BYTES = 2048;
const random = seededRandom(14);
const options = { id: 'job', writer: 'test', bufferBytes: 64 * BLOCK_BYTES, keep: 0.5 };
const newChunk = (blocks = 6) => makeChunk(random, makeStream(random), blocks, BLOCK_BYTES - 200);

type Lose = (drive: ReturnType<typeof faultyVolume>, medium: MemoryMedium) => void;

/** Writes a chunk, has the drive lose it as it is synchronised, and reads it back from the volumes. */
async function writeAndLose(lose: Lose): Promise<number> {
  const medium = new MemoryMedium();
  const inner = new MemoryVolume(medium, { bufferObjects: 100 });
  const drive = faultyVolume(inner, { reset: () => inner.reset() });
  const first = await labelled(drive, random, BLOCK_BYTES);
  const second = {
    volume: new MemoryVolume(new MemoryMedium()),
    label: makeLabel(random, BLOCK_BYTES),
  };
  const committed: string[] = [];
  let volumes = 1;
  const writer = await VolumeWriter.open(first, {
    ...options,
    onCommitted: ({ chunk }) => void committed.push(chunk),
    nextVolume: async () => {
      volumes += 1;
      await labelVolume(second.volume, second.label);
      return second;
    },
  });
  const before = newChunk();
  await writeChunks(writer, [before]);
  await writer.synchronise();
  const chunk = newChunk();
  await writeChunks(writer, [chunk]);
  while (medium.buffered < chunk.records.length) await new Promise(setImmediate);
  lose(drive, medium);
  await writer.synchronise();
  assert.deepEqual(committed, [before.chunk, chunk.chunk]);
  await writer.close();
  await assertReadBack([first, second], [before, chunk], 'scan');
  await assertReadBack([first, second], [before, chunk], 'log');
  return volumes;
}

test('a drive loses its buffer, and the medium ends as that is written again', async () => {
  for (let room = 0; room < 9; room++) {
    const volumes = await writeAndLose((drive, medium) => {
      drive.fault('synchronise').error('ESTALE').repeat(1);
      const records = medium.objects.slice(-8, -8 + room);
      const lost = medium.objects.slice(-8).reduce((sum, one) => sum + (one?.length ?? 1), 0);
      const fits = records.reduce((sum, one) => sum + (one?.length ?? 1), 0);
      medium.capacityBytes = medium.usedBytes - lost + fits;
    });
    assert.equal(volumes, 2, `room for ${room}`);
  }
});

test('a medium that ends as the drive writes out its buffer is not believed the next time', async () => {
  const volumes = await writeAndLose((drive, medium) => {
    drive.fault('synchronise').error('ENOSPC').repeat(1);
    // It gives up what it had, and has nothing to write any more.
    medium.loseBuffer(3);
    medium.capacityBytes = medium.usedBytes;
  });
  assert.equal(volumes, 2);
});

test('a drive that is reset at any call as a long log is written: it is whole, and little of it was kept', async () => {
  const pages = Array.from({ length: 400 }, (_, index) => {
    const writer = new LogPageWriter('0'.repeat(32), 0);
    writer.add({ kind: 'marks', object: index, count: 1, writtenMs: 1 });
    const page = writer.finish(crcOf);
    // As long as a page may be: what is behind its entries counts as its own.
    return Buffer.concat([page, Buffer.alloc(LIMITS.logPageBytes - page.length)]);
  });
  for (const after of [0, 100, 250, 399]) {
    const medium = new MemoryMedium();
    const inner = new MemoryVolume(medium, { bufferObjects: 1000 });
    const drive = faultyVolume(inner, { reset: () => inner.reset() });
    const { label } = await labelled(drive, random, 1 << 20);
    const begin = () =>
      VolumeSession.begin(drive, label, {
        ...{ id: 'job', log: new WriteLog(), logPlace: 'medium', perRecord: false },
        ...{ clock: new FakeClock(), writer: 'test', logs: new Map([[0, pages]]) },
      });
    for (const number of [0, 1]) {
      const session = await begin();
      await session.synchronise();
      let most = 0;
      if (number === 1) drive.fault('append').after(after).error('ESTALE').repeat(1);
      const append = drive.append;
      drive.append = async (record) => {
        const warned = await append(record);
        most = Math.max(most, medium.buffered);
        return warned;
      };
      await session.end();
      drive.append = append;
      assert(most * LIMITS.logPageBytes < LIMITS.volumeLogUnsafeBytesMax * 1.5, `${most} kept`);
    }
    const { sessions } = await readContents(drive, label.volume);
    assert.deepEqual(sessions[0]?.pages.length, pages.length);
    for (const [index, { object }] of sessions[0]?.pages.entries() ?? [])
      assert(medium.objects[object]?.equals(pages[index] as Buffer), `page ${index}`);
  }
});
