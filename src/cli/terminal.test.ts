/**
 * Goal: what is typed at a prompt is what counts. Method: keys as bytes; real terminals are tested
 * in test/system/cli-terminal.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { LineEditor } from './terminal.ts';

function typed(text: string): string {
  const line = new LineEditor();
  for (const byte of Buffer.from(text)) line.type(byte);
  return line.take().toString();
}

test('characters are taken as bytes', () => {
  assert.equal(typed('pass wörd データ'), 'pass wörd データ');
});

test('backspace removes a whole character', () => {
  assert.equal(typed('aü\x7f'), 'a');
  assert.equal(typed('データ\x08\x7f'), 'デ');
  assert.equal(typed('a\x7f\x7f\x7fb'), 'b');
});

test('the line can be begun again', () => {
  assert.equal(typed('wrong\x15right'), 'right');
});

test('cursor and function keys and other control characters do nothing', () => {
  assert.equal(typed('a\x1b[Ab\x1b[15~c\x1bOPd\x1b[1;5Ce\tf\x00'), 'abcdef');
});

test('a line that is too long is cut, and each line begins empty', () => {
  assert.equal(typed('x'.repeat(LIMITS.passphraseBytesMax + 10)).length, LIMITS.passphraseBytesMax);
  const line = new LineEditor();
  line.type(0x61);
  assert(!line.isEmpty);
  assert.equal(line.take().toString(), 'a');
  assert(line.isEmpty);
  assert.equal(line.take().length, 0);
});
