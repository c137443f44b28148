/**
 * Sessions of shared connections that end before they have begun.
 */
import { equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2, performServerHandshake } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { watchSession, wireOf } from './shared-session.ts';

/** Both ends of a connection. */
async function ends(t: TestContext): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const near = connect(port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return [near, far];
}

test('a connection that has closed since it was set up is over at once', async (t) => {
  const [near] = await ends(t);
  const closed = once(near, 'close');
  near.destroy();
  await closed;
  const wire = wireOf(near);
  ok(wire.destroyed);
});

test('a connection of which the other side has ended its half is over once that was read', async (t) => {
  const [near, far] = await ends(t);
  const wire = wireOf(near);
  wire.resume();
  far.end('the last');
  await once(wire, 'end');
  ok(wire.destroyed);
});

test('a session whose connection closes is over', async (t) => {
  const [near, far] = await ends(t);
  const never = new AbortController().signal;
  const client = connectHttp2('http://penstock', { createConnection: () => wireOf(near) });
  const server = performServerHandshake(wireOf(far));
  const over = Promise.all([watchSession(client, near, never), watchSession(server, far, never)]);
  await once(client, 'remoteSettings');
  far.destroy();
  await over;
  ok(client.destroyed && server.destroyed && near.destroyed);
});

test('a session that is called off before it is connected ends, and harms nobody', async (t) => {
  const [near] = await ends(t);
  const session = connectHttp2('http://penstock', { createConnection: () => wireOf(near) });
  // It says that it is connected all the same.
  const connected = once(session, 'connect');
  const over = watchSession(session, near, AbortSignal.abort());
  await connected;
  await over;
  equal(session.destroyed, true);
});
