/**
 * More pipes than a monitor has room for (P13; issue 3, item 8).
 *
 * Goal: what does not fit waits its turn, is shown with its place, can be stopped by name, leaves when who
 * asked goes away or has waited long enough, and runs when there is room; a pipe is content with fewer
 * buffers where it says so; a device has one pipe at a time.
 * Method: a monitor in this process with little memory; pipes that go on until they are ended.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ExtendedPipe,
  type ExtendOptions,
  extendPipe,
} from '../../src/channel/net/controller.ts';
import type { PipeSettings } from '../../src/monitor/context.ts';
import { askPipes, askStop } from '../../src/monitor/local-requests.ts';
import { allowFarModule } from '../../src/monitor/pipe-modules.ts';
import type { PipeView } from '../../src/monitor/pipe-view.ts';
import { copy } from '../../src/mover/copy.ts';
import { LOAD_MODULE, LOAD_WORDS, type LoadOptions } from '../agent-load.ts';
import { scratchFolder } from '../commands.ts';
import {
  clientOf,
  type Machine,
  newMachine,
  pairedClient,
  startMonitor,
  type TestMonitor,
} from '../monitor-fixture.ts';
import { noise } from '../tree-make.ts';

allowFarModule('test-load', { url: LOAD_MODULE, options: (sent) => sent });

const scratch = scratchFolder();

interface Setting {
  readonly server: TestMonitor;
  readonly client: Machine;
  begin(more?: Begin): Promise<ExtendedPipe>;
  pipes(): Promise<PipeView[]>;
}
type Begin = Partial<ExtendOptions> & {
  readonly count?: number;
  readonly farBuffers?: Partial<ExtendOptions['far']>;
};

const PAYLOAD_BYTES = 60_000;
/** As the monitor counts it: with the room for a header. */
const BUFFER_BYTES = PAYLOAD_BYTES + 4096;

async function setUp(t: TestContext, pipes: Partial<PipeSettings>): Promise<Setting> {
  const server = await startMonitor(t, { pipes });
  const client = await newMachine();
  pairedClient(server, client, { access: [] }).close();
  const { port, fingerprint } = server.monitor;
  const begin = ({ count = 1e6, farBuffers = {}, ...more }: Begin = {}): Promise<ExtendedPipe> => {
    const head: LoadOptions = { count };
    return extendPipe({
      identity: client.identity,
      server: { host: '127.0.0.1', port, fingerprint },
      program: 'test',
      flow: 'push',
      ...LOAD_WORDS,
      near: {
        maxBuffers: 4,
        payloadBytes: PAYLOAD_BYTES,
        stages: [{ name: 'head', modules: [{ module: LOAD_MODULE, options: head }] }],
      },
      far: {
        stages: [{ name: 'tail', modules: [{ name: 'test-load', options: { slowMs: 1 } }] }],
        maxBuffers: 4,
        ...farBuffers,
      },
      ...more,
    });
  };
  return { server, client, begin, pipes: () => askPipes(server.directory) };
}

/** Begins a pipe that has to wait: resolves with its place, and the pipe that it becomes. */
async function queued(
  setting: Setting,
  more: Begin = {},
): Promise<{ place: number; pipe: Promise<ExtendedPipe> }> {
  const told = Promise.withResolvers<number>();
  const pipe = setting.begin({ ...more, onQueued: (place) => told.resolve(place) });
  pipe.then(
    () => told.reject(new Error('it did not wait')),
    (thrown) => told.reject(thrown),
  );
  return { place: await told.promise, pipe };
}

// One machine may have half of it: four buffers.
const ROOM_FOR_ONE: Partial<PipeSettings> = { memoryBytes: 8 * BUFFER_BYTES };

test('a pipe for which there is no room waits, is shown, and runs when there is room', async (t) => {
  const setting = await setUp(t, ROOM_FOR_ONE);
  const first = await setting.begin();
  const second = await queued(setting, { count: 20 });
  const third = await queued(setting, { count: 20 });
  deepEqual([second.place, third.place], [1, 2]);
  const shown = (await setting.pipes()).map(({ state, place, name }) => ({ state, place, name }));
  deepEqual(shown[0], { state: 'running', place: undefined, name: first.name });
  deepEqual(
    shown.slice(1).map(({ state, place }) => [state, place]),
    [
      ['queued', 1],
      ['queued', 2],
    ],
  );
  // Who began them sees them over the network, held against the description of the API.
  const api = clientOf(setting.server, setting.client);
  t.after(() => api.close());
  const listed = await api.json<{ pipes: PipeView[] }>('GET', '/v1/pipes');
  deepEqual(
    listed.pipes.map(({ state, place }) => [state, place]),
    [
      ['running', undefined],
      ['queued', 1],
      ['queued', 2],
    ],
  );
  await first.stop();
  for (const { pipe } of [second, third]) {
    const { done, near } = await pipe;
    await done;
    equal(near.counter(0, 'send'), 20);
  }
  while ((await setting.pipes()).length > 0) await sleep(10);
});

test('a pipe that waits is stopped by name, and the one behind it moves up', async (t) => {
  const setting = await setUp(t, ROOM_FOR_ONE);
  const first = await setting.begin();
  const places: number[] = [];
  const second = await queued(setting);
  const third = setting.begin({ onQueued: (place) => places.push(place) });
  while (places.length === 0) await sleep(5);
  const [, { name } = { name: '' }] = await setting.pipes();
  const refused = rejects(second.pipe, { code: 'PIPE_STOPPED', message: /the user has stopped/ });
  await askStop(setting.server.directory, name);
  await refused;
  while (places.length < 2) await sleep(5);
  deepEqual(places, [2, 1]);
  equal((await setting.pipes()).length, 2);
  await first.stop();
  await (await third).stop();
});

test('who gives up, is cut off, or has waited long enough leaves the queue', async (t) => {
  const setting = await setUp(t, ROOM_FOR_ONE);
  const first = await setting.begin();
  const leaving = new AbortController();
  const { pipe } = await queued(setting, { signal: leaving.signal });
  leaving.abort(new Error('changed its mind'));
  await rejects(pipe, /changed its mind/);
  while ((await setting.pipes()).length > 1) await sleep(10);
  const late = await queued(setting, { queueMs: 50 });
  await rejects(late.pipe, { code: 'NET_BUSY', message: /had no room for the pipe within 1 s/ });
  while ((await setting.pipes()).length > 1) await sleep(10);
  // A machine that is no longer paired waits for nothing.
  const removed = await queued(setting);
  const { Peers } = await import('../../src/channel/net/peers.ts');
  const refused = rejects(removed.pipe, (error: { code?: string }) => {
    ok(['NET_REFUSED', 'NET_LOST'].includes(error.code ?? ''), String(error.code));
    return true;
  });
  new Peers(setting.server.state).remove(setting.client.identity.fingerprint, 'client');
  await refused;
  await rejects(first.done);
  while ((await setting.pipes()).length > 0) await sleep(10);
});

test('a pipe gets what is free, where it is content with that', async (t) => {
  const setting = await setUp(t, { memoryBytes: 12 * BUFFER_BYTES });
  const first = await setting.begin();
  const second = await setting.begin({ count: 50, farBuffers: { minBuffers: 2 } });
  const totals = (await setting.pipes()).map(({ buffers }) => buffers.total);
  deepEqual(totals, [4, 2]);
  await second.done;
  await rejects(setting.begin({ farBuffers: { maxBuffers: 7 } }), {
    code: 'LIMIT',
    message: /the pipe needs .* at least/,
  });
  await first.stop();
});

test('a device has one pipe at a time, or as many as are allowed; others pass', async (t) => {
  const setting = await setUp(t, { devices: new Map([['pair', 2]]) });
  const first = await setting.begin({ farBuffers: { device: 'tape' } });
  const second = await queued(setting, { farBuffers: { device: 'tape' }, count: 5 });
  const other = await setting.begin();
  const [one, two] = [
    await setting.begin({ farBuffers: { device: 'pair' } }),
    await setting.begin({ farBuffers: { device: 'pair' } }),
  ];
  const third = await queued(setting, { farBuffers: { device: 'pair' } });
  deepEqual([second.place, third.place], [1, 2]);
  const devices = (await setting.pipes()).map(({ device, state }) => `${device} ${state}`);
  deepEqual(devices.sort(), [
    'pair queued',
    'pair running',
    'pair running',
    'tape queued',
    'tape running',
    'undefined running',
  ]);
  await first.stop();
  await (await second.pipe).done;
  await one.stop();
  for (const pipe of [other, two, await third.pipe]) await pipe.stop();
});

test('the monitor that ends tells those that wait', async (t) => {
  const setting = await setUp(t, ROOM_FOR_ONE);
  const first = await setting.begin();
  const { pipe } = await queued(setting);
  const told = rejects(pipe, { code: 'PIPE_STOPPED', message: /the monitor ends/ });
  await setting.server.monitor.close(0);
  await told;
  await rejects(first.done);
  match(setting.server.log.join('\n'), /did not begin/);
});

test('a copy waits its turn, and is content with fewer buffers', async (t) => {
  const there = join(scratch, 'there');
  const source = join(scratch, 'source');
  for (const folder of [there, source]) mkdirSync(folder);
  writeFileSync(join(source, 'file'), noise(3_000_000, 'file'));
  // For a copy, less than it would like; and nothing beside the first pipe.
  const setting = await setUp(t, { memoryBytes: 24_000_000 });
  const { server, client } = setting;
  pairedClient(server, client, { access: [], copyPaths: [there] }).close();
  const first = await setting.begin({ farBuffers: { maxBuffers: 120 } });
  const { port, fingerprint } = server.monitor;
  const queuedAt = Promise.withResolvers<number>();
  const copied = copy({
    source: { path: source },
    target: { path: there, server: { host: '127.0.0.1', port, fingerprint } },
    network: { identity: client.identity, links: 2, onQueued: (place) => queuedAt.resolve(place) },
    owners: true,
    dryRun: false,
    byNumber: false,
    syncs: false,
    threads: 2,
    signal: new AbortController().signal,
    onProblem: (path, error) => queuedAt.reject(new Error(`${path}: ${error.message}`)),
    onProgress: () => undefined,
  });
  copied.catch((thrown) => queuedAt.reject(thrown));
  equal(await queuedAt.promise, 1);
  const programs = (await setting.pipes()).map(({ program, state }) => `${program} ${state}`);
  ok(programs.includes('copy queued'), programs.join());
  await first.stop();
  equal((await copied).filesDone, 1);
  deepEqual(readFileSync(join(there, 'file')), readFileSync(join(source, 'file')));
});
