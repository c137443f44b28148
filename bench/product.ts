/**
 * The Penstock that is measured: as users install it, built and packed from this tree, or its sources as they
 * run in a clone.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { installPackage } from '../scripts/install.ts';

const ROOT = join(import.meta.dirname, '..');

let folder = ROOT;

/** From now on the package is measured, which is installed in this folder. */
export function measureInstalled(place: string): void {
  folder = installPackage(place);
}

/** The command line. */
export function launcherFile(): string {
  return join(folder, 'bin', 'penstock.js');
}

/** The library. */
export function openLibrary(): Promise<typeof import('../src/mod.ts')> {
  const door = folder === ROOT ? 'src/mod.ts' : 'dist/mod.js';
  return import(pathToFileURL(join(folder, door)).href);
}

export function describeProduct(): string {
  return folder === ROOT ? 'penstock from its sources' : 'penstock as it is installed';
}
