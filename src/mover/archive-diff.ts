/**
 * What differs between two archives, in the order of their paths.
 *
 * Leaves that both have are not looked at: a leaf says the same in both. What is left of the two is
 * merged. Where a part of one manifest cannot be read, nothing is said of the paths that it would
 * hold: they may be in both. Times of last change of metadata, inode numbers and the like are no
 * differences.
 */
import { type ByteString, comparePaths, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { CONTENT_RECORD_BYTES } from '../format/content.ts';
import { ENTRY, type EntryView, EXTRA } from '../format/entry.ts';
import { type BlobReader, isUnreadable } from '../modules/blob-reader.ts';
import type { ManifestRoot, OnGap } from '../modules/manifest-cursor.ts';
import { contentEntry } from './file-content.ts';
import { ManifestDamage } from './manifest-damage.ts';
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

/** Told what cannot be compared, and in which of the two archives that is. */
export type OnDiffDamage = (error: PenstockError, side: 'from' | 'to') => void;

/**
 * Compares two archives of one repository. What cannot be compared for damage is told to
 * `onDamage`; without it, or where the root of a manifest cannot be read: DAMAGED, OBJECT_MISSING.
 */
export function compareArchives(
  reader: BlobReader,
  from: ManifestRoot,
  to: ManifestRoot,
  onDamage?: OnDiffDamage,
): Generator<ArchiveDifference> {
  return new Comparison(reader, from, to, onDamage).differences();
}

class Comparison {
  readonly #reader: BlobReader;
  readonly #from: ManifestRoot;
  readonly #to: ManifestRoot;
  readonly #onDamage: OnDiffDamage | undefined;
  readonly #lostBefore = new ManifestDamage((error) => this.#onDamage?.(error, 'from'));
  readonly #lostAfter = new ManifestDamage((error) => this.#onDamage?.(error, 'to'));
  readonly #shared = new Set<string>();

  constructor(
    reader: BlobReader,
    from: ManifestRoot,
    to: ManifestRoot,
    onDamage: OnDiffDamage | undefined,
  ) {
    this.#reader = reader;
    this.#from = from;
    this.#to = to;
    this.#onDamage = onDamage;
  }

  *differences(): Generator<ArchiveDifference> {
    this.#findShared();
    const before = this.#unshared(this.#from, this.#lostBefore.note);
    const after = this.#unshared(this.#to, this.#lostAfter.note);
    let a = before.next().value;
    let b = after.next().value;
    while (a !== undefined || b !== undefined) {
      const order = a === undefined ? 1 : b === undefined ? -1 : comparePaths(a.path, b.path);
      if (a !== undefined && order < 0) {
        if (!this.#lostAfter.holds(a.path)) yield oneSided('removed', a);
        a = before.next().value;
      } else if (b !== undefined && order > 0) {
        if (!this.#lostBefore.holds(b.path)) yield oneSided('added', b);
        b = after.next().value;
      } else if (a !== undefined && b !== undefined) {
        const aspects = this.#aspectsOf(a, b);
        if (aspects.length > 0) yield modified(a, b, aspects);
        a = before.next().value;
        b = after.next().value;
      }
    }
  }

  #listen(onGap: OnGap): OnGap | undefined {
    return this.#onDamage === undefined ? undefined : onGap;
  }
  #findShared(): void {
    const known = new Set<string>();
    for (const leaf of leavesOf(this.#reader, this.#from, this.#listen(this.#lostBefore.note)))
      known.add(leafKey(leaf));
    for (const leaf of leavesOf(this.#reader, this.#to, this.#listen(this.#lostAfter.note))) {
      const key = leafKey(leaf);
      if (known.has(key)) this.#shared.add(key);
    }
  }
  *#unshared(root: ManifestRoot, note: OnGap): Generator<LeafEntry, undefined> {
    const onGap = this.#listen(note);
    for (const leaf of leavesOf(this.#reader, root, onGap)) {
      if (this.#shared.has(leafKey(leaf))) continue;
      yield* entriesOf(this.#reader, leaf, root.level === 0 ? undefined : onGap);
    }
  }

  #aspectsOf(a: LeafEntry, b: LeafEntry): EntryAspect[] {
    if (a.entry.raw().equals(b.entry.raw())) return [];
    const aspects: EntryAspect[] = [];
    if (a.entry.kind !== b.entry.kind) aspects.push('kind');
    else if (a.entry.kind === ENTRY.file) {
      if (!this.#isSameFile(a, b)) aspects.push('content');
    } else {
      if (!sameExtra(a.entry, b.entry, EXTRA.linkTarget)) aspects.push('target');
      if (!sameExtra(a.entry, b.entry, EXTRA.node)) aspects.push('device');
    }
    addMetadataAspects(aspects, a.entry, b.entry);
    return aspects;
  }
  /** Whether two files have the same content; true also where that cannot be told (it is said). */
  #isSameFile(a: LeafEntry, b: LeafEntry): boolean {
    if (a.entry.size !== b.entry.size) return false;
    const before = this.#contentEntry(this.#from, a, 'from');
    const after = this.#contentEntry(this.#to, b, 'to');
    return before === undefined || after === undefined || sameContent(before, after);
  }
  #contentEntry(
    root: ManifestRoot,
    { entry, path }: LeafEntry,
    side: 'from' | 'to',
  ): EntryView | undefined {
    try {
      return contentEntry(this.#reader, root, entry);
    } catch (error) {
      if (this.#onDamage === undefined || !isUnreadable(error)) throw error;
      const shown = toDisplay(`/${path}`);
      const message = `the content of ${shown} cannot be compared: ${error.message}`;
      const details = { cause: error, subject: path, hint: error.hint };
      this.#onDamage(new PenstockError(error.code, message, details), side);
      return undefined;
    }
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

function addMetadataAspects(aspects: EntryAspect[], a: EntryView, b: EntryView): void {
  if (a.mode !== b.mode) aspects.push('mode');
  if (a.uid !== b.uid || a.gid !== b.gid) aspects.push('owner');
  if (a.mtimeSeconds !== b.mtimeSeconds || a.mtimeNanos !== b.mtimeNanos) aspects.push('time');
  if (!attributesOf(a).equals(attributesOf(b))) aspects.push('attributes');
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
