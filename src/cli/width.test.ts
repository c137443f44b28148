/**
 * Goal: lines never exceed their columns. Method: known widths, and cutting at every width.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pad, shortenEnd, shortenStart, textColumns } from './width.ts';

test('wide characters, marks and joiners have their widths', () => {
  assert.equal(textColumns('abc'), 3);
  assert.equal(textColumns('データ'), 6);
  assert.equal(textColumns('한글'), 4);
  assert.equal(textColumns('e\u0301'), 1);
  assert.equal(textColumns('😀'), 2);
  assert.equal(textColumns('a\u200bb'), 2);
  assert.equal(textColumns('äöü ½ …'), 7);
});

test('text that fits is left alone', () => {
  assert.equal(shortenStart('データ', 6), 'データ');
  assert.equal(shortenEnd('abc', 3), 'abc');
});

test('a path keeps its end, a message its beginning, at every width', () => {
  const text = 'home/me/データ/e\u0301te\u0301/😀.txt';
  for (let columns = 0; columns <= textColumns(text); columns++) {
    const start = shortenStart(text, columns);
    const end = shortenEnd(text, columns);
    assert(textColumns(start) <= columns, `${start} in ${columns}`);
    assert(textColumns(end) <= columns, `${end} in ${columns}`);
    assert(text.endsWith(start.replace(/^…/, '')));
    assert(text.startsWith(end.replace(/…$/, '')));
    assert(!/^…\u0301/.test(start), 'a mark without its character');
  }
  assert.equal(shortenStart('abcdef', 4), '…def');
  assert.equal(shortenEnd('abcdef', 4), 'abc…');
});

test('padding counts columns, not characters', () => {
  assert.equal(pad('デ', 4), 'デ  ');
  assert.equal(pad('7', 3, true), '  7');
  assert.equal(pad('long', 2), 'long');
});
