/**
 * Goal: a disk that fills up under the images of a pool, in the middle of a volume, costs nothing that was
 * committed; the error names volume and disk; and when there is room again the volume goes on, and what was
 * committed is not stored again.
 *
 * Method: the pool's folder is a small file system of its own, which is made larger afterwards.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { IS_ROOT, penstock, succeed } from '../commands.ts';
import { readTap } from '../tap-reader.ts';
import { assertRestores, check, makePlace, makeTree, NO_PASSPHRASE } from './volume-place.ts';

function mount(folder: string, options: string): boolean {
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  return status === 0;
}

test('a disk that is full in the middle of a volume', (context) => {
  if (!IS_ROOT) return context.skip('needs root, to mount');
  const place = makePlace('disk', '64M', '--chunk-size', '4M');
  if (!mount(place.tapes, 'size=16m')) return context.skip('file systems cannot be mounted here');
  context.after(() => void spawnSync('umount', [place.tapes]));
  const env = NO_PASSPHRASE;
  const [small, large] = [makeTree('disk-small', 2), makeTree('disk-large', 14)];
  const first = succeed(['backup', small, ...place.pool], { env }).summary.archive;
  const run = penstock(['backup', large, ...place.pool], { env });
  assert.equal(run.status, 1, run.stdout);
  const [error] = run.errors;
  assert.equal(error?.code, 'VOLUME_FULL');
  assert.match(String(error?.message), /TAP00\d/);
  assert.match(String(error?.message), /disk/);
  check(place.repo);
  assertRestores(place.repo, first, small);
  const written = statSync(join(place.tapes, 'TAP001.tap')).size;
  assert(mount(place.tapes, 'remount,size=64m'));
  const second = succeed(['backup', large, ...place.pool], { env }).summary;
  // What the first one had committed is not stored again: there was room for it.
  assert((second.bytesNew as number) < 16e6, `${second.bytesNew}`);
  const image = join(place.tapes, 'TAP001.tap');
  readTap(image);
  assert(statSync(image).size > written, 'it goes on where it ended');
  assertRestores(place.repo, second.archive, large);
  assertRestores(place.repo, first, small);
  check(place.repo);
});
