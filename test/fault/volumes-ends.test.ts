/**
 * Goal: wherever media end, and whatever becomes of the place where images lie, what was committed
 * restores, and the next command goes on (L2, M11).
 * Method: whole commands on images of sizes that a seed chooses, with full disks, and without the image.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { penstock, start, succeed } from '../commands.ts';
import { Gate } from '../gate.ts';
import { until } from '../until.ts';
import {
  addPool,
  assertRestores,
  below,
  check,
  MB,
  makePlace,
  makeTree,
  ROUNDS,
  scratch,
} from './volume-place.ts';

test('media of any size: a session goes on where one ends, and all of it restores', async () => {
  const sources = [makeTree('sized-a', 5), makeTree('sized-b', 3)];
  const { repo } = makePlace('sized', '10M');
  let ends = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = 9_500_000 + below(4 * MB);
    const pool = `sized-${round}`;
    const tapes = join(scratch, pool);
    const marks = ['--mark-every', round % 2 === 0 ? '0' : '3M'];
    addPool(repo, pool, tapes, '--volume-size', `${bytes}`, ...marks);
    const { summary } = succeed(['backup', '--each', ...sources, '--pool', pool, '--repo', repo]);
    const which = round % 2;
    const made = summary.archives as { archive: string }[];
    assertRestores(repo, made[which]?.archive, sources[which] as string);
    for (const name of readdirSync(tapes)) {
      assert(statSync(join(tapes, name)).size <= bytes, `${name} of ${bytes} bytes`);
      ends++;
    }
  }
  check(repo);
  assert(ends > ROUNDS, 'some sessions went on, on another volume');
});

describe('a place of images that fails', () => {
  test('a full disk ends the backup, says so, and the next one continues', () => {
    const source = makeTree('full', 8);
    const { repo, tapes, pool } = makePlace('full', '10M', '--chunk-size', '2200K');
    const env = {
      PENSTOCK_TEST: '1',
      PENSTOCK_FAULT: `write:after=${25 + below(15)}:error=ENOSPC:repeat=forever`,
    };
    const failed = penstock(['backup', source, ...pool], { env });
    assert.notEqual(failed.status, 0);
    // The repository is on the same disk: either may be first.
    const [error] = failed.errors;
    assert(error?.code === 'VOLUME_FULL' || error?.code === 'REPO_FULL', failed.stdout);
    assert(readdirSync(tapes).length <= 3, 'no volume after the other is begun');
    check(repo);
    const { archive } = succeed(['backup', source, ...pool]).summary;
    assertRestores(repo, archive, source);
    check(repo);
  });

  test('an image that vanishes while it is written: nothing on it is said to be stored', async () => {
    const source = makeTree('vanished', 16);
    const { repo, tapes, pool } = makePlace('vanished', '64M');
    // What it reads of the later half waits until the image is gone.
    const gate = new Gate(scratch, 'openRead:name=noise-:after=8:repeat=forever');
    const { child, ended } = start(['backup', source, ...pool], { env: gate.env });
    await gate.reached(ended);
    const image = join(tapes, 'TAP001.tap');
    await until(() => existsSync(image));
    rmSync(image);
    await gate.openUntil(() => child.exitCode !== null);
    const run = await ended;
    assert.notEqual(run.status, 0, run.stdout);
    assert.equal(readdirSync(join(repo, 'archives')).length, 0);
    const { archive } = succeed(['backup', source, ...pool]).summary;
    assertRestores(repo, archive, source);
    check(repo);
  });
});
