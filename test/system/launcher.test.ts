/**
 * Goal: the launcher starts what can run, says what is wrong where nothing can, and hides nothing of
 * what its child does. Method: a package folder of its own with a small main file, started by the
 * running Node.js, which is made too old by asking for a newer one, or by another Node.js of the
 * system where that is older.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const SYSTEM_NODE = '/usr/bin/node';

const MAIN = `
const what: string = process.argv[2] ?? '';
if (what === 'status') process.exit(7);
if (what === 'kill') process.kill(process.pid, 'SIGKILL');
if (what === 'warn') {
  process.emitWarning('hidden', 'ExperimentalWarning');
  process.emitWarning('hidden', { type: 'ExperimentalWarning' });
  process.emitWarning('seen', 'DeprecationWarning');
}
if (what === 'wait') {
  const timer = setInterval(() => {}, 1000);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      console.log('got', signal);
      clearInterval(timer);
      process.exitCode = 130;
    });
  }
  console.log('ready');
} else console.log(JSON.stringify([process.env.PENSTOCK_LAUNCHER ?? '', ...process.argv.slice(2)]));
`;

/** A package with the launcher in it; `needs` is the Node.js that it asks for. */
function makePackage(context: TestContext, needs = MANIFEST.engines.node, below = ''): string {
  const top = mkdtempSync(join(tmpdir(), 'penstock launcher-'));
  context.after(() => rmSync(top, { recursive: true, force: true }));
  const folder = join(top, below);
  mkdirSync(join(folder, 'src/cli'), { recursive: true });
  cpSync(join(ROOT, 'bin'), join(folder, 'bin'), { recursive: true });
  writeFileSync(join(folder, 'src/cli/main.ts'), MAIN);
  const manifest = { ...MANIFEST, engines: { node: needs } };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  return folder;
}

/** Puts a Node.js where the launcher looks: the running one, under a shell that calls it `pinned`. */
function pinNode(folder: string): void {
  mkdirSync(join(folder, 'node_modules/node/bin'), { recursive: true });
  symlinkSync(process.execPath, join(folder, 'node_modules/node/bin/node'));
}

interface Outcome {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function launch(folder: string, args: readonly string[], node = process.execPath): Outcome {
  return spawnSync(node, [join(folder, 'bin/penstock.js'), ...args], {
    encoding: 'utf8',
    env: environment(join(folder, 'cache')),
  });
}

/** This process's own, but for where compiled code is kept. */
function environment(caches: string): NodeJS.ProcessEnv {
  const { NODE_COMPILE_CACHE: _, ...own } = process.env;
  return { ...own, XDG_CACHE_HOME: caches };
}

/** An older Node.js than is needed, if this machine has one. */
function olderNode(context: TestContext): string | undefined {
  const version = spawnSync(SYSTEM_NODE, ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const major = Number(/^v(\d+)/.exec(version)?.[1] ?? 99);
  if (major >= 12 && major < 24) return SYSTEM_NODE;
  context.skip(`${SYSTEM_NODE} is ${version.trim() || 'missing'}, not an older Node.js`);
  return undefined;
}

test('a new enough Node.js runs the source at once', (context) => {
  const folder = makePackage(context);
  const { stdout, stderr, status } = launch(folder, ['a b', '--x']);
  assert.deepEqual([JSON.parse(stdout), stderr, status], [['', 'a b', '--x'], '', 0]);
  assert(existsSync(join(folder, 'cache/penstock/compiled')), 'compiled code is kept');
});

test('only experimental warnings are dropped', (context) => {
  const { stderr } = launch(makePackage(context), ['warn']);
  assert.match(stderr, /DeprecationWarning: seen/);
  assert.doesNotMatch(stderr, /hidden/);
});

test('a cache folder that cannot be written does no harm', (context) => {
  const folder = makePackage(context);
  for (const place of ['/proc/none', '/dev/null/none', '/sys']) {
    const run = spawnSync(process.execPath, [join(folder, 'bin/penstock.js')], {
      encoding: 'utf8',
      env: environment(place),
      timeout: 200_000,
    });
    assert.deepEqual([run.status, run.stderr], [0, ''], place);
  }
});

test('what a command has compiled is used by the next one, and by other commands', (context) => {
  const top = mkdtempSync(join(tmpdir(), 'penstock compiled-'));
  context.after(() => rmSync(top, { recursive: true, force: true }));
  const source = join(top, 'source');
  mkdirSync(source);
  writeFileSync(join(source, 'file'), 'some bytes');
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    XDG_CACHE_HOME: join(top, 'cache'),
    XDG_STATE_HOME: join(top, 'state'),
    PENSTOCK_PASSPHRASE: 'compiled',
    NODE_DEBUG_NATIVE: 'COMPILE_CACHE',
  };
  delete environment.NODE_COMPILE_CACHE;
  // Coverage is measured with code that was compiled for it.
  delete environment.NODE_V8_COVERAGE;
  const ofCache = (...args: string[]): string[] => {
    const command = [join(ROOT, 'bin/penstock.js'), ...args, '--repo', join(top, 'repository')];
    const ended = spawnSync(process.execPath, command, {
      encoding: 'utf8',
      env: environment,
      maxBuffer: 2 ** 26,
    });
    assert.equal(ended.status, 0, ended.stderr.slice(-2000));
    return (ended.stdout + ended.stderr)
      .split('\n')
      .filter((line) => line.includes('V8 code cache'));
  };
  ofCache('backup', source);
  ofCache('archives');
  for (const lines of [ofCache('backup', source), ofCache('archives')]) {
    assert.deepEqual(
      lines.filter((line) => line.includes('rejected')),
      [],
    );
    assert.ok(lines.filter((line) => line.includes('accepted')).length > 50, `${lines.length}`);
  }
});

test('--version is answered by any Node.js without loading more', (context) => {
  const folder = makePackage(context, '>=99.0');
  rmSync(join(folder, 'src'), { recursive: true });
  for (const word of ['--version', '-V']) {
    const { stdout, status } = launch(folder, [word]);
    assert.deepEqual([stdout, status], [`penstock ${MANIFEST.version}\n`, 0]);
  }
});

test('without a Node.js that can, the message says what was found and both ways out', (context) => {
  const folder = makePackage(context, '>=99.5');
  const refusal = launch(folder, ['backup']);
  assert.deepEqual([refusal.status, refusal.stdout], [1, '']);
  assert(refusal.stderr.includes(`${process.versions.node} (${process.execPath}) is too old`));
  assert.match(refusal.stderr, /99\.5 or newer is needed/);
  assert.match(refusal.stderr, /1\. .*npm install node@99.*2\. install Node\.js 99\.5/s);

  writeFileSync(join(folder, 'package-lock.json'), '{}');
  assert.match(launch(folder, []).stderr, /1\. run in .*: npm ci/);

  mkdirSync(join(folder, 'node_modules/node'), { recursive: true });
  assert.match(launch(folder, []).stderr, /install script did not run.*npm rebuild node/s);

  pinNode(folder);
  assert.match(launch(folder, []).stderr, /node_modules\/node\/bin\/node is too old as well/);
});

test('an older Node.js starts the pinned one, of a parent folder too', (context) => {
  const older = olderNode(context);
  if (older === undefined) return;
  for (const below of ['', 'node_modules/penstock']) {
    const folder = makePackage(context, MANIFEST.engines.node, below);
    if (below !== '') {
      mkdirSync(join(folder, 'dist'));
      writeFileSync(
        join(folder, 'dist/cli-main.js'),
        "console.log(JSON.stringify(['1', 'compiled']))",
      );
    }
    pinNode(folder.slice(0, folder.length - below.length));
    const { stdout, stderr, status } = launch(folder, ['a b'], older);
    assert.deepEqual([stderr, status], ['', 0]);
    assert.deepEqual(JSON.parse(stdout), below === '' ? ['1', 'a b'] : ['1', 'compiled']);
  }
});

test("the child's status and signal become the launcher's", (context) => {
  const older = olderNode(context);
  if (older === undefined) return;
  const folder = makePackage(context);
  pinNode(folder);
  assert.equal(launch(folder, ['status'], older).status, 7);
  assert.equal(launch(folder, ['kill'], older).signal, 'SIGKILL');
});

test('a signal to the launcher reaches the child, once', async (context) => {
  const older = olderNode(context);
  if (older === undefined) return;
  const folder = makePackage(context);
  pinNode(folder);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const child: ChildProcess = spawn(older, [join(folder, 'bin/penstock.js'), 'wait'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const text = collect(child);
    while (!text().includes('ready')) await once(child.stdout ?? child, 'data');
    child.kill(signal);
    const [status]: unknown[] = await once(child, 'close');
    assert.deepEqual([status, text()], [130, `ready\ngot ${signal}\n`]);
  }
});

function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (piece: Buffer) => {
      text += piece.toString();
    });
  }
  return () => text;
}

test('a pinned Node.js that cannot start is told by name', (context) => {
  const older = olderNode(context);
  if (older === undefined) return;
  const folder = makePackage(context);
  mkdirSync(join(folder, 'node_modules/node/bin'), { recursive: true });
  const broken = join(folder, 'node_modules/node/bin/node');
  writeFileSync(broken, 'not a program');
  chmodSync(broken, 0o644);
  const { status, stderr } = launch(folder, ['x'], older);
  assert.equal(status, 1);
  assert(stderr.includes(`cannot start ${broken}`), stderr);
});
