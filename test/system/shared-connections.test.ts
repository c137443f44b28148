/**
 * Pipes that share connections between two machines (P11).
 *
 * Goal: several pipes over the same connections each arrive whole and in order; one whose tail does not read
 * holds up no other; connections that break are made again; another machine's pipes are out of reach;
 * nothing is left when the last pipe has ended; and a thread of theirs that dies is told to who uses it, and
 * replaced.
 * Method: a monitor in this process; its ports are behind proxies that count and break connections. The threads
 * are seen when they are made: first that of who begins the pipe, then the monitor's.
 */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import type { ExtendedPipe } from '../../src/channel/net/controller.ts';
import { askPipes } from '../../src/monitor/local-requests.ts';
import { startBehindProxies } from '../behind-proxies.ts';
import { scratchFolder } from '../commands.ts';
import type { LinkProxy } from '../link-proxy.ts';
import { beginLoad, type LoadSetting, numbers } from '../load-pipe.ts';
import { type Machine, newMachine, pairedClient } from '../monitor-fixture.ts';

const scratch = scratchFolder();
const LINKS = 2;

interface Begun {
  readonly pipe: ExtendedPipe;
  readonly arrived: number[];
}

interface Setting extends LoadSetting {
  readonly client?: Machine;
}

interface Place {
  /** In front of the data port. */
  readonly data: LinkProxy;
  readonly directory: string;
  begin(setting?: Setting): Promise<Begun>;
  newClient(): Promise<Machine>;
}

async function place(t: TestContext): Promise<Place> {
  const { far: server, data } = await startBehindProxies(t);
  const { port, fingerprint } = server.monitor;
  const newClient = async (): Promise<Machine> => {
    const machine = await newMachine();
    pairedClient(server, machine, { access: [] }).close();
    return machine;
  };
  const first = await newClient();
  const begin = async ({ head, client = first, ...more }: Setting = {}): Promise<Begun> => {
    const arrived: number[] = [];
    const { identity } = client;
    const pipe = await beginLoad(
      { identity, server: { host: '127.0.0.1', port, fingerprint }, arrived },
      { payloadBytes: 100_000, shared: true, links: LINKS, head: { count: 200, ...head }, ...more },
    );
    return { pipe, arrived };
  };
  return { data, directory: server.directory, begin, newClient };
}

test('pipes of both directions share as many connections as the first has said', async (t) => {
  const { begin, data, directory } = await place(t);
  const flows = ['push', 'pull', 'push', 'pull'] as const;
  // None of them is over before all have begun.
  const heldUntil = join(scratch, 'all have begun');
  const head = { heldAt: 100, heldUntil };
  const begun = await Promise.all(flows.map((flow) => begin({ flow, head })));
  writeFileSync(heldUntil, '');
  for (const { pipe, arrived } of begun) {
    await pipe.done;
    deepEqual(arrived, numbers(200));
  }
  equal(data.connections, LINKS);
  while (data.open > 0) await sleep(10);
  // Those of the next pipe are new ones.
  const { pipe, arrived } = await begin({ agents: 2, links: LINKS * 2 });
  await pipe.done;
  deepEqual(arrived, numbers(200));
  equal(data.connections, LINKS + LINKS * 2);
  while (data.open > 0 || (await askPipes(directory)).length > 0) await sleep(10);
});

test('a pipe whose tail does not take anything holds up no other', async (t) => {
  const { begin, data } = await place(t);
  const stuck = await begin({ head: { count: 1e6 }, tail: { slowMs: 3_600_000 }, links: 1 });
  // It has sent what it may.
  let sent = -1;
  for (let seen = 0; seen !== sent || seen === 0; seen = stuck.pipe.near.counter(1, 'send')) {
    sent = seen;
    await sleep(200);
  }
  const { pipe, arrived } = await begin({ links: 1, head: { count: 500 } });
  await pipe.done;
  deepEqual(arrived, numbers(500));
  equal(data.connections, 1);
  const over = rejects(stuck.pipe.done, { code: 'PIPE_STOPPED' });
  await stuck.pipe.stop();
  await over;
  while (data.open > 0) await sleep(10);
});

test('connections that break are made again, and no byte is lost or doubled', async (t) => {
  const { begin, data, directory } = await place(t);
  const begun = await Promise.all(
    (['push', 'pull', 'push'] as const).map((flow) =>
      begin({ flow, head: { count: 300 }, bytesPerSecond: 4e6 }),
    ),
  );
  const over = Promise.all(begun.map(({ pipe }) => pipe.done));
  let isOver = false;
  const mark = (): void => {
    isOver = true;
  };
  over.then(mark, mark);
  const faults = [
    { how: 'cut' },
    { how: 'stall', ms: 200 },
    { how: 'flip' },
    { how: 'truncate', bytes: 5000, towards: 'client' },
  ] as const;
  // Then it may come to its end.
  for (let i = 0; !isOver && i < 8; i++) {
    while (data.open < LINKS && !isOver) await sleep(10);
    await Promise.race([over, data.after(100_000, () => undefined)]);
    data.fault(faults[i % faults.length] as (typeof faults)[number], i % LINKS);
    await sleep(200);
  }
  await over;
  for (const { arrived } of begun) deepEqual(arrived, numbers(300));
  ok(data.connections > LINKS, 'some broke');
  while (data.open > 0 || (await askPipes(directory)).length > 0) await sleep(10);
});

test('without any connection for long the pipe ends on both sides', async (t) => {
  const { begin, data, directory } = await place(t);
  const endless = { head: { count: 1e6 }, tail: { slowMs: 2 } } as const;
  // On a slow machine the first connection takes longer than that.
  const running = async (lostMs: number): Promise<ExtendedPipe> => {
    const { pipe } = await begin({ ...endless, lostMs });
    let isOver = false;
    const mark = (): void => {
      isOver = true;
    };
    pipe.done.then(mark, mark);
    while (pipe.near.counter(0, 'send') < 10 && !isOver) await sleep(5);
    return isOver ? running(2 * lostMs) : pipe;
  };
  const pipe = await running(500);
  data.down = true;
  data.fault({ how: 'cut' });
  await rejects(pipe.done, { code: 'NET_LOST' });
  while ((await askPipes(directory)).length > 0) await sleep(10);
});

test('two machines, and pipes that do not share, keep to their own', async (t) => {
  const { begin, data, newClient } = await place(t);
  const other = await newClient();
  const begun = await Promise.all([
    begin(),
    begin({ client: other }),
    begin({ shared: false, links: 3 }),
  ]);
  for (const { pipe, arrived } of begun) {
    await pipe.done;
    deepEqual(arrived, numbers(200));
  }
  equal(data.connections, 2 * LINKS + 3);
});

test('nothing is left of connections that were shared', async (t) => {
  const { begin, data } = await place(t);
  const round = async (): Promise<void> => {
    await (await begin({ head: { count: 20 } })).pipe.done;
    while (data.open > 0) await sleep(10);
  };
  const open = (): number => readdirSync('/proc/self/fd').length;
  const threads = (): number => readdirSync('/proc/self/task').length;
  await round();
  await sleep(500);
  const before = [open(), threads()] as const;
  for (let i = 0; i < 4; i++) await round();
  while (open() > before[0] || threads() > before[1]) await sleep(50);
});

/** The threads of shared connections, in the order in which they are made from now on. */
function sharedThreads(t: TestContext): Worker[] {
  const threads: Worker[] = [];
  const note = (worker: Worker): void => {
    if (worker.threadName === 'shared') threads.push(worker);
  };
  process.on('worker', note);
  t.after(() => process.off('worker', note));
  return threads;
}

const DEATHS = {
  /** It takes no message but those that it knows. */
  'fails by an error': (thread: Worker) => thread.postMessage(null),
  'ends without a word': (thread: Worker) => void thread.terminate(),
} as const;
for (const [side, which] of [
  ['who begins', 0],
  ['the monitor', 1],
] as const) {
  for (const [how, end] of Object.entries(DEATHS)) {
    test(`the thread of ${side} ${how}: its pipes say so, the next has a new one`, async (t) => {
      const threads = sharedThreads(t);
      const { begin, data, directory } = await place(t);
      const endless = { head: { count: 1e6 }, tail: { slowMs: 2 } } as const;
      const begun = await Promise.all([
        begin({ ...endless, flow: 'push' }),
        begin({ ...endless, flow: 'pull' }),
      ]);
      while ((begun[0]?.pipe.near.counter(0, 'send') ?? 0) < 3) await sleep(5);
      while ((begun[1]?.pipe.near.counter(0, 'receive') ?? 0) < 3) await sleep(5);
      equal(threads.length, 2);
      end(threads[which] as Worker);
      const told = { code: 'NET_LOST', message: /the thread of shared connections/ };
      await Promise.all(begun.map(({ pipe }) => rejects(pipe.done, told)));
      while ((await askPipes(directory)).length > 0) await sleep(10);
      const { pipe, arrived } = await begin();
      await pipe.done;
      deepEqual(arrived, numbers(200));
      equal(threads.length, 4);
      while (data.open > 0) await sleep(10);
    });
  }
}
