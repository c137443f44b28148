/**
 * The port `Files`: files, directories and their metadata, synchronously, by handle and name.
 *
 * Contract, for every implementation:
 * - A name is a ByteString (one character per byte, none above 0xff, no NUL) relative to a
 *   directory handle; CWD stands for the working directory, and is given with absolute paths. Code
 *   that walks a tree passes single components, so that no path is too long and no link is
 *   followed; no call follows a link as the last component, unless its name ends in `Follow`.
 * - Calls never throw for what the system answers: they return >= 0, or the negative errno
 *   (`errnoName(-2)` is `ENOENT`; `ioError` makes the error for people). A range that does not lie
 *   within its view is a programmer's mistake and asserts.
 * - Modes of new files, directories and nodes are reduced by the umask of the process.
 * - Calls that a signal interrupts are made again. `read` and `write` loop over short results.
 * - Views may lie on shared memory. Nothing is kept of them after the call.
 * - One instance serves one thread: it has scratch memory of its own. Handles are numbers of the
 *   process and may be used by any of its threads.
 * - Whoever opens closes; handles are not inherited by child processes.
 */
import type { ByteString } from '../base/bytes.ts';
import type { DirectoryListing, FileStatus } from './file-status.ts';

/** In place of a directory handle: names are relative to the working directory, or absolute. */
export const CWD = -100;

/** An extended attribute; ACLs are those named `system.posix_acl_access` and `…_default`. */
export interface Attribute {
  readonly name: ByteString;
  readonly value: Uint8Array;
}

/** What is returned for a file without attributes: one shared empty array. */
export const NO_ATTRIBUTES: readonly Attribute[] = Object.freeze([]);

export interface FileHandles {
  openDirectory(parent: number, name: ByteString): number;
  /** For a user's own top path: follows links. */
  openDirectoryFollow(parent: number, name: ByteString): number;
  /** A directory that may be entered but perhaps not read: only names in it can be reached. */
  openThrough(parent: number, name: ByteString): number;
  /** For reading. Does not wait for the writer of a FIFO; leaves the access time where it may. */
  openRead(parent: number, name: ByteString): number;
  /** A new file for reading and writing; -EEXIST if there is anything of that name. */
  createExclusive(parent: number, name: ByteString, mode: number): number;
  /** An existing file for reading and writing. */
  openWrite(parent: number, name: ByteString): number;
  close(fd: number): number;
  status(parent: number, name: ByteString, into: FileStatus): number;
  statusFollow(parent: number, name: ByteString, into: FileStatus): number;
  statusOf(fd: number, into: FileStatus): number;
  /** All names of an open directory, from its beginning. Returns their number. */
  list(fd: number, into: DirectoryListing): number;
}

export interface FileContents {
  /** Reads until `length` bytes or the end of the file; returns the number of bytes. */
  read(fd: number, view: Uint8Array, offset: number, length: number, position: number): number;
  /** Writes all `length` bytes and returns `length`, or an error (some may have been written). */
  write(fd: number, view: Uint8Array, offset: number, length: number, position: number): number;
  /** Where data begins at or after `position`; -ENXIO if only a hole or nothing follows. */
  seekData(fd: number, position: number): number;
  /** Where a hole begins at or after `position`; the end of a file counts as one. */
  seekHole(fd: number, position: number): number;
  truncate(fd: number, length: number): number;
  /** Reserves room; -EOPNOTSUPP where the file system cannot. The file grows to hold the range. */
  allocate(fd: number, offset: number, length: number): number;
  sync(fd: number): number;
  dataSync(fd: number): number;
  /** All that was written to the file system of an open file or directory, by whomever. */
  syncFileSystem(fd: number): number;
  /**
   * Locks the file for this handle against all others that ask for it, of this process too; -EAGAIN
   * when one has it. Closing the handle gives it back, and so does the end of the process.
   */
  lock(fd: number): number;
}

export interface FileNames {
  makeDirectory(parent: number, name: ByteString, mode: number): number;
  remove(parent: number, name: ByteString): number;
  removeDirectory(parent: number, name: ByteString): number;
  /** Replaces what has the new name. */
  rename(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number;
  /** -EEXIST if the new name exists; -EINVAL where the file system cannot do it in one step. */
  renameExclusive(
    oldParent: number,
    oldName: ByteString,
    newParent: number,
    newName: ByteString,
  ): number;
  /** A further name for a file, or for a link itself; -EEXIST if the new name exists. */
  link(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number;
  symlink(target: ByteString, parent: number, name: ByteString): number;
  readLink(parent: number, name: ByteString): ByteString | number;
  /** @param kindAndMode a KIND from bit 12 on, and permissions: `(KIND.fifo << 12) | 0o600` */
  makeNode(
    parent: number,
    name: ByteString,
    kindAndMode: number,
    major: number,
    minor: number,
  ): number;
}

export interface FileMetadata {
  /** -EOPNOTSUPP for a symbolic link, which has no mode of its own. */
  chmod(parent: number, name: ByteString, mode: number): number;
  chmodOf(fd: number, mode: number): number;
  chown(parent: number, name: ByteString, uid: number, gid: number): number;
  chownOf(fd: number, uid: number, gid: number): number;
  times(
    parent: number,
    name: ByteString,
    atimeSeconds: number,
    atimeNanos: number,
    mtimeSeconds: number,
    mtimeNanos: number,
  ): number;
  timesOf(
    fd: number,
    atimeSeconds: number,
    atimeNanos: number,
    mtimeSeconds: number,
    mtimeNanos: number,
  ): number;
  /** Sets both times to now by the clock of the file system. */
  touch(parent: number, name: ByteString): number;
  touchOf(fd: number): number;
  /** NO_ATTRIBUTES where there are none, or where the file system has no such thing. */
  attributesOf(fd: number): readonly Attribute[] | number;
  attributes(parent: number, name: ByteString): readonly Attribute[] | number;
  setAttributeOf(fd: number, attribute: ByteString, value: Uint8Array): number;
  setAttribute(parent: number, name: ByteString, attribute: ByteString, value: Uint8Array): number;
  removeAttributeOf(fd: number, attribute: ByteString): number;
  removeAttribute(parent: number, name: ByteString, attribute: ByteString): number;
}

export interface HostAccounts {
  userName(uid: number): string | undefined;
  groupName(gid: number): string | undefined;
  userId(name: string): number | undefined;
  groupId(name: string): number | undefined;
  effectiveUserId(): number;
}

export interface Files extends FileHandles, FileContents, FileNames, FileMetadata, HostAccounts {
  /** Raises the number of files that this process may have open as far as it may; returns it. */
  openFilesLimit(): number;
  /**
   * Has the system end this process (SIGTERM) when the thread that started it ends: of use where
   * the main thread of the parent did.
   */
  dieWithParent(): void;
  /** Bytes that this user may still store on the file system of an open file. */
  freeBytes(fd: number): number;
}
