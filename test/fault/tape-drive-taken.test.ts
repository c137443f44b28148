/**
 * Goal: nobody writes where somebody else has moved the tape to, nor moves the tape of somebody who writes.
 * Method: two programs, each with a session of its own, at one drive of the scripted target; tgt's tapes know
 * no reservations.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { PenstockError } from '../../src/base/errors.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import type { Volume } from '../../src/media/volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { ScriptedTarget } from '../iscsi-target.ts';

const RESERVE = 0x16;
const record = (index: number): Buffer => Buffer.alloc(3000 + index, index + 1);
const open = (url: string): Promise<Volume> =>
  openScsiVolume(new IscsiDevice(parseIscsiAddress(url)));

async function contents(volume: Volume): Promise<Buffer[]> {
  const found: Buffer[] = [];
  const into = Buffer.alloc(4000);
  await volume.rewind();
  for (;;) {
    const got = await volume.read(into);
    if (got.kind === 'end') return found;
    assert(got.kind === 'record');
    found.push(Buffer.from(into.subarray(0, got.bytes)));
  }
}

test('who writes has the drive for himself, until he lets it go', async () => {
  const target = await ScriptedTarget.start();
  const url = target.url();
  const first = await open(url);
  const second = await open(url);
  try {
    // Neither writes yet: both may look at the tape.
    for (const index of [0, 1]) await first.append(record(index));
    await assert.rejects(second.rewind(), /reserved/);
    await assert.rejects(open(url), { code: 'DEVICE_BUSY' });
    await first.append(record(2));
    await first.synchronise();
    assert.equal((await first.tell()).object, 3);
  } finally {
    await first.close();
  }
  // It was moved by nobody, but it is not where the second one has seen it.
  await assert.rejects(second.append(record(9)));
  await second.spaceEnd();
  assert.equal((await second.tell()).object, 3);
  await second.append(record(3));
  await second.synchronise();
  assert.deepEqual(await contents(second), [0, 1, 2, 3].map(record));
  await second.close();
  await target.stop();
  assert.deepEqual(target.violations, []);
});

for (const tellsPosition of [true, false]) {
  const drive = tellsPosition ? 'that tells its position' : 'that does not';
  test(`a tape that was moved before it was reserved is not written; a drive ${drive}`, async () => {
    const target = await ScriptedTarget.start();
    if (!tellsPosition) target.device.lacks.add(0x34);
    const writer = await open(target.url());
    for (const index of [0, 1, 2]) await writer.append(record(index));
    await writer.synchronise();
    await writer.spaceEnd();
    const reader = await open(target.url()).catch((error: PenstockError) => error.code);
    assert.equal(reader, 'DEVICE_BUSY');
    // Its session breaks, and another program comes in between.
    target.cut();
    while (target.reservedFor !== undefined) await new Promise(setImmediate);
    const other = await open(target.url());
    await other.rewind();
    await other.read(Buffer.alloc(4000));
    const failure = await writer.append(record(3)).then(
      () => undefined,
      (error: PenstockError) => error.code,
    );
    // A drive that is counted along is brought back to where it was, and may go on.
    if (tellsPosition) assert.equal(failure, 'VOLUME_CHANGED');
    if (failure !== undefined) {
      await writer.spaceEnd();
      await writer.append(record(3));
    }
    assert.deepEqual(target.device.objects, [0, 1, 2, 3].map(record));
    await other.close();
    await writer.close();
    await target.stop();
  });
}

test('a drive that knows no reservations is written all the same', async () => {
  const target = await ScriptedTarget.start();
  target.device.lacks.add(RESERVE);
  const volume = await open(target.url());
  await volume.append(record(0));
  assert.deepEqual(target.device.objects, [record(0)]);
  await volume.close();
  await target.stop();
});
