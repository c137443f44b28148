/**
 * Pools of small tape images, and trees to be stored there, for tests of whole commands.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromText } from '../src/base/bytes.ts';
import { scratchFolder, succeed } from './commands.ts';
import { assertSameTree, capture } from './tree-compare.ts';
import { noise, prose } from './tree-make.ts';

export const scratch: string = scratchFolder();

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
export function makePool(
  name: string,
  volumeSize: string,
  ...more: string[]
): { repo: string; tapes: string } {
  const repo = join(scratch, `${name}-repo`);
  const tapes = join(scratch, `${name}-tapes`);
  mkdirSync(tapes);
  succeed(['init', '--repo', repo]);
  const settings = ['--kind', 'tape-image', '--path', tapes, '--volume-size', volumeSize];
  succeed(['pool', 'add', 'tapes', ...settings, ...more, '--repo', repo]);
  return { repo, tapes };
}

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
