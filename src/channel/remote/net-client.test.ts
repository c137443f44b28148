/**
 * Goal: requests to a server that goes away and comes back are all answered, also those that had no connection yet.
 * Method: a server of the test's own that holds requests; in its place, for a while, one that closes whatever
 * connects.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { newMachine } from '../../../test/monitor-fixture.ts';
import type { PenstockError } from '../../base/errors.ts';
import { openClock } from '../../host/mod.ts';
import { NetClient } from './net-client.ts';

const HOST = '127.0.0.1';
const AGENTS = 3;

async function listen(server: Server | HttpsServer, port: number): Promise<number> {
  server.listen(port, HOST);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** What listens at the port answers with nothing but an end, from now on, until so many have come. */
async function refuse(port: number, count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let refused = 0;
  const server = createServer((socket: Socket) => {
    socket.on('error', () => {}).destroy();
    if (++refused === count) resolve();
  });
  server.unref();
  await listen(server, port);
  await promise;
  server.close();
  await once(server, 'close');
}

async function start(t: TestContext, reconnectMs: number) {
  const [client, { identity }] = await Promise.all([newMachine(), newMachine()]);
  const { keyPem, certPem } = identity;
  const held = Promise.withResolvers<void>();
  let requests = 0;
  const first = createHttpsServer({ key: keyPem, cert: certPem }, (request, response) => {
    if (request.url === '/hello') response.end('hello');
    else if (++requests === AGENTS) held.resolve();
  });
  const sockets = new Set<Socket>();
  first.on('connection', (socket: Socket) => sockets.add(socket));
  const port = await listen(first, 0);
  const net = new NetClient(
    {
      identity: client.identity,
      server: { host: HOST, port, fingerprint: identity.fingerprint },
      ...{ agents: AGENTS, bytesPerSecond: 0, reconnectMs },
    },
    openClock(),
    () => {},
  );
  t.after(() => net.close());
  const again = createHttpsServer({ key: keyPem, cert: certPem }, ({ url }, response) => {
    response.end(url);
  });
  t.after(() => {
    again.closeAllConnections();
    again.close();
  });
  const ask = async (path: string): Promise<string> => {
    const { body } = await net.request({ method: 'GET', path, bytesMax: 100 });
    return body.toString();
  };
  // Where nobody was reached before that is told at once.
  assert.equal(await ask('/hello'), 'hello');
  return {
    ask,
    held: held.promise,
    goAway: async () => {
      first.close();
      for (const socket of sockets) socket.destroy();
      await once(first, 'close');
      return refuse(port, 2 * AGENTS);
    },
    comeBack: () => listen(again, port),
  };
}

test('a server goes away while requests are under way and others wait, and comes back', async (t) => {
  const { ask, held, goAway, comeBack } = await start(t, 60_000);
  const paths = Array.from({ length: AGENTS }, (_, number) => `/${number}`);
  const answers = Promise.all(paths.map(ask));
  await held;
  // They have no connection yet.
  const others = ['/waiting', '/waits', '/too'];
  const waiting = Promise.all(others.map(ask));
  await goAway();
  await comeBack();
  assert.deepEqual(await answers, paths);
  assert.deepEqual(await waiting, others);
});

test('a server goes away and stays away: every request is told', async (t) => {
  const { ask, held, goAway } = await start(t, 300);
  const paths = Array.from({ length: AGENTS }, (_, number) => `/${number}`);
  const answers = Promise.allSettled(paths.map(ask));
  await held;
  const waiting = Promise.allSettled(['/waiting', '/waits', '/too'].map(ask));
  await goAway();
  for (const one of [...(await answers), ...(await waiting)]) {
    assert(one.status === 'rejected');
    assert.equal((one.reason as PenstockError).code, 'NET_LOST');
  }
});
