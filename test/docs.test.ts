/**
 * Goal: the documents are true. Method: those that are made from tables are made again and compared;
 * the table of requirements is held against the list of ids and against the tree.
 */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { PAGES } from '../scripts/docs.ts';
import { ERRORS } from '../src/base/errors.ts';
import { LIMITS } from '../src/base/limits.ts';

const ROOT = join(import.meta.dirname, '..');

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The rows of a page's tables, heads left out, each as its cells. */
function rowsOf(page: string): string[][] {
  return page
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| id |'))
    .map((line) => line.slice(2, -2).split(/ *(?<!\\)\| */));
}

for (const [name, page] of Object.entries(PAGES)) {
  test(`docs/${name} is what its table says`, () => {
    assert.equal(read(`docs/${name}`), page(), 'run: npm run docs');
  });
}

test('every error and every limit is on its page, with what it means', () => {
  const errors = rowsOf(read('docs/errors.md'));
  for (const [code, { meaning }] of Object.entries(ERRORS)) {
    assert(
      errors.some(([first, second]) => first === `\`${code}\`` && second === meaning),
      code,
    );
  }
  const limits = rowsOf(read('docs/limits.md'));
  for (const name of Object.keys(LIMITS)) {
    const row = limits.find(([first]) => first === `\`${name}\``);
    assert(row?.[2], `src/base/limits.ts does not say what ${name} bounds`);
  }
});

const SERIES = { P: 15, M: 14, V: 14, C: 5, L: 8, U: 12 };
const STATES = ['done', 'part', 'not yet'];

test('docs/requirements.md has every id once, with a state, a module and a test that are there', () => {
  const wanted = Object.entries(SERIES).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, index) => `${letter}${index + 1}`),
  );
  const rows = rowsOf(read('docs/requirements.md'));
  assert.deepEqual(
    rows.map(([id]) => id),
    wanted,
  );
  for (const [id = '', requirement, modules = '', tests = '', state = ''] of rows) {
    assert(requirement, id);
    assert(STATES.includes(state), `${id}: the state is one of ${STATES.join(', ')}, not ${state}`);
    for (const path of pathsIn(`${modules} ${tests}`)) {
      assert(existsSync(join(ROOT, path)), `${id} names ${path}, which is not there`);
    }
    if (state === 'not yet') continue;
    assert(
      pathsIn(modules).some((path) => path.startsWith('src/')),
      `${id} names no module`,
    );
    assert(pathsIn(tests).length > 0, `${id} is ${state} and names no test`);
    for (const path of pathsIn(tests)) assert.match(path, /\.test\.ts$/, id);
  }
});

function pathsIn(cell: string): string[] {
  return [...cell.matchAll(/`([\w./-]+)`/g)].flatMap(([, path]) => path ?? []);
}

test('links in the documents lead somewhere', () => {
  const pages = globSync(['*.md', 'docs/**/*.md', 'changelog/**/*.md'], { cwd: ROOT });
  assert(pages.includes('README.md') && pages.length > 6, `only ${pages.join(', ')} seen`);
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
      assert(existsSync(join(ROOT, page, '..', target)), `${page} links to ${target}`);
    }
  }
});

test('every fragment of the changelog says what changed for whom', () => {
  const kinds = ['added', 'changed', 'fixed', 'removed', 'security'];
  const fragments = globSync('changelog/unreleased/*.md', { cwd: ROOT });
  assert(
    fragments.length > 0 || read('CHANGELOG.md').includes('## '),
    'nothing noticed by anybody?',
  );
  for (const fragment of fragments) {
    const kind = /\.(\w+)\.md$/.exec(fragment)?.[1];
    assert(kind !== undefined && kinds.includes(kind), `${fragment}: NAME.${kinds.join('|')}.md`);
    assert.match(read(fragment), /^\S.*\.\n$/s, `${fragment} is sentences`);
  }
});
