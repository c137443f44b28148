/**
 * Goal: a monitor that keeps the threads of copies for the next one copies as well the tenth time as the first,
 * and has no more threads then than after the first.
 * Method: `penstock serve` in a process of its own; trees that differ each time go both ways, some copies at once.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { scratchFolder, start } from '../commands.ts';
import { pairDaemons, startDaemon } from '../daemon-fixture.ts';
import { assertSameTree, capture } from '../tree-compare.ts';

const scratch = scratchFolder();
const tree = (path: string) => capture(fromText(path));

test('copies by threads that have run others before are what they should be', async (t) => {
  const far = await startDaemon(t);
  const near = await startDaemon(t);
  const there = join(scratch, 'there');
  mkdirSync(there);
  pairDaemons(near, far, ['--copy-path', there]);
  const copied = async (from: string, to: string, files: number): Promise<void> => {
    const { summary, status, stdout } = await start(['copy', from, to, ...near.state]).ended;
    assert.deepEqual([status, summary.filesDone], [0, files], stdout);
  };
  const threads: number[] = [];
  for (let round = 0; round < 3; round++) {
    const works = [0, 1].map(async (lane) => {
      const source = join(scratch, `source-${lane}`);
      const pulled = join(scratch, `pulled-${lane}`);
      mkdirSync(join(source, `folder-${round}`), { recursive: true });
      writeFileSync(join(source, `folder-${round}`, 'new'), `${lane} ${round}`.repeat(1000));
      writeFileSync(join(source, 'changed'), `${lane} ${round}`);
      await copied(`${source}/`, `${far.address}:${there}/tree-${lane}`, 2);
      await copied(`${far.address}:${there}/tree-${lane}/`, pulled, 2);
      await copied(`${source}/`, `${far.address}:${there}/tree-${lane}`, 0);
      assertSameTree(tree(pulled), tree(source));
    });
    await Promise.all(works);
    threads.push(readdirSync(`/proc/${far.process.pid}/task`).length);
  }
  // Six copies a round have some threads each; besides those that are kept some were started ahead.
  const more = (threads.at(-1) ?? 0) - (threads[0] ?? 0);
  assert.ok(more <= 2 * LIMITS.idleThreadsMax, `${threads}`);
});
