/**
 * Goal: a chunk of which records were written twice is the chunk, however its runs overlap.
 * Method: runs by hand, and random ones around a way that is known to be there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below } from '../../test/volume-fixture.ts';
import { seededRandom } from '../host/mod.ts';
import { type LinkedRun, wholeChain } from './run-chain.ts';

const run = (part: number, end: number, isLast = false): LinkedRun & { end: number } => ({
  ...{ part, records: end - part, isLast, end },
});
const ends = (runs: readonly LinkedRun[]): string | undefined =>
  wholeChain(runs)
    ?.map(({ part, records }) => `${part}-${part + records}`)
    .join(' ');

test('runs that follow each other, in whatever order they come', () => {
  assert.equal(ends([run(0, 3), run(3, 4), run(4, 9, true)]), '0-3 3-4 4-9');
  assert.equal(ends([run(4, 9, true), run(3, 4), run(0, 3)]), '0-3 3-4 4-9');
});

test('what is missing makes no chunk', () => {
  assert.equal(ends([]), undefined);
  assert.equal(ends([run(0, 3)]), undefined);
  assert.equal(ends([run(1, 3, true)]), undefined);
  assert.equal(ends([run(0, 3), run(4, 9, true)]), undefined);
  assert.equal(ends([run(0, 0), run(0, 0, true)]), undefined);
});

test('records that were written twice: the later ones count, and nothing is missing because of them', () => {
  // A medium ends with three records that are written again on the next one.
  const singles = [0, 1, 2, 3, 4, 5].map((part) => run(part, part + 1));
  assert.equal(ends([...singles, run(3, 8, true)]), '0-1 1-2 2-3 3-8');
  assert.equal(ends([...singles, run(3, 5), run(5, 8, true)]), '0-1 1-2 2-3 3-5 5-8');
  assert.equal(ends([run(0, 6), run(0, 6), run(6, 7, true)]), '0-6 6-7');
  const first = run(0, 4, true);
  const later = run(0, 4, true);
  assert.equal(wholeChain([first, later])?.[0], later);
});

test('whatever else was written, a way that is there is found', () => {
  const random = seededRandom(81);
  for (let round = 0; round < 300; round++) {
    const runs: LinkedRun[] = [];
    const end = 2 + below(random, 12);
    for (let part = 0; part < end; ) {
      const next = Math.min(end, part + 1 + below(random, 4));
      runs.push(run(part, next, next === end));
      part = next;
    }
    for (let more = below(random, 8); more > 0; more--) {
      const part = below(random, end);
      const next = Math.min(end, part + 1 + below(random, 4));
      runs.splice(below(random, runs.length + 1), 0, run(part, next, next === end));
    }
    let part = 0;
    const chain = wholeChain(runs) ?? [];
    for (const one of chain) {
      assert.equal(one.part, part);
      part += one.records;
    }
    assert.equal(part, end);
    assert.deepEqual(
      chain.map(({ isLast }) => isLast),
      chain.map((_, i) => i === chain.length - 1),
    );
  }
});
