/**
 * Situation: bits have flipped in a repository that another machine serves, or that cannot be written to.
 * Goal: a machine that may only append has it stored anew like any other; where nothing can be noted,
 * damage is told as ever and nothing is changed.
 * Method: whole commands; what is stored is spoiled in the server's folder.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { untilOld } from '../commands.ts';
import { Served } from '../served.ts';
import { Workplace } from '../system/workplace.ts';

let served: Served;
const place = new Workplace('heal-far');

before(async () => {
  served = await Served.start('heal-far', ['home']);
  await served.pair(place.state, 'append', 'home');
  place.repo = served.url('home');
  for (const name of ['a', 'b/c']) place.write(name, randomBytes(200_000));
  await untilOld();
});
after(async () => {
  place.remove();
  await served.remove();
});

function files(folder: string): string[] {
  const root = join(served.repository('home'), folder);
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const notes = (): string[] => files('maps').filter((path) => path.includes('/damaged-'));

/** Flips a bit in the middle of the largest chunk. */
function spoil(): void {
  const sized = files('chunks').sort((a, b) => statSync(b).size - statSync(a).size);
  const path = must(sized[0], 'a chunk');
  const bytes = readFileSync(path);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

function restores(archive: string): void {
  const target = join(place.directory, 'out');
  place.must(['restore', archive, '--target', target]);
  const compared = place.shell(`diff -r '${place.source}' '${target}${place.source}'`);
  assert.equal(compared.status, 0, compared.stdout);
  rmSync(target, { recursive: true });
}

test('a machine that may only append heals what it comes across', async () => {
  const first = place.backup();
  spoil();
  // Who may only read can note nothing; it is told what is lost all the same.
  const target = join(place.directory, 'lost');
  await served.pair(place.state, 'read', 'home');
  assert.equal(place.run(['restore', first, '--target', target]).status, 3);
  assert.equal(place.run(['check', '--read-data']).status, 1);
  assert.deepEqual(notes(), []);
  rmSync(target, { recursive: true });

  await served.pair(place.state, 'append', 'home');
  assert.equal(place.run(['restore', first, '--target', target]).status, 3);
  assert.equal(notes().length, 1);
  const second = place.backup();
  restores(first);
  restores(second);
  const elsewhere = (): number =>
    place
      .json(['check', '--read-data'])
      .filter(({ type, message }) => type === 'note' && /elsewhere too/.test(String(message)))
      .length;
  assert.equal(elsewhere(), 1);
  assert.equal(notes().length, 1);

  await served.pair(place.state, 'full', 'home');
  place.must(['prune']);
  assert.equal(elsewhere(), 0);
  assert.deepEqual(notes(), []);
  restores(first);
});
