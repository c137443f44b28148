/**
 * The content of one stored file, blob by blob, each checked against its name.
 */
import { type ByteString, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { ENTRY, ENTRY_FLAG, EntryView, EXTRA } from '../format/entry.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import { findEntry, type ManifestRoot } from '../modules/manifest-cursor.ts';
import { contentOf, toManifestPath } from './manifest-walk.ts';

const WHAT: Readonly<Record<number, string>> = {
  [ENTRY.directory]: 'a directory',
  [ENTRY.symlink]: 'a symbolic link',
  [ENTRY.fifo]: 'a FIFO',
  [ENTRY.socket]: 'a socket',
  [ENTRY.characterDevice]: 'a device',
  [ENTRY.blockDevice]: 'a device',
};

/** A stretch of a file: its bytes, valid until the next one is asked for, or a hole. */
export type Stretch =
  | { readonly bytes: Buffer; readonly length: number }
  | { readonly bytes: undefined; readonly length: number };

/**
 * The entry that holds the content of a hard link: itself, where it is none. The view is a copy and
 * stays valid. DAMAGED when the link leads nowhere.
 */
export function contentEntry(reader: BlobReader, root: ManifestRoot, entry: EntryView): EntryView {
  const copy = new EntryView().set(Buffer.from(entry.raw()), 0);
  if ((copy.flags & ENTRY_FLAG.hardLink) === 0) return copy;
  const target = copy.extra(EXTRA.hardLink)?.toString('latin1') ?? '';
  const found = findEntry(reader, root, target)?.entry;
  if (found?.kind !== copy.kind || (found.flags & ENTRY_FLAG.hardLink) !== 0) {
    throw new PenstockError(
      'DAMAGED',
      `damaged manifest: a hard link to ${toDisplay(`/${target}`)}, which has no content`,
      { subject: target },
    );
  }
  return new EntryView().set(Buffer.from(found.raw()), 0);
}

/** Finds a file by a path as a user gives it. PATH_UNKNOWN, USAGE (no regular file), DAMAGED. */
export function findFile(reader: BlobReader, root: ManifestRoot, given: ByteString): EntryView {
  const path = toManifestPath(given);
  const shown = toDisplay(`/${path}`);
  const entry = path === '' ? undefined : findEntry(reader, root, path)?.entry;
  if (entry === undefined && path !== '') {
    throw new PenstockError('PATH_UNKNOWN', `the archive has no ${shown}`, { subject: path });
  }
  if (entry?.kind === ENTRY.file) return contentEntry(reader, root, entry);
  throw new PenstockError(
    'USAGE',
    `${shown} is ${WHAT[entry?.kind ?? ENTRY.directory]}, not a file`,
    {
      subject: path,
      hint: 'use `penstock ls` to look at it and `penstock restore` to get it back',
    },
  );
}

/** The content of a file, as long as the file is. DAMAGED, OBJECT_MISSING. */
export function* stretchesOf(reader: BlobReader, entry: EntryView): Generator<Stretch> {
  const { size } = entry;
  const wrong = (reason: string): PenstockError =>
    new PenstockError('DAMAGED', `the content of ${toDisplay(entry.name)} ${reason}`, {
      subject: entry.name,
    });
  let end = 0;
  for (const piece of contentOf(reader, entry)) {
    end = piece.offset + piece.length;
    if (end > size) throw wrong('is longer than the file');
    if (piece.name === undefined) {
      yield { bytes: undefined, length: piece.length };
      continue;
    }
    const bytes = reader.read(piece.name);
    if (bytes.length !== piece.length) throw wrong('has a blob of another length');
    yield { bytes, length: piece.length };
  }
  if (end === size) return;
  // What could not be read when it was backed up.
  if ((entry.flags & ENTRY_FLAG.incomplete) === 0) throw wrong('is shorter than the file');
  yield { bytes: undefined, length: size - end };
}
