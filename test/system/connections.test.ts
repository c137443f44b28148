/**
 * How many connections carry data to another machine, and from where (P11).
 *
 * Goal: more are made over a long way than over a short one, and they take turns with the addresses of this
 * machine that the user names.
 * Method: a pipe and a backup through proxies that delay, and that tell who came.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../../src/base/limits.ts';
import type { Server } from '../../src/channel/net/api-client.ts';
import { type ExtendedPipe, extendPipe } from '../../src/channel/net/controller.ts';
import { allowFarModule } from '../../src/monitor/pipe-modules.ts';
import { LOAD_MODULE, LOAD_WORDS } from '../agent-load.ts';
import { LinkProxy } from '../link-proxy.ts';
import { newMachine, pairedClient, startMonitor } from '../monitor-fixture.ts';
import { NetProxy } from '../net-proxy.ts';
import { Served } from '../served.ts';
import { noise } from '../tree-make.ts';
import { Workplace } from './workplace.ts';

allowFarModule('test-load', { url: LOAD_MODULE, options: (sent) => sent });

const ADDRESSES = ['127.0.0.2', '127.0.0.3'];
/** There and back. */
const FAR_MS = 50;

/** A pipe to a machine whose control port is behind a proxy. */
async function start(
  t: TestContext,
  delayMs: number,
  options: { readonly agents?: number; readonly links?: number; readonly server?: Partial<Server> },
): Promise<ExtendedPipe> {
  const far = await startMonitor(t);
  const client = await newMachine();
  pairedClient(far, client, { access: [] }).close();
  const proxy = await NetProxy.start(far.monitor.port);
  proxy.delayMs = delayMs;
  t.after(() => proxy.close());
  const { server, ...more } = options;
  const { fingerprint } = far.identity;
  return extendPipe({
    identity: client.identity,
    server: { host: '127.0.0.1', port: proxy.port, fingerprint, ...server },
    program: 'test',
    flow: 'push',
    ...LOAD_WORDS,
    ...more,
    near: {
      maxBuffers: 8,
      payloadBytes: 1000,
      stages: [{ name: 'head', modules: [{ module: LOAD_MODULE, options: { count: 1e6 } }] }],
    },
    far: {
      stages: [{ name: 'tail', modules: [{ name: 'test-load', options: { slowMs: 5 } }] }],
    },
  });
}

/** Which of the addresses connections of this machine come from. */
function connectedFrom(): Set<string> {
  const established = '01';
  const lines = readFileSync('/proc/net/tcp', 'latin1').trim().split('\n').slice(1);
  const local = lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === established)
    .map(([, from = '']) => (from.slice(0, 8).match(/../g) ?? []).reverse())
    .map((bytes) => bytes.map((byte) => Number.parseInt(byte, 16)).join('.'));
  return new Set(local.filter((address) => ADDRESSES.includes(address)));
}

/** Ends a pipe once it has had so many connections. */
async function endWith(pipe: ExtendedPipe, connections: number): Promise<void> {
  pipe.done.catch(() => {});
  while (pipe.near.counter(3, 'send') < connections || pipe.near.counter(0, 'send') < 5) {
    await sleep(5);
  }
  equal(pipe.near.counter(3, 'send'), connections);
  await pipe.stop();
}

test('a pipe over a long way has many connections', async (t) => {
  await endWith(await start(t, FAR_MS, {}), LIMITS.agentsDefaultMax);
});

test('a pipe has as many connections as it was told, over as many threads as they take', async (t) => {
  await endWith(await start(t, 0, { links: 3 }), 3);
  const many = await start(t, 0, { links: LIMITS.linksPerAgentMax + 2 });
  const stages = many.near.status().stages;
  equal(stages.find(({ name }) => name === 'send')?.instances.length, 2);
  await endWith(many, LIMITS.linksPerAgentMax + 2);
});

test('the connections of a pipe take turns with the addresses that it was told', async (t) => {
  const links = 2;
  const pipe = await start(t, 0, { links, server: { localAddresses: ADDRESSES } });
  while (connectedFrom().size < ADDRESSES.length) await sleep(5);
  await endWith(pipe, links);
  const wrong = start(t, 0, { server: { localAddresses: ['192.0.2.77'] } });
  await wrong.then(
    () => ok(false, 'an address that this machine does not have'),
    (error) => equal(error.code, 'NET_UNREACHABLE'),
  );
});

test('a backup to another machine goes from the addresses that the user names', async () => {
  const served = await Served.start('connections', ['home']);
  const place = new Workplace('connections');
  const proxy = await LinkProxy.open(served.port);
  try {
    await served.pair(place.state, 'full', '*', proxy.port);
    place.repo = served.url('home', proxy.port);
    // Enough for several parts at once, each on a connection of its own.
    place.write('file', noise(20_000_000, 'file'));
    const told = ADDRESSES.flatMap((address) => ['--local-address', address]);
    const { done } = place.start(['backup', place.source, ...told]);
    const { status, stderr } = await done;
    equal(status, 0, stderr);
    deepEqual([...proxy.clients].sort(), ADDRESSES);
    const wrong = place.fails(['archives', '--local-address', 'localhost'], 2);
    equal(wrong.code, 'USAGE');
  } finally {
    await proxy.close();
    place.remove();
    await served.remove();
  }
});
