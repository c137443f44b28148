/**
 * Goal: a server that is killed, and machines that work at the same time, harm nothing.
 * Method: `penstock serve` is killed while a backup runs and started again; two machines back up at once.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Workplace } from '../system/workplace.ts';
import { assertDone, MIB, RemoteFaults } from './remote-fixture.ts';

let faults: RemoteFaults;

before(async () => {
  faults = await RemoteFaults.start();
});
after(() => faults.remove());

test('a server that is killed and started again goes on where it was', async () => {
  faults.writeNoise(12);
  const running = await faults.startStalled(['backup', faults.place.source], 5 * MIB);
  await faults.served.stop('SIGKILL');
  faults.proxy.stalls = false;
  await faults.served.start();
  assertDone(await running.done);
  await faults.assertStored();
});

test('two machines back up at the same time', async () => {
  faults.writeNoise(6);
  const other = new Workplace('remote-other');
  try {
    await faults.served.pair(other.state, 'full');
    other.repo = faults.place.repo;
    other.write('own', Buffer.alloc(2 * MIB, 'own content'));
    await faults.pairDirectly();
    const both = [
      faults.place.start(['backup', faults.place.source, '--name', 'one']),
      other.start(['backup', other.source, '--name', 'two']),
    ];
    for (const { done } of both) assertDone(await done);
    other.must(['check', '--read-data']);
    // The latest is whichever began later.
    const own = other.json(['archives']).find(({ name }) => name === 'two');
    assert.match(other.must(['ls', own?.id, other.source]).stdout, /own/);
  } finally {
    other.remove();
  }
});

test('what lost clients left is swept', async () => {
  await faults.pairDirectly();
  const store = await faults.served.open('home');
  await store.sweep(0);
  await store.close();
  assert.deepEqual(readdirSync(join(faults.served.repository('home'), 'writing')), []);
});
