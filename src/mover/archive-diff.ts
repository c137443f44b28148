/**
 * What differs between two archives, in the order of their paths.
 *
 * Leaves that both have are not looked at: a leaf says the same in both. What is left of the two is
 * merged. Times of last change of metadata, inode numbers and the like are no differences.
 */
import { type ByteString, comparePaths } from '../base/bytes.ts';
import { CONTENT_RECORD_BYTES } from '../format/content.ts';
import { ENTRY, type EntryView, EXTRA } from '../format/entry.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';
import { contentEntry } from './file-content.ts';
import { entriesOf, type LeafEntry, leafKey, leavesOf } from './manifest-leaves.ts';

export type EntryAspect =
  | 'kind'
  | 'content'
  | 'target'
  | 'device'
  | 'mode'
  | 'owner'
  | 'time'
  | 'attributes';

export interface ArchiveDifference {
  /** As it stands in manifests. */
  readonly path: ByteString;
  readonly change: 'added' | 'removed' | 'modified';
  /** ENTRY; in the later archive, or in the earlier one if it was removed. */
  readonly kind: number;
  /** Of what was modified. */
  readonly aspects: readonly EntryAspect[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** Compares two archives of one repository. DAMAGED, OBJECT_MISSING. */
export function* compareArchives(
  reader: BlobReader,
  from: ManifestRoot,
  to: ManifestRoot,
): Generator<ArchiveDifference> {
  const known = new Set<string>();
  for (const leaf of leavesOf(reader, from)) known.add(leafKey(leaf));
  const shared = new Set<string>();
  for (const leaf of leavesOf(reader, to)) {
    const key = leafKey(leaf);
    if (known.has(key)) shared.add(key);
  }
  const before = unsharedEntries(reader, from, shared);
  const after = unsharedEntries(reader, to, shared);
  let a = before.next().value;
  let b = after.next().value;
  while (a !== undefined || b !== undefined) {
    const order = a === undefined ? 1 : b === undefined ? -1 : comparePaths(a.path, b.path);
    if (a !== undefined && order < 0) {
      yield oneSided('removed', a);
      a = before.next().value;
    } else if (b !== undefined && order > 0) {
      yield oneSided('added', b);
      b = after.next().value;
    } else if (a !== undefined && b !== undefined) {
      const aspects = aspectsOf(reader, from, a.entry, to, b.entry);
      if (aspects.length > 0) yield modified(a, b, aspects);
      a = before.next().value;
      b = after.next().value;
    }
  }
}

function* unsharedEntries(
  reader: BlobReader,
  root: ManifestRoot,
  shared: ReadonlySet<string>,
): Generator<LeafEntry, undefined> {
  for (const leaf of leavesOf(reader, root)) {
    if (!shared.has(leafKey(leaf))) yield* entriesOf(reader, leaf);
  }
}

function oneSided(change: 'added' | 'removed', { entry, path }: LeafEntry): ArchiveDifference {
  const bytes = bytesOf(entry);
  return {
    path,
    change,
    kind: entry.kind,
    aspects: [],
    bytesBefore: change === 'removed' ? bytes : 0,
    bytesAfter: change === 'added' ? bytes : 0,
  };
}

function modified(a: LeafEntry, b: LeafEntry, aspects: readonly EntryAspect[]): ArchiveDifference {
  return {
    path: b.path,
    change: 'modified',
    kind: b.entry.kind,
    aspects,
    bytesBefore: bytesOf(a.entry),
    bytesAfter: bytesOf(b.entry),
  };
}

function bytesOf(entry: EntryView): number {
  return entry.kind === ENTRY.file ? entry.size : 0;
}

function aspectsOf(
  reader: BlobReader,
  from: ManifestRoot,
  a: EntryView,
  to: ManifestRoot,
  b: EntryView,
): EntryAspect[] {
  if (a.raw().equals(b.raw())) return [];
  const aspects: EntryAspect[] = [];
  if (a.kind !== b.kind) aspects.push('kind');
  else if (a.kind === ENTRY.file) {
    const same =
      a.size === b.size && sameContent(contentEntry(reader, from, a), contentEntry(reader, to, b));
    if (!same) aspects.push('content');
  } else {
    if (!sameExtra(a, b, EXTRA.linkTarget)) aspects.push('target');
    if (!sameExtra(a, b, EXTRA.node)) aspects.push('device');
  }
  if (a.mode !== b.mode) aspects.push('mode');
  if (a.uid !== b.uid || a.gid !== b.gid) aspects.push('owner');
  if (a.mtimeSeconds !== b.mtimeSeconds || a.mtimeNanos !== b.mtimeNanos) aspects.push('time');
  if (!attributesOf(a).equals(attributesOf(b))) aspects.push('attributes');
  return aspects;
}

/** Equal bytes are cut alike, so equal content has equal records. */
function sameContent(a: EntryView, b: EntryView): boolean {
  return a.contentLevels === b.contentLevels && recordsOf(a).equals(recordsOf(b));
}

function recordsOf(entry: EntryView): Buffer {
  const { contentAt, contentCount } = entry;
  return entry.bytes.subarray(contentAt, contentAt + contentCount * CONTENT_RECORD_BYTES);
}

function sameExtra(a: EntryView, b: EntryView, type: number): boolean {
  const before = a.extra(type) ?? Buffer.alloc(0);
  return before.equals(b.extra(type) ?? Buffer.alloc(0));
}

/** All extended attributes, each behind its length; they are sorted by name. */
function attributesOf(entry: EntryView): Buffer {
  const parts: Buffer[] = [];
  entry.eachExtra((type, value) => {
    if (type !== EXTRA.attribute) return;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(value.length);
    parts.push(length, value);
  });
  return Buffer.concat(parts);
}
