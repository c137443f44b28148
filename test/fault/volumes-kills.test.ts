/**
 * Goal: wherever a command that writes to volumes is killed, archives that were there restore, and the
 * next command continues from what is committed (L5, M11).
 * Method: commands that are killed at a change of the file system that a seed chooses, or at a gate; what
 * is on the images is read by a reader of its own. PENSTOCK_TEST_SEED chooses the changes.
 */
import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { penstock, start, succeed } from '../commands.ts';
import { Gate } from '../gate.ts';
import { until } from '../until.ts';
import {
  assertRestores,
  below,
  check,
  MB,
  makePlace,
  makeTree,
  NO_PASSPHRASE,
  ROUNDS,
  scratch,
} from './volume-place.ts';

test('commands that are killed at any change, one after the other', async (t) => {
  const kept = makeTree('killed-kept', 2);
  const source = makeTree('killed', 8);
  const { repo, pool } = makePlace('killed', '10M', '--chunk-size', '2200K', '--sync-every', '4M');
  const first = succeed(['backup', kept, ...pool]).summary.archive;
  const commands = [
    ['backup', '--each', source, kept, ...pool, '--checkpoint-interval', '50ms'],
    ['prune', '--grace', '0s', '--repo', repo],
  ];
  let kills = 0;
  for (let round = 0; round < ROUNDS; round++) {
    appendFileSync(join(source, `prose-${round}`), `${round}`);
    const isTorn = below(3) === 0;
    const rule = isTorn
      ? `write:after=${below(40)}:torn:crash`
      : `change:after=${below(120)}:crash`;
    const env = { ...NO_PASSPHRASE, PENSTOCK_TEST: '1', PENSTOCK_FAULT: rule };
    const run = penstock(commands[round % 3 === 2 ? 1 : 0] ?? [], { env });
    assert(run.status === 0 || run.status === null, `${rule}: ${run.stdout}`);
    if (run.status === null) kills++;
    assertRestores(repo, first, kept);
  }
  t.diagnostic(`${kills} of ${ROUNDS} were killed`);
  assert(kills > 0);
  check(repo);
  const { summary } = succeed(commands[0] ?? []);
  const [made] = summary.archives as { archive: string }[];
  assertRestores(repo, made?.archive, source);
  assertRestores(repo, first, kept);
  check(repo);
});

test('an interrupted backup does not store again what was committed', async () => {
  const source = makeTree('again', 20);
  writeFileSync(join(source, 'the last'), 'of all');
  const settings = ['--chunk-size', '2200K', '--sync-every', '2M'];
  const { repo, pool } = makePlace('again', '64M', ...settings);
  const args = ['backup', source, ...pool];
  const gate = new Gate(scratch, 'openRead:name=the last');
  const { child, ended } = start(args, { env: gate.env });
  await gate.reached(ended);
  // Each chunk that is on the medium has a segment.
  await until(() => readdirSync(join(repo, 'index')).length >= 3);
  child.kill('SIGKILL');
  assert.equal((await ended).signal, 'SIGKILL', 'it was interrupted');
  assert.equal(readdirSync(join(repo, 'archives')).length, 0);
  // Of each chunk that is committed there is a segment; the last ones were on their way.
  const committed = readdirSync(join(repo, 'index')).length * 2.1 * MB;
  assert(Number(check(repo).summary.bytesRead) >= committed);
  const { summary } = succeed(args);
  const most = 20 * 1.5 * MB;
  const stored = Number(summary.bytesStored);
  assert(stored < most * 1.02 - committed, `${stored} after ${committed}`);
  assertRestores(repo, summary.archive, source);
});
