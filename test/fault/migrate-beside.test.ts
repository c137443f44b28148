/**
 * Goal: what a prune deletes and rewrites, and what a migration moves at the same time, is never lost to an
 * archive that needs it, whichever of them is killed when.
 *
 * Method: both at once, each with something to do, one of them killed at a random moment; then all that is
 * left is read, and restored and compared at the end.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { start, succeed } from '../commands.ts';
import {
  addPool,
  assertRestores,
  below,
  check,
  makePlace,
  makeTree,
  NO_PASSPHRASE,
  ROUNDS,
  scratch,
} from './volume-place.ts';

const KILL_MS = 900;
const MOVES = [
  ['root', '--to', 'tapes'],
  ['tapes', '--to', 'more'],
  ['more', 'tapes', '--to', 'root'],
];

test('prune and migrate at once, with kills: archives stay whole', async () => {
  const { repo } = makePlace('beside', '12M', '--chunk-size', '2100K');
  addPool(repo, 'more', join(scratch, 'beside-more'));
  const env = NO_PASSPHRASE;
  const run = (...args: string[]): string =>
    succeed([...args, '--repo', repo], { env }).summary.archive as string;
  // Each has what the one after it has, and more: with each that goes, something dies.
  const trees = Array.from({ length: ROUNDS + 1 }, (_, i) => makeTree(`beside-${i}`, 2));
  const archives = trees.map((_, i) => run('backup', ...trees.slice(i)));
  for (let round = 0; round < ROUNDS; round++) {
    const move = MOVES[round % MOVES.length] as string[];
    const prune = ['--prune', '--max-unused', '0', '--grace', '0s'];
    const both = [
      start(['migrate', ...move, '--repo', repo], { env }),
      start(['forget', archives[round] as string, ...prune, '--repo', repo], { env }),
    ];
    const killed = below(3);
    await sleep(below(KILL_MS));
    both[killed]?.child.kill('SIGKILL');
    for (const [i, { ended }] of both.entries()) {
      const { status, signal, stdout } = await ended;
      const isEnd = status === 0 || (i === 0 && status === 3) || (i === killed && signal !== null);
      assert(isEnd, `${status} ${signal} ${stdout}`);
    }
    check(repo);
  }
  run('migrate', 'tapes', 'more', '--to', 'root');
  run('prune', '--max-unused', '0');
  assertRestores(repo, archives.at(-1), trees.at(-1) as string);
});
