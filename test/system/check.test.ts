/**
 * Goal: `penstock check` and `penstock catalog rebuild` as users and programs see them: what they say,
 * their exit status, and that damage is a finding and never a failure of the command.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type JsonLine, Workplace } from './workplace.ts';

const place = new Workplace('check');
after(() => place.remove());
let archive = '';
/** The largest chunk is the one that holds it. */
const letter = randomBytes(20_000).toString('base64');

before(() => {
  place.write('docs/letter', letter);
  place.write('docs/other', 'another\n'.repeat(100));
  // A name that is no UTF-8.
  place.shell("printf odd > src/$(printf 'na\\377me')");
  archive = place.backup();
});

/** Files of the repository below a folder, the largest first. */
function objects(folder: string): string[] {
  const root = join(place.repo, folder);
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort((a, b) => statSync(b).size - statSync(a).size);
}

/** Runs with an object changed, and puts it back. */
function withChanged<T>(path: string, change: (bytes: Buffer) => Buffer, action: () => T): T {
  const bytes = readFileSync(path);
  writeFileSync(path, change(Buffer.from(bytes)));
  try {
    return action();
  } finally {
    writeFileSync(path, bytes);
  }
}
const flip =
  (at: number) =>
  (bytes: Buffer): Buffer => {
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };
const damagesOf = (lines: readonly JsonLine[]): JsonLine[] =>
  lines.filter(({ type }) => type === 'damage');

test('a whole repository: status 0, counts for people and programs', () => {
  const quick = place.must(['check']);
  assert.equal(quick.stdout, '');
  assert.match(
    quick.stderr,
    /^no damage found\n {2}1 archive, \d+ chunks, \d+ index segments?, \d+ blobs\n/m,
  );
  assert.match(quick.stderr, /data not read \(--read-data does\)/);
  assert.match(place.must(['check', '--read-data']).stderr, /all data read: \d/);
  const lines = place.json(['check', '--read-data']);
  assert.deepEqual(damagesOf(lines), []);
  const summary = lines.at(-1);
  assert.equal(summary?.command, 'check');
  assert.equal(summary?.archives, 1);
  assert.equal(summary?.damaged, 0);
  assert.equal(summary?.isDataRead, true);
  assert.ok(summary?.bytesRead > 0 && summary?.blobs > 0);
  assert.equal(place.must(['check', '--quiet']).stderr, '');
});

test('damage of the data: only --read-data sees it, and says what it concerns', () => {
  const [chunk = ''] = objects('chunks');
  const id = chunk.split('/').at(-1);
  // In the payload of the first block, behind the chunk's header.
  const at = readFileSync(chunk).indexOf('PTAG', 200, 'latin1') + 160;
  withChanged(chunk, flip(at), () => {
    assert.equal(place.run(['check']).status, 0);
    const run = place.run(['check', '--read-data']);
    assert.equal(run.status, 1);
    assert.match(
      run.stdout,
      new RegExp(`^chunk ${id}: block 0 at \\d+: the checksum of the payload does not match$`, 'm'),
    );
    assert.match(run.stdout, new RegExp(`^ {2}concerns 1 archive: ${archive.slice(0, 8)}$`, 'm'));
    assert.match(run.stdout, /^ {2}.*\/docs\/letter$/m);
    assert.match(run.stderr, /^1 damaged object found$/m);
    const [damage, ...others] = damagesOf(place.json(['check', '--read-data'], 1));
    assert.deepEqual(others, []);
    assert.equal(damage?.what, 'chunk');
    assert.equal(damage?.id, id);
    assert.deepEqual(damage?.archives, [archive]);
    assert.equal(damage?.pathsTotal, 3);
    const odd = damage?.paths.find(
      ({ pathBytes }: { pathBytes?: string }) => pathBytes !== undefined,
    );
    assert.ok(Buffer.from(odd.pathBytes, 'base64').toString('latin1').endsWith('na\u00ffme'));
  });
});

test('a missing, a truncated and a foreign file are named', () => {
  const [chunk = ''] = objects('chunks');
  const id = chunk.split('/').at(-1) ?? '';
  withChanged(
    chunk,
    (bytes) => bytes.subarray(0, 100),
    () => {
      const found = damagesOf(place.json(['check'], 1));
      assert.equal(found[0]?.id, id);
      assert.match(found[0]?.message, /trailer is damaged or cut off/);
      assert.match(found[0]?.message, /it has 100 bytes, not \d+/);
      assert.equal(found[0]?.pathsTotal, 3);
    },
  );
  const bytes = readFileSync(chunk);
  rmSync(chunk);
  assert.match(place.run(['check']).stdout, new RegExp(`^chunk ${id}: it is missing$`, 'm'));
  writeFileSync(chunk, bytes);
  writeFileSync(join(place.repo, 'index/notes.txt'), 'mine');
  assert.match(place.run(['check']).stdout, /^foreign file index\/notes\.txt: /m);
  rmSync(join(place.repo, 'index/notes.txt'));
  place.must(['check']);
});

test('a repository that cannot be opened for damage is a finding too', () => {
  for (const [path, what] of [
    ['repository', 'repository record'],
    [`keys/${readdirSync(join(place.repo, 'keys'))[0]}`, 'key'],
  ]) {
    for (const at of [0, 13, 60, 130]) {
      withChanged(join(place.repo, path ?? ''), flip(at), () => {
        const lines = place.json(['check'], 1);
        assert.equal(damagesOf(lines)[0]?.what, what, `${path} at ${at}: ${JSON.stringify(lines)}`);
        assert.equal(lines.at(-1)?.damaged, 1);
      });
    }
    const bytes = readFileSync(join(place.repo, path ?? ''));
    rmSync(join(place.repo, path ?? ''));
    assert.equal(damagesOf(place.json(['check'], 1))[0]?.what, what, `${path} is missing`);
    writeFileSync(join(place.repo, path ?? ''), bytes);
  }
});

test('what is no damage of the repository is an error', () => {
  assert.equal(
    place.fails(['check', '--repo', join(place.directory, 'nowhere')], 1).code,
    'REPO_MISSING',
  );
  const environment = { PENSTOCK_PASSPHRASE: 'wrong' };
  assert.equal(place.fails(['check'], 1, { environment }).code, 'PASSPHRASE_WRONG');
  assert.equal(place.fails(['check', '--read-data', '--threads', '0'], 2).code, 'USAGE');
});

test('a repository that this user may only read is checked', {
  skip: process.geteuid?.() !== 0 && 'needs root to be another user',
}, () => {
  const copy = join(place.directory, 'readable');
  cpSync(place.repo, copy, { recursive: true });
  chmodSync(place.directory, 0o755);
  for (const entry of readdirSync(copy, { recursive: true, withFileTypes: true }))
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o555 : 0o444);
  chmodSync(copy, 0o555);
  const run = place.run(['check', '--read-data', '--repo', copy], { uid: 65_534 });
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stderr, /no damage found/);
});

test('a repository without encryption is checked alike', () => {
  const repo = join(place.directory, 'clear');
  place.must(['init', '--no-encryption', '--repo', repo]);
  place.must(['backup', place.source, '--repo', repo]);
  const environment = { PENSTOCK_PASSPHRASE: undefined };
  place.must(['check', '--read-data', '--repo', repo], { environment });
  const [archiveRecord = ''] = readdirSync(join(repo, 'archives'));
  truncateSync(join(repo, 'archives', archiveRecord), 130);
  const [damage] = damagesOf(place.json(['check', '--repo', repo], 1, { environment }));
  assert.deepEqual(
    [damage?.what, damage?.id, damage?.archives],
    ['archive', archiveRecord, [archiveRecord]],
  );
});

test('catalog rebuild: says what it did, once; drops the catalog of this machine', () => {
  const saved = join(place.directory, 'saved');
  cpSync(place.repo, saved, { recursive: true });
  place.must(['archives']);
  const catalog = join(place.state, 'catalog');
  assert.equal(readdirSync(catalog).length, 1);
  assert.match(place.must(['catalog', 'rebuild']).stderr, /^nothing had to be made again$/m);
  assert.deepEqual(readdirSync(catalog), []);
  for (const folder of ['index', 'maps', 'archives'])
    rmSync(join(place.repo, folder), { recursive: true });
  assert.equal(place.run(['check']).status, 1);
  const summary = place.json(['catalog', 'rebuild']).at(-1);
  assert.deepEqual(summary?.archivesMade, [archive]);
  assert.equal(summary?.mapsMade, 1);
  assert.ok(summary?.chunksIndexed >= 2);
  place.must(['check', '--read-data']);
  assert.equal(place.must(['cat', 'latest', join(place.source, 'docs/letter')]).stdout, letter);
  assert.match(place.must(['catalog', 'rebuild']).stderr, /^nothing had to be made again$/m);
  // What cannot be made again ends with status 3.
  const [chunk = ''] = objects('chunks');
  withChanged(
    chunk,
    (bytes) => bytes.subarray(0, bytes.length - 1),
    () => {
      const run = place.run(['catalog', 'rebuild']);
      assert.equal(run.status, 3, run.stderr);
      assert.match(run.stderr, /^warning: chunk [0-9a-f]{32} is damaged and stays so: /m);
    },
  );
  rmSync(place.repo, { recursive: true });
  cpSync(saved, place.repo, { recursive: true });
  assert.ok(existsSync(join(place.repo, 'repository')));
});
