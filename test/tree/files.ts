/**
 * The TypeScript and JavaScript files of the tree, each with what the test of the tree asks of it.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { importedNames, readSource, type SourceText } from './source-text.ts';

export const ROOT = dirname(dirname(import.meta.dirname));

export interface TreeFile extends SourceText {
  /** From the root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  /** What it imports: paths from the root, or names of packages. */
  readonly imports: readonly string[];
}

/** Every source file under these folders, in order. */
export function readTree(folders: readonly string[]): TreeFile[] {
  const patterns = folders.map((folder) => `${folder}/**/*.{ts,js}`);
  return globSync(patterns, { cwd: ROOT }).sort().map(readTreeFile);
}

function readTreeFile(path: string): TreeFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const source = readSource(text);
  const imports = importedNames(source).map((name) => fromRoot(path, name));
  return { ...source, path, text, lines: text.split('\n'), imports };
}

function fromRoot(path: string, name: string): string {
  return name.startsWith('.') ? normalize(join(dirname(path), name)) : name;
}

export function isTest({ path }: TreeFile): boolean {
  return path.endsWith('.test.ts');
}

/** `pipe` of `src/pipe/queue.ts`; the file's own name right under src. */
export function layerOf(path: string): string {
  return path.split('/')[1] ?? '';
}

/**
 * Files that a file needs: what it imports, and what it names for `new URL(…, import.meta.url)`,
 * or by `codeFile('pipe/runner')` or `moduleFile('walk')`.
 */
function neededFiles(file: TreeFile): string[] {
  const named = file.literals
    .filter(({ text }) => text.startsWith('./') || text.startsWith('../'))
    .map(({ text }) => fromRoot(file.path, text));
  const modules = file.literals
    .filter(({ at }) => file.code.slice(0, at).endsWith('moduleFile('))
    .map(({ text }) => `src/modules/${text}`);
  const code = file.literals
    .filter(({ at }) => file.code.slice(0, at).endsWith('codeFile('))
    .map(({ text }) => `src/${text}`);
  return [...named, ...modules, ...code]
    .flatMap((path) => [path, `${path}.ts`, `${path}.js`])
    .filter((path) => /\.[tj]s$/.test(path) && existsSync(join(ROOT, path)));
}

/** All files that these need, themselves included. */
export function reachableFrom(entries: readonly string[], files: readonly TreeFile[]): Set<string> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const open = [...entries];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const file = byPath.get(path);
    if (file === undefined || reached.has(path)) continue;
    reached.add(path);
    open.push(...neededFiles(file));
  }
  return reached;
}

export interface LongFunction {
  readonly name: string;
  readonly line: number;
  readonly lengthLines: number;
}

const FUNCTION_START =
  /^( *)(?:export )?(?:default )?(?:(?:static|override|private|async|get|set) )*(?:function\*? ?)?([#\w]+)(?:<.*>)?\(.*\{$|^( *)(?:export )?const (\w+) = .*=> \{$/;

/** Functions and methods from their first line to the brace at the same depth (the formatter's form). */
export function functionsOf(file: TreeFile): LongFunction[] {
  const code = file.code.split('\n');
  const found: LongFunction[] = [];
  for (const [index, line] of code.entries()) {
    const match = FUNCTION_START.exec(line);
    const name = match?.[2] ?? match?.[4];
    if (match === null || name === undefined || /^(if|for|while|switch|catch)$/.test(name))
      continue;
    const indent = match[1] ?? match[3] ?? '';
    const end = code.findIndex((other, at) => at > index && other.startsWith(`${indent}}`));
    if (end !== -1) found.push({ name, line: index + 1, lengthLines: end - index + 1 });
  }
  return found;
}
