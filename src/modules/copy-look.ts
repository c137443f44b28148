/**
 * Looks what is at a path that a copy may begin or end with.
 */
import type { ByteString } from '../base/bytes.ts';
import { ERRNO, FileStatus, ioError, KIND, openFiles } from '../host/files-only.ts';
import { type CopyRoot, openCopyRoot, rootPath } from './copy-root.ts';

export interface LookOptions {
  readonly root: CopyRoot;
  /** An item of the root; undefined: the root itself. */
  readonly item: ByteString | undefined;
  /** Where the path leads when a link at its end is followed; undefined: nowhere that may be looked at. */
  readonly followed: CopyRoot | undefined;
}

export interface Looked {
  /** A KIND; undefined: there is nothing. */
  readonly kind?: number;
  /** Of a file. */
  readonly size?: number;
  /** It is a directory, or a link to one. */
  readonly isDirectory: boolean;
}

/** HOST_IO where that cannot be said. */
export function look({ root, item, followed }: LookOptions): Looked {
  const files = openFiles();
  const isDirectory = followed !== undefined && isOpened(followed);
  if (item === undefined) return { isDirectory, ...(isDirectory ? { kind: KIND.directory } : {}) };
  const fd = openCopyRoot(files, root, false);
  if (fd === -ERRNO.ENOENT) return { isDirectory: false };
  if (fd < 0) throw ioError(fd, 'open', rootPath(root));
  const status = new FileStatus();
  const result = files.status(fd, item, status);
  files.close(fd);
  if (result < 0) return { isDirectory };
  const { kind, size } = status;
  return { isDirectory, kind, ...(kind === KIND.file ? { size } : {}) };
}

function isOpened(root: CopyRoot): boolean {
  const fd = openCopyRoot(openFiles(), root, false);
  if (fd >= 0) openFiles().close(fd);
  return fd >= 0;
}
