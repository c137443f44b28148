/**
 * Goal: a control channel that does not come about ends like one that falls silent; one that is flooded keeps
 * no more than it may.
 * Method: servers that take the connection and never answer, or send what nobody has asked for yet.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { LIMITS } from '../../base/limits.ts';
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

test('messages that nobody listens for yet are kept up to a number of bytes', async (t) => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  t.after(() => server.close());
  const value = 'x'.repeat(LIMITS.monitorMessageBytesMax / 2);
  server.on('connection', (socket) => {
    for (let i = 0; i < 20; i++) socket.send(JSON.stringify({ type: 'safe', value }));
  });
  const { port } = server.address() as AddressInfo;
  const channel = new ControlChannel(new WebSocket(`ws://127.0.0.1:${port}/`));
  await channel.gone;
  let bytes = 0;
  channel.listen({
    message: (message) => {
      bytes += JSON.stringify(message).length;
    },
    closed: () => {},
  });
  ok(bytes > 0 && bytes <= LIMITS.pipeEarlyBytesMax, `${bytes} bytes`);
});
