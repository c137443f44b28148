/**
 * Index segments of a remote repository, kept in the state folder: a segment never changes, so what
 * is here once is not fetched again.
 *
 *   FOLDER/<name>.<crc32 of its bytes, 8 hex digits>
 *
 * Contract: a cache and nothing else. It may be deleted at any time, and where it cannot be written
 * there is none. What does not have its checksum any more is removed and fetched again; that a
 * segment is genuine is checked by whoever reads it. Segments that the server does not list any more
 * are removed.
 */
import { crc32 } from 'node:zlib';
import type { ByteString } from '../../base/bytes.ts';
import { CWD, FileStatus, type Files, newListing, openFiles, openRandom } from '../../host/mod.ts';

const NEW = '.new-';
const READ_BYTES = 1 << 20;

export class IndexCache {
  readonly #folder: ByteString;
  readonly #files: Files = openFiles();
  #checksums: Map<string, string> | undefined;

  constructor(folder: ByteString) {
    this.#folder = folder;
  }

  /** The checksum of each segment that is here. */
  #known(): Map<string, string> {
    if (this.#checksums !== undefined) return this.#checksums;
    const known = new Map<string, string>();
    const fd = this.#files.openDirectory(CWD, this.#folder);
    if (fd >= 0) {
      const listing = newListing();
      this.#files.list(fd, listing);
      this.#files.close(fd);
      for (const file of listing.names) {
        const [, name, sum] = /^([0-9a-f]{32})\.([0-9a-f]{8})$/.exec(file) ?? [];
        if (name !== undefined && sum !== undefined) known.set(name, sum);
      }
    }
    this.#checksums = known;
    return known;
  }
  #path(name: string, sum: string): ByteString {
    return `${this.#folder}/${name}.${sum}`;
  }

  /** An open file of a segment; -1 when it is not here as it was stored. */
  open(name: string): number {
    const sum = this.#known().get(name);
    if (sum === undefined) return -1;
    const fd = this.#files.openRead(CWD, this.#path(name, sum));
    if (fd >= 0 && this.#checksum(fd) === sum) return fd;
    if (fd >= 0) this.#files.close(fd);
    this.remove(name);
    return -1;
  }
  #checksum(fd: number): string {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let sum = 0;
    for (let at = 0; ; ) {
      const got = this.#files.read(fd, buffer, 0, READ_BYTES, at);
      if (got < 0) return '';
      sum = crc32(buffer.subarray(0, got), sum);
      at += got;
      if (got < READ_BYTES) return hex(sum);
    }
  }

  /** The bytes of a segment; undefined when it is not here. */
  read(name: string): Buffer | undefined {
    const fd = this.open(name);
    if (fd < 0) return undefined;
    const status = new FileStatus();
    this.#files.statusOf(fd, status);
    const bytes = Buffer.alloc(status.size);
    const got = this.#files.read(fd, bytes, 0, bytes.length, 0);
    this.#files.close(fd);
    return got === bytes.length ? bytes : undefined;
  }

  /** Keeps a segment, if that is possible. */
  keep(name: string, bytes: Uint8Array): void {
    const files = this.#files;
    const known = this.#known();
    if (known.has(name) || !this.#makeFolder()) return;
    const temporary = `${this.#folder}/${NEW}${openRandom().bytes(8).toString('hex')}`;
    const fd = files.createExclusive(CWD, temporary, 0o600);
    if (fd < 0) return;
    const sum = hex(crc32(bytes));
    const written = files.write(fd, bytes, 0, bytes.length, 0);
    files.close(fd);
    // Not synced: after a power loss its checksum tells.
    if (written >= 0 && files.rename(CWD, temporary, CWD, this.#path(name, sum)) >= 0)
      known.set(name, sum);
    else files.remove(CWD, temporary);
  }
  #makeFolder(): boolean {
    for (let end = 1; end <= this.#folder.length; end++) {
      if (end < this.#folder.length && this.#folder[end] !== '/') continue;
      this.#files.makeDirectory(CWD, this.#folder.slice(0, end), 0o700);
    }
    const fd = this.#files.openDirectory(CWD, this.#folder);
    if (fd >= 0) this.#files.close(fd);
    return fd >= 0;
  }

  remove(name: string): void {
    const sum = this.#known().get(name);
    if (sum === undefined) return;
    this.#files.remove(CWD, this.#path(name, sum));
    this.#known().delete(name);
  }

  /** Removes what is not among these names. */
  retain(names: ReadonlySet<string>): void {
    for (const name of [...this.#known().keys()]) if (!names.has(name)) this.remove(name);
  }
}

function hex(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}
