/**
 * Goal: what a person sees and types at a terminal (U4): the progress line, prompts without echo,
 * Ctrl-C. Method: a pseudo-terminal made by script(1); the screen is played from what was written.
 */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const FIXTURE = fileURLToPath(new URL('./cli-fixture.ts', import.meta.url));
const HOME = mkdtempSync(join(tmpdir(), 'penstock-terminal-'));
after(() => rmSync(HOME, { recursive: true }));
const skip = spawnSync('script', ['--version']).error !== undefined && 'script(1) is not installed';
const COLUMNS = 70;

class Terminal {
  written = '';
  #seen = 0;
  #isClosed = false;
  readonly #child: ChildProcessWithoutNullStreams;
  #look: () => void = () => {};

  constructor(behaviour: string, args: readonly string[] = []) {
    const command = [
      `stty cols ${COLUMNS} rows 24`,
      // Ctrl-C is for the program; the shell goes on.
      'trap : INT',
      `'${process.execPath}' '${FIXTURE}' prune ${args.join(' ')}`,
      'echo "-> $?"',
      "stty -a | grep -o '[-]*echo '",
    ].join('; ');
    const env = {
      PATH: process.env.PATH,
      HOME,
      SHELL: '/bin/sh',
      TERM: 'xterm',
      PENSTOCK_TEST_BEHAVIOUR: behaviour,
      TEST_MS: '1500',
    };
    this.#child = spawn('script', ['-qfec', command, '/dev/null'], { env });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.written += text;
      this.#look();
    });
    this.#child.on('close', () => {
      this.#isClosed = true;
      this.#look();
    });
  }

  /** Resolves once `text` was written after all that was awaited before. */
  async expect(text: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#look = () => {
        if (this.written.includes(text, this.#seen)) resolve();
        else if (this.#isClosed) reject(new Error(`never shown: ${text}\n${this.written}`));
      };
      this.#look();
    });
    this.#seen = this.written.indexOf(text, this.#seen) + text.length;
  }

  type(keys: string): void {
    this.#child.stdin.write(keys);
  }

  /** The lines on the screen once the command has ended. */
  async screen(): Promise<string[]> {
    await this.expect('-> ');
    await this.expect('echo ');
    this.#child.stdin.end();
    return play(this.written);
  }
}

/** What a terminal shows after returns, line feeds and erasures of lines; colours left out. */
function play(written: string): string[] {
  const lines = [''];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  for (const [token] of written.matchAll(/\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+/g)) {
    const last = lines.length - 1;
    if (token === '\n') lines.push('');
    else if (token === '\x1b[K') lines[last] = '';
    else if (token !== '\r' && !token.startsWith('\x1b')) lines[last] += token;
  }
  return lines.map((line) => line.trimEnd()).filter((line) => line !== '');
}

test('the progress line is one line that goes away, and warnings stay above it', {
  skip,
}, async () => {
  const terminal = new Terminal('work');
  assert.deepEqual(await terminal.screen(), [
    'a note before the work',
    'warning: home/me/secret-500: permission denied',
    'archive 3fa9c1de of work',
    '  all done',
    '-> 0',
    'echo',
  ]);
  const redraws = terminal.written
    .split('\r\x1b[K')
    .filter((text) => text.startsWith('backing up'));
  assert(redraws.length >= 2, `${redraws.length} redraws`);
  assert(
    redraws.some((text) => /^backing up {2}\d+ % {2}\S+ \S+ of \S+ \S+ {2}[\d,]+ files/.test(text)),
  );
  assert(redraws.every((text) => (text.split('\r')[0] ?? '').length < COLUMNS));
});

test('quiet means no progress line', { skip }, async () => {
  const terminal = new Terminal('work', ['--quiet']);
  assert.deepEqual(await terminal.screen(), [
    'warning: home/me/secret-500: permission denied',
    '-> 0',
    'echo',
  ]);
  assert(!terminal.written.includes('backing up'));
});

test('a passphrase is read without echo, and backspace works', { skip }, async () => {
  const terminal = new Terminal('passphrase');
  await terminal.expect('passphrase of /a/repo: ');
  terminal.type('\r');
  await terminal.expect('it must not be empty');
  await terminal.expect('passphrase of /a/repo: ');
  terminal.type('wronü\x7f\x15sekü\x7fret\r');
  assert.deepEqual((await terminal.screen()).slice(-3), [
    `got ${Buffer.from('sekret').toString('hex')}`,
    '-> 0',
    'echo',
  ]);
  assert(!/sek|ret\b/.test(terminal.written), 'it was shown');
});

test('a new passphrase is asked for until both agree; what is typed ahead counts', {
  skip,
}, async () => {
  const terminal = new Terminal('newPassphrase');
  await terminal.expect('passphrase for /a/repo: ');
  terminal.type('one\rtwo\r');
  await terminal.expect('the two differ; once more');
  terminal.type('one\r');
  await terminal.expect('the same again: ');
  terminal.type('one\r');
  assert.deepEqual((await terminal.screen()).slice(-3), ['got 6f6e65', '-> 0', 'echo']);
});

test('Ctrl-C at a prompt ends with 130 and leaves the terminal as it was', { skip }, async () => {
  const terminal = new Terminal('passphrase');
  await terminal.expect('passphrase of /a/repo: ');
  terminal.type('abc\x03');
  assert.deepEqual(await terminal.screen(), [
    'passphrase of /a/repo:',
    'penstock: interrupted',
    '  hint: run the command again: it continues',
    '-> 130',
    'echo',
  ]);
});

test('Ctrl-C during work stops in order', { skip }, async () => {
  const terminal = new Terminal('work');
  await terminal.expect('backing up');
  terminal.type('\x03');
  const screen = await terminal.screen();
  assert.deepEqual(screen.slice(-5), [
    'penstock: stopping in order, press again to end at once',
    'penstock: interrupted by SIGINT',
    '  hint: run the command again: it continues',
    '-> 130',
    'echo',
  ]);
});
