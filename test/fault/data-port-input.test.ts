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
import { LIMITS } from '../../src/base/limits.ts';
import {
  ADMITTED,
  FRAME_BYTES,
  FRAME_KIND,
  newFrame,
  PREAMBLE_BYTES,
  writeFrame,
  writePreamble,
} from '../../src/channel/net/frame.ts';
import { NONCE_BYTES, openLinkCipher } from '../../src/channel/net/link-cipher.ts';
import { connectLink } from '../../src/channel/net/link-setup.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { type Pair, sealed, startPair } from '../agent-pair.ts';

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

/** A connection of which the preamble was taken, and what keys are made of there. */
async function admitted(pair: Pair, attempt: number): Promise<{ socket: Socket; nonce: Buffer }> {
  const socket = plainTo(pair);
  socket.write(writePreamble({ id: pair.id, agent: 0, attempt }));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  deepEqual([answer[0], answer.length], [ADMITTED, 1 + NONCE_BYTES]);
  socket.pause();
  return { socket, nonce: answer.subarray(1) };
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
  for (let i = 0; i < CASES; i++) {
    const { socket, nonce } = await admitted(pair, 1000 + i);
    const kind = draw(3);
    if (kind === 0) {
      socket.end(random.bytes(1 + draw(3000)));
      await ended(socket);
      continue;
    }
    // With another secret, or, had they this one, with what proves it for another connection.
    const secret = kind === 1 ? random.bytes(32) : pair.secret;
    const other = { id: pair.id, agent: 0, attempt: kind === 1 ? 1000 + i : 1001 + i };
    const cipher = openLinkCipher('connecting', secret, other, nonce);
    let answer = 0;
    socket.on('data', (bytes) => {
      answer += bytes.length;
    });
    socket.write(cipher.sealer.proof());
    await ended(socket);
    deepEqual(answer, 0);
  }
  await goesOn(pair);
});

test('a peer that sends what are no frames of this pipe', async (t) => {
  const pair = await start(t);
  const target = { host: '127.0.0.1', port: pair.port.port, localAddress: undefined };
  const { signal } = new AbortController();
  const hostile: readonly (() => Buffer)[] = [
    () => random.bytes(FRAME_BYTES),
    () => Buffer.concat([header({}), random.bytes(draw(3000))]),
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
    const { socket, cipher } = await connectLink(target, pair.secret, preamble, signal);
    const bytes = (hostile[i % hostile.length] as () => Buffer)();
    // Also what is not sealed at all.
    socket.write(i % 3 === 0 ? Buffer.concat([bytes, random.bytes(16)]) : sealed(cipher, bytes));
    await ended(socket);
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
    // The beginning of a proof that never ends.
    if (i % 3 === 2) socket.write(randomBytes(10));
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
  deepEqual(answer[0], ADMITTED);
  for (const socket of [honest, ...greedy]) socket.destroy();
  await goesOn(pair);
});
