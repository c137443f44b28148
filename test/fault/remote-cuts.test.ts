/**
 * Goal: connections that break while a backup or a restore runs are made again.
 * Method: commands run against `penstock serve` through a proxy that cuts, truncates, delays and half-opens
 * connections at given numbers of bytes; afterwards everything stored is read.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { assertDone, MIB, RemoteFaults } from './remote-fixture.ts';

let faults: RemoteFaults;

before(async () => {
  faults = await RemoteFaults.start();
});
after(() => faults.remove());

/** Cuts all connections each time so many MiB have passed. */
async function cutEach(mebibytes: number, times: number): Promise<void> {
  const { proxy } = faults;
  for (let i = 0; i < times; i++) await proxy.after(mebibytes * MIB, () => proxy.cut());
}

test('connections that are cut in the middle of a backup are made again', async () => {
  faults.writeNoise(12);
  const { connections } = faults.proxy;
  const cuts = cutEach(3, 3);
  const running = await faults.start(['backup', faults.place.source]);
  await cuts;
  assertDone(await running.done);
  assert(faults.proxy.connections - connections > 4, 'connections were made again');
  await faults.assertStored();
});

test('connections that each end after a while, in either direction, are enough', async () => {
  faults.writeNoise(8);
  faults.proxy.cutAfterBytes = 3 * MIB;
  faults.proxy.delayMs = 2;
  assertDone(await (await faults.start(['backup', faults.place.source])).done);
  faults.proxy.cutAfterBytes = 0;
  faults.proxy.truncateAfterBytes = 3 * MIB;
  const target = join(faults.place.directory, 'through');
  assertDone(await (await faults.start(['restore', 'latest', '--target', target])).done);
  faults.proxy.truncateAfterBytes = 0;
  faults.proxy.delayMs = 0;
  faults.assertRestored(target);
  await faults.assertStored();
});

test('connections that are cut in the middle of a restore are made again', async () => {
  const target = join(faults.place.directory, 'cut');
  const cuts = cutEach(3, 2);
  const running = await faults.start(['restore', 'latest', '--target', target]);
  await cuts;
  assertDone(await running.done);
  faults.assertRestored(target);
});

test('a server that is only gone on its own side is noticed, and reached again', async () => {
  faults.writeNoise(8);
  const gone = faults.proxy.after(3 * MIB, () => faults.proxy.halfOpen());
  const running = await faults.start(['backup', faults.place.source, '--reconnect-limit', '10s']);
  await gone;
  assertDone(await running.done);
  await faults.assertStored();
});
