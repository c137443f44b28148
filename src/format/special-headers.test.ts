/**
 * Goal: special headers are kept and passed on whatever their type, and a torn list is told.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  findSpecial,
  readSpecials,
  SPECIAL,
  specialBytes,
  writeSpecials,
} from './special-headers.ts';
import { TAG_FIXED_BYTES, writeTag } from './tag-header.ts';

const TAG = {
  part: 1,
  contentClass: 1,
  compression: 0,
  encryption: 0,
  flags: 0,
  keyGeneration: 1,
  rawBytes: 1,
  storedBytes: 1,
  blobCount: 1,
};
const list = fc.array(
  fc.record({
    type: fc.integer({ min: 1, max: 65_535 }),
    value: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  }),
  { maxLength: 10 },
);

test('every special header is read as it was written, unknown ones too', () => {
  fc.assert(
    fc.property(list, fc.nat(20), (specials, at) => {
      const view = Buffer.alloc(at + LIMITS.headerRoomBytes, 0xff);
      const bytes = writeSpecials(view, at, specials);
      assert.equal(bytes, TAG_FIXED_BYTES + specialBytes(specials));
      assert.equal(bytes % 8, 0);
      writeTag(view, at, bytes, TAG);
      assert.deepEqual(
        readSpecials(view, at),
        specials.map((special) => ({ ...special })),
      );
      assert.equal(view[at + bytes], 0xff, 'nothing behind the header is touched');
    }),
  );
});

test('the bytes are those of the table', () => {
  const view = Buffer.alloc(200, 0xff);
  const bytes = writeSpecials(view, 0, [{ type: SPECIAL.nextClass, value: Buffer.from([3]) }]);
  assert.equal(view.toString('hex', TAG_FIXED_BYTES, bytes), '0100010003000000');
});

test('a list that leaves its header is told', () => {
  const view = Buffer.alloc(400);
  const bytes = writeSpecials(view, 0, [{ type: 9, value: Buffer.alloc(8) }]);
  writeTag(view, 0, bytes, TAG);
  view.writeUInt16LE(200, TAG_FIXED_BYTES + 2);
  assert.throws(
    () => readSpecials(view, 0),
    (error: PenstockError) => error.code === 'FORMAT',
  );
});

test('what does not fit a header is refused', () => {
  const many = Array.from({ length: 60 }, () => ({ type: 9, value: Buffer.alloc(64) }));
  assert.throws(
    () => specialBytes(many),
    (error: PenstockError) => error.code === 'LIMIT',
  );
});

test('one is found by its type', () => {
  const specials = [
    { type: 7, value: Buffer.from('a') },
    { type: 8, value: Buffer.from('b') },
  ];
  assert.equal(findSpecial(specials, 8)?.toString(), 'b');
  assert.equal(findSpecial(specials, 9), undefined);
});
