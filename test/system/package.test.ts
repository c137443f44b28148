/**
 * Goal: the package works where it is installed, below node_modules, from the few files that it was
 * built to: every kind of thread is found and runs, the library is imported by its name, and errors name
 * what threw them.
 * Method: the tree is built, packed and unpacked as npm does it; its command line does what whole commands
 * do: in one repository, in one that is served, in a pool of tape images, and copies to another machine.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after, before } from 'node:test';
import { installPackage } from '../../scripts/install.ts';
import { noise } from '../tree-make.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock package-'));
const installed = join(folder, 'node_modules/penstock');
const launcher = join(installed, 'bin/penstock.js');
const source = join(folder, 'source');
const state = ['--state', join(folder, 'state')];
const NOISE = noise(3_000_000, 'package');

const environment = {
  ...process.env,
  NODE_OPTIONS: '',
  PENSTOCK_REPO: join(folder, 'repository'),
  PENSTOCK_PASSPHRASE: 'a passphrase',
  XDG_CACHE_HOME: join(folder, 'cache'),
};

function run(args: readonly string[], input = ''): string {
  const done = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
    env: environment,
    input,
  });
  assert.equal(done.status, 0, done.stdout + done.stderr);
  return done.stdout;
}

/** Runs a command; returns its summary. */
function penstock(...args: string[]): Record<string, unknown> {
  const lines = run([launcher, ...args, '--json', ...state])
    .trim()
    .split('\n');
  return JSON.parse(lines.at(-1) ?? '');
}

function assertRestored(target: string): void {
  const restored = join(target, source);
  assert.deepEqual(readdirSync(restored).sort(), ['noise', 'note']);
  assert.equal(readFileSync(join(restored, 'note'), 'utf8'), 'kept');
  assert(readFileSync(join(restored, 'noise')).equals(NOISE));
}

before(() => {
  installPackage(folder);
  mkdirSync(source);
  writeFileSync(join(source, 'note'), 'kept');
  writeFileSync(join(source, 'noise'), NOISE);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('what is packed is built: no sources, no tests, the types of the door', () => {
  const names = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  for (const name of ['dist/mod.js', 'dist/mod.d.ts', 'dist/cli-main.js', 'dist/pipe-worker.js']) {
    assert(names.includes(name), name);
  }
  assert.deepEqual(
    names.filter((name) => /^(src|test)|\.test\.|(?<!\.d)\.ts$/.test(name)),
    [],
  );
});

/** What a built file imports. */
function importsOf(name: string): string[] {
  const text = readFileSync(join(installed, 'dist', name), 'utf8');
  return [...text.matchAll(/^(?:import|\}|export) ?.*?"([^"]+)";$/gm)].map(([, from = '']) => from);
}

test('what each thread of a backup or restore loads is a library or two', () => {
  const [thread, work] = ['./library-thread.js', './library-work.js'];
  const isNode = (name: string): boolean => name.startsWith('node:');
  const others = (name: string): string[] => [
    ...new Set(importsOf(name).filter((from) => !isNode(from))),
  ];
  assert.deepEqual(others('library-thread.js'), []);
  assert.deepEqual(others('library-work.js'), [thread]);
  assert.deepEqual(others('library-command.js').sort(), [thread, work]);
  assert.deepEqual(others('pipe-runner.js'), [thread]);
  assert.deepEqual(others('modules-scan.js'), [thread]);
  for (const name of ['walk', 'collect', 'seal', 'place', 'fetch', 'restore-files', 'verify']) {
    assert.deepEqual(others(`modules-${name}.js`), [work], name);
  }
  assert.deepEqual(others('media-directory-chunks.js'), [work]);
});

test('the installed command line backs up, checks and restores', () => {
  penstock('init');
  assert.equal(penstock('backup', source).filesNew, 2);
  // Files this young are read again, if the machine is quick.
  const { filesNew, bytesNew } = penstock('backup', source);
  assert.equal(filesNew, 0);
  assert(Number(bytesNew) < NOISE.length, `${bytesNew} bytes were stored again`);
  penstock('check', '--read-data');
  const target = join(folder, 'restored');
  penstock('restore', 'latest', '--target', target);
  assertRestored(target);
  for (const [args, word] of [
    [['cat', 'latest', join(source, 'note')], 'kept'],
    [['help'], 'usage: penstock'],
    [['completion', 'bash'], 'penstock'],
  ] as const) {
    assert(run([launcher, ...args, ...(args[0] === 'cat' ? state : [])]).includes(word), word);
  }
  penstock('forget', '--keep-last', '1');
  penstock('prune');
  penstock('catalog', 'rebuild');
  penstock('check');
});

test('it writes to a pool of tape images, and restores from there', () => {
  const tapes = join(folder, 'tapes');
  mkdirSync(tapes);
  penstock('pool', 'add', 'tapes', '--kind', 'tape-image', '--path', tapes, '--volume-size', '64M');
  const { archive } = penstock('backup', source, '--pool', 'tapes', '--name', 'to-tape');
  assert(readdirSync(tapes).some((name) => name.endsWith('.tap')));
  const target = join(folder, 'from tape');
  penstock('restore', String(archive), '--target', target);
  assertRestored(target);
});

/** `penstock serve` of the package; its address. */
async function serve(where: string, ...more: string[]): Promise<[ChildProcess, string]> {
  const args = ['serve', '--listen', '127.0.0.1:0', '--json', '--state', where, ...more];
  const child = spawn(process.execPath, [launcher, ...args], {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const told = JSON.parse(line);
    if (told.type !== 'listening') continue;
    child.stdout.resume();
    return [child, `127.0.0.1:${told.port}`];
  }
  throw new Error('the server has ended at its start');
}

test('it serves: a backup to another machine, a restore from there, and a copy to it', async () => {
  const far = join(folder, 'far');
  mkdirSync(far, { mode: 0o700 });
  const copies = join(folder, 'copies');
  mkdirSync(copies);
  const [child, address] = await serve(far, '--repo', `main=${join(folder, 'served')}`);
  try {
    const grant = ['--repo', 'main', '--access', 'full', '--copy-path', copies];
    const token = run([launcher, 'pair', 'token', ...grant, '--json', '--state', far]);
    const { token: word } = JSON.parse(token.trim().split('\n').at(-1) ?? '');
    penstock('pair', address, '--token', String(word));
    const repo = ['--repo', `penstock://${address}/main`];
    penstock('init', ...repo);
    const { archive } = penstock('backup', source, ...repo);
    penstock('check', '--read-data', ...repo);
    const target = join(folder, 'from afar');
    penstock('restore', String(archive), '--target', target, ...repo);
    assertRestored(target);
    for (const name of ['again', 'again']) {
      penstock('copy', `${source}/`, `${address}:${join(copies, name)}`);
      assert(readFileSync(join(copies, name, 'noise')).equals(NOISE));
    }
    const back = join(folder, 'copied back');
    penstock('copy', `${address}:${join(copies, 'again')}/`, back);
    assert.equal(readFileSync(join(back, 'note'), 'utf8'), 'kept');
  } finally {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }
});

const PROGRAM = `
import { externalCommand, startPipe, PenstockError } from 'penstock';
const run = async (options) => {
  const pipe = await startPipe({
    maxBuffers: 4,
    payloadBytes: 65536,
    stages: [
      { name: 'head', modules: [externalCommand('echo', ['through', 'a', 'pipe'])] },
      { name: 'own', modules: [{ module: new URL('./own.mjs', import.meta.url), options }] },
      { name: 'tail', modules: [externalCommand('tee', [options])] },
    ],
  });
  return pipe.done;
};
await run('passes');
const error = await run('throws').catch((thrown) => thrown);
console.log(JSON.stringify([error instanceof PenstockError, error.code, error.stack]));
`;

/** A user's own module, whose class of errors must be that of the thread that runs it. */
const OWN = `
import { PenstockError } from 'penstock';
export default (options) => ({
  process: function passOrThrow() {
    if (options === 'throws') throw new PenstockError('LIMIT', 'thrown by a module of its own');
  },
});
`;

test('the installed library is imported by its name, and runs commands and own modules', () => {
  writeFileSync(join(folder, 'program.mjs'), PROGRAM);
  writeFileSync(join(folder, 'own.mjs'), OWN);
  const [isOurs, code, stack] = JSON.parse(run([join(folder, 'program.mjs')]));
  assert.deepEqual([isOurs, code], [true, 'LIMIT']);
  assert.match(stack, /thrown by a module of its own/);
  assert.equal(readFileSync(join(folder, 'passes'), 'utf8'), 'through a pipe\n');
});
