/**
 * Walks the entries of a stored manifest in order, leaf by leaf, reading only what it comes to.
 *
 * Holds one leaf and one inner node per level. `path()` is that of the current entry.
 */

import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { comparePaths } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { EntryView } from '../format/entry.ts';
import { decodeNode, LeafReader, type ManifestRef } from '../format/manifest.ts';
import type { BlobReader } from './blob-reader.ts';

interface Level {
  readonly children: readonly ManifestRef[];
  next: number;
}

export interface ManifestRoot {
  readonly ref: ManifestRef;
  /** 0: the root is a leaf. */
  readonly level: number;
}

/** A root that came from another thread, where buffers arrive as plain arrays of bytes. */
export function receiveRoot(root: ManifestRoot): ManifestRoot {
  return { level: root.level, ref: { ...root.ref, name: Buffer.from(root.ref.name) } };
}

export class ManifestCursor {
  readonly #reader: BlobReader;
  readonly #leaf = new LeafReader();
  readonly #levels: Level[] = [];
  #path: ByteString[] = [];
  /** Whether there is a current entry. */
  valid = false;
  /** Depth of the current entry; -1 when there is none. */
  depth = -1;

  /** Stands before the first entry whose path is not less than `from`; call advance. */
  constructor(reader: BlobReader, root: ManifestRoot, from: ByteString = '') {
    this.#reader = reader;
    this.#descend(root.ref, root.level, from);
  }
  get entry(): EntryView {
    return this.#leaf.entry;
  }
  get name(): ByteString {
    return this.#leaf.entry.name;
  }
  path(): ByteString {
    return this.#path.join('/');
  }
  /** Components of the path of the current entry. */
  components(): readonly ByteString[] {
    return this.#path;
  }

  /** Moves to the next entry; false at the end. DAMAGED, OBJECT_MISSING. */
  advance(): boolean {
    for (;;) {
      if (this.#leaf.next()) {
        this.valid = true;
        this.depth = this.#leaf.entry.depth;
        this.#path.length = this.depth;
        this.#path.push(this.#leaf.entry.name);
        return true;
      }
      if (!this.#nextLeaf()) {
        this.valid = false;
        this.depth = -1;
        return false;
      }
    }
  }

  #nextLeaf(): boolean {
    for (;;) {
      const level = this.#levels.at(-1);
      if (level === undefined) return false;
      const child = level.children[level.next++];
      if (child === undefined) {
        this.#levels.pop();
        continue;
      }
      this.#descend(child, this.#height - this.#levels.length, '');
      return true;
    }
  }
  #height = 0;

  /** Opens the leaf below `ref` that holds, or would hold, `from`. */
  #descend(ref: ManifestRef, level: number, from: ByteString): void {
    if (level > LIMITS.manifestLevelsMax)
      throw new PenstockError('DAMAGED', `a manifest of ${level} levels`);
    if (this.#levels.length === 0) this.#height = level;
    let current = ref;
    for (let at = level; at > 0; at--) {
      // Copied: the reader's memory is used again for the next blob.
      const node = decodeNode(Buffer.from(this.#reader.read(current.name)));
      if (node.level !== at)
        throw new PenstockError(
          'DAMAGED',
          `damaged manifest: level ${node.level} where ${at} should be`,
        );
      let index = 0;
      if (from !== '') {
        while (
          index + 1 < node.children.length &&
          comparePaths(must(node.children[index + 1], 'child').path, from) <= 0
        )
          index++;
      }
      const child = node.children[index];
      if (child === undefined)
        throw new PenstockError('DAMAGED', 'damaged manifest: a node without children');
      this.#levels.push({ children: node.children, next: index + 1 });
      current = child;
    }
    this.#leaf.open(Buffer.from(this.#reader.read(current.name)));
    this.#path = this.#leaf.prefix === '' ? [] : this.#leaf.prefix.split('/');
  }
}

/** Finds the entry of a path; undefined when the manifest has none. The cursor stands on it. */
export function findEntry(
  reader: BlobReader,
  root: ManifestRoot,
  path: ByteString,
): ManifestCursor | undefined {
  const cursor = new ManifestCursor(reader, root, path);
  while (cursor.advance()) {
    const order = comparePaths(cursor.path(), path);
    if (order === 0) return cursor;
    if (order > 0) return undefined;
  }
  return undefined;
}
