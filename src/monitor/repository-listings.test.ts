/**
 * Goal: a long list costs one reading and one sorting, however many pages it has, and no page misses or
 * repeats an object. Method: lists of made-up objects, readings counted.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import type { StoredObject } from '../format/object-store.ts';
import { Listings, type ListPage } from './repository-listings.ts';

const PAGES = 5;

class Folder {
  readonly listings = new Listings(() => this.nowMs);
  nowMs = 0;
  readings = 0;
  names: string[];

  constructor(count: number) {
    // In no order, as directories are.
    this.names = Array.from({ length: count }, (_, i) => `${(i * 7919) % count}`.padStart(8, '0'));
  }
  page(key: string, after?: string): Promise<ListPage> {
    return this.listings.page(key, after, async () => {
      this.readings++;
      return this.names.map((name): StoredObject => ({ name, bytes: 1, modifiedMs: 0 }));
    });
  }
  async all(key: string, between: (page: number) => Promise<void> | void = () => {}) {
    const names: string[] = [];
    for (let page = 0, more = true; more; page++) {
      const got = await this.page(key, names.at(-1));
      assert.ok(got.objects.length <= LIMITS.listPageObjects);
      names.push(...got.objects.map(({ name }) => name));
      ({ more } = got);
      await between(page);
    }
    return names;
  }
}

const COUNT = LIMITS.listPageObjects * (PAGES - 1) + 3;

test('all pages of a list come of one reading', async () => {
  const folder = new Folder(COUNT);
  assert.deepEqual(await folder.all('a'), folder.names.toSorted());
  assert.equal(folder.readings, 1);
  // The next list is read anew.
  folder.names.push('zz');
  assert.equal((await folder.all('a')).at(-1), 'zz');
  assert.equal(folder.readings, 2);
});

test('an answer that was lost is given again, and clients do not get in each other’s way', async () => {
  const folder = new Folder(COUNT);
  let last = '';
  const names = await folder.all('a', async () => {
    await folder.page('b', last || undefined);
    last = (await folder.page('a')).objects.at(-1)?.name ?? '';
    const again = await folder.page('a', last);
    assert.deepEqual(await folder.page('a', last), again);
    assert.ok((again.objects[0]?.name ?? '') > last);
  });
  assert.deepEqual(names, folder.names.toSorted());
});

test('a list that was not asked for is let go, and read again where it goes on', async () => {
  const folder = new Folder(COUNT);
  const names = await folder.all('a', () => {
    folder.nowMs += LIMITS.listingKeptMs + 1;
  });
  assert.deepEqual(names, folder.names.toSorted());
  assert.equal(folder.readings, PAGES);
});

test('a list ends behind a name that is gone, and an empty one at once', async () => {
  const folder = new Folder(4);
  assert.deepEqual((await folder.page('a', '00000001x')).objects.length, 2);
  assert.deepEqual(await folder.page('a', '99999999'), { objects: [], more: false });
  assert.deepEqual(await new Folder(0).page('a'), { objects: [], more: false });
});
