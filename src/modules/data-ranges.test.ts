/**
 * Goal: parts of a file agree with its holes however it is asked for, and a file is not looked through again
 * for each of its parts. Method: a file system that knows its stretches of data and counts the questions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRNO, type Files } from '../host/mod.ts';
import { DataRanges } from './data-ranges.ts';

const FILE = { inode: 7, size: 1000, ctimeSeconds: 5, ctimeNanos: 6 };
const FD = 3;

/** A file with these stretches of data, the last of which ends where the file does, or before. */
function fileOf(stretches: readonly (readonly [from: number, to: number])[], size: number) {
  const asked = { data: 0, hole: 0 };
  const files = {
    seekData: (_fd: number, position: number) => {
      asked.data++;
      const next = stretches.find(([, to]) => position < to);
      return next === undefined ? -ERRNO.ENXIO : Math.max(position, next[0]);
    },
    seekHole: (_fd: number, position: number) => {
      asked.hole++;
      const within = stretches.find(([from, to]) => from <= position && position < to);
      return within?.[1] ?? (position < size ? position : -ERRNO.ENXIO);
    },
  };
  return { asked, files: files as unknown as Files };
}

/** The stretches of data that parts of `step` bytes are made of. */
function readInParts(ranges: DataRanges, size: number, step: number): (readonly number[])[] {
  const read: (readonly number[])[] = [];
  for (let start = 0; start < size; start += step) {
    const end = Math.min(size, start + step);
    for (let position = start; position < end; ) {
      const data = ranges.dataFrom(FD, position, end);
      const hole = data < end ? ranges.holeFrom(FD, data, end) : end;
      if (hole > data) read.push([data, hole]);
      position = hole;
    }
  }
  return read;
}

test('a file without holes is looked through once, however many parts it is read in', () => {
  const { asked, files } = fileOf([[0, 1000]], 1000);
  const ranges = new DataRanges(files);
  ranges.begin(FILE);
  assert.deepEqual(readInParts(ranges, 1000, 250), [
    [0, 250],
    [250, 500],
    [500, 750],
    [750, 1000],
  ]);
  assert.deepEqual(asked, { data: 1, hole: 1 });
});

test('holes are left out: before, between and behind data', () => {
  const stretches = [
    [100, 300],
    [500, 620],
  ] as const;
  for (const step of [1000, 250, 70]) {
    const { files } = fileOf(stretches, 1000);
    const ranges = new DataRanges(files);
    ranges.begin(FILE);
    const read = readInParts(ranges, 1000, step);
    const bytes = read.flatMap(([from = 0, to = 0]) =>
      Array.from({ length: to - from }, (_, i) => from + i),
    );
    const wanted = stretches.flatMap(([from, to]) =>
      Array.from({ length: to - from }, (_, i) => from + i),
    );
    assert.deepEqual(bytes, wanted, `in parts of ${step}`);
  }
});

test('what is known of one file, or of one that has changed, is not believed of another', () => {
  const whole = fileOf([[0, 1000]], 1000);
  const ranges = new DataRanges(whole.files);
  ranges.begin(FILE);
  readInParts(ranges, 1000, 500);
  for (const other of [
    { ...FILE, inode: 8 },
    { ...FILE, size: 1001 },
    { ...FILE, ctimeSeconds: 6 },
    { ...FILE, ctimeNanos: 7 },
  ]) {
    const { hole } = whole.asked;
    ranges.begin(other);
    readInParts(ranges, 1000, 500);
    assert.equal(whole.asked.hole, hole + 1);
    ranges.begin(FILE);
    readInParts(ranges, 1000, 500);
    assert.equal(whole.asked.hole, hole + 2);
  }
});

test('where a file system cannot tell holes, everything is data', () => {
  const files = { seekData: () => -ERRNO.EINVAL, seekHole: () => -ERRNO.EINVAL };
  const ranges = new DataRanges(files as unknown as Files);
  ranges.begin(FILE);
  assert.deepEqual(readInParts(ranges, 1000, 600), [
    [0, 600],
    [600, 1000],
  ]);
});
