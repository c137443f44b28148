/**
 * Goal: the catalog is a cache (issue: "delete it, use the repository from another machine or by
 * another user, copy the repository elsewhere: everything works with the passphrase alone").
 * Method: the program as a user runs it, with its state folder deleted, spoiled, locked, of another
 * user, not writable or not there. That it is used at all is shown by spoiling an archive record.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openCatalogFile } from '../../src/catalog/schema.ts';
import { type RunOptions, Workplace } from './workplace.ts';

const place = new Workplace('catalog');
after(() => place.remove());
const file = join(place.source, 'file');
const folder = join(place.state, 'catalog');
let first = '';
let second = '';

before(() => {
  place.write('file', 'one');
  first = place.backup('--name', 'first');
  place.write('file', 'two');
  second = place.backup('--name', 'second');
});

const NOBODY = 65534;
const skip = process.geteuid?.() === 0 ? false : 'needs to run as root to run as another user';

/** All that a user can ask for works. */
function assertAllWorks(what: string, options: RunOptions = {}): void {
  assertListed(what, options);
  assert.equal(place.must(['cat', 'latest', file], options).stdout, 'two', what);
  assert.equal(place.must(['cat', first, file], options).stdout, 'one', what);
  assert.equal(place.must(['find', 'file'], options).lines.length, 2, what);
}

/** The archives are listed. `told`: why --verbose says that the catalog is not used; else nothing. */
function assertListed(what: string, options: RunOptions = {}, told?: RegExp): void {
  const run = place.must(['archives', '--verbose'], options);
  const ids = run.lines.slice(1).map((line) => line.slice(0, 8));
  assert.deepEqual(ids, [first.slice(0, 8), second.slice(0, 8)], what);
  if (told === undefined) {
    assert.equal(run.stderr, '', what);
    return;
  }
  assert.equal(run.stderr.split('the catalog is not used: ').length, 2, run.stderr);
  assert.match(run.stderr, told);
}

const catalogFiles = (): string[] => readdirSync(folder).map((name) => join(folder, name));

test('it is made at the first listing, readable by its owner only', () => {
  rmSync(place.state, { recursive: true, force: true });
  assertAllWorks('no state folder');
  const [only, ...none] = catalogFiles();
  assert.deepEqual(none, []);
  assert.equal(statSync(only ?? '').mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(place.state).mode & 0o777, 0o700);
  assert(!readFileSync(only ?? '').includes('correct horse'));
});

test('listings come from it: an archive record that is spoiled later is not read again', () => {
  const path = join(place.repo, 'archives', first);
  const whole = readFileSync(path);
  const seconds = 1_700_000_000;
  utimesSync(path, seconds, seconds);
  assertListed('before');
  writeFileSync(path, Buffer.alloc(whole.length));
  utimesSync(path, seconds, seconds);
  assert.equal(place.json(['archives']).length, 3);
  rmSync(folder, { recursive: true });
  const records = place.json(['archives'], 3);
  assert.deepEqual(
    records.map(({ type, id, code }) => id ?? code ?? type),
    [second, 'DAMAGED', 'summary'],
  );
  // What is damaged is not taken into it: it is told each time.
  assert.equal(place.json(['archives'], 3).at(-1)?.damaged, 1);
  assert.equal(place.fails(['ls', first], 1).code, 'DAMAGED');
  assert.equal(place.run(['find', 'file']).status, 3);
  // Of those that can be read `latest` is another one, perhaps.
  const restored = place.run(['restore', 'latest', '--target', join(place.directory, 'to')]);
  assert.equal(restored.status, 3, restored.stderr);
  assert.match(restored.stderr, /a later archive may be missing/);
  writeFileSync(path, whole);
  assertListed('after');
});

test('deleted, spoiled, foreign or replaced, it is made again or done without', async () => {
  const [path] = catalogFiles();
  assert(path !== undefined);
  rmSync(path);
  assertAllWorks('deleted');
  writeFileSync(path, '');
  assertListed('emptied');
  writeFileSync(path, 'nothing that a database begins with');
  assertListed('text');
  const whole = readFileSync(path);
  writeFileSync(path, whole.subarray(0, 5000));
  assertListed('cut off');
  writeFileSync(path, Buffer.from(whole).fill(0xff, 4096, 8192));
  assertListed('spoiled', {}, /malformed/);
  assertListed('made again');
  rmSync(path);
  mkdirSync(path);
  assertListed('a folder', {}, /is something else/);
  rmSync(path, { recursive: true });
  chmodSync(folder, 0o755);
  assertListed('open to others', {}, /catalog is open to others/);
  chmodSync(folder, 0o700);
  assertListed('as it was');
  const name = path.slice(folder.length + 1, -'.sqlite'.length);
  const holder = await openCatalogFile(place.state, name);
  holder.exec('BEGIN EXCLUSIVE');
  assertListed('locked', {}, /database is locked/);
  holder.close();
});

test('a state folder that cannot be is no error', () => {
  const state = (path: string): RunOptions => ({ environment: { PENSTOCK_STATE: path } });
  assertListed('below a file', state(join(file, 'state')), /cannot make the state folder/);
  assertListed('where nobody writes', state('/proc/penstock'), /cannot make the state folder/);
});

test('archives that come and go are seen at once', () => {
  assertListed('before');
  const path = join(place.repo, 'archives', second);
  const whole = readFileSync(path);
  rmSync(path);
  assert.equal(place.json(['archives']).length, 2);
  assert.equal(place.must(['cat', 'latest', file]).stdout, 'one');
  assert.equal(place.fails(['ls', second], 1).code, 'ARCHIVE_UNKNOWN');
  writeFileSync(path, whole);
  assertListed('after');
});

test('two repositories keep apart, and a copy elsewhere works by itself', () => {
  const other = join(place.directory, 'other');
  const environment = { PENSTOCK_REPO: other };
  place.must(['init'], { environment });
  assert.equal(place.must(['archives'], { environment }).stdout, '');
  place.json(['backup', place.source, '--name', 'elsewhere'], 0, { environment });
  assert.deepEqual(
    place.json(['archives'], 0, { environment }).map(({ name }) => name),
    ['elsewhere', undefined],
  );
  assertListed('beside it');
  assert.equal(catalogFiles().length, 2);
  // A copy has the same id: the two share a catalog though their archives differ.
  const copy = join(place.directory, 'copy');
  cpSync(place.repo, copy, { recursive: true });
  rmSync(join(copy, 'archives', second));
  const there = { environment: { PENSTOCK_REPO: copy } };
  for (let turn = 0; turn < 2; turn++) {
    assert.equal(place.json(['archives'], 0, there).length, 2);
    assertListed('the original');
  }
  const machine = { environment: { PENSTOCK_REPO: copy, PENSTOCK_STATE: `${copy}-state` } };
  assert.equal(place.must(['cat', 'latest', file], machine).stdout, 'one');
});

test('another user, with or without a state folder of their own', { skip }, () => {
  const copy = join(place.directory, 'theirs');
  cpSync(place.repo, copy, { recursive: true });
  for (const path of ['', ...readdirSync(copy, { recursive: true, encoding: 'utf8' })]) {
    chownSync(join(copy, path), NOBODY, NOBODY);
  }
  chmodSync(place.directory, 0o755);
  const state = join(place.directory, 'their state');
  mkdirSync(state, { mode: 0o700 });
  chownSync(state, NOBODY, NOBODY);
  const as = (stateDirectory: string): RunOptions => ({
    uid: NOBODY,
    environment: { PENSTOCK_REPO: copy, PENSTOCK_STATE: stateDirectory },
  });
  assertAllWorks('their own', as(state));
  assert.equal(readdirSync(join(state, 'catalog')).length, 1);
  // The folder of the first user: neither read nor written.
  const before = catalogFiles().map((path) => readFileSync(path));
  assertListed('not theirs', as(place.state), /cannot make the folder|belongs to another user/);
  const after = catalogFiles().map((path) => readFileSync(path));
  assert.deepEqual(after, before);
  // Nor does root leave or believe anything in the folder of a user.
  rmSync(join(state, 'catalog'), { recursive: true });
  const root = { environment: { PENSTOCK_STATE: state } };
  assertListed('root in a user’s folder', root, /belongs to another user/);
});

test('it can be read where it cannot be written', { skip }, () => {
  const copy = join(place.directory, 'read only');
  cpSync(place.repo, copy, { recursive: true });
  for (const path of ['', ...readdirSync(copy, { recursive: true, encoding: 'utf8' })]) {
    chownSync(join(copy, path), NOBODY, NOBODY);
  }
  const state = join(place.directory, 'frozen');
  mkdirSync(state);
  chownSync(state, NOBODY, NOBODY);
  const options = { uid: NOBODY, environment: { PENSTOCK_REPO: copy, PENSTOCK_STATE: state } };
  assertListed('written', options);
  const frozen = join(state, 'catalog');
  const [name] = readdirSync(frozen);
  chmodSync(join(frozen, name ?? ''), 0o400);
  chmodSync(frozen, 0o500);
  assertListed('frozen', options);
  rmSync(join(copy, 'archives', second));
  const run = place.must(['archives', '--verbose'], options);
  assert.equal(run.lines.length, 2);
  assert.match(run.stderr, /the catalog is not used: attempt to write a readonly database/);
  chmodSync(frozen, 0o700);
  assert(existsSync(join(frozen, name ?? '')));
});
