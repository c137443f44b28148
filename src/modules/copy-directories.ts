/**
 * Directories of one side of a copy as handles, below its root: the one that was asked for last, and those
 * above it. No link is followed, and no path is ever put together.
 */
import type { ByteString } from '../base/bytes.ts';
import { ERRNO, FileStatus, type Files, KIND } from '../host/files-only.ts';

/** Handles that are kept; of deeper directories only the last ones. */
const HANDLES_MAX = 64;
const OWNER_BITS = 0o700;

export class CopyDirectories {
  readonly #files: Files;
  readonly #root: number;
  readonly #makes: boolean;
  readonly #status = new FileStatus();
  readonly #names: ByteString[] = [];
  readonly #handles: number[] = [];
  #path: ByteString | undefined;

  /** Owns `root`. With `makes`, directories that are missing are made, and what stands in their way goes. */
  constructor(files: Files, root: number, makes: boolean) {
    this.#files = files;
    this.#root = root;
    this.#makes = makes;
  }

  /** The handle of a directory, good until the next call; a negative error number if it cannot be. */
  open(path: ByteString): number {
    if (path !== this.#path) {
      this.#path = undefined;
      const failed = this.#descend(path === '' ? [] : path.split('/'));
      if (failed < 0) return failed;
      this.#path = path;
    }
    return this.#handles.at(-1) ?? this.#root;
  }

  #descend(parts: readonly ByteString[]): number {
    let shared = 0;
    while (shared < this.#names.length && this.#names[shared] === parts[shared]) shared++;
    this.#leave(shared);
    while (shared > 0 && this.#handles[shared - 1] === -1) this.#leave(--shared);
    for (let i = shared; i < parts.length; i++) {
      const parent = this.#handles[i - 1] ?? this.#root;
      const name = parts[i] ?? '';
      const fd = this.#makes ? this.#make(parent, name) : this.#files.openDirectory(parent, name);
      if (fd < 0) return fd;
      this.#names.push(name);
      this.#handles.push(fd);
      const old = this.#handles[i - HANDLES_MAX] ?? -1;
      if (old >= 0) this.#files.close(old);
      if (old >= 0) this.#handles[i - HANDLES_MAX] = -1;
    }
    return 0;
  }
  #leave(depth: number): void {
    for (const fd of this.#handles.splice(depth)) if (fd >= 0) this.#files.close(fd);
    this.#names.length = depth;
  }

  #make(parent: number, name: ByteString): number {
    const files = this.#files;
    let fd = files.openDirectory(parent, name);
    if (fd === -ERRNO.ENOTDIR || fd === -ERRNO.ELOOP) {
      files.remove(parent, name);
      fd = -ERRNO.ENOENT;
    }
    if (fd === -ERRNO.ENOENT) {
      let made = files.makeDirectory(parent, name, OWNER_BITS);
      if (made === -ERRNO.EACCES && this.unlock(parent)) {
        made = files.makeDirectory(parent, name, OWNER_BITS);
      }
      // Another instance may have been quicker.
      fd = made < 0 && made !== -ERRNO.EEXIST ? made : files.openDirectory(parent, name);
    }
    if (fd !== -ERRNO.EACCES) return fd;
    const isOurs =
      files.status(parent, name, this.#status) >= 0 && this.#status.kind === KIND.directory;
    if (!isOurs || files.chmod(parent, name, this.#status.mode | OWNER_BITS) < 0) return fd;
    return files.openDirectory(parent, name);
  }

  /** Lets the owner write into a directory; its mode is set when the copy is done. */
  unlock(directory: number): boolean {
    if (this.#files.statusOf(directory, this.#status) < 0) return false;
    const { mode } = this.#status;
    if ((mode & OWNER_BITS) === OWNER_BITS) return false;
    return this.#files.chmodOf(directory, mode | OWNER_BITS) >= 0;
  }

  close(): void {
    this.#leave(0);
    this.#path = undefined;
    this.#files.close(this.#root);
  }
}
