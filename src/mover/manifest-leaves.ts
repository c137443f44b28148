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
import { type BlobReader, isUnreadable } from '../modules/blob-reader.ts';
import type { ManifestRoot, OnGap } from '../modules/manifest-cursor.ts';

/** An entry and its path, valid until the next one is asked for. */
export interface LeafEntry {
  readonly entry: EntryView;
  readonly path: ByteString;
}

/** A leaf and its place. */
export interface ManifestLeaf {
  readonly ref: ManifestRef;
  /** Path of the first entry behind it; undefined: it is the last. */
  readonly until: ByteString | undefined;
}

/** The name of a leaf as a key of sets and maps. */
export function leafKey({ ref }: ManifestLeaf): string {
  return ref.name.toString('latin1');
}

/**
 * The leaves of a manifest in order. Nodes below the root that cannot be read are passed over where
 * `onGap` is given. DAMAGED, OBJECT_MISSING.
 */
export function* leavesOf(
  reader: BlobReader,
  { ref, level }: ManifestRoot,
  onGap?: OnGap,
): Generator<ManifestLeaf> {
  if (level > LIMITS.manifestLevelsMax) {
    throw new PenstockError('DAMAGED', `damaged manifest: ${level} levels`);
  }
  if (level === 0) yield { ref, until: undefined };
  else yield* leavesBelow(reader, childrenOf(reader, ref, level), level - 1, undefined, onGap);
}

function* leavesBelow(
  reader: BlobReader,
  refs: readonly ManifestRef[],
  level: number,
  end: ByteString | undefined,
  onGap: OnGap | undefined,
): Generator<ManifestLeaf> {
  for (const [i, ref] of refs.entries()) {
    const until = refs[i + 1]?.path ?? end;
    if (level === 0) {
      yield { ref, until };
      continue;
    }
    const children = orGap(ref, until, onGap, () => childrenOf(reader, ref, level));
    if (children !== undefined) yield* leavesBelow(reader, children, level - 1, until, onGap);
  }
}

function childrenOf(reader: BlobReader, ref: ManifestRef, level: number): readonly ManifestRef[] {
  // Copied: the reader's memory is used again for the next blob.
  const node = decodeNode(Buffer.from(reader.read(ref.name)));
  if (node.level === level) return node.children;
  throw new PenstockError(
    'DAMAGED',
    `damaged manifest: level ${node.level} where ${level} should be`,
  );
}

/** What `read` returns; undefined when that is a gap that was told. */
function orGap<T>(
  ref: ManifestRef,
  until: ByteString | undefined,
  onGap: OnGap | undefined,
  read: () => T,
): T | undefined {
  try {
    return read();
  } catch (error) {
    if (onGap === undefined || !isUnreadable(error)) throw error;
    onGap({ ref, until, error });
    return undefined;
  }
}

/** The entries of one leaf in order, as far as it can be read. DAMAGED, OBJECT_MISSING. */
export function* entriesOf(
  reader: BlobReader,
  { ref, until }: ManifestLeaf,
  onGap?: OnGap,
): Generator<LeafEntry> {
  const entries = new LeafReader();
  const isOpen = orGap(ref, until, onGap, () => {
    entries.open(Buffer.from(reader.read(ref.name)));
    return true;
  });
  if (isOpen === undefined) return;
  const components = entries.prefix === '' ? [] : entries.prefix.split('/');
  const next = (): boolean => entries.next();
  while (orGap(ref, until, onGap, next)) {
    components.length = entries.entry.depth;
    components.push(entries.entry.name);
    yield { entry: entries.entry, path: components.join('/') };
  }
}
