/**
 * Goal: archives, ls, cat, diff and find show what was backed up, whatever the names are (U6, U8).
 * Method: one repository with two archives of a tree that changed in between; the program is run as a
 * user runs it; what it must show is worked out from the tree itself.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  cpSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openClock, openRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { encodeArchive, listArchives } from '../../src/mover/archives.ts';
import { openRepository } from '../../src/mover/repository.ts';
import { type JsonLine, parseLines, Workplace } from './workplace.ts';

const place = new Workplace('browse');
after(() => place.remove());

const { source } = place;
const skip = process.geteuid?.() === 0 ? false : 'needs to run as root to run as another user';
const at = (path: string): string => join(source, path);
/** Bytes as a string of Latin-1, the way the program keeps names. */
const raw = (name: string): Buffer =>
  Buffer.concat([Buffer.from(`${source}/`), Buffer.from(name, 'latin1')]);

const big = randomBytes(5 * 1024 * 1024);
const BAD_NAME = 'latin1 \xfc\xff';
let first = '';
let second = '';

function makeTree(): void {
  place.write('a/one.txt', 'one\n');
  place.write('a/two.TXT', 'two\n');
  linkSync(at('a/one.txt'), at('a/twin.txt'));
  place.write('a/deep/er/est/file.conf', 'deep\n');
  place.write('big', big);
  place.write('empty', '');
  place.write('to be a directory', 'a file');
  place.write('gone', 'g');
  place.write('mode', 'm');
  place.write('zoë/naïve ☃.txt', 'snow');
  writeFileSync(raw(BAD_NAME), 'bytes');
  writeFileSync(raw('line\nend \x1b[2J'), 'rude');
  symlinkSync('a/one.txt', at('link'));
  spawnSync('mkfifo', [at('fifo')]);
  for (let i = 0; i < 700; i++) place.write(`many/below/${i}`, String(i));
  place.write('many/last', 'l');
  const fd = openSync(at('sparse'), 'w');
  writeSync(fd, 'middle', 3_000_000);
  writeSync(fd, 'end', 9_999_997);
  closeSync(fd);
  const early = new Date(-1_000_000);
  utimesSync(at('empty'), early, early);
  chmodSync(at('mode'), 0o4750);
}

function changeTree(): void {
  rmSync(at('gone'));
  place.write('new', 'n');
  place.write('a/two.TXT', 'two and more\n');
  chmodSync(at('mode'), 0o600);
  rmSync(at('to be a directory'));
  place.write('to be a directory/inside', 'i');
  unlinkSync(at('link'));
  symlinkSync('a/two.TXT', at('link'));
  renameSync(at('zoë'), at('zoé'));
  // The first name goes; the other then holds the content.
  unlinkSync(at('a/one.txt'));
}

before(() => {
  makeTree();
  first = place.backup('--name', 'tree');
  changeTree();
  second = place.backup('--name', 'tree');
});

/** Paths below the source, as JSON shows them, in the order of an archive. */
function pathsOnDisk(): Buffer[] {
  const found: Buffer[] = [];
  const walk = (directory: Buffer): void => {
    const entries = readdirSync(directory, { withFileTypes: true, encoding: 'buffer' });
    entries.sort((a, b) => Buffer.compare(a.name, b.name));
    for (const entry of entries) {
      const path = Buffer.concat([directory, Buffer.from('/'), entry.name]);
      found.push(path);
      if (entry.isDirectory()) walk(path);
    }
  };
  walk(Buffer.from(source));
  return found;
}

function bytesOf({ path, pathBytes }: JsonLine): Buffer {
  return pathBytes === undefined ? Buffer.from(path) : Buffer.from(pathBytes, 'base64');
}

const entries = (records: readonly JsonLine[]): JsonLine[] =>
  records.filter(({ type }) => type === 'entry');

test('archives are a table, oldest first, and objects with --json', () => {
  const run = place.must(['archives']);
  const [title, one, two, ...none] = run.lines;
  assert.match(title ?? '', /^ID +TIME +NAME +HOST +FILES +SIZE +STORED +PATHS$/);
  assert.deepEqual(none, []);
  for (const [line = '', id = ''] of [
    [one, first],
    [two, second],
  ]) {
    assert(line.startsWith(`${id.slice(0, 8)}  20`), line);
    assert(line.endsWith(source), line);
    assert.match(line, / \d\d:\d\d {2}tree {2}/);
  }
  // The columns stand below each other.
  assert.equal(title?.indexOf('PATHS'), one?.indexOf(source));
  const records = place.json(['archives']);
  assert.deepEqual(
    records.map(({ type, id }) => [type, id]),
    [
      ['archive', first],
      ['archive', second],
      ['summary', undefined],
    ],
  );
  assert.equal(records[0]?.files, 714);
  assert.deepEqual(records[0]?.paths, [{ path: source }]);
  assert.equal(records[0]?.partial, false);
  assert.equal(place.json(['archives', '--name', 'tree']).length, 3);
  assert.equal(place.json(['archives', '--name', 'tre']).length, 1);
  assert.match(place.must(['archives', '--name', 'tre']).stderr, /no archives of this name/);
});

test('ls lists a directory, everything below it, or one file', () => {
  assert.deepEqual(place.must(['ls', 'latest']).lines, [`/${source.split('/')[1]}/`]);
  const all = entries(place.json(['ls', 'latest', source, '--recursive']));
  assert.deepEqual(all.map(bytesOf), pathsOnDisk());
  const top = entries(place.json(['ls', second, source]));
  const depth = source.split('/').length;
  assert.deepEqual(
    top.map(bytesOf),
    pathsOnDisk().filter((path) => path.toString('latin1').split('/').length === depth + 1),
  );
  assert.deepEqual(place.must(['ls', 'latest', at('many')]).lines, [
    `${at('many')}/below/`,
    `${at('many')}/last`,
  ]);
  // Slashes around a path say nothing.
  const relative = `${source.slice(1)}//many/last`;
  assert.deepEqual(place.must(['ls', 'latest', relative]).lines, [at('many/last')]);
  assert.deepEqual(place.must(['ls', 'latest', at('fifo')]).lines, [at('fifo')]);
});

test('ls -l shows modes, owners, sizes, times and targets', () => {
  const lines = place.must(['ls', '-l', first, source]).lines;
  const line = (name: string): string => lines.find((one) => one.includes(name)) ?? '';
  assert.match(line('/mode'), /^-rwsr-x--- \S+ +\S+ +1 \d{4}-\d\d-\d\d \d\d:\d\d \S+\/mode$/);
  assert.match(line('/empty'), / 0 1969-12-31 23:43 /);
  assert.match(line('/big'), new RegExp(` ${big.length} `));
  assert.match(line('/link'), /^lrwxrwxrwx .*\/link -> a\/one\.txt$/);
  assert.match(line('/fifo'), /^prw/);
  assert.match(line('/a/'), /^drwx.*\/src\/a\/$/);
  // Columns do not jump from line to line.
  const starts = lines.map((one) => one.indexOf(source));
  assert.equal(new Set(starts).size, 1, lines.join('\n'));
});

test('names of any bytes are shown safely, and found again by those bytes', () => {
  const lines = place.must(['ls', 'latest', source]).lines;
  assert(lines.includes(at('latin1 \\xfc\\xff')));
  assert(lines.includes(at('line\\x0aend \\x1b[2J')));
  assert(lines.includes(at('zoé/')));
  const record = entries(place.json(['ls', 'latest', source])).find(
    ({ pathBytes }) => pathBytes !== undefined,
  );
  assert(record !== undefined);
  assert.deepEqual(bytesOf(record), raw(BAD_NAME));
  const name = `"$(printf '${source}/latin1 \\374\\377')"`;
  assert.equal(place.shell(`penstock cat latest ${name}`).stdout, 'bytes');
  const found = place.shell(`penstock find "$(printf '*\\377')"`);
  assert.equal(found.lines.length, 2);
  assert(found.lines.every((line) => line.endsWith('latin1 \\xfc\\xff')));
  const unknown = place.shell(`penstock ls latest ${name}x`);
  assert.equal(unknown.status, 1);
  assert.match(unknown.stderr, /the archive has no .*latin1 \\xfc\\xffx/);
});

test('cat writes exactly the bytes of the file', () => {
  const files = ['big', 'empty', 'sparse', 'a/twin.txt', 'a/two.TXT', 'many/below/699'];
  for (const path of files) {
    const run = place.must(['cat', 'latest', at(path)]);
    assert(run.bytes.equals(readFileSync(at(path))), path);
    assert.equal(run.stderr, '');
  }
  assert.equal(place.must(['cat', first, at('gone')]).stdout, 'g');
  assert.equal(place.must(['cat', first.slice(0, 6), at('a/twin.txt')]).stdout, 'one\n');
});

test('cat --json leaves standard output to the file', () => {
  const run = place.must(['cat', 'latest', at('new'), '--json']);
  assert.equal(run.stdout, 'n');
  const [summary, ...none] = parseLines(run.stderr);
  assert.deepEqual(none, []);
  assert.deepEqual(summary, {
    type: 'summary',
    command: 'cat',
    archive: second,
    bytes: 1,
    exit: 0,
  });
});

test('cat --json of an empty file, or of none, writes nothing to standard output', () => {
  const empty = place.must(['cat', 'latest', at('empty'), '--json']);
  assert.equal(empty.stdout, '');
  assert.equal(parseLines(empty.stderr)[0]?.type, 'summary');
  assert.equal(place.run(['cat', 'latest', at('nothing'), '--json']).stdout, '');
});

test('cat refuses what is no file', () => {
  const refused = [
    ['many', 'a directory'],
    ['link', 'a symbolic link'],
    ['fifo', 'a FIFO'],
  ];
  for (const [path, what] of refused) {
    const error = place.fails(['cat', 'latest', at(path ?? '')], 2);
    assert.equal(error.message, `${at(path ?? '')} is ${what}, not a file`);
  }
  assert.equal(place.fails(['cat', 'latest', '/'], 2).message, '/ is a directory, not a file');
});

test('what is not there is named, with status 1', () => {
  for (const command of ['cat', 'ls']) {
    assert.equal(place.fails([command, 'latest', at('nothing')], 1).code, 'PATH_UNKNOWN');
    assert.equal(place.fails([command, 'latest', `${at('big')}/x`], 1).code, 'PATH_UNKNOWN');
    assert.equal(place.fails([command, 'f00f00f00f00', '/x'], 1).code, 'ARCHIVE_UNKNOWN');
    assert.equal(place.run([command, '', '/x']).status, 2);
    assert.equal(place.fails([command, 'latest', '/x/../y'], 2).code, 'USAGE');
  }
  assert.equal(place.fails(['diff', first, 'nope'], 1).code, 'ARCHIVE_UNKNOWN');
  const run = place.run(['ls', 'latest', '/nothing']);
  assert.equal(run.stdout, '');
  assert.equal(
    run.stderr,
    'penstock: the archive has no /nothing\n  hint: run `penstock ls ARCHIVE`\n',
  );
});

test('diff tells what was added, removed and modified, and how', () => {
  const differences = place
    .json(['diff', first, 'latest'])
    // Directories above may have changed too.
    .filter(({ type, path }) => type === 'difference' && path.startsWith(source))
    .map(({ path, change, kind, aspects }) => [
      path.slice(source.length + 1),
      change,
      kind,
      ...aspects,
    ]);
  assert.deepEqual(differences, [
    ['', 'modified', 'directory', 'time'],
    ['a', 'modified', 'directory', 'time'],
    ['a/one.txt', 'removed', 'file'],
    ['a/two.TXT', 'modified', 'file', 'content', 'time'],
    ['gone', 'removed', 'file'],
    ['link', 'modified', 'symlink', 'target', 'time'],
    ['mode', 'modified', 'file', 'mode'],
    ['new', 'added', 'file'],
    ['to be a directory', 'modified', 'directory', 'kind', 'mode', 'time'],
    ['to be a directory/inside', 'added', 'file'],
    ['zoé', 'added', 'directory'],
    ['zoé/naïve ☃.txt', 'added', 'file'],
    ['zoë', 'removed', 'directory'],
    ['zoë/naïve ☃.txt', 'removed', 'file'],
  ]);
  const lines = place.must(['diff', first, 'latest']).lines;
  assert(lines.includes(`- ${at('gone')}`));
  assert(lines.includes(`M ${at('a/two.TXT')}  (content, time; 4 B -> 13 B)`));
  assert(lines.includes(`+ ${at('zoé')}/`));
});

test('diff of an archive with itself is empty; the other way round it is turned', () => {
  const same = place.json(['diff', second, 'latest']);
  assert.equal(same.length, 1);
  assert.equal(same[0]?.added, 0);
  const forth = place.json(['diff', first, second]).at(-1);
  const back = place.json(['diff', second, first]).at(-1);
  assert.deepEqual([back?.added, back?.removed], [forth?.removed, forth?.added]);
  assert.equal(back?.modified, forth?.modified);
});

test('find looks for names and for paths in every archive', () => {
  const find = (...args: string[]): string[] =>
    entries(place.json(['find', ...args])).map(
      ({ archive, path }) => `${archive === first ? 1 : 2} ${path.slice(source.length + 1)}`,
    );
  assert.deepEqual(find('*.txt'), [
    '1 a/one.txt',
    '1 a/twin.txt',
    '1 zoë/naïve ☃.txt',
    '2 a/twin.txt',
    '2 zoé/naïve ☃.txt',
  ]);
  assert.deepEqual(find('699'), ['1 many/below/699', '2 many/below/699']);
  assert.deepEqual(find(`${source}/a/**/*.conf`), [
    '1 a/deep/er/est/file.conf',
    '2 a/deep/er/est/file.conf',
  ]);
  assert.deepEqual(find('est/file.*'), ['1 a/deep/er/est/file.conf', '2 a/deep/er/est/file.conf']);
  // A question mark is a character, not a byte; a bracket may hold any.
  assert.deepEqual(find('zo?'), ['1 zoë', '2 zoé']);
  assert.deepEqual(find('na[ï]ve ?.txt').length, 2);
  assert.deepEqual(find('line*2J').length, 2);
  assert.deepEqual(find(`${source}/**/*2J`).length, 2);
  assert.deepEqual(find('deep/'), ['1 a/deep', '2 a/deep']);
  assert.deepEqual(find('nothing like it'), []);
  assert.deepEqual(find('gone', '--name', 'another'), []);
  const all = find('/**').length;
  assert.equal(all, find('*').length);
});

test('find shows the archive, its time and the entry', () => {
  const run = place.must(['find', '-l', 'gone']);
  assert.equal(run.lines.length, 1);
  const pattern = `^${first.slice(0, 8)}  20\\S+ \\S+  -rw\\S+ \\S+ +\\S+ +1 20\\S+ \\S+ ${at('gone')}$`;
  assert.match(run.lines[0] ?? '', new RegExp(pattern));
  assert.equal(run.stderr, '1 match in 2 archives\n');
  assert.equal(place.run(['find', '']).status, 2);
});

test('a listing that nobody reads to its end ends quietly', () => {
  const run = place.shell('penstock ls latest -lR | head -n 1');
  assert.equal(run.lines.length, 1);
  assert.equal(run.stderr, '');
  const bytes = place.shell(`penstock cat latest ${at('big')} | head -c 5`).bytes;
  assert(bytes.equals(big.subarray(0, 5)));
});

test('damage is never shown as content', () => {
  const broken = join(place.directory, 'broken');
  cpSync(place.repo, broken, { recursive: true });
  const environment = { PENSTOCK_REPO: broken };
  // The chunks that are larger than half a mebibyte hold the file of noise, not the manifests.
  const chunks = readdirSync(join(broken, 'chunks'), { recursive: true, withFileTypes: true });
  let spoiled = 0;
  for (const chunk of chunks.filter((entry) => entry.isFile())) {
    const path = join(chunk.parentPath, chunk.name);
    const bytes = readFileSync(path);
    if (bytes.length < 512 * 1024) continue;
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    spoiled++;
  }
  assert(spoiled > 0);
  const run = place.run(['cat', 'latest', at('big')], { environment });
  assert.equal(run.status, 1);
  assert.match(run.stderr, /chunk [0-9a-f]{32} is damaged/);
  assert(run.bytes.length < big.length);
  assert(run.bytes.equals(big.subarray(0, run.bytes.length)), 'what came is the right beginning');
  assert.equal(place.must(['cat', 'latest', at('new')], { environment }).stdout, 'n');
});

test('a repository that is not there, or elsewhere, is told', () => {
  const missing = { environment: { PENSTOCK_REPO: join(place.directory, 'none') } };
  assert.equal(place.fails(['archives'], 1, missing).code, 'REPO_MISSING');
  const file = { environment: { PENSTOCK_REPO: at('big') } };
  assert.equal(place.fails(['archives'], 1, file).code, 'REPO_IO');
  for (const url of ['s3://bucket', 'https://x/'])
    assert.equal(place.fails(['archives', '--repo', url], 1).code, 'NOT_SUPPORTED');
  // No machine of that name was paired with.
  const unpaired = ['archives', '--repo', 'penstock://host.invalid/name'];
  assert.equal(place.fails(unpaired, 1).code, 'NET_UNTRUSTED');
});

test('a wrong passphrase and none at all are told apart', () => {
  const wrong = { environment: { PENSTOCK_PASSPHRASE: 'wrong' } };
  assert.equal(place.fails(['ls', 'latest'], 1, wrong).code, 'PASSPHRASE_WRONG');
  const none = { environment: { PENSTOCK_PASSPHRASE: undefined } };
  assert.equal(place.fails(['archives'], 1, none).code, 'PASSPHRASE_MISSING');
});

test('a partial archive is marked, can be looked into, and is never the latest', async () => {
  const environment = { PENSTOCK_REPO: join(place.directory, 'partial') };
  cpSync(place.repo, environment.PENSTOCK_REPO, { recursive: true });
  const store = openDirectoryStore(environment.PENSTOCK_REPO, false);
  const around = { clock: openClock(), random: openRandom() };
  const passphrase = async (): Promise<Buffer> => Buffer.from('correct horse');
  const repository = await openRepository(store, passphrase, around);
  const archive = (await listArchives(repository)).archives.at(-1);
  assert(archive !== undefined);
  const id = 'ab'.repeat(16);
  const partial = { ...archive, id, partial: true, startedMs: archive.startedMs + 60_000 };
  await store.put('archives', id, encodeArchive(repository, partial));
  await repository.close();
  const lines = place.must(['archives'], { environment }).lines;
  assert.match(lines[3] ?? '', /^abababab {2}.* tree \(partial\) /);
  const records = place.json(['archives'], 0, { environment });
  assert.deepEqual(
    records.map((record) => record.partial),
    [false, false, true, undefined],
  );
  const latest = place.json(['ls', 'latest', at('new')], 0, { environment }).at(-1);
  assert.equal(latest?.archive, second);
  assert.equal(place.must(['cat', 'abab', at('new')], { environment }).stdout, 'n');
});

test('a repository that may only be read can be looked into', { skip }, () => {
  const repo = join(place.directory, 'read only');
  cpSync(place.repo, repo, { recursive: true });
  place.shell(`chmod -R a+rX '${repo}' && chmod a+x .`);
  const state = join(place.directory, 'none');
  const options = { uid: 65_534, environment: { PENSTOCK_REPO: repo, PENSTOCK_STATE: state } };
  assert.equal(place.must(['cat', 'latest', at('new')], options).stdout, 'n');
  assert.equal(place.must(['find', 'new'], options).lines.length, 1);
  assert.equal(place.must(['archives'], options).lines.length, 3);
  assert.equal(place.fails(['key', 'rotate'], 1, options).code, 'REPO_READ_ONLY');
});

test('an empty repository has no latest archive', () => {
  const environment = { PENSTOCK_REPO: join(place.directory, 'fresh') };
  place.must(['init'], { environment });
  const archives = place.must(['archives'], { environment });
  assert.equal(archives.stdout, '');
  assert.equal(archives.stderr, 'no archives yet\n');
  const error = place.fails(['ls', 'latest'], 1, { environment });
  assert.equal(error.code, 'ARCHIVE_UNKNOWN');
  assert.equal(error.hint, 'run `penstock backup`');
  assert.equal(place.must(['find', '*'], { environment }).stdout, '');
});
