/**
 * Goal: of several drives the one is used in which the tape is, and nobody's drive is used by two; what is written
 * is not disturbed by somebody who looks for another tape.
 * Method: media in memory in made-up drives.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { PenstockError } from '../base/errors.ts';
import type { VolumeLabel } from '../format/volume-label.ts';
import type { TapeMedium } from './drive-messages.ts';
import { DriveUsers } from './drive-users.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { SharedDrive } from './shared-drive.ts';
import { type DrivesAround, TapeDrives } from './tape-drives.ts';
import type { Volume } from './volume.ts';
import { labelVolume } from './volume-label.ts';

const idOf = (name: string): string => Buffer.from(name.padEnd(16, '.')).toString('hex');
const record = (mark: number): Buffer => Buffer.alloc(100, mark);

async function tapeOf(name: string): Promise<MemoryMedium> {
  const medium = new MemoryMedium();
  const label: VolumeLabel = {
    ...{ volume: idOf(name), name, pool: 'lto', repository: idOf('repository'), sequence: 1 },
    ...{ blockBytes: 1000, createdMs: 0, writer: 'test', records: [] },
  };
  const volume = new MemoryVolume(medium);
  await labelVolume(volume, label);
  for (const mark of [1, 2, 3]) await volume.append(record(mark));
  return medium;
}

/** Drives in which tapes lie; `undefined`: none. Calls of a drive in `broken` fail. */
class Room {
  readonly tapes = new Map<string, MemoryMedium | undefined>();
  readonly away = new Map<string, PenstockError>();
  readonly moved: string[] = [];
  opened: string[] = [];
  readonly open: NonNullable<DrivesAround['open']> = async (_, { device }) => {
    this.opened.push(device);
    const error = this.away.get(device);
    if (error !== undefined) throw error;
    return new SharedDrive(this.#drive(device));
  };

  get medium(): Omit<TapeMedium, 'name'> {
    return { kind: 'tape', drives: [...this.tapes.keys()].map((device) => ({ device })) };
  }

  /** The drive has whatever tape lies there now. */
  #drive(device: string): Volume {
    let [medium, volume] = [this.tapes.get(device), undefined as MemoryVolume | undefined];
    const own: Record<string, unknown> = {
      name: device,
      limits: { recordBytesMin: 1, recordBytesMax: 1 << 20 },
      status: async () => ({ loaded: this.tapes.get(device) !== undefined, writeProtected: false }),
      close: async () => undefined,
      reserve: async () => undefined,
    };
    return new Proxy({} as Volume, {
      get: (_, name: string) =>
        own[name] ??
        (async (...words: unknown[]) => {
          const now = this.tapes.get(device);
          const isOther = now !== medium;
          if (isOther) [medium, volume] = [now, undefined];
          if (now === undefined) throw new PenstockError('VOLUME_NOT_READY', 'there is no tape');
          volume ??= new MemoryVolume(now);
          if (isOther) throw new PenstockError('VOLUME_CHANGED', 'there is another tape');
          if (name === 'rewind' || name === 'locate') this.moved.push(device);
          return await (Reflect.get(volume, name) as (...all: unknown[]) => unknown).apply(
            volume,
            words,
          );
        }),
    });
  }
}

async function roomWith(names: readonly (string | undefined)[]): Promise<Room> {
  const room = new Room();
  for (const [i, name] of names.entries())
    room.tapes.set(`drive-${i}`, name === undefined ? undefined : await tapeOf(name));
  return room;
}

async function opened(
  drives: TapeDrives,
  room: Room,
  name: string,
  isRead = true,
): Promise<Volume> {
  const wanted = { name, volume: idOf(name), isRead };
  for await (const volume of drives.candidates({ ...room.medium, name }, wanted)) return volume;
  throw new Error('no volume');
}

async function next(volume: Volume): Promise<number> {
  const into = Buffer.alloc(100);
  const got = await volume.read(into);
  assert.equal(got.kind, 'record');
  return into.readUInt8(0);
}

test('a tape is found in the drive in which it is; one that is nowhere is told with what is there', async () => {
  const room = await roomWith(['A', undefined, 'B']);
  const drives = new TapeDrives({ open: room.open });
  assert.equal((await opened(drives, room, 'B')).name, 'drive-2 B');
  await assert.rejects(opened(drives, room, 'C'), {
    code: 'VOLUME_NOT_READY',
    message:
      /C is in none of 3 drives: there is volume A of pool lto in drive-0, volume B of pool lto in drive-2/,
  });
  await drives.close();
});

test('a tape that was put into the other drive is read on from where it was', async () => {
  const room = await roomWith(['A', 'B']);
  const drives = new TapeDrives({ open: room.open });
  const volume = await opened(drives, room, 'A');
  await volume.locate(3);
  assert.equal(await next(volume), 1);
  const [a, b] = [room.tapes.get('drive-0'), room.tapes.get('drive-1')];
  room.tapes.set('drive-0', b).set('drive-1', a);
  // That it is another one is told once; where it stood is not relied on then.
  await assert.rejects(volume.tell(), { code: 'VOLUME_CHANGED' });
  await volume.locate(4);
  assert.equal(volume.name, 'drive-1 A');
  assert.equal(await next(volume), 2);
  assert.equal(await next(volume), 3);
  await volume.close();
  await drives.close();
});

test('who looks for a tape does not move one that is written', async () => {
  const room = await roomWith(['A', 'B']);
  const drives = new TapeDrives({ open: room.open });
  const volume = await opened(drives, room, 'A', false);
  await volume.spaceEnd();
  await volume.append(record(4));
  room.moved.length = 0;
  await assert.rejects(opened(drives, room, 'C'), { code: 'VOLUME_NOT_READY' });
  assert(!room.moved.includes('drive-0'));
  await volume.append(record(5));
  assert.equal((await volume.tell()).object, 8);
  await drives.close();
});

test('a drive has one user; what nobody uses is left to others', async () => {
  const room = await roomWith(['A', 'B']);
  const devices = ['drive-0', 'drive-1'];
  const words = DriveUsers.words(devices);
  const [first, second] = [1, 2].map(
    (self) => new TapeDrives({ open: room.open, users: new DriveUsers({ words, devices, self }) }),
  ) as [TapeDrives, TapeDrives];
  // It looks into the first drive on its way to the second.
  const volume = await opened(first, room, 'B');
  await assert.rejects(opened(second, room, 'A'), { code: 'VOLUME_NOT_READY' });
  await first.closeFree();
  assert.equal((await opened(second, room, 'A')).name, 'drive-0 A');
  await assert.rejects(opened(second, room, 'B'), { code: 'VOLUME_NOT_READY' });
  await volume.close();
  await first.closeFree();
  assert.equal((await opened(second, room, 'B')).name, 'drive-1 B');
  await second.close();
  assert.equal((await opened(first, room, 'A')).name, 'drive-0 A');
  await first.close();
});

test('a drive that failed is told once another works, and tried again when that is said', async () => {
  const room = await roomWith(['A', 'B']);
  const passed: string[] = [];
  const drives = new TapeDrives({
    open: room.open,
    onPassedOver: ({ subject, code }) => passed.push(`${subject} ${code}`),
  });
  room.away.set('drive-0', new PenstockError('DEVICE_BUSY', 'it is reserved'));
  room.away.set('drive-1', new PenstockError('DEVICE_LOST', 'it is gone'));
  await assert.rejects(opened(drives, room, 'B'), {
    code: 'DEVICE_BUSY',
    message: 'none of 2 drives can be used: it is reserved; it is gone',
  });
  assert.deepEqual(passed, []);
  drives.tryAgain();
  room.away.delete('drive-1');
  await opened(drives, room, 'B');
  assert.deepEqual(passed, ['drive-0 DEVICE_BUSY']);
  room.opened = [];
  await assert.rejects(opened(drives, room, 'A'), { code: 'VOLUME_NOT_READY' });
  assert.deepEqual(room.opened, []);
  room.away.clear();
  drives.tryAgain();
  assert.equal((await opened(drives, room, 'A')).name, 'drive-0 A');
  await drives.close();
});

test('a tape that is new may be in any drive that nobody uses', async () => {
  const room = await roomWith(['A', 'B', 'C']);
  const drives = new TapeDrives({ open: room.open });
  const used = await opened(drives, room, 'B');
  const wanted = { name: 'NEW', volume: undefined, isRead: false };
  const names: string[] = [];
  for await (const volume of drives.candidates({ ...room.medium, name: 'NEW' }, wanted)) {
    names.push(volume.name);
    await volume.close();
  }
  assert.deepEqual(names, ['drive-0 NEW', 'drive-2 NEW']);
  await used.close();
  await drives.close();
});
