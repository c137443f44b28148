/**
 * Goal: every command does on a repository of another machine what it does on a local one.
 * Method: `penstock serve` in a process of its own, the commands as users start them; what is
 * restored is compared with the source, what is stored is checked on the server's side too.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Served } from '../served.ts';
import { Workplace } from './workplace.ts';

let served: Served;
let place: Workplace;
let first: string;
let second: string;

before(async () => {
  served = await Served.start('remote-flows', ['home']);
  place = new Workplace('remote-flows');
  await served.pair(place.state, 'full');
  place.repo = served.url('home');
  place.must(['init']);
  place.write('notes.txt', 'first words\n');
  place.write('deep/er/kept.bin', Buffer.alloc(3_000_000, 'kept content '));
  place.write('deep/gone.txt', 'to be removed\n');
  first = place.backup();
  place.write('notes.txt', 'other words\n');
  place.write('deep/new.txt', 'new\n');
  rmSync(join(place.source, 'deep/gone.txt'));
  second = place.backup();
});
after(async () => {
  place.remove();
  await served.remove();
});

test('what was backed up twice is listed, shown, compared and found', () => {
  const archives = place.json(['archives']).filter(({ type }) => type === 'archive');
  assert.deepEqual(archives.map(({ id }) => id).sort(), [first, second].sort());
  assert.match(place.must(['ls', first, join(place.source, 'deep')]).stdout, /gone\.txt/);
  const shown = place.must(['cat', first, join(place.source, 'notes.txt')]);
  assert.equal(shown.stdout, 'first words\n');
  const differences = place.must(['diff', first, second]).stdout;
  for (const name of ['notes.txt', 'gone.txt', 'new.txt']) assert.match(differences, RegExp(name));
  assert.doesNotMatch(differences, /kept\.bin/);
  assert.match(place.must(['find', 'new.txt']).stdout, /deep\/new\.txt/);
});

test('what is restored is what was backed up', () => {
  const target = join(place.directory, 'out');
  place.must(['restore', 'latest', '--target', target]);
  const compared = place.shell(`diff -r '${place.source}' '${target}${place.source}'`);
  assert.equal(compared.status, 0, compared.stdout);
});

test('dry runs change nothing', () => {
  const seen = (): string[] =>
    readdirSync(served.repository('home'), { recursive: true }) as string[];
  const before = seen().sort();
  place.write('later.txt', 'not stored\n');
  place.must(['backup', place.source, '--dry-run']);
  place.must(['forget', '--keep-last', '1', '--dry-run']);
  place.must(['prune', '--dry-run']);
  place.must(['restore', 'latest', '--target', join(place.directory, 'none'), '--dry-run']);
  rmSync(join(place.source, 'later.txt'));
  assert.deepEqual(seen().sort(), before);
});

test('a second backup fetches no index segment again, and a spoilt one is fetched anew', () => {
  const folder = join(place.state, 'index-cache');
  const segments = (): string[] =>
    (readdirSync(folder, { recursive: true }) as string[]).filter((one) =>
      /\.[0-9a-f]{8}$/.test(one),
    );
  const [one] = segments();
  assert(one !== undefined);
  writeFileSync(join(folder, one), 'spoilt');
  place.must(['check']);
  assert.notEqual(readFileSync(join(folder, one), 'latin1'), 'spoilt');
});

test('keys are added and rotated; the new passphrase opens it', () => {
  const environment = { PENSTOCK_NEW_PASSPHRASE: 'battery staple' };
  place.must(['key', 'add', '--label', 'second'], { environment });
  place.must(['key', 'rotate']);
  place.must(['archives'], { environment: { PENSTOCK_PASSPHRASE: 'battery staple' } });
  place.backup();
});

test('forgetting, pruning, checking and rebuilding leave the last archive whole', () => {
  place.must(['forget', '--keep-last', '1', '--prune', '--max-unused', '0']);
  place.must(['check', '--read-data']);
  place.must(['catalog', 'rebuild']);
  place.must(['check', '--read-data']);
  const archives = place.json(['archives']).filter(({ type }) => type === 'archive');
  assert.equal(archives.length, 1);
  assert.deepEqual(readdirSync(join(served.repository('home'), 'writing')), []);
  assert.deepEqual(readdirSync(join(served.repository('home'), 'leases')), []);
});

test('the server holds the same repository as a local command would see', () => {
  const local = { environment: { PENSTOCK_REPO: served.repository('home') } };
  place.must(['check', '--read-data'], local);
});
