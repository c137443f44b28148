/**
 * Goal: content records have the bytes of the table, and a hole is told from every blob.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  CONTENT_RECORD_BYTES,
  contentIsHole,
  contentLength,
  writeBlobRecord,
  writeHoleRecord,
} from './content.ts';

test('records are read as they were written, beside one another', () => {
  fc.assert(
    fc.property(
      fc.maxSafeNat(),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (length, name) => {
        const view = Buffer.alloc(3 * CONTENT_RECORD_BYTES, 0xff);
        writeBlobRecord(view, CONTENT_RECORD_BYTES, length, name);
        assert.equal(contentLength(view, CONTENT_RECORD_BYTES), length);
        assert.equal(
          contentIsHole(view, CONTENT_RECORD_BYTES),
          name.every((byte) => byte === 0),
        );
        assert.deepEqual(
          [...view.subarray(CONTENT_RECORD_BYTES + 8, 2 * CONTENT_RECORD_BYTES)],
          [...name],
        );
        writeHoleRecord(view, CONTENT_RECORD_BYTES, length);
        assert.equal(contentLength(view, CONTENT_RECORD_BYTES), length);
        assert.ok(contentIsHole(view, CONTENT_RECORD_BYTES));
        assert.ok(view.subarray(0, CONTENT_RECORD_BYTES).every((byte) => byte === 0xff));
        assert.ok(view.subarray(2 * CONTENT_RECORD_BYTES).every((byte) => byte === 0xff));
      },
    ),
  );
});
