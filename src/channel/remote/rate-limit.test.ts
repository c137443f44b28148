/**
 * Goal: the rate is held over any stretch of time, and nobody waits without one (U9).
 * Method: a clock that only moves when whoever waits lets it.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Clock } from '../../host/mod.ts';
import { RateLimit } from './rate-limit.ts';

function clockAt(now: { ms: number }): Clock {
  return { nowMs: () => now.ms, monotonicMs: () => now.ms } as Clock;
}

test('pieces of any size together keep to the rate, and the first goes at once', () => {
  const now = { ms: 5000 };
  const rate = new RateLimit(1000, clockAt(now));
  let bytes = 0;
  for (const piece of [500, 1, 2000, 0, 499, 1000, 3000]) {
    now.ms += rate.delayMs(piece);
    assert(bytes <= now.ms - 5000, `${bytes} bytes after ${now.ms - 5000} ms`);
    bytes += piece;
  }
  assert.equal(now.ms, 5000 + 4000);
});

test('time that was not used is not saved up', () => {
  const now = { ms: 0 };
  const rate = new RateLimit(1000, clockAt(now));
  now.ms = 60_000;
  assert.equal(rate.delayMs(100), 0);
  assert.equal(rate.delayMs(100), 100);
});

test('without a rate nobody waits', () => {
  const rate = new RateLimit(0, clockAt({ ms: 0 }));
  for (let i = 0; i < 10; i++) assert.equal(rate.delayMs(1e9), 0);
});
