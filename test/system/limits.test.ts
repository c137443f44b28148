/**
 * Goal: a command works within the memory and the threads that the user gives it (U9), and refuses what
 * is too little. Method: whole commands. How much memory is resident in all is measured by the bench.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { seededRandom } from '../../src/host/fake/mod.ts';
import { Workplace } from './workplace.ts';

const MIB = 1024 * 1024;

test('commands work within little memory and few threads; too little is refused', (context) => {
  const place = new Workplace('limits');
  context.after(() => place.remove());
  const content = seededRandom(4).bytes(24 * MIB);
  place.write('large', content);
  place.must(['init']);
  const error = place.fails(['backup', place.source, '--memory', '1M'], 1);
  assert.equal(error.code, 'LIMIT');
  for (const limits of [
    ['--memory', '48M', '--threads', '1'],
    ['--memory', '96M', '--threads', '3'],
  ]) {
    const archive = place.backup('--full', ...limits);
    const target = join(place.directory, archive);
    place.must(['restore', archive, '--target', target, ...limits]);
    assert(readFileSync(join(target, place.source, 'large')).equals(content), limits.join(' '));
  }
});
