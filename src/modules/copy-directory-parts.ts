/**
 * The parts of large files that lie in one directory of a copy's target: with which the copy goes on, which
 * fit nothing any more, and how what is missing of a file is cut.
 */
import type { ByteString } from '../base/bytes.ts';
import type { FileStatus } from '../host/files-only.ts';
import { type Part, type PartRange, partLogName, placeOfLog } from './copy-parts.ts';
import { COPY_PIECE_BYTES } from './copy-stream.ts';

/** Large files are read in regions of this size, each by the next free instance. */
const REGION_BYTES = 16 * COPY_PIECE_BYTES;
/** Of a file of whatever size there are no more than about so many. */
const REGIONS_MAX = 65_536;

export class DirectoryParts {
  /** By the names that the files get. */
  readonly #parts = new Map<ByteString, Part>();
  /** Temporary files that are dealt with here. */
  readonly #places = new Set<ByteString>();
  readonly #useless: ByteString[] = [];

  constructor(parts: readonly Part[]) {
    for (const part of parts) {
      const { name } = part.entry;
      const other = this.#parts.get(name);
      if (other !== undefined) this.#useless.push(other.place);
      this.#parts.set(name, part);
      this.#places.add(part.place);
    }
  }

  /** The part of a file, if that is still what it was then. It is gone on with. */
  take(name: ByteString, source: FileStatus): Part | undefined {
    const part = this.#parts.get(name);
    if (part === undefined || part.ranges.length === 0) return undefined;
    const { entry } = part;
    const isSame =
      entry.size === source.size &&
      entry.inode === source.inode &&
      entry.mtimeSeconds === source.mtimeSeconds &&
      entry.mtimeNanos === source.mtimeNanos &&
      entry.ctimeSeconds === source.ctimeSeconds &&
      entry.ctimeNanos === source.ctimeNanos;
    if (!isSame) return undefined;
    this.#parts.delete(name);
    return part;
  }
  /** Whether a temporary file of this name is a part, or the log of one. */
  has(name: ByteString): boolean {
    return this.#places.has(placeOfLog(name) ?? name);
  }
  /** Names of what nothing goes on with. */
  get leftOver(): ByteString[] {
    const places = [...this.#useless, ...[...this.#parts.values()].map(({ place }) => place)];
    return places.flatMap((place) => [place, partLogName(place)]);
  }
}

/** Cuts ranges. Of a file that is whole already, whoever gives it its name hears by a region of nothing. */
export function* regionsOf(
  ranges: readonly PartRange[],
  bytes: number,
  size: number,
): Generator<PartRange> {
  if (ranges.length === 0) yield { from: size, to: size };
  const most = REGION_BYTES * Math.max(1, Math.ceil(bytes / (REGIONS_MAX * REGION_BYTES)));
  for (const { from, to } of ranges) {
    for (let at = from; at < to; at += most) yield { from: at, to: Math.min(to, at + most) };
  }
}
