/**
 * Goes through the manifests of archives and looks whether every blob that they need can be read: the
 * manifest's own are read, of files' content the place is looked up. A part of a manifest that several
 * archives share is gone through once; what it lacks counts for each of them.
 */
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CONTENT_RECORD_BYTES, contentIsHole, contentLength } from '../format/content.ts';
import { ENTRY, ENTRY_FLAG, type EntryView } from '../format/entry.ts';
import { decodeNode, LeafReader, type ManifestRef } from '../format/manifest.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';

/** A blob that cannot be read, or a part of a manifest that cannot be understood. */
export interface Lack {
  /** First path that it concerns: of a part of a manifest that of its first entry. */
  readonly path: ByteString;
  /** Undefined: the manifest itself is wrong. */
  readonly name: Buffer | undefined;
  readonly message: string;
}

export interface WalkHooks {
  /** Whether a blob that the index has just found can be read at that place. */
  isGood(index: BlobIndex): boolean;
  /** Called for each blob that is needed, the manifest's own too, with the number of its chunk. */
  onBlob?(chunk: number): void;
  onEntries(count: number): void;
  /** Called now and then; may wait and may throw. */
  turn(): Promise<void>;
}

const NOTHING: readonly Lack[] = [];

export class ManifestWalk {
  readonly #index: BlobIndex;
  readonly #blobs: BlobReader;
  readonly #hooks: WalkHooks;
  /** What each part of a manifest lacks, by its name. */
  readonly #seen = new Map<string, readonly Lack[]>();

  constructor(index: BlobIndex, blobs: BlobReader, hooks: WalkHooks) {
    this.#index = index;
    this.#blobs = blobs;
    this.#hooks = hooks;
  }

  /** What an archive lacks. Throws only what `turn` throws. */
  async walk(root: ManifestRoot): Promise<readonly Lack[]> {
    if (root.level > LIMITS.manifestLevelsMax)
      return [lack('', undefined, `its manifest has ${root.level} levels`)];
    return this.#part(root.ref, root.level);
  }

  async #part(ref: ManifestRef, level: number): Promise<readonly Lack[]> {
    const key = ref.name.toString('latin1');
    const seen = this.#seen.get(key);
    if (seen !== undefined) return seen;
    await this.#hooks.turn();
    const lacks: Lack[] = [];
    const bytes = this.#read(ref.name, ref.path, lacks);
    if (bytes !== undefined) {
      try {
        if (level === 0) this.#leaf(bytes, ref, lacks);
        else
          for (const child of this.#children(bytes, level))
            for (const one of await this.#part(child, level - 1)) lacks.push(one);
      } catch (error) {
        if (!(error instanceof PenstockError) || error.code !== 'DAMAGED') throw error;
        lacks.push(lack(ref.path, undefined, error.message));
      }
    }
    const found = lacks.length === 0 ? NOTHING : lacks;
    this.#seen.set(key, found);
    return found;
  }
  #children(bytes: Buffer, level: number): readonly ManifestRef[] {
    const node = decodeNode(bytes);
    if (node.level !== level)
      throw new PenstockError(
        'DAMAGED',
        `damaged manifest: level ${node.level} where ${level} should be`,
      );
    return node.children;
  }

  #leaf(bytes: Buffer, ref: ManifestRef, lacks: Lack[]): void {
    const reader = new LeafReader();
    reader.open(bytes);
    const path: ByteString[] = reader.prefix === '' ? [] : reader.prefix.split('/');
    let entries = 0;
    while (reader.next()) {
      entries++;
      const { entry } = reader;
      path.length = Math.min(path.length, entry.depth);
      path.push(entry.name);
      if (entry.contentCount > 0) this.#content(entry, path.join('/'), lacks);
    }
    this.#hooks.onEntries(entries);
    if (entries !== ref.entries)
      lacks.push(
        lack(
          ref.path,
          undefined,
          `the manifest lists ${ref.entries} entries where there are ${entries}`,
        ),
      );
  }

  #content(entry: EntryView, path: ByteString, lacks: Lack[]): void {
    const { contentAt, contentCount, contentLevels } = entry;
    if (contentLevels > LIMITS.manifestLevelsMax) {
      lacks.push(lack(path, undefined, `a content list of ${contentLevels} levels`));
      return;
    }
    const before = lacks.length;
    const records = entry.bytes.subarray(
      contentAt,
      contentAt + contentCount * CONTENT_RECORD_BYTES,
    );
    const covered = this.#records(records, contentLevels, path, lacks);
    const whole =
      entry.kind === ENTRY.file &&
      (entry.flags & (ENTRY_FLAG.incomplete | ENTRY_FLAG.hardLink)) === 0;
    if (lacks.length === before && whole && covered !== entry.size) {
      lacks.push(lack(path, undefined, `its content has ${covered} bytes, not ${entry.size}`));
    }
  }

  /** Returns the bytes of the file that the records cover. */
  #records(records: Buffer, level: number, path: ByteString, lacks: Lack[]): number {
    let covered = 0;
    for (let at = 0; at + CONTENT_RECORD_BYTES <= records.length; at += CONTENT_RECORD_BYTES) {
      const length = contentLength(records, at);
      covered += length;
      if (contentIsHole(records, at)) continue;
      if (level === 0) this.#blob(records, at + 8, path, lacks);
      else this.#list(Buffer.from(records.subarray(at + 8, at + 40)), length, level, path, lacks);
    }
    return covered;
  }
  #list(name: Buffer, length: number, level: number, path: ByteString, lacks: Lack[]): void {
    const list = this.#read(name, path, lacks);
    if (list === undefined) return;
    const torn = list.length % CONTENT_RECORD_BYTES !== 0;
    const before = lacks.length;
    const covered = this.#records(list, level - 1, path, lacks);
    if (torn || (lacks.length === before && covered !== length))
      lacks.push(lack(path, undefined, 'a torn content list'));
  }

  /** A blob of the manifest, copied; undefined when it cannot be read. */
  #read(name: Buffer, path: ByteString, lacks: Lack[]): Buffer | undefined {
    try {
      const bytes = Buffer.from(this.#blobs.read(name));
      this.#find(name, 0);
      return bytes;
    } catch (error) {
      if (!(error instanceof PenstockError)) throw error;
      lacks.push(lack(path, Buffer.from(name), error.message));
      return undefined;
    }
  }
  #blob(names: Buffer, at: number, path: ByteString, lacks: Lack[]): void {
    if (this.#find(names, at)) return;
    lacks.push(
      lack(path, Buffer.from(names.subarray(at, at + 32)), 'its content is not in the repository'),
    );
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

function lack(path: ByteString, name: Buffer | undefined, message: string): Lack {
  return { path, name, message };
}
