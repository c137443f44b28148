/**
 * Objects and chunks that arrive piece by piece, in the directory of a repository.
 *
 *   writing/<name>.<random>            an object
 *   writing/<id>.<owner>               a chunk of whoever knows the owner's word
 *   writing/<id>.<owner>.done          the chunk is durable, and this owner wrote it
 *
 * Contract: nothing is seen under its own name before it is whole and synced, and nothing is ever
 * replaced. Each call on a chunk may be made again, also after the process that took the first one
 * has died: parts are written by position, a commit is known again by its mark. A chunk that has its
 * name is not written any more. What a vanished owner leaves is swept by age like all of writing/.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { errnoName, FileStatus, type Files } from '../host/mod.ts';
import { openChunkDirectory } from './directory-chunks.ts';
import { storeError } from './directory-errors.ts';

/** Where an object goes; negative directories are the system's answers to opening them. */
export interface ObjectPlace {
  readonly writing: number;
  readonly temporary: ByteString;
  readonly directory: number;
  readonly name: ByteString;
  /** For people. */
  readonly subject: string;
}

/** A new object. Whoever made one closes it. */
export class ObjectUpload {
  readonly fd: number;
  readonly #files: Files;
  readonly #place: ObjectPlace;
  #position = 0;

  constructor(files: Files, place: ObjectPlace) {
    this.#files = files;
    this.#place = place;
    this.fd = files.createExclusive(place.writing, place.temporary, 0o600);
    if (this.fd < 0) throw storeError(this.fd, 'create', place.subject);
  }

  get bytes(): number {
    return this.#position;
  }

  write(view: Uint8Array, offset: number, length: number): void {
    const written = this.#files.write(this.fd, view, offset, length, this.#position);
    if (written < 0) throw storeError(written, 'write', this.#place.subject);
    this.#position += length;
  }

  /** Durably gives it its name; false when that is taken. */
  commit(): boolean {
    const { writing, temporary, directory, name, subject } = this.#place;
    const synced = this.#files.sync(this.fd);
    if (synced < 0) throw storeError(synced, 'sync', subject);
    const linked =
      directory < 0 ? directory : this.#files.link(writing, temporary, directory, name);
    if (linked < 0) {
      if (errnoName(-linked) === 'EEXIST') return false;
      throw storeError(linked, 'create', subject);
    }
    const listed = this.#files.sync(directory);
    if (listed < 0) throw storeError(listed, 'sync', subject);
    return true;
  }

  close(): void {
    this.#files.close(this.fd);
    this.#files.remove(this.#place.writing, this.#place.temporary);
  }
}

/** A chunk that arrives in parts. `root` is the repository's directory, `path` its name for people. */
export class ChunkUpload {
  readonly #files: Files;
  readonly #root: number;
  readonly #path: string;
  readonly #id: string;
  readonly #temporary: string;
  readonly #subject: string;
  readonly #status = new FileStatus();

  constructor(files: Files, root: number, path: string, id: string, owner: string) {
    this.#files = files;
    this.#root = root;
    this.#path = path;
    this.#id = id;
    this.#temporary = `writing/${id}.${owner}`;
    this.#subject = `${path}/chunks/${id.slice(0, 2)}/${id}`;
  }

  /** An open file for parts; whoever gets it closes it. */
  open(): number {
    const files = this.#files;
    let fd = files.openWrite(this.#root, this.#temporary);
    if (fd < 0 && errnoName(-fd) === 'ENOENT') {
      fd = files.createExclusive(this.#root, this.#temporary, 0o600);
      if (errnoName(-fd) === 'EEXIST') fd = files.openWrite(this.#root, this.#temporary);
    }
    if (fd < 0) throw storeError(fd, 'create', this.#subject);
    // Its commit was interrupted after the chunk had its name.
    if (files.statusOf(fd, this.#status) < 0 || this.#status.nlink !== 1) {
      files.close(fd);
      throw new PenstockError('REPO_IO', `chunk ${this.#id} is stored already`);
    }
    return fd;
  }

  write(fd: number, view: Uint8Array, offset: number, length: number, position: number): void {
    const written = this.#files.write(fd, view, offset, length, position);
    if (written < 0) throw storeError(written, 'write', this.#subject);
  }

  /** Whether this owner's chunk is durable already. */
  get isCommitted(): boolean {
    return this.#files.status(this.#root, `${this.#temporary}.done`, this.#status) >= 0;
  }

  /** Gives a chunk of so many bytes its name, durably; `sync` makes the file itself durable. */
  async commit(bytes: number, sync: (fd: number) => Promise<void>): Promise<void> {
    if (this.isCommitted) return;
    const files = this.#files;
    const fd = files.openRead(this.#root, this.#temporary);
    if (fd < 0) throw storeError(fd, 'open', this.#subject);
    try {
      const looked = files.statusOf(fd, this.#status);
      if (looked < 0) throw storeError(looked, 'look at', this.#subject);
      if (this.#status.size !== bytes) {
        const has = `chunk ${this.#id} has ${this.#status.size} bytes of ${bytes}`;
        throw new PenstockError('FORMAT', `${has}: parts of it are missing`);
      }
      await sync(fd);
      this.#link(this.#status.inode);
    } finally {
      files.close(fd);
    }
  }
  #link(inode: number): void {
    const files = this.#files;
    const directory = openChunkDirectory(files, this.#root, this.#path, this.#id);
    try {
      const linked = files.link(this.#root, this.#temporary, directory, this.#id);
      const ownAlready =
        linked < 0 &&
        errnoName(-linked) === 'EEXIST' &&
        files.status(directory, this.#id, this.#status) >= 0 &&
        this.#status.inode === inode;
      // Of two commits at once, the other one has finished.
      if (linked < 0 && !ownAlready && !this.isCommitted)
        throw storeError(linked, 'create', this.#subject);
      const synced = files.sync(directory);
      if (synced < 0) throw storeError(synced, 'sync', this.#subject);
    } finally {
      files.close(directory);
    }
    // The mark comes before the name goes: whoever asks again finds one of the two.
    const mark = files.createExclusive(this.#root, `${this.#temporary}.done`, 0o600);
    if (mark >= 0) files.close(mark);
    files.remove(this.#root, this.#temporary);
  }

  /** Leaves nothing behind, but for the chunk itself if it was committed. */
  discard(): void {
    this.#files.remove(this.#root, this.#temporary);
    this.#files.remove(this.#root, `${this.#temporary}.done`);
  }
}
