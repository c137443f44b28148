/**
 * Goal: whatever a command does, the exit status and the last words are right (U4). Method: made-up
 * commands inside this process, streams that record.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import type { CommandModule, Invocation } from './invocation.ts';
import type { OutputStream } from './output.ts';
import { runCommandLine } from './run.ts';

type Behaviour = (invocation: Invocation<'backup'>) => Promise<number>;

interface Result {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

class Recorder implements OutputStream {
  text = '';
  write(data: string | Uint8Array, done?: () => void): boolean {
    this.text += String(data);
    done?.();
    return true;
  }
  on(): void {}
}

async function run(
  args: readonly string[],
  behaviour: Behaviour,
  environment: NodeJS.ProcessEnv = { HOME: '/h' },
): Promise<Result> {
  const stdout = new Recorder();
  const stderr = new Recorder();
  const exit = await runCommandLine({
    args,
    environment,
    launched: false,
    stdout,
    stderr,
    load: async () => ({ default: behaviour }) as unknown as CommandModule<never>,
  });
  return { exit, stdout: stdout.text, stderr: stderr.text };
}

const throws =
  (error: unknown): Behaviour =>
  async () => {
    throw error;
  };

test('the status of the command is the exit status, and the summary comes last', async () => {
  const result = await run(['backup', 'p'], async ({ output }) => {
    output.summary({ files: 1 }, 'done');
    output.line('a result');
    output.warning('b: gone');
    return 3;
  });
  assert.deepEqual(result, { exit: 3, stdout: 'a result\n', stderr: 'warning: b: gone\ndone\n' });
});

test('what was left out makes 3 of 0, a warning alone does not, and other statuses stay', async () => {
  const told =
    (status: number, kinds: readonly ('problem' | 'warning')[]): Behaviour =>
    async ({ output }) => {
      for (const kind of kinds) output[kind](`b: ${kind}`);
      return status;
    };
  assert.deepEqual(await run(['backup', 'p'], told(0, ['warning'])), {
    ...{ exit: 0, stdout: '', stderr: 'warning: b: warning\n' },
  });
  assert.deepEqual(await run(['backup', 'p'], told(0, ['problem', 'warning'])), {
    ...{ exit: 3, stdout: '', stderr: 'warning: b: problem\nwarning: b: warning\n' },
  });
  assert.equal((await run(['backup', 'p'], told(1, ['problem']))).exit, 1);
  const { stdout } = await run(['backup', 'p', '--json'], told(0, ['problem']));
  assert.equal(JSON.parse(stdout.trim().split('\n').at(-1) ?? '').exit, 3);
});

test('the command is given typed values, places and passphrases', async () => {
  let given: Invocation<'backup'> | undefined;
  const environment = { HOME: '/h', PENSTOCK_PASSPHRASE: 'secret' };
  await run(
    ['backup', 'p', '--memory', '64M'],
    async (invocation) => {
      given = invocation;
      return 0;
    },
    environment,
  );
  assert(given !== undefined);
  assert.equal(given.command, 'backup');
  assert.equal(given.options.memoryBytes, 64 * 1024 * 1024);
  assert.deepEqual(given.positionals.paths, ['p']);
  assert.equal(given.repoUrl, '/h/.local/share/penstock/repo');
  assert.equal(given.stateDirectory, '/h/.local/state/penstock');
  assert.equal((await given.passphrases.current('/r')).toString(), 'secret');
  assert.deepEqual(environment, { HOME: '/h' });
});

test('an operating error gives its message, hint and status', async () => {
  const error = new PenstockError('SOURCE_UNREADABLE', '1 item could not be read', {
    hint: 'look',
  });
  assert.deepEqual(await run(['backup', 'p'], throws(error)), {
    exit: 3,
    stdout: '',
    stderr: 'penstock: 1 item could not be read\n  hint: look\n',
  });
});

test("the system's errors get a code by their errno", async () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
  });
  const result = await run(['backup', 'p', '--json'], throws(full));
  assert.equal(result.exit, 1);
  const [error, summary] = result.stdout.trimEnd().split('\n');
  assert.equal((JSON.parse(error ?? '') as { code: string }).code, 'REPO_FULL');
  assert.equal(summary, '{"type":"summary","exit":1}');
});

test('a defect asks for a report, and shows where it is when verbose', async () => {
  const quiet = await run(['backup', 'p'], throws(new TypeError('x is undefined')));
  assert.equal(quiet.exit, 1);
  assert.match(quiet.stderr, /^penstock: x is undefined\n {2}hint: please report it/);
  assert(!quiet.stderr.includes('run.test.ts'));
  const verbose = await run(['backup', 'p', '-v'], throws(new TypeError('x is undefined')));
  assert.match(verbose.stderr, /run\.test\.ts/);
});

test('what is not even an error is reported', async () => {
  for (const thrown of [undefined, null, 'text', { a: 1 }]) {
    const result = await run(['backup', 'p'], throws(thrown));
    assert.equal(result.exit, 1);
    assert.match(result.stderr, /^penstock: /);
  }
});

test('after an interruption its consequences count as the interruption', async () => {
  const stop =
    (thrown: unknown): Behaviour =>
    async ({ signal }) => {
      process.emit('SIGTERM', 'SIGTERM');
      assert(signal.aborted);
      throw thrown;
    };
  const consequences = [
    new PenstockError('PIPE_STOPPED', 'the pipe was stopped'),
    new DOMException('This operation was aborted', 'AbortError'),
  ];
  for (const consequence of consequences) {
    const result = await run(['backup', 'p'], stop(consequence));
    assert.equal(result.exit, 130);
    assert.match(result.stderr, /stopping in order.*\npenstock: interrupted by SIGTERM\n/);
  }
  const damaged = await run(['backup', 'p'], stop(new PenstockError('DAMAGED', 'chunk 7: bad')));
  assert.equal(damaged.exit, 1);
  assert.match(damaged.stderr, /chunk 7: bad/);
});

test('work that was finished before it noticed the signal is done', async () => {
  const result = await run(['backup', 'p'], async () => {
    process.emit('SIGINT', 'SIGINT');
    return 0;
  });
  assert.equal(result.exit, 0);
});

test('a wrong command line is refused before anything is loaded, as JSON if asked', async () => {
  const never: Behaviour = () => assert.fail('must not run');
  const people = await run(['backup'], never);
  assert.equal(people.exit, 2);
  assert.match(
    people.stderr,
    /^penstock: backup needs a PATH.*\n {2}hint: run `penstock help backup`/,
  );
  assert.equal(people.stdout, '');
  const program = await run(['--json', 'backup'], never);
  assert.equal(program.exit, 2);
  const lines = program.stdout.trimEnd().split('\n');
  assert.equal((JSON.parse(lines[0] ?? '') as { code: string }).code, 'USAGE');
  assert.equal(lines[1], '{"type":"summary","exit":2}');
  assert.equal(program.stderr, '');
});

test('help that was asked for is a result, help in its place a message', async () => {
  const never: Behaviour = () => assert.fail('must not run');
  const asked = await run(['backup', '--help'], never);
  assert.equal(asked.exit, 0);
  assert.match(asked.stdout, /^penstock backup: /);
  const instead = await run([], never);
  assert.equal(instead.exit, 2);
  assert.equal(instead.stdout, '');
  assert.match(instead.stderr, /^penstock: backs up/);
});

test('no handler for signals stays behind', async () => {
  const before = process.listenerCount('SIGINT');
  await run(['backup', 'p'], async () => 0);
  await run(['backup', 'p'], throws(new Error('x')));
  assert.equal(process.listenerCount('SIGINT'), before);
});
