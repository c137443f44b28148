/**
 * The first paths of files with several links: the entry there has the content, further ones name it.
 * A file is forgotten once all its links were met, so memory follows those that are still to come.
 */
import type { ByteString } from '../base/bytes.ts';
import type { FileStatus } from '../host/mod.ts';

export class FirstLinks {
  readonly #files = new Map<string, { path: ByteString; left: number }>();

  /**
   * Path of the first link of a file that was met before; undefined when `path` is the first, or takes
   * its place because the first `isLost`.
   */
  find(
    status: FileStatus,
    path: ByteString,
    isLost: (path: ByteString) => boolean,
  ): ByteString | undefined {
    const key = status.fileKey;
    const first = this.#files.get(key);
    if (first === undefined) {
      this.#files.set(key, { path, left: status.nlink - 1 });
      return undefined;
    }
    if (--first.left <= 0) this.#files.delete(key);
    if (!isLost(first.path)) return first.path;
    first.path = path;
    return undefined;
  }
}
