/**
 * Goal: a machine that sends safe points or control messages faster than modules listen costs no memory; the
 * last safe point is told, and what is too much is answered so.
 * Method: a pipe that answers control messages when the test says so, and a channel that the test feeds.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { LIMITS } from '../../base/limits.ts';
import type { Pipe } from '../../pipe/mod.ts';
import type { ChannelEvents, ControlChannel, PipeMessage } from './control-channel.ts';
import { HalfPipe } from './half-pipe.ts';

function half(): {
  readonly told: unknown[];
  readonly answers: (() => void)[];
  readonly sent: PipeMessage[];
  hear(message: PipeMessage): void;
} {
  const told: unknown[] = [];
  const answers: (() => void)[] = [];
  const sent: PipeMessage[] = [];
  const pipe = {
    done: new Promise(() => {}),
    segment: { config: { stages: [] } },
    control: (_stage: string, message: { value: unknown }) => {
      told.push(message.value);
      return new Promise<unknown[]>((resolve) => answers.push(() => resolve([])));
    },
  };
  let events: ChannelEvents | undefined;
  const channel = {
    open: true,
    send: (message: PipeMessage) => sent.push(message),
    listen: (given: ChannelEvents) => {
      events = given;
    },
  };
  new HalfPipe(pipe as unknown as Pipe, channel as unknown as ControlChannel, {
    farName: 'far',
    agentStage: 'send',
    headStage: 'head',
  }).begin();
  return { told, answers, sent, hear: (message) => events?.message(message) };
}

test('of safe points that come too fast the last is told', async () => {
  const { told, answers, hear } = half();
  const count = 1000;
  for (let value = 1; value <= count; value++) hear({ type: 'safe', value });
  equal(told.length, LIMITS.pipeSafePointsMax);
  while (answers.length > 0) {
    answers.shift()?.();
    await turn();
  }
  equal(told.at(-1), count);
  ok(told.length <= 2 * LIMITS.pipeSafePointsMax);
  hear({ type: 'safe', value: count + 1 });
  deepEqual(told.at(-1), count + 1);
});

test('control messages that nobody answers are few', async () => {
  const { told, answers, sent, hear } = half();
  const max = LIMITS.pipeControlsMax;
  for (let id = 1; id <= max + 5; id++) {
    hear({ type: 'control', id, stage: 'far', message: { value: id } });
  }
  equal(told.length, max);
  await turn();
  deepEqual(
    sent.map((message) => message.type === 'answer' && [message.id, message.error?.code]),
    Array.from({ length: 5 }, (_, i) => [max + 1 + i, 'NET_BUSY']),
  );
  answers.shift()?.();
  await turn();
  hear({ type: 'control', id: 100, stage: 'far', message: { value: 100 } });
  equal(told.at(-1), 100);
});
