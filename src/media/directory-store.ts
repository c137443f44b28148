/**
 * A repository in a directory of a file system.
 *
 *   DIR/repository  keys/ archives/ pending/ index/ maps/ leases/ condemned/ deleting/ verdicts/
 *                         one file an object
 *   DIR/chunks/xx/<id>      chunks, spread over 256 directories by the first two digits of the id
 *   DIR/writing/            what is being written; linked to its name once it is whole and synced
 *
 * A new object is written under writing/, synced, linked (which never replaces) and its directory
 * synced: a reader sees all of it or nothing, also after a power loss. Times are those of the file
 * system, which for a network file system is the server's clock.
 */

import { type ByteString, toDisplay } from '../base/bytes.ts';
import { codeFile } from '../base/code-file.ts';
import { PenstockError } from '../base/errors.ts';
import type { ObjectKind, ObjectStore, StoredObject } from '../format/object-store.ts';
import { OBJECT_KINDS } from '../format/object-store.ts';
import {
  CWD,
  type DirectoryListing,
  errnoName,
  FileStatus,
  type Files,
  KIND,
  newListing,
  openFiles,
  openRandom,
} from '../host/mod.ts';
import { readError, storeError } from './directory-errors.ts';
import { findForeign } from './directory-foreign.ts';
import { ObjectUpload } from './directory-uploads.ts';

const WRITING = 'writing';
/** Chunk names are 32 hex digits; the store never makes a path of anything else. */
export const SAFE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$/;

/** Opens the directory of a repository; with `create`, makes it. REPO_MISSING, REPO_IO.
 * `url`: what it is called in messages. */
export function openDirectoryStore(
  path: ByteString,
  create: boolean,
  files: Files = openFiles(),
  url = toDisplay(path),
): DirectoryStore {
  if (create) makeDirectories(path);
  const root = files.openDirectoryFollow(CWD, path);
  if (root < 0) {
    if (errnoName(-root) === 'ENOENT')
      throw new PenstockError('REPO_MISSING', `there is no repository at ${url}`);
    throw storeError(root, 'open', url);
  }
  return new DirectoryStore(path, root, files, url);
}

/** Makes a directory, and those above it that are missing. REPO_IO, REPO_FULL, REPO_READ_ONLY. */
export function makeDirectories(path: ByteString): void {
  const files = openFiles();
  let at = path.startsWith('/') ? 1 : 0;
  while (at <= path.length) {
    const slash = path.indexOf('/', at);
    const end = slash < 0 ? path.length : slash;
    if (end > at) {
      const made = files.makeDirectory(CWD, path.slice(0, end), 0o700);
      if (made < 0 && errnoName(-made) !== 'EEXIST')
        throw storeError(made, 'create', toDisplay(path));
    }
    at = end + 1;
  }
}

export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly #files: Files;
  readonly #root: number;
  readonly #status = new FileStatus();
  readonly #directories = new Map<string, number>();

  readonly #path: ByteString;

  constructor(path: ByteString, root: number, files: Files, url: string) {
    this.url = url;
    this.#path = path;
    this.#root = root;
    this.#files = files;
  }
  get chunkMedia(): { module: string; options: unknown } {
    return {
      module: codeFile('media/directory-chunks').href,
      options: { path: this.#path },
    };
  }

  async prepare(): Promise<void> {
    for (const kind of [...OBJECT_KINDS, WRITING]) {
      if (kind === 'repository') continue;
      const made = this.#files.makeDirectory(this.#root, kind, 0o700);
      if (made < 0 && errnoName(-made) !== 'EEXIST')
        throw storeError(made, 'create', `${this.url}/${kind}`);
    }
    this.#sync(this.#root, '');
  }
  #sync(directory: number, what: string): void {
    const synced = this.#files.sync(directory);
    if (synced < 0) throw storeError(synced, 'sync', `${this.url}/${what}`);
  }

  async list(kind: ObjectKind): Promise<StoredObject[]> {
    if (kind === 'repository') return this.#listOne();
    const found: StoredObject[] = [];
    const listing = newListing();
    // A folder that is gone is no empty folder: to a prune its objects would look deleted.
    const directory = this.#directory(kind, false);
    this.#list(directory, kind, listing);
    if (kind !== 'chunks') {
      this.#collect(directory, listing, found);
      return found;
    }
    const inner = newListing();
    for (const name of listing.names) {
      if (!/^[0-9a-f]{2}$/.test(name)) continue;
      const fd = this.#files.openDirectory(directory, name);
      if (fd < 0) {
        // Removed meanwhile, or no folder at all: then it is named as foreign.
        if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoName(-fd))) continue;
        throw storeError(fd, 'list', `${this.url}/chunks/${name}`);
      }
      try {
        this.#list(fd, `chunks/${name}`, inner);
        const before = found.length;
        this.#collect(fd, inner, found);
        // One that lies in the folder of others cannot be opened by its id.
        for (let i = found.length - 1; i >= before; i--)
          if (found[i]?.name.startsWith(name) === false) found.splice(i, 1);
      } finally {
        this.#files.close(fd);
      }
    }
    return found;
  }
  #listOne(): StoredObject[] {
    const result = this.#files.status(this.#root, 'repository', this.#status);
    if (result < 0) {
      if (errnoName(-result) === 'ENOENT') return [];
      // Not to be taken for a place in which there is no repository.
      throw readError(result, 'look at', `${this.url}/repository`);
    }
    return [{ name: 'repository', bytes: this.#status.size, modifiedMs: mtimeMs(this.#status) }];
  }
  #list(fd: number, what: string, listing: DirectoryListing): void {
    const result = this.#files.list(fd, listing);
    if (result < 0) throw storeError(result, 'list', `${this.url}/${what}`);
  }
  #collect(fd: number, listing: DirectoryListing, into: StoredObject[]): void {
    for (const name of listing.names) {
      if (!SAFE_NAME.test(name)) continue;
      const result = this.#files.status(fd, name, this.#status);
      if (result < 0) {
        // An object that another process removes meanwhile is simply not listed.
        if (errnoName(-result) === 'ENOENT') continue;
        throw storeError(result, 'look at', `${this.url}/…/${name}`);
      }
      if (this.#status.kind !== KIND.file) continue;
      into.push({ name, bytes: this.#status.size, modifiedMs: mtimeMs(this.#status) });
    }
  }

  async read(kind: ObjectKind, name: string, bytesMax: number): Promise<Buffer> {
    const fd = await this.openFile(kind, name);
    try {
      const looked = this.#files.statusOf(fd, this.#status);
      if (looked < 0) throw storeError(looked, 'look at', `${this.url}/${kind}/${name}`);
      const size = this.#status.size;
      if (size > bytesMax) {
        throw new PenstockError(
          'LIMIT',
          `${kind}/${name} has ${size} bytes, more than ${bytesMax}`,
          { subject: name },
        );
      }
      const bytes = Buffer.alloc(size);
      const got = this.#files.read(fd, bytes, 0, size, 0);
      if (got < 0) throw storeError(got, 'read', `${this.url}/${kind}/${name}`);
      return got === size ? bytes : bytes.subarray(0, got);
    } finally {
      this.#files.close(fd);
    }
  }

  async openFile(kind: ObjectKind, name: string): Promise<number> {
    const [directory, file] = this.#place(kind, name);
    const fd = directory < 0 ? directory : this.#files.openRead(directory, file);
    if (fd >= 0) return fd;
    throw readError(fd, 'open', `${this.url}/${kind}/${name}`);
  }

  async put(kind: ObjectKind, name: string, bytes: Uint8Array): Promise<boolean> {
    const upload = this.upload(kind, name);
    try {
      upload.write(bytes, 0, bytes.length);
      return upload.commit();
    } finally {
      upload.close();
    }
  }

  /** A new object that is written piece by piece. */
  upload(kind: ObjectKind, name: string): ObjectUpload {
    const [directory, file] = this.#place(kind, name);
    return new ObjectUpload(this.#files, {
      writing: this.#directory(WRITING, false),
      temporary: `${name}.${openRandom().bytes(6).toString('hex')}`,
      directory,
      name: file,
      subject: `${this.url}/${kind}/${name}`,
    });
  }

  async remove(kind: ObjectKind, name: string): Promise<boolean> {
    const [directory, file] = this.#place(kind, name);
    const removed = directory < 0 ? directory : this.#files.remove(directory, file);
    if (removed >= 0) {
      this.#sync(directory, kind);
      return true;
    }
    if (errnoName(-removed) === 'ENOENT') return false;
    throw storeError(removed, 'remove', `${this.url}/${kind}/${name}`);
  }

  async publish(from: ObjectKind, to: ObjectKind, name: string): Promise<boolean> {
    const [source, file] = this.#place(from, name);
    const [target] = this.#place(to, name);
    const linked = this.#files.link(source, file, target, file);
    if (linked >= 0 || errnoName(-linked) === 'EEXIST') {
      this.#sync(target, to);
      return true;
    }
    if (errnoName(-linked) === 'ENOENT') return false;
    throw storeError(linked, 'publish', `${this.url}/${to}/${name}`);
  }

  async touch(kind: ObjectKind, name: string): Promise<boolean> {
    const [directory, file] = this.#place(kind, name);
    const touched = this.#files.touch(directory, file);
    if (touched >= 0) return true;
    if (errnoName(-touched) === 'ENOENT') return false;
    throw storeError(touched, 'touch', `${this.url}/${kind}/${name}`);
  }

  /** The clock of the file system: the time that a file gets when it is touched. */
  async nowMs(): Promise<number> {
    const writing = this.#directory(WRITING, false);
    const name = `clock.${openRandom().bytes(6).toString('hex')}`;
    const fd = this.#files.createExclusive(writing, name, 0o600);
    if (fd < 0) throw storeError(fd, 'create', `${this.url}/writing/${name}`);
    const looked = this.#files.statusOf(fd, this.#status);
    this.#files.close(fd);
    this.#files.remove(writing, name);
    if (looked < 0) throw storeError(looked, 'look at', `${this.url}/writing/${name}`);
    return mtimeMs(this.#status);
  }

  async sweep(olderThanMs: number): Promise<number> {
    const writing = this.#directory(WRITING, true);
    if (writing < 0) return 0;
    const listing = newListing();
    this.#list(writing, WRITING, listing);
    const now = await this.nowMs();
    let removed = 0;
    for (const name of listing.names) {
      if (this.#files.status(writing, name, this.#status) < 0) continue;
      if (now - mtimeMs(this.#status) < olderThanMs) continue;
      if (this.#files.remove(writing, name) >= 0) removed++;
    }
    return removed;
  }

  /** Bytes of what is being written, or was left by writers that died. */
  bytesWriting(): number {
    const writing = this.#directory(WRITING, true);
    if (writing < 0) return 0;
    const listing = newListing();
    this.#list(writing, WRITING, listing);
    let bytes = 0;
    for (const name of listing.names)
      if (this.#files.status(writing, name, this.#status) >= 0) bytes += this.#status.size;
    return bytes;
  }

  async foreign(): Promise<{ foreign: readonly string[]; missing: readonly string[] }> {
    const kinds = OBJECT_KINDS.filter((kind) => kind !== 'repository');
    return findForeign(this.#files, this.#root, {
      kinds,
      isObjectName: (name) => SAFE_NAME.test(name),
    });
  }

  async close(): Promise<void> {
    for (const fd of this.#directories.values()) this.#files.close(fd);
    this.#directories.clear();
    this.#files.close(this.#root);
  }

  #place(kind: ObjectKind, name: string): [directory: number, file: string] {
    if (!SAFE_NAME.test(name))
      throw new PenstockError('INTERNAL', `not a name of an object: ${name}`);
    if (kind === 'repository') return [this.#root, 'repository'];
    if (kind === 'chunks') return [this.#directory(`chunks/${name.slice(0, 2)}`, true), name];
    return [this.#directory(kind, true), name];
  }
  #directory(kind: string, optional: boolean): number {
    const known = this.#directories.get(kind);
    if (known !== undefined) return known;
    const fd = this.#files.openDirectory(this.#root, kind);
    if (fd < 0) {
      if (optional && errnoName(-fd) === 'ENOENT') return fd;
      throw storeError(fd, 'open', `${this.url}/${kind}`);
    }
    this.#directories.set(kind, fd);
    return fd;
  }
}

function mtimeMs(status: FileStatus): number {
  return status.mtimeSeconds * 1000 + Math.floor(status.mtimeNanos / 1e6);
}
