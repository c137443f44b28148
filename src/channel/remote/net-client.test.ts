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
import { openClock } from '../../host/mod.ts';
import { NetClient } from './net-client.ts';

const HOST = '127.0.0.1';
const AGENTS = 3;

async function listen(server: Server | HttpsServer, port: number): Promise<number> {
  server.listen(port, HOST);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** What listens at the port answers with nothing but an end, until so many have come. */
async function refuse(port: number, count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let refused = 0;
  const server = createServer((socket: Socket) => {
    socket.on('error', () => {}).destroy();
    if (++refused === count) resolve();
  });
  await listen(server, port);
  await promise;
  server.close();
  await once(server, 'close');
}

async function start(t: TestContext) {
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
      ...{ agents: AGENTS, bytesPerSecond: 0, reconnectMs: 60_000 },
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
  return {
    net,
    held: held.promise,
    goAway: async () => {
      first.close();
      for (const socket of sockets) socket.destroy();
      await once(first, 'close');
      await refuse(port, 2 * AGENTS);
    },
    comeBack: () => listen(again, port),
  };
}

test('a server goes away while requests are under way and others wait, and comes back', async (t) => {
  const { net, held, goAway, comeBack } = await start(t);
  const ask = async (path: string): Promise<string> => {
    const { body } = await net.request({ method: 'GET', path, bytesMax: 100 });
    return body.toString();
  };
  assert.equal(await ask('/hello'), 'hello');
  const paths = Array.from({ length: AGENTS }, (_, number) => `/${number}`);
  const answers = Promise.all(paths.map(ask));
  await held;
  // It has no connection: for each one that ends one is to be made for it.
  const waiting = ask('/waiting');
  await goAway();
  await comeBack();
  assert.deepEqual(await answers, paths);
  assert.equal(await waiting, '/waiting');
});
