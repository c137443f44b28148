/**
 * What tests of volumes by whole commands need: a repository with a pool of tape images, commands on it,
 * and damage.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromText } from '../src/base/bytes.ts';
import {
  type JsonLine,
  penstock,
  type Run,
  type RunOptions,
  scratchFolder,
  succeed,
} from './commands.ts';
import { readTap, type TapObject } from './tap-reader.ts';
import { assertSameTree, capture } from './tree-compare.ts';
import { noise } from './tree-make.ts';

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
  /** Of commands that write to the pool. */
  readonly pool: readonly string[];
  /** How its commands are run. */
  readonly options: RunOptions;
  /** Runs a command on the repository. */
  run(...args: string[]): JsonLine;
  lines(...args: string[]): JsonLine[];
  /** The code of the error with which a command fails. */
  fails(...args: string[]): unknown;
  tap(name: string): string;
}

/** A repository without encryption, which takes less time, and a pool with these settings. */
export function makePlace(name: string, ...pool: readonly string[]): Place {
  return placeOf(name, pool, ['--no-encryption'], { env: { PENSTOCK_PASSPHRASE: undefined } });
}

export function makeEncryptedPlace(name: string, ...pool: readonly string[]): Place {
  return placeOf(name, pool, [], {});
}

/** A further pool of images. */
export function addPool(repo: string, name: string, path: string, ...settings: string[]): void {
  mkdirSync(path, { recursive: true });
  const size = settings.includes('--volume-size') ? [] : ['--volume-size', '64M'];
  const images = ['--kind', 'tape-image', '--path', path, ...size, ...settings];
  succeed(['pool', 'add', name, ...images, '--repo', repo]);
}

function placeOf(
  name: string,
  pool: readonly string[],
  init: readonly string[],
  options: RunOptions,
): Place {
  const repo = join(scratch, `${name}-repo`);
  const tapes = join(scratch, `${name}-tapes`);
  const run = (...args: string[]): Run => succeed([...args, '--repo', repo], options);
  run('init', ...init);
  addPool(repo, 'tapes', tapes, ...pool);
  return {
    ...{ repo, tapes, options, pool: ['--pool', 'tapes', '--repo', repo] },
    run: (...args) => run(...args).summary,
    lines: (...args) => linesOf(run(...args).stdout),
    fails: (...args) => {
      const { status, errors } = penstock([...args, '--repo', repo], options);
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

/** Compares the entries of a log with the objects of an image. */
export function assertLogIsRight(
  objects: readonly TapObject[],
  entries: readonly JsonLine[],
): void {
  const told = new Set<number>();
  for (const entry of entries) {
    if (entry.kind === 'synchronised') continue;
    const at = entry.object as number;
    const count = (entry.kind === 'marks' ? entry.count : entry.records) as number;
    let bytes = 0;
    for (let object = at; object < at + count; object++) {
      told.add(object);
      const found = objects[object];
      if (entry.kind === 'marks') assert.equal(found, 'mark');
      else {
        assert(Buffer.isBuffer(found), `a record at ${object}`);
        // The tag header: magic, ids of chunk and session.
        assert.equal(found.toString('hex', 48, 64), entry.chunk);
        assert.equal(found.toString('hex', 64, 80), entry.stream);
        assert.equal((found.readUInt32LE(12) & 1) === 1, entry.isLast && object === at + count - 1);
        bytes += found.length;
      }
    }
    if (entry.kind === 'run') assert.equal(bytes, entry.bytes);
  }
  for (const [object, one] of objects.entries())
    if (object > 2 && one !== 'mark' && !isOwn(one)) assert(told.has(object), `${object} is told`);
}
