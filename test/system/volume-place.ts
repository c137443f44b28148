/**
 * What tests of the commands for volumes need: a repository with a pool of tape images, commands on it,
 * and damage.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromText } from '../../src/base/bytes.ts';
import { type JsonLine, penstock, scratchFolder, succeed } from '../commands.ts';
import { readTap, type TapObject } from '../tap-reader.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';

export const scratch: string = scratchFolder();

/** A tree of files that cannot be compressed. */
export function makeTree(name: string, files: number, bytes = 300_000): string {
  const root = join(scratch, name);
  mkdirSync(root);
  for (let i = 0; i < files; i++)
    writeFileSync(join(root, `file-${i}`), noise(bytes, `${name} ${i}`));
  return root;
}

export interface Place {
  readonly repo: string;
  readonly tapes: string;
  /** Runs a command on the repository. */
  run(...args: string[]): JsonLine;
  lines(...args: string[]): JsonLine[];
  /** The code of the error with which a command fails. */
  fails(...args: string[]): unknown;
  tap(name: string): string;
}

export function makePlace(name: string, ...pool: string[]): Place {
  const repo = join(scratch, `${name}-repo`);
  const tapes = join(scratch, `${name}-tapes`);
  mkdirSync(tapes);
  succeed(['init', '--repo', repo]);
  const size = pool.includes('--volume-size') ? [] : ['--volume-size', '64M'];
  const settings = ['--kind', 'tape-image', '--path', tapes, ...size, ...pool];
  succeed(['pool', 'add', 'tapes', ...settings, '--repo', repo]);
  const lines = (...args: string[]): JsonLine[] =>
    linesOf(succeed([...args, '--repo', repo]).stdout);
  return {
    ...{ repo, tapes, lines },
    run: (...args) => succeed([...args, '--repo', repo]).summary,
    fails: (...args) => {
      const { status, errors } = penstock([...args, '--repo', repo]);
      assert.notEqual(status, 0);
      return errors[0]?.code;
    },
    tap: (volume) => join(tapes, `${volume}.tap`),
  };
}

export const linesOf = (stdout: string): JsonLine[] =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JsonLine);

export function backup(place: Place, ...paths: string[]): string[] {
  const { archives, archive } = place.run('backup', '--each', ...paths, '--pool', 'tapes');
  return ((archives as { archive: string }[]) ?? [{ archive }]).map((one) => one.archive);
}

export function assertRestores(place: Place, archive: string, source: string): void {
  const target = mkdtempSync(join(scratch, 'restored-'));
  place.run('restore', archive, '--target', target);
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
}

export const volumeNames = (place: Place): unknown[] =>
  place
    .lines('volume', 'list')
    .filter(({ type }) => type === 'volume')
    .map((one) => one.name);

/** Where the data of an object begins in its file. */
export function offsetOf(path: string, object: number): number {
  return readTap(path)
    .slice(0, object)
    .reduce((sum, one) => sum + (one === 'mark' ? 4 : 8 + one.length + (one.length % 2)), 4);
}

export function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
}

/** Whether it is a record of Penstock that belongs to no chunk. */
export const isOwn = (one: TapObject): one is Buffer =>
  one !== 'mark' && one.toString('latin1', 0, 8) === 'PENSTOCK';
