/**
 * Goal: records that were not safe where a medium ended, and were written again on the next one, make their chunk
 * neither less whole nor longer: also where nothing is known but what stands on the volumes.
 * Method: media that end at every place, with a drive that keeps what it had taken, or loses a part of it; then
 * both are looked through, and read.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TRAILER_BYTES } from '../../src/format/chunk.ts';
import { seededRandom } from '../../src/host/mod.ts';
import type { ReadableVolume } from '../../src/media/drive-messages.ts';
import { DriveReading } from '../../src/media/drive-reading.ts';
import { faultyVolume } from '../../src/media/fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from '../../src/media/fake/memory-volume.ts';
import { labelVolume } from '../../src/media/volume-label.ts';
import { surveyVolume, type VolumeStretches, wholeChunks } from '../../src/media/volume-survey.ts';
import { VolumeWriter } from '../../src/media/volume-writer.ts';
import type { LoadedVolume } from '../../src/media/volume-writer-options.ts';
import { labelled, makeChunk, makeLabel, makeStream, writeChunks } from '../volume-fixture.ts';

const BLOCK_BYTES = 2048;
const random = seededRandom(83);

for (const lost of [0, 1, 3]) {
  test(`of what was not safe ${lost} records are lost where the medium ends`, async () => {
    for (let room = 0; room < 12; room++) {
      const media = [new MemoryMedium(), new MemoryMedium()] as const;
      const drive = faultyVolume(new MemoryVolume(media[0], { bufferObjects: 100 }));
      const first = await labelled(drive, random, BLOCK_BYTES);
      const volumes: LoadedVolume[] = [first];
      const writer = await VolumeWriter.open(first, {
        ...{ id: 'job', writer: 'test', bufferBytes: 64 * BLOCK_BYTES, keep: 0.5 },
        nextVolume: async () => {
          const next = {
            volume: new MemoryVolume(media[1]),
            label: makeLabel(random, BLOCK_BYTES),
          };
          await labelVolume(next.volume, next.label);
          volumes.push(next);
          return next;
        },
      });
      const chunks = [0, 1].map(() => makeChunk(random, makeStream(random), 8, BLOCK_BYTES - 200));
      media[0].capacityBytes = media[0].usedBytes + 900 * room;
      // It says that it is full, and as it is told to synchronise that something failed.
      drive.fault('synchronise').error('ENOSPC').repeat(1);
      const synchronise = drive.synchronise;
      drive.synchronise = async () => {
        if (media[0].buffered > 0) media[0].loseBuffer(Math.max(0, media[0].buffered - lost));
        await synchronise();
      };
      await Promise.all(chunks.map((chunk) => writeChunks(writer, [chunk])));
      await writer.close();

      const found: VolumeStretches[] = [];
      for (const { volume, label } of volumes) {
        const survey = await surveyVolume(volume);
        assert('stretches' in survey);
        found.push({ volume: label.volume, stretches: survey.stretches });
      }
      const whole = wholeChunks(found);
      assert.deepEqual(
        whole.map(({ id }) => id).sort(),
        chunks.map(({ chunk }) => chunk).sort(),
        `room ${room}`,
      );
      const readable = volumes.map(({ label }): ReadableVolume => {
        const places = whole.flatMap(({ id, bytes, places }) => {
          const place = places.get(label.volume);
          return place === undefined ? [] : [{ id, bytes, ...place }];
        });
        const { volume, name, blockBytes } = label;
        const medium = { kind: 'tape-image', path: '', volumeBytes: 0 } as const;
        return { volume, name, blockBytes, medium, chunks: places, beside: [] };
      });
      const reading = new DriveReading(readable, async ({ volume }) => {
        const index = readable.findIndex((one) => one.volume === volume);
        return new MemoryVolume(media[index] as MemoryMedium);
      });
      for (const { chunk, records } of chunks) {
        const bytes = Buffer.concat(records);
        assert.equal(reading.bytesOf(chunk), bytes.length + TRAILER_BYTES);
        const into = Buffer.alloc(bytes.length);
        assert.equal(await reading.read(chunk, 0, into), bytes.length);
        assert.deepEqual(into, bytes, `room ${room}`);
      }
      await reading.close();
    }
  });
}
