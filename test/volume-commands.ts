/**
 * Trees to be stored on volumes of encrypted repositories (volume-place.ts), and what became of them.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromText } from '../src/base/bytes.ts';
import { succeed } from './commands.ts';
import { assertSameTree, capture } from './tree-compare.ts';
import { noise, prose } from './tree-make.ts';
import { makeEncryptedPlace, type Place, scratch } from './volume-place.ts';

export { scratch };

/** A tree of `count` files of 100 to 200 kB, half of them incompressible. */
export function makeTree(name: string, count: number): string {
  const root = join(scratch, name);
  for (let i = 0; i < count; i++) {
    const folder = join(root, `folder-${i % 5}`);
    mkdirSync(folder, { recursive: true });
    const content = i % 2 === 0 ? noise(150_000, `${name} ${i}`) : prose(120_000, `${name} ${i}`);
    writeFileSync(join(folder, `file-${i}`), content);
  }
  return root;
}

/** A repository with a pool; `more`: settings of the pool. */
export const makePool = (name: string, volumeSize: string, ...more: string[]): Place =>
  makeEncryptedPlace(name, '--volume-size', volumeSize, ...more);

export interface Restored {
  readonly volumes?: {
    readonly bytesRead: number;
    readonly recordsRead: number;
    readonly recordsOfOthers: number;
    readonly recordsSkipped: number;
  };
}

export function assertRestores(repo: string, archive: string, source: string): Restored {
  const target = join(scratch, `restored-${archive.slice(0, 8)}`);
  rmSync(target, { recursive: true, force: true });
  const { summary } = succeed(['restore', archive, '--target', target, '--repo', repo]);
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
  return summary as Restored;
}

/** How many chunks the repository's own storage has. */
export const rootChunks = (repo: string): number =>
  readdirSync(join(repo, 'chunks'), { recursive: true, withFileTypes: true }).filter((one) =>
    one.isFile(),
  ).length;

/** The states of all volumes, by pool and number. */
export const volumeStates = (repo: string): string[] =>
  succeed(['volume', 'list', '--repo', repo])
    .stdout.split('\n')
    .filter((line) => line.includes('"type":"volume"'))
    .map((line) => JSON.parse(line).state);
