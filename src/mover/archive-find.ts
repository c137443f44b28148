/**
 * Finding paths in many archives.
 *
 * A leaf that was searched once is not searched again in the next archive that has it: what it holds
 * depends on nothing but itself. A leaf that cannot be read is told, and the rest is searched.
 */
import picomatch from 'picomatch';
import { type ByteString, isText, toBytes, toDisplay } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { ENTRY, EntryView } from '../format/entry.ts';
import { type BlobReader, isUnreadable } from '../modules/blob-reader.ts';
import type { ManifestRoot, OnGap } from '../modules/manifest-cursor.ts';
import { gapError } from './manifest-damage.ts';
import {
  entriesOf,
  type LeafEntry,
  leafKey,
  leavesOf,
  type ManifestLeaf,
} from './manifest-leaves.ts';

export type PathMatch = (path: ByteString, isDirectory: boolean) => boolean;

/** Of all leaves together; a pattern that matches nearly everything must not fill the memory. */
const KEPT_BYTES_MAX = 32 * 1024 * 1024;
const LEAVES_KEPT_MAX = 500_000;

/**
 * A glob for paths as they stand in manifests. Without a slash it matches names; with one, whole
 * paths, or their ends when it does not begin with a slash; with a slash at its end, directories
 * only. Names that are UTF-8 are matched character
 * by character, others byte by byte. USAGE when it is no pattern.
 */
export function pathMatch(pattern: ByteString): PathMatch {
  const trimmed = pattern.length > 1 ? pattern.replace(/\/+$/, '') || '/' : pattern;
  const ofDirectories = trimmed.length < pattern.length;
  if (trimmed === '') throw new PenstockError('USAGE', 'the pattern is empty');
  const byName = !trimmed.includes('/');
  // For picomatch `/**/x` is not `/x`, but `**/x` is.
  const anchored = trimmed.startsWith('/**/') ? trimmed.slice(1) : trimmed;
  const glob = byName || trimmed.startsWith('/') ? anchored : `**/${trimmed}`;
  const bytes = compile(glob);
  const text = isText(glob) ? compile(toBytes(glob).toString('utf8')) : undefined;
  return (path, isDirectory) => {
    if (ofDirectories && !isDirectory) return false;
    const subject = byName ? path.slice(path.lastIndexOf('/') + 1) : `/${path}`;
    if (text === undefined || !isBeyondAscii(subject) || !isText(subject)) return bytes(subject);
    return text(toBytes(subject).toString('utf8'));
  };
}

function compile(glob: string): (text: string) => boolean {
  try {
    // A name may hold a line end, which a dot does not match without the flag.
    return picomatch(glob, { dot: true, nonegate: true, flags: 's' });
  } catch (cause) {
    throw new PenstockError('USAGE', `not a pattern: ${toDisplay(glob)}`, { cause });
  }
}

function isBeyondAscii(text: ByteString): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return true;
  return false;
}

interface Match {
  readonly path: ByteString;
  readonly raw: Buffer;
}

/** Searches archive after archive of one repository. */
export class ArchiveSearch {
  readonly #reader: BlobReader;
  readonly #matches: PathMatch;
  readonly #searched = new Map<string, readonly Match[]>();
  #keptBytes = 0;

  constructor(reader: BlobReader, matches: PathMatch) {
    this.#reader = reader;
    this.#matches = matches;
  }

  /** What matches in an archive; `onProblem` is told what of it could not be read. */
  *in(root: ManifestRoot, onProblem: (error: PenstockError) => void): Generator<LeafEntry> {
    const view = new EntryView();
    const onGap: OnGap = (gap) => onProblem(gapError(gap));
    try {
      for (const leaf of leavesOf(this.#reader, root, onGap)) {
        for (const { path, raw } of this.#matchesOf(leaf, root.level === 0 ? undefined : onGap))
          yield { path, entry: view.set(raw, 0) };
      }
    } catch (error) {
      // Without its root nothing of an archive can be told.
      if (!isUnreadable(error)) throw error;
      onProblem(error);
    }
  }

  #matchesOf(leaf: ManifestLeaf, onGap: OnGap | undefined): readonly Match[] {
    try {
      return this.#searched.get(leafKey(leaf)) ?? this.#search(leaf);
    } catch (error) {
      if (onGap === undefined || !isUnreadable(error)) throw error;
      onGap({ ...leaf, error });
      return [];
    }
  }

  #search(leaf: ManifestLeaf): readonly Match[] {
    const found: Match[] = [];
    let bytes = 0;
    for (const { entry, path } of entriesOf(this.#reader, leaf)) {
      if (!this.#matches(path, entry.kind === ENTRY.directory)) continue;
      found.push({ path, raw: Buffer.from(entry.raw()) });
      bytes += path.length + entry.entryBytes;
    }
    const fits = this.#keptBytes + bytes <= KEPT_BYTES_MAX;
    if (fits && this.#searched.size < LEAVES_KEPT_MAX) {
      this.#searched.set(leafKey(leaf), found);
      this.#keptBytes += bytes;
    }
    return found;
  }
}
