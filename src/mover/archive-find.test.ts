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
  ['cache/', ['cache', 'a/cache'], ['cache/x']],
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
      assert(matches(bytes), `${pattern} matches ${path}`);
    }
    for (const path of others)
      assert(!matches(fromText(path)), `${pattern} does not match ${path}`);
  }
});

test('bytes that are no text are matched by bytes', () => {
  assert(pathMatch('*\xff')('dir/caf\xe9\xff'));
  assert(!pathMatch('*\xff')('dir/caf\xe9'));
  assert(pathMatch('caf?')('caf\xe9'));
  assert(!pathMatch('caf?')(fromText('cafés')));
});

test('line ends in names are nothing special', () => {
  for (const pattern of ['*', '/**', 'a*b', '/x/**/a*b', 'x/**']) {
    assert(pathMatch(pattern)('x/a\nb'), pattern);
  }
  assert(!pathMatch('a')('a\n'));
  assert(!pathMatch('a')('a\nb'));
});

test('what is no pattern is a wrong command line', () => {
  for (const pattern of ['', '*'.repeat(70_000)]) {
    assert.throws(() => pathMatch(pattern), { code: 'USAGE' });
  }
});
