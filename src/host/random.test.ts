/** The system's bytes differ each time, a seed's never. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openRandom, seededRandom } from './random.ts';

test('the system gives other bytes each time, on shared memory too', () => {
  const random = openRandom();
  assert.equal(random.bytes(16).length, 16);
  assert.notDeepEqual(random.bytes(16), random.bytes(16));
  const view = new Uint8Array(new SharedArrayBuffer(64), 16, 32);
  random.fill(view);
  assert(view.some((byte) => byte !== 0));
  assert(new Uint8Array(view.buffer, 0, 16).every((byte) => byte === 0));
  assert(new Uint8Array(view.buffer, 48, 16).every((byte) => byte === 0));
});

test('a seed gives the same bytes whatever the sizes of the requests', () => {
  const whole = seededRandom(7).bytes(1000);
  const random = seededRandom(7);
  const pieces = [1, 2, 3, 94, 400, 500].map((count) => random.bytes(count));
  assert(whole.equals(Buffer.concat(pieces)));
  assert(!whole.equals(seededRandom(8).bytes(1000)));
  assert(new Set(whole).size > 200);
});
