/**
 * What one directory of an archive holds, without reading all that lies below.
 */
import { type ByteString, comparePaths, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ENTRY } from '../format/entry.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import {
  ManifestCursor,
  type ManifestGap,
  type ManifestRoot,
  type OnGap,
  seekEntry,
} from '../modules/manifest-cursor.ts';
import type { LeafEntry } from './manifest-leaves.ts';
import { toManifestPath } from './manifest-walk.ts';

/** After so many entries below a child, looking for the next child by path is cheaper. */
const SCAN_ENTRIES = 512;
/** Greater than every name. */
const BEYOND_NAMES = '\xff'.repeat(LIMITS.nameBytesMax + 1);

export interface ListRequest {
  /** As a user gives it; empty: the top. */
  readonly path: ByteString;
  /** Everything below, not only what the directory itself holds. */
  readonly recursive: boolean;
}

/**
 * The entries that a directory holds, in the order of the archive; of anything else, itself. What is
 * yielded is valid until the next step. Where `onGap` is given, parts of the manifest that cannot
 * be read are told to it, maybe more than once, and passed over.
 *
 * @throws PATH_UNKNOWN, DAMAGED, OBJECT_MISSING
 */
export function* listEntries(
  reader: BlobReader,
  root: ManifestRoot,
  request: ListRequest,
  onGap?: OnGap,
): Generator<LeafEntry> {
  const path = toManifestPath(request.path);
  if (path === '') {
    const listing = new Listing(reader, root, '', 0, request.recursive, onGap);
    yield* listing.from(new ManifestCursor(reader, root, '', onGap));
    return;
  }
  const { cursor, found, lostIn } = seekEntry(reader, root, path, onGap);
  if (!found && lostIn === undefined) {
    throw new PenstockError('PATH_UNKNOWN', `the archive has no ${toDisplay(`/${path}`)}`, {
      subject: path,
    });
  }
  const depth = path.split('/').length;
  const listing = new Listing(reader, root, `${path}/`, depth, request.recursive, onGap);
  if (!found) {
    // The entry of the directory is lost, not all that lies in it.
    if (cursor.valid) yield* listing.at(cursor);
  } else if (cursor.entry.kind !== ENTRY.directory) yield { entry: cursor.entry, path };
  else yield* listing.from(cursor);
}

/** Lists what lies below a directory whose entries have this depth. */
class Listing {
  readonly #reader: BlobReader;
  readonly #root: ManifestRoot;
  readonly #prefix: ByteString;
  readonly #depth: number;
  readonly #recursive: boolean;
  readonly #onGap: OnGap | undefined;

  constructor(
    reader: BlobReader,
    root: ManifestRoot,
    prefix: ByteString,
    depth: number,
    recursive: boolean,
    onGap: OnGap | undefined,
  ) {
    this.#reader = reader;
    this.#root = root;
    this.#prefix = prefix;
    this.#depth = depth;
    this.#recursive = recursive;
    this.#onGap = onGap;
  }

  /** From the entry behind the one that the cursor stands on. */
  *from(cursor: ManifestCursor): Generator<LeafEntry> {
    if (cursor.advance()) yield* this.at(cursor);
  }

  /** From the entry that the cursor stands on, as long as paths begin with the prefix. */
  *at(start: ManifestCursor): Generator<LeafEntry> {
    let cursor = start;
    let scanned = 0;
    let more = true;
    while (more) {
      const path = cursor.path();
      if (!path.startsWith(this.#prefix)) return;
      if (this.#recursive || cursor.depth === this.#depth) {
        yield { entry: cursor.entry, path };
        scanned = 0;
        more = cursor.advance();
      } else if (++scanned < SCAN_ENTRIES) {
        more = cursor.advance();
      } else {
        // Not of the last child that was shown: the entry of this one may be lost.
        const child = [...cursor.parents, cursor.name].slice(0, this.#depth + 1);
        cursor = this.#behind(`${child.join('/')}/`);
        more = cursor.valid;
        scanned = 0;
      }
    }
  }
  /** On the first entry behind all that lies below a child. */
  #behind(child: ByteString): ManifestCursor {
    const end = child + BEYOND_NAMES;
    const onGap = this.#onGap;
    const listen = (gap: ManifestGap): void => {
      const isWithin = gap.ref.path.startsWith(child) && gap.until?.startsWith(child);
      if (isWithin !== true) onGap?.(gap);
    };
    const tell = onGap === undefined ? undefined : listen;
    const cursor = new ManifestCursor(this.#reader, this.#root, end, tell);
    while (cursor.advance() && comparePaths(cursor.path(), end) < 0);
    return cursor;
  }
}
