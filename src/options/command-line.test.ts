/**
 * Goal: command lines are understood or refused with help (design section 6). Method: many of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { readCommandLine } from './command-line.ts';
import { parseCommand } from './parse.ts';
import type { CommandName, ParsedCommand } from './table.ts';

const NOW_MS = Date.UTC(2026, 10, 21);

function parse<C extends CommandName>(
  _command: C,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): ParsedCommand<C> {
  const line = readCommandLine(args);
  assert.equal(line.kind, 'command');
  assert(line.kind === 'command');
  return parseCommand(line.raw, (name) => environment[name], NOW_MS) as unknown as ParsedCommand<C>;
}

function refusal(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): string {
  try {
    parse('backup', args, environment);
  } catch (error) {
    if (!(error instanceof PenstockError)) throw error;
    assert.equal(error.code, 'USAGE');
    assert.equal(error.exit, 2);
    assert.notEqual(error.hint, '');
    return `${error.message} | ${error.hint}`;
  }
  throw new Error(`not refused: ${args.join(' ')}`);
}

test('every kind of value is parsed', () => {
  const { options, positionals } = parse(
    'backup',
    [
      'backup',
      '-e',
      'a',
      '--exclude=b',
      '--exclude',
      '-c',
      '--max-size',
      '1.5M',
      '--newer-than',
      '7d',
      '--older-than=2026-11-20',
      '--checkpoint-interval',
      '2m30s',
      '--threads',
      '3',
      '--level',
      '19',
      '-nx',
      '--name',
      'Bücher',
      'p1',
      '--',
      '--p2',
    ].map((text) => Buffer.from(text).toString('latin1')),
  );
  assert.deepEqual(options.exclude, ['a', 'b', '-c']);
  assert.equal(options.maxSizeBytes, 1.5 * 1024 * 1024);
  assert.equal(options.newerThanMs, NOW_MS - 7 * 86_400_000);
  assert.equal(options.olderThanMs, Date.UTC(2026, 10, 20));
  assert.equal(options.checkpointIntervalMs, 150_000);
  assert.equal(options.threads, 3);
  assert.equal(options.level, 19);
  assert.equal(options.dryRun, true);
  assert.equal(options.oneFileSystem, true);
  assert.equal(options.full, false);
  assert.equal(options.name, 'Bücher');
  assert.equal(options.memoryBytes, undefined);
  assert.deepEqual(positionals.paths, ['p1', '--p2']);
});

test('names keep any bytes', () => {
  const { options, positionals } = parse('backup', ['backup', '\xff\xfe', '--exclude', '\x80']);
  assert.deepEqual(positionals.paths, ['\xff\xfe']);
  assert.deepEqual(options.exclude, ['\x80']);
  assert.match(refusal(['backup', 'p', '--name', '\xff']), /--name is not valid UTF-8: \\xff/);
});

test('global options stand before or after the command', () => {
  for (const args of [
    ['--repo', '/r', 'key', 'add', '--label', 'x'],
    ['key', '--repo', '/r', 'add', '--label', 'x'],
    ['key', 'add', '--repo=/r', '--label=x'],
  ]) {
    const { command, options } = parse('key add', args);
    assert.equal(command, 'key add');
    assert.equal(options.repo, '/r');
    assert.equal(options.label, 'x');
  }
});

test('the last of several wins, except where all count', () => {
  assert.equal(parse('ls', ['--repo', 'a', 'ls', 'latest', '--repo', 'b']).options.repo, 'b');
});

test('the environment comes after the command line and before the default', () => {
  const environment = { PENSTOCK_REPO: '/e', PENSTOCK_THREADS: '4' };
  assert.equal(parse('backup', ['backup', 'p'], environment).options.repo, '/e');
  assert.equal(parse('backup', ['backup', 'p'], environment).options.threads, 4);
  assert.equal(parse('backup', ['backup', 'p', '--repo', '/c'], environment).options.repo, '/c');
  assert.equal(parse('backup', ['backup', 'p'], { PENSTOCK_REPO: '' }).options.repo, undefined);
  assert.match(
    refusal(['backup', 'p'], { PENSTOCK_THREADS: 'many' }),
    /^PENSTOCK_THREADS is a number from 1 to 256/,
  );
  assert.equal(parse('prune', ['prune']).options.maxUnusedPercent, 5);
  assert.equal(parse('prune', ['prune', '--max-unused', '12.5%']).options.maxUnusedPercent, 12.5);
});

test('flags that begin with no- are flags of their own', () => {
  const { options } = parse('init', ['init', '--no-encryption', '--no-color']);
  assert.equal(options.noEncryption, true);
  assert.equal(options.noColor, true);
  assert.equal(parse('init', ['init']).options.noEncryption, false);
});

test('what is wrong is named, and the nearest right thing with it', () => {
  assert.equal(refusal(['bakup', 'x']), 'unknown command: bakup | did you mean backup?');
  assert.equal(refusal(['key', 'ad']), 'unknown command: key ad | did you mean key add?');
  assert.equal(
    refusal(['backup', '--exclud', 'x', 'p']),
    'unknown option: --exclud | did you mean --exclude?',
  );
  assert.equal(refusal(['--rep', 'x', 'ls']), 'unknown option: --rep | did you mean --repo?');
  assert.equal(
    refusal(['find', '-%']),
    'unknown option: -% | run `penstock help find` for the syntax',
  );
  const help = (command: string): string => ` | run \`penstock help ${command}\` for the syntax`;
  assert.equal(refusal(['backup']), `backup needs a PATH: what to back up${help('backup')}`);
  assert.match(refusal(['ls']), /^ls needs an ARCHIVE: an id/);
  assert.equal(refusal(['restore', 'latest']), `restore needs --target DIR${help('restore')}`);
  assert.equal(refusal(['backup', 'p', '--level']), `--level needs a value: 0-19${help('backup')}`);
  assert.equal(
    refusal(['backup', 'p', '--level', '20']),
    `--level is a number from 0 to 19, not 20${help('backup')}`,
  );
  assert.equal(
    refusal(['forget', '--keep-last', '0']),
    `--keep-last is a number of at least 1, not 0${help('forget')}`,
  );
  assert.equal(
    refusal(['backup', 'p', '--threads', '-1']),
    `--threads is a number from 1 to 256, not -1${help('backup')}`,
  );
  assert.equal(
    refusal(['restore', 'x', '-t', 't', '--overwrite', 'nevr']),
    `--overwrite is one of never, always, newer, not nevr${help('restore')}`,
  );
  assert.equal(refusal(['ls', 'a', 'b', 'c']), `ls does not take another argument: c${help('ls')}`);
  assert.equal(refusal(['backup', '']), `PATH is empty${help('backup')}`);
  assert.equal(refusal(['ls', 'a', '--repo=']), `--repo is empty${help('ls')}`);
  assert.equal(
    refusal(['-q', 'ls', '-v', 'a']),
    `--quiet and --verbose exclude each other${help('ls')}`,
  );
  assert.match(refusal(['forget']), /^forget needs at least one of ARCHIVE, --keep-last, /);
  assert.match(refusal(['forget', '--prune', '--dry-run']), /^forget needs at least one of/);
  assert.equal(
    refusal(['backup', 'p', '--max-size', '12Q']),
    '--max-size: not a size: 12Q | write for example 512K, 64M, 2G',
  );
  assert.match(refusal(['backup', 'p', '--older-than', 'noon']), /^--older-than: not a time: noon/);
  assert.match(refusal(['prune', '--grace', '5']), /^--grace: not a duration: 5/);
  assert.match(
    refusal(['prune', '--max-unused', '101']),
    /^--max-unused is a number from 0 to 100/,
  );
});

test('control characters in what was typed are escaped', () => {
  assert.match(refusal(['backup', 'p', '--\x1b[2J']), /^unknown option: --\\x1b\[2J \|/);
});

test('one rule or one id is enough to forget', () => {
  assert.equal(
    parse('forget', ['forget', '--keep-within', '30d']).options.keepWithinMs,
    30 * 86_400_000,
  );
  assert.deepEqual(parse('forget', ['forget', 'a', 'b']).positionals.archives, ['a', 'b']);
});

test('help and version need nothing else', () => {
  assert.deepEqual(readCommandLine([]), { kind: 'help', topic: '', exit: 2 });
  assert.deepEqual(readCommandLine(['--help']), { kind: 'help', topic: '', exit: 0 });
  assert.deepEqual(readCommandLine(['-h', 'backup']), { kind: 'help', topic: 'backup', exit: 0 });
  assert.deepEqual(readCommandLine(['backup', '--help']), {
    kind: 'help',
    topic: 'backup',
    exit: 0,
  });
  assert.deepEqual(readCommandLine(['key']), { kind: 'help', topic: 'key', exit: 2 });
  assert.deepEqual(readCommandLine(['key', '-h']), { kind: 'help', topic: 'key', exit: 0 });
  assert.deepEqual(readCommandLine(['key', 'add', '-h']), {
    kind: 'help',
    topic: 'key add',
    exit: 0,
  });
  assert.deepEqual(readCommandLine(['backup', '--version']), { kind: 'version' });
});

test('what looks like an option after -- is a name', () => {
  assert.deepEqual(parse('backup', ['backup', '--', '--help', '-n']).positionals.paths, [
    '--help',
    '-n',
  ]);
});

test('a command may stand beside commands that begin with its name', () => {
  const pair = parse('pair', ['pair', '--json', 'host:1', '--token', 't'], {});
  assert.equal(pair.command, 'pair');
  assert.deepEqual([pair.positionals.host, pair.options.token], ['host:1', 't']);
  for (const args of [
    ['pair', 'token', '--access', 'read', '--repo', 'a', '--repo', 'b'],
    ['--repo', 'a', 'pair', '--repo=b', 'token', '--access=read'],
  ]) {
    const { command, options } = parse('pair token', args, { PENSTOCK_REPO: '/r' });
    assert.deepEqual([command, options.access, options.repo], ['pair token', 'read', ['a', 'b']]);
  }
  assert.equal(parse('pair list', ['pair', 'list']).command, 'pair list');
  assert.deepEqual(readCommandLine(['pair', '-h']), { kind: 'help', topic: 'pair', exit: 0 });
  assert.match(refusal(['pair', 'host']), /^pair needs --token TOKEN \| /);
  assert.match(refusal(['pair', '--token', 't']), /^pair needs a HOST\[:PORT\]: /);
  assert.match(refusal(['pair', 'tokn', '--access', 'read']), /^unknown option: --access/);
});
