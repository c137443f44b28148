/**
 * Small private files in the folder in which a machine keeps its own things.
 *
 * Contract: a file is there whole or not at all: written under a temporary name, synced, then given
 * its name, and the folder synced. Files have mode 0600, folders 0700. Nothing here needs a lock:
 * `create` and `remove` tell each of several callers, also in other processes, whether it was the
 * one. Names are single components or `folder/name`. What is read is bounded.
 */
import type { ByteString } from '../../base/bytes.ts';
import { PenstockError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import {
  CWD,
  checked,
  errnoName,
  type Files,
  ioError,
  newListing,
  openFiles,
  openRandom,
} from '../../host/mod.ts';

const TEMPORARY = '.new-';
const MODE_FILE = 0o600;
const MODE_FOLDER = 0o700;

export class StateFolder {
  readonly path: ByteString;
  readonly #files: Files;
  /** Room to read one file; files are read for each request of a client. */
  readonly #room = Buffer.alloc(LIMITS.stateFileBytesMax + 1);

  /** @param path an existing folder */
  constructor(path: ByteString, files: Files = openFiles()) {
    this.path = path;
    this.#files = files;
  }

  /** All bytes of a file; undefined where there is none. HOST_IO, LIMIT. */
  read(name: string): Buffer | undefined {
    const files = this.#files;
    const path = this.#pathOf(name);
    const fd = files.openRead(CWD, path);
    if (fd < 0) {
      if (errnoName(fd) === 'ENOENT') return undefined;
      throw ioError(fd, 'open', path);
    }
    try {
      const room = this.#room;
      const count = checked(files.read(fd, room, 0, room.length, 0), 'read', path);
      if (count > LIMITS.stateFileBytesMax) {
        throw new PenstockError('LIMIT', `${path} is longer than such a file can be`, {
          subject: path,
        });
      }
      return Buffer.from(room.subarray(0, count));
    } finally {
      files.close(fd);
    }
  }

  /** Creates a file durably; false when the name is taken. HOST_IO, REPO_FULL. */
  create(name: string, bytes: Uint8Array): boolean {
    const path = this.#pathOf(name);
    const temporary = this.#writeTemporary(name, bytes);
    const linked = this.#files.link(CWD, temporary, CWD, path);
    this.#files.remove(CWD, temporary);
    if (linked < 0 && errnoName(linked) === 'EEXIST') return false;
    checked(linked, 'make', path);
    this.#syncFolder(name);
    return true;
  }

  /** Creates or replaces a file durably. HOST_IO, REPO_FULL. */
  replace(name: string, bytes: Uint8Array): void {
    const path = this.#pathOf(name);
    const temporary = this.#writeTemporary(name, bytes);
    const renamed = this.#files.rename(CWD, temporary, CWD, path);
    if (renamed < 0) this.#files.remove(CWD, temporary);
    checked(renamed, 'replace', path);
    this.#syncFolder(name);
  }

  /** Removes a file durably; true for exactly one of several callers. HOST_IO. */
  remove(name: string): boolean {
    const path = this.#pathOf(name);
    const removed = this.#files.remove(CWD, path);
    if (removed < 0 && errnoName(removed) === 'ENOENT') return false;
    checked(removed, 'remove', path);
    this.#syncFolder(name);
    return true;
  }

  /** The names in a folder, in order, without those still being written. HOST_IO. */
  list(folder: string): string[] {
    const path = this.#pathOf(folder);
    const fd = this.#files.openDirectory(CWD, path);
    if (fd < 0) {
      if (errnoName(fd) === 'ENOENT') return [];
      throw ioError(fd, 'open', path);
    }
    try {
      const listing = newListing();
      checked(this.#files.list(fd, listing), 'list', path);
      return listing.names.filter((name) => !name.startsWith(TEMPORARY)).sort();
    } finally {
      this.#files.close(fd);
    }
  }

  #pathOf(name: string): ByteString {
    return `${this.path}/${name}`;
  }

  #folderOf(name: string): ByteString {
    const slash = name.indexOf('/');
    return slash < 0 ? this.path : `${this.path}/${name.slice(0, slash)}`;
  }

  /** A file of these bytes, synced, under a name that nobody reads; returns its path. */
  #writeTemporary(name: string, bytes: Uint8Array): ByteString {
    const files = this.#files;
    const folder = this.#folderOf(name);
    if (folder !== this.path) {
      const made = files.makeDirectory(CWD, folder, MODE_FOLDER);
      if (made < 0 && errnoName(made) !== 'EEXIST') throw ioError(made, 'make', folder);
    }
    const path = `${folder}/${TEMPORARY}${openRandom().bytes(12).toString('hex')}`;
    const fd = checked(files.createExclusive(CWD, path, MODE_FILE), 'make', path);
    let written = files.write(fd, bytes, 0, bytes.length, 0);
    if (written >= 0) written = files.sync(fd);
    files.close(fd);
    if (written < 0) files.remove(CWD, path);
    checked(written, 'write', path);
    return path;
  }

  #syncFolder(name: string): void {
    const folder = this.#folderOf(name);
    const fd = checked(this.#files.openDirectory(CWD, folder), 'open', folder);
    const synced = this.#files.sync(fd);
    this.#files.close(fd);
    checked(synced, 'sync', folder);
  }
}
