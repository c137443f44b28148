/**
 * Goal: a control channel that does not come about ends like one that falls silent.
 * Method: a server that takes the connection and never answers.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { ControlChannel } from './control-channel.ts';

test('a channel whose other side does not answer the request for it ends in silence', async (t) => {
  const server = createServer((socket) => socket.resume().on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const channel = new ControlChannel(new WebSocket(`ws://127.0.0.1:${port}/`));
  const told: string[] = [];
  await new Promise<void>((resolve) => {
    channel.listen({
      message: ({ type }) => told.push(type),
      closed: resolve,
    });
  });
  deepEqual(told, []);
  equal(channel.open, false);
});
