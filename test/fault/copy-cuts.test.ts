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
import { fromText } from '../../src/base/bytes.ts';
import type { PenstockError } from '../../src/base/errors.ts';
import { type CopyPlace, type CopyResult, copy } from '../../src/mover/copy.ts';
import { startBehindProxies } from '../behind-proxies.ts';
import { scratchFolder } from '../commands.ts';
import type { LinkProxy } from '../link-proxy.ts';
import { newMachine, pairedClient } from '../monitor-fixture.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { until } from '../until.ts';

const MIB = 2 ** 20;
const scratch = scratchFolder();
const tree = (path: string) => capture(fromText(path));
let number = 0;

interface Setting {
  readonly control: LinkProxy;
  readonly data: LinkProxy;
  readonly source: string;
  readonly target: string;
  run(signal?: AbortSignal): Promise<CopyResult & { readonly told: readonly string[] }>;
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
  const run: Setting['run'] = async (signal = new AbortController().signal) => {
    const told: string[] = [];
    const result = await copy({
      source: at(source, way === 'pull'),
      target: at(target, way === 'push'),
      network: { identity: client.identity, links: 2 },
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
/** Resolves in the middle: pieces of the large file are there, and no more comes until it is released. */
async function underWay({ data, target }: Setting, copying: Promise<unknown>): Promise<void> {
  const over = copying.then(() => assert.fail('it has not come to its end'));
  await Promise.race([data.after(3 * MIB, () => data.hold()), over]);
  over.catch(() => undefined);
  await until(() => temporaries(target).length >= 2);
  assert.ok(!existsSync(join(target, 'a large')));
}

for (const way of ['push', 'pull'] as const) {
  test(`${way}: data connections that are cut, again and again, are made again`, async (t) => {
    const setting = await setUp(t, way);
    const { data, source, target, run } = setting;
    const copying = run();
    await underWay(setting, copying);
    data.release();
    for (let round = 0; round < 6; round++) {
      const fault = { how: round % 2 === 0 ? 'cut' : 'flip' } as const;
      await data.after(1.5 * MIB, () => data.fault(fault, round));
    }
    await data.after(1.5 * MIB, () => data.fault({ how: 'cut' }));
    assert.deepEqual((await copying).told, []);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
    assert.ok(data.connections > 4, `${data.connections} connections were made`);
  });

  test(`${way}: without its control connection a copy ends, and the next one goes on`, async (t) => {
    const setting = await setUp(t, way);
    const { control, data, source, target, run } = setting;
    const copying = run();
    await underWay(setting, copying);
    control.fault({ how: 'cut' });
    await assert.rejects(copying, (error: PenstockError) => {
      assert.equal(error.code, 'NET_LOST');
      return true;
    });
    assert.ok(!existsSync(join(target, 'a large')));
    data.release();
    const { told, filesDone, filesSame, files } = await run();
    assert.deepEqual([told, filesDone + filesSame], [[], files]);
    assertSameTree(tree(target), tree(source));
    assert.deepEqual(temporaries(target), []);
    await until(() => data.open === 0);
  });
}

test('a file that changes or vanishes while it is copied is told, and the rest is copied', async (t) => {
  for (const way of ['push', 'pull'] as const) {
    const setting = await setUp(t, way);
    const { data, source, target, run } = setting;
    const copying = run();
    await underWay(setting, copying);
    appendFileSync(join(source, 'a large'), 'more');
    rmSync(join(source, 'd', 'file199'));
    data.release();
    const { told } = await copying;
    assert.ok(told.includes(`SOURCE_CHANGED ${join(source, 'a large')}`), told.join());
    assert.ok(told.every((line) => line.startsWith('SOURCE_CHANGED ')));
    assert.deepEqual((await run()).told, []);
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
      const setting = await setUp(t, way);
      const { data, source, target, run } = setting;
      const copying = run();
      await underWay(setting, copying);
      data.fault({ how: 'half-open' }, 0);
      data.fault({ how: 'stall', ms: 700 }, 1);
      data.release();
      assert.deepEqual((await copying).told, []);
      assertSameTree(tree(target), tree(source));
      assert.deepEqual(temporaries(target), []);
    }),
  );
});

test('a copy that is interrupted ends also where the network swallows everything', async (t) => {
  await Promise.all(
    (['push', 'pull'] as const).map(async (way) => {
      const setting = await setUp(t, way);
      const { control, data, run } = setting;
      const stop = new AbortController();
      const copying = run(stop.signal);
      await underWay(setting, copying);
      control.fault({ how: 'half-open' });
      data.fault({ how: 'half-open' });
      stop.abort(new Error('interrupted'));
      // Were it to wait for the other machine, that would be taken for lost.
      await assert.rejects(copying, { message: 'interrupted' });
    }),
  );
});
