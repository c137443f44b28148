/**
 * A repository in memory with a source that changes, for the tests of forget and prune.
 *
 * Method: what was backed up is remembered as the digests of all files; an archive is read back blob
 * by blob, or restored, and compared with that. Blocks and chunks are small, so that little data is
 * many of them.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ENTRY } from '../../src/format/entry.ts';
import type { ObjectStore } from '../../src/format/object-store.ts';
import { openClock, openRandom, seededRandom } from '../../src/host/mod.ts';
import { openDirectoryStore } from '../../src/media/directory-store.ts';
import { type Archive, listArchives } from '../../src/mover/archives.ts';
import { type BackupRequest, backup } from '../../src/mover/backup.ts';
import { contentOf, walkManifest } from '../../src/mover/manifest-walk.ts';
import { type PruneRequest, type PruneResult, prune } from '../../src/mover/prune.ts';
import { openArchiveReader } from '../../src/mover/reader.ts';
import { createRepository, openRepository, Repository } from '../../src/mover/repository.ts';
import { restore } from '../../src/mover/restore.ts';

/** Digest of each file by its path, from the root of the file system. */
export type Contents = ReadonlyMap<string, string>;

const BLOCK_BYTES = 256 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const PASSPHRASE = 'a passphrase';

export function temporaryDirectory(): string {
  return mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'penstock-test-'));
}

const surroundings = { clock: openClock(), random: openRandom() };

/** A repository with small blocks and chunks. */
function shrink(repository: Repository, store: ObjectStore = repository.store): Repository {
  const settings = { ...repository.settings, blockBytes: BLOCK_BYTES, chunkBytes: CHUNK_BYTES };
  const { keyring, slot, around } = repository;
  return new Repository(store, settings, keyring, slot, around);
}

/** Opens the repository in a directory; `wrap` may stand between it and its store. */
export async function openSmall(
  directory: string,
  wrap: (store: ObjectStore) => ObjectStore = (store) => store,
): Promise<Repository> {
  const store = openDirectoryStore(directory, false);
  const passphrase = async (): Promise<Buffer> => Buffer.from(PASSPHRASE);
  return shrink(await openRepository(store, passphrase, surroundings), wrap(store));
}

export async function makeSmall(directory: string, encrypted: boolean): Promise<Repository> {
  const passphrase = encrypted ? Buffer.from(PASSPHRASE) : undefined;
  const store = openDirectoryStore(directory, true);
  return shrink(await createRepository(store, passphrase, surroundings));
}

export function backupRequest(source: string, changes: Partial<BackupRequest> = {}): BackupRequest {
  return {
    paths: [source],
    name: 'test',
    host: 'host',
    user: 'user',
    writer: 'test',
    selection: { exclude: [], include: [], ignoreFiles: [], oneFileSystem: false },
    full: false,
    threads: 1,
    level: 3,
    checkpointMs: 60_000,
    estimates: false,
    dryRun: false,
    signal: new AbortController().signal,
    onProblem: ({ path, error }) => assert.fail(`${path}: ${error.message}`),
    onProgress: () => {},
    ...changes,
  };
}

export function pruneNow(
  repository: Repository,
  changes: Partial<PruneRequest> = {},
): Promise<PruneResult> {
  return prune(repository, {
    maxUnusedPercent: 5,
    dryRun: false,
    writer: 'test',
    signal: new AbortController().signal,
    onProblem: (error) => {
      throw error;
    },
    onProgress: () => {},
    ...changes,
  });
}

/** The files of a directory as they are now. */
export function contentsOf(directory: string): Contents {
  const contents = new Map<string, string>();
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    contents.set(path.slice(1), digest(readFileSync(path)));
  }
  return contents;
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The files of an archive, read from the repository. */
export async function readArchiveContents(
  repository: Repository,
  archive: Archive,
): Promise<Contents> {
  const reader = await openArchiveReader(repository);
  try {
    const contents = new Map<string, string>();
    for (const { entry, path } of walkManifest(reader.blobs, archive.root, [])) {
      if (entry.kind !== ENTRY.file) continue;
      const hash = createHash('sha256');
      const pieces = [...contentOf(reader.blobs, entry)];
      for (const { name, length } of pieces) {
        const piece = name === undefined ? Buffer.alloc(length) : reader.blobs.read(name);
        assert.equal(piece.length, length);
        hash.update(piece);
      }
      contents.set(path, hash.digest('hex'));
    }
    return contents;
  } finally {
    await reader.close();
  }
}

/** Restores an archive and looks at the files. */
export async function restoreContents(repository: Repository, archive: Archive): Promise<Contents> {
  const target = temporaryDirectory();
  try {
    const result = await restore(repository, {
      archive,
      paths: [],
      target,
      overwrite: 'never',
      dryRun: false,
      owners: false,
      threads: 1,
      signal: new AbortController().signal,
      onProblem: (path, error) => assert.fail(`${path}: ${error.message}`),
      onProgress: () => {},
    });
    assert.equal(result.problems, 0);
    const found = contentsOf(target);
    return new Map([...found].map(([path, value]) => [path.slice(target.length), value]));
  } finally {
    rmSync(target, { recursive: true });
  }
}

/** Compares as one object, so that a difference is shown by its paths. */
export function assertSame(found: Contents, wanted: Contents): void {
  assert.deepEqual(Object.fromEntries([...found].sort()), Object.fromEntries([...wanted].sort()));
}

/** A source that changes, its repository, and what every archive must hold. */
export class Scene {
  readonly directory: string = temporaryDirectory();
  readonly source: string = join(this.directory, 'source');
  readonly repositoryPath: string = join(this.directory, 'repo');
  readonly wanted: Map<string, Contents> = new Map();
  readonly #random = seededRandom(1);
  #repository: Repository | undefined;

  static async make(encrypted = false): Promise<Scene> {
    const scene = new Scene();
    mkdirSync(scene.source);
    scene.#repository = await makeSmall(scene.repositoryPath, encrypted);
    return scene;
  }
  get repository(): Repository {
    assert.ok(this.#repository !== undefined);
    return this.#repository;
  }
  async close(): Promise<void> {
    await this.#repository?.close();
    rmSync(this.directory, { recursive: true });
  }

  /** Writes files with content that nothing else has. */
  write(names: readonly string[], bytes: number): void {
    for (const name of names) {
      const path = join(this.source, name);
      mkdirSync(join(path, '..'), { recursive: true });
      writeFileSync(path, this.#random.bytes(bytes));
    }
  }
  remove(names: readonly string[]): void {
    for (const name of names) rmSync(join(this.source, name));
  }

  async backup(changes: Partial<BackupRequest> = {}): Promise<Archive> {
    const { archive } = await backup(this.repository, backupRequest(this.source, changes));
    assert.ok(archive !== undefined);
    this.wanted.set(archive.id, contentsOf(this.source));
    return archive;
  }

  /** Every archive that is there is whole and as it was; they are those that are expected. */
  async verify(repository: Repository = this.repository): Promise<void> {
    const { archives, damaged } = await listArchives(repository);
    assert.deepEqual(damaged, []);
    const whole = archives.filter((archive) => !archive.partial);
    assert.deepEqual(whole.map(({ id }) => id).sort(), [...this.wanted.keys()].sort());
    for (const archive of whole) {
      assertSame(
        await readArchiveContents(repository, archive),
        this.wanted.get(archive.id) ?? new Map(),
      );
    }
  }

  /** Copies the repository as it is. */
  copy(name: string): string {
    const path = join(this.directory, name);
    cpSync(this.repositoryPath, path, { recursive: true, preserveTimestamps: true });
    return path;
  }
}

/** Names with a number, from and below. */
export function numbered(prefix: string, from: number, to: number, step = 1): string[] {
  const names: string[] = [];
  for (let i = from; i < to; i += step) names.push(`${prefix}${i}`);
  return names;
}

export function storedChunks(directory: string): Map<string, number> {
  const chunks = new Map<string, number>();
  for (const entry of readdirSync(join(directory, 'chunks'), {
    recursive: true,
    withFileTypes: true,
  })) {
    if (!entry.isFile()) continue;
    chunks.set(entry.name, statSync(join(entry.parentPath, entry.name)).size);
  }
  return chunks;
}

export function storedBytes(directory: string): number {
  let total = 0;
  for (const bytes of storedChunks(directory).values()) total += bytes;
  return total;
}
