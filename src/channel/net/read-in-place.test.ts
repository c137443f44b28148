/**
 * Goal: what a socket lays into one piece of memory is what was sent, over TLS and without, also where it is
 * paused again and again; its end is told; and where Node.js does not offer it, nothing is changed.
 * Method: two sockets on loopback, bytes that differ at each place.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import { identities } from '../../../test/agent-pair.ts';
import { clientTls, serverTls } from './pinned-tls.ts';
import { readInPlace } from './read-in-place.ts';

const LENGTH = 3_000_017;

async function pair(encrypted: boolean): Promise<{ from: Socket; to: Socket; server: Server }> {
  const [client, host] = await identities();
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const plain = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  if (!encrypted) return { from: plain, to: accepted, server };
  const from = connectTls({ socket: plain, ...clientTls(client) });
  const secureContext = createSecureContext(serverTls(host));
  const options = { isServer: true, secureContext, requestCert: true, rejectUnauthorized: false };
  const to = new TLSSocket(accepted, options);
  await Promise.all([once(from, 'secureConnect'), once(to, 'secure')]);
  return { from, to, server };
}

for (const encrypted of [true, false]) {
  test(`bytes come as they were sent, ${encrypted ? 'over TLS' : 'in clear'}`, async () => {
    const { from, to, server } = await pair(encrypted);
    const sent = randomBytes(LENGTH);
    const got: Buffer[] = [];
    let pauses = 0;
    const isInPlace = readInPlace(to, (bytes) => {
      got.push(Buffer.from(bytes));
      if (got.length % 10 !== 0) return;
      pauses++;
      to.pause();
      setImmediate(() => to.resume());
    });
    ok(isInPlace, 'this version of Node.js offers it');
    to.resume();
    from.end(sent);
    await once(to, 'end');
    ok(Buffer.concat(got).equals(sent));
    ok(pauses > 0);
    to.destroy();
    server.close();
  });
}

test('a socket without what it takes is left as it is', () => {
  const socket = new Socket();
  const before = Object.getOwnPropertySymbols(socket).map(
    (key) => (socket as unknown as Record<symbol, unknown>)[key],
  );
  equal(
    readInPlace(socket, () => {}),
    false,
    'it has no handle',
  );
  const after = Object.getOwnPropertySymbols(socket).map(
    (key) => (socket as unknown as Record<symbol, unknown>)[key],
  );
  deepEqual(after, before);
});
