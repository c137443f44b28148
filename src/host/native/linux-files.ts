/**
 * The port `Files` over Linux's C library: names and metadata here, the rest in linux-contents.ts.
 *
 * Contract: that of files.ts. No call allocates, except for targets and attributes that are
 * returned.
 */
import type { ByteString } from '../../base/bytes.ts';
import { ERRNO } from '../errno.ts';
import { FileStatus, KIND } from '../file-status.ts';
import { type Attribute, CWD, type Files } from '../files.ts';
import type { Libc } from './libc.ts';
import { LinuxAccounts } from './linux-accounts.ts';
import { LinuxAttributes } from './linux-attributes.ts';
import { LinuxContents } from './linux-contents.ts';
import { NameScratch } from './scratch.ts';

/** Not by an import: linux-contents.ts says why. */
const { constants } = process.getBuiltinModule('node:fs');

/** O_PATH and O_CLOEXEC are not among Node's constants; the same on x64 and arm64. */
const OPEN_PATH = 0o12000000 | constants.O_NOFOLLOW;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const RENAME_NOREPLACE = 1;
const RLIMIT_NOFILE = 7;
const PR_SET_PDEATHSIG = 1;
const SIGTERM = 15;
const UTIME_NOW = 0x3fffffff;
const LINK_BYTES_AT_FIRST = 4096;
const TWO_32 = 2 ** 32;

export class LinuxFiles extends LinuxContents implements Files {
  readonly #otherName = new NameScratch();
  /** Two `struct timespec`: access and modification. */
  readonly #times: Uint8Array = new Uint8Array(32);
  readonly #timesU32: Uint32Array = new Uint32Array(this.#times.buffer);
  readonly #record: BigUint64Array = new BigUint64Array(32);
  readonly #recordBytes: Uint8Array = new Uint8Array(this.#record.buffer);
  readonly #chmodStatus: FileStatus = new FileStatus();
  readonly #attributes: LinuxAttributes;
  readonly #accounts: LinuxAccounts;
  #linkBytes: Buffer | undefined;

  constructor(libc: Libc) {
    super(libc);
    this.#attributes = new LinuxAttributes(libc);
    this.#accounts = new LinuxAccounts(libc);
  }

  makeDirectory(parent: number, name: ByteString, mode: number): number {
    return this.c.mkdirat(parent, this.name.put(name), mode);
  }

  remove(parent: number, name: ByteString): number {
    return this.c.unlinkat(parent, this.name.put(name), 0);
  }

  removeDirectory(parent: number, name: ByteString): number {
    return this.c.unlinkat(parent, this.name.put(name), AT_REMOVEDIR);
  }

  rename(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number {
    const from = this.name.put(oldName);
    return this.c.renameat(oldParent, from, newParent, this.#otherName.put(newName));
  }

  renameExclusive(
    oldParent: number,
    oldName: ByteString,
    newParent: number,
    newName: ByteString,
  ): number {
    const from = this.name.put(oldName);
    const to = this.#otherName.put(newName);
    return this.c.renameat2(oldParent, from, newParent, to, RENAME_NOREPLACE);
  }

  link(oldParent: number, oldName: ByteString, newParent: number, newName: ByteString): number {
    const from = this.name.put(oldName);
    return this.c.linkat(oldParent, from, newParent, this.#otherName.put(newName), 0);
  }

  symlink(target: ByteString, parent: number, name: ByteString): number {
    return this.c.symlinkat(this.name.put(target), parent, this.#otherName.put(name));
  }

  readLink(parent: number, name: ByteString): ByteString | number {
    const path = this.name.put(name);
    this.#linkBytes ??= Buffer.allocUnsafeSlow(LINK_BYTES_AT_FIRST);
    for (;;) {
      const bytes = this.#linkBytes;
      const length = this.c.readlinkat(parent, path, bytes, bytes.length);
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
    return this.c.mknodat(parent, this.name.put(name), kindAndMode, device);
  }

  chmod(parent: number, name: ByteString, mode: number): number {
    const path = this.name.put(name);
    const result = this.c.fchmodat(parent, path, mode, AT_SYMLINK_NOFOLLOW);
    // The answer for a link, and for everything from C libraries before 2.32.
    return result === -ERRNO.EOPNOTSUPP ? this.#chmodByHandle(parent, path, mode) : result;
  }

  chmodOf(fd: number, mode: number): number {
    return this.c.fchmod(fd, mode);
  }

  chown(parent: number, name: ByteString, uid: number, gid: number): number {
    return this.c.fchownat(parent, this.name.put(name), uid, gid, AT_SYMLINK_NOFOLLOW);
  }

  chownOf(fd: number, uid: number, gid: number): number {
    return this.c.fchown(fd, uid, gid);
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
    const path = this.name.put(name);
    return this.c.utimensat(parent, path, this.#times, AT_SYMLINK_NOFOLLOW);
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
    return this.c.futimens(fd, this.#times);
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

  setAttribute(parent: number, name: ByteString, attribute: ByteString, value: Uint8Array): number {
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
    const got = this.c.getrlimit(RLIMIT_NOFILE, this.#recordBytes);
    if (got < 0) return got;
    if (limits[0] !== limits[1]) {
      const soft = limits[0] as bigint;
      limits[0] = limits[1] as bigint;
      if (this.c.setrlimit(RLIMIT_NOFILE, this.#recordBytes) < 0) limits[0] = soft;
    }
    return Number(BigInt.asUintN(53, limits[0] as bigint));
  }

  dieWithParent(): void {
    this.c.prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  }

  freeBytes(fd: number): number {
    const result = this.c.fstatvfs(fd, this.#recordBytes);
    if (result < 0) return result;
    // struct statvfs: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, …
    return Number(this.#record[1]) * Number(this.#record[4]);
  }

  /** A handle that cannot be read from still has a path under /proc that leads to what it holds. */
  #chmodByHandle(parent: number, path: Buffer, mode: number): number {
    const fd = this.c.openat(parent, path, OPEN_PATH, 0);
    if (fd < 0) return fd;
    const status = this.#chmodStatus;
    let result = this.statusOf(fd, status);
    if (result >= 0 && status.kind === KIND.symlink) result = -ERRNO.EOPNOTSUPP;
    if (result >= 0) {
      const target = this.#otherName.put(`/proc/self/fd/${fd}`);
      result = this.c.fchmodat(CWD, target, mode, 0);
    }
    this.c.close(fd);
    return result;
  }

  #putTime(index: number, seconds: number, nanos: number): void {
    const high = Math.floor(seconds / TWO_32);
    this.#timesU32[index] = seconds - high * TWO_32;
    this.#timesU32[index + 1] = high;
    this.#timesU32[index + 2] = nanos;
    this.#timesU32[index + 3] = 0;
  }
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
