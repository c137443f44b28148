/**
 * A repository on which the flows are run in this process: backup, restore and check as the commands
 * do them, without the start of a program each time.
 *
 * Contract: the repository lies in a folder of its own and is not encrypted (its key stands in its
 * record, so that nothing is derived). Problems and refusals are returned, not printed.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type ByteString, fromText } from '../src/base/bytes.ts';
import { type ErrorCode, fromErrorRecord } from '../src/base/errors.ts';
import type { ObjectStore } from '../src/format/object-store.ts';
import { type Clock, openClock, openRandom } from '../src/host/mod.ts';
import { openDirectoryStore } from '../src/media/directory-store.ts';
import { type Archive, listArchives, resolveArchive } from '../src/mover/archives.ts';
import { type BackupRequest, type BackupResult, backup } from '../src/mover/backup.ts';
import { type CheckResult, check } from '../src/mover/check.ts';
import { createRepository, openRepository, type Repository } from '../src/mover/repository.ts';
import { type RestoreRequest, type RestoreResult, restore } from '../src/mover/restore.ts';

export interface BenchOptions {
  readonly clock?: Clock;
  /** Called when an archive, also a partial one, has come to stand in the repository. */
  readonly onArchive?: () => void;
}

/** A clock that goes before the system's (or behind it), as files are to look old (or young). */
export function clockAhead(byMs: number): Clock {
  const clock = openClock();
  return { ...clock, nowMs: () => clock.nowMs() + byMs };
}

/** What was told of one item. */
export interface Told {
  readonly path: ByteString;
  readonly code: ErrorCode;
  readonly message: string;
}
type WithTold<T> = T & { readonly told: readonly Told[] };

const AROUND = { clock: openClock(), random: openRandom() };
const SELECTION = { exclude: [], include: [], ignoreFiles: [], oneFileSystem: false };

function tellOfArchives(store: ObjectStore, onArchive: () => void): void {
  const { publish } = store;
  store.publish = async (from, to, name) => {
    const result = await publish.call(store, from, to, name);
    if (to === 'archives') onArchive();
    return result;
  };
}

export class Bench {
  readonly path: string;
  readonly repository: Repository;

  constructor(path: string, repository: Repository) {
    this.path = path;
    this.repository = repository;
  }

  /** Makes a repository in a new folder. */
  static async make(scratch: string, name: string, options: BenchOptions = {}): Promise<Bench> {
    const { clock = AROUND.clock, onArchive } = options;
    const path = join(scratch, name);
    const store = openDirectoryStore(fromText(path), true);
    if (onArchive !== undefined) tellOfArchives(store, onArchive);
    return new Bench(path, await createRepository(store, undefined, { ...AROUND, clock }));
  }
  /** Opens one that is there. */
  static async open(path: string): Promise<Bench> {
    const store = openDirectoryStore(fromText(path), false);
    return new Bench(path, await openRepository(store, () => Promise.reject(), AROUND));
  }
  close(): Promise<void> {
    return this.repository.close();
  }

  async backup(
    paths: string | readonly string[],
    options: Partial<BackupRequest> = {},
  ): Promise<WithTold<BackupResult>> {
    const told: Told[] = [];
    const result = await backup(this.repository, {
      paths: [paths].flat().map(fromText),
      name: 'test',
      host: 'host',
      user: 'user',
      writer: 'test',
      selection: SELECTION,
      full: false,
      threads: 2,
      level: 1,
      checkpointMs: 3_600_000,
      estimates: false,
      dryRun: false,
      signal: new AbortController().signal,
      onProblem: ({ path, error }) => {
        const { code, message } = fromErrorRecord(error);
        told.push({ path, code, message });
      },
      onProgress: () => {},
      ...options,
    });
    return { ...result, told };
  }

  /** Restores the latest archive, or another one. */
  async restore(
    target: string,
    options: Partial<RestoreRequest> = {},
  ): Promise<WithTold<RestoreResult>> {
    const told: Told[] = [];
    const archive = options.archive ?? (await this.archive());
    const result = await restore(this.repository, {
      archive,
      paths: [],
      target: fromText(target),
      overwrite: 'never',
      dryRun: false,
      owners: true,
      threads: 2,
      signal: new AbortController().signal,
      onProblem: (path, { code, message }) => told.push({ path, code, message }),
      onProgress: () => {},
      ...options,
    });
    return { ...result, told };
  }

  async archive(text = 'latest'): Promise<Archive> {
    return resolveArchive(await listArchives(this.repository), text);
  }
  async archives(): Promise<readonly Archive[]> {
    const { archives, damaged } = await listArchives(this.repository);
    assert.deepEqual(damaged, []);
    return archives;
  }

  async check(readData = true): Promise<CheckResult> {
    const signal = new AbortController().signal;
    return check(this.repository, { readData, threads: 2, signal, onProgress: () => {} });
  }
  /** Asserts that nothing is damaged. */
  async assertWhole(): Promise<void> {
    const { damages } = await this.check();
    assert.deepEqual(damages, []);
  }
}
