/**
 * Pipes across machines (P8, P9, P12, P14): two machines with state folders of their own.
 *
 * Goal: a pipe that one machine begins runs on both under one name, in both directions; is shown and
 * stopped on either; and whatever ends one half ends the other within seconds, with the cause told.
 * Method: a monitor in this process as the far machine, or one in a process that is killed.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PenstockError } from '../../src/base/errors.ts';
import type { ExtendedPipe, ExtendOptions } from '../../src/channel/net/controller.ts';
import { askPipes, askStop } from '../../src/monitor/local-requests.ts';
import type { PipeView } from '../../src/monitor/pipe-view.ts';
import type { LoadOptions } from '../agent-load.ts';
import { beginLoad, type LoadSetting, numbers } from '../load-pipe.ts';
import {
  type Machine,
  newMachine,
  pairedClient,
  startMonitor,
  type TestMonitor,
} from '../monitor-fixture.ts';

interface Started {
  readonly server: TestMonitor;
  readonly client: Machine;
  readonly pipe: ExtendedPipe;
  /** What the tail has got. */
  readonly arrived: number[];
  /** Pipes on the far machine, as its administrator sees them. */
  pipes(): Promise<PipeView[]>;
}

async function start(t: TestContext, setting: LoadSetting = {}): Promise<Started> {
  const server = await startMonitor(t);
  const client = await newMachine();
  const api = pairedClient(server, client, { access: [] });
  t.after(() => api.close());
  const arrived: number[] = [];
  const { port, fingerprint } = server.monitor;
  const { identity } = client;
  const place = { identity, server: { host: '127.0.0.1', port, fingerprint }, arrived };
  const pipe = await beginLoad(place, setting);
  return { server, client, pipe, arrived, pipes: () => askPipes(server.directory) };
}

/** Waits until nothing of the pipe is left on the far machine. */
async function gone({ pipes }: Started): Promise<void> {
  while ((await pipes()).length > 0) await sleep(20);
}

for (const flow of ['push', 'pull'] as const) {
  test(`a pipe runs on both machines under one name (${flow})`, async (t) => {
    const started = await start(t, { flow, head: { count: 150 } });
    const { pipe, arrived } = started;
    const counters = await pipe.done;
    deepEqual(arrived, numbers(150));
    match(pipe.name, /^.+-\d+-\d{13}-\d+$/);
    equal(counters[flow === 'push' ? 'receive' : 'send']?.[0], 150);
    await gone(started);
  });
}

test('a running pipe is shown on the far machine, and may be stopped there by name', async (t) => {
  const started = await start(t, { head: { count: 1e6 }, tail: { slowMs: 5 } });
  const { pipe, server } = started;
  while ((pipe.near.counter(0, 'send') ?? 0) < 10) await sleep(10);
  const [view] = await started.pipes();
  equal(view?.name, pipe.name);
  equal(view?.program, 'test');
  deepEqual(
    view?.stages.map(({ name, role, instances }) => [name, role, instances.length]),
    [
      ['receive', 'head', 1],
      ['tail', 'tail', 1],
    ],
  );
  ok((view?.buffers.total ?? 0) === 6 && (view?.stages[1]?.instances[0]?.received ?? 0) > 0);
  await rejects(askStop(server.directory, 'no-such-pipe'), { code: 'PIPE_UNKNOWN' });
  await askStop(server.directory, pipe.name);
  await rejects(pipe.done, (error: PenstockError) => {
    equal(error.code, 'PIPE_STOPPED');
    match(error.message, /the user has stopped the pipe/);
    return true;
  });
  deepEqual(await started.pipes(), []);
});

test('who began a pipe sees and stops it over the network; another machine does not', async (t) => {
  const started = await start(t, { head: { count: 1e6 }, tail: { slowMs: 5 } });
  const { server, client, pipe } = started;
  const own = pairedClient(server, client, { access: [] });
  const stranger = pairedClient(server, await newMachine(), { access: [], name: 'other' });
  const admin = pairedClient(server, await newMachine(), { name: 'admin' });
  t.after(() => [own, stranger, admin].forEach((api) => void api.close()));
  const listed = async (api: typeof own) =>
    (await api.json<{ pipes: PipeView[] }>('GET', '/v1/pipes')).pipes.map(({ name }) => name);
  deepEqual(await listed(own), [pipe.name]);
  deepEqual(await listed(stranger), []);
  deepEqual(await listed(admin), [pipe.name]);
  const metrics = (await admin.request('GET', '/metrics')).body.toString();
  match(metrics, /^penstock_pipes 1$/m);
  match(metrics, /^penstock_pipes_segment_bytes [1-9]\d+$/m);
  await rejects(stranger.request('DELETE', `/v1/pipes/${pipe.name}`), { code: 'PIPE_UNKNOWN' });
  await own.request('DELETE', `/v1/pipes/${pipe.name}`);
  await rejects(pipe.done, { code: 'PIPE_STOPPED' });
});

test('the initiator stops both halves', async (t) => {
  const started = await start(t, { head: { count: 1e6 }, tail: { slowMs: 5 } });
  await started.pipe.stop('enough');
  await rejects(started.pipe.done, { code: 'PIPE_STOPPED', message: 'enough' });
  await gone(started);
});

test('a failure of either half, or a thread that is gone, is the cause that both tell', async (t) => {
  for (const flow of ['push', 'pull'] as const) {
    for (const part of ['head', 'tail'] as const) {
      const exits = (flow === 'push') === (part === 'head');
      const started = await start(t, {
        flow,
        head: { count: 1000 },
        [part]: {
          [exits ? 'exitsAt' : 'failsAt']: 20,
          count: part === 'head' ? 1000 : undefined,
        } as LoadOptions,
      });
      await rejects(started.pipe.done, (error: PenstockError) => {
        equal(error.code, 'PIPE_FAILED');
        match(
          error.message,
          new RegExp(
            `${part}\\.0: .*${exits ? 'its thread ended with code' : 'when it is told to'}`,
          ),
        );
        return true;
      });
      await gone(started);
    }
  }
});

test('what the tail has made safe reaches the head, and a pipe that is started again goes on there', async (t) => {
  const safe: number[] = [];
  const onSafe = (value: unknown): void => void safe.push(value as number);
  const first = await start(t, {
    head: { count: 100 },
    tail: { failsAt: 57, safeEvery: 10 },
    onSafe,
  });
  await rejects(first.pipe.done, { code: 'PIPE_FAILED' });
  deepEqual(safe, [10, 20, 30, 40, 50]);
  const from = safe.at(-1) ?? 0;
  const again = await start(t, {
    head: { count: 100, from },
    tail: { from, safeEvery: 10 },
    onSafe,
  });
  await again.pipe.done;
  deepEqual(again.arrived, numbers(100).slice(50));
  deepEqual(safe.slice(5), [60, 70, 80, 90, 100]);
});

test('a head on the far machine is told what is safe on this one', async (t) => {
  const posts: unknown[] = [];
  const started = await start(t, {
    flow: 'pull',
    // It does not come to its end before it was told.
    head: { count: 60, heldAt: 30 },
    tail: { safeEvery: 10 },
    onFarPost: (_stage, _instance, message) => posts.push(message),
  });
  await started.pipe.done;
  const [{ told }] = posts as [{ told: number[] }];
  ok(told.length > 0, 'it was told while it ran');
  deepEqual(told, [10, 20, 30, 40, 50, 60].slice(0, told.length));
});

test('control messages and answers reach modules of the far half', async (t) => {
  const started = await start(t, { head: { count: 1e6 }, tail: { slowMs: 2 } });
  while ((started.pipe.near.counter(0, 'send') ?? 0) < 5) await sleep(10);
  const seen = async (): Promise<unknown> =>
    (await started.pipe.controlFar('tail', { type: 'how many' }))[0];
  while (!(Number(await seen()) > 0)) await sleep(10);
  await rejects(started.pipe.controlFar('nowhere', {}), { code: 'PIPE_CONFIG' });
  await started.pipe.stop();
  await gone(started);
});

test('what is asked for wrongly, or not allowed, is refused before anything starts', async (t) => {
  const wrong: Partial<ExtendOptions>[] = [
    { far: { stages: [{ name: 'tail', modules: [{ name: '../evil.ts' }] }] } },
    { far: { stages: [] } },
    { far: { stages: [{ name: 'receive', modules: [{ name: 'test-load' }] }] } },
    { agents: 100_000 },
    { far: { stages: [{ name: 'tail', modules: [{ name: 'test-load' }], instances: -1 }] } },
  ];
  for (const setting of wrong) {
    await rejects(start(t, setting), { code: 'PIPE_CONFIG' });
  }
});

test('removing the pairing ends the pipes of that machine', async (t) => {
  const started = await start(t, { head: { count: 1e6 }, tail: { slowMs: 5 } });
  const { server, client } = started;
  const { Peers } = await import('../../src/channel/net/peers.ts');
  new Peers(server.state).remove(client.identity.fingerprint, 'client');
  await rejects(started.pipe.done, (error: PenstockError) => {
    ok(['NET_REFUSED', 'NET_LOST'].includes(error.code), error.code);
    return true;
  });
  await gone(started);
});

test('the monitor that ends stops its pipes', async (t) => {
  const started = await start(t, { head: { count: 1e6 }, tail: { slowMs: 5 } });
  await started.server.monitor.close(0);
  await rejects(started.pipe.done, (error: PenstockError) => {
    ok(['PIPE_STOPPED', 'NET_LOST'].includes(error.code), error.code);
    return true;
  });
});
