/**
 * Goal: where a drive tells late that its medium ends, or nearly does, the session goes on, on the next volume,
 * and nothing of what the drive had taken is lost or told as stored too early.
 * Method: a drive behind a scripted target that finds the end as it writes out its buffer; media that end at
 * every place.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../src/host/mod.ts';
import { MemoryMedium, MemoryVolume } from '../../src/media/fake/memory-volume.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { labelVolume } from '../../src/media/volume-label.ts';
import { VolumeWriter } from '../../src/media/volume-writer.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { ScriptedTarget } from '../iscsi-target.ts';
import { fixedSense } from '../scsi-tape.ts';
import {
  assertReadBack,
  labelled,
  makeChunk,
  makeLabel,
  makeStream,
  writeChunks,
} from '../volume-fixture.ts';

const BLOCK_BYTES = 2048;
const WRITE = 0x0a;
const random = seededRandom(31);
const newChunk = () => makeChunk(random, makeStream(random), 6, BLOCK_BYTES - 200);

/** Writes three chunks, of which the second or third has no room on the first medium. */
async function writeTo(
  prepare: (target: ScriptedTarget, usedBytes: number) => void,
): Promise<number> {
  const target = await ScriptedTarget.start();
  const device = new IscsiDevice(parseIscsiAddress(target.url()), { reconnectMs: 5000 });
  const volume = await openScsiVolume(device);
  try {
    target.device.bufferObjects = 4;
    const first = await labelled(volume, random, BLOCK_BYTES);
    const second = {
      volume: new MemoryVolume(new MemoryMedium()),
      label: makeLabel(random, BLOCK_BYTES),
    };
    const committed: string[] = [];
    const used: number[] = [];
    const writer = await VolumeWriter.open(first, {
      ...{ id: 'job', writer: 'test', bufferBytes: 64 * BLOCK_BYTES, keep: 0.5 },
      onCommitted: ({ chunk }) => void committed.push(chunk),
      nextVolume: async () => {
        used.push(target.device.objects.length);
        await labelVolume(second.volume, second.label);
        return second;
      },
    });
    const chunks = [newChunk(), newChunk(), newChunk()];
    await writeChunks(writer, chunks.slice(0, 1));
    await writer.synchronise();
    prepare(target, target.device.usedBytes);
    for (const chunk of chunks.slice(1)) {
      await writeChunks(writer, [chunk]);
      await writer.synchronise();
      assert.equal(committed.at(-1), chunk.chunk);
    }
    await writer.close();
    target.device.tellsLate = false;
    assert.deepEqual(
      committed,
      chunks.map(({ chunk }) => chunk),
    );
    const volumes = used.length > 0 ? [first, second] : [first];
    for (const source of ['scan', 'log'] as const) await assertReadBack(volumes, chunks, source);
    return volumes.length;
  } finally {
    await volume.close();
    await target.stop();
  }
}

test('a drive that tells the end of its medium only as it writes out its buffer', async () => {
  for (let room = 0; room < 9; room++) {
    const volumes = await writeTo(({ device }, usedBytes) => {
      device.tellsLate = true;
      device.capacityBytes = usedBytes + room * 700;
    });
    assert.equal(volumes, 2, `${room}`);
  }
});

test('a drive that tells late that only little room is left', async () => {
  for (let room = 0; room < 5; room++) {
    const volumes = await writeTo(({ device }, usedBytes) => {
      device.tellsLate = true;
      device.capacityBytes = usedBytes + 60_000;
      device.earlyBytes = 60_000 - room * 1000;
    });
    assert.equal(volumes, 2, `${room}`);
  }
});

test('help of error correction for an earlier record: the one that is told it is written all the same', async () => {
  let told = 0;
  const volumes = await writeTo((target) => {
    target.script = ({ opcode, cdb }) => {
      if (opcode !== 0x01 || cdb[0] !== WRITE || told > 0) return undefined;
      told += 1;
      return { answer: { status: 2, sense: fixedSense({ key: 1, code: 0x18, deferred: true }) } };
    };
  });
  assert.deepEqual([volumes, told], [1, 1]);
});
