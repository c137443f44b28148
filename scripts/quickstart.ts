/**
 * A real backup and restore, told step by step: `npm run quickstart`, or for a directory of one's own
 * `npm run quickstart -- DIRECTORY`.
 *
 * Contract: runs the commands that a user would type and shows them. Everything is made in a new
 * temporary folder (TMPDIR) that is removed at the end, whatever happens; the directory is only read.
 * The exit status is 0 only if what was restored is what was backed up.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatBytes, formatCount, formatDuration } from '../src/base/units.ts';
import { compareTrees, type TreeComparison } from './compare-trees.ts';

const ROOT = realpathSync(join(import.meta.dirname, '..'));
const LAUNCHER = join('bin', 'penstock.js');
const LISTED_LINES_MAX = 8;
const DIFFERENCES_SHOWN_MAX = 10;
/** Of `backup` and `restore`: done, but some items could not be read or written. */
const EXIT_PARTIAL = 3;

class QuickstartError extends Error {}

interface Step {
  readonly about: string;
  readonly args: readonly string[];
  /** Shows only the first lines of what the command lists. */
  readonly shortened?: boolean;
}

/** Six groups of five letters and digits that are not mistaken for each other: 148 bits. */
function makePassphrase(): string {
  const letters = 'abcdefghjkmnpqrstuvwxyz23456789';
  const group = (): string =>
    Array.from({ length: 5 }, () => letters.charAt(randomInt(letters.length))).join('');
  return Array.from({ length: 6 }, group).join('-');
}

function findSources(given: readonly string[]): string[] {
  if (given.length === 0) return ['src', 'docs'].map((name) => join(ROOT, name));
  return given.map((path) => {
    const absolute = existsSync(path) ? realpathSync(path) : path;
    if (!lstatSync(absolute, { throwIfNoEntry: false })?.isDirectory()) {
      throw new QuickstartError(`${path} is not a directory`);
    }
    return absolute;
  });
}

/** The repository and the restored files must fit beside each other. */
function assertRoom(sources: readonly string[], scratch: string): void {
  const { bavail, bsize } = statfsSync(scratch);
  let neededBytes = 0;
  for (const source of sources) neededBytes += 2 * bytesUnder(source);
  if (neededBytes <= bavail * bsize) return;
  throw new QuickstartError(
    `${formatBytes(neededBytes)} may be needed in ${tmpdir()}, and ${formatBytes(bavail * bsize)} are free: ` +
      'take a smaller directory, or name a larger place: TMPDIR=/some/dir npm run quickstart',
  );
}

/** What everything under a folder takes up on disk; what cannot be read counts nothing. */
function bytesUnder(folder: string): number {
  let bytes = 0;
  try {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const status = lstatSync(path);
      bytes += status.blocks * 512 + (status.isDirectory() ? bytesUnder(path) : 0);
    }
  } catch {
    // The backup will say it.
  }
  return bytes;
}

class Quickstart {
  readonly #scratch = realpathSync(mkdtempSync(join(tmpdir(), 'penstock-quickstart-')));
  readonly #environment = {
    PENSTOCK_REPO: join(this.#scratch, 'repository'),
    PENSTOCK_PASSPHRASE: makePassphrase(),
  };
  /** Nothing of this may stay in the user's own folders. */
  readonly #ownFolders = {
    PENSTOCK_STATE: join(this.#scratch, 'state'),
    XDG_CACHE_HOME: join(this.#scratch, 'cache'),
  };
  #interrupted = false;

  /** Runs all steps; true if what was restored is what was backed up. */
  async run(sources: readonly string[]): Promise<boolean> {
    const noted = (): void => {
      this.#interrupted = true;
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, noted);
    try {
      assertRoom(sources, this.#scratch);
      this.#introduce(sources);
      return await this.#runSteps(sources);
    } finally {
      rmSync(this.#scratch, { recursive: true, force: true });
      console.log(`removed ${this.#scratch}`);
    }
  }

  #introduce(sources: readonly string[]): void {
    console.log(`Backs up ${sources.join(' and ')}, restores it beside and compares the two.`);
    console.log(`Everything is made in ${this.#scratch} and removed at the end.\n`);
    console.log(
      'The commands find the repository and a passphrase, made just now, in the environment:',
    );
    for (const [name, value] of Object.entries(this.#environment)) {
      console.log(`$ export ${name}=${quote(value)}`);
    }
  }

  async #runSteps(sources: readonly string[]): Promise<boolean> {
    const target = join(this.#scratch, 'restored');
    await this.#step({ about: 'make an encrypted repository', args: ['init'] });
    const firstMs = await this.#step({ about: 'back up', args: ['backup', ...sources] });
    const sinceMs = Date.now();
    const secondMs = await this.#step({
      about: 'back up again: only what has changed is read',
      args: ['backup', ...sources],
    });
    await this.#step({ about: 'which archives are there?', args: ['archives'] });
    await this.#step({
      about: 'what is in the last one?',
      args: ['ls', 'latest', '-l', ...sources.slice(0, 1)],
      shortened: true,
    });
    await this.#step({ about: 'read and verify everything', args: ['check', '--read-data'] });
    const restoreMs = await this.#step({
      about: 'restore',
      args: ['restore', 'latest', '--target', target],
    });
    console.log('\n# compare every file with its original, by Node.js alone');
    const comparisons = sources.map((source) =>
      compareTrees(source, join(target, source), sinceMs),
    );
    const differences = comparisons.flatMap((one) => one.differences);
    for (const line of differences.slice(0, DIFFERENCES_SHOWN_MAX))
      console.log(`  differs: ${line}`);
    const stored = sizesUnder(this.#environment.PENSTOCK_REPO);
    summarise(comparisons, stored, { firstMs, secondMs, restoreMs });
    return differences.length === 0;
  }

  /** Runs one command and returns how long it took. */
  async #step({ about, args, shortened = false }: Step): Promise<number> {
    console.log(`\n# ${about}\n$ ${[LAUNCHER, ...args].map(quote).join(' ')}`);
    const startMs = performance.now();
    const status = await this.#runCommand(args, shortened);
    const elapsedMs = performance.now() - startMs;
    if (this.#interrupted) throw new QuickstartError('interrupted');
    if (status === EXIT_PARTIAL)
      console.log('(some items could not be read or written, see above)');
    else if (status !== 0)
      throw new QuickstartError(`penstock ${args[0]} ended with status ${status}`);
    return elapsedMs;
  }

  #runCommand(args: readonly string[], shortened: boolean): Promise<number> {
    const child = spawn(process.execPath, [join(ROOT, LAUNCHER), ...args], {
      cwd: ROOT,
      env: { ...process.env, ...this.#environment, ...this.#ownFolders },
      stdio: ['ignore', shortened ? 'pipe' : 'inherit', 'inherit'],
    });
    let listed = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      listed += text;
    });
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status, signal) => {
        if (shortened) showFirstLines(listed);
        resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  }
}

function showFirstLines(text: string): void {
  const lines = text.trimEnd().split('\n');
  console.log(lines.slice(0, LISTED_LINES_MAX).join('\n'));
  const more = lines.length - LISTED_LINES_MAX;
  if (more > 0) console.log(`… and ${formatCount(more)} more`);
}

function summarise(
  comparisons: readonly TreeComparison[],
  storedBytes: number,
  { firstMs, secondMs, restoreMs }: Record<'firstMs' | 'secondMs' | 'restoreMs', number>,
): void {
  const sum = (count: (one: TreeComparison) => number): number =>
    comparisons.reduce((total, one) => total + count(one), 0);
  const bytes = sum((one) => one.bytes);
  const share = bytes === 0 ? '' : ` (${((100 * storedBytes) / bytes).toFixed(0)} % of it)`;
  const differing = sum((one) => one.differences.length);
  const changed = sum((one) => one.changed);
  const verdict = differing === 0 ? 'all equal' : `${formatCount(differing)} DIFFERENCES`;
  console.log(`
  compared       ${formatCount(sum((one) => one.entries))} entries: ${verdict}${changed === 0 ? '' : `, ${formatCount(changed)} changed meanwhile`}
                 (contents, kinds, modes, owners, times to the nanosecond, links)
  source         ${formatCount(sum((one) => one.files))} files, ${formatBytes(bytes)}
  repository     ${formatBytes(storedBytes)}${share}, encrypted, two archives
  first backup   ${formatDuration(firstMs)}
  second backup  ${formatDuration(secondMs)}
  restore        ${formatDuration(restoreMs)}
`);
}

function sizesUnder(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((total, { parentPath, name }) => total + lstatSync(join(parentPath, name)).size, 0);
}

/** As a shell reads it. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

try {
  const equal = await new Quickstart().run(findSources(process.argv.slice(2)));
  process.exitCode = equal ? 0 : 1;
} catch (error) {
  if (!(error instanceof QuickstartError)) throw error;
  console.error(`quickstart: ${error.message}`);
  process.exitCode = 1;
}
