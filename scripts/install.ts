/**
 * Installs the package of this tree into a folder, as users get it: built, packed by npm, unpacked below
 * node_modules. For the test of the package and for the bench.
 *
 * Contract: nothing is written beside that folder. The packages that it depends on are links to this tree's.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

const ROOT = dirname(import.meta.dirname);

function run(program: string, args: readonly string[], cwd: string): void {
  const done = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (done.status === 0) return;
  const said = done.error?.message ?? done.stdout + done.stderr;
  throw new Error(`${program} ${args.join(' ')}: ${said}`);
}

/** Installs it in `folder`/node_modules; returns the folder of the package. */
export function installPackage(folder: string): string {
  const text = readFileSync(join(ROOT, 'package.json'), 'utf8');
  const { files, dependencies } = JSON.parse(text) as {
    readonly files: readonly string[];
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const staged = join(folder, 'staged');
  mkdirSync(staged, { recursive: true });
  for (const name of [...files, 'package.json', 'README.md', 'LICENSE']) {
    if (name !== 'dist') cpSync(join(ROOT, name), join(staged, name), { recursive: true });
  }
  run(process.execPath, [join(ROOT, 'scripts/build.ts'), join(staged, 'dist')], ROOT);
  run('npm', ['pack', '--ignore-scripts', '--loglevel=error'], staged);
  const installed = join(folder, 'node_modules', 'penstock');
  mkdirSync(installed, { recursive: true });
  const packed = `penstock-${(JSON.parse(text) as { version: string }).version}.tgz`;
  run('tar', ['-xzf', join(staged, packed), '--strip-components=1', '-C', installed], staged);
  rmSync(staged, { recursive: true });
  for (const name of Object.keys(dependencies)) {
    const place = join(folder, 'node_modules', name);
    mkdirSync(dirname(place), { recursive: true });
    if (!existsSync(place)) symlinkSync(join(ROOT, 'node_modules', name), place);
  }
  return installed;
}
