/**
 * Goal: objects come in order, so many at once as the store asks for, and an error only where its
 * object is taken.
 * Method: a store whose answers are given by hand.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ObjectStore } from '../format/object-store.ts';
import { readAhead } from './read-ahead.ts';

const NAMES = ['a', 'b', 'bad', 'd', 'e'];

function storeOf(readsAtOnce: number | undefined, asked: string[]): ObjectStore {
  const read = async (_kind: string, name: string): Promise<Buffer> => {
    asked.push(name);
    if (name === 'bad') throw new Error('no good');
    return Buffer.from(name);
  };
  return { read, ...(readsAtOnce === undefined ? {} : { readsAtOnce }) } as unknown as ObjectStore;
}

for (const [readsAtOnce, askedAtFirst] of [
  [undefined, 1],
  [3, 3],
] as const) {
  test(`${askedAtFirst} at once`, async () => {
    const asked: string[] = [];
    const got: string[] = [];
    for (const { name, take } of readAhead(storeOf(readsAtOnce, asked), 'archives', NAMES, 10)) {
      const taken = take();
      if (name === 'a') assert.equal(asked.length, askedAtFirst);
      got.push(await taken.then(String, (error: Error) => error.message));
    }
    assert.deepEqual(got, ['a', 'b', 'no good', 'd', 'e']);
    assert.deepEqual(asked, NAMES, 'each is read once');
  });
}
