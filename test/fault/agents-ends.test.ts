/**
 * Agents that find nobody, or somebody else (P11, P12).
 *
 * Goal: when no connection can be made for the limit both sides end, with NET_LOST, and a shorter absence
 * costs only time; who is not who it should be, or repeats what was overheard, brings nothing.
 * Method: two halves of a pipe in this process with a proxy between.
 */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FRAME_BYTES, PREAMBLE_BYTES } from '../../src/channel/net/frame.ts';
import { NONCE_BYTES, TAG_BYTES } from '../../src/channel/net/link-cipher.ts';
import { connectLink } from '../../src/channel/net/link-setup.ts';
import { sealed, startPair } from '../agent-pair.ts';
import { scratchFolder } from '../commands.ts';

const scratch = scratchFolder();
/** So long that connections come about within it however busy the machine is. */
const LOST_MS = 4000;
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('an agent that finds nobody any more gives up after the limit, on both sides', async () => {
  const pair = await startPair({ count: 1e6, ordered: true, lostMs: LOST_MS });
  try {
    while (pair.far.counter(0, 'tail') < 3) await sleep(5);
    pair.proxy.down = true;
    pair.proxy.fault({ how: 'cut' });
    await rejects(pair.near.done, { code: 'NET_LOST' });
    await rejects(pair.far.done, { code: 'NET_LOST' });
  } finally {
    await pair.close();
  }
});

test('a network that is away for less than the limit costs nothing but time', async () => {
  const heldUntil = join(scratch, 'back again');
  const head = { heldAt: 30, heldUntil };
  const pair = await startPair({ count: 60, links: 3, ordered: true, head });
  try {
    while (pair.far.counter(0, 'tail') < 5) await sleep(5);
    pair.proxy.down = true;
    pair.proxy.fault({ how: 'cut' });
    await sleep(500);
    pair.proxy.down = false;
    writeFileSync(heldUntil, '');
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(pair.arrived(), numbers(60));
    ok(pair.near.counter(3, 'send') > 3, 'connections were made again');
  } finally {
    await pair.close();
  }
});

test('who has another secret brings nothing', async () => {
  const pair = await startPair({ count: 10, lostMs: 600, wrong: { secret: Buffer.alloc(32) } });
  try {
    await rejects(pair.near.done, { code: 'NET_LOST', message: /did not come about/ });
    await rejects(pair.far.done, { code: 'NET_LOST', message: /does not have its secret/ });
    deepEqual(pair.arrived(), []);
  } finally {
    await pair.close();
  }
});

test('who has only overheard a connection, and says it all again, brings nothing', async () => {
  const pair = await startPair({ count: 1e6, links: 1, bytesPerSecond: 1e6 });
  const heard = Promise.withResolvers<Buffer>();
  const listening = createServer((from) => {
    let bytes = Buffer.alloc(0);
    const to = connect(pair.port.port, '127.0.0.1');
    to.on('data', (part) => from.write(part));
    from.on('data', (part: Buffer) => {
      bytes = Buffer.concat([bytes, part]);
      to.write(part);
      if (bytes.length > PREAMBLE_BYTES + TAG_BYTES) heard.resolve(bytes);
    });
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on('error', () => {});
      one.once('close', () => other.destroy());
    }
  });
  try {
    while (pair.far.counter(0, 'tail') < 1) await sleep(5);
    listening.listen(0, '127.0.0.1');
    await once(listening, 'listening');
    const { port } = listening.address() as AddressInfo;
    const preamble = { id: pair.id, agent: 0, attempt: 1000 };
    const target = { host: '127.0.0.1', port, localAddress: undefined };
    const { signal } = new AbortController();
    const link = await connectLink(target, pair.secret, preamble, signal);
    link.socket.write(sealed(link.cipher, Buffer.alloc(FRAME_BYTES)));
    const said = await heard.promise;
    link.socket.destroy();
    const again = connect(pair.port.port, '127.0.0.1');
    again.on('error', () => {});
    again.write(said.subarray(0, PREAMBLE_BYTES));
    const [nonce] = (await once(again, 'data')) as [Buffer];
    equal(nonce.length, 1 + NONCE_BYTES);
    let answer = 0;
    again.on('data', (bytes) => {
      answer += bytes.length;
    });
    again.write(said.subarray(PREAMBLE_BYTES));
    await once(again, 'close');
    equal(answer, 0);
  } finally {
    listening.close();
    await pair.close();
  }
});

test('connections are spread over the local addresses that are given', async () => {
  const localAddresses = ['127.0.0.2', '127.0.0.3'];
  const pair = await startPair({ count: 20, agents: 2, links: 2, localAddresses });
  try {
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual([...pair.proxy.clients].sort(), localAddresses);
  } finally {
    await pair.close();
  }
});

test('an attempt is good once, for its agent alone', async () => {
  const pair = await startPair({ count: 1e6, bytesPerSecond: 1e6 });
  try {
    while (pair.far.counter(0, 'tail') < 1) await sleep(5);
    const target = { host: '127.0.0.1', port: pair.port.port, localAddress: undefined };
    const { signal } = new AbortController();
    // The attempts 0 and 1 were used by the two connections of agent 0; there is no agent 1.
    for (const [agent, attempt, fits] of [
      [0, 0, false],
      [1, 5, false],
      [0, 1000, true],
    ] as const) {
      const preamble = { id: pair.id, agent, attempt };
      let heard = 0;
      try {
        const link = await connectLink(target, pair.secret, preamble, signal);
        heard += link.rest.length;
        link.socket.on('data', (bytes) => {
          heard += bytes.length;
          link.socket.destroy();
        });
        link.socket.resume();
        await once(link.socket, 'close');
      } catch {
        // Not admitted.
      }
      deepEqual([agent, attempt, heard > 0], [agent, attempt, fits]);
    }
  } finally {
    await pair.close();
  }
});
