/**
 * Goal: buffers are shared fairly: a slow stream stops no other, a fast one crowds out none.
 * Method: streams that take buffers as fast as they may, and a drive that writes them one by one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BufferKeeper,
  type BufferShare,
  makeBuffers,
  VolumeBuffers,
} from './volume-buffers.ts';

/** Lets everything that is ready go on. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Filled {
  readonly share: BufferShare;
  readonly keeper: BufferKeeper;
}

/** A stream that takes as many buffers as it gets, until it has had `most`. */
function greedy(buffers: VolumeBuffers, share: BufferShare, queue: Filled[], most = 1e9): void {
  let taken = 0;
  const next = async (): Promise<void> => {
    while (taken < most) {
      const buffer = await buffers.take(share);
      taken += 1;
      queue.push({ share, keeper: { buffer } });
    }
  };
  next().catch(() => {});
}

function writeOne(buffers: VolumeBuffers, queue: Filled[]): void {
  const { share, keeper } = queue.shift() as Filled;
  buffers.written(share, keeper);
}

test('a fast stream takes all but what others need, and all of it when they have gone', async () => {
  const buffers = new VolumeBuffers(makeBuffers(12, 16), 0, 0.5);
  const fast = await buffers.admit();
  const slow = await buffers.admit();
  const queue: Filled[] = [];
  greedy(buffers, fast, queue);
  await settle();
  assert.equal(fast.filled, 10);
  const late: Filled[] = [];
  greedy(buffers, slow, late, 2);
  await settle();
  assert.equal(slow.filled, 2, 'two are always there for the other');
  for (const one of late) buffers.written(one.share, one.keeper);
  buffers.leave(slow);
  // It goes on when it is down to the low-water mark, and then takes everything.
  for (const filled of [9, 8, 7, 12]) {
    writeOne(buffers, queue);
    await settle();
    assert.equal(fast.filled, filled);
  }
});

test('a stream that holds buffers without writing stops no other', async () => {
  const buffers = new VolumeBuffers(makeBuffers(8, 16), 0, 0.5);
  const stuck = await buffers.admit();
  const fast = await buffers.admit();
  greedy(buffers, stuck, [], 3);
  await settle();
  const queue: Filled[] = [];
  greedy(buffers, fast, queue, 1000);
  let written = 0;
  while (written < 1000) {
    await settle();
    while (queue.length > 0) {
      writeOne(buffers, queue);
      written += 1;
    }
  }
  assert.equal(stuck.filled, 3);
});

test('streams that wait are served in turn, the one with least first', async () => {
  const buffers = new VolumeBuffers(makeBuffers(9, 16), 0, 0.5);
  const shares = [await buffers.admit(), await buffers.admit(), await buffers.admit()];
  const queue: Filled[] = [];
  for (const share of shares) greedy(buffers, share, queue);
  const counts = new Map<BufferShare, number>(shares.map((share) => [share, 0]));
  for (let i = 0; i < 900; i++) {
    await settle();
    const { share } = queue[0] as Filled;
    counts.set(share, (counts.get(share) ?? 0) + 1);
    writeOne(buffers, queue);
  }
  for (const count of counts.values()) assert(count > 200, `${[...counts.values()]}`);
});

test('a stream is admitted only when buffers suffice, in the order of coming', async () => {
  const buffers = new VolumeBuffers(makeBuffers(6, 16), 1, 0.5);
  const order: string[] = [];
  const first = await buffers.admit();
  await buffers.admit();
  const third = buffers.admit().then(() => order.push('third'));
  const fourth = buffers.admit().then(() => order.push('fourth'));
  await settle();
  assert.deepEqual([order, buffers.streams, buffers.applicants], [[], 2, 2]);
  buffers.leave(first);
  await third;
  await settle();
  assert.deepEqual([order, buffers.applicants], [['third'], 1]);
  buffers.fail(new Error('the drive is gone'));
  await assert.rejects(fourth, /the drive is gone/);
});

test('what was written is kept as long as it can be, the newest longest', async () => {
  const buffers = new VolumeBuffers(makeBuffers(6, 16), 2, 0.5);
  const share = await buffers.admit();
  const keepers: BufferKeeper[] = [];
  for (let i = 0; i < 20; i++) {
    const keeper = { buffer: (await buffers.take(share)).fill(i) as Buffer | undefined };
    keepers.push(keeper);
    buffers.written(share, keeper);
  }
  const kept = keepers.filter(({ buffer }) => buffer !== undefined);
  assert(kept.length >= 2);
  assert.deepEqual(kept, keepers.slice(-kept.length));
  assert.equal(keepers.at(-1)?.buffer?.[0], 19);
  buffers.release();
  assert(keepers.every(({ buffer }) => buffer === undefined));
});
