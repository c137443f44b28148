/**
 * An earlier archive as the base of a backup: a cursor that keeps step with the walk, and the decision
 * whether an entry can be taken over.
 */
import { PenstockError } from '../base/errors.ts';
import { NAME_BYTES } from '../format/block.ts';
import { CONTENT_RECORD_BYTES, contentIsHole } from '../format/content.ts';
import { ENTRY, ENTRY_FLAG, type EntryFields, type EntryView } from '../format/entry.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { BlobReader } from './blob-reader.ts';
import { ManifestCursor, type ManifestRoot } from './manifest-cursor.ts';

/** What is sought, compared in place. */
export interface SoughtName {
  /** Negative when the name in `bytes` is less than the sought one, 0 when it is the same. */
  compareTo(bytes: Buffer, at: number, length: number): number;
}

export class BaseArchive {
  readonly #reader: BlobReader;
  readonly #index: BlobIndex;
  readonly #root: ManifestRoot;
  #cursor: ManifestCursor | undefined;

  constructor(reader: BlobReader, root: ManifestRoot, index: BlobIndex) {
    this.#reader = reader;
    this.#root = root;
    this.#index = index;
  }

  /** Stands on the first entry; false when there is none, or the base cannot be read. */
  begin(): boolean {
    return this.#guarded(() => {
      const cursor = new ManifestCursor(this.#reader, this.#root);
      this.#cursor = cursor;
      return cursor.advance();
    });
  }
  get entry(): EntryView {
    if (this.#cursor === undefined) throw new PenstockError('INTERNAL', 'a base without a cursor');
    return this.#cursor.entry;
  }

  /** Moves to the entry `name` of the directory whose entries have this depth; false: there is none. */
  seek(depth: number, name: SoughtName): boolean {
    return this.#at((cursor) => {
      for (; cursor.valid && cursor.depth >= depth; cursor.advance()) {
        if (cursor.depth > depth) continue;
        const { bytes, nameAt, nameBytes } = cursor.entry;
        const order = name.compareTo(bytes, nameAt, nameBytes);
        if (order >= 0) return order === 0;
      }
      return false;
    });
  }

  /** Enters the directory that the cursor stands on; false when the base has no directory there. */
  descend(): boolean {
    return this.#at((cursor) => {
      if (cursor.entry.kind !== ENTRY.directory) return false;
      cursor.advance();
      return true;
    });
  }

  /** Whether the current entry is what `fields` say now, and all its content is still stored. */
  isUnchanged(fields: EntryFields): boolean {
    return this.#at((cursor) => agrees(cursor.entry, fields) && this.#isStored(cursor.entry));
  }

  #isStored(entry: EntryView): boolean {
    if (entry.contentCount === 0) return true;
    return this.#areStored(entry.bytes, entry.contentAt, entry.contentCount, entry.contentLevels);
  }
  #areStored(bytes: Buffer, from: number, count: number, levels: number): boolean {
    for (let i = 0; i < count; i++) {
      const at = from + i * CONTENT_RECORD_BYTES;
      if (contentIsHole(bytes, at)) continue;
      if (!this.#index.use(bytes, at + 8)) return false;
      if (levels === 0) continue;
      const list = Buffer.from(this.#reader.read(bytes.subarray(at + 8, at + 8 + NAME_BYTES)));
      if (!this.#areStored(list, 0, list.length / CONTENT_RECORD_BYTES, levels - 1)) return false;
    }
    return true;
  }

  #at(action: (cursor: ManifestCursor) => boolean): boolean {
    const cursor = this.#cursor;
    return cursor !== undefined && this.#guarded(() => action(cursor));
  }
  /** A base that turns out damaged is used no further: what it would have spared is read again. */
  #guarded(action: () => boolean): boolean {
    try {
      return action();
    } catch (thrown) {
      if (
        !(thrown instanceof PenstockError) ||
        (thrown.code !== 'DAMAGED' && thrown.code !== 'OBJECT_MISSING')
      )
        throw thrown;
      this.#cursor = undefined;
      return false;
    }
  }
}

function agrees(entry: EntryView, fields: EntryFields): boolean {
  return (
    entry.mtimeNanos === fields.mtimeNanos &&
    entry.ctimeNanos === fields.ctimeNanos &&
    entry.inode === fields.inode &&
    entry.size === fields.size &&
    entry.mtimeSeconds === fields.mtimeSeconds &&
    entry.ctimeSeconds === fields.ctimeSeconds &&
    entry.kind === fields.kind &&
    entry.mode === fields.mode &&
    entry.uid === fields.uid &&
    entry.gid === fields.gid &&
    entry.links === fields.links &&
    (entry.flags & (ENTRY_FLAG.recent | ENTRY_FLAG.incomplete | ENTRY_FLAG.hardLink)) === 0
  );
}
