/**
 * An agent that runs beside the event loop of who starts its pipe, one stage with what takes its buffers.
 *
 * Goal: whatever breaks its connection, and whoever speaks out of turn, each buffer is handed on once, whole and in
 * order, though nothing behind it puts them in order.
 * Method: two halves of a pipe with a proxy between that cuts the connection again and again; a peer that sends
 * a later number first.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FRAME_BYTES, FRAME_KIND, newFrame, writeFrame } from '../../src/channel/net/frame.ts';
import { connectLink } from '../../src/channel/net/link-setup.ts';
import { type Pair, sealed, startPair } from '../agent-pair.ts';

const COUNT = 300;
const CUTS = 5;

/** Waits a little; throws where the pipe has failed. */
function watch({ far }: Pair): () => Promise<void> {
  let failed: unknown;
  far.done.catch((thrown) => {
    failed = thrown;
  });
  return async () => {
    if (failed !== undefined) throw failed;
    await sleep(5);
  };
}

test('a connection that breaks again and again leaves all in order', async () => {
  const plan = {
    count: COUNT,
    links: 1,
    ordered: true,
    beside: true,
    bytesPerSecond: 5e6,
  } as const;
  const pair = await startPair({ ...plan, flow: 'pull' });
  const look = watch(pair);
  try {
    for (let cut = 1; cut <= CUTS; cut++) {
      while (pair.far.counter(1, 'receive') === 0 || pair.far.counter(3, 'receive') < cut) {
        await look();
      }
      pair.proxy.fault({ how: cut % 2 === 0 ? 'flip' : 'cut' });
    }
    await Promise.all([pair.near.done, pair.far.done]);
    deepEqual(
      pair.arrived(),
      Array.from({ length: COUNT }, (_, i) => i),
    );
    ok(pair.far.counter(3, 'receive') > 1, 'it was connected again');
  } finally {
    await pair.close();
  }
});

test('a number out of its turn ends the connection that brings it, and is not handed on', async () => {
  const pair = await startPair({
    count: 1e6,
    links: 1,
    ordered: true,
    beside: true,
    bytesPerSecond: 1e5,
  });
  const target = { host: '127.0.0.1', port: pair.port.port, localAddress: undefined };
  const preamble = { id: pair.id, agent: 0, attempt: 1000 };
  const { signal } = new AbortController();
  try {
    const link = await connectLink(target, pair.secret, preamble, signal);
    const bytes = Buffer.alloc(FRAME_BYTES);
    // Far ahead of what the true peer has sent by then, at its rate.
    writeFrame(bytes, 0, { ...newFrame(), kind: FRAME_KIND.data, sequence: 500_000 });
    link.socket.write(sealed(link.cipher, bytes));
    link.socket.resume();
    if (!link.socket.closed) await once(link.socket, 'close');
    const before = pair.far.counter(0, 'receive');
    const look = watch(pair);
    while (pair.far.counter(0, 'receive') < before + 4) await look();
    equal(pair.far.counter(2, 'receive'), 0, 'nothing came twice');
  } finally {
    await pair.close();
  }
});
