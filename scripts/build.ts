/**
 * Builds dist/ of the package: `npm run build`, which packing does too. Another folder may be named.
 *
 * Each file that a thread loads costs it time, so the sources become few files, all in one folder:
 * - libraries, each of all that certain threads or commands need, so that these load one or two files;
 * - a file for each part that is found by its name (base/code-file.ts) or loaded when it is needed
 *   (`import()`), and for the two doors, mod.js and cli-main.js; parts that several of these share.
 *
 * Contract: nothing is twice in it, so that a class is one class whoever loads it. A library is closed: what
 * its files import is in it or in one before it. Names stay, for stacks of errors. Packages stay outside, but for one.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { type BuildOptions, build, type Plugin, stop } from 'esbuild';

const ROOT = dirname(import.meta.dirname);
const SOURCES = join(ROOT, 'src');

/** In order, with what they begin from. A file that waits at its top (`await`) must not be in one. */
const LIBRARIES: readonly (readonly [name: string, parts: readonly string[]])[] = [
  ['library-thread', ['pipe/runner', 'modules/scan', 'cli/key-ahead']],
  [
    'library-work',
    [
      ...['walk', 'collect', 'seal', 'place', 'discard', 'fetch', 'restore-files', 'verify'].map(
        (name) => `modules/${name}`,
      ),
      'media/directory-chunks',
    ],
  ],
  [
    'library-command',
    [
      'cli/start',
      'cli/run',
      'options/command-line',
      'cli/commands/backup',
      'mover/backup',
      'monitor/announce',
    ],
  ],
];

const DOORS = ['mod', 'cli/main'];
/** Plain JavaScript, the same in both. */
const COPIED = ['pipe/worker.js', 'pipe/event-worker.js'];

/** What the bundler says of a source file. */
interface SourceFile {
  readonly exports: readonly string[];
  /** Source files that are loaded with it. */
  readonly imports: readonly string[];
  /** Source files that it loads later. */
  readonly later: readonly string[];
}

type Sources = ReadonlyMap<string, SourceFile>;

const COMMON = {
  format: 'esm',
  platform: 'node',
  target: 'node24.15',
  absWorkingDir: ROOT,
  logLevel: 'error',
} as const satisfies BuildOptions;

/** `modules/walk` of /…/src/modules/walk.ts. */
function partOf(file: string): string {
  return relative(SOURCES, file).replace(/\.ts$/, '');
}

function fileOf(part: string): string {
  return join(SOURCES, `${part}.ts`);
}

/** The name of a part's file, as base/code-file.ts has it. */
function flat(part: string): string {
  return part.replaceAll('/', '-');
}

/** A package whose code is taken in, since it is loaded by every command; its licence goes with it. */
const TAKEN_IN = 'commander';
/** Where what it imports of Node.js is dear to load and not used, or is there anyway. */
const INSTEAD: Readonly<Record<string, string>> = {
  'node:child_process':
    "export default { spawn: (...words) => process.getBuiltinModule('node:child_process').spawn(...words) };",
  'node:process': 'export default globalThis.process;',
};

const isLocal = (path: string): boolean => path.startsWith('.') || path.startsWith('/');

/** Names of what is imported from files, types left out. */
async function readSources(): Promise<Sources> {
  const files = globSync('**/*.ts', { cwd: SOURCES }).filter(
    (name) => !/\.(test|d)\.ts$/.test(name),
  );
  const outside: Plugin = {
    name: 'outside',
    setup: ({ onResolve }) => {
      onResolve({ filter: /./ }, ({ kind, path, resolveDir }) => {
        if (kind === 'entry-point') return undefined;
        return { path: isLocal(path) ? resolve(resolveDir, path) : path, external: true };
      });
    },
  };
  const { metafile } = await build({
    ...COMMON,
    entryPoints: files.map((name) => join(SOURCES, name)),
    bundle: true,
    write: false,
    metafile: true,
    outdir: SOURCES,
    plugins: [outside],
  });
  const found = Object.values(metafile.outputs).map(({ entryPoint = '', exports, imports }) => {
    const ofKind = (kind: string): string[] =>
      imports.filter((one) => one.kind === kind && isLocal(one.path)).map(({ path }) => path);
    const file = { exports, imports: ofKind('import-statement'), later: ofKind('dynamic-import') };
    return [resolve(ROOT, entryPoint), file] as const;
  });
  return new Map(found);
}

/** All source files that are loaded with these parts. */
function closure(sources: Sources, parts: readonly string[]): Set<string> {
  const reached = new Set<string>();
  const open = parts.map(fileOf);
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (reached.has(file)) continue;
    const source = sources.get(file);
    if (source === undefined) throw new Error(`${file} is imported, and is no source file`);
    reached.add(file);
    open.push(...source.imports);
  }
  return reached;
}

/** Those that get a file of their own: they are found by their name, or loaded later. */
function namedParts(sources: Sources): string[] {
  const parts = new Set(DOORS);
  for (const [file, { exports, later }] of sources) {
    for (const one of later) parts.add(partOf(one));
    // The default export is what somebody takes who knows nothing but the file.
    if (exports.includes('default')) parts.add(partOf(file));
    const text = readFileSync(file, 'utf8');
    for (const [, kind, name = ''] of text.matchAll(/\b(code|module)File\('([^']+)'\)/g)) {
      if (!name.endsWith('.js')) parts.add(kind === 'module' ? `modules/${name}` : name);
    }
  }
  return [...parts].sort();
}

/** Which library a source file is in, and the number that tells its exports from those of others. */
type Places = ReadonlyMap<string, { readonly library: string; readonly number: number }>;

function placeFiles(sources: Sources): Places {
  const places = new Map<string, { library: string; number: number }>();
  for (const [library, parts] of LIBRARIES) {
    for (const file of closure(sources, parts)) {
      if (!places.has(file)) places.set(file, { library, number: places.size });
    }
  }
  return places;
}

/** `{ a as a_12, default as default_12 }`, or the other way round. */
function exportList(names: readonly string[], number: number, way: 'into' | 'from'): string {
  const pairs = names.map((name) => [name, `${name}_${number}`]);
  return `{ ${pairs.map(([a, b]) => (way === 'into' ? `${a} as ${b}` : `${b} as ${a}`)).join(', ')} }`;
}

/** Takes that package in. */
const takeIn: Plugin = {
  name: 'package',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /./ }, ({ path, importer }) => {
      if (path === TAKEN_IN) return { path: join(ROOT, 'node_modules', TAKEN_IN, 'index.js') };
      const isOf = dirname(importer).includes(`/node_modules/${TAKEN_IN}`);
      return isOf && path in INSTEAD ? { path, namespace: 'instead' } : undefined;
    });
    onLoad({ filter: /./, namespace: 'instead' }, ({ path }) => ({
      contents: INSTEAD[path] ?? '',
    }));
  },
};

/** A module with the exports of a source file that is in a library. */
function fromLibrary(sources: Sources, places: Places, file: string): string {
  const place = places.get(file);
  const source = sources.get(file);
  if (place === undefined || source === undefined) throw new Error(`${file} is in no library`);
  const list = exportList(source.exports, place.number, 'from');
  return `export ${list} from "./${place.library}.js";\n`;
}

/** Takes what is in libraries (but in the one that is being made) from there, and what is loaded later by its name. */
function takeFromLibraries(sources: Sources, places: Places, own?: string): Plugin {
  return {
    name: 'libraries',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /./ }, ({ kind, path, resolveDir }) => {
        if (path.startsWith('./library-')) return { path, external: true };
        if (!isLocal(path)) return { path, external: true };
        const file = resolve(resolveDir, path);
        if (kind === 'dynamic-import')
          return { path: `./${flat(partOf(file))}.js`, external: true };
        const place = places.get(file);
        return place === undefined || place.library === own
          ? undefined
          : { path: file, namespace: 'library' };
      });
      onLoad({ filter: /./, namespace: 'library' }, ({ path }) => {
        return { contents: fromLibrary(sources, places, path) };
      });
    },
  };
}

async function buildLibrary(
  sources: Sources,
  places: Places,
  library: string,
  folder: string,
): Promise<void> {
  const lines = [...places]
    .filter(([, place]) => place.library === library)
    .map(([file, { number }]) => {
      const { exports } = sources.get(file) ?? { exports: [] };
      const name = JSON.stringify(file);
      return exports.length === 0
        ? `import ${name};`
        : `export ${exportList(exports, number, 'into')} from ${name};`;
    });
  await build({
    ...COMMON,
    stdin: { contents: lines.join('\n'), resolveDir: ROOT, sourcefile: library },
    bundle: true,
    outfile: join(folder, `${library}.js`),
    plugins: [takeIn, takeFromLibraries(sources, places, library)],
  });
}

/** Makes the code in `folder`, which is emptied first. */
async function buildCode(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  const sources = await readSources();
  const places = placeFiles(sources);
  for (const [library] of LIBRARIES) await buildLibrary(sources, places, library, folder);
  const named = namedParts(sources);
  for (const part of named.filter((name) => places.has(fileOf(name)))) {
    const code = fromLibrary(sources, places, fileOf(part));
    writeFileSync(join(folder, `${flat(part)}.js`), code);
  }
  await build({
    ...COMMON,
    entryPoints: named
      .filter((part) => !places.has(fileOf(part)))
      .map((part) => ({ in: fileOf(part), out: flat(part) })),
    bundle: true,
    splitting: true,
    outdir: folder,
    chunkNames: 'part-[hash]',
    plugins: [takeIn, takeFromLibraries(sources, places)],
  });
  for (const name of COPIED) cpSync(join(SOURCES, name), join(folder, flat(name)));
  cpSync(join(ROOT, 'node_modules', TAKEN_IN, 'LICENSE'), join(folder, `${TAKEN_IN}.LICENSE`));
}

/** Checks the types, and writes those of the library's door. */
function buildTypes(folder: string): void {
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  const args = [compiler, '-p', 'tsconfig.build.json', '--outDir', folder];
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

const folder = resolve(process.argv[2] ?? join(ROOT, 'dist'));
await buildCode(folder);
buildTypes(folder);
await stop();
