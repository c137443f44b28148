/**
 * Copies between two machines, pushed and pulled: the same trees, what is passed over, what a peer may touch
 * (issue 3, item 6).
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ByteString, fromText } from '../../src/base/bytes.ts';
import type { PenstockError } from '../../src/base/errors.ts';
import type { Server } from '../../src/channel/net/api-client.ts';
import { Peers } from '../../src/channel/net/peers.ts';
import { type CopyProgress, type CopyResult, copy } from '../../src/mover/copy.ts';
import { IS_ROOT, penstock, scratchFolder, start } from '../commands.ts';
import { type Machine, newMachine, pairedClient, startMonitor } from '../monitor-fixture.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, TreeMaker } from '../tree-make.ts';

const scratch = scratchFolder();
const tree = (path: string) => capture(fromText(path));
let number = 0;

interface Pair {
  readonly client: Machine;
  readonly server: Server;
  /** Where the client may copy, and a folder of its own. */
  readonly there: string;
  readonly here: string;
}

async function startPair(t: TestContext): Promise<Pair> {
  const there = join(scratch, `there${number}`);
  const here = join(scratch, `here${number++}`);
  mkdirSync(there);
  mkdirSync(here);
  const client = await newMachine();
  const far = await startMonitor(t);
  pairedClient(far, client, { copyPaths: [there], access: [] }).close();
  const { fingerprint } = far.identity;
  const server = { host: '127.0.0.1', port: far.monitor.port, fingerprint };
  return { client, server, there, here };
}

interface Side {
  readonly path: string;
  readonly server?: Server;
}

async function run(
  client: Machine,
  from: Side,
  to: Side,
  dryRun = false,
  bytesPerSecond?: number,
): Promise<CopyResult & { told: string[]; progress: CopyProgress | undefined }> {
  const told: string[] = [];
  let progress: CopyProgress | undefined;
  const result = await copy({
    source: { ...from, path: fromText(from.path) },
    target: { ...to, path: fromText(to.path) },
    network: { identity: client.identity, links: 2, bytesPerSecond },
    owners: true,
    byNumber: false,
    syncs: false,
    dryRun,
    threads: 2,
    signal: new AbortController().signal,
    onProblem: (path: ByteString, { code }) => told.push(`${code} ${path}`),
    onProgress: (now) => {
      progress = now;
    },
  });
  return { ...result, told, progress };
}

function fill(path: string): void {
  const maker = TreeMaker.open(path);
  const { files, fd } = maker;
  for (let i = 0; i < 60; i++)
    maker.file(`file${i}`, noise(i * 700, `${i}`), { mtime: [i - 30, i] });
  maker.file('large \xff', noise(5_500_000, 'large'), {
    mode: 0o4751,
    mtime: [2 ** 33, 999_999_999],
  });
  maker.file('sparse', [{ at: 3_000_000, bytes: noise(5000, 'sparse') }]);
  maker.lengthen('sparse', 9_000_000);
  maker.hardLink('file3', maker, 'again');
  maker.link('link', 'to nowhere');
  maker.node('fifo', 'fifo');
  if (IS_ROOT) maker.node('device', 'characterDevice', {}, 1, 3);
  maker.directory('below');
  const below = new TreeMaker(files.openDirectory(fd, 'below'));
  below.file('inner', 'x', IS_ROOT ? { owner: [12_345, 54_321] } : {});
  below.close();
  maker.set('below', { mode: 0o750, mtime: [-1, 1] });
  maker.close();
}

test('a tree is pushed and pulled, and the second time nothing moves', async (t) => {
  const { client, server, there, here } = await startPair(t);
  const source = join(here, 'source');
  fill(source);
  const pushed = { path: join(there, 'new', 'pushed'), server };
  const dry = await run(client, { path: source }, pushed, true);
  assert.deepEqual([dry.filesWanted, dry.filesDone], [64, 0]);
  assert.ok(!existsSync(join(there, 'new')));
  const first = await run(client, { path: source }, pushed);
  assert.deepEqual([first.filesDone, first.told, first.refusals], [64, [], {}]);
  assertSameTree(tree(pushed.path), tree(source));
  const { bytesDone: bytes } = first;
  assert.equal(first.progress?.filesTotal, 64);
  assert.deepEqual([first.progress?.bytesTotal, first.progress?.bytes], [first.bytesWanted, bytes]);
  const second = await run(client, { path: source }, pushed);
  assert.deepEqual([second.filesDone, second.metadataOnly, second.filesSame], [0, 0, 64]);

  const pulled = { path: join(here, 'pulled') };
  const dryPull = await run(client, pushed, pulled, true);
  assert.deepEqual([dryPull.filesWanted, dryPull.filesDone], [64, 0]);
  assert.ok(!existsSync(pulled.path));
  const third = await run(client, pushed, pulled);
  assert.deepEqual([third.filesDone, third.told], [64, []]);
  assert.deepEqual(
    [third.progress?.filesTotal, third.progress?.bytesTotal],
    [64, third.bytesWanted],
  );
  assertSameTree(tree(pulled.path), tree(source));
  writeFileSync(join(pushed.path, 'file7'), 'changed');
  const fourth = await run(client, pushed, pulled);
  assert.deepEqual([fourth.filesDone, fourth.bytesDone, fourth.filesSame], [1, 7, 63]);
  assertSameTree(tree(pulled.path), tree(pushed.path));
});

test('single items go both ways', async (t) => {
  const { client, server, there, here } = await startPair(t);
  writeFileSync(join(here, 'one'), noise(3_000_000, 'one'));
  await run(client, { path: join(here, 'one') }, { path: there, server });
  await run(client, { path: join(here, 'one') }, { path: join(there, 'two'), server });
  await run(client, { path: join(there, 'two'), server }, { path: join(here, 'three') });
  for (const path of [join(there, 'one'), join(there, 'two'), join(here, 'three')]) {
    assert.deepEqual(readFileSync(path), noise(3_000_000, 'one'));
  }
  const again = await run(client, { path: join(there, 'two'), server }, { path: `${here}/` });
  assert.equal(again.filesDone, 1);
  assert.ok(existsSync(join(here, 'two')));
});

test('a peer comes nowhere but to its folders, also not by links in them', async (t) => {
  const { client, server, there, here } = await startPair(t);
  const outside = join(scratch, `outside${number}`);
  mkdirSync(outside);
  writeFileSync(join(outside, 'precious'), 'precious');
  symlinkSync(outside, join(there, 'out'));
  mkdirSync(join(here, 'source', 'out'), { recursive: true });
  writeFileSync(join(here, 'source', 'out', 'precious'), 'overwritten');
  const denied = { code: 'NET_DENIED' };
  const local = { path: join(here, 'source') };
  for (const path of [outside, join(there, 'out'), join(there, '..', 'x'), `${there}x`, '/']) {
    await assert.rejects(run(client, local, { path, server }), denied, path);
    await assert.rejects(
      run(client, { path: `${path}/`, server }, { path: join(here, 'stolen') }),
      denied,
    );
  }
  const missing = run(client, { path: join(there, 'none'), server }, { path: join(here, 'x') });
  await assert.rejects(missing, { code: 'SOURCE_MISSING' });
  // In a tree, the link is replaced, and nothing goes through it.
  await run(client, local, { path: there, server });
  assert.equal(readFileSync(join(outside, 'precious'), 'utf8'), 'precious');
  assert.equal(readFileSync(join(there, 'out', 'precious'), 'utf8'), 'overwritten');
  assert.ok(!existsSync(join(here, 'stolen')));
});

test('what cannot be understood of a path is refused', async (t) => {
  const { client, server, here } = await startPair(t);
  const bad = run(client, { path: 'relative', server }, { path: here });
  await assert.rejects(bad, (error: PenstockError) => error.code === 'PIPE_CONFIG');
  const both = run(client, { path: '/a', server }, { path: '/b', server }).catch((error) => error);
  assert.equal(((await both) as PenstockError).code, 'USAGE');
});

test('a limit of the rate holds for what is pulled, too', async (t) => {
  const { client, server, there, here } = await startPair(t);
  writeFileSync(join(there, 'one'), noise(3_000_000, 'one'));
  for (const [from, to] of [
    [{ path: join(there, 'one'), server }, { path: join(here, 'one') }],
    [{ path: join(here, 'one') }, { path: join(there, 'two'), server }],
  ] as const) {
    const startedMs = performance.now();
    await run(client, from, to, false, 1_500_000);
    // Two seconds, less what may be sent at once.
    assert.ok(performance.now() - startedMs > 1500);
  }
  assert.deepEqual(readFileSync(join(there, 'two')), noise(3_000_000, 'one'));
});

test('the command copies to a paired machine and back', async (t) => {
  const { client, server, there, here } = await startPair(t);
  const source = join(here, 'source');
  fill(source);
  const { host, port, fingerprint } = server;
  const peer = { name: 'far', kind: 'server', access: [], copyPaths: [], pairedMs: 0 } as const;
  new Peers(client.state).put({ ...peer, fingerprint, address: `${host}:${port}` });
  const state = ['--state', client.directory];
  const place = `${host}:${port}:${there}/tree`;
  // The daemon is in this process: nobody may wait for a command by blocking it.
  const copied = await start(['copy', source, place, ...state]).ended;
  assert.equal(copied.summary.filesDone, 64, copied.stdout);
  const back = ['copy', place, join(here, 'back'), '--limit-rate', '1G', '--sync'];
  assert.equal((await start([...back, ...state]).ended).status, 0);
  assertSameTree(tree(join(here, 'back')), tree(source));
  const numbers = ['copy', place, join(here, 'numbers'), '--numeric-ids', '--sync'];
  for (const filesDone of [64, 0]) {
    const run = await start([...numbers, ...state]).ended;
    assert.deepEqual([run.status, run.summary.filesDone], [0, filesDone], run.stdout);
    assertSameTree(tree(join(here, 'numbers')), tree(source));
  }
  const relative = penstock(['copy', source, `${host}:tree`, ...state]);
  assert.deepEqual([relative.status, relative.errors[0]?.code], [2, 'USAGE']);
  const stranger = penstock(['copy', source, `example.org:${there}`, ...state]);
  assert.equal(stranger.errors[0]?.code, 'NET_UNTRUSTED');
});
