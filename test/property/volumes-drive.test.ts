/**
 * Goal: what holds for images holds for a drive behind iSCSI: streams interleave, and every one is read back
 * by the log and by headers, also when the connection was given up in between.
 * Method: Debian's tgt on loopback; the random streams of volumes.test.ts, with larger blocks.
 */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { seededRandom } from '../../src/host/mod.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { inspectVolume } from '../../src/media/volume-label.ts';
import { VolumeWriter } from '../../src/media/volume-writer.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';
import {
  assertReadBack,
  below,
  labelled,
  makeChunk,
  makeStream,
  writeChunks,
} from '../volume-fixture.ts';

const skip = tgtMissing();
const BLOCK_BYTES = 128 << 10;
let server: TgtServer | undefined;
before(async () => {
  if (skip === undefined) server = await TgtServer.start();
});
after(async () => await server?.stop());

test('random streams onto a drive, in two sessions, and back', { skip }, async () => {
  const tgt = server as TgtServer;
  const tid = await tgt.addTarget();
  await tgt.addDrive(tid, 1, await tgt.makeTape('T1', 64));
  const address = parseIscsiAddress(tgt.url(tid, 1));
  const random = seededRandom(31);
  const written = [];
  for (const session of [0, 1]) {
    const volume = await openScsiVolume(new IscsiDevice(address));
    const found = await inspectVolume(volume);
    assert.equal(found.kind, session === 0 ? 'blank' : 'ours');
    const { label } = found.kind === 'ours' ? found : await labelled(volume, random, BLOCK_BYTES);
    const chunks = Array.from({ length: 4 }, () => {
      const stream = makeStream(random);
      return [3, 5].map((blocks) => makeChunk(random, stream, blocks, BLOCK_BYTES - 200));
    });
    const writer = await VolumeWriter.open(
      { volume, label },
      {
        ...{ id: `session ${session}`, writer: 'test', bufferBytes: 24 * BLOCK_BYTES },
        ...{ markBytes: 500_000, syncBytes: 700_000 },
      },
    );
    await Promise.all(
      chunks.map((list) =>
        writeChunks(writer, list, async () => {
          if (below(random, 3) === 0) await new Promise((resolve) => setImmediate(resolve));
        }),
      ),
    );
    await writer.close();
    written.push(...chunks.flat());
    await assertReadBack([{ volume, label }], written, 'log');
    await volume.close();
    const again = await openScsiVolume(new IscsiDevice(address));
    await assertReadBack([{ volume: again, label }], written, 'scan');
    await again.close();
  }
});
