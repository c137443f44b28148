/** The clock tells UTC in its millisecond, and its fake obeys. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openClock } from './clock.ts';
import { FakeClock } from './fake/clock.ts';

test('the clock tells UTC within its millisecond and never runs backwards', () => {
  const clock = openClock();
  let lastNanos = clock.nowNanos();
  let lastMonotonic = clock.monotonicMs();
  for (let i = 0; i < 20_000; i++) {
    const before = clock.nowMs();
    const nanos = clock.nowNanos();
    const after = clock.nowMs();
    const monotonic = clock.monotonicMs();
    assert(nanos >= lastNanos && monotonic >= lastMonotonic);
    // Unless someone sets the machine's clock right now.
    assert(Number(nanos / 1_000_000n) >= before && Number(nanos / 1_000_000n) <= after);
    lastNanos = nanos;
    lastMonotonic = monotonic;
  }
});

test('a fake clock stands still until it is moved', () => {
  const clock = new FakeClock(1000);
  assert.deepEqual(
    [clock.nowMs(), clock.nowNanos(), clock.monotonicMs()],
    [1000, 1_000_000_000n, 0],
  );
  clock.advance(1.5);
  assert.deepEqual(
    [clock.nowMs(), clock.nowNanos(), clock.monotonicMs()],
    [1001, 1_001_500_000n, 1.5],
  );
  clock.set(10);
  assert.deepEqual([clock.nowMs(), clock.monotonicMs()], [10, 1.5]);
});
