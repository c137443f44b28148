/**
 * The contract of object stores, kept by a repository that another process serves.
 */
import { after, before } from 'node:test';
import { Served } from '../served.ts';
import { objectStoreContract } from './object-store.ts';

const NAMES = Array.from({ length: 24 }, (_, i) => `r${i}`);
let served: Served;
let used = 0;

before(async () => {
  served = await Served.start('remote-store', NAMES);
});
after(() => served.remove());

objectStoreContract('remote', async () => {
  const name = NAMES[used++] ?? '';
  return { store: await served.open(name), dispose: async () => undefined };
});
