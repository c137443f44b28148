/**
 * Goes through the manifests of archives and looks whether every blob that they need can be read: the
 * manifest's own are read, of files' content the place is looked up. A part of a manifest that several
 * archives share is gone through once; what it lacks counts for each of them. What is kept of what is
 * lacking does not grow with the number of files: the caller says for each what is to blame.
 */
import type { ByteString } from '../base/bytes.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CONTENT_RECORD_BYTES, contentIsHole, contentLength } from '../format/content.ts';
import { ENTRY, ENTRY_FLAG, type EntryView } from '../format/entry.ts';
import { decodeNode, LeafReader, type ManifestRef } from '../format/manifest.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';

/** A part of a manifest that is read and cannot be right. */
export interface WrongPart {
  /** Of the file, or of the first entry of the part. */
  readonly path: ByteString;
  readonly message: string;
}

/** What a manifest, or a part of one, lacks. */
export interface Lacks<Blame> {
  /** What is to blame for blobs that cannot be read. */
  readonly blames: ReadonlySet<Blame>;
  readonly wrong: readonly WrongPart[];
}

export interface WalkHooks<Blame> {
  /** Whether a blob that the index has just found can be read at that place. */
  isGood(index: BlobIndex): boolean;
  /** Called for each blob that is needed, the manifest's own too, with the number of its chunk. */
  onBlob?(chunk: number): void;
  /** Says what is to blame for a blob that cannot be read at any place. */
  blame(name: Buffer, path: ByteString): Iterable<Blame>;
  onEntries(count: number): void;
  /** Called now and then; may wait and may throw. */
  turn(): Promise<void>;
}

/** Wrong parts that are kept of each part. */
const WRONG_MAX = 20;

export class ManifestWalk<Blame> {
  readonly #index: BlobIndex;
  readonly #blobs: BlobReader;
  readonly #hooks: WalkHooks<Blame>;
  readonly #nothing: Lacks<Blame> = { blames: new Set(), wrong: [] };
  /** What each part of a manifest lacks, by its name. */
  readonly #seen = new Map<string, Lacks<Blame>>();

  constructor(index: BlobIndex, blobs: BlobReader, hooks: WalkHooks<Blame>) {
    this.#index = index;
    this.#blobs = blobs;
    this.#hooks = hooks;
  }

  /** What an archive lacks. Throws only what `turn` throws. */
  async walk(root: ManifestRoot): Promise<Lacks<Blame>> {
    const { level, ref } = root;
    if (level <= LIMITS.manifestLevelsMax) return this.#part(ref, level);
    return {
      blames: new Set(),
      wrong: [{ path: '', message: `its manifest has ${level} levels` }],
    };
  }

  async #part(ref: ManifestRef, level: number): Promise<Lacks<Blame>> {
    const key = ref.name.toString('latin1');
    const seen = this.#seen.get(key);
    if (seen !== undefined) return seen;
    await this.#hooks.turn();
    const found = new Finding<Blame>();
    const bytes = this.#read(ref.name, ref.path, found);
    if (bytes !== undefined) {
      try {
        if (level === 0) this.#leaf(bytes, ref, found);
        else
          for (const child of childrenOf(bytes, level))
            found.take(await this.#part(child, level - 1));
      } catch (error) {
        if (!(error instanceof PenstockError) || error.code !== 'DAMAGED') throw error;
        found.say(ref.path, error.message);
      }
    }
    const lacks = found.count === 0 ? this.#nothing : found;
    this.#seen.set(key, lacks);
    return lacks;
  }

  #leaf(bytes: Buffer, ref: ManifestRef, found: Finding<Blame>): void {
    const reader = new LeafReader();
    reader.open(bytes);
    const path: ByteString[] = reader.prefix === '' ? [] : reader.prefix.split('/');
    let entries = 0;
    while (reader.next()) {
      entries++;
      const { entry } = reader;
      path.length = Math.min(path.length, entry.depth);
      path.push(entry.name);
      if (entry.contentCount > 0) this.#content(entry, path, found);
    }
    this.#hooks.onEntries(entries);
    if (entries !== ref.entries)
      found.say(ref.path, `the manifest lists ${ref.entries} entries where there are ${entries}`);
  }

  #content(entry: EntryView, components: readonly ByteString[], found: Finding<Blame>): void {
    const { contentAt, contentCount, contentLevels } = entry;
    if (contentLevels > LIMITS.manifestLevelsMax) {
      found.say(components.join('/'), `a content list of ${contentLevels} levels`);
      return;
    }
    const before = found.count;
    const records = entry.bytes.subarray(
      contentAt,
      contentAt + contentCount * CONTENT_RECORD_BYTES,
    );
    const covered = this.#records(records, contentLevels, components, found);
    const isWhole =
      entry.kind === ENTRY.file &&
      (entry.flags & (ENTRY_FLAG.incomplete | ENTRY_FLAG.hardLink)) === 0;
    if (found.count === before && isWhole && covered !== entry.size) {
      found.say(components.join('/'), `its content has ${covered} bytes, not ${entry.size}`);
    }
  }

  /** Returns the bytes of the file that the records cover. */
  #records(
    records: Buffer,
    level: number,
    components: readonly ByteString[],
    found: Finding<Blame>,
  ): number {
    let covered = 0;
    for (let at = 0; at + CONTENT_RECORD_BYTES <= records.length; at += CONTENT_RECORD_BYTES) {
      const length = contentLength(records, at);
      covered += length;
      if (contentIsHole(records, at)) continue;
      if (level === 0) this.#blob(records, at + 8, components, found);
      else
        this.#list(
          Buffer.from(records.subarray(at + 8, at + 40)),
          length,
          level,
          components,
          found,
        );
    }
    return covered;
  }
  #list(
    name: Buffer,
    length: number,
    level: number,
    components: readonly ByteString[],
    found: Finding<Blame>,
  ): void {
    const list = this.#read(name, components.join('/'), found);
    if (list === undefined) return;
    const isTorn = list.length % CONTENT_RECORD_BYTES !== 0;
    const before = found.count;
    const covered = this.#records(list, level - 1, components, found);
    if (isTorn || (found.count === before && covered !== length))
      found.say(components.join('/'), 'a torn content list');
  }

  /** A blob of the manifest, copied; undefined when it cannot be read. */
  #read(name: Buffer, path: ByteString, found: Finding<Blame>): Buffer | undefined {
    try {
      const bytes = Buffer.from(this.#blobs.read(name));
      this.#find(name, 0);
      return bytes;
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      found.blame(this.#hooks.blame(name, path));
      return undefined;
    }
  }
  #blob(names: Buffer, at: number, components: readonly ByteString[], found: Finding<Blame>): void {
    if (this.#find(names, at)) return;
    found.blame(this.#hooks.blame(Buffer.from(names.subarray(at, at + 32)), components.join('/')));
  }
  #find(names: Buffer, at: number): boolean {
    for (let place = 0; this.#index.find(names, at, place); place++) {
      if (!this.#hooks.isGood(this.#index)) continue;
      this.#hooks.onBlob?.(this.#index.chunk);
      return true;
    }
    return false;
  }
}

function childrenOf(bytes: Buffer, level: number): readonly ManifestRef[] {
  const node = decodeNode(bytes);
  if (node.level === level) return node.children;
  throw new PenstockError(
    'DAMAGED',
    `damaged manifest: level ${node.level} where ${level} should be`,
  );
}

/** Gathers what a part lacks. */
class Finding<Blame> implements Lacks<Blame> {
  readonly blames = new Set<Blame>();
  readonly wrong: WrongPart[] = [];
  /** Grows with everything that is lacking. */
  count = 0;

  blame(blames: Iterable<Blame>): void {
    this.count++;
    for (const blame of blames) this.blames.add(blame);
  }
  say(path: ByteString, message: string): void {
    this.count++;
    if (this.wrong.length < WRONG_MAX) this.wrong.push({ path, message });
  }
  take({ blames, wrong }: Lacks<Blame>): void {
    if (blames.size > 0) this.blame(blames);
    for (const { path, message } of wrong) this.say(path, message);
  }
}
