/**
 * What the system knows of one file (FileStatus), and what a directory holds (DirectoryListing).
 *
 * Contract: both are made once and filled again for every file; reading a field allocates nothing.
 * A FileStatus has Linux's `struct statx` as its memory, on every platform, so that the system can
 * write into it; only this file knows the offsets.
 *
 *   offset size field             offset size field
 *        0    4 mask                  48    8 blocks of 512 bytes
 *        4    4 block size            64   16 access time  (int64 seconds, uint32 nanoseconds)
 *        8    8 attributes            80   16 birth time
 *       16    4 links                 96   16 change time
 *       20    4 uid                  112   16 modification time
 *       24    4 gid                  128    8 device number of a device file (major, minor)
 *       28    2 mode                 136    8 device number of the file system (major, minor)
 *       32    8 inode                144    8 mount id
 *       40    8 size
 */
import type { ByteString } from '../base/bytes.ts';

/** Kinds of files: the top four bits of the mode, which directory entries use too. */
export const KIND = {
  /** A directory listing may not know the kind: ask for the status. */
  unknown: 0,
  fifo: 1,
  characterDevice: 2,
  directory: 4,
  blockDevice: 6,
  file: 8,
  symlink: 10,
  socket: 12,
} as const;

export type Kind = (typeof KIND)[keyof typeof KIND];

const STATUS_BYTES = 256;
const TWO_32 = 2 ** 32;
const MASK_MOUNT_ID = 0x1000;

/** What `FileStatus.set` takes; for fakes and for files that come from elsewhere. */
export interface FileStatusFields {
  readonly kind: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly nlink?: number;
  readonly inode?: number;
  readonly deviceMajor?: number;
  readonly deviceMinor?: number;
  readonly rdevMajor?: number;
  readonly rdevMinor?: number;
  readonly atimeSeconds?: number;
  readonly atimeNanos?: number;
  readonly mtimeSeconds?: number;
  readonly mtimeNanos?: number;
  readonly ctimeSeconds?: number;
  readonly ctimeNanos?: number;
  readonly blocks512?: number;
}

export class FileStatus {
  /** What `copyTo` writes. */
  static readonly COPY_BYTES: number = 152;
  /** For the call that fills it. */
  readonly bytes: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #copied: Uint8Array;

  constructor() {
    const memory = new ArrayBuffer(STATUS_BYTES);
    this.bytes = new Uint8Array(memory);
    this.#u32 = new Uint32Array(memory);
    this.#i32 = new Int32Array(memory);
    this.#copied = this.bytes.subarray(0, FileStatus.COPY_BYTES);
  }

  /** Writes all fields to `memory`, for `copyFrom` in another thread. */
  copyTo(memory: Buffer, at: number): void {
    memory.set(this.#copied, at);
  }
  copyFrom(memory: Buffer, at: number): void {
    memory.copy(this.bytes, 0, at, at + FileStatus.COPY_BYTES);
  }

  #word(index: number): number {
    return this.#u32[index] as number;
  }

  #uint64(index: number): number {
    return (this.#u32[index + 1] as number) * TWO_32 + (this.#u32[index] as number);
  }

  /** Of times, which some file systems take as far as 64 bits go, and numbers are not exact. */
  #int64(index: number): number {
    const value = (this.#i32[index + 1] as number) * TWO_32 + (this.#u32[index] as number);
    return Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
  }

  /** One of KIND. */
  get kind(): number {
    return (this.#word(7) >>> 12) & 0xf;
  }

  /** The twelve permission bits. */
  get mode(): number {
    return this.#word(7) & 0xfff;
  }

  get uid(): number {
    return this.#word(5);
  }

  get gid(): number {
    return this.#word(6);
  }

  get nlink(): number {
    return this.#word(4);
  }

  /** Not exact beyond 2^53. */
  get size(): number {
    return this.#uint64(10);
  }

  /** The low 53 bits; file systems that make numbers up use all 64, which the two words have. */
  get inode(): number {
    return (this.#word(9) & 0x1f_ffff) * TWO_32 + this.#word(8);
  }

  get inodeLow(): number {
    return this.#word(8);
  }

  get inodeHigh(): number {
    return this.#word(9);
  }

  /** The same for all names of one file, and for no other file of this machine. */
  get fileKey(): string {
    return `${this.deviceMajor}:${this.deviceMinor}:${this.inodeHigh}:${this.inodeLow}`;
  }

  /** Space taken, in units of 512 bytes; less than the size for a file with holes. */
  get blocks512(): number {
    return this.#uint64(12);
  }

  get atimeSeconds(): number {
    return this.#int64(16);
  }

  get atimeNanos(): number {
    return this.#word(18);
  }

  get ctimeSeconds(): number {
    return this.#int64(24);
  }

  get ctimeNanos(): number {
    return this.#word(26);
  }

  get mtimeSeconds(): number {
    return this.#int64(28);
  }

  get mtimeNanos(): number {
    return this.#word(30);
  }

  /** What a device file stands for. */
  get rdevMajor(): number {
    return this.#word(32);
  }

  get rdevMinor(): number {
    return this.#word(33);
  }

  /** The file system that the file lies on. */
  get deviceMajor(): number {
    return this.#word(34);
  }

  get deviceMinor(): number {
    return this.#word(35);
  }

  /** Tells bind mounts of one file system apart; 0 where the system does not say. */
  get mountId(): number {
    return (this.#word(0) & MASK_MOUNT_ID) === 0 ? 0 : this.#uint64(36);
  }

  /** Fills all fields; those not given become 0. */
  set(fields: FileStatusFields): void {
    const u32 = this.#u32;
    u32.fill(0);
    u32[4] = fields.nlink ?? 1;
    u32[5] = fields.uid ?? 0;
    u32[6] = fields.gid ?? 0;
    u32[7] = (fields.kind << 12) | ((fields.mode ?? 0) & 0xfff);
    this.#put64(8, fields.inode ?? 0);
    this.#put64(10, fields.size ?? 0);
    this.#put64(12, fields.blocks512 ?? Math.ceil((fields.size ?? 0) / 512));
    this.#put64(16, fields.atimeSeconds ?? 0);
    u32[18] = fields.atimeNanos ?? 0;
    this.#put64(24, fields.ctimeSeconds ?? 0);
    u32[26] = fields.ctimeNanos ?? 0;
    this.#put64(28, fields.mtimeSeconds ?? 0);
    u32[30] = fields.mtimeNanos ?? 0;
    u32[32] = fields.rdevMajor ?? 0;
    u32[33] = fields.rdevMinor ?? 0;
    u32[34] = fields.deviceMajor ?? 0;
    u32[35] = fields.deviceMinor ?? 0;
  }

  #put64(index: number, value: number): void {
    const high = Math.floor(value / TWO_32);
    this.#u32[index] = value - high * TWO_32;
    this.#u32[index + 1] = high;
  }
}

const KINDS_AT_FIRST = 256;

/** Names of a directory in the system's order, without `.` and `..`; with a kind for each. */
export class DirectoryListing {
  readonly names: ByteString[] = [];
  /** KIND values; the first `names.length` count, what lies behind is left over from before. */
  kinds: Uint8Array = new Uint8Array(KINDS_AT_FIRST);

  get count(): number {
    return this.names.length;
  }

  add(name: ByteString, kind: number): void {
    const index = this.names.length;
    if (index === this.kinds.length) {
      const larger = new Uint8Array(index * 2);
      larger.set(this.kinds);
      this.kinds = larger;
    }
    this.kinds[index] = kind;
    this.names.push(name);
  }

  clear(): void {
    this.names.length = 0;
  }
}
