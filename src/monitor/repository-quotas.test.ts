/**
 * Goal: a repository grows to the quota of whoever writes and not beyond, and what is pruned may be filled
 * again. Method: a made-up repository of some bytes, and a clock that the test sets.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import type { Peer } from '../channel/net/peers.ts';
import { Quotas } from './repository-quotas.ts';

const peer = (quotaBytes?: number): Peer => ({
  ...{ name: 'laptop', fingerprint: 'f', kind: 'client', pairedMs: 0, access: [], copyPaths: [] },
  ...(quotaBytes === undefined ? {} : { quotaBytes }),
});

class Store {
  nowMs = 0;
  bytes = 0;
  measurings = 0;
  readonly quotas = new Quotas(
    () => this.nowMs,
    async () => {
      this.measurings++;
      return this.bytes;
    },
  );
  /** Sends and stores so many bytes. */
  async send(who: Peer, bytes: number, isLease = false): Promise<void> {
    const arrived = await this.quotas.admit(who, 'home', bytes, isLease);
    this.bytes += bytes;
    arrived();
  }
}

test('it is filled to the last byte, and measured once on the way', async () => {
  const store = new Store();
  store.bytes = 400;
  for (let i = 0; i < 6; i++) await store.send(peer(1000), 100);
  await assert.rejects(store.send(peer(1000), 1), {
    code: 'REPO_FULL',
    message: 'repository home holds 1000 B, and laptop may fill it to 1000 B',
  });
  assert.deepEqual([store.bytes, store.measurings], [1000, 1]);
  // Others may have more, or no limit; what they send counts for all.
  await store.send(peer(1500), 200);
  await store.send(peer(), 300);
  await assert.rejects(store.send(peer(1500), 1), { code: 'REPO_FULL' });
  assert.equal(store.measurings, 1);
});

test('what a prune has given back may be filled again, after a while', async () => {
  const store = new Store();
  store.bytes = 1000;
  await assert.rejects(store.send(peer(1000), 1), { code: 'REPO_FULL' });
  store.bytes = 300;
  await assert.rejects(store.send(peer(1000), 1), { code: 'REPO_FULL' });
  assert.equal(store.measurings, 1);
  store.nowMs += LIMITS.quotaMeasureMs;
  await store.send(peer(1000), 700);
  assert.equal(store.measurings, 2);
});

test('what is still arriving counts, also for those that come at the same time', async () => {
  const store = new Store();
  const all = Array.from({ length: 20 }, () => store.quotas.admit(peer(1000), 'home', 100, false));
  const ended = await Promise.allSettled(all);
  assert.equal(ended.filter(({ status }) => status === 'fulfilled').length, 10);
  assert.equal(store.measurings, 1);
  store.nowMs += LIMITS.quotaMeasureMs;
  await assert.rejects(store.send(peer(1000), 100), { code: 'REPO_FULL' });
  for (const one of ended) if (one.status === 'fulfilled') one.value();
  store.nowMs += LIMITS.quotaMeasureMs;
  await store.send(peer(1000), 100);
});

test('a lease goes a little beyond', async () => {
  const store = new Store();
  store.bytes = 1000;
  await store.send(peer(1000), 500, true);
  await assert.rejects(store.send(peer(1000), LIMITS.quotaLeaseBytes, true), { code: 'REPO_FULL' });
});
