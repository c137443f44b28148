/**
 * Goal: whatever a tree holds and whatever becomes of it, a copy makes the target hold the same, moves only
 * what differs, and a second copy moves nothing (U2, issue 3 item 6).
 * Method: random steps make a tree; it is copied, changed by random steps, copied again, and again.
 * Both trees are compared by other means. PENSTOCK_SEED chooses the trees, PENSTOCK_RUNS how many.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromText } from '../../src/base/bytes.ts';
import { type CopyResult, copy } from '../../src/mover/copy.ts';
import { scratchFolder } from '../commands.ts';
import { assertSameTree, capture, type Tree } from '../tree-compare.ts';
import { addition, mutation, RandomTree } from './random-tree.ts';

const SEED = Number(process.env.PENSTOCK_SEED ?? 20_261_121);
const RUNS = Number(process.env.PENSTOCK_RUNS ?? 3);
const scratch = scratchFolder();
let number = 0;

async function copyTree(source: string, target: string, threads: number): Promise<CopyResult> {
  const result = await copy({
    source: { path: fromText(source) },
    target: { path: fromText(target) },
    owners: true,
    byNumber: false,
    syncs: false,
    dryRun: false,
    threads,
    signal: new AbortController().signal,
    onProblem: (path, error) => assert.fail(`${path}: ${error.message}`),
    onProgress: () => undefined,
  });
  assert.deepEqual(result.refusals, {});
  return result;
}

/** What is left of the target without what the source has no more: a copy deletes nothing. */
function only(target: Tree, source: Tree): Tree {
  return new Map([...target].filter(([path]) => source.has(path)));
}

test('a copy of any tree, of what became of it, and a second one that moves nothing', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(addition, { minLength: 5, maxLength: 40 }),
      fc.array(mutation, { maxLength: 12 }),
      fc.constantFrom(1, 2, 3),
      async (additions, mutations, threads) => {
        const source = join(scratch, `source${number}`);
        const target = join(scratch, `target${number++}`, 'below');
        const tree = new RandomTree(source);
        try {
          for (const step of additions) tree.add(step);
          const first = await copyTree(source, target, threads);
          assertSameTree(capture(fromText(target)), capture(fromText(source)));
          assert.equal(first.filesDone, first.files);
          const second = await copyTree(source, target, threads);
          assert.equal(second.filesDone + second.metadataOnly + second.bytesDone, 0);
          assert.equal(second.filesSame, second.files);
          for (const step of mutations) {
            // Nobody sees such a change who does not read every file.
            if (step.act !== 'edit unseen') tree.mutate(step);
          }
          await copyTree(source, target, threads);
          const expected = capture(fromText(source));
          assertSameTree(only(capture(fromText(target)), expected), expected);
        } finally {
          tree.close();
        }
      },
    ),
    { seed: SEED, numRuns: RUNS },
  );
});
