/**
 * Compares two directory trees: names, kinds, contents, sizes, modes, owners, modification times to
 * the nanosecond, targets of symbolic links, device numbers and which names are the same file.
 *
 * Contract: uses only Node's own file calls and none of Penstock's code, so that what it finds equal
 * was not judged by the program that made it. It reads both trees and writes nothing. Entries of the
 * source that changed after a given time are counted, not judged. Names may be of any bytes (latin1
 * strings here, as everywhere).
 */
import {
  type BigIntStats,
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';

const PIECE_BYTES = 1024 * 1024;
const TYPE_BITS = 0o170000n;

export interface TreeComparison {
  /** Entries that both trees have. */
  readonly entries: number;
  readonly files: number;
  /** Bytes of the files that were compared, as the file system tells their length. */
  readonly bytes: number;
  /** Entries of the source that changed since. */
  readonly changed: number;
  readonly differences: readonly string[];
}

/** Compares the tree under `made` with the one under `source` as it was at `sinceMs`. */
export function compareTrees(source: string, made: string, sinceMs: number): TreeComparison {
  const comparison = new Comparison(BigInt(Math.floor(sinceMs)) * 1_000_000n);
  comparison.compare(Buffer.from(source), Buffer.from(made), '.', false);
  return comparison;
}

class Comparison implements TreeComparison {
  entries = 0;
  files = 0;
  bytes = 0;
  changed = 0;
  readonly differences: string[] = [];
  readonly #sinceNs: bigint;
  readonly #left = Buffer.alloc(PIECE_BYTES);
  readonly #right = Buffer.alloc(PIECE_BYTES);
  /** The name under which a file with several names was seen first, by device and inode. */
  readonly #firstNames = new Map<string, string>();

  constructor(sinceNs: bigint) {
    this.#sinceNs = sinceNs;
  }

  /** `parentChanged` explains a name that is missing on one side. */
  compare(source: Buffer, made: Buffer, name: string, parentChanged: boolean): void {
    const want = status(source);
    const have = status(made);
    const changed = want === undefined ? parentChanged : want.ctimeNs >= this.#sinceNs;
    if (changed) this.changed++;
    if (want === undefined || have === undefined) {
      const where = want === undefined ? 'only in what was made' : 'missing';
      if (!changed) this.differences.push(`${name}: ${where}`);
      return;
    }
    this.entries++;
    if (!changed) this.#compareEntries(source, made, name, want, have);
    if (want.isDirectory() && have.isDirectory()) {
      this.#compareDirectories(source, made, name, changed);
    }
  }

  #compareEntries(
    source: Buffer,
    made: Buffer,
    name: string,
    want: BigIntStats,
    have: BigIntStats,
  ): void {
    this.#compareStatus(want, have, name);
    if ((want.mode & TYPE_BITS) !== (have.mode & TYPE_BITS)) return;
    if (want.isSymbolicLink()) this.#expect(name, 'target', linkOf(source), linkOf(made));
    else if (want.isFile()) this.#compareFiles(source, made, name, want);
    this.#compareLinks(want, have, name);
  }

  #expect<T>(name: string, what: string, want: T, have: T): void {
    if (want !== have) this.differences.push(`${name}: ${what} ${have}, not ${want}`);
  }

  #compareStatus(want: BigIntStats, have: BigIntStats, name: string): void {
    this.#expect(name, 'kind and mode', want.mode.toString(8), have.mode.toString(8));
    this.#expect(name, 'owner', `${want.uid}:${want.gid}`, `${have.uid}:${have.gid}`);
    this.#expect(name, 'time', want.mtimeNs, have.mtimeNs);
    if (!want.isDirectory()) this.#expect(name, 'size', want.size, have.size);
    if (want.isBlockDevice() || want.isCharacterDevice()) {
      this.#expect(name, 'device', want.rdev, have.rdev);
    }
  }

  /** The same names of a file on one side must be the same file on the other. */
  #compareLinks(want: BigIntStats, have: BigIntStats, name: string): void {
    if (want.isDirectory() || (want.nlink === 1n && have.nlink === 1n)) return;
    const first = (side: string, { dev, ino }: BigIntStats): string => {
      const key = `${side} ${dev} ${ino}`;
      const known = this.#firstNames.get(key) ?? name;
      this.#firstNames.set(key, known);
      return known;
    };
    this.#expect(name, 'the same file as', first('source', want), first('made', have));
  }

  #compareDirectories(source: Buffer, made: Buffer, name: string, changed: boolean): void {
    const names = new Set([...namesIn(source), ...namesIn(made)]);
    for (const next of [...names].sort()) {
      this.compare(join(source, next), join(made, next), `${name}/${next}`, changed);
    }
  }

  #compareFiles(source: Buffer, made: Buffer, name: string, { size }: BigIntStats): void {
    this.files++;
    this.bytes += Number(size);
    const want = openSync(source, 'r');
    try {
      const have = openSync(made, 'r');
      try {
        if (!this.#sameContent(want, have)) this.differences.push(`${name}: other content`);
      } finally {
        closeSync(have);
      }
    } finally {
      closeSync(want);
    }
  }

  #sameContent(want: number, have: number): boolean {
    for (;;) {
      const left = readFully(want, this.#left);
      const right = readFully(have, this.#right);
      if (!left.equals(right)) return false;
      if (left.length < PIECE_BYTES) return true;
    }
  }
}

function readFully(descriptor: number, into: Buffer): Buffer {
  let filled = 0;
  while (filled < into.length) {
    const got = readSync(descriptor, into, filled, into.length - filled, null);
    if (got === 0) break;
    filled += got;
  }
  return into.subarray(0, filled);
}

function status(path: Buffer): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

function linkOf(path: Buffer): string {
  return readlinkSync(path, 'latin1');
}

function namesIn(folder: Buffer): string[] {
  return readdirSync(folder, 'latin1');
}

function join(folder: Buffer, name: string): Buffer {
  return Buffer.concat([folder, Buffer.from('/'), Buffer.from(name, 'latin1')]);
}
