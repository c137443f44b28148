/**
 * Goal: whatever the network does in the middle of a copy, pushed or pulled, the trees are the same in the
 * end, or the copy ends with a clear error and the next one brings what is missing; nothing is left over.
 * Method: two machines in one process with a proxy before the port of control and that of data; the rate
 * is held down, so that the fault comes while a large file and many small ones are on their way.
 */
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromText } from '../../src/base/bytes.ts';
import type { PenstockError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { type CopyPlace, type CopyResult, copy } from '../../src/mover/copy.ts';
import { scratchFolder } from '../commands.ts';
import { LinkProxy } from '../link-proxy.ts';
import { newMachine, pairedClient, startMonitor, type TestMonitor } from '../monitor-fixture.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { until } from '../until.ts';

const MIB = 2 ** 20;
const SLOW = 16 * MIB;
const FAST = 1000 * MIB;
const scratch = scratchFolder();
const tree = (path: string) => capture(fromText(path));
let number = 0;

interface Setting {
  readonly control: LinkProxy;
  readonly data: LinkProxy;
  readonly source: string;
  readonly target: string;
  run(
    bytesPerSecond?: number,
    signal?: AbortSignal,
  ): Promise<CopyResult & { readonly told: readonly string[] }>;
}

/** A proxy at the same port of another address, where the client looks for the far machine. */
async function inFront(port: number): Promise<LinkProxy | undefined> {
  return LinkProxy.open(port, '127.0.0.2', port).catch(() => undefined);
}

interface BehindProxies extends Pick<Setting, 'control' | 'data'> {
  readonly far: TestMonitor;
}

async function startBehindProxies(t: TestContext): Promise<BehindProxies> {
  for (;;) {
    const far = await startMonitor(t, { listen: [{ host: '127.0.0.2', port: 0 }] });
    const control = await inFront(far.monitor.port);
    const data = await inFront(far.monitor.port + LIMITS.dataPortOffset);
    if (control !== undefined && data !== undefined) {
      t.after(() => Promise.all([control.close(), data.close()]));
      return { far, control, data };
    }
    await control?.close();
    await data?.close();
  }
}

async function setUp(t: TestContext, way: 'push' | 'pull'): Promise<Setting> {
  const place = join(scratch, `${way}${number++}`);
  const source = join(place, 'source');
  mkdirSync(join(source, 'd'), { recursive: true });
  writeFileSync(join(source, 'a large'), noise(17 * MIB, place));
  for (let i = 0; i < 200; i++) {
    writeFileSync(join(source, 'd', `file${i}`), noise(i * 40, `${place}${i}`));
  }
  const target = join(place, 'target');
  mkdirSync(target);
  const { far, control, data } = await startBehindProxies(t);
  const client = await newMachine();
  pairedClient(far, client, { copyPaths: [place], access: [] }).close();
  const { fingerprint } = far.identity;
  const server = { host: '127.0.0.1', port: far.monitor.port, fingerprint };
  const at = (path: string, isFar: boolean): CopyPlace =>
    isFar ? { path: fromText(path), server } : { path: fromText(path) };
  const run: Setting['run'] = async (
    bytesPerSecond = SLOW,
    signal = new AbortController().signal,
  ) => {
    const told: string[] = [];
    const result = await copy({
      source: at(source, way === 'pull'),
      target: at(target, way === 'push'),
      network: { identity: client.identity, links: 2, bytesPerSecond },
      owners: true,
      byNumber: false,
      syncs: false,
      dryRun: false,
      threads: 2,
      signal,
      onProblem: (path, { code }) => told.push(`${code} ${path}`),
      onProgress: () => undefined,
    });
    return { ...result, told };
  };
  return { control, data, source, target, run };
}

function temporaries(path: string): string[] {
  return readdirSync(path, { recursive: true })
    .map(String)
    .filter((name) => name.includes('.penstock.'));
}
/** Resolves in the middle: pieces of the large file are there, and it is not whole. */
async function underWay(target: string): Promise<void> {
  await until(() => temporaries(target).length >= 2);
  assert.ok(!existsSync(join(target, 'a large')));
}

for (const way of ['push', 'pull'] as const) {
  test(`${way}: data connections that are cut, again and again, are made again`, async (t) => {
    const { data, source, target, run } = await setUp(t, way);
    const copying = run();
    await underWay(target);
    for (let round = 0; round < 6; round++) {
      data.fault({ how: round % 2 === 0 ? 'cut' : 'flip' }, round);
      await sleep(60);
    }
    data.fault({ how: 'cut' });
    assert.deepEqual((await copying).told, []);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
    assert.ok(data.connections > 4, `${data.connections} connections were made`);
  });

  test(`${way}: without its control connection a copy ends, and the next one goes on`, async (t) => {
    const { control, data, source, target, run } = await setUp(t, way);
    const copying = run();
    await underWay(target);
    control.fault({ how: 'cut' });
    await assert.rejects(copying, (error: PenstockError) => {
      assert.equal(error.code, 'NET_LOST');
      return true;
    });
    assert.ok(!existsSync(join(target, 'a large')));
    const { told, filesDone, filesSame, files } = await run(FAST);
    assert.deepEqual([told, filesDone + filesSame], [[], files]);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
    await until(() => data.open === 0);
  });
}

test('a file that changes or vanishes while it is copied is told, and the rest is copied', async (t) => {
  for (const way of ['push', 'pull'] as const) {
    const { source, target, run } = await setUp(t, way);
    const copying = run();
    await underWay(target);
    appendFileSync(join(source, 'a large'), 'more');
    rmSync(join(source, 'd', 'file199'));
    const { told } = await copying;
    assert.ok(told.includes(`SOURCE_CHANGED ${join(source, 'a large')}`), told.join());
    assert.ok(told.every((line) => line.startsWith('SOURCE_CHANGED ')));
    assert.deepEqual((await run(FAST)).told, []);
    const there = tree(target);
    // It may have been copied before it vanished; nothing is ever removed.
    if (there.has('d/file199')) rmSync(join(target, 'd', 'file199'));
    assert.deepEqual([...tree(target).keys()], [...tree(source).keys()]);
    assert.deepEqual(tree(target).get('a large'), tree(source).get('a large'));
    assert.deepEqual(temporaries(target), []);
  }
});

test('data that comes late, and a connection that swallows all', async (t) => {
  await Promise.all(
    (['push', 'pull'] as const).map(async (way) => {
      const { data, source, target, run } = await setUp(t, way);
      const copying = run();
      await underWay(target);
      data.fault({ how: 'half-open' }, 0);
      data.fault({ how: 'stall', ms: 700 }, 1);
      assert.deepEqual((await copying).told, []);
      assertSameTree(tree(target), tree(source));
      assert.deepEqual(temporaries(target), []);
    }),
  );
});

test('a copy that is interrupted ends also where the network swallows everything', async (t) => {
  await Promise.all(
    (['push', 'pull'] as const).map(async (way) => {
      const { control, data, target, run } = await setUp(t, way);
      const stop = new AbortController();
      const copying = run(SLOW, stop.signal);
      await underWay(target);
      control.fault({ how: 'half-open' });
      data.fault({ how: 'half-open' });
      stop.abort(new Error('interrupted'));
      // Were it to wait for the other machine, that would be taken for lost.
      await assert.rejects(copying, { message: 'interrupted' });
    }),
  );
});
