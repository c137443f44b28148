/**
 * Agents that find nobody, or somebody else (P11, P12).
 *
 * Goal: when no connection can be made for the limit both sides end, with NET_LOST, and a shorter absence
 * costs only time; who is not who it should be, or comes with a token that was used, brings nothing.
 * Method: two halves of a pipe in this process with a proxy between.
 */
import { deepEqual, ok, rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { connectLink } from '../../src/channel/net/link-setup.ts';
import { identities, startPair } from '../agent-pair.ts';
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

test('who shows another certificate, or has another secret, brings nothing', async () => {
  const [client] = await identities();
  for (const wrong of [
    { secret: Buffer.alloc(32) },
    // It ends as soon as it sees the certificate, however long that takes.
    { identity: { ...client, peerFingerprint: '0'.repeat(64) }, lostMs: 60_000 },
  ]) {
    const pair = await startPair({ count: 10, lostMs: 600, wrong });
    try {
      await rejects(pair.near.done, { code: 'secret' in wrong ? 'NET_LOST' : 'NET_UNTRUSTED' });
      await rejects(pair.far.done, { code: 'NET_LOST' });
      deepEqual(pair.arrived(), []);
    } finally {
      await pair.close();
    }
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

test('a token is good once, for its agent alone', async () => {
  const [client, server] = await identities();
  const pair = await startPair({ count: 1e6, bytesPerSecond: 1e6 });
  try {
    while (pair.far.counter(0, 'tail') < 1) await sleep(5);
    const identity = { ...client, peerFingerprint: server.fingerprint };
    const target = { host: '127.0.0.1', port: pair.port.port, localAddress: undefined };
    const context = createSecureContext({ cert: client.certPem, key: client.keyPem });
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
        const link = await connectLink(target, identity, context, pair.secret, preamble, signal);
        link.socket.on('data', (bytes) => {
          heard += bytes.length;
          link.socket.destroy();
        });
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
