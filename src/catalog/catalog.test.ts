/**
 * Goal: a catalog hands out what it was given, or nothing: never something wrong, never an error.
 * Method: every place of its file is changed in turn; files that are no catalog stand in its place.
 * What users see of it is tested by whole commands in test/system/catalog.test.ts.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ArchiveSummary, Catalog, type CatalogedArchive, type ListedRecord } from './mod.ts';
import { catalogFile, openCatalogFile } from './schema.ts';

const REPOSITORY = '0123456789abcdef0123456789abcdef';

function stateFolder(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'penstock-catalog-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function archive(number: number): CatalogedArchive {
  const id = number.toString(16).padStart(32, '0');
  const summary: ArchiveSummary = {
    id,
    name: `name \u{1f600} ${number}`,
    host: 'here',
    user: 'me',
    paths: ['/home/\xfc\xff', `/${'deep/'.repeat(20)}${number}`],
    startedMs: 1_700_000_000_000 + number,
    endedMs: 1_700_000_001_000,
    partial: number % 5 === 4,
    statistics: { files: 3, entries: 4, bytes: 2 ** 43, bytesStored: 7, problems: 0 },
  };
  return { record: { name: id, bytes: 800 + number, modifiedMs: 1_700_000_002_000 }, summary };
}

const ARCHIVES = Array.from({ length: 30 }, (_, number) => archive(number));
const LISTED = ARCHIVES.map(({ record }) => record);

interface Read {
  readonly known: Map<string, ArchiveSummary>;
  readonly troubles: string[];
}

/** One command's use of the catalog. */
async function use(
  stateDirectory: string,
  listed: readonly ListedRecord[],
  added: readonly CatalogedArchive[] = [],
  repositoryId: string = REPOSITORY,
): Promise<Read> {
  const troubles: string[] = [];
  const onTrouble = (reason: string): void => void troubles.push(reason);
  const catalog = new Catalog({ stateDirectory, repositoryId, onTrouble });
  const known = await catalog.archives(listed);
  catalog.update(listed, added);
  catalog.close();
  return { known, troubles };
}

async function assertWhole(state: string, what: string): Promise<void> {
  const { known, troubles } = await use(state, LISTED);
  assert.equal(known.size, ARCHIVES.length, `${what}: ${troubles.join()}`);
  for (const { record, summary } of ARCHIVES) assert.deepEqual(known.get(record.name), summary);
}

test('it knows what it was told, for its owner only', async (context) => {
  const state = stateFolder(context);
  const { known, troubles } = await use(state, LISTED, ARCHIVES);
  assert.deepEqual([known.size, troubles], [0, []]);
  await assertWhole(state, 'afterwards');
  assert.equal(statSync(join(state, 'catalog')).mode & 0o777, 0o700);
  assert.equal(statSync(catalogFile(state, REPOSITORY)).mode & 0o777, 0o600);
});

test('a record that changed in length or time is not known; one that is gone is dropped', async (context) => {
  const state = stateFolder(context);
  await use(state, LISTED, ARCHIVES);
  const [first, second] = LISTED;
  assert(first !== undefined && second !== undefined);
  const changed = [
    { ...first, bytes: first.bytes + 1 },
    { ...second, modifiedMs: second.modifiedMs + 1 },
  ];
  assert.equal((await use(state, changed)).known.size, 0);
  // The last use said that all others are gone.
  assert.deepEqual([...(await use(state, LISTED)).known.keys()], [first.name, second.name]);
});

test('two repositories do not mix', async (context) => {
  const state = stateFolder(context);
  const other = 'f'.repeat(32);
  await use(state, LISTED, ARCHIVES);
  await use(state, LISTED.slice(0, 1), ARCHIVES.slice(0, 1), other);
  assert.equal((await use(state, LISTED, [], other)).known.size, 1);
  await assertWhole(state, 'the first');
});

test('whatever byte is changed, nothing wrong is handed out and it heals', async (context) => {
  const state = stateFolder(context);
  await use(state, LISTED, ARCHIVES);
  const file = catalogFile(state, REPOSITORY);
  const whole = readFileSync(file);
  const positions = Array.from({ length: 108 }, (_, at) => at);
  for (let at = 108; at < whole.length; at += 97) positions.push(at);
  for (const at of positions) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
    writeFileSync(file, damaged, { mode: 0o600 });
    // Each command adds what was missing. Some finds the damage, and a later one fills the new file.
    let missing = ARCHIVES;
    for (let uses = 0; uses < 4; uses++) {
      const { known } = await use(state, LISTED, missing);
      for (const { record, summary } of ARCHIVES) {
        const got = known.get(record.name);
        if (got !== undefined) assert.deepEqual(got, summary, `byte ${at}`);
      }
      missing = ARCHIVES.filter(({ record }) => !known.has(record.name));
    }
    await assertWhole(state, `after byte ${at}`);
  }
});

test('a file that was cut off, or is none of ours, is replaced', async (context) => {
  const state = stateFolder(context);
  await use(state, LISTED, ARCHIVES);
  const file = catalogFile(state, REPOSITORY);
  for (const length of [0, 1, 99, 100, 4096, 5000, 8192]) {
    truncateSync(file, length);
    await use(state, LISTED, ARCHIVES);
    await use(state, LISTED, ARCHIVES);
    await assertWhole(state, `cut to ${length}`);
  }
  writeFileSync(file, 'no database at all, but long enough to be looked at '.repeat(200));
  await use(state, LISTED, ARCHIVES);
  await assertWhole(state, 'after text');
  const foreign = await openCatalogFile(state, REPOSITORY);
  foreign.exec('PRAGMA user_version = 99');
  foreign.close();
  assert.deepEqual(await use(state, LISTED, ARCHIVES), { known: new Map(), troubles: [] });
  await assertWhole(state, 'after another version');
  const renamed = await openCatalogFile(state, REPOSITORY);
  renamed.exec('ALTER TABLE archives RENAME COLUMN summary TO something');
  renamed.close();
  await use(state, LISTED, ARCHIVES);
  await assertWhole(state, 'after another table');
});

test('what is open to others, or lies elsewhere, is not used', async (context) => {
  const state = stateFolder(context);
  await use(state, LISTED, ARCHIVES);
  const file = catalogFile(state, REPOSITORY);
  const refused = async (what: RegExp): Promise<void> => {
    const { known, troubles } = await use(state, LISTED, ARCHIVES);
    assert.equal(known.size, 0);
    assert.equal(troubles.length, 1);
    assert.match(troubles[0] ?? '', what);
  };
  chmodSync(file, 0o640);
  await refused(/sqlite is open to others$/);
  chmodSync(file, 0o600);
  chmodSync(join(state, 'catalog'), 0o750);
  await refused(/catalog is open to others$/);
  chmodSync(join(state, 'catalog'), 0o700);
  chmodSync(state, 0o777);
  await refused(/is open to others$/);
  chmodSync(state, 0o755);
  await assertWhole(state, 'closed again');
  const elsewhere = join(state, 'precious');
  writeFileSync(elsewhere, '', { mode: 0o600 });
  rmSync(file);
  symlinkSync(elsewhere, file);
  await refused(/sqlite is something else$/);
  assert.equal(readFileSync(elsewhere).length, 0);
  rmSync(file);
  mkdirSync(file);
  await refused(/sqlite is something else$/);
  rmSync(join(state, 'catalog'), { recursive: true });
  symlinkSync(tmpdir(), join(state, 'catalog'));
  await refused(/catalog is something else$/);
  rmSync(state, { recursive: true });
  await refused(/cannot make the folder .*ENOENT/);
});

test('one that is locked is done without, and is whole afterwards', async (context) => {
  const state = stateFolder(context);
  await use(state, LISTED, ARCHIVES);
  const holder = await openCatalogFile(state, REPOSITORY);
  holder.exec('BEGIN EXCLUSIVE');
  const { known, troubles } = await use(state, LISTED, ARCHIVES);
  assert.equal(known.size, 0);
  assert.deepEqual(troubles, ['database is locked']);
  holder.exec('ROLLBACK');
  holder.exec('BEGIN IMMEDIATE');
  // Reading goes on beside a writer; writing is put off.
  const reading = await use(state, LISTED, [archive(99)]);
  assert.equal(reading.known.size, ARCHIVES.length);
  assert.deepEqual(reading.troubles, ['database is locked']);
  holder.close();
  await assertWhole(state, 'unlocked');
});
