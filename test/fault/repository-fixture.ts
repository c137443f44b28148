/**
 * Small repositories for tests of damage: made in this process, on memory where the machine has some.
 */
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { must } from '../../src/base/assert.ts';
import { openClock, openRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import type { Archive } from '../../src/mover/archives.ts';
import { backup } from '../../src/mover/backup.ts';
import { type CheckResult, check } from '../../src/mover/check.ts';
import { type RebuildResult, rebuild } from '../../src/mover/rebuild.ts';
import { createRepository, openRepository, type Repository } from '../../src/mover/repository.ts';
import { restore } from '../../src/mover/restore.ts';

const around = { clock: openClock(), random: openRandom() };

/** A directory that is removed by `drop`. */
export class Scratch {
  readonly path: string;
  constructor() {
    this.path = mkdtempSync(
      join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'penstock-fault-'),
    );
  }
  at(...parts: string[]): string {
    return join(this.path, ...parts);
  }
  copy(from: string, to: string): string {
    rmSync(this.at(to), { recursive: true, force: true });
    cpSync(this.at(from), this.at(to), { recursive: true, preserveTimestamps: true });
    return this.at(to);
  }
  drop(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export const PASSPHRASE = 'correct horse';

export function make(path: string, encrypted: boolean): Promise<Repository> {
  return createRepository(
    openDirectoryStore(path, true),
    encrypted ? Buffer.from(PASSPHRASE) : undefined,
    around,
  );
}
export function open(path: string): Promise<Repository> {
  return openRepository(
    openDirectoryStore(path, false),
    async () => Buffer.from(PASSPHRASE),
    around,
  );
}

/** Makes an archive of a directory. */
export async function backUp(
  repository: Repository,
  path: string,
  name = 'test',
): Promise<Archive> {
  const { archive } = await backup(repository, {
    paths: [path],
    name,
    host: 'host',
    user: 'user',
    writer: 'penstock test',
    selection: { exclude: [], include: [], ignoreFiles: [], oneFileSystem: false },
    full: false,
    dryRun: false,
    estimates: false,
    threads: 1,
    level: 3,
    checkpointMs: 600_000,
    signal: new AbortController().signal,
    onProblem: ({ error }) => {
      throw new Error(`backing up: ${error.message}`);
    },
    onProgress: () => undefined,
  });
  return must(archive, 'an archive was made');
}

/** Restores a whole archive; returns the messages of what could not be. */
export async function restoreAll(
  repository: Repository,
  archive: Archive,
  target: string,
): Promise<string[]> {
  const problems: string[] = [];
  await restore(repository, {
    archive,
    paths: [],
    target,
    overwrite: 'never',
    dryRun: false,
    owners: false,
    threads: 1,
    signal: new AbortController().signal,
    onProblem: (path, error) => problems.push(`${path}: ${error.message}`),
    onProgress: () => undefined,
  });
  return problems;
}

export function checkAll(repository: Repository, readData = true): Promise<CheckResult> {
  return check(repository, {
    readData,
    threads: 1,
    signal: new AbortController().signal,
    onProgress: () => undefined,
  });
}
export function rebuildAll(repository: Repository): Promise<RebuildResult> {
  return rebuild(repository, {
    threads: 1,
    signal: new AbortController().signal,
    onProgress: () => undefined,
  });
}

/** All that a finding says, in one text. */
export function findings(result: CheckResult): string {
  return result.damages
    .map(({ what, id, message, paths }) => `${what} ${id}: ${message} [${paths.join(' ')}]`)
    .join('\n');
}

/** A tree of some files of several kinds. */
export function makeTree(path: string, options: { readonly large?: boolean } = {}): void {
  mkdirSync(join(path, 'a/b'), { recursive: true });
  writeFileSync(join(path, 'one'), 'the first file\n'.repeat(20));
  writeFileSync(join(path, 'a/two'), randomBytes(300));
  writeFileSync(join(path, 'a/b/three'), 'three');
  writeFileSync(join(path, 'a/empty'), '');
  symlinkSync('../one', join(path, 'a/link'));
  if (options.large === true) {
    writeFileSync(join(path, 'a/noise'), randomBytes(9_000_000));
    writeFileSync(
      join(path, 'b-text'),
      Array.from({ length: 60_000 }, (_, i) => `line ${i} of a long text\n`).join(''),
    );
  }
}

/** Contents of all files below a directory, by path. */
export function contentsOf(root: string): Map<string, string> {
  const contents = new Map<string, string>();
  for (const path of filesOf(root)) contents.set(path, readFileSync(join(root, path), 'latin1'));
  return contents;
}

/** Paths of all files below a directory, in order. */
export function filesOf(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

export const sizeOf = (path: string): number => statSync(path).size;
