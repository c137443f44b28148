/**
 * The chunks of a repository in a directory, for worker threads (format/chunk-media.ts).
 *
 * A chunk is written under writing/, synced, linked to chunks/xx/<id> and its directory synced. A
 * process that dies leaves a file under writing/ that nobody refers to; prune sweeps it.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import type { ChunkMedia, ChunkSink, ChunkSource } from '../format/chunk-media.ts';
import { CWD, errnoName, FileStatus, type Files, openFiles } from '../host/mod.ts';
import { storeError } from './directory-errors.ts';

/** `options`: { path } of the repository's directory. */
export default function openDirectoryChunks(options: unknown): ChunkMedia {
  const { path } = options as { path: ByteString };
  const files = openFiles();
  const root = files.openDirectoryFollow(CWD, path);
  if (root < 0) throw storeError(root, 'open', toDisplay(path));
  return new DirectoryChunks(toDisplay(path), root, files);
}

class DirectoryChunks implements ChunkMedia {
  readonly #path: string;
  readonly #root: number;
  readonly #files: Files;

  constructor(path: string, root: number, files: Files) {
    this.#path = path;
    this.#root = root;
    this.#files = files;
  }
  create(id: string): ChunkSink {
    checkId(id);
    const files = this.#files;
    const root = this.#root;
    const subject = `${this.#path}/chunks/${id.slice(0, 2)}/${id}`;
    const temporary = `writing/${id}`;
    const fd = files.createExclusive(root, temporary, 0o600);
    if (fd < 0) throw storeError(fd, 'create', subject);
    const check = (result: number, call: string): void => {
      if (result < 0) throw storeError(result, call, subject);
    };
    return {
      write: (view, offset, length, position) =>
        check(files.write(fd, view, offset, length, position), 'write'),
      commit: () => {
        check(files.sync(fd), 'sync');
        const directory = openChunkDirectory(files, root, this.#path, id);
        try {
          check(files.link(root, temporary, directory, id), 'create');
          check(files.sync(directory), 'sync');
        } finally {
          files.close(directory);
        }
        files.close(fd);
        files.remove(root, temporary);
      },
      discard: () => {
        files.close(fd);
        files.remove(root, temporary);
      },
    };
  }
  open(id: string): ChunkSource {
    checkId(id);
    const files = this.#files;
    const subject = `${this.#path}/chunks/${id.slice(0, 2)}/${id}`;
    const fd = files.openRead(this.#root, `chunks/${id.slice(0, 2)}/${id}`);
    if (fd < 0) throw storeError(fd, 'open', subject);
    const status = new FileStatus();
    files.statusOf(fd, status);
    return {
      bytes: status.size,
      read: (view, offset, length, position) => {
        const got = files.read(fd, view, offset, length, position);
        if (got < 0) throw storeError(got, 'read', subject);
        return got;
      },
      close: () => {
        files.close(fd);
      },
    };
  }
  close(): void {
    this.#files.close(this.#root);
  }
}

/** The folder of a chunk, made durably where it is not there yet; whoever gets it closes it. */
export function openChunkDirectory(files: Files, root: number, path: string, id: string): number {
  const name = `chunks/${id.slice(0, 2)}`;
  let fd = files.openDirectory(root, name);
  if (fd < 0 && errnoName(-fd) === 'ENOENT') {
    const made = files.makeDirectory(root, name, 0o700);
    if (made < 0 && errnoName(-made) !== 'EEXIST')
      throw storeError(made, 'create', `${path}/${name}`);
    const parent = files.openDirectory(root, 'chunks');
    if (parent >= 0) {
      files.sync(parent);
      files.close(parent);
    }
    fd = files.openDirectory(root, name);
  }
  if (fd < 0) throw storeError(fd, 'open', `${path}/${name}`);
  return fd;
}

function checkId(id: string): void {
  if (!/^[0-9a-f]{32}$/.test(id))
    throw new PenstockError('INTERNAL', `not the id of a chunk: ${id}`);
}
