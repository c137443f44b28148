/**
 * Marks the blobs that archives need, by walking their manifests.
 *
 * Contract: a blob is live if and only if it was marked; marks are bits beside the index's records
 * (the first place of each blob), so that memory is a few bits a blob, whatever the number of
 * archives. A node, leaf or content list that was walked as such is not walked again: archives share
 * most of theirs. Whatever cannot be read ends the marking: what is below it is not known then.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NAME_BYTES } from '../format/block.ts';
import { CONTENT_RECORD_BYTES, contentIsHole } from '../format/content.ts';
import type { EntryView } from '../format/entry.ts';
import { decodeNode, LeafReader } from '../format/manifest.ts';
import type { BlobIndex, IndexShare } from '../index/blob-index.ts';
import type { BlobReader } from '../modules/blob-reader.ts';
import type { ManifestRoot } from '../modules/manifest-cursor.ts';

/** One bit for each record of an index, in memory as far as bits are set. */
export class RecordBits {
  readonly #segments: readonly Uint8Array[];

  constructor(share: IndexShare) {
    this.#segments = share.segments.map(({ shape }) => new Uint8Array((shape.nameCount + 7) >>> 3));
  }
  /** Sets a bit; false when it was set. */
  set(segment: number, record: number): boolean {
    const bits = this.#segments[segment];
    const byte = bits?.[record >>> 3];
    if (bits === undefined || byte === undefined) return false;
    const bit = 1 << (record & 7);
    if ((byte & bit) !== 0) return false;
    bits[record >>> 3] = byte | bit;
    return true;
  }
  has(segment: number, record: number): boolean {
    return ((this.#segments[segment]?.[record >>> 3] ?? 0) & (1 << (record & 7))) !== 0;
  }
}

/** As what a blob was walked. The same bytes may stand in a file, and then nothing is below them. */
const WALKED_LEAF = 0;
const WALKED_NODE = 1;
/** Content lists of level n: this and n. */
const WALKED_LIST = 1;

export class LiveMarker {
  readonly live: RecordBits;
  readonly #share: IndexShare;
  readonly #index: BlobIndex;
  readonly #blobs: BlobReader;
  readonly #walked: (RecordBits | undefined)[] = [];
  readonly #leaf = new LeafReader();
  readonly #leafBytes: Buffer = Buffer.alloc(LIMITS.leafBytesMax + NAME_BYTES);
  readonly #pause: () => Promise<void>;

  /** `pause` is called at least once a leaf. */
  constructor(share: IndexShare, index: BlobIndex, blobs: BlobReader, pause: () => Promise<void>) {
    this.live = new RecordBits(share);
    this.#share = share;
    this.#index = index;
    this.#blobs = blobs;
    this.#pause = pause;
  }

  /**
   * Marks all that an archive needs.
   *
   * @throws OBJECT_MISSING when the index knows no place of a blob, DAMAGED
   */
  async archive(root: ManifestRoot): Promise<void> {
    await this.#tree(root.ref.name, root.level);
  }

  async #tree(name: Buffer, level: number): Promise<void> {
    if (level > LIMITS.manifestLevelsMax) {
      throw new PenstockError('DAMAGED', `a manifest of ${level} levels`);
    }
    if (!this.#enter(name, 0, level === 0 ? WALKED_LEAF : WALKED_NODE)) return;
    await this.#pause();
    if (level === 0) {
      this.#markLeaf(name);
      return;
    }
    const node = decodeNode(Buffer.from(this.#blobs.read(name)));
    if (node.level !== level) {
      throw new PenstockError(
        'DAMAGED',
        `damaged manifest: level ${node.level} where ${level} should be`,
      );
    }
    for (const child of node.children) await this.#tree(child.name, level - 1);
  }

  #markLeaf(name: Buffer): void {
    const blob = this.#blobs.read(name);
    if (blob.length > this.#leafBytes.length) {
      throw new PenstockError('DAMAGED', `damaged manifest: a leaf of ${blob.length} bytes`);
    }
    // The reader's memory is used again when a content list is read.
    blob.copy(this.#leafBytes);
    this.#leaf.open(this.#leafBytes.subarray(0, blob.length));
    while (this.#leaf.next()) this.#markContent(this.#leaf.entry);
  }

  #markContent(entry: EntryView): void {
    const count = entry.contentCount;
    if (count === 0) return;
    const levels = entry.contentLevels;
    if (levels > LIMITS.manifestLevelsMax) {
      throw new PenstockError('DAMAGED', `a content list of ${levels} levels`);
    }
    this.#markRecords(entry.bytes, entry.contentAt, count, levels);
  }

  #markRecords(bytes: Buffer, from: number, count: number, levels: number): void {
    const end = from + count * CONTENT_RECORD_BYTES;
    for (let at = from; at < end; at += CONTENT_RECORD_BYTES) {
      if (contentIsHole(bytes, at)) continue;
      if (levels === 0) this.#mark(bytes, at + 8);
      else if (this.#enter(bytes, at + 8, WALKED_LIST + levels)) {
        const list = Buffer.from(this.#blobs.read(bytes.subarray(at + 8, at + 8 + NAME_BYTES)));
        if (list.length % CONTENT_RECORD_BYTES !== 0) {
          throw new PenstockError('DAMAGED', 'a torn content list');
        }
        this.#markRecords(list, 0, list.length / CONTENT_RECORD_BYTES, levels - 1);
      }
    }
  }

  /** Marks a blob that is to be walked as `what`; false when that was done before. */
  #enter(names: Buffer, at: number, what: number): boolean {
    this.#mark(names, at);
    const walked = this.#walked[what] ?? new RecordBits(this.#share);
    this.#walked[what] = walked;
    return walked.set(this.#index.segment, this.#index.record);
  }

  #mark(names: Buffer, at: number): void {
    if (!this.#index.find(names, at)) {
      const name = names.toString('hex', at, at + NAME_BYTES);
      throw new PenstockError('OBJECT_MISSING', `no chunk holds blob ${name.slice(0, 16)}`, {
        subject: name,
        hint: 'run `penstock catalog rebuild`, then `penstock check`',
      });
    }
    this.live.set(this.#index.segment, this.#index.record);
  }
}
