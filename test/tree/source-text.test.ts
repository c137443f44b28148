/** Goal: the test of the tree does not mistake text for code. Method: small sources with traps. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { importedNames, lineOf, readSource } from './source-text.ts';

const SOURCE = [
  "import { a } from './a.ts'; // import x from './comment.ts'",
  "export type { B } from '../b.ts';",
  "const c = await import('./c.ts');",
  '/* Math.random() */',
  "const s = 'Math.random() \\' // no comment';",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the source that is read
  'const t = `text ${call(`inner ${deep({ x: 1 })} import`)} Date.now()`;',
  "const r = /['`/*]+[/]'/.test(s); const d = a / b / c; const q = 'after';",
  'found();',
].join('\n');

test('comments, strings, templates and patterns are blanks in the code', () => {
  const { code } = readSource(SOURCE);
  assert.equal(code.length, SOURCE.length);
  assert.equal(code.split('\n').length, SOURCE.split('\n').length);
  for (const hidden of ['Math.random', 'Date.now', 'comment', 'inner', 'text', 'after']) {
    assert(!code.includes(hidden), hidden);
  }
  for (const shown of ['call(', 'deep({ x: 1 })', 'a / b / c', 'found();', '.test(s)']) {
    assert(code.includes(shown), shown);
  }
});

test('imports are found with their names', () => {
  assert.deepEqual(importedNames(readSource(SOURCE)), ['./a.ts', '../b.ts', './c.ts']);
});

test('literals are kept, templates up to their first hole', () => {
  const texts = readSource(SOURCE).literals.map(({ text }) => text);
  assert(texts.includes('text '));
  assert(texts.includes('after'));
  assert.equal(lineOf(SOURCE, SOURCE.indexOf('found')), 8);
});
