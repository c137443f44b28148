/**
 * Goal: whatever a drive does while its tape is changed by hand, the tape that is there is known before it is
 * used, and one that is written is not taken out.
 * Method: a drive by the standard behind a scripted target, or in memory behind a script of faults; whoever is
 * asked for a tape is the test.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { VolumeLabel } from '../../src/format/volume-label.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { faultyVolume } from '../../src/media/fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from '../../src/media/fake/memory-volume.ts';
import { MountDesk, type MountRequest, mountText } from '../../src/media/mount-requests.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { SharedDrive } from '../../src/media/shared-drive.ts';
import { inspectVolume } from '../../src/media/volume-label.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { type Action, ScriptedTarget } from '../iscsi-target.ts';
import { fixedSense } from '../scsi-tape.ts';
import { labelled } from '../volume-fixture.ts';

const random = seededRandom(11);
const BLOCK_BYTES = 10_000;
const read = (label: VolumeLabel) => ({ name: label.name, volume: label.volume, isRead: true });

async function nameOf(volume: Parameters<typeof inspectVolume>[0]): Promise<string> {
  const found = await inspectVolume(volume);
  return found.kind === 'ours' ? found.label.name : found.kind;
}

/** A drive by the standard with the first of two tapes in it. */
async function withTapes(
  work: (
    drive: (desk: MountDesk) => SharedDrive,
    labels: readonly VolumeLabel[],
    change: (tape: number) => void,
    target: ScriptedTarget,
  ) => Promise<void>,
): Promise<void> {
  const target = await ScriptedTarget.start();
  const volume = await openScsiVolume(new IscsiDevice(parseIscsiAddress(target.url())));
  const tapes: (Buffer | null)[][] = [];
  const labels: VolumeLabel[] = [];
  for (let i = 0; i < 2; i++) {
    target.device.objects = [];
    await volume.rewind();
    labels.push((await labelled(volume, random, BLOCK_BYTES)).label);
    tapes.push(target.device.objects);
  }
  const change = (tape: number): void => {
    target.device.objects = tapes[tape] ?? [];
    target.device.position = 0;
    target.device.loaded = true;
  };
  change(0);
  await volume.rewind();
  let drive: SharedDrive | undefined;
  try {
    await work(
      (desk) => (drive = new SharedDrive(volume, undefined, desk)),
      labels,
      change,
      target,
    );
  } finally {
    await (drive ?? volume).close();
    await target.stop();
  }
  assert.deepEqual(target.violations, []);
}

/** Says once that the medium may have changed. */
function attention(target: ScriptedTarget): void {
  let isTold = false;
  target.script = ({ opcode, cdb }): Action => {
    if (isTold || opcode !== 1 || cdb[0] === 0x12) return undefined;
    isTold = true;
    return { answer: { status: 2, sense: fixedSense({ key: 6, code: 0x28 }) } };
  };
}

test('the tape that is asked for is let in, also when the drive says that it was changed', async () => {
  await withTapes(async (drive, labels, change, target) => {
    const asked: MountRequest[] = [];
    const desk = new MountDesk(60_000, (request) => {
      asked.push(request);
      assert.equal(target.device.loaded, false, 'it was let go');
      // The same one again, then the right one.
      change(asked.length - 1);
      attention(target);
    });
    const shared = drive(desk);
    const [first, second] = labels.map((label) => shared.volume(read(label)));
    assert(first !== undefined && second !== undefined);
    assert.equal(await nameOf(first), labels[0]?.name);
    assert.equal(await nameOf(second), labels[1]?.name);
    const seen = asked.map(({ tapes, found }) => [tapes[0], found]);
    const there = `volume ${labels[0]?.name} of pool tapes`;
    assert.deepEqual(seen, [
      [labels[1]?.name, there],
      [labels[1]?.name, there],
    ]);
    assert.match(mountText(asked[0] as MountRequest), /^put T\d+ into the drive iscsi:.*there is/);
  });
});

test('a tape that is written stays in the drive when another one is wanted for reading', async () => {
  await withTapes(async (drive, labels) => {
    const shared = drive(new MountDesk(60_000, () => assert.fail('nobody is asked')));
    const [first, second] = labels as [VolumeLabel, VolumeLabel];
    const written = shared.volume({ ...read(first), isRead: false });
    await written.spaceEnd();
    await written.append(Buffer.alloc(100, 1));
    const other = shared.volume(read(second));
    await assert.rejects(nameOf(other), { code: 'VOLUME_NOT_READY' });
    await written.append(Buffer.alloc(100, 2));
    assert.equal((await written.tell()).object, 5);
  });
});

test('a drive that does not let its tape go tells of another one by itself', async () => {
  const inner = new MemoryVolume(new MemoryMedium());
  const { label } = await labelled(inner, random, BLOCK_BYTES);
  const faulty = faultyVolume(inner);
  faulty.fault('unload').error('EIO').repeat(1);
  let isAsked = false;
  const desk = new MountDesk(60_000, () => {
    isAsked = true;
    faulty.fault('tell').after(1).error('ESTALE').repeat(1);
  });
  const shared = new SharedDrive(faulty, undefined, desk);
  assert.equal(await shared.askForTape({ tapes: [], blank: true }), true);
  assert(isAsked);
  assert.equal(await nameOf(shared.volume(read(label))), label.name);
});

test('waiting ends with the time, with its being held, and when it is stopped', async () => {
  const blank = (desk: MountDesk): SharedDrive =>
    new SharedDrive(new MemoryVolume(new MemoryMedium()), undefined, desk);
  let asked = 0;
  const count = (): void => void asked++;
  const request = { tapes: ['T1'], blank: false };
  assert.equal(await blank(new MountDesk(0, count)).askForTape(request), false);
  const held = new MountDesk(60_000, count);
  held.isHeld = true;
  assert.equal(await blank(held).askForTape(request), false);
  assert.equal(asked, 0);
  assert.equal(await blank(new MountDesk(10, count)).askForTape(request), false);
  const stopped = new MountDesk(Number.POSITIVE_INFINITY, () => {
    count();
    setImmediate(() => stopped.stop());
  });
  assert.equal(await blank(stopped).askForTape(request), false);
  assert.equal(asked, 2);
  assert.equal(stopped.isOpen, false);
});
