/**
 * Goal: whatever a server answers becomes an answer or an error with a code; nothing hangs.
 * Method: TLS servers that say fixed bytes.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer as createPlain, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { createServer, type TLSSocket } from 'node:tls';
import { ApiClient } from './api-client.ts';
import { type Identity, openIdentity } from './identity.ts';
import { serverTls } from './pinned-tls.ts';
import { StateFolder } from './state-folder.ts';

const FOLDER = mkdtempSync(join(tmpdir(), 'penstock-api-'));
after(() => rmSync(FOLDER, { recursive: true }));

const identity: Identity = await openIdentity(new StateFolder(FOLDER));

/** A client of a server that does this with each connection once something came. */
async function clientFor(
  test: TestContext,
  answer: (socket: TLSSocket) => void,
): Promise<ApiClient> {
  const server = createServer(serverTls(identity), (socket) => {
    socket.on('error', () => {});
    socket.on('data', () => answer(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as AddressInfo;
  const { fingerprint } = identity;
  const client = new ApiClient(identity, { host: '127.0.0.1', port, fingerprint });
  test.after(() => {
    client.close();
    server.close();
  });
  return client;
}

const says =
  (head: string, body = '') =>
  (socket: TLSSocket): void => {
    socket.write(`HTTP/1.1 ${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  };

test('answers come whole, with status and headers', async (context) => {
  const client = await clientFor(context, says('201 Made\r\nx-a: b', '{"c":1}'));
  const { status, headers, body } = await client.request('GET', '/');
  assert.deepEqual([status, headers['x-a'], body.toString()], [201, 'b', '{"c":1}']);
});

test('errors are the ones that the server meant', async (context) => {
  const error = { code: 'NET_DENIED', message: 'no', hint: 'ask', subject: 's' };
  const client = await clientFor(context, says('403 No', JSON.stringify({ error })));
  const { port } = client.server;
  await assert.rejects(client.request('GET', '/'), {
    code: 'NET_DENIED',
    message: `127.0.0.1:${port}: no`,
    hint: 'ask',
    subject: 's',
    retryable: false,
  });
});

for (const [name, head, body] of [
  ['no JSON', '500 Oh', 'oh'],
  ['another JSON', '500 Oh', '{"error":"oh"}'],
  ['null', '500 Oh', 'null'],
  ['a code of another version', '500 Oh', '{"error":{"code":"NEW","message":"m"}}'],
  ['the name of a method', '500 Oh', '{"error":{"code":"toString","message":"m"}}'],
] as const) {
  test(`an error that cannot be understood: ${name}`, async (context) => {
    const client = await clientFor(context, says(head, body));
    await assert.rejects(client.request('GET', '/'), { code: 'NET_PROTOCOL' });
  });
}

test('an answer that is no JSON where it should be', async (context) => {
  const client = await clientFor(context, says('200 OK', 'oh'));
  await assert.rejects(client.json('GET', '/'), { code: 'NET_PROTOCOL' });
});

test('an answer that is too long is given up', async (context) => {
  const client = await clientFor(context, says('200 OK', 'x'.repeat(1001)));
  assert.equal((await client.request('GET', '/', { bytesMax: 1001 })).body.length, 1001);
  await assert.rejects(client.request('GET', '/', { bytesMax: 1000 }), { code: 'LIMIT' });
});

test('no HTTP, an end in the middle, an end at once, and silence', async (context) => {
  const rubbish = await clientFor(context, (socket) => void socket.end('rubbish\r\n\r\n'));
  await assert.rejects(rubbish.request('GET', '/'), { code: 'NET_PROTOCOL' });
  const part = 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf';
  const half = await clientFor(context, (socket) => void socket.end(part));
  await assert.rejects(half.request('GET', '/'), { code: 'NET_LOST' });
  const none = await clientFor(context, (socket) => void socket.destroy());
  await assert.rejects(none.request('GET', '/'), { code: 'NET_LOST', retryable: true });
  const silent = await clientFor(context, () => {});
  await assert.rejects(silent.request('GET', '/', { answerMs: 50 }), { code: 'NET_LOST' });
  const stalled = await clientFor(context, (socket) => void socket.write(part));
  await assert.rejects(stalled.request('GET', '/', { answerMs: 50 }), { code: 'NET_LOST' });
});

test('a connection that does not come about is given up by close', async (context) => {
  // It accepts, and says nothing.
  const server = createPlain();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  context.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { fingerprint } = identity;
  const client = new ApiClient(identity, { host: '127.0.0.1', port, fingerprint });
  const given = assert.rejects(client.request('GET', '/'), { code: 'NET_UNREACHABLE' });
  const accepted = await new Promise<Socket>((resolve) => server.once('connection', resolve));
  const ended = new Promise((resolve) => accepted.once('close', resolve));
  accepted.resume();
  client.close();
  await Promise.all([given, ended]);
  await assert.rejects(client.request('GET', '/'), { code: 'NET_UNREACHABLE' });
});

test('a request is given up by its signal with its reason, and by close', async (context) => {
  const client = await clientFor(context, () => {});
  const reason = new Error('enough');
  await assert.rejects(
    client.request('GET', '/', { signal: AbortSignal.abort(reason) }),
    (error) => error === reason,
  );
  const lost = assert.rejects(client.request('GET', '/'), { code: 'NET_LOST' });
  setTimeout(() => client.close(), 50);
  await lost;
});
