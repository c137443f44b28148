/**
 * Goal: names of any bytes come through the command line. Method: only what needs no other process;
 * test/system/cli-usage.test.ts starts real ones.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { originalArguments, originalVariable } from './arguments.ts';

test('text becomes its bytes', () => {
  assert.deepEqual(originalArguments(['ls', 'ü'], false), ['ls', '\xc3\xbc']);
  assert.equal(originalVariable({ A: 'ü' }, 'A', false), '\xc3\xbc');
  assert.equal(originalVariable({}, 'A', false), undefined);
  assert.equal(originalVariable({ A: '' }, 'A', false), '');
});

test('a replacement character that was really typed stays one', () => {
  assert.deepEqual(originalArguments(['\ufffd'], false), ['\xef\xbf\xbd']);
  assert.equal(originalVariable({ NOT_IN_PROC: '\ufffd' }, 'NOT_IN_PROC', false), '\xef\xbf\xbd');
});
