/**
 * The port `Files` over Linux's C library.
 *
 * Contract: that of files.ts. No call allocates, except for names and attributes that are returned.
 */
import { constants } from 'node:fs';
import { assert } from '../../base/assert.ts';
import type { ByteString } from '../../base/bytes.ts';
import { ERRNO } from '../errno.ts';
import type { DirectoryListing, FileStatus } from '../file-status.ts';
import type { Attribute, Files } from '../files.ts';
import { LinuxAccounts } from './linux-accounts.ts';
import { LinuxAttributes } from './linux-attributes.ts';
import { lastErrno, type Libc } from './libc.ts';
import { NameScratch } from './scratch.ts';

const O_CLOEXEC = 0o2000000;
const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } =
  constants;
const OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
const OPEN_READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
const OPEN_WRITE = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
const OPEN_CREATE = OPEN_WRITE | O_CREAT | O_EXCL;

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
/** STATX_BASIC_STATS and STATX_MNT_ID. */
const STATUS_MASK = 0x17ff;
const RENAME_NOREPLACE = 1;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const RLIMIT_NOFILE = 7;
const PR_SET_PDEATHSIG = 1;
const SIGTERM = 15;
const UTIME_NOW = 0x3fffffff;

/** A foreign file refuses O_NOATIME; after so many in a row it is not tried any more. */
const NO_ATIME_REFUSALS_MAX = 32;
/** One call of getdents64; large directories take several. */
const LIST_BYTES = 256 * 1024;
const RECORD_NAME_OFFSET = 19;
const LINK_BYTES_AT_FIRST = 4096;
const TWO_32 = 2 ** 32;

export class LinuxFiles implements Files {
  readonly #c: Libc;
  readonly #name = new NameScratch();
  readonly #otherName = new NameScratch();
  readonly #empty: Buffer = Buffer.alloc(1);
  /** Two `struct timespec`: access and modification. */
  readonly #times: Uint8Array = new Uint8Array(32);
  readonly #timesU32: Uint32Array = new Uint32Array(this.#times.buffer);
  readonly #record: BigUint64Array = new BigUint64Array(32);
  readonly #recordBytes: Uint8Array = new Uint8Array(this.#record.buffer);
  readonly #attributes: LinuxAttributes;
  readonly #accounts: LinuxAccounts;
  #listBytes: Buffer | undefined;
  #linkBytes: Buffer | undefined;
  #noAtimeRefusals = 0;

  constructor(libc: Libc) {
    this.#c = libc;
    this.#attributes = new LinuxAttributes(libc);
    this.#accounts = new LinuxAccounts(libc);
  }

  openDirectory(parent: number, name: ByteString): number {
    return this.#openNoAtime(parent, name, OPEN_DIRECTORY | O_NOFOLLOW);
  }

  openDirectoryFollow(parent: number, name: ByteString): number {
    return this.#openNoAtime(parent, name, OPEN_DIRECTORY);
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
    return answer(this.#c.close(fd));
  }

  status(parent: number, name: ByteString, into: FileStatus): number {
    const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    return answer(this.#c.statx(parent, this.#name.put(name), flags, STATUS_MASK, into.bytes));
  }

  statusFollow(parent: number, name: ByteString, into: FileStatus): number {
    return answer(this.#c.statx(parent, this.#name.put(name), 0, STATUS_MASK, into.bytes));
  }

  statusOf(fd: number, into: FileStatus): number {
    return answer(this.#c.statx(fd, this.#empty, AT_EMPTY_PATH, STATUS_MASK, into.bytes));
  }

  list(fd: number, into: DirectoryListing): number {
    into.clear();
    this.#listBytes ??= Buffer.allocUnsafeSlow(LIST_BYTES);
    const bytes = this.#listBytes;
    const sought = answer(this.#c.lseek(fd, 0, SEEK_SET));
    if (sought < 0) return sought;
    for (;;) {
      const length = answer(this.#c.getdents64(fd, bytes, LIST_BYTES));
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
      const got = answer(this.#c.pread(fd, part, length - done, position + done));
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
      const put = answer(this.#c.pwrite(fd, part, length - done, position + done));
      if (put === -ERRNO.EINTR) continue;
      if (put < 0) return put;
      // A device that takes nothing and names no error has no room.
      if (put === 0) return -ERRNO.ENOSPC;
      done += put;
    }
    return length;
  }

  seekData(fd: number, position: number): number {
    return answer(this.#c.lseek(fd, position, SEEK_DATA));
  }

  seekHole(fd: number, position: number): number {
    return answer(this.#c.lseek(fd, position, SEEK_HOLE));
  }

  truncate(fd: number, length: number): number {
    let result: number;
    do result = answer(this.#c.ftruncate(fd, length));
    while (result === -ERRNO.EINTR);
    return result;
  }

  allocate(fd: number, offset: number, length: number): number {
    let result: number;
    do result = answer(this.#c.fallocate(fd, 0, offset, length));
    while (result === -ERRNO.EINTR);
    return result;
  }

  sync(fd: number): number {
    let result: number;
    do result = answer(this.#c.fsync(fd));
    while (result === -ERRNO.EINTR);
    return result;
  }

  dataSync(fd: number): number {
    let result: number;
    do result = answer(this.#c.fdatasync(fd));
    while (result === -ERRNO.EINTR);
    return result;
  }

  makeDirectory(parent: number, name: ByteString, mode: number): number {
    return answer(this.#c.mkdirat(parent, this.#name.put(name), mode));
  }

  remove(parent: number, name: ByteString): number {
    return answer(this.#c.unlinkat(parent, this.#name.put(name), 0));
  }

  removeDirectory(parent: number, name: ByteString): number {
    return answer(this.#c.unlinkat(parent, this.#name.put(name), AT_REMOVEDIR));
  }

  rename(
    oldParent: number,
    oldName: ByteString,
    newParent: number,
    newName: ByteString,
  ): number {
    const from = this.#name.put(oldName);
    return answer(this.#c.renameat(oldParent, from, newParent, this.#otherName.put(newName)));
  }

  renameExclusive(
    oldParent: number,
    oldName: ByteString,
    newParent: number,
    newName: ByteString,
  ): number {
    const from = this.#name.put(oldName);
    const to = this.#otherName.put(newName);
    return answer(this.#c.renameat2(oldParent, from, newParent, to, RENAME_NOREPLACE));
  }

  link(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number {
    const from = this.#name.put(oldName);
    return answer(this.#c.linkat(oldParent, from, newParent, this.#otherName.put(newName), 0));
  }

  symlink(target: ByteString, parent: number, name: ByteString): number {
    return answer(this.#c.symlinkat(this.#name.put(target), parent, this.#otherName.put(name)));
  }

  readLink(parent: number, name: ByteString): ByteString | number {
    const path = this.#name.put(name);
    this.#linkBytes ??= Buffer.allocUnsafeSlow(LINK_BYTES_AT_FIRST);
    for (;;) {
      const bytes = this.#linkBytes;
      const length = answer(this.#c.readlinkat(parent, path, bytes, bytes.length));
      if (length < 0) return length;
      // The system cuts what does not fit and does not say so.
      if (length < bytes.length) return bytes.toString('latin1', 0, length);
      this.#linkBytes = Buffer.allocUnsafeSlow(bytes.length * 2);
    }
  }

  makeNode(
    parent: number,
    name: ByteString,
    kindAndMode: number,
    major: number,
    minor: number,
  ): number {
    const device = deviceNumber(major, minor);
    return answer(this.#c.mknodat(parent, this.#name.put(name), kindAndMode, device));
  }

  chmod(parent: number, name: ByteString, mode: number): number {
    return answer(this.#c.fchmodat(parent, this.#name.put(name), mode, AT_SYMLINK_NOFOLLOW));
  }

  chmodOf(fd: number, mode: number): number {
    return answer(this.#c.fchmod(fd, mode));
  }

  chown(parent: number, name: ByteString, uid: number, gid: number): number {
    return answer(this.#c.fchownat(parent, this.#name.put(name), uid, gid, AT_SYMLINK_NOFOLLOW));
  }

  chownOf(fd: number, uid: number, gid: number): number {
    return answer(this.#c.fchown(fd, uid, gid));
  }

  times(
    parent: number,
    name: ByteString,
    atimeSeconds: number,
    atimeNanos: number,
    mtimeSeconds: number,
    mtimeNanos: number,
  ): number {
    this.#putTime(0, atimeSeconds, atimeNanos);
    this.#putTime(4, mtimeSeconds, mtimeNanos);
    const path = this.#name.put(name);
    return answer(this.#c.utimensat(parent, path, this.#times, AT_SYMLINK_NOFOLLOW));
  }

  timesOf(
    fd: number,
    atimeSeconds: number,
    atimeNanos: number,
    mtimeSeconds: number,
    mtimeNanos: number,
  ): number {
    this.#putTime(0, atimeSeconds, atimeNanos);
    this.#putTime(4, mtimeSeconds, mtimeNanos);
    return answer(this.#c.futimens(fd, this.#times));
  }

  touch(parent: number, name: ByteString): number {
    return this.times(parent, name, 0, UTIME_NOW, 0, UTIME_NOW);
  }

  touchOf(fd: number): number {
    return this.timesOf(fd, 0, UTIME_NOW, 0, UTIME_NOW);
  }

  attributesOf(fd: number): readonly Attribute[] | number {
    return this.#attributes.ofHandle(fd);
  }

  attributes(parent: number, name: ByteString): readonly Attribute[] | number {
    return this.#attributes.ofName(parent, name);
  }

  setAttributeOf(fd: number, attribute: ByteString, value: Uint8Array): number {
    return this.#attributes.setOfHandle(fd, attribute, value);
  }

  setAttribute(
    parent: number,
    name: ByteString,
    attribute: ByteString,
    value: Uint8Array,
  ): number {
    return this.#attributes.setOfName(parent, name, attribute, value);
  }

  removeAttributeOf(fd: number, attribute: ByteString): number {
    return this.#attributes.removeOfHandle(fd, attribute);
  }

  removeAttribute(parent: number, name: ByteString, attribute: ByteString): number {
    return this.#attributes.removeOfName(parent, name, attribute);
  }

  userName(uid: number): string | undefined {
    return this.#accounts.users.name(uid);
  }

  groupName(gid: number): string | undefined {
    return this.#accounts.groups.name(gid);
  }

  userId(name: string): number | undefined {
    return this.#accounts.users.id(name);
  }

  groupId(name: string): number | undefined {
    return this.#accounts.groups.id(name);
  }

  effectiveUserId(): number {
    return process.geteuid?.() ?? 0;
  }

  openFilesLimit(): number {
    const limits = this.#record;
    if (this.#c.getrlimit(RLIMIT_NOFILE, this.#recordBytes) < 0) return answer(-1);
    if (limits[0] !== limits[1]) {
      const soft = limits[0] as bigint;
      limits[0] = limits[1] as bigint;
      if (this.#c.setrlimit(RLIMIT_NOFILE, this.#recordBytes) < 0) limits[0] = soft;
    }
    return Number(BigInt.asUintN(53, limits[0] as bigint));
  }

  dieWithParent(): void {
    this.#c.prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  }

  freeBytes(fd: number): number {
    const result = answer(this.#c.fstatvfs(fd, this.#recordBytes));
    if (result < 0) return result;
    // struct statvfs: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, …
    return Number(this.#record[1]) * Number(this.#record[4]);
  }

  #open(parent: number, name: ByteString, flags: number, mode: number): number {
    const path = this.#name.put(name);
    for (;;) {
      const fd = answer(this.#c.openat(parent, path, flags, mode));
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

  #putTime(index: number, seconds: number, nanos: number): void {
    const high = Math.floor(seconds / TWO_32);
    this.#timesU32[index] = seconds - high * TWO_32;
    this.#timesU32[index + 1] = high;
    this.#timesU32[index + 2] = nanos;
    this.#timesU32[index + 3] = 0;
  }
}

/** What the call returned, or the negative errno. */
function answer(result: number): number {
  return result < 0 ? -lastErrno() : result;
}

function assertRange(view: Uint8Array, offset: number, length: number): void {
  assert(
    offset >= 0 && length >= 0 && offset + length <= view.length,
    'a range lies within its view',
  );
}

/** As the C library's makedev: the two numbers' bits interleaved in 64. */
function deviceNumber(major: number, minor: number): bigint {
  const high = BigInt(major);
  const low = BigInt(minor);
  return (
    ((high & 0xfffff000n) << 32n) |
    ((high & 0xfffn) << 8n) |
    ((low & 0xffffff00n) << 12n) |
    (low & 0xffn)
  );
}

/**
 * Adds what one getdents64 wrote. A record: inode u64, offset u64, its length u16, kind u8, name, NUL,
 * and padding up to a multiple of 8 that holds anything; so the NUL is the first in the last 8 bytes.
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
      bytes[start] === 0x2e && (nameLength === 1 || (nameLength === 2 && bytes[start + 1] === 0x2e));
    if (!dots) into.add(bytes.toString('latin1', start, end), bytes[at + 18] as number);
    at = next;
  }
}
