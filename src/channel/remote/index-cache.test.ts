/**
 * Goal: what the cache gives back is what was kept, or nothing.
 * Method: files of the cache are changed, cut and removed behind its back.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fromText } from '../../base/bytes.ts';
import { IndexCache } from './index-cache.ts';

const NAME = '0123456789abcdef0123456789abcdef';
const OTHER = 'ff'.repeat(16);
const BYTES = Buffer.from('a segment');

function newCache(context: TestContext): { folder: string; open: () => IndexCache } {
  const scratch = mkdtempSync(join(tmpdir(), 'penstock cache '));
  context.after(() => rmSync(scratch, { recursive: true }));
  const folder = join(scratch, 'deep', 'cache');
  return { folder, open: () => new IndexCache(fromText(folder)) };
}

test('a segment is there for the next run too, until it is not listed any more', (context) => {
  const { folder, open } = newCache(context);
  assert.equal(open().read(NAME), undefined);
  open().keep(NAME, BYTES);
  open().keep(OTHER, Buffer.alloc(0));
  assert.deepEqual(open().read(NAME), BYTES);
  assert.deepEqual(open().read(OTHER), Buffer.alloc(0));
  open().retain(new Set([NAME]));
  assert.equal(open().read(OTHER), undefined);
  assert.equal(readdirSync(folder).length, 1);
});

test('a segment that was changed or cut is not there', (context) => {
  const { folder, open } = newCache(context);
  for (const spoil of [
    (path: string) => writeFileSync(path, 'a segmeNt'),
    (path: string) => truncateSync(path, 3),
    (path: string) => writeFileSync(path, 'a segment and more'),
    (path: string) => rmSync(path),
  ]) {
    const cache = open();
    cache.keep(NAME, BYTES);
    spoil(join(folder, readdirSync(folder)[0] ?? ''));
    assert.equal(cache.read(NAME), undefined);
    assert.deepEqual(readdirSync(folder), []);
  }
});

test('where nothing can be kept there is no cache', () => {
  const cache = new IndexCache(fromText('/proc/none/cache'));
  cache.keep(NAME, BYTES);
  assert.equal(cache.read(NAME), undefined);
});
