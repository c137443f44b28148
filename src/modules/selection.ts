/**
 * Which entries a backup takes (U8): patterns, ignore files, one file system, size and age.
 *
 * Patterns are globs over bytes: one without a slash matches a name anywhere; one with a slash the
 * whole path, or its end when it does not begin with a slash. An include rescues what an exclude hit.
 * An excluded directory is not entered. Ignore files follow git's rules, below their directory.
 */
import ignore, { type Ignore } from 'ignore';
import picomatch from 'picomatch';
import type { ByteString } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import type { Files } from '../host/mod.ts';

export interface SelectionOptions {
  readonly exclude: readonly ByteString[];
  readonly include: readonly ByteString[];
  /** Names of ignore files. */
  readonly ignoreFiles: readonly ByteString[];
  readonly oneFileSystem: boolean;
  readonly sizeMax?: number | undefined;
  readonly newerThanMs?: number | undefined;
  readonly olderThanMs?: number | undefined;
}

type Match = (text: string) => boolean;

/** Rules of the ignore file of one directory. */
export interface IgnoreRules {
  readonly rules: Ignore;
  /** Length of the path of its directory, the slash behind it included. */
  readonly prefixLength: number;
  readonly outer: IgnoreRules | undefined;
}

export class Selection {
  readonly options: SelectionOptions;
  /** Whether paths are needed to decide. */
  readonly usesPaths: boolean;
  readonly #excluded: { names: Match; paths: Match };
  readonly #included: { names: Match; paths: Match };

  constructor(options: SelectionOptions) {
    this.options = options;
    this.#excluded = compile(options.exclude);
    this.#included = compile(options.include);
    this.usesPaths = options.exclude.length > 0 || options.ignoreFiles.length > 0;
  }

  /** Whether the entry of this absolute path is left out by patterns or ignore files. */
  excludes(
    path: ByteString,
    name: ByteString,
    directory: boolean,
    ignores: IgnoreRules | undefined,
  ): boolean {
    if (this.#excluded.names(name) || this.#excluded.paths(path)) {
      return !(this.#included.names(name) || this.#included.paths(path));
    }
    // The innermost ignore file that has an opinion decides.
    for (let rules = ignores; rules !== undefined; rules = rules.outer) {
      const relative = path.slice(rules.prefixLength);
      const verdict = rules.rules.test(directory ? `${relative}/` : relative);
      if (verdict.ignored) return true;
      if (verdict.unignored) return false;
    }
    return false;
  }

  /** Whether a regular file is left out by its size or age. */
  excludesFile(size: number, mtimeMs: number): boolean {
    const { sizeMax, newerThanMs, olderThanMs } = this.options;
    return (
      (sizeMax !== undefined && size > sizeMax) ||
      (newerThanMs !== undefined && mtimeMs < newerThanMs) ||
      (olderThanMs !== undefined && mtimeMs > olderThanMs)
    );
  }
}

/**
 * Reads the ignore files `names` of the directory `fd`, whose path is `path`. Returns the rules that hold
 * below it; a file that cannot be read is told to `failed`.
 */
export function readIgnoreFiles(
  files: Files,
  fd: number,
  path: ByteString,
  names: readonly ByteString[],
  outer: IgnoreRules | undefined,
  failed: (path: ByteString, result: number, call: string) => void,
): IgnoreRules | undefined {
  let rules = outer;
  for (const name of names) {
    const file = files.openRead(fd, name);
    if (file < 0) {
      failed(`${path}/${name}`, file, 'open');
      continue;
    }
    const bytes = Buffer.alloc(LIMITS.ignoreFileBytesMax);
    const got = files.read(file, bytes, 0, bytes.length, 0);
    files.close(file);
    if (got < 0) failed(`${path}/${name}`, got, 'read');
    else rules = parseIgnoreFile(bytes.subarray(0, got), path, rules);
  }
  return rules;
}

/** Rules from the text of an ignore file in the directory of `path`. */
export function parseIgnoreFile(
  bytes: Buffer,
  path: ByteString,
  outer: IgnoreRules | undefined,
): IgnoreRules {
  const rules = ignore({ allowRelativePaths: true }).add(bytes.toString('latin1'));
  return { rules, prefixLength: path === '/' ? 1 : path.length + 1, outer };
}

function compile(patterns: readonly ByteString[]): { names: Match; paths: Match } {
  const names: string[] = [];
  const paths: string[] = [];
  for (const pattern of patterns) {
    const trimmed = pattern.length > 1 && pattern.endsWith('/') ? pattern.slice(0, -1) : pattern;
    if (!trimmed.includes('/')) names.push(trimmed);
    else paths.push(trimmed.startsWith('/') ? trimmed : `**/${trimmed}`);
  }
  return { names: matcher(names), paths: matcher(paths) };
}

function matcher(patterns: readonly string[]): Match {
  if (patterns.length === 0) return () => false;
  return picomatch([...patterns], { dot: true, nonegate: true });
}

/** Lines of a pattern file: blank ones and those that begin with # are left out. */
export function parsePatternFile(bytes: Buffer): ByteString[] {
  return bytes
    .toString('latin1')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
