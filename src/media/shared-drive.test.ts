/**
 * Goal: volumes that share a drive never write to the wrong tape or place, and learn what was lost while
 * another had the drive.
 * Method: media in memory behind a script of faults; a library that changes the medium in a made-up drive.
 * All of the contract runs over a shared drive in test/contract/scsi-volume.test.ts.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { PenstockError } from '../base/errors.ts';
import type { LibraryElement } from '../scsi/changer-commands.ts';
import type { TapeLibrary } from '../scsi/library.ts';
import { faultyVolume } from './fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from './fake/memory-volume.ts';
import { SharedDrive } from './shared-drive.ts';
import type { WantedTape } from './shared-volume.ts';
import type { Volume } from './volume.ts';

const tape = (name: string): WantedTape => ({ name, isRead: false });
const record = (mark: number): Buffer => Buffer.alloc(100, mark);

async function contents(volume: Volume): Promise<(number | string)[]> {
  await volume.rewind();
  const seen: (number | string)[] = [];
  const into = Buffer.alloc(100);
  for (;;) {
    const got = await volume.read(into);
    if (got.kind === 'end') return seen;
    seen.push(got.kind === 'mark' ? 'mark' : into.readUInt8(0));
  }
}

/** A drive whose medium a library exchanges. */
function driveWith(names: readonly string[]) {
  const tapes = new Map(names.map((name) => [name, new MemoryVolume(new MemoryMedium())]));
  let inDrive: string | undefined;
  let isLoaded = false;
  const moves: string[] = [];
  const current = (): MemoryVolume => {
    const tape = tapes.get(inDrive ?? '');
    if (tape !== undefined && isLoaded) return tape;
    throw new PenstockError('VOLUME_NOT_READY', 'there is no medium');
  };
  const limits = { recordBytesMin: 1, recordBytesMax: 1 << 20 };
  const own: Record<string, unknown> = {
    name: 'drive',
    limits,
    status: async () => ({ loaded: isLoaded, writeProtected: false }),
    load: async () => {
      isLoaded = true;
      await current().rewind();
    },
    unload: async () => {
      isLoaded = false;
    },
    close: async () => undefined,
  };
  const volume = new Proxy({} as Volume, {
    get: (_, name: string) =>
      own[name] ??
      (async (...words: unknown[]) => {
        const tape = current();
        return await (Reflect.get(tape, name) as (...all: unknown[]) => unknown).apply(tape, words);
      }),
  });
  const library = {
    find: async (name: string) => {
      if (!tapes.has(name)) throw new PenstockError('LIBRARY_MISSING', `no tape ${name}`);
      return { label: name, address: inDrive === name ? 256 : 1000 } as LibraryElement;
    },
    load: async (label: string) => {
      assert.equal(isLoaded, false, 'a tape is taken out only when it was unloaded');
      moves.push(label);
      inDrive = label;
    },
    close: async () => undefined,
  } as unknown as TapeLibrary;
  return { drive: new SharedDrive(volume, { library, drive: 256 }), moves };
}

test('each volume finds its own tape, where its last call left it', async () => {
  const { drive, moves } = driveWith(['A', 'B']);
  const [a, b] = [drive.volume(tape('A')), drive.volume(tape('B'))];
  await a.tell();
  await a.append(record(1));
  await b.append(record(2));
  await a.append(record(3));
  await b.append(record(4));
  await a.rewind();
  await b.append(record(5));
  assert.equal((await a.read(Buffer.alloc(100))).kind, 'record');
  assert.equal((await b.tell()).object, 3);
  assert.equal((await a.tell()).object, 1);
  assert.deepEqual(await contents(a), [1, 3]);
  assert.deepEqual(await contents(b), [2, 4, 5]);
  assert.deepEqual(moves, ['A', 'B', 'A', 'B', 'A', 'B', 'A', 'B', 'A', 'B']);
  await drive.close();
});

test('calls of several volumes at once wait for each other', async () => {
  const { drive } = driveWith(['A', 'B']);
  const [a, b] = [drive.volume(tape('A')), drive.volume(tape('B'))];
  const all = [1, 2, 3].flatMap((mark) => [a.append(record(mark)), b.append(record(10 + mark))]);
  await Promise.all(all);
  assert.deepEqual(await contents(a), [1, 2, 3]);
  assert.deepEqual(await contents(b), [11, 12, 13]);
});

test('a tape that the library does not have is told, and the others go on', async () => {
  const { drive } = driveWith(['A']);
  const [a, none] = [drive.volume(tape('A')), drive.volume(tape('NONE'))];
  await a.append(record(1));
  assert.deepEqual(await none.status(), { loaded: false, writeProtected: false });
  await assert.rejects(none.rewind(), { code: 'LIBRARY_MISSING' });
  await a.append(record(2));
  assert.deepEqual(await contents(a), [1, 2]);
});

test('without a library the tape in the drive is the first that is asked for; another is not', async () => {
  const drive = new SharedDrive(new MemoryVolume(new MemoryMedium()));
  const [a, b] = [drive.volume(tape('A')), drive.volume(tape('B'))];
  await a.append(record(1));
  await assert.rejects(b.rewind(), { code: 'VOLUME_NOT_READY', message: /B is not in the drive/ });
  assert.equal((await b.status()).loaded, false);
  await a.append(record(2));
  assert.deepEqual(await contents(a), [1, 2]);
});

test('without a library another tape can be asked for once the wrong one was given up', async () => {
  const drive = new SharedDrive(new MemoryVolume(new MemoryMedium()));
  const wrong = drive.volume(tape('A'));
  await wrong.append(record(1));
  await wrong.close();
  const right = drive.volume(tape('B'));
  assert.deepEqual(await contents(right), [1]);
  await assert.rejects(wrong.rewind(), { code: 'VOLUME_NOT_READY' });
});

test('what could not be synchronised when another took the drive is told to whom it belongs, once', async () => {
  const faulty = faultyVolume(new MemoryVolume(new MemoryMedium(), { bufferObjects: 8 }));
  const drive = new SharedDrive(faulty);
  const [writer, reader] = [drive.volume(tape('A')), drive.volume(tape('A'))];
  await writer.append(record(1));
  await writer.append(record(2));
  faulty.fault('synchronise').error('EIO').repeat(1);
  await reader.rewind();
  await assert.rejects(writer.append(record(3)), { code: 'VOLUME_CHANGED' });
  await writer.spaceEnd();
  const { object } = await writer.tell();
  await writer.append(record(3));
  assert.deepEqual(await contents(reader), [1, 2].slice(0, object).concat(3));
});

for (const hasWritten of [true, false]) {
  const what = hasWritten ? 'what was written not synchronised' : 'everything synchronised';
  test(`a drive that was not ready when another took it, ${what}: nothing is written at the beginning`, async () => {
    const inner = faultyVolume(new MemoryVolume(new MemoryMedium()));
    const drive = new SharedDrive(inner);
    const [writer, reader] = [drive.volume(tape('A')), drive.volume(tape('A'))];
    for (const mark of [1, 2, 3]) await writer.append(record(mark));
    if (!hasWritten) await writer.synchronise();
    inner
      .fault(hasWritten ? 'synchronise' : 'tell')
      .error('ENOMEDIUM')
      .repeat(1);
    await reader.rewind();
    const code = hasWritten ? 'VOLUME_CHANGED' : 'VOLUME_IO';
    await assert.rejects(writer.append(record(4)), { code });
    await assert.rejects(writer.append(record(4)), { code: 'VOLUME_IO' });
    assert.deepEqual(await contents(reader), [1, 2, 3]);
    await writer.spaceEnd();
    await writer.append(record(4));
    assert.deepEqual(await contents(reader), [1, 2, 3, 4]);
  });
}

test('after a change nothing is written before somebody has looked where the tape stands', async () => {
  const inner = faultyVolume(new MemoryVolume(new MemoryMedium()));
  const volume = new SharedDrive(inner).volume(tape('A'));
  for (const mark of [1, 2]) await volume.append(record(mark));
  inner.fault('append').error('ESTALE').repeat(1);
  await assert.rejects(volume.append(record(3)), { code: 'VOLUME_CHANGED' });
  await assert.rejects(volume.append(record(3)), { code: 'VOLUME_IO' });
  assert.deepEqual(await contents(volume), [1, 2]);
});

test('a volume whose end another has moved does not write there', async () => {
  const drive = new SharedDrive(new MemoryVolume(new MemoryMedium()));
  const [writer, other] = [drive.volume(tape('A')), drive.volume(tape('A'))];
  await writer.append(record(1));
  await other.spaceEnd();
  await other.append(record(2));
  await assert.rejects(writer.append(record(3)), { code: 'VOLUME_CHANGED', message: /2 objects/ });
  assert.deepEqual(await contents(other), [1, 2]);
});

test('after a change the tape is looked for again', async () => {
  const inner = faultyVolume(new MemoryVolume(new MemoryMedium()));
  const drive = new SharedDrive(inner);
  const a = drive.volume(tape('A'));
  await a.append(record(1));
  inner.fault('append').error('ESTALE').repeat(1);
  await assert.rejects(a.append(record(2)), { code: 'VOLUME_CHANGED' });
  // Somebody may have put in another one: the label tells, not the drive.
  const b = drive.volume(tape('B'));
  await b.rewind();
  await assert.rejects(a.rewind(), { code: 'VOLUME_NOT_READY' });
});
