/**
 * Goal: the head of a segment says exactly where everything lies, and one that does not add up is
 * refused; the filter never denies a name that was added.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import {
  bucketOf,
  filterAdd,
  filterHas,
  INDEX_HEAD_BYTES,
  layoutOf,
  PAGE_RECORDS,
  readIndexHead,
  shapeFor,
  writeIndexHead,
} from './index-segment.ts';

test('the head is read as it was written, and the sections follow one another', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 30), fc.nat(10_000), fc.nat(1_000_000), (names, chunks, blocks) => {
      const shape = shapeFor(names, chunks, blocks);
      const layout = layoutOf(shape);
      const order = [
        INDEX_HEAD_BYTES,
        layout.chunks,
        layout.blocks,
        layout.fanout,
        layout.filter,
        layout.pageHashes,
        layout.records,
        layout.end,
      ];
      assert.deepEqual(
        [...order].sort((a, b) => a - b),
        order,
      );
      assert.equal(shape.pageCount, Math.ceil(names / PAGE_RECORDS));
      const head = Buffer.alloc(INDEX_HEAD_BYTES);
      writeIndexHead(head, shape, Buffer.alloc(16, 5));
      assert.deepEqual(readIndexHead(head, layout.end, 'it'), shape);
      assert.throws(
        () => readIndexHead(head, layout.end + 1, 'it'),
        (error: PenstockError) => error.code === 'DAMAGED',
      );
    }),
  );
});

test('a head that says something else is refused, whatever it says', () => {
  const shape = shapeFor(5000, 3, 40);
  const { end } = layoutOf(shape);
  const head = Buffer.alloc(INDEX_HEAD_BYTES);
  writeIndexHead(head, shape, Buffer.alloc(16, 5));
  // Bytes that say nothing of the layout are covered by the keyed hash alone.
  const free = new Set([...range(10, 24), ...range(52, 128)]);
  for (let at = 0; at < INDEX_HEAD_BYTES; at++) {
    if (free.has(at)) continue;
    for (let bit = 0; bit < 8; bit++) {
      const changed = Buffer.from(head);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      assert.throws(
        () => readIndexHead(changed, end, 'it'),
        (error: PenstockError) => ['DAMAGED', 'REPO_FEATURE'].includes(error.code),
        `bit ${bit} of byte ${at}`,
      );
    }
  }
  for (let length = 0; length < INDEX_HEAD_BYTES; length++)
    assert.throws(() => readIndexHead(head.subarray(0, length), length, 'it'), PenstockError);
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

test('the filter has every name that was added, and few others', () => {
  const count = 3000;
  const { filterBytes } = shapeFor(count, 1, 1);
  const filter = Buffer.alloc(filterBytes + 100);
  const names = randomBytes(count * 32);
  const others = randomBytes(count * 32);
  for (let i = 0; i < count; i++) filterAdd(filter, 50, filterBytes, names, i * 32);
  let wrong = 0;
  for (let i = 0; i < count; i++) {
    assert.ok(filterHas(filter, 50, filterBytes, names, i * 32));
    if (filterHas(filter, 50, filterBytes, others, i * 32)) wrong++;
  }
  assert.ok(wrong < count * 0.05, `${wrong} of ${count} unknown names pass`);
  assert.ok(
    filter.subarray(0, 50).every((byte) => byte === 0) &&
      filter.subarray(50 + filterBytes).every((byte) => byte === 0),
  );
});

test('buckets keep the order of names', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.nat(24),
      (a, b, bits) => {
        const [x, y] = [Buffer.from(a), Buffer.from(b)];
        const order = Math.sign(x.compare(y));
        const buckets = Math.sign(bucketOf(x, 0, bits) - bucketOf(y, 0, bits));
        assert.ok(buckets === 0 || buckets === order);
        assert.ok(bucketOf(x, 0, bits) < 2 ** bits);
      },
    ),
  );
});
