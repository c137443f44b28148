/**
 * What every volume must do (src/media/volume.ts).
 *
 * Method: each test gets an empty medium in a drive, positioned at its beginning; contents are
 * compared byte by byte. `reopen` closes the drive and opens it again with the same medium.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { PenstockError } from '../../src/base/errors.ts';
import { seededRandom } from '../../src/host/mod.ts';
import type { Volume } from '../../src/media/volume.ts';

export interface VolumeUnderTest {
  volume: Volume;
  reopen(): Promise<Volume>;
  dispose(): Promise<void>;
}

/** What a test asks for. */
export interface MediumWish {
  /** About so many bytes; the default is enough for everything else here (4 MiB). */
  readonly capacityBytes?: number;
}

export interface VolumeMaker {
  make(wish: MediumWish): Promise<VolumeUnderTest>;
  /** The longest record that is tried; at most what the medium takes. */
  readonly recordBytes: number;
  /** Why the medium's end cannot be tried, where it cannot. */
  readonly noEnd?: string;
  /** Why nothing can be erased, where it cannot. */
  readonly noErase?: string;
  /** The same of write protection; `protect` makes the next `reopen` find it protected. */
  readonly protect?: (under: VolumeUnderTest) => Promise<void>;
}

const DEFAULT_BYTES = 4 << 20;
const SMALL_BYTES = 256 << 10;
const code = (error: unknown): string => (error as PenstockError).code;
const random = seededRandom(20_261);
/** A record of so many bytes, with contents of its own. */
const record = (bytes: number): Buffer => random.bytes(bytes);

type Work = (under: VolumeUnderTest, volume: Volume) => Promise<void>;

async function withVolume(maker: VolumeMaker, wish: MediumWish, work: Work): Promise<void> {
  const under = await maker.make({ capacityBytes: DEFAULT_BYTES, ...wish });
  try {
    await work(under, under.volume);
  } finally {
    await under.dispose();
  }
}

/** What is read from the position on: bytes of records, `mark`, until the end. */
export async function readAll(volume: Volume): Promise<(Buffer | 'mark')[]> {
  const into = Buffer.alloc(volume.limits.recordBytesMax);
  const out: (Buffer | 'mark')[] = [];
  for (;;) {
    const got = await volume.read(into);
    if (got.kind === 'end') return out;
    out.push(got.kind === 'mark' ? 'mark' : Buffer.from(into.subarray(0, got.bytes)));
  }
}

/** Writes what is listed: records by their bytes, numbers as so many marks. */
async function writeAll(volume: Volume, list: readonly (Buffer | number)[]): Promise<void> {
  for (const one of list) {
    if (typeof one === 'number') await volume.writeMarks(one);
    else await volume.append(one);
  }
}

const at = async (volume: Volume): Promise<number> => (await volume.tell()).object;

/** All of the contract. */
export function volumeContract(name: string, maker: VolumeMaker): void {
  describe(`volume: ${name}`, () => {
    writingTests(maker);
    readingTests(maker);
    locatingTests(maker);
    spacingTests(maker);
    endTests(maker);
    stateTests(maker);
  });
}

function writingTests(maker: VolumeMaker): void {
  test('records of all lengths and marks are read back as they were written', () =>
    withVolume(maker, {}, async (under, volume) => {
      const longest = record(maker.recordBytes);
      const [one, odd, even] = [record(1), record(1001), record(4096)];
      await writeAll(volume, [one, 1, odd, even, 2, longest, 1]);
      await volume.synchronise();
      const expected = [one, 'mark', odd, even, 'mark', 'mark', longest, 'mark'];
      await volume.rewind();
      assert.deepEqual(await readAll(volume), expected);
      const again = await under.reopen();
      await again.rewind();
      assert.deepEqual(await readAll(again), expected);
    }));

  test('records of nothing but zeros, and of nothing but ones, are records', () =>
    withVolume(maker, {}, async (_, volume) => {
      const [zeros, ones] = [Buffer.alloc(64), Buffer.alloc(64, 0xff)];
      await writeAll(volume, [zeros, ones, 1, zeros]);
      await volume.rewind();
      assert.deepEqual(await readAll(volume), [zeros, ones, 'mark', zeros]);
    }));

  test('what is written in the middle ends the data there', () =>
    withVolume(maker, {}, async (under, volume) => {
      const [a, b, c, d] = [record(100), record(200), record(300), record(50)];
      await writeAll(volume, [a, b, 1, c]);
      await volume.locate(1);
      await volume.append(d);
      assert.equal(await at(volume), 2);
      await volume.synchronise();
      await volume.rewind();
      assert.deepEqual(await readAll(volume), [a, d]);
      const again = await under.reopen();
      await again.locate(1);
      await again.writeMarks(1);
      await again.rewind();
      assert.deepEqual(await readAll(again), [a, 'mark']);
    }));

  const skip = maker.noErase;
  test('erasing ends the data at the position', { skip }, () =>
    withVolume(maker, {}, async (under, volume) => {
      const [a, b] = [record(100), record(200)];
      await writeAll(volume, [a, 1, b]);
      await volume.locate(1);
      await volume.erase();
      await volume.rewind();
      assert.deepEqual(await readAll(volume), [a]);
      const again = await under.reopen();
      await again.rewind();
      await again.erase();
      assert.deepEqual(await readAll(again), []);
    }),
  );

  test('a record outside the limits is refused, and nothing is written', () =>
    withVolume(maker, {}, async (_, volume) => {
      const { recordBytesMax } = volume.limits;
      await assert.rejects(volume.append(Buffer.alloc(0)), { code: 'LIMIT' });
      await assert.rejects(volume.append(Buffer.alloc(recordBytesMax + 1)), { code: 'LIMIT' });
      assert.equal(await at(volume), 0);
      assert.deepEqual(await volume.read(Buffer.alloc(1)), { kind: 'end' });
    }));

  test('the caller may use its view again once the record was taken', () =>
    withVolume(maker, {}, async (_, volume) => {
      const view = Buffer.alloc(512, 1);
      await volume.append(view);
      view.fill(2);
      await volume.append(view);
      view.fill(3);
      await volume.synchronise();
      await volume.rewind();
      assert.deepEqual(await readAll(volume), [Buffer.alloc(512, 1), Buffer.alloc(512, 2)]);
    }));
}

function readingTests(maker: VolumeMaker): void {
  test('the end is read again and again, and more can be written there', () =>
    withVolume(maker, {}, async (_, volume) => {
      const into = Buffer.alloc(1024);
      assert.deepEqual(await volume.read(into), { kind: 'end' });
      const [a, b] = [record(10), record(20)];
      await volume.append(a);
      assert.deepEqual(await volume.read(into), { kind: 'end' });
      assert.deepEqual(await volume.read(into), { kind: 'end' });
      assert.equal(await at(volume), 1);
      await volume.append(b);
      await volume.rewind();
      assert.deepEqual(await readAll(volume), [a, b]);
    }));

  test('of a record that is longer than the view, its beginning is read, and its length told', () =>
    withVolume(maker, {}, async (_, volume) => {
      const [long, next] = [record(3000), record(7)];
      await writeAll(volume, [long, next]);
      await volume.rewind();
      const into = Buffer.alloc(100, 0xee);
      assert.deepEqual(await volume.read(into.subarray(0, 64)), { kind: 'record', bytes: 3000 });
      assert.deepEqual(into.subarray(0, 64), long.subarray(0, 64));
      assert.deepEqual(into.subarray(64), Buffer.alloc(36, 0xee));
      assert.deepEqual(await volume.read(into), { kind: 'record', bytes: 7 });
      assert.deepEqual(into.subarray(0, 7), next);
    }));

  test('a shorter record leaves the rest of the view alone', () =>
    withVolume(maker, {}, async (_, volume) => {
      const short = record(5);
      await volume.append(short);
      await volume.rewind();
      const into = Buffer.alloc(16, 0xee);
      assert.deepEqual(await volume.read(into), { kind: 'record', bytes: 5 });
      assert.deepEqual(into, Buffer.concat([short, Buffer.alloc(11, 0xee)]));
    }));
}

/** r0 r1 M2 r3 M4 M5 r6 */
const laid = async (volume: Volume): Promise<Buffer[]> => {
  const records = [record(11), record(22), record(33), record(44)];
  const [a, b, c, d] = records as [Buffer, Buffer, Buffer, Buffer];
  await writeAll(volume, [a, b, 1, c, 2, d]);
  return [a, b, c, d];
};
const one = async (volume: Volume): Promise<Buffer | string> => {
  const into = Buffer.alloc(100);
  const got = await volume.read(into);
  return got.kind === 'record' ? Buffer.from(into.subarray(0, got.bytes)) : got.kind;
};

function locatingTests(maker: VolumeMaker): void {
  test('any object is located by its number, forwards and backwards', () =>
    withVolume(maker, {}, async (under, volume) => {
      const [a, b, c, d] = await laid(volume);
      const objects = [a, b, 'mark', c, 'mark', 'mark', d, 'end'];
      for (const isAgain of [false, true]) {
        const drive = isAgain ? await under.reopen() : volume;
        for (const number of [6, 0, 3, 7, 2, 5, 1, 4, 4]) {
          await drive.locate(number);
          assert.equal(await at(drive), number);
          assert.deepEqual(await one(drive), objects[number]);
        }
      }
    }));

  test('a number beyond the data is an error, and the position its end', () =>
    withVolume(maker, {}, async (_, volume) => {
      await laid(volume);
      await volume.rewind();
      await assert.rejects(volume.locate(8), { code: 'VOLUME_POSITION' });
      assert.equal(await at(volume), 7);
      await assert.rejects(volume.locate(1_000_000), { code: 'VOLUME_POSITION' });
      assert.equal(await one(volume), 'end');
    }));

  test('hints that were told are taken, and wrong ones do no harm', () =>
    withVolume(maker, {}, async (under, volume) => {
      const records = Array.from({ length: 40 }, (_, i) => record(300 + i));
      const hints: (number | undefined)[] = [];
      for (const each of records) {
        hints.push((await volume.tell()).hint);
        await volume.append(each);
      }
      await volume.synchronise();
      const again = await under.reopen();
      const into = Buffer.alloc(400);
      for (const number of [39, 3, 20, 0]) {
        await again.locate(number, hints[number]);
        assert.equal(await at(again), number);
        assert.deepEqual(await again.read(into), { kind: 'record', bytes: 300 + number });
        assert.deepEqual(into.subarray(0, 300 + number), records[number]);
      }
      const fresh = await under.reopen();
      await fresh.locate(30, 7);
      assert.equal(await at(fresh), 30);
      assert.deepEqual(await fresh.read(into), { kind: 'record', bytes: 330 });
      assert.deepEqual(into.subarray(0, 330), records[30]);
    }));
}

function spacingTests(maker: VolumeMaker): void {
  test('spacing over records stops behind a mark, at the end, and at the beginning', () =>
    withVolume(maker, {}, async (_, volume) => {
      await laid(volume);
      await volume.rewind();
      assert.deepEqual(await volume.spaceRecords(1), { count: 1, stop: 'done' });
      assert.equal(await at(volume), 1);
      assert.deepEqual(await volume.spaceRecords(5), { count: 1, stop: 'mark' });
      assert.equal(await at(volume), 3);
      await volume.locate(6);
      assert.deepEqual(await volume.spaceRecords(2), { count: 1, stop: 'end' });
      assert.equal(await at(volume), 7);
      assert.deepEqual(await volume.spaceRecords(-2), { count: 1, stop: 'mark' });
      assert.equal(await at(volume), 5);
      await volume.locate(2);
      assert.deepEqual(await volume.spaceRecords(-1), { count: 1, stop: 'done' });
      assert.equal(await at(volume), 1);
      assert.deepEqual(await volume.spaceRecords(-3), { count: 1, stop: 'beginning' });
      assert.equal(await at(volume), 0);
      assert.deepEqual(await volume.spaceRecords(0), { count: 0, stop: 'done' });
    }));

  test('spacing over marks passes records, and ends behind the mark (backwards: before it)', () =>
    withVolume(maker, {}, async (_, volume) => {
      const [, , c, d] = await laid(volume);
      await volume.rewind();
      assert.deepEqual(await volume.spaceMarks(1), { count: 1, stop: 'done' });
      assert.equal(await at(volume), 3);
      assert.deepEqual(await one(volume), c);
      assert.deepEqual(await volume.spaceMarks(2), { count: 2, stop: 'done' });
      assert.deepEqual(await one(volume), d);
      assert.deepEqual(await volume.spaceMarks(1), { count: 0, stop: 'end' });
      assert.equal(await at(volume), 7);
      assert.deepEqual(await volume.spaceMarks(-2), { count: 2, stop: 'done' });
      assert.equal(await at(volume), 4);
      assert.deepEqual(await volume.spaceMarks(-9), { count: 1, stop: 'beginning' });
      assert.equal(await at(volume), 0);
      await volume.rewind();
      assert.deepEqual(await volume.spaceMarks(9), { count: 3, stop: 'end' });
    }));

  test('the end of data is found, and appended to, in a drive that has just been opened', () =>
    withVolume(maker, {}, async (under, volume) => {
      const before = await laid(volume);
      await volume.synchronise();
      const again = await under.reopen();
      await again.spaceEnd();
      const told = await again.tell();
      assert.equal(told.object, 7);
      assert.equal(told.atEnd, true);
      const more = record(55);
      await again.append(more);
      await again.locate(6);
      assert.deepEqual(await one(again), before[3]);
      assert.deepEqual(await one(again), more);
      assert.deepEqual(await one(again), 'end');
    }));
}

function endTests(maker: VolumeMaker): void {
  const skip = maker.noEnd;
  const wish = { capacityBytes: SMALL_BYTES };

  test('an early warning, then the end: all that was taken is there', { skip }, () =>
    withVolume(maker, wish, async (under, volume) => {
      const taken: Buffer[] = [];
      let warned = false;
      let full = false;
      for (let i = 0; i < 4096 && !full; i++) {
        const next = record(3000 + i);
        try {
          warned = (await volume.append(next)) || warned;
          taken.push(next);
        } catch (error) {
          assert.equal(code(error), 'VOLUME_FULL');
          full = true;
        }
      }
      assert.equal(full, true);
      assert.equal(warned, true, 'the warning came before the end');
      assert(taken.length > 10);
      assert.equal(await at(volume), taken.length);
      assert.equal((await volume.tell()).earlyWarning, true);
      await volume.synchronise();
      const again = await under.reopen();
      await again.rewind();
      assert.deepEqual(await readAll(again), taken);
    }),
  );
}

function stateTests(maker: VolumeMaker): void {
  test('it tells where it is', () =>
    withVolume(maker, {}, async (_, volume) => {
      const start = await volume.tell();
      assert.equal(start.object, 0);
      assert.equal(start.atBeginning, true);
      await writeAll(volume, [record(10), 2, record(20)]);
      await volume.synchronise();
      const told = await volume.tell();
      assert.equal(told.object, 4);
      assert.equal(told.onMedium, 4);
      assert.equal(told.atBeginning, false);
      assert.equal(told.atEnd, true);
      assert.equal(told.earlyWarning, false);
    }));

  test('unloaded, it is not ready; loaded again, it is, at the beginning', () =>
    withVolume(maker, {}, async (_, volume) => {
      const only = record(99);
      await volume.append(only);
      assert.equal((await volume.status()).loaded, true);
      await volume.unload();
      assert.equal((await volume.status()).loaded, false);
      await assert.rejects(volume.read(Buffer.alloc(1)), { code: 'VOLUME_NOT_READY' });
      await assert.rejects(volume.append(only), { code: 'VOLUME_NOT_READY' });
      await volume.load();
      assert.equal((await volume.status()).loaded, true);
      assert.equal(await at(volume), 0);
      assert.deepEqual(await readAll(volume), [only]);
    }));

  const { protect } = maker;
  const skip = protect === undefined ? 'cannot be protected here' : undefined;
  test('what is write-protected is read, and stays as it is', { skip }, () =>
    withVolume(maker, {}, async (under, volume) => {
      const only = record(99);
      await volume.append(only);
      await volume.synchronise();
      await protect?.(under);
      const again = await under.reopen();
      assert.equal((await again.status()).writeProtected, true);
      for (const work of [
        () => again.append(only),
        () => again.writeMarks(1),
        () => again.erase(),
      ]) {
        await again.rewind();
        await assert.rejects(work(), { code: 'VOLUME_PROTECTED' });
      }
      await again.rewind();
      assert.deepEqual(await readAll(again), [only]);
    }),
  );

  test('closing it twice is harmless', () =>
    withVolume(maker, {}, async (_, volume) => {
      await volume.close();
      await volume.close();
    }));
}
