/**
 * Goal: whatever comes to the data port of a running pipe, from strangers who have overheard what is sent in
 * clear, or from the true peer gone mad, the pipe goes on, and what is held for them is bounded.
 * Method: two halves of a pipe in one process; connections of every wrong kind to the port between them, a
 * fixed number of seeded cases. After each kind further buffers arrive, in order and intact.
 */
import { deepEqual, ok } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, createSecureContext } from 'node:tls';
import { LIMITS } from '../../src/base/limits.ts';
import {
  ADMITTED,
  FRAME_BYTES,
  FRAME_KIND,
  newFrame,
  PREAMBLE_BYTES,
  tokenOf,
  writeFrame,
  writePreamble,
} from '../../src/channel/net/frame.ts';
import type { Identity } from '../../src/channel/net/identity.ts';
import { connectLink } from '../../src/channel/net/link-setup.ts';
import { clientTls } from '../../src/channel/net/pinned-tls.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { identities, type Pair, startPair } from '../agent-pair.ts';
import { newMachine } from '../monitor-fixture.ts';

const CASES = 40;
const CONNECTIONS = 1000;
const random = seededRandom(20_261_121);
const draw = (below: number): number => random.bytes(4).readUInt32LE() % below;

/** A pipe that goes on for as long as the test takes. */
async function start(t: TestContext): Promise<Pair> {
  const pair = await startPair({ count: 1e6, ordered: true, tail: { slowMs: 2 } });
  t.after(() => pair.close());
  await goesOn(pair);
  return pair;
}

/** Waits for some more buffers, each of which the tail looks through. */
async function goesOn({ far }: Pair): Promise<void> {
  const until = far.counter(0, 'tail') + 12;
  let failed: unknown;
  far.done.catch((thrown) => {
    failed = thrown;
  });
  while (far.counter(0, 'tail') < until) {
    if (failed !== undefined) throw failed;
    await sleep(5);
  }
}

function plainTo({ port }: Pair): Socket {
  const socket = connect(port.port, '127.0.0.1');
  socket.on('error', () => {});
  return socket;
}

/** Resolves once the other side has ended it. */
async function ended(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.closed) await once(socket, 'close');
}

/** A connection of which the preamble was taken. */
async function admitted(pair: Pair, attempt: number): Promise<Socket> {
  const socket = plainTo(pair);
  socket.write(writePreamble({ id: pair.id, agent: 0, attempt }));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  deepEqual([...answer], [ADMITTED]);
  socket.pause();
  return socket;
}

test('what is no preamble, or comes slowly', async (t) => {
  const pair = await start(t);
  const right = writePreamble({ id: pair.id, agent: 0, attempt: 1000 });
  for (let i = 0; i < CASES; i++) {
    const spoiled = draw(2) === 0 ? random.bytes(PREAMBLE_BYTES + draw(3000)) : Buffer.from(right);
    spoiled[draw(PREAMBLE_BYTES)] = draw(256);
    if (spoiled.equals(right)) continue;
    const socket = plainTo(pair);
    socket.end(spoiled);
    await ended(socket);
  }
  const slow = Array.from({ length: CASES }, (_, i) => {
    const socket = plainTo(pair);
    socket.write(right.subarray(0, i));
    return socket;
  });
  await goesOn(pair);
  for (const socket of slow) socket.destroy();
});

test('strangers who know what is sent in clear', async (t) => {
  const pair = await start(t);
  const stranger = (await newMachine()).identity;
  const [client] = await identities();
  const preamble = (attempt: number) => ({ id: pair.id, agent: 0, attempt });
  for (let i = 0; i < CASES; i++) {
    const socket = await admitted(pair, 1000 + i);
    const kind = draw(4);
    if (kind === 0) {
      socket.end(random.bytes(1 + draw(3000)));
      await ended(socket);
      continue;
    }
    // With a certificate of their own, or, who has stolen it, the peer's; but not the token.
    const identity: Identity = kind === 1 ? stranger : client;
    const tls = connectTls({ ...clientTls(identity), socket });
    tls.on('error', () => {});
    const token = tokenOf(pair.secret, preamble(kind === 2 ? 1001 + i : 2000));
    tls.write(kind === 3 ? random.bytes(32) : token);
    await ended(tls);
  }
  await goesOn(pair);
});

test('a peer that sends what are no frames of this pipe', async (t) => {
  const pair = await start(t);
  const [client, server] = await identities();
  const identity = { ...client, peerFingerprint: server.fingerprint };
  const context = createSecureContext({ cert: client.certPem, key: client.keyPem });
  const target = { host: '127.0.0.1', port: pair.port.port, localAddress: undefined };
  const { signal } = new AbortController();
  const hostile: readonly (() => Buffer)[] = [
    () => random.bytes(FRAME_BYTES + draw(3000)),
    () => header({ payloadBytes: 2 ** 32 - 1 }),
    () => header({ headerBytes: 65_535 }),
    () => header({ directoryBytes: 2 ** 31 }),
    // Far beyond what was granted.
    () => header({ sequence: 2 ** 52 }),
    () => header({ kind: FRAME_KIND.taken, sequence: 1 }),
    () => header({ kind: FRAME_KIND.end, sequence: 1 }),
    () => header({ kind: FRAME_KIND.beat, payloadBytes: 1 }),
  ];
  for (let i = 0; i < CASES; i++) {
    const preamble = { id: pair.id, agent: 0, attempt: 1000 + i };
    const link = await connectLink(target, identity, context, pair.secret, preamble, signal);
    link.socket.write((hostile[i % hostile.length] as () => Buffer)());
    await ended(link.socket);
  }
  await goesOn(pair);
});

function header(fields: Partial<ReturnType<typeof newFrame>>): Buffer {
  const bytes = Buffer.alloc(FRAME_BYTES);
  writeFrame(bytes, 0, { ...newFrame(), kind: FRAME_KIND.data, sequence: 2 ** 40, ...fields });
  return bytes;
}

test('a thousand connections at every stage of their set-up', async (t) => {
  const pair = await start(t);
  const before = readdirSync('/proc/self/fd').length;
  const many: Socket[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    const socket = plainTo(pair);
    many.push(socket);
    const preamble = writePreamble({ id: pair.id, agent: 0, attempt: 1000 + i });
    if (i % 3 !== 0) socket.write(preamble);
    // The beginning of a TLS record that never ends.
    if (i % 3 === 2) socket.write(Buffer.concat([Buffer.of(22, 3, 1, 64, 0), randomBytes(100)]));
    if (i % 100 === 0) await goesOn(pair);
  }
  await goesOn(pair);
  const own = many.filter(({ closed }) => !closed).length;
  const held = readdirSync('/proc/self/fd').length - before - own;
  const most = LIMITS.preamblesPendingMax + LIMITS.linkSetupsMax + LIMITS.linksPerAgentMax;
  ok(held <= most, `${held} connections are held`);
  for (const socket of many) socket.destroy();
  await goesOn(pair);
});

test('one address that opens many connections keeps no other one out', async (t) => {
  const pair = await start(t);
  const honest = connect({ port: pair.port.port, host: '127.0.0.1', localAddress: '127.0.0.9' });
  await once(honest, 'connect');
  const preamble = writePreamble({ id: pair.id, agent: 0, attempt: 5000 });
  honest.write(preamble.subarray(0, 10));
  const greedy = Array.from({ length: 3 * LIMITS.preamblesPendingMax }, () => plainTo(pair));
  // Its last one is taken when all before it were.
  await admitted(pair, 5001);
  honest.write(preamble.subarray(10));
  const [answer] = (await once(honest, 'data')) as [Buffer];
  deepEqual([...answer], [ADMITTED]);
  for (const socket of [honest, ...greedy]) socket.destroy();
  await goesOn(pair);
});
