/**
 * Situation: what the repository knows of a volume cannot be read.
 * Goal: the pool is not forgotten, since that volume may have the only copy of something, and lists say what
 * they do not show. Method: a record that is damaged byte by byte, and whole commands.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { penstock } from '../commands.ts';
import { assertRestores, backup, flip, makePlace, makeTree } from '../volume-place.ts';

test('a pool of which a record cannot be read is not forgotten, and its status says so', () => {
  const place = makePlace('unread');
  const source = makeTree('unread', 2);
  const [archive] = backup(place, source);
  assert.equal(place.fails('pool', 'remove', 'tapes'), 'POOL_USED');
  const maps = join(place.repo, 'maps');
  const records = readdirSync(maps).filter((name) => name.startsWith('volume-'));
  assert.equal(records.length, 1);
  const path = join(maps, records[0] ?? '');
  const whole = readFileSync(path);
  flip(path, whole.length - 20);
  assert.equal(place.fails('pool', 'remove', 'tapes'), 'DAMAGED');
  for (const command of ['pool status tapes', 'pool list', 'volume list']) {
    const run = penstock([...command.split(' '), '--repo', place.repo], place.options);
    assert.deepEqual([run.status, run.warnings[0]?.code], [3, 'DAMAGED'], command);
  }
  writeFileSync(path, whole);
  assertRestores(place, archive as string, source);
});
