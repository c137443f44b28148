/**
 * Goal: help, manual, docs and completion say what the table says (style rule 5). Method: every row
 * must appear in each; the shells themselves check and run the scripts where they are installed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { completionScript } from './completion.ts';
import { helpText, wrap } from './help.ts';
import { manualText, markdownText } from './manual.ts';
import { COMMAND_NAMES, commandSpec, GLOBAL_OPTIONS } from './table.ts';
import type { OptionSpec } from './types.ts';

const isInstalled = (program: string): boolean =>
  spawnSync(program, ['--version']).error === undefined;

test('the overview lists every command and global option', () => {
  const text = helpText('', 90) ?? '';
  for (const name of COMMAND_NAMES) assert(text.includes(`  ${name} `), name);
  for (const option of Object.values(GLOBAL_OPTIONS)) assert(text.includes(`--${option.flag}`));
});

test('help of a command has its usage, options, defaults and examples', () => {
  for (const name of COMMAND_NAMES) {
    const text = helpText(name, 90) ?? '';
    assert(text.includes(`usage: penstock ${name}`), name);
    for (const option of Object.values(commandSpec(name).options))
      assert(text.includes(`--${option.flag}`));
    for (const example of commandSpec(name).examples) assert(text.includes(example.line));
  }
  const text = helpText('restore', 100) ?? '';
  assert.match(text, /usage: penstock restore --target DIR \[OPTION…\] ARCHIVE \[PATH…\]/);
  assert.match(text, /\(default: never\)/);
  assert.match(text, /3 {4}some items could not be restored/);
  assert(
    !(helpText('ls', 100) ?? '').includes('\n  3 '),
    'only commands that can be partial say so',
  );
});

test('a group lists its commands; what is unknown has no help', () => {
  assert.match(helpText('key', 80) ?? '', /key rotate/);
  assert.equal(helpText('ke', 80), undefined);
  assert.equal(helpText('key ad', 80), undefined);
});

test('help fits the terminal where words allow it', () => {
  for (const name of COMMAND_NAMES) {
    const prose = (helpText(name, 60) ?? '')
      .split('\n')
      .filter((line) => !/penstock |--/.test(line));
    for (const line of prose) assert(line.length <= 60, `${name}: ${line}`);
  }
  assert.deepEqual(wrap('aa bb cc', 5), ['aa bb', 'cc']);
  assert.deepEqual(wrap('unbreakable', 5), ['unbreakable']);
  assert.deepEqual(wrap('', 5), []);
});

test('an option of one name is of one kind in all commands', () => {
  const seen = new Map<string, string>();
  const specs: OptionSpec[] = COMMAND_NAMES.flatMap((name) =>
    Object.values(commandSpec(name).options),
  );
  for (const { flag, short, kind, choices } of [
    ...specs,
    ...Object.values<OptionSpec>(GLOBAL_OPTIONS),
  ]) {
    const shape = JSON.stringify([kind, choices]);
    for (const written of [`--${flag}`, ...(short === undefined ? [] : [`-${short}`])]) {
      assert.equal(seen.get(written) ?? shape, shape, written);
      seen.set(written, shape);
    }
  }
});

test('docs/cli.md is what the table says', () => {
  const stored = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
  assert.equal(stored, markdownText(), 'run: node bin/penstock.js help --markdown > docs/cli.md');
});

test('the manual page has every command and option, and roff does not complain', (t) => {
  const text = manualText('1.2.3');
  for (const name of COMMAND_NAMES) assert(text.includes(`.SS "penstock ${name}`), name);
  assert(text.includes('\\-\\-keep\\-within TIME'));
  if (!isInstalled('groff')) return t.skip('groff is not installed');
  const run = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-K', 'utf8'], { input: text });
  assert.equal(run.stderr.toString(), '');
  assert.match(run.stdout.toString(), /backs {1,3}up, {1,3}restores/);
  return undefined;
});

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  test(`${shell} can read its completion script`, (t) => {
    const script = completionScript(shell);
    for (const name of COMMAND_NAMES) assert(script.includes(name.split(' ').at(-1) ?? name), name);
    if (!isInstalled(shell)) return t.skip(`${shell} is not installed`);
    const run = spawnSync(shell, ['-n', '-c', script]);
    assert.equal(run.stderr.toString(), '');
    assert.equal(run.status, 0);
    return undefined;
  });
}

/** What bash offers after these words; the last one is being typed. */
function bashOffers(...words: string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const script = `${completionScript('bash')}
    COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}
    _penstock; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const run = spawnSync('bash', ['-c', script], { cwd: new URL('../..', import.meta.url) });
  return run.stdout
    .toString()
    .split('\n')
    .filter((line) => line !== '');
}

test('bash completes commands, options, values and files', { skip: !isInstalled('bash') }, () => {
  assert.deepEqual(bashOffers('penstock', 'ba'), ['backup']);
  assert.deepEqual(bashOffers('penstock', 'key', 're'), ['remove']);
  assert.deepEqual(bashOffers('penstock', '--repo', 'x', 'key', 'add', '--la'), ['--label']);
  assert.deepEqual(bashOffers('penstock', '--repo', '=', 'x', 'ba'), ['backup']);
  assert.deepEqual(bashOffers('penstock', 'backup', '--ex'), ['--exclude', '--exclude-from']);
  assert.deepEqual(bashOffers('penstock', 'restore', 'x', '--overwrite', ''), [
    'never',
    'always',
    'newer',
  ]);
  assert.deepEqual(bashOffers('penstock', 'restore', 'x', '--overwrite', '=', 'a'), ['always']);
  assert.deepEqual(bashOffers('penstock', 'completion', ''), ['bash', 'zsh', 'fish']);
  assert.deepEqual(bashOffers('penstock', 'backup', 'package-l'), ['package-lock.json']);
  assert.deepEqual(bashOffers('penstock', 'restore', 'x', '--target', 'package-l'), [
    'package-lock.json',
  ]);
  assert.deepEqual(bashOffers('penstock', 'ls', 'package-l'), []);
  assert.deepEqual(bashOffers('penstock', 'forget', '--keep-last', ''), []);
  assert.deepEqual(bashOffers('penstock', 'pair', ''), ['token', 'list', 'remove']);
  assert.deepEqual(bashOffers('penstock', 'pair', 'host', '--to'), ['--token']);
  assert.deepEqual(bashOffers('penstock', 'pair', 'token', '--ac'), ['--access']);
  assert(!bashOffers('penstock', '').some((word) => word.startsWith('-')));
});
