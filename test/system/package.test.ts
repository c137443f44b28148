/**
 * Goal: the package works where it is installed, below node_modules, where Node.js strips no types.
 * Method: dist/ is compiled and laid out as npm would; a program imports the library by its name and
 * the command line backs up and restores.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'penstock package-'));
const installed = join(folder, 'node_modules/penstock');

function run(args: readonly string[]): string {
  const done = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
    env: {
      ...process.env,
      PENSTOCK_REPO: join(folder, 'repository'),
      PENSTOCK_PASSPHRASE: 'a passphrase',
      PENSTOCK_STATE: join(folder, 'state'),
      XDG_CACHE_HOME: join(folder, 'cache'),
    },
  });
  assert.equal(done.status, 0, done.stdout + done.stderr);
  return done.stdout;
}

before(() => {
  mkdirSync(installed, { recursive: true });
  const dist = join(installed, 'dist');
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  const compiled = spawnSync(
    process.execPath,
    [compiler, '-p', 'tsconfig.build.json', '--outDir', dist],
    { cwd: ROOT, encoding: 'utf8' },
  );
  assert.equal(compiled.status, 0, compiled.stdout);
  for (const name of ['bin', 'package.json']) {
    cpSync(join(ROOT, name), join(installed, name), { recursive: true });
  }
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) {
    mkdirSync(join(folder, 'node_modules', name, '..'), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('everything that the code names is in dist, and no test', () => {
  const names = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' });
  for (const name of ['mod.js', 'mod.d.ts', 'cli/main.js', 'pipe/worker.js', 'pipe/runner.js']) {
    assert(names.includes(name), name);
  }
  assert.deepEqual(
    names.filter((name) => /\.test\.|(?<!\.d)\.ts$/.test(name)),
    [],
  );
});

test('the installed command line backs up and restores', () => {
  const penstock = join(installed, 'bin/penstock.js');
  const source = join(folder, 'source');
  mkdirSync(source);
  writeFileSync(join(source, 'note'), 'kept');
  run([penstock, 'init']);
  run([penstock, 'backup', source]);
  run([penstock, 'restore', 'latest', '--target', join(folder, 'restored')]);
  assert.equal(readFileSync(join(folder, 'restored', source, 'note'), 'utf8'), 'kept');
  run([penstock, 'check', '--read-data']);
});

test('the installed library is imported by its name', () => {
  const program = join(folder, 'program.mjs');
  writeFileSync(
    program,
    "import { startPipe, PenstockError } from 'penstock'; console.log(typeof startPipe, PenstockError.name);",
  );
  assert.equal(run([program]), 'function PenstockError\n');
});
