/**
 * Goal: a part of a large file counts only as far as its log and its bytes agree; logs that are cut off,
 * flipped or strange never lead to bytes that are not there.
 * Method: files and logs in memory, changed in each of these ways.
 */
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { ENTRY, EntryView, EntryWriter } from '../format/entry.ts';
import { MemoryFiles } from '../host/fake/mod.ts';
import { CWD, crc32cOf } from '../host/mod.ts';
import {
  missingRanges,
  PART_EXTRA,
  type Part,
  PartLog,
  partLogName,
  partOf,
  placeOfLog,
  readPart,
  writePartExtra,
} from './copy-parts.ts';

const PLACE = '.penstock.0123456789abcdef.7';
const PIECE = 1000;
const SIZE = 10 * PIECE;
const content = randomFillSync(Buffer.alloc(SIZE));

function entryOf(extra?: Buffer): EntryView {
  const writer = new EntryWriter();
  const zero = { flags: 0, mode: 0o644, depth: 0, uid: 0, gid: 0, links: 1, inode: 99 };
  const times = { mtimeSeconds: -5, mtimeNanos: 6, ctimeSeconds: 7, ctimeNanos: 8 };
  const device = { deviceMajor: 0, deviceMinor: 0 };
  writer.begin({ kind: ENTRY.file, ...zero, ...times, ...device, size: SIZE }, 'zeta');
  if (extra !== undefined) writer.extra(PART_EXTRA, extra);
  writer.end();
  return new EntryView().set(writer.bytes, 0);
}

/** A directory with a file of which these pieces have arrived. */
function arrived(pieces: readonly number[]): { files: MemoryFiles; directory: number } {
  const files = new MemoryFiles();
  files.makeDirectory(CWD, '/d', 0o700);
  const directory = files.openDirectory(CWD, '/d');
  const data = files.createExclusive(directory, PLACE, 0o600);
  const log = new PartLog(files, directory, PLACE, entryOf(), undefined);
  for (const piece of pieces) add(files, data, log, piece);
  log.close();
  files.close(data);
  return { files, directory };
}
function add(files: MemoryFiles, data: number, log: PartLog, piece: number): void {
  const at = piece * PIECE;
  files.write(data, content, at, PIECE, at);
  log.add(at, PIECE, crc32cOf(content.subarray(at, at + PIECE), 0));
}
const read = (files: MemoryFiles, directory: number, place = PLACE): Part | undefined =>
  readPart(files, directory, place, () => undefined);

test('what has arrived is found again, joined, and what is missing', () => {
  const { files, directory } = arrived([3, 0, 1, 9, 2]);
  const part = read(files, directory);
  assert.ok(part !== undefined);
  assert.equal(part.entry.name, 'zeta');
  assert.deepEqual(
    [part.entry.size, part.entry.inode, part.entry.mtimeSeconds, part.entry.ctimeNanos],
    [SIZE, 99, -5, 8],
  );
  assert.deepEqual(part.ranges, [
    { from: 0, to: 4 * PIECE },
    { from: 9 * PIECE, to: SIZE },
  ]);
  assert.deepEqual(missingRanges(part.ranges, SIZE), [{ from: 4 * PIECE, to: 9 * PIECE }]);
  assert.deepEqual(missingRanges([], 5), [{ from: 0, to: 5 }]);
  assert.deepEqual(missingRanges([{ from: 0, to: 5 }], 5), []);
});

test('a log is gone on with under another name, behind its last whole record', () => {
  const { files, directory } = arrived([0, 5]);
  const name = partLogName(PLACE);
  const fd = files.openWrite(directory, name);
  files.write(fd, Buffer.alloc(11, 0xee), 0, 11, 8 + entryOf().entryBytes + 48);
  files.close(fd);
  const next = '.penstock.aaaaaaaaaaaaaaaa.1';
  files.rename(directory, PLACE, directory, next);
  const extra = writePartExtra(PLACE, 2 * PIECE);
  const data = files.openWrite(directory, next);
  const log = new PartLog(files, directory, next, entryOf(extra), PLACE);
  add(files, data, log, 1);
  log.close();
  files.close(data);
  const part = read(files, directory, next);
  assert.deepEqual(part?.ranges, [
    { from: 0, to: 2 * PIECE },
    { from: 5 * PIECE, to: 6 * PIECE },
  ]);
  assert.equal(part?.entry.hasExtras, false);
  assert.equal(read(files, directory), undefined, 'nothing is left under the old name');
  assert.deepEqual(partOf(entryOf(extra)), { place: PLACE, bytes: 2 * PIECE });
  assert.equal(partOf(entryOf()), undefined);
});

test('only logs of temporary files are taken for logs', () => {
  assert.equal(placeOfLog(partLogName(PLACE)), PLACE);
  for (const name of ['a.map', PLACE, '.penstock.0123456789abcdef.w0.1.map', `x${PLACE}.map`]) {
    assert.equal(placeOfLog(name), undefined, name);
  }
});

test('whatever happens to log and file, a range that is given is the content', () => {
  const change = fc.record({
    isLog: fc.boolean(),
    at: fc.nat({ max: SIZE }),
    bits: fc.integer({ min: 1, max: 255 }),
  });
  const cut = fc.option(fc.nat({ max: SIZE }));
  fc.assert(
    fc.property(fc.array(change, { maxLength: 5 }), cut, cut, (changes, logCut, dataCut) => {
      const { files, directory } = arrived([0, 1, 2, 4, 6, 7, 8, 9]);
      const names = [PLACE, partLogName(PLACE)] as const;
      for (const [i, to] of [dataCut, logCut].entries()) {
        const fd = files.openWrite(directory, names[i] ?? '');
        if (to !== null) files.truncate(fd, i === 0 ? to : to % 400);
        files.close(fd);
      }
      for (const { isLog, at, bits } of changes) {
        const fd = files.openWrite(directory, names[isLog ? 1 : 0]);
        const byte = Buffer.alloc(1);
        const place = isLog ? at % 400 : at;
        if (files.read(fd, byte, 0, 1, place) === 1) {
          byte[0] = (byte[0] ?? 0) ^ bits;
          files.write(fd, byte, 0, 1, place);
        }
        files.close(fd);
      }
      const bytes = Buffer.alloc(SIZE);
      const fd = files.openRead(directory, PLACE);
      files.read(fd, bytes, 0, SIZE, 0);
      files.close(fd);
      for (const { from, to } of read(files, directory)?.ranges ?? []) {
        assert.ok(from < to && to <= SIZE);
        assert.ok(bytes.subarray(from, to).equals(content.subarray(from, to)), `${from} to ${to}`);
      }
    }),
    { seed: 3, numRuns: 300 },
  );
});
