/**
 * The top directory of one side of a copy: a directory that exists, and a path below it that is gone
 * along without following links.
 *
 * Contract: on another machine's behalf `base` is a folder in which that machine may copy, so that nobody
 * who can put links there leads a copy out of it.
 */
import { type ByteString, fromBytes, toBytes, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { CWD, ERRNO, type Files, ioError } from '../host/files-only.ts';

export interface CopyRoot {
  /** Absolute, without links. */
  readonly base: ByteString;
  readonly parts: readonly ByteString[];
}

/** The whole path, for messages and patterns. */
export function rootPath({ base, parts }: CopyRoot): ByteString {
  return parts.length === 0 ? base : `${base === '/' ? '' : base}/${parts.join('/')}`;
}

/** Opens the directory, making what is missing of it where `make`. A negative error number if it cannot. */
export function openCopyRoot(files: Files, { base, parts }: CopyRoot, make: boolean): number {
  let fd = files.openDirectoryFollow(CWD, base);
  for (const part of parts) {
    if (fd < 0) return fd;
    let next = files.openDirectory(fd, part);
    if (next === -ERRNO.ENOENT && make) {
      const made = files.makeDirectory(fd, part, 0o777);
      next = made < 0 && made !== -ERRNO.EEXIST ? made : files.openDirectory(fd, part);
    }
    files.close(fd);
    fd = next;
  }
  return fd;
}

/**
 * The root of an absolute path: its links are resolved as far as it exists. Where `folders` are given it
 * must lie in one of them.
 *
 * @throws NET_DENIED outside of the folders, HOST_IO
 */
export function resolveCopyRoot(path: ByteString, folders?: readonly ByteString[]): CopyRoot {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const missing: ByteString[] = [];
  let real: ByteString | undefined;
  while (real === undefined) {
    real = realPath(`/${parts.join('/')}`);
    if (real === undefined) missing.unshift(parts.pop() ?? '');
  }
  if (missing.includes('..')) throw denied(path);
  if (folders === undefined) return { base: real, parts: missing };
  for (const folder of folders) {
    const base = realPath(folder);
    if (base === undefined) continue;
    const inside = below(base, real);
    if (inside !== undefined) return { base, parts: [...inside, ...missing] };
  }
  throw denied(path);
}

/** The components of `path` below `base`; undefined when it lies elsewhere. */
export function below(base: ByteString, path: ByteString): ByteString[] | undefined {
  if (path === base) return [];
  const prefix = base === '/' ? '/' : `${base}/`;
  return path.startsWith(prefix) ? path.slice(prefix.length).split('/') : undefined;
}

function denied(path: ByteString): PenstockError {
  const message = `copies may not touch ${toDisplay(path)}`;
  return new PenstockError('NET_DENIED', message, { subject: path });
}

function realPath(path: ByteString): ByteString | undefined {
  try {
    // Not by an import: each scan would pay for it, and most have no root of this kind.
    const { realpathSync } = process.getBuiltinModule('node:fs');
    return fromBytes(realpathSync.native(toBytes(path), { encoding: 'buffer' }));
  } catch (cause) {
    const { code, errno = 0 } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw ioError(errno, 'open', path);
  }
}
