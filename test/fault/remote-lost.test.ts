/**
 * Goal: a server that stays away ends a command with a clear error in bounded time, and the next
 * backup continues.
 * Method: commands run against `penstock serve` through a proxy that swallows everything or refuses
 * connections.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { listArchives } from '../../src/mover/archives.ts';
import { untilOld } from '../commands.ts';
import { assertLost, MIB, RemoteFaults } from './remote-fixture.ts';
import { open } from './repository-fixture.ts';

let faults: RemoteFaults;

before(async () => {
  faults = await RemoteFaults.start();
});
after(() => faults.remove());

/** Waits for a partial archive with files in it; gives how many bytes these hold. */
async function bytesOfPartial(backup: ChildProcess): Promise<number> {
  const repository = await open(faults.served.repository('home'));
  try {
    for (;;) {
      assert.equal(backup.exitCode, null, 'the backup ended before a checkpoint');
      const { archives } = await listArchives(repository);
      const bytes = Math.max(0, ...archives.map(({ root }) => root.ref.fileBytes));
      if (bytes > 0) return bytes;
      await sleep(20);
    }
  } finally {
    await repository.close();
  }
}

test('a server that stays away ends the backup, and the next one continues', async () => {
  // Far more than the buffers hold, so that a checkpoint comes to an end while there is much to do.
  faults.writeNoise(160);
  await untilOld();
  const running = await faults.start([
    ...['backup', faults.place.source, '--reconnect-limit', '4s', '--threads', '1'],
    ...['--checkpoint-interval', '1s', '--limit-rate', '20M', '--memory', '48M'],
  ]);
  const kept = await bytesOfPartial(running.process);
  faults.proxy.refuses = true;
  faults.proxy.cut();
  assertLost(await running.done);
  faults.proxy.refuses = false;
  await faults.pairDirectly();
  const summary = faults.place.json(['backup', faults.place.source]).at(-1);
  const read = Number(summary?.bytesRead);
  assert(read <= 160 * MIB - kept, `read again: ${read}, kept: ${kept}`);
  faults.place.must(['check', '--read-data']);
});

test('a network that swallows everything ends a backup and a restore as lost', async () => {
  faults.writeNoise(8);
  await faults.pairDirectly();
  faults.place.json(['backup', faults.place.source]);
  faults.writeNoise(8);
  for (const args of [
    ['backup', faults.place.source],
    ['restore', 'latest', '--target', join(faults.place.directory, 'lost')],
  ]) {
    const running = await faults.startStalled([...args, '--reconnect-limit', '5s'], 2 * MIB);
    const run = await running.done;
    faults.proxy.stalls = false;
    faults.proxy.cut();
    assertLost(run);
  }
});

test('an interrupted backup does not wait for a server that is away', async () => {
  faults.writeNoise(8);
  const running = await faults.startStalled(['backup', faults.place.source], 2 * MIB);
  running.process.kill('SIGINT');
  const run = await running.done;
  faults.proxy.stalls = false;
  faults.proxy.cut();
  assert.equal(run.status, 130, run.stdout + run.stderr);
});
