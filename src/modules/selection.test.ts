/**
 * Goal: patterns and ignore files take and leave out what they say, byte for byte and letter for
 * letter; what is not named by them is never left out.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromText } from '../base/bytes.ts';
import { IgnoreRules, parsePatternFile, Selection, type SelectionOptions } from './selection.ts';

const NONE: SelectionOptions = { exclude: [], include: [], ignoreFiles: [], oneFileSystem: false };

function selection(exclude: readonly string[], include: readonly string[] = []): Selection {
  return new Selection({ ...NONE, exclude: exclude.map(fromText), include: include.map(fromText) });
}
/** Those of the paths that are left out; one that ends with a slash is a directory. */
function leftOut(selected: Selection, paths: readonly string[], ignores?: IgnoreRules): string[] {
  return paths.filter((path) => {
    const directory = path.endsWith('/');
    const whole = directory ? path.slice(0, -1) : path;
    const name = whole.slice(whole.lastIndexOf('/') + 1);
    return selected.excludes(fromText(whole), fromText(name), directory, ignores);
  });
}
const ignoring = (text: string, path = '/src', outer?: IgnoreRules): IgnoreRules =>
  new IgnoreRules(Buffer.from(text), path, outer);
const NO_PATTERNS = selection([]);

test('a pattern without a slash matches a name anywhere', () => {
  const paths = ['/a.tmp', '/x/b.tmp', '/x/c.tmp/', '/x/tmp', '/x/a.tmp.txt', '/.tmp', '/x/A.TMP'];
  assert.deepEqual(leftOut(selection(['*.tmp']), paths), [
    '/a.tmp',
    '/x/b.tmp',
    '/x/c.tmp/',
    '/.tmp',
  ]);
});

test('a pattern with a slash matches a whole path, or its end when it does not begin with one', () => {
  const paths = ['/var/cache/', '/home/var/cache/', '/home/var/cache/x', '/var/cached', '/cache/'];
  assert.deepEqual(leftOut(selection(['/var/cache']), paths), ['/var/cache/']);
  assert.deepEqual(leftOut(selection(['var/cache']), paths), ['/var/cache/', '/home/var/cache/']);
  assert.deepEqual(leftOut(selection(['/home/**/x']), paths), ['/home/var/cache/x']);
  assert.deepEqual(leftOut(selection(['/*/var']), ['/home/var/', '/a/b/var/']), ['/home/var/']);
});

test('a pattern that ends with a slash matches directories only', () => {
  const paths = ['/a/build/', '/b/build', '/build/', '/a/x/out/', '/a/x/out'];
  assert.deepEqual(leftOut(selection(['build/']), paths), ['/a/build/', '/build/']);
  assert.deepEqual(leftOut(selection(['x/out/']), paths), ['/a/x/out/']);
});

test('names with line ends are matched like others; any number of directories may be none', () => {
  const paths = ['/secret/a\nb', '/x/secret/a\nb/c', '/secret', '/a\nb'];
  assert.deepEqual(leftOut(selection(['**/secret/**']), paths), paths.slice(0, 3));
  assert.deepEqual(leftOut(selection(['/**/secret/*']), paths), [paths[0]]);
  assert.deepEqual(leftOut(selection(['a*b']), paths), [paths[0], paths[3]]);
  assert.deepEqual(leftOut(selection(['/**/secret']), paths), ['/secret']);
});

test('an include rescues what an exclude hit, and nothing else', () => {
  const paths = ['/a.log', '/keep.log', '/x/keep.log', '/b.txt'];
  assert.deepEqual(leftOut(selection(['*.log'], ['keep.*']), paths), ['/a.log']);
  assert.deepEqual(leftOut(selection(['*.log'], ['/x/**']), paths), ['/a.log', '/keep.log']);
  assert.deepEqual(leftOut(selection([], ['keep.*']), paths), []);
});

test('letters beyond ASCII are letters, and bytes that are no text are bytes', () => {
  const paths = ['/é', '/ü.txt', '/éé', '/データ/', '/e'];
  assert.deepEqual(leftOut(selection(['?']), paths), ['/é', '/e']);
  assert.deepEqual(leftOut(selection(['[éü].txt']), paths), ['/ü.txt']);
  assert.deepEqual(leftOut(selection(['デ*']), paths), ['/データ/']);
  const bytes = selection(['*.x']);
  assert.equal(bytes.excludes('/\xff\xfe.x', '\xff\xfe.x', false, undefined), true);
  assert.equal(selection(['?']).excludes('/\xff', '\xff', false, undefined), true);
});

test('characters that mean something to globs can be escaped, and names may hold them', () => {
  const paths = ['/a*b', '/axb', '/[x]', '/x', '/!a', '/a\nb', '/a\\b', '/{a,b}'];
  assert.deepEqual(leftOut(selection(['a\\*b']), paths), ['/a*b']);
  assert.deepEqual(leftOut(selection(['\\[x\\]']), paths), ['/[x]']);
  assert.deepEqual(leftOut(selection(['!a']), paths), ['/!a']);
  assert.deepEqual(leftOut(selection(['a?b']), paths), ['/a*b', '/axb', '/a\nb', '/a\\b']);
  assert.deepEqual(leftOut(selection(['{x,y}']), paths), ['/x']);
});

test('a pattern without special characters leaves out exactly the name that it is', () => {
  const name = fc.stringMatching(/^[a-zA-Z0-9é_ -]{1,8}$/);
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 20 }), (names) => {
      const paths = names.map((one) => `/d/${one}`);
      assert.deepEqual(
        leftOut(selection([names[0] ?? '']), paths),
        paths.filter((path) => path === paths[0]),
      );
    }),
  );
});

test('size and age are limits of files', () => {
  const limits = new Selection({ ...NONE, sizeMax: 100, newerThanMs: 1000, olderThanMs: 2000 });
  assert.equal(limits.excludesFile(100, 1000), false);
  assert.equal(limits.excludesFile(101, 1500), true);
  assert.equal(limits.excludesFile(1, 999.9), true);
  assert.equal(limits.excludesFile(1, 2000.1), true);
  assert.equal(limits.usesPaths, false);
});

test('lines of a pattern file: blanks around them go, letters stay whole', () => {
  const lines = parsePatternFile(Buffer.from('# comment\n\n  *.tmp \t\r\nvoilà\n\tà\n#x\n\\#y\n'));
  assert.deepEqual(lines, ['*.tmp', 'voilà', 'à', '\\#y'].map(fromText));
});

test('an ignore file follows the rules of git', () => {
  const rules = ignoring('# comment\n*.o\n!keep.o\n/top\nbuild/\ndoc/*.txt\n\\#hash\n');
  const paths = ['/src/a.o', '/src/x/b.o', '/src/keep.o', '/src/A.O', '/src/top', '/src/x/top'];
  const more = [
    '/src/build/',
    '/src/x/build/',
    '/src/y/build',
    '/src/doc/a.txt',
    '/src/x/doc/a.txt',
    '/src/#hash',
    '/src/...',
  ];
  assert.deepEqual(leftOut(NO_PATTERNS, [...paths, ...more], rules), [
    '/src/a.o',
    '/src/x/b.o',
    '/src/top',
    '/src/build/',
    '/src/x/build/',
    '/src/doc/a.txt',
    '/src/#hash',
  ]);
});

test('letters and case in an ignore file; names that are no text', () => {
  const rules = ignoring('voilà\nÄrger*\nReadme\n*.x\n');
  const paths = [
    '/src/voilà',
    '/src/voil',
    '/src/Ärger.txt',
    '/src/ärger.txt',
    '/src/README',
    '/src/Readme',
  ];
  assert.deepEqual(leftOut(NO_PATTERNS, paths, rules), [
    '/src/voilà',
    '/src/Ärger.txt',
    '/src/Readme',
  ]);
  assert.equal(NO_PATTERNS.excludes('/src/\xff.x', '\xff.x', false, rules), true);
  const latin = new IgnoreRules(Buffer.from('\xe9t\xe9\n', 'latin1'), '/src', undefined);
  assert.equal(NO_PATTERNS.excludes('/src/\xe9t\xe9', '\xe9t\xe9', false, latin), true);
});

test('the innermost ignore file that has an opinion decides', () => {
  const outer = ignoring('*.log\n*.tmp\n');
  const inner = ignoring('!special.log\nlocal\n', '/src/deep', outer);
  const paths = [
    '/src/deep/a.log',
    '/src/deep/special.log',
    '/src/deep/local',
    '/src/deep/x.tmp',
    '/src/deep/y',
  ];
  assert.deepEqual(leftOut(NO_PATTERNS, paths, inner), [
    '/src/deep/a.log',
    '/src/deep/local',
    '/src/deep/x.tmp',
  ]);
  assert.deepEqual(leftOut(NO_PATTERNS, ['/a.log', '/b'], ignoring('*.log', '/')), ['/a.log']);
});

test('many paths are tested with the memory of a few', () => {
  const rules = ignoring('*.o\n!keep*.o\n');
  for (let i = 0; i < 10_000; i++) {
    assert.equal(NO_PATTERNS.excludes(`/src/${i}.o`, `${i}.o`, false, rules), true);
    assert.equal(NO_PATTERNS.excludes(`/src/keep${i}.o`, `keep${i}.o`, false, rules), false);
  }
});
