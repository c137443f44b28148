/**
 * Goal: a machine that sends safe points faster than the head listens costs no memory, and the last one is told.
 * Method: a pipe that answers control messages when the test says so, and a channel that the test feeds.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { LIMITS } from '../../base/limits.ts';
import type { Pipe } from '../../pipe/mod.ts';
import type { ChannelEvents, ControlChannel } from './control-channel.ts';
import { HalfPipe } from './half-pipe.ts';

test('of safe points that come too fast the last is told', async () => {
  const told: unknown[] = [];
  const answers: (() => void)[] = [];
  const pipe = {
    done: new Promise(() => {}),
    control: (_stage: string, message: { value: unknown }) => {
      told.push(message.value);
      return new Promise<void>((resolve) => answers.push(resolve));
    },
  };
  let events: ChannelEvents | undefined;
  const channel = {
    open: true,
    send: () => {},
    listen: (given: ChannelEvents) => {
      events = given;
    },
  };
  new HalfPipe(pipe as unknown as Pipe, channel as unknown as ControlChannel, {
    farName: 'far',
    agentStage: 'send',
    headStage: 'head',
  }).begin();
  const count = 1000;
  for (let value = 1; value <= count; value++) events?.message({ type: 'safe', value });
  equal(told.length, LIMITS.pipeSafePointsMax);
  while (answers.length > 0) {
    answers.shift()?.();
    await turn();
  }
  equal(told.at(-1), count);
  ok(told.length <= 2 * LIMITS.pipeSafePointsMax);
  events?.message({ type: 'safe', value: count + 1 });
  deepEqual(told.at(-1), count + 1);
});
