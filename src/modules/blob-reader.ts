/**
 * Reads single blobs of a repository: index → chunk → block → blob, checked against its name.
 *
 * For manifests and content lists, and for files shown on standard output; a restore of many files
 * goes through the pipe instead. Keeps the last blocks that it opened, since manifest blobs stand
 * together. Every blob is checked against its name before it is handed out (U3).
 */
import { must } from '../base/assert.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Sealer } from '../crypto/seal.ts';
import { BlockReader, NAME_BYTES } from '../format/block.ts';
import type { ChunkMedia, ChunkSource } from '../format/chunk-media.ts';
import {
  blobCountOf,
  COMPRESSION,
  checkTag,
  compressionOf,
  headerBytesOf,
  rawBytesOf,
  storedBytesOf,
} from '../format/tag-header.ts';
import type { BlobIndex } from '../index/blob-index.ts';

const BLOCKS_KEPT = 4;
const CHUNKS_OPEN_MAX = 16;
/** Blocks that are known to be damaged, and are not read again for each of their blobs. */
const BAD_BLOCKS_KEPT = 256;

/** Errors that say that something stored cannot be read, whatever else can be. */
const UNREADABLE: ReadonlySet<string> = new Set([
  'DAMAGED',
  'OBJECT_MISSING',
  'REPO_IO',
  'REPO_READ_ONLY',
]);

/** Whether what was thrown says that one thing cannot be read, while others may be. */
export function isUnreadable(thrown: unknown): thrown is PenstockError {
  return thrown instanceof PenstockError && UNREADABLE.has(thrown.code);
}

/** A place where a blob should be, and could not be read. */
export interface BadPlace {
  readonly chunk: string;
  /** Of the block. */
  readonly offset: number;
  readonly error: PenstockError;
  /** The block as a whole cannot be read, though its chunk is there. */
  readonly isBlock: boolean;
}

interface OpenBlock {
  readonly key: string;
  readonly bytes: Buffer;
  readonly reader: BlockReader;
  /** Names of the blobs of this block, made when first asked for. */
  readonly names: Buffer;
  named: number;
}

export class BlobReader {
  readonly #index: BlobIndex;
  readonly #media: ChunkMedia;
  readonly #sealer: Sealer;
  readonly #chunkIds: readonly string[];
  readonly #chunks = new Map<string, ChunkSource>();
  readonly #blocks: OpenBlock[] = [];
  readonly #badBlocks = new Map<string, PenstockError>();
  readonly #sealed: Buffer = Buffer.allocUnsafe(
    LIMITS.headerRoomBytes + LIMITS.blockRawBytesDefault,
  );

  /** The sealer's codec must be keyed with the keyring's name key. */
  constructor(index: BlobIndex, chunkIds: readonly string[], media: ChunkMedia, sealer: Sealer) {
    this.#index = index;
    this.#chunkIds = chunkIds;
    this.#media = media;
    this.#sealer = sealer;
  }

  /**
   * The blob of a name, in place: valid until the next call. Where one place is damaged the others are
   * tried. OBJECT_MISSING when the index does not know it or its chunk is gone, DAMAGED when its bytes
   * are not those of its name.
   */
  read(name: Buffer): Buffer {
    let failure: PenstockError | undefined;
    for (let place = 0; this.#index.find(name, 0, place); place++) {
      const chunk = must(this.#chunkIds[this.#index.chunk], 'a found chunk has an id');
      const offset = this.#index.blockOffset;
      let block: OpenBlock | undefined;
      try {
        block = this.#block(chunk, offset, this.#index.blockBytes);
        return this.#find(block, name, chunk);
      } catch (error) {
        if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
        const isBlock = block === undefined && error.code !== 'OBJECT_MISSING';
        this.onBadPlace?.({ chunk, offset, error, isBlock });
        failure ??= error;
      }
    }
    throw (
      failure ??
      new PenstockError('OBJECT_MISSING', `no chunk holds blob ${name.toString('hex', 0, 8)}`, {
        subject: name.toString('hex'),
        hint: 'run `penstock catalog rebuild`, then `penstock check`',
      })
    );
  }
  /** Called for each place that could not be read, also where another one could. */
  onBadPlace: ((place: BadPlace) => void) | undefined;

  #find(block: OpenBlock, name: Buffer, chunk: string): Buffer {
    const { reader, names } = block;
    for (let i = 0; i < reader.count; i++) {
      if (i === block.named) {
        this.#sealer.codec.hash.digestInto(
          block.bytes,
          reader.offsets[i] ?? 0,
          reader.lengths[i] ?? 0,
          names,
          i * NAME_BYTES,
        );
        block.named++;
      }
      if (name.compare(names, i * NAME_BYTES, (i + 1) * NAME_BYTES) === 0) {
        const at = reader.offsets[i] ?? 0;
        return block.bytes.subarray(at, at + (reader.lengths[i] ?? 0));
      }
    }
    throw new PenstockError(
      'DAMAGED',
      `chunk ${chunk} does not hold blob ${name.toString('hex', 0, 8)} where the index says`,
      {
        subject: chunk,
      },
    );
  }

  #block(chunk: string, offset: number, bytes: number): OpenBlock {
    const key = `${chunk}:${offset}`;
    const kept = this.#blocks.findIndex((block) => block.key === key);
    if (kept >= 0) {
      const block = must(this.#blocks[kept], 'kept block');
      this.#blocks.splice(kept, 1);
      this.#blocks.push(block);
      return block;
    }
    const known = this.#badBlocks.get(key);
    if (known !== undefined) throw known;
    const oldest = this.#blocks.length >= BLOCKS_KEPT ? this.#blocks.shift() : undefined;
    try {
      const block = this.#openBlock(key, chunk, offset, bytes, oldest);
      this.#blocks.push(block);
      return block;
    } catch (error) {
      if (error instanceof PenstockError && error.code === 'DAMAGED') this.#noteBad(key, error);
      throw error;
    }
  }
  #noteBad(key: string, error: PenstockError): void {
    if (this.#badBlocks.size >= BAD_BLOCKS_KEPT)
      this.#badBlocks.delete(this.#badBlocks.keys().next().value ?? '');
    this.#badBlocks.set(key, error);
  }

  #openBlock(
    key: string,
    chunk: string,
    offset: number,
    bytes: number,
    reuse: OpenBlock | undefined,
  ): OpenBlock {
    const wrong = (reason: string): PenstockError =>
      new PenstockError('DAMAGED', `chunk ${chunk} is damaged at ${offset}: ${reason}`, {
        subject: chunk,
      });
    const sealed = bytes <= this.#sealed.length ? this.#sealed : Buffer.alloc(bytes);
    const got = this.#source(chunk).read(sealed, 0, bytes, offset);
    if (got !== bytes) throw wrong(`${got} bytes where a block of ${bytes} should be`);
    const { codec } = this.#sealer;
    const bad = checkTag(sealed, 0, got, (view, at, length, seed) =>
      codec.crc32c(view, at, length, seed),
    );
    if (bad !== undefined) throw wrong(bad);
    const header = headerBytesOf(sealed, 0);
    const stored = storedBytesOf(sealed, 0);
    const raw = rawBytesOf(sealed, 0);
    if (header + stored !== bytes || raw > LIMITS.blockRawBytesMax)
      throw wrong('its lengths do not fit');
    const failed = this.#sealer.openPart(sealed, 0, header);
    if (failed !== undefined) throw wrong(failed);
    const target =
      reuse !== undefined && reuse.bytes.length >= raw
        ? reuse.bytes
        : Buffer.allocUnsafe(Math.max(raw, LIMITS.blockRawBytesDefault));
    if (compressionOf(sealed, 0) === COMPRESSION.zstd) {
      if (codec.decompress(sealed, header, stored, target, 0, raw) !== raw)
        throw wrong('it does not decompress');
    } else sealed.copy(target, 0, header, header + stored);
    const reader = reuse?.reader ?? new BlockReader();
    const names = reuse?.names ?? Buffer.alloc(LIMITS.blobsPerBlockMax * NAME_BYTES);
    const torn = reader.read(target, 0, raw, blobCountOf(sealed, 0));
    if (torn !== undefined) throw wrong(torn);
    return { key, bytes: target, reader, names, named: 0 };
  }

  #source(chunk: string): ChunkSource {
    const open = this.#chunks.get(chunk);
    if (open !== undefined) return open;
    if (this.#chunks.size >= CHUNKS_OPEN_MAX) {
      const oldest = this.#chunks.keys().next().value ?? '';
      this.#chunks.get(oldest)?.close();
      this.#chunks.delete(oldest);
    }
    const source = this.#media.open(chunk);
    this.#chunks.set(chunk, source);
    return source;
  }

  close(): void {
    for (const source of this.#chunks.values()) source.close();
    this.#chunks.clear();
    this.#blocks.length = 0;
    this.#badBlocks.clear();
  }
}
