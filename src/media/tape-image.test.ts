/**
 * Goal: tape images as others write them, and as crashes leave them, are read; what is written is
 * exactly the format.
 * Method: images made by hand, word by word; and the reader in test/tap-reader.ts, which shares no
 * code with this one. The contract of volumes runs in test/contract/volume.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readTap, tapBytes } from '../../test/tap-reader.ts';
import { faultyFiles } from '../host/fake/mod.ts';
import { openFiles, seededRandom } from '../host/mod.ts';
import { openTapeImage, type TapeImage, type TapeImageOptions } from './tape-image.ts';
import { inspectVolume } from './volume-label.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-tap-'));
after(() => rmSync(folder, { recursive: true }));
const random = seededRandom(77);
let files = 0;

function image(bytes: Buffer, more: Partial<TapeImageOptions> = {}): TapeImage & { path: string } {
  const path = join(folder, `${files++}.tap`);
  writeFileSync(path, bytes);
  return Object.assign(openTapeImage({ path, ...more }), { path });
}

/** Everything from the beginning: records as text, errors by their code. */
async function contents(volume: TapeImage): Promise<string[]> {
  await volume.rewind();
  const into = Buffer.alloc(1 << 16);
  const out: string[] = [];
  for (;;) {
    try {
      const got = await volume.read(into);
      if (got.kind === 'end') return out;
      out.push(got.kind === 'mark' ? 'mark' : into.toString('latin1', 0, got.bytes));
    } catch (error) {
      out.push((error as { code: string }).code);
    }
  }
}

const text = (content: string): Buffer => Buffer.from(content);
const rec = (content: string, word = content.length): Buffer =>
  tapBytes(word, text(content), text(content.length % 2 === 1 ? '\0' : ''), word);

test('what is not a record or a mark is passed over', async () => {
  const volume = image(
    tapBytes(
      0xfffffffe,
      rec('one'),
      0xfffffffe,
      0xfffffffe,
      0x70000001,
      rec('description', 0xe000000b),
      rec('private', 0x30000007),
      0,
      Buffer.from([0xff, 0xff]),
      0xfffffffe,
      rec('four'),
      0xffffffff,
      rec('behind the end'),
    ),
  );
  assert.deepEqual(await contents(volume), ['one', 'mark', 'four']);
  await volume.locate(2);
  assert.equal((await volume.tell()).object, 2);
  await volume.close();
});

test('a forward half gap moves the reader by two bytes', async () => {
  // As it lies in a file: an erase gap whose second half was written over.
  const half = Buffer.from([0xff, 0xff]);
  const volume = image(tapBytes(rec('ab'), half, 0xfffffffe, rec('cd')));
  assert.deepEqual(await contents(volume), ['ab', 'cd']);
  await volume.close();
});

test('a bad record is told with volume and position, and what follows is read', async () => {
  const volume = image(
    tapBytes(rec('one'), rec('half', 0x80000004), 0x80000000, 0x80000000, rec('two')),
  );
  const expected = ['one', 'VOLUME_DAMAGED', 'VOLUME_DAMAGED', 'two'];
  assert.deepEqual(await contents(volume), expected);
  await volume.locate(1);
  await assert.rejects(volume.read(Buffer.alloc(8)), (error: Error) => {
    assert.match(error.message, /object 1\b/);
    assert(error.message.includes(volume.path));
    return true;
  });
  await volume.close();
});

test('a length that was spoiled costs its record', async () => {
  const parts = [rec('first'), rec('second one'), rec('third'), rec('last')];
  const at = (parts[0] as Buffer).length;
  for (const spoiled of [at, at + (parts[1] as Buffer).length - 4]) {
    for (const value of [1, 12, 4000, 0x0fffffff, 0x80000003]) {
      const bytes = Buffer.concat(parts);
      bytes.writeUInt32LE(value, spoiled);
      const volume = image(bytes);
      assert.deepEqual(
        await contents(volume),
        ['first', 'VOLUME_DAMAGED', 'third', 'last'],
        `${value} at ${spoiled}`,
      );
      await volume.close();
    }
  }
});

test('the lengths between two records were spoiled: both are lost, and nothing else', async () => {
  const parts = [rec('first'), rec('second one'), rec('third'), rec('fourth'), rec('last')];
  const at = Buffer.concat(parts.slice(0, 2)).length - 4;
  for (const value of [0xff, 0x3f3f3f3f, 0x9abcdef0]) {
    const bytes = Buffer.concat(parts);
    for (const spoiled of [at, at + 4]) bytes.writeUInt32LE(value, spoiled);
    const volume = image(bytes);
    const damaged = 'VOLUME_DAMAGED';
    assert.deepEqual(await contents(volume), ['first', damaged, damaged, 'fourth', 'last']);
    await volume.close();
  }
});

test('where nothing is found behind damage nothing is written, but in place of all of it', async () => {
  const junk = Buffer.from('this is no tape image, and it may be dear to somebody; '.repeat(50));
  for (const bytes of [junk, Buffer.concat([rec('one'), rec('two'), junk])]) {
    const volume = image(bytes);
    const seen = await contents(volume);
    assert.deepEqual(seen, bytes === junk ? ['VOLUME_DAMAGED'] : ['one', 'two', 'VOLUME_DAMAGED']);
    await volume.spaceEnd();
    assert.equal((await volume.tell()).object, seen.length);
    await assert.rejects(volume.append(text('new')), { code: 'VOLUME_DAMAGED' });
    await assert.rejects(volume.writeMarks(1), { code: 'VOLUME_DAMAGED' });
    assert(readFileSync(volume.path).equals(bytes));
    assert.equal((await inspectVolume(volume)).kind, 'foreign');
    await volume.rewind();
    await volume.append(text('new'));
    await volume.synchronise();
    assert.deepEqual(readTap(volume.path), [text('new')]);
    await volume.close();
  }
});

test('a tail that is torn at any byte counts as the end, and is replaced', async () => {
  const whole = tapBytes(rec('one'), 0, rec('second'));
  const lastAt = whole.length - rec('second').length;
  for (let length = lastAt + 1; length < whole.length; length++) {
    const volume = image(whole.subarray(0, length));
    assert.deepEqual(await contents(volume), ['one', 'mark']);
    assert.equal(volume.tornTailBytes, length - lastAt);
    await volume.spaceEnd();
    assert.equal((await volume.tell()).object, 2);
    await volume.append(text('new'));
    await volume.synchronise();
    assert.deepEqual(readTap(volume.path), [text('one'), 'mark', text('new')]);
    await volume.close();
  }
});

test('records of every length around the limits are written exactly', async () => {
  const path = join(folder, 'lengths.tap');
  const volume = openTapeImage({ path, create: true });
  const lengths = [1, 2, 3, 131_063, 131_064, 131_065, 131_072, 400_001, 2_097_296];
  const records = lengths.map((length) => random.bytes(length));
  for (const record of records) await volume.append(record);
  await volume.writeMarks(2);
  await volume.close();
  assert.deepEqual(readTap(path), [...records, 'mark', 'mark']);
});

test('the size of the volume is kept, and the warning comes before it', async () => {
  const volume = image(Buffer.alloc(0), { volumeBytes: 1000, earlyWarningBytes: 300 });
  const warnings: boolean[] = [];
  for (let i = 0; i < 9; i++) warnings.push(await volume.append(Buffer.alloc(100, i)));
  assert.deepEqual(warnings, [...Array(6).fill(false), ...Array(3).fill(true)]);
  await assert.rejects(volume.append(Buffer.alloc(100)), { code: 'VOLUME_FULL' });
  assert.equal(await volume.append(Buffer.alloc(19, 9)), true);
  assert.equal(statSync(volume.path).size, 1000);
  await assert.rejects(volume.writeMarks(1), { code: 'VOLUME_FULL' });
  assert.equal(readTap(volume.path).length, 10);
  await volume.close();
});

test('a write that fails leaves no half record, and can be made again', async () => {
  for (const bytes of [500, 300_000]) {
    for (const [error, code] of [
      ['EIO', 'VOLUME_IO'],
      ['ENOSPC', 'VOLUME_FULL'],
    ] as const) {
      const writes = bytes === 500 ? 1 : 3;
      for (let nth = 0; nth < writes; nth++) {
        const faulty = faultyFiles(openFiles());
        const volume = image(Buffer.alloc(0), { files: faulty });
        await volume.append(text('before'));
        faulty.fault('write').after(nth).torn().error(error);
        const record = random.bytes(bytes);
        await assert.rejects(volume.append(record), { code });
        assert.deepEqual(readTap(volume.path), [text('before')]);
        await volume.append(record);
        assert.deepEqual(readTap(volume.path), [text('before'), record]);
        await volume.close();
      }
    }
  }
});

test('after a synchronisation that failed, none succeeds', async () => {
  const faulty = faultyFiles(openFiles());
  const volume = image(Buffer.alloc(0), { files: faulty });
  await volume.append(text('one'));
  await volume.synchronise();
  await volume.append(text('two'));
  faulty.fault('dataSync').error('EIO');
  await assert.rejects(volume.synchronise(), { code: 'VOLUME_IO' });
  await assert.rejects(volume.synchronise(), { code: 'VOLUME_IO' });
  const told = await volume.tell();
  assert.deepEqual([told.object, told.onMedium], [2, 1]);
  await volume.close();
});

test('a file that is cut off beside it is read to where it ends', async () => {
  const volume = image(tapBytes(rec('one'), rec('two'), rec('three')));
  await volume.spaceEnd();
  truncateSync(volume.path, rec('one').length + 3);
  assert.deepEqual(await contents(volume), ['one']);
  assert.equal(readFileSync(volume.path).length, rec('one').length + 3);
  await volume.close();
});

test('there must be an image, unless one may be made', () => {
  const path = join(folder, 'none.tap');
  assert.throws(() => openTapeImage({ path }), { code: 'VOLUME_NOT_READY' });
  assert.throws(() => openTapeImage({ path, create: true, readOnly: true, files: faulty() }), {
    code: 'VOLUME_IO',
  });
  function faulty() {
    const made = faultyFiles(openFiles());
    made.fault('createExclusive').error('EIO');
    return made;
  }
});

test('an image that another process makes at the same moment is opened, or told as being written', async () => {
  const missed = () => {
    const files = faultyFiles(openFiles());
    files.fault('openWrite').error('ENOENT');
    return files;
  };
  const path = join(folder, 'beside.tap');
  writeFileSync(path, rec('one'));
  const volume = openTapeImage({ path, create: true, files: missed() });
  assert.deepEqual(await contents(volume), ['one']);
  assert.throws(() => openTapeImage({ path, create: true, files: missed() }), {
    code: 'VOLUME_NOT_READY',
    message: /another process is writing/,
  });
  await volume.close();
});

test('going back over gaps and what is passed over ends where going there does', async () => {
  const gap = 0xfffffffe;
  const parts = [
    rec('one'),
    tapBytes(gap, gap),
    rec('two'),
    tapBytes(0),
    rec('private', 0x30000007),
    tapBytes(0, gap),
    rec('half', 0x80000004),
    rec('last'),
  ];
  const volume = image(tapBytes(...parts));
  const back: [number, string][] = [];
  await volume.spaceEnd();
  for (;;) {
    const { count, stop } = await volume.spaceRecords(-1);
    if (stop === 'beginning') break;
    back.push([(await volume.tell()).object, count === 1 ? 'record' : stop]);
  }
  assert.deepEqual(back, [
    [5, 'record'],
    [4, 'record'],
    [3, 'mark'],
    [2, 'mark'],
    [1, 'record'],
    [0, 'record'],
  ]);
  await volume.spaceEnd();
  await volume.spaceMarks(-1);
  assert.equal((await volume.tell()).object, 3);
  assert.deepEqual(await volume.read(Buffer.alloc(9)), { kind: 'mark' });
  await volume.close();
});

test('an image that was removed while it was written is not said to be safe', async () => {
  const volume = image(Buffer.alloc(0));
  await volume.append(text('first'));
  await volume.synchronise();
  await volume.append(text('second'));
  rmSync(volume.path);
  const gone = { code: 'VOLUME_IO', message: /was removed/ };
  await assert.rejects(volume.synchronise(), gone);
  await assert.rejects(volume.synchronise(), { code: 'VOLUME_IO' });
  await volume.close();
});
