/**
 * Goal: passphrases and data keys (U3): several open one repository, they can be added, changed and
 * removed, none can be planted, and an interrupted change never locks anybody out.
 * Method: the program as a user runs it; storage that is not trusted is played by copying files.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { finishRecord } from '../../src/format/record.ts';
import { openCodec } from '../../src/host/mod.ts';
import { type JsonLine, type RunOptions, Workplace } from './workplace.ts';

const BAD_DAY = 'a bad day';

/** A workplace that goes when the test is over. */
function workplace(context: TestContext): Workplace {
  const place = new Workplace('keys');
  context.after(() => place.remove());
  return place;
}

const withPassphrase = (passphrase: string | undefined, more: object = {}): RunOptions => ({
  environment: { PENSTOCK_PASSPHRASE: passphrase, ...more },
});
const adding = (passphrase: string): RunOptions => ({
  environment: { PENSTOCK_NEW_PASSPHRASE: passphrase },
});

function keysOf(place: Workplace, status = 0, options: RunOptions = {}): JsonLine[] {
  const records = place.json(['key', 'list'], status, options);
  return records.filter(({ type }) => type === 'key');
}
const keyFiles = (place: Workplace): string[] => readdirSync(join(place.repo, 'keys')).sort();
const keyFile = (place: Workplace, id: string): string =>
  keyFiles(place).find((name) => name.startsWith(`${id}.`)) ?? 'none';

function flipBit(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  writeFileSync(path, bytes);
}

/** All that is stored in the repository, as one string of bytes. */
function stored(place: Workplace): Buffer {
  const files = readdirSync(place.repo, { recursive: true, withFileTypes: true });
  const isFile = files.filter((entry) => entry.isFile());
  return Buffer.concat(isFile.map((entry) => readFileSync(join(entry.parentPath, entry.name))));
}

test('init makes a repository once, and only in an empty place', (context) => {
  const place = workplace(context);
  const made = place.must(['init']);
  assert.equal(made.stdout, '');
  assert.match(made.stderr, /^made an encrypted repository in .*repo: without its passphrase/);
  assert.equal(place.fails(['init'], 1).code, 'REPO_EXISTS');
  place.write('precious', 'data');
  const used = { environment: { PENSTOCK_REPO: place.source } };
  const refused = place.fails(['init'], 1, used);
  assert.match(refused.message, /holds other things, such as precious, and no repository$/);
  assert.equal(place.fails(['backup', place.source], 1, used).code, 'REPO_MISSING');
  assert.deepEqual(readdirSync(place.source), ['precious']);
  const nobody = place.fails(
    ['init', '--repo', join(place.directory, 'new')],
    1,
    withPassphrase(undefined),
  );
  assert.equal(nobody.code, 'PASSPHRASE_MISSING');
  assert(!existsSync(join(place.directory, 'new')), 'nothing is made without a passphrase');
});

test('a repository without encryption needs no passphrase, and says that it has none', (context) => {
  const place = workplace(context);
  const none = withPassphrase(undefined);
  assert.match(place.must(['init', '--no-encryption'], none).stderr, /, not encrypted$/m);
  place.write('file', 'plain');
  place.must(['backup', place.source], none);
  const file = join(place.source, 'file');
  assert.equal(place.must(['cat', 'latest', file], none).stdout, 'plain');
  for (const command of [['list'], ['add'], ['passwd'], ['rotate'], ['remove', 'ab']]) {
    const error = place.fails(['key', ...command], 2, none);
    assert.equal(error.message, 'the repository is not encrypted: it has no keys');
  }
  // Somebody may have put it in the place of an encrypted one.
  const given = place.must(['archives']);
  assert.match(given.stderr, /^warning: the repository in .* is not encrypted/);
  // Everything is done all the same: the exit status says so.
  for (const line of ['prune', 'forget --keep-last 1 --prune', 'check', 'pool list']) {
    assert.match(place.must(line.split(' ')).stderr, /^warning: .* is not encrypted/m);
  }
});

test('a second passphrase opens the same repository until it is removed', (context) => {
  const place = workplace(context);
  place.write('file', 'content');
  place.backup();
  const file = join(place.source, 'file');
  const added = place.json(['key', 'add', '--label', 'in the safe'], 0, adding(BAD_DAY)).at(-1);
  const [first, second, ...none] = keysOf(place);
  assert.deepEqual(none, []);
  assert.deepEqual([first?.current, second?.current], [true, false]);
  assert.deepEqual([first?.label, second?.label], ['', 'in the safe']);
  assert.equal(second?.id, added?.key);
  assert.match(first?.madeBy, /^\S+@\S+$/);
  const table = place.must(['key', 'list'], withPassphrase(BAD_DAY)).lines;
  assert.match(table[0] ?? '', /^ {2}ID +MADE +BY +LABEL$/);
  assert.match(table[1] ?? '', new RegExp(`^ {2}${first?.id.slice(0, 8)} {2}20`));
  assert.match(table[2] ?? '', new RegExp(`^\\* ${second?.id.slice(0, 8)} {2}20.* in the safe$`));
  assert.equal(place.must(['cat', 'latest', file], withPassphrase(BAD_DAY)).stdout, 'content');
  assert.equal(place.must(['cat', 'latest', file]).stdout, 'content');
  // Labels and names are for whoever holds a key.
  for (const secret of ['in the safe', first?.madeBy, BAD_DAY, 'correct horse']) {
    assert(!stored(place).includes(secret), secret);
  }
  assert.equal(place.fails(['key', 'remove', 'zz'], 1).code, 'KEY_UNKNOWN');
  place.must(['key', 'remove', String(first?.id).slice(0, 8)], withPassphrase(BAD_DAY));
  assert.equal(place.fails(['ls', 'latest'], 1).code, 'PASSPHRASE_WRONG');
  const last = place.fails(['key', 'remove', second?.id], 1, withPassphrase(BAD_DAY));
  assert.equal(last.code, 'KEY_LAST');
  assert.equal(place.must(['cat', 'latest', file], withPassphrase(BAD_DAY)).stdout, 'content');
});

test('passwd changes the passphrase and nothing else', (context) => {
  const place = workplace(context);
  place.must(['init']);
  place.must(['key', 'add', '--label', 'mine'], adding(BAD_DAY));
  place.write('file', 'content');
  place.backup();
  const change = withPassphrase(BAD_DAY, { PENSTOCK_NEW_PASSPHRASE: 'a better day' });
  const summary = place.json(['key', 'passwd'], 0, change).at(-1);
  assert.equal(place.fails(['archives'], 1, withPassphrase(BAD_DAY)).code, 'PASSPHRASE_WRONG');
  const keys = keysOf(place, 0, withPassphrase('a better day'));
  assert.deepEqual(
    keys.map(({ label, current }) => [label, current]),
    [
      ['', false],
      ['mine', true],
    ],
  );
  assert.equal(keys[1]?.id, summary?.key);
  assert.equal(place.must(['cat', 'latest', join(place.source, 'file')]).stdout, 'content');
  const missing = place.fails(['key', 'passwd'], 1);
  assert.equal(missing.code, 'PASSPHRASE_MISSING');
  assert.match(missing.hint, /PENSTOCK_NEW_PASSPHRASE/);
});

test('after a rotation everything stays readable, for everybody, and duplicates are found', (context) => {
  const place = workplace(context);
  const content = 'the same content '.repeat(1000);
  place.write('old', content);
  place.backup();
  place.must(['key', 'add'], adding(BAD_DAY));
  assert.match(place.must(['key', 'rotate']).stderr, /^data key 2 is used from now on/);
  const options = withPassphrase(BAD_DAY);
  place.write('copy', content);
  place.write('new', 'other content');
  place.must(['backup', place.source], options);
  assert.equal(place.must(['cat', 'latest', join(place.source, 'old')]).stdout, content);
  assert.equal(place.must(['cat', 'latest', join(place.source, 'new')]).stdout, 'other content');
  const again = place.json(['backup', place.source, '--full'], 0, options).at(-1);
  assert(again?.bytesNew < content.length / 4, 'the content is not stored again');
  assert.equal(place.json(['key', 'rotate'], 0, options).at(-1)?.dataKey, 3);
  assert.equal(keysOf(place).length, 2);
  assert.equal(keyFiles(place).length, 2, 'earlier revisions are gone');
});

test('an interrupted rotation is completed by whoever began it', (context) => {
  const place = workplace(context);
  place.must(['init']);
  place.must(['key', 'add'], adding(BAD_DAY));
  const [, second] = keysOf(place);
  const file = keyFile(place, second?.id);
  const before = readFileSync(join(place.repo, 'keys', file));
  place.must(['key', 'rotate']);
  // As if it had ended before the second key's turn.
  rmSync(join(place.repo, 'keys', keyFile(place, second?.id)));
  writeFileSync(join(place.repo, 'keys', file), before);
  place.write('file', 'sealed with data key 2');
  place.backup();
  const behind = withPassphrase(BAD_DAY);
  const refused = place.fails(['key', 'rotate'], 1, behind);
  assert.equal(refused.code, 'KEY_UNKNOWN');
  assert.match(refused.hint, /with the passphrase of that key/);
  // It opens the repository, but not what was written since.
  assert.equal(keysOf(place, 0, behind).length, 2);
  assert.equal(place.fails(['ls', 'latest'], 1, behind).code, 'KEY_UNKNOWN');
  const completed = place.json(['key', 'rotate']).at(-1);
  assert.deepEqual([completed?.dataKey, completed?.completed], [2, true]);
  const shown = place.must(['cat', 'latest', join(place.source, 'file')], behind);
  assert.equal(shown.stdout, 'sealed with data key 2');
});

test('a key that was planted opens nothing, is shown, and is never given anything', (context) => {
  const place = workplace(context);
  place.write('file', 'secret');
  place.backup();
  const evil = new Workplace('evil');
  context.after(() => evil.remove());
  evil.must(['init'], withPassphrase('evil'));
  const [planted] = keyFiles(evil);
  assert(planted !== undefined);
  copyFileSync(join(evil.repo, 'keys', planted), join(place.repo, 'keys', planted));
  const evilOne = withPassphrase('evil');
  assert.equal(place.fails(['archives'], 1, evilOne).code, 'DAMAGED');
  const [damage] = place.json(['check'], 1).filter(({ type }) => type === 'damage');
  assert.deepEqual([damage?.what, damage?.id], ['key', planted]);
  const list = place.json(['key', 'list'], 3);
  assert.deepEqual(
    list.map(({ type }) => type),
    ['key', 'warning', 'summary'],
  );
  assert.match(list[1]?.message, /was not made by anybody who could open this repository/);
  place.must(['key', 'rotate']);
  const after = readFileSync(join(place.repo, 'keys', planted));
  assert(after.equals(readFileSync(join(evil.repo, 'keys', planted))), 'it was left as it is');
  assert.equal(place.fails(['cat', 'latest', '/x'], 1, evilOne).code, 'DAMAGED');
  // It does not count as a key that could replace the last one.
  assert.equal(place.fails(['key', 'remove', list[0]?.id], 1).code, 'KEY_LAST');
  place.must(['key', 'remove', planted.slice(0, 16)]);
  assert.equal(keysOf(place).length, 1);
});

test('what an interrupted init left behind is cleared away, and locks nobody out', (context) => {
  const place = workplace(context);
  place.must(['init']);
  // Without its record it is no repository yet.
  rmSync(join(place.repo, 'repository'));
  const [left = ''] = keyFiles(place);
  const older = readFileSync(join(place.repo, 'keys', left));
  place.must(['init']);
  assert.equal(keyFiles(place).length, 1);
  assert.notEqual(keyFiles(place)[0], left);
  // Two at once, one of which was killed: a key of the same passphrase is left, and is older.
  writeFileSync(join(place.repo, 'keys', left), older);
  place.write('file', 'content');
  place.backup();
  assert.equal(place.must(['cat', 'latest', join(place.source, 'file')]).stdout, 'content');
  assert.equal(keysOf(place, 3).length, 1);
  place.must(['key', 'remove', left.slice(0, 16)]);
  assert.equal(keysOf(place).length, 1);
});

test('a repository that lost its record is not taken for an empty place', (context) => {
  const place = workplace(context);
  place.write('file', 'content');
  place.backup();
  const record = readFileSync(join(place.repo, 'repository'));
  rmSync(join(place.repo, 'repository'));
  for (const command of [['init'], ['backup', place.source]]) {
    const error = place.fails(command, 1);
    assert.equal(error.code, 'DAMAGED');
    assert.match(error.message, /its record "repository" is missing$/);
  }
  writeFileSync(join(place.repo, 'repository'), record);
  assert.equal(place.must(['cat', 'latest', join(place.source, 'file')]).stdout, 'content');
});

test('two first backups at once make one repository', async (context) => {
  const place = workplace(context);
  const launcher = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));
  const env = {
    PATH: process.env.PATH,
    HOME: place.directory,
    PENSTOCK_REPO: place.repo,
    PENSTOCK_STATE: place.state,
    PENSTOCK_PASSPHRASE: 'correct horse',
  };
  const statuses = await Promise.all(
    ['one', 'two'].map((name) => {
      place.write(`${name}/file`, name);
      const child = spawn(
        process.execPath,
        [launcher, 'backup', join(place.source, name), '--name', name],
        { env, stdio: 'ignore' },
      );
      return new Promise((resolve) => child.on('close', resolve));
    }),
  );
  assert.deepEqual(statuses, [0, 0]);
  const names = place
    .json(['archives'])
    .flatMap(({ type, name }) => (type === 'archive' ? [name] : []));
  assert.deepEqual(names.sort(), ['one', 'two']);
  assert.equal(keysOf(place).length, 1);
});

test('a damaged key is named; the others still open', (context) => {
  const place = workplace(context);
  place.must(['init']);
  place.must(['key', 'add'], adding(BAD_DAY));
  const [first] = keysOf(place);
  const whole = join(place.directory, 'whole');
  cpSync(place.repo, whole, { recursive: true });
  const path = join(place.repo, 'keys', keyFile(place, first?.id));
  const { length } = readFileSync(path);
  for (const at of [9, 200, length - 1]) {
    flipBit(path, at);
    const error = place.fails(['archives'], 1);
    assert(['DAMAGED', 'REPO_FEATURE'].includes(error.code), `${at}: ${error.code}`);
    assert.equal(error.subject, `keys/${keyFile(place, first?.id)}`);
    const list = place.json(['key', 'list'], 3, withPassphrase(BAD_DAY));
    assert.equal(list.at(-1)?.damaged, 1);
    flipBit(path, at);
  }
  writeFileSync(path, '');
  assert.equal(place.fails(['archives'], 1).code, 'DAMAGED');
  place.must(['archives'], withPassphrase(BAD_DAY));
  rmSync(join(place.repo, 'keys'), { recursive: true });
  mkdirSync(join(place.repo, 'keys'));
  assert.equal(place.fails(['archives'], 1).code, 'OBJECT_MISSING');
});

test('a passphrase may come from a file; an empty one is refused', (context) => {
  const place = workplace(context);
  assert.equal(place.fails(['init'], 1, withPassphrase('')).code, 'PASSPHRASE_MISSING');
  const file = join(place.directory, 'passphrase');
  writeFileSync(file, 'from a file\r\n', { mode: 0o600 });
  const options = withPassphrase(undefined, { PENSTOCK_PASSPHRASE_FILE: file });
  place.must(['init'], options);
  place.must(['archives'], withPassphrase('from a file'));
  place.must(['archives'], options);
});

test('upgrade has nothing to do, and refuses a newer format', (context) => {
  const place = workplace(context);
  place.must(['init']);
  const run = place.must(['upgrade', '--dry-run']);
  assert.equal(run.stderr, 'nothing to do: format 1 is the newest\n');
  const summary = place.json(['upgrade']).at(-1);
  assert.deepEqual([summary?.steps, summary?.dryRun], [0, false]);
  // A bit of the feature word `incompat` that this version does not know.
  const path = join(place.repo, 'repository');
  const record = readFileSync(path);
  record.writeUInt32LE(1 << 30, 20);
  const codec = openCodec(Buffer.alloc(32));
  finishRecord(record, (view, at, length, seed) => codec.crc32c(view, at, length, seed));
  codec.close();
  writeFileSync(path, record);
  for (const command of [['upgrade'], ['archives'], ['backup', place.source]]) {
    const error = place.fails(command, 1);
    assert.equal(error.code, 'REPO_FEATURE');
    assert.equal(error.hint, 'use a newer Penstock');
  }
});

const hasScript = spawnSync('script', ['--version']).error === undefined;
const skip = hasScript ? false : 'script(1) is not installed';

test('a person may mistype twice', { skip }, async (context) => {
  const place = workplace(context);
  place.must(['init']);
  const line = `'${process.execPath}' bin/penstock.js archives; echo "-> $?"`;
  const type = async (typed: readonly string[]): Promise<string> => {
    const child = spawn('script', ['-qfec', line, '/dev/null'], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: {
        PATH: process.env.PATH,
        HOME: place.directory,
        PENSTOCK_REPO: place.repo,
        TERM: 'dumb',
      },
    });
    let shown = '';
    let answers = 0;
    child.stdout.on('data', (data: Buffer) => {
      shown += data;
      const prompts = shown.split('passphrase of ').length - 1;
      while (answers < prompts && answers < typed.length)
        child.stdin.write(`${typed[answers++]}\r`);
    });
    await new Promise((resolve) => child.on('close', resolve));
    return shown;
  };
  const right = await type(['wrong', 'wrong again', 'correct horse']);
  assert.match(right, /no archives yet\s+-> 0/);
  assert.equal(right.split('that passphrase opens no key').length - 1, 2);
  const wrong = await type(['wrong', 'wrong', 'wrong', 'correct horse']);
  assert.match(wrong, /no key of \S+ opens with this passphrase[\s\S]*-> 1/);
  assert(!wrong.includes('correct'), 'nothing that is typed is shown');
});
