/**
 * Goal: the tree keeps its own rules: layers, lengths, banned calls, contracts, no dead files.
 * Method: reads every source file as text; each test also asserts that it saw what it should.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { missingOptionalPackages } from '../scripts/lock.ts';
import {
  functionsOf,
  isTest,
  layerOf,
  ROOT,
  reachableFrom,
  readTree,
  type TreeFile,
} from './tree/files.ts';
import { lineOf } from './tree/source-text.ts';

/** The house's folders; one imports only from those before it. Some are for later. */
const LAYERS = [
  ['base', 'host', 'options', 'format', 'crypto', 'index', 'pipe', 'modules', 'source', 'scsi'],
  ['media', 'channel', 'catalog', 'mover', 'monitor', 'cli', 'mod.ts'],
].flat();
/** They know nothing of each other; `mover` joins them. */
const STRANGERS = ['modules', 'channel', 'media'];

const FILE_LINES_MAX = 450;
const FILE_LINES_GOOD = 400;
const FUNCTION_LINES_GOOD = 70;

/** Entered from outside: bin/penstock.js, a thread, a program that uses the library. */
const ENTRIES = ['src/cli/main.ts', 'src/mod.ts', 'src/pipe/worker.js'];

interface Ban {
  readonly what: RegExp;
  readonly why: string;
  /** Paths that begin so may. */
  readonly except: readonly string[];
}

const TESTS = ['test/', 'bench/', 'examples/', 'scripts/'];
const BANS: readonly Ban[] = [
  { what: /\bMath\.random\b/g, why: 'randomness comes from host/random.ts or a seed', except: [] },
  {
    what: /\bDate\.now\b|\bnew Date\(\)/g,
    why: 'time comes from a clock that is passed in (host/clock.ts)',
    except: ['src/host/', 'src/cli/', ...TESTS],
  },
  {
    what: /\bprocess\.exit\(/g,
    why: 'set process.exitCode and let everything close',
    except: ['bin/', 'src/cli/', ...TESTS],
  },
  { what: /\bconsole\.\w/g, why: 'only the command line speaks', except: ['src/cli/', ...TESTS] },
  { what: /\bexport \*/g, why: 'a door names what it shows', except: [] },
  {
    what: /\bimport\.meta\.url\)\.pathname/g,
    why: 'not a path if it has a space: fileURLToPath',
    except: [],
  },
];

const files = readTree(['src', 'test', 'bench', 'examples', 'scripts', 'bin']);
const sources = files.filter(({ path }) => path.startsWith('src/'));

function report(context: TestContext, title: string, lines: readonly string[]): void {
  for (const line of lines) context.diagnostic(`${title}: ${line}`);
}

function assertNone(lines: readonly string[], rule: string): void {
  assert.equal(lines.length, 0, `${rule}:\n  ${lines.join('\n  ')}`);
}

test('every folder of src is a layer, and every one that exists was read', () => {
  const folders = readdirSync(join(ROOT, 'src')).sort();
  assert.deepEqual([...new Set(sources.map(({ path }) => layerOf(path)))].sort(), folders);
  assertNone(
    folders.filter((folder) => !LAYERS.includes(folder)),
    'not in the list of layers',
  );
  for (const folder of ['base', 'host', 'format', 'pipe', 'modules', 'media', 'mover', 'cli']) {
    const count = sources.filter(({ path }) => layerOf(path) === folder).length;
    assert(count >= 3, `only ${count} files seen in src/${folder}`);
  }
  assert(sources.length > 100, `only ${sources.length} files seen in src`);
  const imports = sources.flatMap((file) => file.imports).length;
  assert(imports > 3 * sources.length, `only ${imports} imports seen`);
});

test('a folder imports only from the layers before it', () => {
  const wrong: string[] = [];
  for (const file of sources) {
    const own = layerOf(file.path);
    for (const target of file.imports.filter((path) => path.startsWith('src/'))) {
      const other = layerOf(target);
      const strangers = STRANGERS.includes(own) && STRANGERS.includes(other) && own !== other;
      const upward = LAYERS.indexOf(other) > LAYERS.indexOf(own);
      if (strangers || upward) wrong.push(`${file.path} imports ${target}`);
    }
  }
  assertNone(
    wrong,
    `layers are ${LAYERS.join(', ')}; ${STRANGERS.join(', ')} know nothing of each other`,
  );
});

test('src imports nothing outside it but packages, and native ones only in host/native', () => {
  const native = ['koffi', '@napi-rs/blake-hash', '@node-rs/crc32'];
  const isNative = (file: TreeFile): boolean =>
    file.literals.some(({ text }) => native.includes(text));
  assertNone(
    sources.flatMap((file) =>
      file.imports
        .filter((path) => /^(?:test|bench|scripts|bin|examples)\//.test(path) && !isTest(file))
        .map((path) => `${file.path} imports ${path}`),
    ),
    'the product does not need its tests and scripts',
  );
  assert(sources.some((file) => file.path.startsWith('src/host/native/') && isNative(file)));
  assertNone(
    sources
      .filter((file) => isNative(file) && !file.path.startsWith('src/host/native/'))
      .map(({ path }) => path),
    'native packages are loaded in src/host/native only',
  );
});

test('own files are found by name in one place, or the package would not find them', () => {
  const named = (file: TreeFile): boolean =>
    !isTest(file) && /new URL\([^;]*import\.meta\.url/.test(file.code);
  assert.deepEqual(
    sources.filter(named).map(({ path }) => path),
    ['src/base/code-file.ts'],
  );
});

test('files and functions are short enough to have one job', (context) => {
  const length = (file: TreeFile): number => file.lines.length - 1;
  const line = (file: TreeFile): string => `${length(file)} ${file.path}`;
  const long = files.filter((file) => length(file) > FILE_LINES_GOOD);
  report(context, `files over ${FILE_LINES_GOOD} lines`, long.map(line));
  const functions = files.flatMap((file) => functionsOf(file).map((one) => ({ ...one, file })));
  assert(functions.length > 3 * sources.length, `only ${functions.length} functions seen`);
  report(
    context,
    `functions over ${FUNCTION_LINES_GOOD} lines`,
    functions
      .filter(({ lengthLines }) => lengthLines > FUNCTION_LINES_GOOD)
      .map((one) => `${one.lengthLines} ${one.file.path}:${one.line} ${one.name}`),
  );
  assertNone(
    files.filter((file) => length(file) > FILE_LINES_MAX).map(line),
    `over ${FILE_LINES_MAX} lines`,
  );
});

test('nobody calls what makes a run unrepeatable or ends it unasked', () => {
  const found = BANS.flatMap(({ what, why, except }) =>
    files
      .filter(({ path }) => !except.some((start) => path.startsWith(start)))
      .filter(({ path }) => !(path.endsWith('.test.ts') && except.includes('test/')))
      .flatMap((file) =>
        [...file.code.matchAll(what)].map(
          (match) => `${file.path}:${lineOf(file.text, match.index)} ${match[0]}: ${why}`,
        ),
      ),
  );
  assertNone(found, 'banned');
});

test('the bans find what they ban', () => {
  const guilty =
    'Math.random(); Date.now(); process.exit(1); console.log(1); export * from 1; new URL(1, import.meta.url).pathname';
  for (const { what } of BANS) assert.match(guilty, new RegExp(what.source), what.source);
});

test('a file begins with its contract', () => {
  assertNone(
    files.filter(({ text }) => !/^(?:#!.*\n)?\/[*/]/.test(text)).map(({ path }) => path),
    'the first lines say what the file is, what it guarantees, what it must not do',
  );
});

test('no file of src is dead', () => {
  const alive = reachableFrom(ENTRIES, files);
  for (const entry of ENTRIES) assert(alive.has(entry), `${entry} is missing`);
  const tests = files.filter((file) => isTest(file) || file.path.startsWith('bench/'));
  const tested = reachableFrom(
    tests.map(({ path }) => path),
    files,
  );
  const isSupport = (path: string): boolean => /^src\/(host|media)\/fake\//.test(path);
  assertNone(
    sources
      .filter((file) => !isTest(file) && !file.path.endsWith('.d.ts') && !alive.has(file.path))
      .filter(({ path }) => !(isSupport(path) && tested.has(path)))
      .map(({ path }) => path),
    `not reached from ${ENTRIES.join(', ')}`,
  );
});

test('a folder with a door is entered through it (a report)', (context) => {
  const inward = sources.flatMap((file) =>
    file.imports
      .filter((path) => path.startsWith('src/') && layerOf(path) !== layerOf(file.path))
      .filter(
        (path) =>
          !/\/(mod|files-only)\.ts$/.test(path) &&
          existsSync(join(ROOT, 'src', layerOf(path), 'mod.ts')),
      )
      .map((path) => `${file.path} imports ${path}`),
  );
  report(context, 'past a door', inward);
});

test('the lock has every package that npm ci asks for', () => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  const missing = missingOptionalPackages(lock).map(({ name }) => name);
  assertNone(missing, 'missing in package-lock.json; run `npm run lock`');
});
