/**
 * Goal: the program as a user starts it: usage errors, help, bytes, streams that go away (U4).
 * Method: real processes; made-up commands (cli-fixture.ts) where a command's work does not matter.
 */
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));
const FIXTURE = fileURLToPath(new URL('./cli-fixture.ts', import.meta.url));
const HOME = mkdtempSync(join(tmpdir(), 'penstock-cli-'));
after(() => rmSync(HOME, { recursive: true }));

const ENVIRONMENT = { PATH: process.env.PATH, HOME };

function penstock(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [LAUNCHER, ...args], { env: ENVIRONMENT, encoding: 'utf8' });
}

function behave(
  behaviour: string,
  args: string[],
  environment: object = {},
): SpawnSyncReturns<string> {
  const env = { ...ENVIRONMENT, PENSTOCK_TEST_BEHAVIOUR: behaviour, ...environment };
  return spawnSync(process.execPath, [FIXTURE, ...args], { env, encoding: 'utf8' });
}

test('the version', () => {
  for (const args of [['--version'], ['-V'], ['backup', '--version']]) {
    const run = penstock(...args);
    assert.match(run.stdout, /^penstock \d+\.\d+\.\d+\n$/);
    assert.equal(run.status, 0);
    assert.equal(run.stderr, '');
  }
});

test('a mistyped command or option is refused with a suggestion and status 2', () => {
  const command = penstock('bakup', '/home');
  assert.equal(command.status, 2);
  assert.equal(command.stderr, 'penstock: unknown command: bakup\n  hint: did you mean backup?\n');
  assert.equal(command.stdout, '');
  const option = penstock('restore', 'latest', '--targt', '/tmp');
  assert.equal(option.status, 2);
  assert.equal(
    option.stderr,
    'penstock: unknown option: --targt\n  hint: did you mean --target?\n',
  );
});

test('help shows examples on standard output; no command at all is a wrong command line', () => {
  const asked = penstock('help', 'backup');
  assert.equal(asked.status, 0);
  assert.match(asked.stdout, /examples:\n {2}# .*\n {2}penstock backup /);
  assert.equal(asked.stdout, penstock('backup', '--help').stdout);
  const instead = penstock();
  assert.equal(instead.status, 2);
  assert.match(instead.stderr, /commands:\n {2}init /);
  const unknown = penstock('help', 'bakup');
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /^penstock: unknown command: bakup\n/);
});

test('completion scripts and the manual come out whole', () => {
  assert.match(penstock('completion', 'bash').stdout, /complete -F _penstock penstock\n$/);
  assert.match(penstock('help', '--man').stdout, /^\.TH PENSTOCK 1/);
  assert.equal(penstock('completion', 'csh').status, 2);
});

test('the environment is read, and wrong values in it are named', () => {
  const given = behave('values', ['backup', 'p'], { PENSTOCK_REPO: '/r' });
  assert.equal(given.stdout, '{"paths":["70"],"repo":"2f72"}\n');
  const wrong = behave('values', ['backup', 'p'], { PENSTOCK_MEMORY: 'much' });
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /^penstock: PENSTOCK_MEMORY: not a size: much\n/);
});

test('arguments and variables keep bytes that are no UTF-8', () => {
  const script = `PENSTOCK_REPO=$(printf 'r\\200') exec "$0" "$1" backup "$(printf 'a\\377b')" ü`;
  const env = { ...ENVIRONMENT, PENSTOCK_TEST_BEHAVIOUR: 'values' };
  const run = spawnSync('sh', ['-c', script, process.execPath, FIXTURE], { env, encoding: 'utf8' });
  assert.equal(run.stdout, '{"paths":["61ff62","c3bc"],"repo":"7280"}\n', run.stderr);
});

test('no passphrase is left in the environment for children', () => {
  const run = behave('environment', ['ls', 'latest'], {
    PENSTOCK_PASSPHRASE: 'x',
    PENSTOCK_NEW_PASSPHRASE: 'y',
  });
  assert.equal(run.stdout, '\n');
  assert.equal(run.status, 0);
});

test('a passphrase without a terminal comes from the environment or is missing', () => {
  const given = behave('passphrase', ['ls', 'latest'], { PENSTOCK_PASSPHRASE: 'secret' });
  assert.equal(given.stdout, `got ${Buffer.from('secret').toString('hex')}\n`);
  // A session of its own has no controlling terminal.
  const env = { ...ENVIRONMENT, PENSTOCK_TEST_BEHAVIOUR: 'passphrase' };
  const missing = spawnSync('setsid', ['-w', process.execPath, FIXTURE, 'ls', 'latest'], {
    env,
    encoding: 'utf8',
  });
  assert.equal(missing.status, 1);
  assert.equal(
    missing.stderr,
    'penstock: no passphrase was given and there is no terminal to ask on\n' +
      '  hint: set PENSTOCK_PASSPHRASE or PENSTOCK_PASSPHRASE_FILE\n',
  );
});

test('in a log, lines are plain', () => {
  const run = behave('work', ['prune'], { TEST_MS: '600' });
  assert.equal(run.status, 0);
  assert.equal(run.stdout, '');
  assert.equal(
    run.stderr,
    'a note before the work\nwarning: home/me/secret-500: permission denied\n' +
      'archive 3fa9c1de of work\n  all done\n',
  );
});

test('with --json every line is an object, the last one the summary', () => {
  const run = behave('work', ['prune', '--json'], { TEST_MS: '600' });
  const types = run.stdout
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { type: string }).type);
  assert.deepEqual(types, ['warning', 'progress', 'summary']);
  assert.equal(run.stderr, '');
});

test('items that failed give status 3', () => {
  const run = behave('partial', ['backup', 'p']);
  assert.equal(run.status, 3);
  assert.equal(
    run.stderr,
    'warning: a/b: gone\\x1b[2J\npenstock: 1 item could not be read\n' +
      '  hint: check permissions, or exclude the item\ndone\n',
  );
});

test('a reader that has read enough ends the command quietly', () => {
  const script = `"$0" "$1" ls latest | head -n 2; echo "\${PIPESTATUS[0]}"`;
  const env = { ...ENVIRONMENT, PENSTOCK_TEST_BEHAVIOUR: 'listing' };
  const run = spawnSync('bash', ['-c', script, process.execPath, FIXTURE], {
    env,
    encoding: 'utf8',
  });
  assert.equal(run.stdout, 'line 0\nline 1\n130\n');
  assert.equal(run.stderr, '');
});

test('standard output that is full is an error', () => {
  const env = { ...ENVIRONMENT, PENSTOCK_TEST_BEHAVIOUR: 'listing' };
  const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', openSync('/dev/full', 'w'), 'pipe'];
  const run = spawnSync(process.execPath, [FIXTURE, 'ls', 'latest'], {
    env,
    encoding: 'utf8',
    stdio,
  });
  assert.equal(run.status, 1);
  assert.match(run.stderr, /^penstock: cannot write standard output: ENOSPC.*\n {2}hint: .*\n$/);
  const json = spawnSync(process.execPath, [FIXTURE, 'ls', 'x', '--json'], {
    env,
    encoding: 'utf8',
    stdio,
  });
  assert.equal(json.status, 1);
  assert.match(json.stderr, /^penstock: cannot write standard output: ENOSPC.*\n {2}hint: .*\n$/);
});

test('a defect in a callback ends the command with a report, the lease removed', () => {
  for (const behaviour of ['callback', 'unawaited']) {
    const people = behave(behaviour, ['prune']);
    assert.equal(people.status, 1);
    assert.match(
      people.stderr,
      /^penstock: lost in space\n {2}hint: please report it.*\nthe lease is removed\n$/,
    );
    const program = behave(behaviour, ['prune', '--json']);
    assert.equal(program.status, 1);
    const lines = program.stdout.trimEnd().split('\n');
    assert.equal((JSON.parse(lines[0] ?? '') as { code: string }).code, 'INTERNAL');
    assert.deepEqual(JSON.parse(lines[1] ?? ''), { type: 'summary', exit: 1 });
  }
});

/** Starts the fixture, waits for a text on standard error, then sends signals with pauses. */
async function interrupted(
  behaviour: string,
  awaited: string,
  signals: NodeJS.Signals[],
): Promise<string> {
  const fifo = join(HOME, `fifo-${behaviour}`);
  spawnSync('mkfifo', [fifo]);
  const env = {
    ...ENVIRONMENT,
    PENSTOCK_TEST_BEHAVIOUR: behaviour,
    TEST_FIFO: fifo,
    TEST_MS: '60000',
  };
  const child = spawn(process.execPath, [FIXTURE, 'prune'], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  let next = awaited;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (!stderr.includes(next)) return;
    const signal = signals.shift();
    if (signal !== undefined) child.kill(signal);
    next = 'stopping in order';
  });
  const status = await new Promise((resolve) =>
    child.on('close', (code, signal) => resolve(code ?? signal)),
  );
  return `${stderr}-> ${String(status)}`;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} stops in order with status 130`, async () => {
    assert.equal(
      await interrupted('work', 'a note', [signal]),
      'a note before the work\npenstock: stopping in order, press again to end at once\n' +
        `penstock: interrupted by ${signal}\n  hint: run the command again: it continues\n-> 130`,
    );
  });
}

test('a second signal ends at once, even with a stuck thread, and removes the lease', async () => {
  assert.equal(
    await interrupted('stuck', 'stuck', ['SIGTERM', 'SIGINT']),
    'stuck\npenstock: stopping in order, press again to end at once\nthe lease is removed\n-> 130',
  );
});

test('a stuck thread does not keep a finished command from ending', async () => {
  assert.equal(await interrupted('straggler', 'never said', []), '-> 0');
});
