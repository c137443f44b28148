/**
 * Manifests leaf by leaf: for what compares or searches whole archives.
 *
 * A leaf holds all that is needed to know the paths of its entries, and unchanged stretches of two
 * archives are the same leaves, by name. So a leaf that both archives have needs no comparing, and
 * one that was searched once needs no searching again.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { EntryView } from '../format/entry.ts';
import { decodeNode, LeafReader, type ManifestRef } from '../format/manifest.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';

/** An entry and its path, valid until the next one is asked for. */
export interface LeafEntry {
  readonly entry: EntryView;
  readonly path: ByteString;
}

/** The name of a leaf or node as a key of sets and maps. */
export function leafKey(ref: ManifestRef): string {
  return ref.name.toString('latin1');
}

/** The leaves of a manifest in order. DAMAGED, OBJECT_MISSING. */
export function* leavesOf(
  reader: BlobReader,
  { ref, level }: ManifestRoot,
): Generator<ManifestRef> {
  if (level > LIMITS.manifestLevelsMax) {
    throw new PenstockError('DAMAGED', `damaged manifest: ${level} levels`);
  }
  if (level === 0) {
    yield ref;
    return;
  }
  // Copied: the reader's memory is used again for the next blob.
  const node = decodeNode(Buffer.from(reader.read(ref.name)));
  if (node.level !== level) {
    throw new PenstockError(
      'DAMAGED',
      `damaged manifest: level ${node.level} where ${level} should be`,
    );
  }
  for (const child of node.children) yield* leavesOf(reader, { ref: child, level: level - 1 });
}

/** The entries of one leaf in order. DAMAGED, OBJECT_MISSING. */
export function* entriesOf(reader: BlobReader, leaf: ManifestRef): Generator<LeafEntry> {
  const entries = new LeafReader();
  entries.open(Buffer.from(reader.read(leaf.name)));
  const components = entries.prefix === '' ? [] : entries.prefix.split('/');
  while (entries.next()) {
    components.length = entries.entry.depth;
    components.push(entries.entry.name);
    yield { entry: entries.entry, path: components.join('/') };
  }
}
