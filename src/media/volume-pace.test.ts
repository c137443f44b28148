/**
 * Goal: a drive that ran dry begins when there is enough, or when there will not be more, or after so long.
 * Method: buffers and a clock that the test fills and moves.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { FakeClock } from '../host/fake/mod.ts';
import { makeBuffers, VolumeBuffers } from './volume-buffers.ts';
import { DrivePace } from './volume-pace.ts';

const SAFE = { isSafe: true, unsafeBytes: 0 };

test('it begins at the level, and goes on below it until it is dry again', async () => {
  const buffers = new VolumeBuffers(makeBuffers(8, 16), 0, 0.5);
  const pace = new DrivePace(new FakeClock(), { startLevel: 0.5 });
  const share = await buffers.admit();
  const taken = [await buffers.take(share), await buffers.take(share), await buffers.take(share)];
  assert.equal(pace.mayWrite(buffers), false);
  taken.push(await buffers.take(share));
  assert.equal(pace.mayWrite(buffers), true);
  for (const buffer of taken) buffers.written(share, { buffer });
  await buffers.take(share);
  assert.equal(pace.mayWrite(buffers), true);
  pace.ranDry();
  assert.equal(pace.mayWrite(buffers), false);
  buffers.leave(share);
  assert.equal(pace.mayWrite(buffers), true, 'nobody will fill them');
});

test('it begins where a stream waits for room, and after so long', async () => {
  const clock = new FakeClock();
  const buffers = new VolumeBuffers(makeBuffers(8, 16), 0, 0.5);
  const [fast] = [await buffers.admit(), await buffers.admit(), await buffers.admit()];
  const pace = new DrivePace(clock, { startLevel: 1 });
  // Two for each of the others are theirs.
  for (let i = 0; i < 4; i++) await buffers.take(fast);
  assert.equal(pace.mayWrite(buffers), false);
  assert.equal(pace.waitMs(SAFE), LIMITS.volumeStartMs);
  clock.advance(LIMITS.volumeStartMs - 1);
  assert.equal(pace.mayWrite(buffers), false);
  assert.equal(pace.waitMs(SAFE), 1);
  clock.advance(1);
  assert.equal(pace.mayWrite(buffers), true);
  assert.equal(pace.waitMs(SAFE), undefined);
  pace.ranDry();
  assert.equal(pace.mayWrite(buffers), false, 'the time counts from what comes next');
  const waiting = buffers.take(fast);
  assert.equal(pace.mayWrite(buffers), true);
  buffers.fail(new Error('over'));
  await assert.rejects(waiting, /over/);
});
