/**
 * Goal: whatever the network and processes do, again and again, work between two machines comes to its end
 * or is told to have failed; the trees are the same in the end, and nothing is left over.
 * Method: backups, copies and pipes run at once through proxies that do random things (let connections
 * overtake each other by seconds, or break for one side while the other still gets what was sent), and are
 * killed at random, as the daemon is, which is then started again; then nothing is in the way any more. PENSTOCK_SEED chooses what happens, PENSTOCK_SOAK_SECONDS
 * how long (6): `PENSTOCK_SOAK_SECONDS=60 node --test test/fault/soak.test.ts`.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fromText } from '../../src/base/bytes.ts';
import type { PenstockError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { ApiClient, type Server } from '../../src/channel/net/api-client.ts';
import { extendPipe } from '../../src/channel/net/controller.ts';
import { Peers } from '../../src/channel/net/peers.ts';
import { seededRandom } from '../../src/host/mod.ts';
import { LOAD_MODULE, LOAD_WORDS } from '../agent-load.ts';
import { scratchFolder, start, succeed } from '../commands.ts';
import { type Machine, newMachine } from '../monitor-fixture.ts';
import { NetProxy } from '../net-proxy.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';

const SEED = Number(process.env.PENSTOCK_SEED ?? 20_261_121);
const SECONDS = Number(process.env.PENSTOCK_SOAK_SECONDS ?? 6);
const DAEMON = fileURLToPath(new URL('../pipe-daemon.ts', import.meta.url));
/** Where the proxies stand: with the ports of the server, which is at 127.0.0.1. */
const FAR = '127.0.0.7';
const MIB = 1 << 20;
const BUFFERS = 200;
const MAY_FAIL = ['NET_LOST', 'NET_UNREACHABLE', 'NET_BUSY', 'PIPE_STOPPED'];

const scratch = scratchFolder();
const random = seededRandom(SEED);
const draw = (below: number): number => random.bytes(4).readUInt32LE() % below;

class Soak {
  readonly client: Machine;
  process: ChildProcess;
  readonly server: Server;
  readonly proxies: readonly NetProxy[];
  readonly there: string = join(scratch, 'there');
  readonly repository: string = join(scratch, 'repository');
  /** What ended works that ended before their time, how often. */
  readonly ends = new Map<string, number>();
  kills = 0;
  readonly #startAgain: () => Promise<ChildProcess>;
  #isDisturbed = false;
  #works = 0;

  constructor(
    client: Machine,
    process: ChildProcess,
    startAgain: () => Promise<ChildProcess>,
    server: Server,
    proxies: NetProxy[],
  ) {
    this.client = client;
    this.process = process;
    this.#startAgain = startAgain;
    this.server = server;
    this.proxies = proxies;
  }

  /** A daemon whose data port is where it is expected, behind proxies. */
  static async start(t: TestContext): Promise<Soak> {
    const client = await newMachine();
    for (;;) {
      const machine = await newMachine();
      const there = join(scratch, 'there');
      const common = { pairedMs: 0, access: [{ repository: '*', level: 'full' }] } as const;
      const { fingerprint } = client.identity;
      new Peers(machine.state).put({
        ...common,
        ...{ name: 'client', kind: 'client', fingerprint, copyPaths: [there] },
      });
      const args = [DAEMON, machine.directory, '127.0.0.1', join(scratch, 'repository')];
      const run = async (...more: string[]): Promise<readonly [ChildProcess, string]> => {
        const child = spawn(process.execPath, [...args, ...more], {
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        t.after(() => child.kill('SIGKILL'));
        const [line] = await once(createInterface({ input: child.stdout }), 'line');
        return [child, String(line)];
      };
      const [child, line] = await run();
      const told = JSON.parse(line) as Omit<Server, 'host'>;
      const dataPort = told.port + LIMITS.dataPortOffset;
      if (await isTaken(dataPort)) {
        child.kill('SIGKILL');
        continue;
      }
      const proxies = [
        await NetProxy.start(told.port, FAR, told.port),
        await NetProxy.start(dataPort, FAR, dataPort),
      ];
      t.after(() => Promise.all(proxies.map((proxy) => proxy.close())));
      const server = { host: FAR, ...told };
      new Peers(client.state).put({
        ...common,
        ...{ name: 'server', kind: 'server', fingerprint: told.fingerprint, copyPaths: [] },
        address: `${FAR}:${told.port}`,
      });
      mkdirSync(there, { recursive: true });
      const startAgain = async (): Promise<ChildProcess> => (await run(String(told.port)))[0];
      return new Soak(client, child, startAgain, server, proxies);
    }
  }

  get env(): Record<string, string> {
    return {
      PENSTOCK_STATE: this.client.directory,
      PENSTOCK_REPO: `penstock://${FAR}:${this.server.port}/home`,
      PENSTOCK_RECONNECT_LIMIT: this.#isDisturbed ? '4s' : '60s',
    };
  }
  /** A path of the far machine as a command names it. */
  far(name: string): string {
    return `${FAR}:${this.server.port}:${join(this.there, name)}`;
  }

  /** Runs works and faults side by side for a while. */
  async run(seconds: number, works: readonly (() => Promise<string | undefined>)[]): Promise<void> {
    this.#isDisturbed = true;
    const repeat = async (work: () => Promise<string | undefined>): Promise<void> => {
      while (this.#isDisturbed) {
        const end = (await work()) ?? 'done';
        this.ends.set(end, (this.ends.get(end) ?? 0) + 1);
        this.#works++;
        if (end === 'NET_UNREACHABLE') await sleep(200);
      }
    };
    const all = Promise.all([...works.map(repeat), this.#disturb(), this.#kill()]);
    // A work that fails as it must not ends the rest.
    await Promise.race([all, sleep(seconds * 1000)]).finally(() => {
      this.#isDisturbed = false;
    });
    await all;
    ok(this.#works >= works.length);
  }

  #done(): number {
    return this.ends.get('done') ?? 0;
  }

  /** Kills the daemon now and then, and starts it again at the same port a little later. */
  async #kill(): Promise<void> {
    while (this.#isDisturbed) {
      // On a machine that is busy otherwise something is to come to its end all the same.
      const done = this.#done();
      for (let left = 1000 + draw(5000); left > -10_000 && this.#isDisturbed; left -= 100) {
        if (left <= 0 && this.#done() > done) break;
        await sleep(100);
      }
      const over = once(this.process, 'exit');
      this.process.kill('SIGKILL');
      await over;
      this.kills++;
      await sleep(draw(500));
      this.process = await this.#startAgain();
    }
  }

  /** Does something to one of the proxies, and something else a little later. */
  async #disturb(): Promise<void> {
    while (this.#isDisturbed) {
      const proxy = this.proxies[draw(this.proxies.length)] as NetProxy;
      const faults: readonly (() => void)[] = [
        () => proxy.cut(),
        () => proxy.cut(),
        () => proxy.halfOpen(),
        () => {
          proxy.stalls = true;
        },
        () => {
          proxy.refuses = true;
          proxy.cut();
        },
        () => {
          proxy.delayMs = 1 + draw(10);
        },
        () => proxy.lag(() => draw(2500)),
        () => proxy.lag(() => (draw(2) === 0 ? 0 : 2000)),
        () => {
          proxy.lag(() => draw(1000));
          proxy.strand(2000);
        },
        () => proxy.strand(1000),
        () => {
          proxy.cutAfterBytes = 1 + draw(MIB);
        },
        () => {
          proxy.truncateAfterBytes = 1 + draw(MIB);
        },
      ];
      (faults[draw(faults.length)] as () => void)();
      await sleep(50 + draw(600));
      this.heal();
      await sleep(draw(1200));
    }
  }

  heal(): void {
    for (const proxy of this.proxies) {
      proxy.stalls = false;
      proxy.refuses = false;
      proxy.delayMs = 0;
      proxy.cutAfterBytes = 0;
      proxy.truncateAfterBytes = 0;
    }
  }

  /** Runs a command, and sometimes kills it while all is disturbed; what it failed with. */
  async command(...args: string[]): Promise<string | undefined> {
    const { child, ended } = start(args, { env: this.env });
    const isKilled = this.#isDisturbed && draw(5) === 0;
    const killed = isKilled ? sleep(300 + draw(1500)).then(() => child.kill('SIGKILL')) : null;
    const { status, signal, errors, stderr } = await ended;
    await killed;
    if (signal === 'SIGKILL') return 'killed';
    if (status === 0) return undefined;
    return check(String(errors[0]?.code), `${args.join(' ')}: ${JSON.stringify(errors)}${stderr}`);
  }

  /** Runs a pipe, of which sometimes a thread ends without a word then; what it failed with. */
  async pipe(): Promise<string | undefined> {
    const flow = (['push', 'pull'] as const)[draw(2)] as 'push' | 'pull';
    const exits = this.#isDisturbed && draw(4) === 0 ? { exitsAt: draw(BUFFERS) } : {};
    const head = { count: BUFFERS, seed: draw(1000) };
    const tail = { ordered: true, slowMs: 3, ...exits };
    const [near, far] = flow === 'push' ? [head, tail] : [tail, head];
    let arrived: unknown[] = [];
    const note = (message: unknown): void => {
      if (Array.isArray(message)) arrived = message;
    };
    try {
      const { done } = await extendPipe({
        identity: this.client.identity,
        server: this.server,
        program: 'test',
        flow,
        links: 3,
        shared: draw(2) === 0,
        ...LOAD_WORDS,
        near: {
          maxBuffers: 6,
          payloadBytes: 60_000,
          directoryBytes: 500,
          stages: [{ name: 'near', modules: [{ module: LOAD_MODULE, options: near }] }],
          onMessage: (_stage, _instance, message) => note(message),
        },
        far: { stages: [{ name: 'far', modules: [{ name: 'test-load', options: far }] }] },
        onFarPost: (_stage, _instance, message) => note(message),
      });
      await done;
    } catch (thrown) {
      const { code, message } = thrown as PenstockError;
      if (code === 'PIPE_FAILED' && 'exitsAt' in exits) return 'a thread that ended';
      return check(code, message);
    }
    deepEqual(arrived, [...Array(BUFFERS).keys()]);
    return undefined;
  }

  /** Of the daemon: its threads, and what it has open besides the folders of the repository. */
  held(): { readonly threads: number; readonly descriptors: number } {
    const of = (what: string): string[] => readdirSync(`/proc/${this.process.pid}/${what}`);
    const open = of('fd').map((fd) => {
      try {
        return readlinkSync(`/proc/${this.process.pid}/fd/${fd}`);
      } catch {
        return this.repository;
      }
    });
    // Listings of copies, which have no name, are kept for a time of their own.
    const kept = (path: string): boolean =>
      path.startsWith(this.repository) || path.endsWith(' (deleted)');
    const descriptors = open.filter((path) => !kept(path)).length;
    return { threads: of('task').length, descriptors };
  }
  async metric(name: string): Promise<number> {
    const client = new ApiClient(this.client.identity, this.server);
    const text = (await client.request('GET', '/metrics')).body.toString();
    client.close();
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
  }
}

function check(code: string, said: string): string {
  ok(MAY_FAIL.includes(code), `${code}: ${said}`);
  return code;
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Waits until it is no more than it was. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(50);
}

test(`random faults for ${SECONDS} s leave nothing over (seed ${SEED})`, async (t) => {
  const soak = await Soak.start(t);
  const { there, repository } = soak;
  const stored = join(scratch, 'stored');
  const copied = join(scratch, 'copied');
  const pulled = join(scratch, 'pulled');
  let number = 0;
  const fill = (folder: string, files: number, bytes: number): void => {
    mkdirSync(folder, { recursive: true });
    for (let i = 0; i < files; i++) {
      writeFileSync(join(folder, `${i}`), noise(bytes, `${number++}`));
    }
  };
  fill(copied, 40, 20_000);
  fill(join(copied, 'large'), 2, 3 * MIB);
  const backup = (): Promise<string | undefined> => {
    fill(join(stored, `${draw(4)}`), 4, MIB);
    return soak.command('backup', stored);
  };
  const push = (): Promise<string | undefined> => {
    if (draw(2) === 0) rmSync(join(there, 'pushed'), { recursive: true, force: true });
    return soak.command('copy', copied, soak.far('pushed'));
  };
  const pull = (): Promise<string | undefined> => {
    if (draw(2) === 0) rmSync(pulled, { recursive: true, force: true });
    return soak.command('copy', soak.far('given'), pulled);
  };
  fill(join(there, 'given'), 3, 2 * MIB);
  succeed(['init'], { env: { ...soak.env, PENSTOCK_REPO: repository } });
  const threads = (): number => readdirSync('/proc/self/task').length;

  // Everything once: from then on there must not be more.
  deepEqual(await Promise.all([backup(), push(), pull()]), [undefined, undefined, undefined]);
  equal(await soak.pipe(), undefined);
  await until(() => soak.proxies.every(({ open }) => open === 0));
  const before = { ...soak.held(), here: threads() };

  await soak.run(SECONDS, [backup, push, pull, () => soak.pipe()]);
  t.diagnostic(JSON.stringify({ ...Object.fromEntries(soak.ends), kills: soak.kills }));

  soak.heal();
  const env = soak.env;
  for (const args of [
    ['backup', stored],
    ['check', '--read-data'],
    ['restore', 'latest', '--target', join(scratch, 'restored')],
    ['copy', copied, soak.far('pushed')],
    ['copy', soak.far('given'), pulled],
  ]) {
    const { status, stdout, stderr } = await start(args, { env }).ended;
    equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`);
  }
  equal(await soak.pipe(), undefined);
  const tree = (path: string) => capture(fromText(path));
  assertSameTree(tree(join(scratch, 'restored', stored)), tree(stored));
  assertSameTree(tree(join(there, 'pushed')), tree(copied));
  assertSameTree(tree(pulled), tree(join(there, 'given')));

  await until(async () => (await soak.metric('penstock_pipes')) === 0);
  equal(await soak.metric('penstock_pipes_segment_bytes'), 0);
  await until(() => soak.proxies.every(({ open }) => open === 0));
  await until(() => soak.held().threads <= before.threads);
  await until(() => soak.held().descriptors <= before.descriptors);
  await until(() => threads() <= before.here);
  const api = new ApiClient(soak.client.identity, soak.server);
  await api.request('POST', '/v1/repositories/home/sweep?olderThanMs=0');
  api.close();
  deepEqual(readdirSync(join(repository, 'writing')), [], 'of killed backups');
});
