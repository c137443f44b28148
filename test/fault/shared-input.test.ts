/**
 * Goal: whatever a paired machine sends over connections that its pipes share, the monitor goes on serving, and
 * holds nothing of it afterwards.
 * Method: a fixed number of seeded cases: random bytes, random frames of HTTP/2 behind a right beginning, streams
 * with preambles of no pipe, and more of them than are allowed; then a pipe that shares gets through.
 */
import { deepEqual, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { LIMITS } from '../../src/base/limits.ts';
import { PIPE_VERSION } from '../../src/channel/net/control-channel.ts';
import { extendPipe } from '../../src/channel/net/controller.ts';
import { writePreamble } from '../../src/channel/net/frame.ts';
import { serverTls } from '../../src/channel/net/pinned-tls.ts';
import { openPipeChannel } from '../../src/channel/net/reach.ts';
import { connectTlsLink } from '../../src/channel/net/tls-setup.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { allowFarModule } from '../../src/monitor/pipe-modules.ts';
import { LOAD_MODULE, LOAD_WORDS } from '../agent-load.ts';
import { newMachine, pairedClient, startMonitor } from '../monitor-fixture.ts';

allowFarModule('test-load', { url: LOAD_MODULE, options: (sent) => sent });

const CASES = 30;
const random = seededRandom(20_261_121);
const draw = (below: number): number => random.bytes(4).readUInt32LE() % below;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');

interface Place {
  /** A connection as those that are shared, behind its token. */
  link(): Promise<Socket>;
  /** A pipe that shares connections of its own gets through. */
  serves(): Promise<void>;
}

async function start(t: TestContext): Promise<Place> {
  const server = await startMonitor(t);
  const client = await newMachine();
  pairedClient(server, client, { access: [] }).close();
  const { fingerprint } = server.identity;
  const place = { host: '127.0.0.1', port: server.monitor.port, fingerprint };
  const { channel, name } = await openPipeChannel(client.identity, place);
  t.after(() => channel.close());
  channel.send({
    type: 'initiate',
    version: PIPE_VERSION,
    name,
    program: 'test',
    machine: 'here',
    flow: 'push',
    agents: 1,
    maxBuffers: 2,
    payloadBytes: 1000,
    directoryBytes: 0,
    shared: 'ab'.repeat(16),
    stages: [{ name: 'tail', modules: [{ name: 'test-load', options: {} }] }],
  });
  const ready = await channel.next(60_000);
  ok(ready?.type === 'ready' && ready.shared !== undefined);
  const { port, shared } = ready;
  let attempt = 0;
  const link = async (): Promise<Socket> => {
    const socket = await connectTlsLink(
      { host: '127.0.0.1', port, localAddress: undefined },
      { ...client.identity, peerFingerprint: fingerprint },
      createSecureContext(serverTls(client.identity)),
      Buffer.from(shared.secret, 'base64'),
      { id: shared.id, agent: 0, attempt: attempt++ },
      new AbortController().signal,
    );
    socket.on('error', () => {});
    return socket;
  };
  const serves = async (): Promise<void> => {
    const arrived: unknown[] = [];
    const { done } = await extendPipe({
      identity: client.identity,
      server: place,
      program: 'test',
      flow: 'push',
      shared: true,
      links: 1,
      ...LOAD_WORDS,
      near: {
        maxBuffers: 2,
        payloadBytes: 1000,
        stages: [{ name: 'head', modules: [{ module: LOAD_MODULE, options: { count: 5 } }] }],
      },
      far: { stages: [{ name: 'tail', modules: [{ name: 'test-load', options: {} }] }] },
      onFarPost: (_stage, _instance, message) => arrived.push(...(message as unknown[])),
    });
    await done;
    deepEqual(arrived, [0, 1, 2, 3, 4]);
  };
  return { link, serves };
}

/** Resolves once the other side has ended it, or it was given long enough to read. */
async function over(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.closed) await Promise.race([once(socket, 'close'), sleep(200)]);
  socket.destroy();
}

/** Frames of HTTP/2 of any kind, some with lengths that are not theirs. */
function frames(): Buffer {
  const parts = Array.from({ length: 1 + draw(20) }, () => {
    const body = random.bytes(draw(60));
    const head = Buffer.alloc(9);
    head.writeUIntBE(draw(5) === 0 ? draw(1 << 24) : body.length, 0, 3);
    head[3] = draw(12);
    head[4] = draw(256);
    head.writeUInt32BE(draw(8), 5);
    return Buffer.concat([head, body]);
  });
  return Buffer.concat(parts);
}

const open = (): number => readdirSync('/proc/self/fd').length;

test('bytes that are no HTTP/2, and frames that mean nothing', async (t) => {
  const { link, serves } = await start(t);
  await serves();
  const before = open();
  for (let i = 0; i < CASES; i++) {
    const socket = await link();
    const bytes = draw(3) === 0 ? random.bytes(1 + draw(5000)) : Buffer.concat([PREFACE, frames()]);
    if (draw(2) === 0) socket.write(bytes);
    else {
      socket.write(bytes.subarray(0, bytes.length >> 1));
      await sleep(draw(5));
      socket.end(bytes.subarray(bytes.length >> 1));
    }
    await over(socket);
  }
  await serves();
  while (open() > before) await sleep(20);
});

test('streams of no pipe, and more of them than are allowed', async (t) => {
  const { link, serves } = await start(t);
  await serves();
  const before = open();
  for (let i = 0; i < 3; i++) {
    const socket = await link();
    const both = { readable: socket, writable: socket };
    const wire = Duplex.from(both as unknown as Parameters<typeof Duplex.from>[0]);
    const session = connectHttp2('http://x', { createConnection: () => wire });
    session.on('error', () => {});
    await once(session, 'remoteSettings');
    const streams = Array.from({ length: 3 * LIMITS.sharedStreamsMax }, (_, number) => {
      const stream = session.request({ ':method': 'POST', ':path': '/' }, { endStream: false });
      stream.on('error', () => {});
      const id = random.bytes(16).toString('hex');
      const preamble = writePreamble({ id, agent: draw(3), attempt: number });
      stream.write(draw(2) === 0 ? preamble : random.bytes(1 + draw(200)));
      if (draw(3) === 0) stream.close();
      return once(stream, 'close').catch(() => {});
    });
    await Promise.race([Promise.all(streams), sleep(500)]);
    session.destroy();
    socket.destroy();
  }
  await serves();
  while (open() > before) await sleep(20);
});
