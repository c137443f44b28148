/**
 * What a tree of files holds, entry by entry, and whether two trees hold the same (U2).
 *
 * Contract: looks with Node's own calls (lstat with bigint, handles under /proc/self/fd), not with
 * those that the product uses, except for extended attributes, which Node has no call for. Goes by
 * handle, so that paths of any length work; names are bytes, one character each. Access and change
 * times are not looked at: nobody can restore the latter.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { type ByteString, fromBytes, toBytes, toDisplay } from '../src/base/bytes.ts';
import { openFiles } from '../src/host/mod.ts';

/** All that should come back of one entry. */
export interface Captured {
  readonly kind: string;
  readonly mode: string;
  readonly owner: string;
  /** Seconds and nanoseconds. */
  readonly mtime: string;
  readonly size?: string;
  readonly content?: string;
  readonly target?: string;
  readonly device?: string;
  /** The first path, in byte order, of the same file, where it has several. */
  readonly linkedWith?: ByteString;
  readonly attributes?: Readonly<Record<string, string>>;
}

export interface CaptureOptions {
  /** Fields that are left out, for example where not everything can be restored. */
  readonly without?: readonly (keyof Captured)[];
  /** Entries for which this is false are left out, with all below them. */
  readonly only?: (path: ByteString) => boolean;
  /** Attributes whose name does not begin with one of these are left out. */
  readonly attributes?: readonly string[];
}

/** A tree: paths below its root, in byte order; the root itself is ''. */
export type Tree = ReadonlyMap<ByteString, Captured>;

const KINDS: readonly (readonly [number, string])[] = [
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'directory'],
  [constants.S_IFLNK, 'link'],
  [constants.S_IFIFO, 'fifo'],
  [constants.S_IFSOCK, 'socket'],
  [constants.S_IFCHR, 'character device'],
  [constants.S_IFBLK, 'block device'],
];
const BUFFER: Buffer = Buffer.alloc(1024 * 1024);
const ZEROS: Buffer = Buffer.alloc(BUFFER.length);

/** Takes down everything below, and at, `root`. */
export function capture(root: ByteString, options: CaptureOptions = {}): Tree {
  const taken = new Capture(options);
  const fd = openSync(toBytes(root), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    taken.directory(fd, '');
  } finally {
    closeSync(fd);
  }
  return taken.entries;
}

class Capture {
  readonly entries = new Map<ByteString, Captured>();
  readonly #options: CaptureOptions;
  readonly #links = new Map<string, ByteString>();
  readonly #files = openFiles();

  constructor(options: CaptureOptions) {
    this.#options = options;
  }

  /** The directory of an open handle. */
  directory(fd: number, path: ByteString): void {
    this.#add(path, lstatSync(`/proc/self/fd/${fd}/.`, { bigint: true }), {
      ...this.#attributes(() => this.#files.attributesOf(fd)),
    });
    const names = readdirSync(`/proc/self/fd/${fd}/.`, { encoding: 'buffer' }).map(fromBytes);
    for (const name of names.sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      if (this.#options.only?.(below) !== false) this.#entry(fd, name, below);
    }
  }

  #entry(parent: number, name: ByteString, path: ByteString): void {
    const place = toBytes(`/proc/self/fd/${parent}/${name}`);
    const status = lstatSync(place, { bigint: true });
    if (status.isDirectory()) {
      const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
      const fd = openSync(place, flags);
      this.directory(fd, path);
      closeSync(fd);
      return;
    }
    const device = status.isCharacterDevice() || status.isBlockDevice();
    this.#add(path, status, {
      ...(status.isFile() ? { size: String(status.size), content: contentHash(place) } : {}),
      ...(status.isSymbolicLink() ? { target: fromBytes(readlinkSync(place, 'buffer')) } : {}),
      ...(device ? { device: String(status.rdev) } : {}),
      ...(status.nlink > 1n ? { linkedWith: this.#group(status, path) } : {}),
      ...this.#attributes(() => this.#files.attributes(parent, name)),
    });
  }

  #group(status: BigIntStats, path: ByteString): ByteString {
    const key = `${status.dev}:${status.ino}`;
    if (!this.#links.has(key)) this.#links.set(key, path);
    return this.#links.get(key) ?? path;
  }

  #attributes(
    read: () => readonly { name: string; value: Uint8Array }[] | number,
  ): Pick<Captured, 'attributes'> {
    const attributes = read();
    assert.notEqual(typeof attributes, 'number', 'attributes can be read');
    const prefixes = this.#options.attributes ?? [''];
    const found: [string, string][] = [];
    for (const { name, value } of attributes as readonly { name: string; value: Uint8Array }[]) {
      if (prefixes.some((prefix) => name.startsWith(prefix))) {
        found.push([name, Buffer.from(value).toString('hex')]);
      }
    }
    return found.length === 0 ? {} : { attributes: Object.fromEntries(found.sort()) };
  }

  #add(path: ByteString, status: BigIntStats, more: Partial<Captured>): void {
    const kind = KINDS.find(([bits]) => (Number(status.mode) & constants.S_IFMT) === bits)?.[1];
    const all: Captured = {
      kind: kind ?? 'unknown',
      mode: (Number(status.mode) & 0o7777).toString(8),
      owner: `${status.uid}:${status.gid}`,
      mtime: timeText(status.mtimeNs),
      ...more,
    };
    const without = new Set<string>(this.#options.without);
    const kept = Object.entries(all).filter(([field]) => !without.has(field));
    this.entries.set(path, Object.fromEntries(kept) as unknown as Captured);
  }
}

/** `-1.999999999`: seconds below zero, nanoseconds above, as the system counts. */
export function timeText(nanoseconds: bigint): string {
  const seconds =
    nanoseconds >= 0n ? nanoseconds / 10n ** 9n : (nanoseconds - 999_999_999n) / 10n ** 9n;
  return `${seconds}.${String(nanoseconds - seconds * 10n ** 9n).padStart(9, '0')}`;
}

/** Of all bytes and their places, where stretches of zeros, which holes read as, take no time. */
function contentHash(place: Buffer): string {
  const fd = openSync(place, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const hash = createHash('sha256');
    let position = 0;
    for (let got = readSync(fd, BUFFER); got > 0; got = readSync(fd, BUFFER)) {
      if (ZEROS.compare(BUFFER, 0, got, 0, got) !== 0) {
        hash.update(`${position} ${got}:`).update(BUFFER.subarray(0, got));
      }
      position += got;
    }
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}

/** Asserts that both hold the same; shows the first differences with readable names. */
export function assertSameTree(actual: Tree, expected: Tree): void {
  const wrong: Record<string, { actual: Captured | 'missing'; expected: Captured | 'missing' }> =
    {};
  for (const path of new Set([...expected.keys(), ...actual.keys()])) {
    const a = actual.get(path) ?? 'missing';
    const b = expected.get(path) ?? 'missing';
    if (JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))) continue;
    wrong[toDisplay(path)] = { actual: a, expected: b };
    if (Object.keys(wrong).length >= 10) break;
  }
  assert.deepEqual(wrong, {});
}

function sorted(value: Captured | 'missing'): unknown {
  return typeof value === 'string'
    ? value
    : Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The part of a tree below a path, as a tree of its own. */
export function subtreeOf(tree: Tree, path: ByteString): Tree {
  const part = new Map<ByteString, Captured>();
  for (const [name, entry] of tree) {
    if (name === path) part.set('', entry);
    else if (name.startsWith(`${path}/`)) part.set(name.slice(path.length + 1), entry);
  }
  return part;
}
