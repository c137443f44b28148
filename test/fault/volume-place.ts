/**
 * For tests of faults: places (../volume-place.ts) with larger trees, chance, and what lies on the images.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Random, seededRandom } from '../../src/host/mod.ts';
import { penstock, type Run, succeed } from '../commands.ts';
import { readTap } from '../tap-reader.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, prose } from '../tree-make.ts';
import { addPool, makePlace as makeOne, type Place, scratch } from '../volume-place.ts';

/** How often, and by which seed: PENSTOCK_RUNS, PENSTOCK_TEST_SEED. */
export const ROUNDS: number = Number(process.env.PENSTOCK_RUNS ?? 3);
const random: Random = seededRandom(Number(process.env.PENSTOCK_TEST_SEED ?? 1));
export const below = (limit: number): number => random.bytes(4).readUInt32LE(0) % limit;
export const MB = 1_000_000;
/** A passphrase that is not needed is warned of. */
export const NO_PASSPHRASE = { PENSTOCK_PASSPHRASE: undefined };

export { addPool, scratch };

/** A repository without encryption, which takes less time, and a pool. */
export const makePlace = (name: string, volumeSize: string, ...more: readonly string[]): Place =>
  makeOne(name, '--volume-size', volumeSize, ...more);

/** A tree of files of 1.5 MB that do not compress, and a small one each. */
export function makeTree(name: string, files: number): string {
  const root = join(scratch, name);
  mkdirSync(root);
  for (let i = 0; i < files; i++) {
    writeFileSync(join(root, `noise-${i}`), noise(1.5 * MB, `${name} ${i}`));
    writeFileSync(join(root, `prose-${i}`), prose(9000, `${name} ${i}`));
  }
  return root;
}

/** What a restore of an archive said; what it restored lies under the folder. */
export function restore(repo: string, archive: string): { run: Run; target: string } {
  const target = join(scratch, 'target');
  rmSync(target, { recursive: true, force: true });
  return {
    run: penstock(['restore', archive, '--target', target, '--repo', repo]),
    target,
  };
}

export function assertRestores(repo: string, archive: unknown, source: string): void {
  const { run, target } = restore(repo, archive as string);
  assert.equal(run.status, 0, run.stdout);
  assertSameTree(capture(join(target, source)), capture(source));
}

export const check = (repo: string): Run => succeed(['check', '--read-data', '--repo', repo]);

/** Records of chunks on all images, their number of object with them. */
export function recordsOf(tapes: string): { image: string; object: number; record: Buffer }[] {
  return readdirSync(tapes).flatMap((name) =>
    readTap(join(tapes, name)).flatMap((record, object) =>
      record !== 'mark' && record.toString('latin1', 0, 4) === 'PTAG' && record.length > 144
        ? [{ image: join(tapes, name), object, record }]
        : [],
    ),
  );
}
