/**
 * Pipes over more than two machines (P9, P12, P14): one that is extended goes on from there.
 *
 * Goal: A → B → C has one name on all three, keeps order, tells the head what is safe, is stopped from any
 * of them, and whatever ends it on one ends it on all within seconds, with the cause told; nobody goes on to
 * a machine that was not granted; machines that wait for each other's turns do not do so for ever.
 * Method: monitors in this process; each machine is paired with the one before it.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExtendedPipe } from '../../src/channel/net/controller.ts';
import { formatAddress, Peers } from '../../src/channel/net/peers.ts';
import type { FarHalf } from '../../src/channel/net/reach.ts';
import { askPipes, askStart, askStop } from '../../src/monitor/local-requests.ts';
import { allowFarModule } from '../../src/monitor/pipe-modules.ts';
import { scratchFolder } from '../commands.ts';
import { beginLoad, type LoadSetting, numbers } from '../load-pipe.ts';
import {
  type Machine,
  newMachine,
  pairedClient,
  startMonitor,
  type TestMonitor,
} from '../monitor-fixture.ts';

allowFarModule('test-pass', {
  url: new URL('../pass-module.ts', import.meta.url),
  options: (sent) => sent,
});

const scratch = scratchFolder();
const HOST = '127.0.0.1';
const addressOf = ({ monitor }: TestMonitor): string => formatAddress(HOST, monitor.port);

/** Lets `client` use `server`, as pairing would. */
function pair(
  client: Machine,
  server: TestMonitor,
  grant: { onward?: readonly string[]; modules?: readonly string[] } = {},
): void {
  pairedClient(server, client, { name: 'before', access: [], ...grant }).close();
  new Peers(client.state).put({
    name: 'next',
    kind: 'server',
    fingerprint: server.identity.fingerprint,
    address: addressOf(server),
    pairedMs: 0,
    access: [],
    copyPaths: [],
  });
}

interface Setting extends LoadSetting {
  /** Stages of the machine in the middle. */
  readonly middle?: FarHalf['stages'];
  /** Where it is to go on to, if not to the next of the row. */
  readonly onward?: unknown;
}

interface Row {
  readonly client: Machine;
  readonly servers: readonly TestMonitor[];
  readonly arrived: number[];
  begin(setting?: Setting): Promise<ExtendedPipe>;
  /** The names of pipes on each server. */
  listed(): Promise<string[][]>;
  gone(): Promise<void>;
}

/** A machine that begins pipes, and others behind it, one behind the other. */
async function machinesInARow(t: TestContext, count = 2): Promise<Row> {
  const servers: TestMonitor[] = [];
  for (let i = 0; i < count; i++) servers.push(await startMonitor(t));
  const client = await newMachine();
  let before: Machine = client;
  for (const [i, server] of servers.entries()) {
    const next = servers[i + 1];
    pair(before, server, next === undefined ? {} : { onward: [addressOf(next)] });
    before = server;
  }
  const arrived: number[] = [];
  const begin = ({ middle = [], onward, ...more }: Setting = {}): Promise<ExtendedPipe> => {
    const [first, ...others] = servers;
    const { port = 0, fingerprint = '' } = first?.monitor ?? {};
    const place = {
      identity: client.identity,
      server: { host: HOST, port, fingerprint },
      arrived,
    };
    return beginLoad(place, more, (last) => {
      let far = last;
      for (const { monitor } of others.reverse()) {
        const machine = (onward ?? { host: HOST, port: monitor.port }) as { host: string };
        far = { stages: middle, onward: { ...far, machine } };
      }
      return far;
    });
  };
  const listed = (): Promise<string[][]> =>
    Promise.all(
      servers.map(async ({ directory }) => (await askPipes(directory)).map(({ name }) => name)),
    );
  const gone = async (): Promise<void> => {
    while ((await listed()).flat().length > 0) await sleep(20);
  };
  return { client, servers, arrived, begin, listed, gone };
}

for (const flow of ['push', 'pull'] as const) {
  test(`a pipe over three machines has one name, and keeps its order (${flow})`, async (t) => {
    const { begin, arrived, listed, gone, servers } = await machinesInARow(t);
    const middle = [
      { name: 'pass', modules: [{ name: 'test-pass' }], instances: 3 },
      { name: 'narrow', modules: [{ name: 'test-pass' }] },
    ];
    // It is not over before it was looked at.
    const heldUntil = join(scratch, flow);
    const head = { count: 300, heldAt: 200, heldUntil };
    const pipe = await begin({ flow, head, middle, links: 3 });
    deepEqual(await listed(), [[pipe.name], [pipe.name]]);
    const [between] = await askPipes(servers[0]?.directory ?? '');
    deepEqual(
      between?.stages.map(({ name }) => name),
      ['receive', 'pass', 'narrow', 'send'],
    );
    writeFileSync(heldUntil, '');
    const counters = await pipe.done;
    deepEqual(arrived, numbers(300));
    const far = `${addressOf(servers[1] as TestMonitor)}/${flow === 'push' ? 'receive' : 'send'}`;
    for (const stage of ['send', 'receive', far]) equal(counters[stage]?.[0], 300, stage);
    await gone();
  });
}

for (const agents of [1, 3]) {
  test(`machines that a pipe only goes through need no stages (${agents} agents)`, async (t) => {
    const { begin, arrived, gone } = await machinesInARow(t, 3);
    await (await begin({ flow: 'pull', head: { count: 120 }, agents, links: 3 })).done;
    deepEqual(arrived, numbers(120));
    await gone();
  });
}

for (const flow of ['push', 'pull'] as const) {
  test(`what is safe at the tail is told to the head (${flow})`, async (t) => {
    const { begin, gone } = await machinesInARow(t);
    const safe: unknown[] = [];
    const told: unknown[] = [];
    const pipe = await begin({
      flow,
      head: { count: 40 },
      tail: { safeEvery: 10, slowMs: 1 },
      onSafe: (value) => safe.push(value),
      onFarPost: (_stage, _instance, message) => told.push(message),
    });
    await pipe.done;
    if (flow === 'push') deepEqual(safe, [10, 20, 30, 40]);
    else {
      const heard = told.find((one): one is { told: number[] } => 'told' in (one as object));
      ok((heard?.told ?? []).every((value, i) => value === (i + 1) * 10));
    }
    await gone();
  });
}

test('a module is asked on whatever machine it is', async (t) => {
  const { begin, gone } = await machinesInARow(t);
  const pipe = await begin({
    head: { count: 1e6 },
    tail: { slowMs: 1 },
    middle: [{ name: 'pass', modules: [{ name: 'test-pass', options: 'middle' }] }],
  });
  deepEqual(await pipe.controlFar('pass', {}), ['middle']);
  while (Number((await pipe.controlFar('tail', {}))[0]) === 0) await sleep(5);
  await rejects(pipe.controlFar('nowhere', {}), { code: 'PIPE_CONFIG' });
  await pipe.stop();
  await gone();
});

test('whatever ends it on one of three machines ends it on all', async (t) => {
  const { begin, gone, servers } = await machinesInARow(t);
  for (const flow of ['push', 'pull'] as const) {
    for (const place of [0, 1, 2]) {
      await t.test(`machine ${place} stops it (${flow})`, async () => {
        const pipe = await begin({ flow, head: { count: 1e6 }, tail: { slowMs: 2 } });
        while ((pipe.near.counter(0) ?? 0) < 10) await sleep(5);
        const over = rejects(pipe.done, { code: 'PIPE_STOPPED' });
        if (place === 0) await pipe.stop();
        else await askStop(servers[place - 1]?.directory ?? '', pipe.name);
        await over;
        await gone();
      });
    }
    for (const [where, setting] of [
      ['head', { head: { count: 1000, failsAt: 30 } }],
      ['tail', { tail: { failsAt: 30 } }],
      ['middle', { middle: [{ name: 'bad', modules: [{ name: 'test-pass', options: 30 }] }] }],
    ] as const) {
      await t.test(`it fails at the ${where} (${flow})`, async () => {
        const said = servers.map(({ log }) => log.length);
        const pipe = await begin({ flow, ...setting });
        await rejects(pipe.done, { message: /fails when it is told to/ });
        await gone();
        for (const [i, { log }] of servers.entries()) {
          match(log.slice(said[i]).join('\n'), /fails when it is told to/);
        }
      });
    }
  }
});

for (const place of [0, 1]) {
  test(`server ${place} that is ended takes the pipe with it`, async (t) => {
    const { begin, servers } = await machinesInARow(t);
    const pipe = await begin({ head: { count: 1e6 }, tail: { slowMs: 2 } });
    while ((pipe.near.counter(0, 'send') ?? 0) < 10) await sleep(5);
    const over = rejects(pipe.done, { code: 'PIPE_STOPPED', message: /the monitor ends/ });
    await servers[place]?.monitor.close(0);
    await over;
    const other = servers[1 - place];
    while ((await askPipes(other?.directory ?? '')).length > 0) await sleep(20);
  });
}

test('nobody goes on to a machine that he was not granted, or that is not known', async (t) => {
  const { begin, client, servers, gone } = await machinesInARow(t);
  const [middle, last] = servers as [TestMonitor, TestMonitor];
  pair(client, middle);
  await rejects(begin(), { code: 'NET_DENIED', message: /lets before reach no other one/ });
  pair(client, middle, { onward: [addressOf(last), `${HOST}:1`] });
  await rejects(begin({ onward: { host: HOST, port: 1 } }), { code: 'NET_UNTRUSTED' });
  for (const onward of [{ port: 1 }, { host: 5 }, { host: 'x\ny' }, { host: 'x', port: 1e9 }]) {
    await rejects(begin({ onward }), { code: 'PIPE_CONFIG' }, JSON.stringify(onward));
  }
  await gone();
});

/** Two machines, or three, that all want the one device of each other at the same time. */
for (const count of [2, 3]) {
  test(`${count} machines that want each other's devices all get their turn`, async (t) => {
    const machines: TestMonitor[] = [];
    for (let i = 0; i < count; i++) machines.push(await startMonitor(t));
    const modules = ['unbound'];
    for (const one of machines) {
      for (const other of machines) {
        const onward = machines.map(addressOf);
        if (one !== other) pair(one, other, { modules, onward });
      }
    }
    const device = 'tape';
    for (const [i, { directory }] of machines.entries()) {
      await askStart(directory, { name: `first-${i}`, through: [], device });
    }
    const wanted = machines.map((_, i) => `wants-all-${i}`);
    for (const [i, { directory }] of machines.entries()) {
      // Each begins with itself, and goes round.
      const others = [...machines.slice(i + 1), ...machines.slice(0, i)];
      const parts = others.map(({ monitor }) => {
        return { host: HOST, port: monitor.port, through: [], device };
      });
      const far = { flow: 'push', machines: parts } as const;
      const started = await askStart(directory, { name: wanted[i], through: [], device, far });
      equal(started.state, 'queued');
    }
    const running = async (): Promise<string[][]> =>
      Promise.all(
        machines.map(async ({ directory }) =>
          (await askPipes(directory)).flatMap(({ name, state }) =>
            state === 'running' ? [name] : [],
          ),
        ),
      );
    for (const [i, { directory }] of machines.entries()) await askStop(directory, `first-${i}`);
    const had = new Set<string>();
    while (had.size < count) {
      const names = await running();
      ok(names.flat().length <= count, 'a device has one pipe at a time');
      const [name = ''] = names[0] ?? [];
      if (names.every((list) => list.length === 1 && list[0] === name)) {
        ok(wanted.includes(name));
        had.add(name);
        await askStop(machines[0]?.directory ?? '', name);
      } else await sleep(20);
    }
  });
}
