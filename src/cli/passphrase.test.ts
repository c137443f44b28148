/**
 * Goal: passphrases come from where they should, exactly, and leak nowhere. Method: environments
 * and files; a prompt needs a terminal and is tested in test/system/cli-terminal.test.ts.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { Output } from './output.ts';
import { type PassphraseSource, takePassphrases } from './passphrase.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-passphrase-'));
after(() => rmSync(folder, { recursive: true }));

interface Case {
  readonly source: PassphraseSource;
  readonly environment: Record<string, string | undefined>;
  readonly abort: AbortController;
  messages(): string;
}

function open(environment: Record<string, string | undefined>): Case {
  let text = '';
  const stream = {
    write(data: string | Uint8Array, done?: () => void): boolean {
      text += String(data);
      done?.();
      return true;
    },
    on(): void {},
  };
  const output = new Output({
    json: false,
    quiet: false,
    verbose: false,
    noColor: true,
    stdout: stream,
    stderr: stream,
    clockMs: () => 0,
    onOutputLost: () => {},
  });
  const abort = new AbortController();
  const source = takePassphrases({
    environment,
    variable: (name) => environment[name],
    output,
    signal: abort.signal,
    interrupt: () => {},
    onHardExit: () => () => {},
  });
  return { source, environment, abort, messages: () => text };
}

function file(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode });
  return path;
}

const fails =
  (code: string, message: RegExp) =>
  (error: unknown): boolean =>
    error instanceof PenstockError && error.code === code && message.test(error.message);

test('the variables are taken out of the environment before anything is asked for', async () => {
  const { source, environment } = open({
    PENSTOCK_PASSPHRASE: 'p\xfcss',
    PENSTOCK_PASSPHRASE_FILE: '/nowhere',
    PENSTOCK_NEW_PASSPHRASE: 'new',
    PENSTOCK_NEW_PASSPHRASE_FILE: '/nowhere',
    HOME: '/h',
  });
  assert.deepEqual(environment, { HOME: '/h' });
  assert.equal(source.interactive, false);
  assert.equal((await source.current('/r')).toString('latin1'), 'p\xfcss');
  assert.equal((await source.initial('/r')).toString('latin1'), 'p\xfcss');
  assert.equal((await source.additional('/r')).toString('latin1'), 'new');
});

test('each passphrase is a buffer of its own, to be filled with zeros', async () => {
  const { source } = open({ PENSTOCK_PASSPHRASE: 'secret' });
  const first = await source.current('/r');
  first.fill(0);
  assert.equal((await source.current('/r')).toString(), 'secret');
});

test('of a file one line end at its end is left out, and nothing else', async () => {
  for (const [content, expected] of [
    ['secret\n', 'secret'],
    ['secret\r\n', 'secret'],
    ['secret', 'secret'],
    ['secret\n\n', 'secret\n'],
    [' sec ret \n', ' sec ret '],
    ['a\nb\n', 'a\nb'],
  ] as const) {
    const { source, messages } = open({ PENSTOCK_PASSPHRASE_FILE: file('plain', content) });
    assert.equal((await source.current('/r')).toString(), expected);
    assert.equal(messages(), '');
  }
});

test('a file that others can read is warned about, and used', async () => {
  const path = file('open', 'secret\n', 0o644);
  const { source, messages } = open({ PENSTOCK_PASSPHRASE_FILE: path });
  assert.equal((await source.current('/r')).toString(), 'secret');
  assert.equal(
    messages(),
    `warning: ${path} can be read by other users of this machine\n  hint: chmod 600 ${path}\n`,
  );
});

test('a FIFO is read to its end without blocking the process', async () => {
  const path = join(folder, 'fifo');
  execFileSync('mkfifo', [path]);
  // Opened for both, so that there is a writer that has not written yet.
  const writer = openSync(path, 'r+');
  const { source } = open({ PENSTOCK_PASSPHRASE_FILE: path });
  const reading = source.current('/r');
  setTimeout(() => {
    writeSync(writer, 'sec');
    setTimeout(() => {
      writeSync(writer, 'ret\n');
      closeSync(writer);
    }, 30);
  }, 30);
  assert.equal((await reading).toString(), 'secret');
});

test('a FIFO that nobody writes to can be interrupted', async () => {
  const path = join(folder, 'silent');
  execFileSync('mkfifo', [path]);
  const writer = openSync(path, 'r+');
  const { source, abort } = open({ PENSTOCK_PASSPHRASE_FILE: path });
  const reading = source.current('/r');
  abort.abort(new PenstockError('INTERRUPTED', 'interrupted by SIGINT'));
  await assert.rejects(reading, fails('INTERRUPTED', /SIGINT/));
  closeSync(writer);
});

test('empty, too long, missing and unreadable passphrases are refused by name', async () => {
  const refused = (environment: Record<string, string>): Promise<Buffer> =>
    open(environment).source.current('/r');
  await assert.rejects(
    refused({ PENSTOCK_PASSPHRASE_FILE: file('empty', '\n') }),
    fails('PASSPHRASE_MISSING', /empty \(PENSTOCK_PASSPHRASE_FILE\) is empty/),
  );
  await assert.rejects(
    refused({ PENSTOCK_PASSPHRASE: 'x'.repeat(LIMITS.passphraseBytesMax + 1) }),
    fails('LIMIT', /^PENSTOCK_PASSPHRASE is longer than 4096 bytes$/),
  );
  await assert.rejects(
    refused({ PENSTOCK_PASSPHRASE_FILE: file('long', 'x'.repeat(100_000)) }),
    fails('LIMIT', /is longer than 4096 bytes$/),
  );
  const longest = 'x'.repeat(LIMITS.passphraseBytesMax);
  assert.equal(
    (await refused({ PENSTOCK_PASSPHRASE_FILE: file('longest', `${longest}\r\n`) })).toString(),
    longest,
  );
  await assert.rejects(
    refused({ PENSTOCK_PASSPHRASE_FILE: join(folder, 'nowhere') }),
    fails('PASSPHRASE_MISSING', /^cannot read PENSTOCK_PASSPHRASE_FILE: ENOENT/),
  );
  await assert.rejects(
    refused({ PENSTOCK_PASSPHRASE_FILE: folder }),
    fails('PASSPHRASE_MISSING', /^cannot read PENSTOCK_PASSPHRASE_FILE: EISDIR/),
  );
});
