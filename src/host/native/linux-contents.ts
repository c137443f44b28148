/**
 * The part of the port `Files` that opens, looks, reads and writes, over Linux's C library.
 *
 * Contract: that of files.ts. No call allocates, except for the names of a listing.
 */
import { assert } from '../../base/assert.ts';
import type { ByteString } from '../../base/bytes.ts';
import { ERRNO } from '../errno.ts';
import type { DirectoryListing, FileStatus } from '../file-status.ts';
import type { FileContents, FileHandles } from '../files.ts';
import type { Libc } from './libc.ts';
import { NameScratch } from './scratch.ts';

/** Not among Node's constants; the same on x64 and arm64. */
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
// An import would load all of node:fs, promises and streams too, into each thread.
const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } =
  process.getBuiltinModule('node:fs').constants;
const OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
const OPEN_THROUGH = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
const OPEN_READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
const OPEN_WRITE = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
const OPEN_CREATE = OPEN_WRITE | O_CREAT | O_EXCL;

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
/** STATX_BASIC_STATS and STATX_MNT_ID. */
/** Of flock. */
const LOCK_EXCLUSIVE = 2;
const LOCK_AT_ONCE = 4;
const STATUS_MASK = 0x17ff;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** A foreign file refuses O_NOATIME; after so many in a row it is not tried any more. */
const NO_ATIME_REFUSALS_MAX = 32;
/** One call of getdents64; large directories take several. */
const LIST_BYTES = 256 * 1024;
const RECORD_NAME_OFFSET = 19;

export class LinuxContents implements FileHandles, FileContents {
  protected readonly c: Libc;
  protected readonly name: NameScratch = new NameScratch();
  readonly #empty: Buffer = Buffer.alloc(1);
  #listBytes: Buffer | undefined;
  #noAtimeRefusals = 0;

  constructor(libc: Libc) {
    this.c = libc;
  }

  openDirectory(parent: number, name: ByteString): number {
    return this.#openNoAtime(parent, name, OPEN_DIRECTORY | O_NOFOLLOW);
  }

  openDirectoryFollow(parent: number, name: ByteString): number {
    return this.#openNoAtime(parent, name, OPEN_DIRECTORY);
  }

  openThrough(parent: number, name: ByteString): number {
    return this.#open(parent, name, OPEN_THROUGH, 0);
  }

  openRead(parent: number, name: ByteString): number {
    return this.#openNoAtime(parent, name, OPEN_READ);
  }

  createExclusive(parent: number, name: ByteString, mode: number): number {
    return this.#open(parent, name, OPEN_CREATE, mode);
  }

  openWrite(parent: number, name: ByteString): number {
    return this.#open(parent, name, OPEN_WRITE, 0);
  }

  close(fd: number): number {
    // Never made again: Linux has let the handle go, whatever it answers.
    return this.c.close(fd);
  }

  status(parent: number, name: ByteString, into: FileStatus): number {
    const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    return this.c.statx(parent, this.name.put(name), flags, STATUS_MASK, into.bytes);
  }

  statusFollow(parent: number, name: ByteString, into: FileStatus): number {
    return this.c.statx(parent, this.name.put(name), 0, STATUS_MASK, into.bytes);
  }

  statusOf(fd: number, into: FileStatus): number {
    return this.c.statx(fd, this.#empty, AT_EMPTY_PATH, STATUS_MASK, into.bytes);
  }

  list(fd: number, into: DirectoryListing): number {
    into.clear();
    this.#listBytes ??= Buffer.allocUnsafeSlow(LIST_BYTES);
    const bytes = this.#listBytes;
    const sought = this.c.lseek(fd, 0, SEEK_SET);
    if (sought < 0) return sought;
    for (;;) {
      const length = this.c.getdents64(fd, bytes, LIST_BYTES);
      if (length === 0) return into.count;
      if (length < 0) {
        into.clear();
        return length;
      }
      addRecords(bytes, length, into);
    }
  }

  read(fd: number, view: Uint8Array, offset: number, length: number, position: number): number {
    assertRange(view, offset, length);
    let done = 0;
    while (done < length) {
      const from = offset + done;
      const part = from === 0 ? view : view.subarray(from);
      const got = this.c.pread(fd, part, length - done, position + done);
      if (got === 0) break;
      if (got === -ERRNO.EINTR) continue;
      if (got < 0) return got;
      done += got;
    }
    return done;
  }

  write(fd: number, view: Uint8Array, offset: number, length: number, position: number): number {
    assertRange(view, offset, length);
    let done = 0;
    while (done < length) {
      const from = offset + done;
      const part = from === 0 ? view : view.subarray(from);
      const put = this.c.pwrite(fd, part, length - done, position + done);
      if (put === -ERRNO.EINTR) continue;
      if (put < 0) return put;
      // A device that takes nothing and names no error has no room.
      if (put === 0) return -ERRNO.ENOSPC;
      done += put;
    }
    return length;
  }

  seekData(fd: number, position: number): number {
    return this.c.lseek(fd, position, SEEK_DATA);
  }

  seekHole(fd: number, position: number): number {
    return this.c.lseek(fd, position, SEEK_HOLE);
  }

  truncate(fd: number, length: number): number {
    let result: number;
    do result = this.c.ftruncate(fd, length);
    while (result === -ERRNO.EINTR);
    return result;
  }

  allocate(fd: number, offset: number, length: number): number {
    let result: number;
    do result = this.c.fallocate(fd, 0, offset, length);
    while (result === -ERRNO.EINTR);
    return result;
  }

  sync(fd: number): number {
    let result: number;
    do result = this.c.fsync(fd);
    while (result === -ERRNO.EINTR);
    return result;
  }

  dataSync(fd: number): number {
    let result: number;
    do result = this.c.fdatasync(fd);
    while (result === -ERRNO.EINTR);
    return result;
  }

  syncFileSystem(fd: number): number {
    let result: number;
    do result = this.c.syncfs(fd);
    while (result === -ERRNO.EINTR);
    return result;
  }

  lock(fd: number): number {
    let result: number;
    do result = this.c.flock(fd, LOCK_EXCLUSIVE | LOCK_AT_ONCE);
    while (result === -ERRNO.EINTR);
    return result;
  }

  #open(parent: number, name: ByteString, flags: number, mode: number): number {
    const path = this.name.put(name);
    for (;;) {
      const fd = this.c.openat(parent, path, flags, mode);
      if (fd !== -ERRNO.EINTR) return fd;
    }
  }

  /** Only a file's owner (or root) may leave its access time alone. */
  #openNoAtime(parent: number, name: ByteString, flags: number): number {
    if (this.#noAtimeRefusals < NO_ATIME_REFUSALS_MAX) {
      const fd = this.#open(parent, name, flags | O_NOATIME, 0);
      if (fd !== -ERRNO.EPERM) {
        if (fd >= 0) this.#noAtimeRefusals = 0;
        return fd;
      }
      this.#noAtimeRefusals += 1;
    }
    return this.#open(parent, name, flags, 0);
  }
}

function assertRange(view: Uint8Array, offset: number, length: number): void {
  assert(
    offset >= 0 && length >= 0 && offset + length <= view.length,
    'a range lies within its view',
  );
}

/**
 * Adds what one getdents64 wrote. A record: inode u64, offset u64, its length u16, kind u8, name,
 * NUL, and padding up to a multiple of 8 that holds anything; so the NUL is the first in the last 8
 * bytes.
 */
function addRecords(bytes: Buffer, length: number, into: DirectoryListing): void {
  let at = 0;
  while (at < length) {
    const next = at + (bytes[at + 16] as number) + (bytes[at + 17] as number) * 256;
    const start = at + RECORD_NAME_OFFSET;
    let end = Math.max(start, next - 8);
    while (bytes[end] !== 0) end += 1;
    const nameLength = end - start;
    const dots =
      bytes[start] === 0x2e &&
      (nameLength === 1 || (nameLength === 2 && bytes[start + 1] === 0x2e));
    if (!dots) into.add(bytes.toString('latin1', start, end), bytes[at + 18] as number);
    at = next;
  }
}
