/**
 * Goal: of all who ask for a name exactly one is told that it is new, over all levels, and by several
 * threads at once but for the opening of a further level.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createSessionTable, SessionTable } from './session-table.ts';

test('a name is new once, over several levels', () => {
  const table = new SessionTable(createSessionTable());
  const count = 200_000;
  const names = randomBytes(count * 32);
  for (let i = 0; i < count; i++) assert.equal(table.add(names, i * 32), true);
  assert.equal(table.count, count);
  for (let i = 0; i < count; i++)
    assert.equal(table.add(names, i * 32), false, `name ${i} is known`);
  assert.equal(table.count, count);
});

test('names whose words look like free or unfinished slots are names like others', () => {
  const table = new SessionTable(createSessionTable());
  const names = Buffer.alloc(32 * 4);
  // The fourth word is the slot's mark: 0 and 1 have a meaning of their own there.
  for (const [i, word] of [0, 1, 2, 3].entries()) {
    names.writeUInt32LE(5, i * 32);
    names.writeUInt32LE(word, i * 32 + 12);
  }
  assert.equal(table.add(names, 0), true);
  assert.equal(table.add(names, 0), false);
  assert.equal(table.add(names, 32), true);
  assert.equal(table.add(names, 32), false);
});

test('several threads: each name is told new to one of them', async () => {
  const share = createSessionTable();
  const count = 120_000;
  const shared = new SharedArrayBuffer(count * 32);
  Buffer.from(shared).set(randomBytes(count * 32));
  const code = `
    import { workerData, parentPort } from 'node:worker_threads';
    const { SessionTable } = await import(workerData.module);
    const table = new SessionTable(workerData.share);
    const names = Buffer.from(workerData.names);
    const fresh = new Uint8Array(names.length / 32);
    // Each thread goes through them in an order of its own.
    for (let i = 0; i < fresh.length; i++) {
      const at = (i * workerData.step) % fresh.length;
      if (table.add(names, at * 32)) fresh[at] = 1;
    }
    parentPort.postMessage(fresh);
  `;
  const results = await Promise.all(
    [1, 7, 119_999].map(
      (step) =>
        new Promise<Uint8Array>((resolve, reject) => {
          const workerData = {
            module: new URL('./session-table.ts', import.meta.url).href,
            share,
            names: shared,
            step,
          };
          const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), {
            workerData,
          });
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  let twice = 0;
  for (let i = 0; i < count; i++) {
    const told = results.reduce((sum, fresh) => sum + (fresh[i] ?? 0), 0);
    assert.ok(told >= 1, `name ${i} is stored by somebody`);
    if (told > 1) twice++;
  }
  // Each thread may straddle the opening of the one further level with one name.
  assert.ok(twice <= 3, `${twice} names were told new twice`);
});
