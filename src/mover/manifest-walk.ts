/**
 * Entries of an archive below some paths, with the directories above them: what restore, ls, find and
 * check go through. And the content of a file, record by record, whatever its number of levels.
 */
import { type ByteString, comparePaths, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NAME_BYTES } from '../format/block.ts';
import { CONTENT_RECORD_BYTES, contentIsHole, contentLength } from '../format/content.ts';
import type { EntryView } from '../format/entry.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import { findEntry, ManifestCursor, type ManifestRoot } from '../modules/manifest-cursor.ts';

export interface WalkedEntry {
  readonly entry: EntryView;
  readonly path: ByteString;
  readonly components: readonly ByteString[];
  /** It was asked for, or lies below what was; else it is a directory on the way there. */
  readonly wanted: boolean;
}

/** A path as a user gives it, as it stands in a manifest: no slash at either end, no empty component. */
export function toManifestPath(path: ByteString): ByteString {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..'))
    throw new PenstockError('USAGE', `a path in an archive has no "..": ${toDisplay(path)}`);
  return parts.join('/');
}

/** Whether a walk of these paths comes to this one, beside the directories on its way. */
export function isBelow(path: ByteString, paths: readonly ByteString[]): boolean {
  if (paths.length === 0) return true;
  return paths
    .map(toManifestPath)
    .some((wanted) => wanted === '' || path === wanted || path.startsWith(`${wanted}/`));
}

/**
 * Walks the archive in order; `paths` empty: all of it. What is yielded is valid until the next step.
 *
 * @throws PATH_UNKNOWN, DAMAGED, OBJECT_MISSING
 */
export function* walkManifest(
  reader: BlobReader,
  root: ManifestRoot,
  paths: readonly ByteString[],
): Generator<WalkedEntry> {
  const wanted = [...new Set(paths.map(toManifestPath))].sort(comparePaths);
  if (wanted.length === 0 || wanted[0] === '') {
    yield* subtree(new ManifestCursor(reader, root), undefined);
    return;
  }
  // Before anything is yielded: what is asked for is there as a whole.
  for (const path of wanted) locate(reader, root, path);
  const shown = new Set<ByteString>();
  let last: ByteString | undefined;
  for (const path of wanted) {
    // It lies below the one before.
    if (last !== undefined && path.startsWith(`${last}/`)) continue;
    last = path;
    const parts = path.split('/');
    for (let i = 1; i < parts.length; i++) {
      const above = parts.slice(0, i).join('/');
      if (shown.has(above)) continue;
      shown.add(above);
      const cursor = locate(reader, root, above);
      yield { entry: cursor.entry, path: above, components: parts.slice(0, i), wanted: false };
    }
    const cursor = locate(reader, root, path);
    yield { entry: cursor.entry, path, components: parts, wanted: true };
    yield* subtree(cursor, path);
  }
}

function locate(reader: BlobReader, root: ManifestRoot, path: ByteString): ManifestCursor {
  const cursor = findEntry(reader, root, path);
  if (cursor === undefined) {
    throw new PenstockError('PATH_UNKNOWN', `the archive has no ${toDisplay(path)}`, {
      subject: path,
    });
  }
  return cursor;
}

function* subtree(cursor: ManifestCursor, below: ByteString | undefined): Generator<WalkedEntry> {
  const depth = below === undefined ? -1 : cursor.depth;
  const walked = new CursorEntry(cursor);
  while (cursor.advance()) {
    if (cursor.depth <= depth) return;
    yield walked;
  }
}

/** The current entry of a cursor; its path is put together only where it is asked for. */
class CursorEntry implements WalkedEntry {
  readonly wanted = true;
  readonly #cursor: ManifestCursor;

  constructor(cursor: ManifestCursor) {
    this.#cursor = cursor;
  }
  get entry(): EntryView {
    return this.#cursor.entry;
  }
  get path(): ByteString {
    return this.#cursor.path();
  }
  get components(): readonly ByteString[] {
    return this.#cursor.components();
  }
}

/** One piece of a file. */
export interface ContentPiece {
  /** Name of the blob; undefined: a hole. */
  readonly name: Buffer | undefined;
  readonly offset: number;
  readonly length: number;
}

/** The content of a file in order. DAMAGED when the lists do not cover the file. */
export function* contentOf(reader: BlobReader, entry: EntryView): Generator<ContentPiece> {
  const levels = entry.contentLevels;
  if (levels > LIMITS.manifestLevelsMax)
    throw new PenstockError('DAMAGED', `a content list of ${levels} levels`);
  const { contentAt, contentCount } = entry;
  const records = entry.bytes.subarray(contentAt, contentAt + contentCount * CONTENT_RECORD_BYTES);
  yield* piecesOf(reader, records, levels, 0);
}

function* piecesOf(
  reader: BlobReader,
  records: Buffer,
  levels: number,
  start: number,
): Generator<ContentPiece> {
  let offset = start;
  for (let at = 0; at + CONTENT_RECORD_BYTES <= records.length; at += CONTENT_RECORD_BYTES) {
    const length = contentLength(records, at);
    if (contentIsHole(records, at)) yield { name: undefined, offset, length };
    else {
      const name = Buffer.from(records.subarray(at + 8, at + 8 + NAME_BYTES));
      if (levels === 0) yield { name, offset, length };
      else {
        const list = Buffer.from(reader.read(name));
        if (list.length % CONTENT_RECORD_BYTES !== 0)
          throw new PenstockError('DAMAGED', 'a torn content list');
        yield* piecesOf(reader, list, levels - 1, offset);
      }
    }
    offset += length;
  }
}
