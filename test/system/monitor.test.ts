/**
 * Goal: the daemon tells paired machines what they may know, and nobody else anything; revocation
 * counts at once; it ends in order (P7, U10).
 * Method: monitors in this process on loopback, clients with and without pairing.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import WebSocket from 'ws';
import { connectPinned } from '../../src/channel/net/api-client.ts';
import { Peers } from '../../src/channel/net/peers.ts';
import { clientTls } from '../../src/channel/net/pinned-tls.ts';
import type { MonitorContext, MonitorRoutes } from '../../src/monitor/context.ts';
import { openLogger } from '../../src/monitor/logger.ts';
import { createMonitor } from '../../src/monitor/monitor.ts';
import {
  clientOf,
  type Machine,
  newMachine,
  pairedClient,
  startMonitor,
  type TestMonitor,
} from '../monitor-fixture.ts';
import type { Description } from '../openapi.ts';

const REPOSITORIES = new Map([
  ['home', '/nowhere/home'],
  ['mail', '/nowhere/mail'],
]);
const READ_HOME = { access: [{ repository: 'home', level: 'read' }] } as const;

/** Everything that is answered to a request by somebody, as text. */
function answerTo(
  server: TestMonitor,
  machine: Machine | undefined,
  { method = 'GET', path = '/', headers = {} },
): Promise<string> {
  const tls = machine === undefined ? { rejectUnauthorized: false } : clientTls(machine.identity);
  const target = { host: '127.0.0.1', port: server.monitor.port, agent: false as const };
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ ...tls, ...target, method, path, headers }, (answer) => {
      let text = `${answer.statusCode} `;
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => resolve(text));
    });
    request.on('error', reject);
    request.end();
  });
}

test('a paired machine is told what it may know', async (context) => {
  const server = await startMonitor(context, { repositories: REPOSITORIES });
  const machine = await newMachine();
  const client = pairedClient(server, machine, READ_HOME);
  const status = await client.json<Record<string, unknown>>('GET', '/v1/status');
  assert.deepEqual(status.peer, { name: 'client', access: READ_HOME.access });
  assert.deepEqual(status.repositories, ['home']);
  assert.equal(status.fingerprint, server.identity.fingerprint);
  for (const path of ['/metrics', '/v1/peers']) {
    await assert.rejects(client.request('GET', path), { code: 'NET_DENIED' });
  }
  const removal = `/v1/peers/client/${machine.identity.fingerprint}`;
  await assert.rejects(client.request('DELETE', removal), { code: 'NET_DENIED' });
  await assert.rejects(client.request('GET', '/v1/nothing'), { code: 'NOT_SUPPORTED' });
  await assert.rejects(client.request('POST', '/v1/status', { body: {} }), {
    code: 'NOT_SUPPORTED',
  });
  client.close();
});

test('a machine with full access sees metrics and pairings, and ends them', async (context) => {
  const server = await startMonitor(context, { repositories: REPOSITORIES });
  const other = await newMachine();
  const theirs = pairedClient(server, other, { ...READ_HOME, name: 'other' });
  await theirs.request('GET', '/v1/status');
  const client = pairedClient(server, await newMachine());
  const { peers } = await client.json<{ peers: { name: string }[] }>('GET', '/v1/peers');
  assert.deepEqual(
    peers.map(({ name }) => name),
    ['client', 'other'],
  );
  const { body, headers } = await client.request('GET', '/metrics');
  assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4/);
  const metrics = body.toString();
  assert.match(metrics, /^penstock_info\{version="0\.0\.0"\} 1$/m);
  assert.match(
    metrics,
    /penstock_requests_total\{method="GET",route="\/v1\/status",status="200"\} 1/,
  );
  assert.match(metrics, /^penstock_connections\{of="peers"\} 2$/m);
  const removal = `/v1/peers/client/${other.identity.fingerprint}`;
  assert.equal((await client.request('DELETE', removal)).status, 204);
  await assert.rejects(client.request('DELETE', removal), { code: 'PEER_UNKNOWN' });
  await assert.rejects(client.request('DELETE', '/v1/peers/client/xy'), { code: 'FORMAT' });
  await assert.rejects(theirs.request('GET', '/v1/status'), { code: /NET_REFUSED|NET_LOST/ });
  theirs.close();
  client.close();
});

test('whoever is not paired gets one answer to everything', async (context) => {
  const server = await startMonitor(context, { repositories: REPOSITORIES });
  const stranger = await newMachine();
  const answers = new Set<string>();
  const asked = [
    { path: '/v1/status' },
    { path: '/v1/openapi.json' },
    { path: '/metrics' },
    { path: '/v1/nothing' },
    { path: '/%zz' },
    { path: '/v1/pair' },
    { path: '/v1/pair?x', method: 'POST' },
    { path: '/v1/repositories/home/objects/keys' },
    { path: '/v1/repositories/none/objects/keys', method: 'PUT' },
    { path: '/v1/pipes', headers: { connection: 'upgrade', upgrade: 'websocket' } },
    { path: '*', method: 'OPTIONS' },
  ];
  for (const machine of [stranger, undefined]) {
    for (const what of asked) answers.add(await answerTo(server, machine, what));
  }
  assert.equal(answers.size, 1, [...answers].join('\n'));
  assert.match([...answers][0] ?? '', /^401 \{"error":\{"code":"NET_REFUSED"/);
});

test('a client that pins another fingerprint writes nothing', async (context) => {
  const server = await startMonitor(context);
  const other = await newMachine();
  const { port } = server.monitor;
  const wrong = { host: '127.0.0.1', port, fingerprint: other.identity.fingerprint };
  await assert.rejects(connectPinned(other.identity, wrong), { code: 'NET_UNTRUSTED' });
  const plain = await new Promise<string>((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', maxVersion: 'TLSv1.2' });
    socket.on('error', ({ message }) => resolve(message));
  });
  assert.match(plain, /protocol version|handshake failure|socket/i);
});

/** A route that stays open until it is told, and a WebSocket that echoes. */
function openRoutes(): { routes: MonitorRoutes; release: () => void; ended: () => string[] } {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const ended: string[] = [];
  const routes: MonitorRoutes = (server, context: MonitorContext) => {
    const schema = { summary: 'waits', response: { 200: { type: 'object', properties: {} } } };
    server.get('/v1/wait', { schema }, async () => {
      await released;
      return {};
    });
    context.webSocket(/^\/v1\/echo\/(?<name>[^/]+)$/, ({ socket, peer, groups }) => {
      socket.send(`${peer.name} ${groups.name}`);
      socket.on('message', (data) => socket.send(data));
    });
    context.onPeerRemoved((fingerprint) => ended.push(fingerprint));
    context.onClose(async (drainMs) => void ended.push(`first ${drainMs > 0}`));
    context.onClose(async () => void ended.push('last'));
  };
  return { routes, release, ended: () => ended };
}

/** Opens a WebSocket; resolves with it and its first message, or rejects. */
function openSocket(
  { monitor }: TestMonitor,
  { identity }: Machine,
  path: string,
): Promise<{ socket: WebSocket; first: string; closed: Promise<number> }> {
  const { key, cert } = clientTls(identity);
  const socket = new WebSocket(`wss://127.0.0.1:${monitor.port}${path}`, {
    ...(key === undefined ? {} : { key: String(key) }),
    ...(cert === undefined ? {} : { cert: String(cert) }),
    rejectUnauthorized: false,
  });
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.once('message', (data) => resolve({ socket, first: String(data), closed }));
  });
}

test('a removed machine loses what it has open, at once', async (context) => {
  const { routes, ended } = openRoutes();
  const server = await startMonitor(context, { routes: [routes] });
  const machine = await newMachine();
  const client = pairedClient(server, machine);
  const waiting = assert.rejects(client.request('GET', '/v1/wait'), { code: 'NET_LOST' });
  const { first, closed } = await openSocket(server, machine, '/v1/echo/a%20b');
  assert.equal(first, 'client a b');
  await assert.rejects(openSocket(server, machine, '/v1/none'), /404/);
  await assert.rejects(openSocket(server, await newMachine(), '/v1/echo/a'), /401/);
  new Peers(server.state).remove(machine.identity.fingerprint, 'client');
  await assert.rejects(client.request('GET', '/v1/status'), { code: 'NET_REFUSED' });
  await waiting;
  assert.equal(await closed, 1006);
  assert.deepEqual(ended(), [machine.identity.fingerprint]);
  client.close();
});

test('closing lets run what runs, takes nothing new, and leaves nothing', async (context) => {
  const { routes, release, ended } = openRoutes();
  const server = await startMonitor(context, { routes: [routes] });
  const machine = await newMachine();
  const client = pairedClient(server, machine);
  const waiting = client.request('GET', '/v1/wait');
  const { closed } = await openSocket(server, machine, '/v1/echo/x');
  const closing = server.monitor.close(5000);
  assert.equal(await closed, 1001, 'the socket is told that the monitor ends');
  const late = clientOf(server, machine);
  await assert.rejects(late.request('GET', '/v1/status'), { code: 'NET_UNREACHABLE' });
  release();
  assert.equal((await waiting).status, 200);
  await closing;
  await server.monitor.close(0);
  assert.deepEqual(ended(), ['last', 'first true']);
  client.close();
  late.close();
});

test('what does not end in time is ended', async (context) => {
  const { routes } = openRoutes();
  const server = await startMonitor(context, { routes: [routes] });
  const client = pairedClient(server, await newMachine());
  const waiting = assert.rejects(client.request('GET', '/v1/wait'), { code: 'NET_LOST' });
  await client.request('GET', '/v1/status');
  await server.monitor.close(50);
  await waiting;
  client.close();
});

test('a port that is taken is an error, and nothing stays open', async (context) => {
  const { monitor } = await startMonitor(context);
  const machine = await newMachine();
  const listen = [
    { host: '127.0.0.1', port: 0 },
    { host: '127.0.0.1', port: monitor.port },
  ];
  await assert.rejects(
    createMonitor({
      stateDirectory: machine.directory,
      listen,
      repositories: new Map(),
      version: '0.0.0',
      log: openLogger({ format: 'text', clock: { nowMs: () => 0 }, write: () => {} }),
    }),
    { code: 'HOST_IO', errno: 'EADDRINUSE' },
  );
});

test('defects are logged whole and told without details', async (context: TestContext) => {
  const routes: MonitorRoutes = (server) => {
    const schema = { summary: 'fails', response: { 200: { type: 'object', properties: {} } } };
    server.get('/v1/fail', { schema }, () => {
      throw new TypeError('secret\u001b[2J');
    });
  };
  const server = await startMonitor(context, { routes: [routes] });
  const client = pairedClient(server, await newMachine());
  await assert.rejects(client.request('GET', '/v1/fail'), {
    code: 'INTERNAL',
    message: `127.0.0.1:${server.monitor.port}: a defect; the log of the server has more`,
  });
  const [line = ''] = server.log;
  assert.equal((JSON.parse(line) as { message: string }).message, 'secret\u001b[2J');
  const text: string[] = [];
  const log = openLogger({
    format: 'text',
    clock: { nowMs: () => 0 },
    write: (written) => text.push(written),
  });
  log.warn('a\nb', { name: 'x\u001b[2J y', count: 3, none: undefined });
  log.debug('not shown');
  assert.deepEqual(text, ['1970-01-01T00:00:00.000Z warn  a\\u000ab name="x\\u001b[2J y" count=3']);
  client.close();
});

test('docs/monitor.md has every route', async (context) => {
  const server = await startMonitor(context);
  const client = pairedClient(server, await newMachine());
  const { paths } = await client.json<Description>('GET', '/v1/openapi.json');
  client.close();
  const rows = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(
      ([method, { summary }]) => `| \`${method.toUpperCase()} ${path}\` | ${summary} |`,
    ),
  );
  const page = readFileSync(new URL('../../docs/monitor.md', import.meta.url), 'utf8');
  assert.deepEqual(page.match(/^\| `[A-Z]+ \/.*$/gm), rows);
});

test('the systemd unit runs the command that there is', () => {
  const unit = readFileSync(new URL('../../systemd/penstock.service', import.meta.url), 'utf8');
  assert.match(unit, /^ExecStart=.* penstock serve --listen 0\.0\.0\.0:7420$/m);
});
