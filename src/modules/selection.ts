/**
 * Which entries a backup takes (U8): patterns, ignore files, one file system, size and age.
 *
 * Patterns are globs: one without a slash matches a name anywhere; one with a slash the
 * whole path, or its end when it does not begin with a slash; one that ends with a slash directories
 * only. They match characters of names that are text, else bytes. An include rescues what an exclude
 * hit. An excluded directory is not entered. Ignore files follow git's rules, below their directory.
 */
import { createRequire } from 'node:module';
import type { Ignore, Options } from 'ignore';
import type picomatch from 'picomatch';
import { type ByteString, fromBytes, isText, toBytes } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { ERRNO, FileStatus, type Files, KIND } from '../host/files-only.ts';

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
type PathMatch = (path: ByteString, name: ByteString, directory: boolean) => boolean;

/** Tests after which the rules are compiled anew: they remember every path that they saw. */
const TESTS_REMEMBERED = 4096;

/** Rules of the ignore file of one directory. */
export class IgnoreRules {
  readonly outer: IgnoreRules | undefined;
  readonly #text: string;
  /** Length of the path of its directory, the slash behind it included. */
  readonly #prefixLength: number;
  #rules: Ignore;
  #tests = 0;

  /** From the bytes of an ignore file in the directory of `path`. */
  constructor(bytes: Buffer, path: ByteString, outer: IgnoreRules | undefined) {
    this.outer = outer;
    this.#text = toText(fromBytes(bytes));
    this.#prefixLength = path === '/' ? 1 : path.length + 1;
    this.#rules = this.#compile();
  }
  #compile(): Ignore {
    const ignore = load('ignore') as (options: Options) => Ignore;
    return ignore({ allowRelativePaths: true, ignorecase: false }).add(this.#text);
  }
  /** True: left out; false: taken whatever outer rules say; undefined: no opinion. */
  ignores(path: ByteString, directory: boolean): boolean | undefined {
    if (++this.#tests % TESTS_REMEMBERED === 0) this.#rules = this.#compile();
    const relative = toText(path.slice(this.#prefixLength));
    const verdict = this.#rules.test(directory ? `${relative}/` : relative);
    return verdict.ignored ? true : verdict.unignored ? false : undefined;
  }
}

/** At the first use: most scans have no patterns. */
const load: (name: 'ignore' | 'picomatch') => unknown = createRequire(import.meta.url);

const status = new FileStatus();

export class Selection {
  readonly options: SelectionOptions;
  /** Whether paths are needed to decide. */
  readonly usesPaths: boolean;
  readonly #excluded: PathMatch;
  readonly #included: PathMatch;

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
    if (this.#excluded(path, name, directory)) return !this.#included(path, name, directory);
    // The innermost ignore file that has an opinion decides.
    for (let rules = ignores; rules !== undefined; rules = rules.outer) {
      const verdict = rules.ignores(path, directory);
      if (verdict !== undefined) return verdict;
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
    if (files.status(fd, name, status) >= 0 && status.kind !== KIND.file) continue;
    const file = files.openRead(fd, name);
    if (file < 0) {
      failed(`${path}/${name}`, file, 'open');
      continue;
    }
    const bytes = Buffer.alloc(LIMITS.ignoreFileBytesMax + 1);
    let got = files.read(file, bytes, 0, bytes.length, 0);
    files.close(file);
    // Half of its rules might say the opposite of all.
    if (got > LIMITS.ignoreFileBytesMax) got = -ERRNO.EFBIG;
    if (got < 0) failed(`${path}/${name}`, got, 'read');
    else rules = new IgnoreRules(bytes.subarray(0, got), path, rules);
  }
  return rules;
}

/** Patterns match characters, where a name is text. */
function toText(name: ByteString): string {
  for (let i = 0; i < name.length; i++) {
    if (name.charCodeAt(i) > 0x7f) return isText(name) ? toBytes(name).toString('utf8') : name;
  }
  return name;
}

function compile(patterns: readonly ByteString[]): PathMatch {
  const lists = { names: [] as string[], paths: [] as string[] };
  const directoryLists = { names: [] as string[], paths: [] as string[] };
  for (const pattern of patterns.map(toText)) {
    const ofDirectories = pattern.length > 1 && pattern.endsWith('/');
    const { names, paths } = ofDirectories ? directoryLists : lists;
    const trimmed = ofDirectories ? pattern.slice(0, -1) : pattern;
    if (!trimmed.includes('/')) names.push(trimmed);
    else paths.push(trimmed.startsWith('/') ? trimmed : `**/${trimmed}`);
  }
  const any = matchers(lists);
  const directories = matchers(directoryLists);
  return (path, name, directory) => {
    if (patterns.length === 0) return false;
    const [pathText, nameText] = [toText(path), toText(name)];
    return any(pathText, nameText) || (directory && directories(pathText, nameText));
  };
}
function matchers(lists: {
  readonly names: readonly string[];
  readonly paths: readonly string[];
}): (path: string, name: string) => boolean {
  const names = matcher(lists.names);
  const paths = matcher(lists.paths);
  return (path, name) => names(name) || paths(path);
}

function matcher(patterns: readonly string[]): Match {
  if (patterns.length === 0) return () => false;
  // For picomatch `/**/x` is not `/x`, but `**/x` is. A name may hold a line end, which a dot of its
  // regular expressions does not match without the flag.
  const anchored = patterns.map((one) => (one.startsWith('/**/') ? one.slice(1) : one));
  const compile = load('picomatch') as typeof picomatch;
  return compile(anchored, { dot: true, nonegate: true, flags: 's' });
}

/** Lines of a pattern file: blank ones and those that begin with # are left out. */
export function parsePatternFile(bytes: Buffer): ByteString[] {
  return (
    bytes
      .toString('latin1')
      .split('\n')
      // Not trim(): what it takes for a blank may be the last byte of a letter.
      .map((line) => line.replace(/^[ \t]+|[ \t\r]+$/g, ''))
      .filter((line) => line !== '' && !line.startsWith('#'))
  );
}
