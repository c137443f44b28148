/**
 * Walks the entries of a stored manifest in order, leaf by leaf, reading only what it comes to.
 *
 * Holds one leaf and one inner node per level. `path()` is that of the current entry. A leaf or
 * node that cannot be read ends the walk, or is a gap where somebody listens for gaps: the walk
 * then goes on behind it. Without its root nothing of a manifest can be told: that always throws.
 */

import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { comparePaths, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ENTRY, type EntryView } from '../format/entry.ts';
import { decodeNode, LeafReader, type ManifestRef } from '../format/manifest.ts';
import { type BlobReader, isUnreadable } from './blob-reader.ts';

interface Level {
  readonly children: readonly ManifestRef[];
  next: number;
}

export interface ManifestRoot {
  readonly ref: ManifestRef;
  /** 0: the root is a leaf. */
  readonly level: number;
}

/** A leaf or node that cannot be read: entries that are not known. */
export interface ManifestGap {
  /** The leaf or node; its path is that of the first entry that is lost. */
  readonly ref: ManifestRef;
  /** Path of the first entry that is known again; undefined: all to the end are lost. */
  readonly until: ByteString | undefined;
  readonly error: PenstockError;
}
export type OnGap = (gap: ManifestGap) => void;

/** Whether the entry of a path, if there is one, is lost in the gap. */
export function gapHolds({ ref, until }: ManifestGap, path: ByteString): boolean {
  if (comparePaths(ref.path, path) > 0) return false;
  return until === undefined || comparePaths(path, until) < 0;
}

/** A root that came from another thread, where buffers arrive as plain arrays of bytes. */
export function receiveRoot(root: ManifestRoot): ManifestRoot {
  return { level: root.level, ref: { ...root.ref, name: Buffer.from(root.ref.name) } };
}

export class ManifestCursor {
  readonly #reader: BlobReader;
  readonly #leaf = new LeafReader();
  readonly #levels: Level[] = [];
  readonly #onGap: OnGap | undefined;
  #leafRef: ManifestRef;
  /** Components of the path of the directory of the current entry. */
  #parents: ByteString[] = [];
  /** Whether there is a current entry. */
  valid = false;
  /** Depth of the current entry; -1 when there is none. */
  depth = -1;
  /** Gaps that were passed over. */
  gaps = 0;

  /**
   * Stands before the first entry whose path is not less than `from`, or some entries before it;
   * call advance.
   */
  constructor(reader: BlobReader, root: ManifestRoot, from: ByteString = '', onGap?: OnGap) {
    this.#reader = reader;
    this.#onGap = onGap;
    this.#leafRef = root.ref;
    this.#descend(root.ref, root.level, from);
  }
  get entry(): EntryView {
    return this.#leaf.entry;
  }
  get name(): ByteString {
    return this.#leaf.entry.name;
  }
  path(): ByteString {
    return this.depth === 0 ? this.name : `${this.#parents.join('/')}/${this.name}`;
  }
  /** Components of the path of the directory of the current entry, valid until the next step. */
  get parents(): readonly ByteString[] {
    return this.#parents;
  }

  /** Moves to the next entry; false at the end. DAMAGED, OBJECT_MISSING. */
  advance(): boolean {
    // What follows a directory may lie in it.
    if (this.valid && this.entry.kind === ENTRY.directory) this.#parents.push(this.name);
    for (;;) {
      if (this.#nextInLeaf()) {
        this.valid = true;
        this.depth = this.#leaf.entry.depth;
        this.#parents.length = this.depth;
        return true;
      }
      if (!this.#nextLeaf()) {
        this.valid = false;
        this.depth = -1;
        return false;
      }
    }
  }

  #nextInLeaf(): boolean {
    try {
      return this.#leaf.next();
    } catch (error) {
      this.#passOver(this.#leafRef, error);
      return false;
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
    try {
      for (let at = level; at > 0; at--) current = this.#childOf(current, at, from);
      this.#leafRef = current;
      this.#leaf.open(Buffer.from(this.#reader.read(current.name)));
      this.#parents = this.#leaf.prefix === '' ? [] : this.#leaf.prefix.split('/');
    } catch (error) {
      this.#passOver(current, error);
    }
  }
  /** Enters a node; returns its child that holds, or would hold, `from`. */
  #childOf(ref: ManifestRef, level: number, from: ByteString): ManifestRef {
    // Copied: the reader's memory is used again for the next blob.
    const { children, level: found } = decodeNode(Buffer.from(this.#reader.read(ref.name)));
    if (found !== level)
      throw new PenstockError(
        'DAMAGED',
        `damaged manifest: level ${found} where ${level} should be`,
      );
    let index = 0;
    if (from !== '') {
      while (
        index + 1 < children.length &&
        comparePaths(must(children[index + 1], 'child').path, from) <= 0
      )
        index++;
    }
    const child = children[index];
    if (child === undefined)
      throw new PenstockError('DAMAGED', 'damaged manifest: a node without children');
    this.#levels.push({ children, next: index + 1 });
    return child;
  }

  /** Goes on behind a part that cannot be read, or throws why it cannot be. */
  #passOver(ref: ManifestRef, error: unknown): void {
    const isRoot = this.#levels.length === 0;
    if (this.#onGap === undefined || isRoot || !isUnreadable(error)) throw error;
    this.#leaf.close();
    this.gaps++;
    this.#onGap({ ref, until: this.#pathBehind(), error });
  }
  /** Path of the first entry of the next leaf. */
  #pathBehind(): ByteString | undefined {
    for (let i = this.#levels.length - 1; i >= 0; i--) {
      const { children, next } = must(this.#levels[i], 'a level');
      const child = children[next];
      if (child !== undefined) return child.path;
    }
    return undefined;
  }
}

/** Where a path was looked for. */
export interface SoughtEntry {
  /** On the entry, or on the first one behind its place. */
  readonly cursor: ManifestCursor;
  readonly found: boolean;
  /** The gap in which the entry, if there is one, is lost. */
  readonly lostIn: ManifestGap | undefined;
}

/** Looks for the entry of a path. `onGap` is told of gaps that concern it or what lies below it. */
export function seekEntry(
  reader: BlobReader,
  root: ManifestRoot,
  path: ByteString,
  onGap?: OnGap,
): SoughtEntry {
  let lostIn: ManifestGap | undefined;
  const listen = (gap: ManifestGap): void => {
    if (gapHolds(gap, path)) lostIn = gap;
    else if (!gap.ref.path.startsWith(`${path}/`)) return;
    onGap?.(gap);
  };
  const cursor = new ManifestCursor(reader, root, path, onGap === undefined ? undefined : listen);
  while (cursor.advance()) {
    const order = comparePaths(cursor.path(), path);
    if (order === 0) return { cursor, found: true, lostIn: undefined };
    if (order > 0) break;
  }
  return { cursor, found: false, lostIn };
}

/**
 * Finds the entry of a path; undefined when the manifest has none. The cursor stands on it.
 * DAMAGED, OBJECT_MISSING where the part of the manifest that would have it cannot be read.
 */
export function findEntry(
  reader: BlobReader,
  root: ManifestRoot,
  path: ByteString,
): ManifestCursor | undefined {
  const { cursor, found, lostIn } = seekEntry(reader, root, path, () => undefined);
  if (lostIn !== undefined) {
    const { code, message, hint } = lostIn.error;
    const what = `the part of the manifest that would have ${toDisplay(`/${path}`)}`;
    const details = { cause: lostIn.error, subject: path, hint };
    throw new PenstockError(code, `${what} cannot be read: ${message}`, details);
  }
  return found ? cursor : undefined;
}
