/**
 * Opens sealed blocks: checks the tag header, the seal, decompresses, reads the directory, names every
 * blob. Used by restores and checks; no allocation per block.
 */
import { LIMITS } from '../base/limits.ts';
import type { Sealer } from '../crypto/seal.ts';
import { BlockReader, NAME_BYTES } from '../format/block.ts';
import {
  blobCountOf,
  COMPRESSION,
  type Crc,
  checkTag,
  compressionOf,
  headerBytesOf,
  PART,
  partOf,
  rawBytesOf,
  storedBytesOf,
} from '../format/tag-header.ts';

export class BlockOpener {
  readonly reader: BlockReader = new BlockReader();
  /** Names of the blobs of the block opened last. */
  readonly names: Buffer = Buffer.alloc(LIMITS.blobsPerBlockMax * NAME_BYTES);
  /** Where the opened content lies. */
  content: Buffer = Buffer.alloc(0);
  rawBytes = 0;
  readonly #sealer: Sealer;
  readonly #target: Buffer;
  readonly #crc: Crc;

  /** `target`: memory for the content of one block. */
  constructor(sealer: Sealer, target: Buffer) {
    this.#sealer = sealer;
    this.#target = target;
    this.#crc = (view, offset, length, seed) => sealer.codec.crc32c(view, offset, length, seed);
  }

  /**
   * Opens the block whose tag header is at `at`, `bytes` long; the memory is changed. Returns what is
   * wrong, or undefined. Offsets in `reader` are then into `content`.
   */
  open(memory: Buffer, at: number, bytes: number): string | undefined {
    const bad = checkTag(memory, at, bytes, this.#crc);
    if (bad !== undefined) return bad;
    const header = headerBytesOf(memory, at);
    const stored = storedBytesOf(memory, at);
    const raw = rawBytesOf(memory, at);
    if (partOf(memory, at) !== PART.block) return 'it is not a block';
    if (header + stored !== bytes) return `it has ${header + stored} bytes, not ${bytes}`;
    if (raw > this.#target.length)
      return `its content has ${raw} bytes, more than a block may have`;
    const unsealed = this.#sealer.openPart(memory, at, at + header);
    if (unsealed !== undefined) return unsealed;
    let start = 0;
    if (compressionOf(memory, at) === COMPRESSION.zstd) {
      this.content = this.#target;
      const length = this.#sealer.codec.decompress(
        memory,
        at + header,
        stored,
        this.#target,
        0,
        raw,
      );
      if (length !== raw) return 'it does not decompress to its length';
    } else if (compressionOf(memory, at) !== COMPRESSION.none) return 'its compression is unknown';
    else if (raw !== stored) return 'its lengths do not agree';
    else {
      this.content = memory;
      start = at + header;
    }
    this.rawBytes = raw;
    return this.reader.read(this.content, start, raw, blobCountOf(memory, at));
  }

  /** Names one blob, 32 bytes at its place in `names`. */
  name(blob: number): void {
    const { offsets, lengths } = this.reader;
    this.#sealer.codec.hash.digestInto(
      this.content,
      offsets[blob] ?? 0,
      lengths[blob] ?? 0,
      this.names,
      blob * NAME_BYTES,
    );
  }
}
