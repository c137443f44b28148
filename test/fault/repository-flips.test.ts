/**
 * Situation: one bit of one file of a repository is not what it was.
 * Goal: a check that reads the data names the file, whichever byte it is, and neither throws nor hangs.
 * Method: a small repository with an object of every kind; a bit of every nth byte of every file is
 * flipped, the repository checked in this process, the bit flipped back. PENSTOCK_TEST_EVERY_BYTE=1
 * takes every byte.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { after, test } from 'node:test';
import { encodeArchive } from '../../src/mover/archives.ts';
import { noteForgotten } from '../../src/mover/forgotten.ts';
import { protocolStore } from '../../src/mover/protocol-adapter.ts';
import type { Repository } from '../../src/mover/repository.ts';
import {
  backUp,
  checkAll,
  filesOf,
  findings,
  make,
  makeTree,
  Scratch,
} from './repository-fixture.ts';

const scratch = new Scratch();
after(() => scratch.drop());
const everyByte = process.env.PENSTOCK_TEST_EVERY_BYTE === '1';

/** A repository with an object of every kind. */
async function makeWhole(path: string, encrypted: boolean): Promise<Repository> {
  const source = `${path}-source`;
  makeTree(source);
  const repository = await make(path, encrypted);
  const archive = await backUp(repository, source);
  const id = 'ab'.repeat(16);
  const store = protocolStore(repository);
  const process = { host: 'h', boot: 'b', pid: 1, startedTicks: 1 };
  await store.put('lease', id, { role: 'restore', createdMs: 1, ...process } as never);
  await store.put('condemn', id, { chunks: [], known: [archive.id] });
  await store.put('deleting', id, {});
  await store.put('verdict', id, { remove: [] });
  const pending = { ...archive, id };
  await repository.store.put('pending', id, encodeArchive(repository, pending));
  await noteForgotten(repository, ['cd'.repeat(16)]);
  return repository;
}

/** Flips a bit; flipping it again takes it back. */
function flip(path: string, at: number, bit: number): void {
  const byte = (readFileSync(path)[at] ?? 0) ^ (1 << bit);
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from([byte]), 0, 1, at);
  closeSync(fd);
}

async function flipAll(encrypted: boolean, stride: number): Promise<number> {
  const root = scratch.at(encrypted ? 'encrypted' : 'clear');
  const repository = await makeWhole(root, encrypted);
  assert.equal(findings(await checkAll(repository)), '', 'nothing is damaged at first');
  let flips = 0;
  for (const [number, path] of filesOf(root).entries()) {
    const file = `${root}/${path}`;
    const { length } = readFileSync(file);
    for (let at = number % stride; at < length; at += stride) {
      const bit = (at + number) % 8;
      flip(file, at, bit);
      const found = findings(await checkAll(repository));
      flip(file, at, bit);
      flips++;
      assert.ok(found.includes(basename(path)), `bit ${bit} of byte ${at} of ${path}: ${found}`);
    }
  }
  assert.equal(findings(await checkAll(repository)), '', 'nothing is damaged any more');
  await repository.close();
  return flips;
}

test('a flipped bit anywhere in an encrypted repository is found and named', async () => {
  assert.ok((await flipAll(true, everyByte ? 1 : 6)) > 900);
});

test('a flipped bit anywhere in a repository without encryption is found and named', async () => {
  assert.ok((await flipAll(false, everyByte ? 1 : 12)) > 400);
});
