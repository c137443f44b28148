/**
 * Writes docs/errors.md and docs/limits.md from the tables in src/base: `npm run docs`. A test
 * (test/docs.test.ts) compares them, so that the documents cannot fall behind the code.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERRORS, type ErrorSpec } from '../src/base/errors.ts';
import { LIMITS } from '../src/base/limits.ts';
import { formatBytes, formatCount, formatDuration } from '../src/base/units.ts';
import { EXIT_HELP } from '../src/options/table.ts';

const ROOT = join(import.meta.dirname, '..');

/** The pages by the name of their file in docs/. */
export const PAGES: Readonly<Record<string, () => string>> = {
  'errors.md': errorsPage,
  'limits.md': limitsPage,
};

function errorsPage(): string {
  return [
    '# Errors',
    '',
    'Whatever can go wrong outside the program has one of these codes: in messages, in `--json` lines',
    'and as `code` of a `PenstockError`. "Again" says whether the same call may succeed when it is made',
    'again. Written by `npm run docs` from `src/base/errors.ts`.',
    '',
    '| code | means | what to do | exit | again |',
    '|---|---|---|---|---|',
    ...Object.entries<ErrorSpec>(ERRORS).map(
      ([code, { meaning, hint, exit, retryable }]) =>
        `| \`${code}\` | ${cell(meaning)} | ${cell(hint)} | ${exit} | ${retryable ? 'yes' : 'no'} |`,
    ),
    '',
    '## Exit statuses',
    '',
    '| status | means |',
    '|---|---|',
    ...Object.entries(EXIT_HELP).map(([status, meaning]) => `| ${status} | ${meaning} |`),
    '',
  ].join('\n');
}

function limitsPage(): string {
  const comments = limitComments();
  return [
    '# Limits',
    '',
    'Every bound of Penstock by its name. What goes over one ends with the error `LIMIT`, or waits, where',
    'it bounds what is under way. Written by `npm run docs` from `src/base/limits.ts`.',
    '',
    '| name | value | what it bounds |',
    '|---|---|---|',
    ...Object.entries<number>(LIMITS).map(
      ([name, value]) =>
        `| \`${name}\` | ${shown(name, value)} | ${cell(comments.get(name) ?? '')} |`,
    ),
    '',
  ].join('\n');
}

function shown(name: string, value: number): string {
  if (name.includes('Bytes')) return formatBytes(value).replace(/\.0+ /, ' ');
  if (!name.endsWith('Ms')) return formatCount(value);
  return value < 1000 ? `${value} ms` : formatDuration(value).replace(/\.0 /, ' ');
}

/** The comment in front of each limit. */
function limitComments(): ReadonlyMap<string, string> {
  const comments = new Map<string, string>();
  for (const file of ['limits.ts', 'media-limits.ts', 'device-limits.ts']) {
    const source = readFileSync(join(ROOT, 'src/base', file), 'utf8');
    const table = source.slice(
      source.search(/^export const \w+ = \{/m),
      source.indexOf('} as const'),
    );
    for (const [, text = '', name = ''] of table.matchAll(/\/\*\*(.*?)\*\/\s*(\w+):/gs)) {
      comments.set(name, text.replaceAll(/\s*\n\s*\*?\s*/g, ' ').trim());
    }
  }
  return comments;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

if (process.argv[1] === import.meta.filename) {
  for (const [name, page] of Object.entries(PAGES)) writeFileSync(join(ROOT, 'docs', name), page());
}
