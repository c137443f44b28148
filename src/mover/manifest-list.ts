/**
 * What one directory of an archive holds, without reading all that lies below.
 */
import { type ByteString, comparePaths, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ENTRY } from '../format/entry.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import { findEntry, ManifestCursor, type ManifestRoot } from '../modules/manifest-cursor.ts';
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
 * yielded is valid until the next step.
 *
 * @throws PATH_UNKNOWN, DAMAGED, OBJECT_MISSING
 */
export function* listEntries(
  reader: BlobReader,
  root: ManifestRoot,
  request: ListRequest,
): Generator<LeafEntry> {
  const path = toManifestPath(request.path);
  if (path === '') {
    yield* below(reader, root, new ManifestCursor(reader, root), '', 0, request.recursive);
    return;
  }
  const cursor = findEntry(reader, root, path);
  if (cursor === undefined) {
    throw new PenstockError('PATH_UNKNOWN', `the archive has no ${toDisplay(`/${path}`)}`, {
      subject: path,
    });
  }
  if (cursor.entry.kind !== ENTRY.directory) {
    yield { entry: cursor.entry, path };
    return;
  }
  const prefix = `${path}/`;
  yield* below(reader, root, cursor, prefix, cursor.depth + 1, request.recursive);
}

/** From the entry after the one that `start` stands on, as long as paths begin with `prefix`. */
function* below(
  reader: BlobReader,
  root: ManifestRoot,
  start: ManifestCursor,
  prefix: ByteString,
  depth: number,
  recursive: boolean,
): Generator<LeafEntry> {
  let cursor = start;
  let child = '';
  let scanned = 0;
  let more = cursor.advance();
  while (more) {
    const path = cursor.path();
    if (!path.startsWith(prefix)) return;
    if (recursive || cursor.depth === depth) {
      yield { entry: cursor.entry, path };
      child = path;
      scanned = 0;
      more = cursor.advance();
    } else if (++scanned < SCAN_ENTRIES) {
      more = cursor.advance();
    } else {
      const end = `${child}/${BEYOND_NAMES}`;
      cursor = new ManifestCursor(reader, root, end);
      do more = cursor.advance();
      while (more && comparePaths(cursor.path(), end) < 0);
      scanned = 0;
    }
  }
}
