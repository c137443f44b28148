/**
 * Goal: patterns match what users expect of them, names of any bytes included. Method: examples.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromText } from '../base/bytes.ts';
import { pathMatch } from './archive-find.ts';

/** Patterns, paths that each matches, and paths that it does not. */
const EXAMPLES: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['*.txt', ['a.txt', 'home/me/.txt', 'x/y z.txt'], ['a.txt/b', 'atxt', 'a.TXT']],
  ['me', ['me', 'home/me'], ['home/me/x', 'home', 'mee']],
  ['.*', ['.bashrc', 'a/.git'], ['a/b.c']],
  ['/etc/*.conf', ['etc/a.conf', 'etc/.conf'], ['etc/x/a.conf', 'home/etc/a.conf']],
  ['/etc/**', ['etc/a', 'etc/a/b/c', 'etc/.x/y'], ['usr/etc/a']],
  ['etc/*.conf', ['etc/a.conf', 'usr/local/etc/a.conf'], ['etc/x/a.conf', 'fetc/a.conf']],
  ['/**/cache', ['cache', 'a/b/cache'], ['a/cache/b']],
  ['[ab]?', ['ax', 'b\xff'], ['abc', 'a', 'c1']],
  ['{one,two}.*', ['one.x', 'a/two.y'], ['three.z']],
  ['!keep', ['!keep'], ['other', 'keep']],
  ['a\\*b', ['a*b'], ['axb']],
  ['Ä?', ['Äö', 'x/Ä☃'], ['Ä', 'Äöü']],
  ['??', ['ab', 'ö☃', '\u{1f600}'], ['a', 'abc']],
  ['(', ['('], ['x']],
  ['a b', ['a b'], ['ab']],
];

test('patterns match names, whole paths or their ends', () => {
  for (const [pattern, matched, others] of EXAMPLES) {
    const matches = pathMatch(fromText(pattern));
    for (const path of matched) {
      // The only example that is not UTF-8.
      const bytes = path === 'b\xff' ? path : fromText(path);
      assert(matches(bytes, false), `${pattern} matches ${path}`);
    }
    for (const path of others)
      assert(!matches(fromText(path), false), `${pattern} does not match ${path}`);
  }
});

test('bytes that are no text are matched by bytes', () => {
  assert(pathMatch('*\xff')('dir/caf\xe9\xff', false));
  assert(!pathMatch('*\xff')('dir/caf\xe9', false));
  assert(pathMatch('caf?')('caf\xe9', false));
  assert(!pathMatch('caf?')(fromText('cafés'), false));
});

test('line ends in names are nothing special', () => {
  for (const pattern of ['*', '/**', 'a*b', '/x/**/a*b', 'x/**']) {
    assert(pathMatch(pattern)('x/a\nb', false), pattern);
  }
  assert(!pathMatch('a')('a\n', false));
  assert(!pathMatch('a')('a\nb', false));
});

test('a slash at the end asks for a directory', () => {
  for (const pattern of ['cache/', '/a/cache/', 'a/cache//']) {
    assert(pathMatch(pattern)('a/cache', true), pattern);
    assert(!pathMatch(pattern)('a/cache', false), pattern);
  }
  assert(pathMatch('cache')('a/cache', true));
});

test('what is no pattern is a wrong command line', () => {
  for (const pattern of ['', '*'.repeat(70_000)]) {
    assert.throws(() => pathMatch(pattern), { code: 'USAGE' });
  }
});
