/**
 * Goal: whatever comes to the monitor's port, it goes on serving paired machines.
 * Method: a fixed number of seeded cases: random bytes before and inside TLS, spoiled requests,
 * heads and bodies beyond their bounds, slow clients, many connections, spoiled WebSocket frames.
 * After each kind a paired machine makes a new connection and is answered.
 */
import assert from 'node:assert/strict';
import { connect as connectPlain, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { LIMITS } from '../../src/base/limits.ts';
import { clientTls } from '../../src/channel/net/pinned-tls.ts';
import { seededRandom } from '../../src/host/mod.ts';
import type { MonitorRoutes } from '../../src/monitor/context.ts';
import {
  clientOf,
  type Machine,
  newMachine,
  pairedClient,
  startMonitor,
  type TestMonitor,
} from '../monitor-fixture.ts';

const SEED = 20261121;
const CASES = 40;
const CONNECTIONS = 2000;

/** A number below `below`. */
type Draw = (below: number) => number;

function drawing(seed: number): { draw: Draw; bytes: (count: number) => Buffer } {
  const random = seededRandom(seed);
  return {
    draw: (below) => random.bytes(4).readUInt32LE() % below,
    bytes: (count) => random.bytes(count),
  };
}

/** Shows that a paired machine is served, over a connection of its own. */
async function assertServes(server: TestMonitor, machine: Machine): Promise<void> {
  const client = clientOf(server, machine);
  assert.equal((await client.request('GET', '/v1/status')).status, 200);
  client.close();
}

function plainTo({ monitor }: TestMonitor): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectPlain({ host: '127.0.0.1', port: monitor.port }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** A TLS connection, with the machine's certificate, or with none. */
function tlsTo({ monitor }: TestMonitor, machine: Machine | undefined): Promise<TLSSocket> {
  const tls =
    machine === undefined ? ({ rejectUnauthorized: false } as const) : clientTls(machine.identity);
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...tls, host: '127.0.0.1', port: monitor.port }, () =>
      resolve(socket),
    );
    socket.once('error', reject);
  });
}

/** Sends, and resolves with everything that came back until the other side closed. */
async function talk(socket: Socket, bytes: Uint8Array | string, ends = true): Promise<string> {
  // Resets are what is expected here.
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  let text = '';
  (socket as Readable).on('data', (part: Buffer) => {
    text += part.toString('latin1');
  });
  if (ends) socket.end(bytes);
  else socket.write(bytes);
  await closed;
  return text;
}

test('random bytes before and inside TLS', async (context) => {
  const server = await startMonitor(context);
  const machine = await newMachine();
  pairedClient(server, machine).close();
  const stranger = await newMachine();
  const { draw, bytes } = drawing(SEED);
  for (let i = 0; i < CASES; i++) {
    const rubbish = bytes(1 + draw(3000));
    // Some look like the begin of a TLS record.
    if (draw(2) === 0)
      rubbish.set([22, 3, 1 + draw(3), draw(80), draw(256)].slice(0, rubbish.length));
    const plain = await talk(await plainTo(server), rubbish);
    assert(!plain.includes('HTTP'), `case ${i}: told to a plain connection: ${plain}`);
    const inside = await talk(
      await tlsTo(server, [machine, stranger, undefined][draw(3)]),
      bytes(1 + draw(3000)),
    );
    assert.equal(inside, '', `case ${i}`);
  }
  await assertServes(server, machine);
});

test('spoiled requests of paired machines', async (context) => {
  const server = await startMonitor(context);
  const machine = await newMachine();
  pairedClient(server, machine).close();
  const { draw } = drawing(SEED + 1);
  const request = Buffer.from(
    'POST /v1/pair HTTP/1.1\r\nhost: x\r\nconnection: close\r\n' +
      'content-type: application/json\r\ncontent-length: 46\r\n\r\n' +
      '{"secret":"AAAAAAAAAAAAAAAAAAAAAA","name":"x"}',
  );
  for (let i = 0; i < CASES; i++) {
    let spoiled = Buffer.from(request);
    for (let changes = 1 + draw(4); changes > 0; changes--) {
      const at = draw(spoiled.length);
      if (draw(3) === 0) spoiled = spoiled.subarray(0, at + 1);
      else spoiled[at] = draw(256);
    }
    const answer = await talk(await tlsTo(server, machine), spoiled);
    assert.match(answer, /^(?:$|HTTP\/1\.1 (?:4\d\d|200) )/, `case ${i}`);
  }
  await assertServes(server, machine);
});

test('heads and bodies beyond their bounds', async (context) => {
  const taken: MonitorRoutes = (server) => {
    const schema = {
      summary: 'takes',
      body: { type: 'object' },
      response: { 200: { type: 'object', properties: {} } },
    };
    server.post('/v1/take', { schema }, () => ({}));
  };
  const server = await startMonitor(context, { routes: [taken] });
  const machine = await newMachine();
  pairedClient(server, machine).close();
  const stranger = await newMachine();
  const long = 'x'.repeat(LIMITS.monitorHeadBytesMax);
  const post = 'POST /v1/take HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
  const json = JSON.stringify({ a: 'x'.repeat(LIMITS.monitorBodyBytesMax) });
  const chunk = `${json.length.toString(16)}\r\n${json}\r\n0\r\n\r\n`;
  const cases: readonly (readonly [name: string, text: string, answer: RegExp])[] = [
    ['a long path', `GET /${long} HTTP/1.1\r\nhost: x\r\n\r\n`, /^$/],
    ['a long header', `GET / HTTP/1.1\r\nhost: x\r\na: ${long}\r\n\r\n`, /^$/],
    ['many headers', `GET / HTTP/1.1\r\nhost: x\r\n${'a: b\r\n'.repeat(5000)}\r\n`, /^$/],
    [
      'a long body',
      `${post}content-length: ${json.length}\r\n\r\n${json}`,
      /^(?:$|HTTP\/1.1 413 )/,
    ],
    ['an endless body', `${post}content-length: 99999999999\r\n\r\n{`, /^(?:$|HTTP\/1.1 413 )/],
    [
      'a long body in parts',
      `${post}transfer-encoding: chunked\r\n\r\n${chunk}`,
      /^(?:$|HTTP\/1.1 413 )/,
    ],
    ['two lengths', `${post}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`, /^$/],
    [
      'a length and parts',
      `${post}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}`,
      /^$/,
    ],
    [
      'a deep body',
      `${post}content-length: 9999\r\nconnection: close\r\n\r\n${'{"a":'.repeat(1999)}1234`,
      /^HTTP\/1.1 400 /,
    ],
    [
      'another type',
      `${post.replace('json', 'xml')}content-length: 2\r\nconnection: close\r\n\r\n{}`,
      /^HTTP\/1.1 400 /,
    ],
    [
      'a prototype',
      `${post}content-length: 27\r\nconnection: close\r\n\r\n{"__proto__":{"admin":true}`,
      /^HTTP\/1.1 400 /,
    ],
    ['a tunnel', 'CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n', /^$/],
    ['an expectation', 'GET / HTTP/1.1\r\nhost: x\r\nexpect: wonders\r\n\r\n', /^$/],
  ];
  for (const [name, text, expected] of cases) {
    assert.match(await talk(await tlsTo(server, machine), text), expected, name);
    const told = await talk(await tlsTo(server, stranger), text);
    assert.match(told, /^(?:$|HTTP\/1\.1 401 )/, `${name}, by a stranger`);
  }
  await assertServes(server, machine);
});

test('slow clients are ended, whoever they are', async (context) => {
  const flood: MonitorRoutes = (server) => {
    const content = { 'application/octet-stream': { schema: { type: 'string' } } };
    const schema = { summary: 'floods', response: { 200: { description: 'much', content } } };
    const much = Buffer.alloc(32 * 1024 * 1024);
    server.get('/v1/flood', { schema }, (_request, reply) =>
      reply.type('application/octet-stream').send(much),
    );
  };
  // Long enough for whoever is not slow, also where the machine is busy.
  const times = {
    headMs: 3000,
    requestMs: 4000,
    idleMs: 5000,
    strangerMs: 4000,
    handshakeMs: 4000,
  };
  const server = await startMonitor(context, { routes: [flood], times });
  const machine = await newMachine();
  pairedClient(server, machine).close();
  const stranger = await newMachine();
  const post = 'POST /v1/pair HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n{';
  const slow: (readonly [Socket, string])[] = [
    [await plainTo(server), ''],
    [await plainTo(server), '\u0016\u0003'],
    [await tlsTo(server, stranger), ''],
    [await tlsTo(server, stranger), 'GET /'],
    [await tlsTo(server, stranger), post],
    [await tlsTo(server, machine), 'GET / HTTP/1.1\r\nhost:'],
    [await tlsTo(server, machine), post],
    // It asks for much and does not read.
    [await tlsTo(server, machine), 'GET /v1/flood HTTP/1.1\r\nhost: x\r\n\r\n'],
  ];
  const ended = slow.map(([socket, text], index) => {
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    if (text !== '') socket.write(text, 'latin1');
    if (index < slow.length - 1) socket.resume();
    return index < slow.length - 1 ? closed : undefined;
  });
  await Promise.all(ended);
  await assertServes(server, machine);
  // All but the paired machine's own are gone; the last is, without having been read from.
  const client = clientOf(server, machine);
  for (;;) {
    const metrics = (await client.request('GET', '/metrics')).body.toString();
    if (/penstock_connections\{of="peers"\} 1$/m.test(metrics)) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  client.close();
  for (const [socket] of slow) socket.destroy();
});

test('more connections than there may be', async (context) => {
  const server = await startMonitor(context);
  const machine = await newMachine();
  const kept = pairedClient(server, machine);
  await kept.request('GET', '/v1/status');
  const many: Socket[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    const socket = await plainTo(server);
    socket.on('error', () => {});
    many.push(socket);
    if (i % LIMITS.monitorStrangersMax === 0) await assertServes(server, machine);
  }
  await assertServes(server, machine);
  const metrics = (await kept.request('GET', '/metrics')).body.toString();
  const strangers = Number(/connections\{of="strangers"\} (\d+)$/m.exec(metrics)?.[1]);
  assert(strangers <= LIMITS.monitorStrangersMax, `${strangers}`);
  const refused = Number(/connections_refused (\d+)$/m.exec(metrics)?.[1]);
  assert(refused >= CONNECTIONS - LIMITS.monitorStrangersMax, `${refused}`);
  for (const socket of many) socket.destroy();
  kept.close();
});

test('spoiled WebSocket frames end their socket only', async (context) => {
  const echo: MonitorRoutes = (_server, { webSocket }) => {
    webSocket(/^\/v1\/echo$/, ({ socket }) => {
      socket.on('message', (data) => socket.send(data));
    });
  };
  const server = await startMonitor(context, { routes: [echo] });
  const machine = await newMachine();
  pairedClient(server, machine).close();
  const { draw, bytes } = drawing(SEED + 2);
  const upgrade =
    'GET /v1/echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
    'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';
  for (let i = 0; i < CASES / 2; i++) {
    const frame = bytes(14 + draw(500));
    // A frame of text with a length of 64 bits, far beyond the bound.
    if (draw(2) === 0) frame.set([0x81, 0xff, 0, 0, 0, 1]);
    const told = await talk(
      await tlsTo(server, machine),
      Buffer.concat([Buffer.from(upgrade), frame]),
    );
    assert.match(told, /^HTTP\/1\.1 101 /, `case ${i}`);
  }
  for (const wrong of ['sec-websocket-key: A', 'sec-websocket-version: 99', 'upgrade: h2c']) {
    const name = wrong.slice(0, wrong.indexOf(':'));
    const text = upgrade.replace(new RegExp(`${name}: .*\r\n`), `${wrong}\r\n`);
    assert.match(await talk(await tlsTo(server, machine), text), /^(?:$|HTTP\/1\.1 4\d\d )/, wrong);
  }
  await assertServes(server, machine);
});

test('a connection may have few requests open at a time', async (context) => {
  const server = await startMonitor(context);
  const machine = await newMachine();
  pairedClient(server, machine, { access: [] }).close();
  const asking = 'GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n';
  const answersTo = async (count: number): Promise<number> => {
    const last = asking.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n');
    const text = await talk(await tlsTo(server, machine), asking.repeat(count - 1) + last, false);
    return text.split('HTTP/1.1 200').length - 1;
  };
  assert.equal(await answersTo(LIMITS.monitorPipelinedMax), LIMITS.monitorPipelinedMax);
  // Nobody who is honest asks so much at once: it is ended, whatever it has asked.
  assert((await answersTo(500)) <= LIMITS.monitorPipelinedMax);
  await assertServes(server, machine);
});
