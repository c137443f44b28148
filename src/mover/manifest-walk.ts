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
import {
  ManifestCursor,
  type ManifestRoot,
  type OnGap,
  type SoughtEntry,
  seekEntry,
} from '../modules/manifest-cursor.ts';

export interface WalkedEntry {
  readonly entry: EntryView;
  readonly path: ByteString;
  /** Components of the path of its directory. */
  readonly parents: readonly ByteString[];
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
 * Where `onGap` is given, parts of the manifest that cannot be read are told to it, maybe more than
 * once, and passed over: directories may then be missing above what is yielded.
 *
 * @throws PATH_UNKNOWN, DAMAGED, OBJECT_MISSING
 */
export function* walkManifest(
  reader: BlobReader,
  root: ManifestRoot,
  paths: readonly ByteString[],
  onGap?: OnGap,
): Generator<WalkedEntry> {
  const wanted = [...new Set(paths.map(toManifestPath))].sort(comparePaths);
  if (wanted.length === 0 || wanted[0] === '') {
    yield* subtree(new ManifestCursor(reader, root, '', onGap), undefined);
    return;
  }
  // Before anything is yielded: what is asked for is there as a whole.
  for (const path of wanted) locate(reader, root, path, onGap);
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
      const { cursor, found } = locate(reader, root, above, onGap);
      if (!found) continue;
      yield { entry: cursor.entry, path: above, parents: parts.slice(0, i - 1), wanted: false };
    }
    const { cursor, found } = locate(reader, root, path, onGap);
    if (found) {
      yield { entry: cursor.entry, path, parents: parts.slice(0, -1), wanted: true };
      yield* subtree(cursor, path);
    } else yield* orphans(cursor, path);
  }
}

/** Finds an entry, or the gap in which it is lost. PATH_UNKNOWN when there surely is none. */
function locate(
  reader: BlobReader,
  root: ManifestRoot,
  path: ByteString,
  onGap: OnGap | undefined,
): SoughtEntry {
  const sought = seekEntry(reader, root, path, onGap);
  if (sought.found || sought.lostIn !== undefined) return sought;
  throw new PenstockError('PATH_UNKNOWN', `the archive has no ${toDisplay(path)}`, {
    subject: path,
  });
}

function* subtree(cursor: ManifestCursor, below: ByteString | undefined): Generator<WalkedEntry> {
  const depth = below === undefined ? -1 : cursor.depth;
  const walked = new CursorEntry(cursor);
  let { gaps } = cursor;
  while (cursor.advance()) {
    if (cursor.depth <= depth) return;
    // Behind a gap the depth alone does not tell in which directory the entry is.
    if (cursor.gaps !== gaps) {
      gaps = cursor.gaps;
      if (below !== undefined && !walked.path.startsWith(`${below}/`)) return;
    }
    yield walked;
  }
}

/** What is left of a directory whose own entry is lost; the cursor stands on the first of it. */
function* orphans(cursor: ManifestCursor, path: ByteString): Generator<WalkedEntry> {
  const walked = new CursorEntry(cursor);
  for (let more = cursor.valid; more; more = cursor.advance()) {
    if (!walked.path.startsWith(`${path}/`)) return;
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
  get parents(): readonly ByteString[] {
    return this.#cursor.parents;
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
