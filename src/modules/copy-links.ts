/**
 * Files with several names, on both sides of a copy: which name is copied as a file and which become
 * links to it, and whether what stands in the target already is the same file.
 */
import type { ByteString } from '../base/bytes.ts';
import type { FileStatus } from '../host/files-only.ts';

interface Group {
  readonly first: ByteString;
  /** File of the target that the first name has and keeps; undefined: it becomes a new one. */
  kept: string | undefined;
  left: number;
}

export class CopyLinks {
  readonly #groups = new Map<string, Group>();
  /** Files of the target with several names, by the path that keeps them. */
  readonly #claims = new Map<string, ByteString>();

  /** The first path of the file, if there was one before. */
  first(source: FileStatus): ByteString | undefined {
    return source.nlink > 1 ? this.#groups.get(source.fileKey)?.first : undefined;
  }
  /** Whether a further name of the file stands in the target as it should. */
  isLinked(source: FileStatus, target: FileStatus | undefined): boolean {
    const key = source.fileKey;
    const group = this.#groups.get(key);
    if (group === undefined) return false;
    if (--group.left <= 0) this.#groups.delete(key);
    return target !== undefined && group.kept === target.fileKey;
  }
  /** Whether the target's file may stay where it is: not if another path, no link of this, has it too. */
  mayKeep(target: FileStatus, path: ByteString): boolean {
    if (target.nlink <= 1) return true;
    const key = target.fileKey;
    if (this.#claims.has(key)) return false;
    this.#claims.set(key, path);
    return true;
  }
  /** A first path; `kept` is the file of the target that stays there. */
  begin(source: FileStatus, path: ByteString, kept: FileStatus | undefined): void {
    if (source.nlink <= 1) return;
    const left = source.nlink - 1;
    const file = kept === undefined ? undefined : kept.fileKey;
    this.#groups.set(source.fileKey, { first: path, kept: file, left });
  }
}
