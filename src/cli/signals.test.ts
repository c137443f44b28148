/**
 * Goal: the first signal asks, the second ends (U5). Method: the end of the process is recorded.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { Interruption } from './signals.ts';

function newInterruption(): { interruption: Interruption; told: string[]; ended: number[] } {
  const told: string[] = [];
  const ended: number[] = [];
  const interruption = new Interruption(
    (text) => told.push(text),
    (status) => ended.push(status),
  );
  return { interruption, told, ended };
}

test('the first signal aborts with the reason, and says how to end at once', () => {
  const { interruption, told, ended } = newInterruption();
  interruption.receive('SIGTERM');
  assert(interruption.signal.aborted);
  const reason: unknown = interruption.signal.reason;
  assert(reason instanceof PenstockError);
  assert.equal(reason.code, 'INTERRUPTED');
  assert.equal(reason.exit, 130);
  assert.deepEqual(told, ['penstock: stopping in order, press again to end at once']);
  assert.deepEqual(ended, []);
});

test('the second signal runs the callbacks, last first, and ends with 130 whatever they do', () => {
  const { interruption, ended } = newInterruption();
  const ran: string[] = [];
  interruption.onHardExit(() => ran.push('first'));
  interruption.onHardExit(() => {
    throw new Error('fails');
  });
  const takeBack = interruption.onHardExit(() => ran.push('taken back'));
  interruption.onHardExit(() => ran.push('last'));
  takeBack();
  interruption.receive('SIGINT');
  assert.deepEqual(ran, []);
  interruption.receive('SIGINT');
  assert.deepEqual(ran, ['last', 'first']);
  assert.deepEqual(ended, [130]);
});

test('a signal after a stop for another reason is the first one', () => {
  const { interruption, ended } = newInterruption();
  const reason = new PenstockError('INTERRUPTED', 'the reader of standard output went away');
  interruption.stop(reason);
  interruption.receive('SIGINT');
  assert.equal(interruption.signal.reason, reason);
  assert.deepEqual(ended, []);
});

test('listening ends', () => {
  const { interruption } = newInterruption();
  const before = process.listenerCount('SIGHUP');
  const stop = interruption.listen();
  assert.equal(process.listenerCount('SIGHUP'), before + 1);
  stop();
  assert.equal(process.listenerCount('SIGHUP'), before);
});
