/**
 * Builds the manifest tree of an archive from entries in order: leaves, cut by content, then inner
 * nodes above them, all stored as blobs through a packer. Memory: one leaf and the open children of
 * each level.
 */

import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { BLOB } from '../format/block.ts';
import { ENTRY, EntryView } from '../format/entry.ts';
import {
  encodeNode,
  LeafBuilder,
  type ManifestRef,
  nodeBytes,
  nodeEndsAfter,
} from '../format/manifest.ts';
import { CONTENT_CLASS, type Crc } from '../format/tag-header.ts';
import type { BlockPacker } from './block-packer.ts';
import type { ManifestRoot } from './manifest-cursor.ts';

interface OpenNode {
  children: ManifestRef[];
  bytes: number;
}

export class ManifestBuilder {
  readonly #packer: BlockPacker;
  readonly #leaf: LeafBuilder;
  readonly #entry = new EntryView();
  readonly #levels: OpenNode[] = [];
  /** Components of the path of the directory of the last entry, or of that entry if it is one. */
  #path: ByteString[] = [];

  constructor(packer: BlockPacker, crc: Crc) {
    this.#packer = packer;
    this.#leaf = new LeafBuilder(crc);
  }

  /** Adds the entries that stand one after the other in `bytes`. */
  addAll(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; ) {
      this.#entry.set(bytes, at);
      const length = this.#entry.entryBytes;
      this.#add(bytes, at, length);
      at += length;
    }
  }
  #add(bytes: Buffer, at: number, length: number): void {
    this.#path.length = this.#entry.depth;
    const isFirst = this.#leaf.entries === 0;
    const prefix = isFirst ? this.#path.join('/') : '';
    if (!this.#leaf.fits(length, prefix)) {
      if (isFirst) throw new PenstockError('LIMIT', 'an entry does not fit a leaf of the manifest');
      this.#endLeaf();
      this.#add(bytes, at, length);
      return;
    }
    const isDirectory = this.#entry.kind === ENTRY.directory;
    // Names of most entries are not needed: making one takes longer than all else that is done here.
    const name = isFirst || isDirectory ? this.#entry.name : '';
    const ends = this.#leaf.add(bytes, at, length, prefix, name, this.#entry.size);
    if (isDirectory) this.#path.push(name);
    if (ends) this.#endLeaf();
  }

  #endLeaf(): void {
    const ref = this.#leaf.finish();
    this.#packer.offer(CONTENT_CLASS.manifest, BLOB.leaf, this.#leaf.bytes, 0, this.#leaf.length);
    this.#leaf.reset();
    this.#push(this.#levels, 0, { ...ref, name: Buffer.from(this.#packer.name) });
  }

  #push(levels: OpenNode[], level: number, child: ManifestRef): void {
    levels[level] ??= { children: [], bytes: 0 };
    const node = must(levels[level], 'open node');
    node.children.push(child);
    node.bytes += nodeBytes(child);
    if (nodeEndsAfter(child, node.children.length, node.bytes)) this.#endNode(levels, level);
  }
  #endNode(levels: OpenNode[], level: number): void {
    const { children } = must(levels[level], 'open node');
    levels[level] = { children: [], bytes: 0 };
    if (level + 1 > LIMITS.manifestLevelsMax)
      throw new PenstockError('LIMIT', 'the manifest has too many levels');
    this.#push(levels, level + 1, this.#storeNode(level + 1, children));
  }
  #storeNode(level: number, children: readonly ManifestRef[]): ManifestRef {
    const bytes = encodeNode(level, children);
    this.#packer.offer(CONTENT_CLASS.manifest, BLOB.node, bytes, 0, bytes.length);
    let entries = 0;
    let fileBytes = 0;
    for (const child of children) {
      entries += child.entries;
      fileBytes += child.fileBytes;
    }
    const path = children[0]?.path ?? '';
    return {
      name: Buffer.from(this.#packer.name),
      blobBytes: bytes.length,
      entries,
      fileBytes,
      path,
    };
  }

  /**
   * The tree of all entries so far. The builder can go on afterwards: the next entry begins a leaf of
   * its own and open nodes stay open.
   */
  root(): ManifestRoot {
    if (this.#leaf.entries > 0 || this.#levels.length === 0) this.#endLeaf();
    const levels = this.#levels.map((node) => ({
      children: [...node.children],
      bytes: node.bytes,
    }));
    for (let level = 0; ; level++) {
      const { children } = must(levels[level], 'a level');
      if (level === levels.length - 1) {
        const only = children[0];
        if (children.length === 1 && only !== undefined) return { ref: only, level };
        return { ref: this.#storeNode(level + 1, children), level: level + 1 };
      }
      if (children.length > 0) this.#push(levels, level + 1, this.#storeNode(level + 1, children));
    }
  }
}
