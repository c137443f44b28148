/**
 * Rewrites chunks without what is dead: blocks that live wholly are copied as they are sealed, with
 * their new place in the tag header; of mixed ones the kept blobs are packed into new blocks, sealed
 * with the newest key.
 *
 * Contract: once `finish` returns, every kept blob of the chunks that it names stands in a durable chunk
 * with a durable index entry. Every block is checked: a copied one by its checksum and by what the
 * index says of it, an opened one by its seal and by the names of its blobs. A chunk that fails is
 * left out of what `finish` names, and stays. The caller holds a lease.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  appendDirectory,
  DIRECTORY_RECORD_BYTES,
  NAME_BYTES,
  STORED_RECORD_BYTES,
} from '../format/block.ts';
import {
  COMPRESSION,
  CONTENT_CLASS,
  chunkIdOf,
  classOf,
  PART,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  writeTag,
} from '../format/tag-header.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { IndexedChunk } from '../index/segment-builder.ts';
import { BlockOpener } from '../modules/block-opener.ts';
import { ChunkWriter, type PlacedChunk } from '../modules/chunk-writer.ts';
import { storeSegment, toChunkNames } from './index-store.ts';
import type { ChunkContents, ChunkFiles } from './prune-chunk.ts';
import { isKept } from './prune-plan.ts';
import type { ChunkUsage } from './prune-usage.ts';
import type { Repository } from './repository.ts';

/** zstd level of repacked blocks. */
const REPACK_LEVEL = 3;

export interface RewriteOptions {
  /** The prune's session, 32 hex digits. */
  readonly session: string;
  readonly writer: string;
  readonly createdMs: number;
  pause(): Promise<void>;
}

/** A block that is being filled with blobs of several old ones. */
interface OpenBlock {
  readonly memory: Buffer;
  used: number;
  count: number;
  /** Chunks whose blobs are in it. */
  readonly from: Set<number>;
}

const PAYLOAD_AT = LIMITS.headerRoomBytes;
const DIRECTORY_BYTES = LIMITS.blobsPerBlockMax * DIRECTORY_RECORD_BYTES;

export class Rewriter {
  readonly #repository: Repository;
  readonly #usage: ChunkUsage;
  readonly #files: ChunkFiles;
  readonly #options: RewriteOptions;
  readonly #index: BlobIndex;
  readonly #writer: ChunkWriter;
  readonly #opener: BlockOpener;
  readonly #blockBytes: number;
  readonly #directoryAt: number;
  /** The block that is read, and room for its directory. */
  readonly #sealed: Buffer;
  /** For the compressed form. */
  readonly #window: Buffer;
  readonly #open = new Map<number, OpenBlock>();
  readonly #placed: PlacedChunk[] = [];
  /** Every chunk that was placed so far. */
  readonly chunks: PlacedChunk[] = [];
  /** Where the blobs of each rewritten chunk are now; ids of chunks. */
  #moved = new Map<number, Set<string>>();
  readonly #failed = new Set<number>();
  bytesWritten = 0;

  constructor(
    repository: Repository,
    usage: ChunkUsage,
    files: ChunkFiles,
    options: RewriteOptions,
  ) {
    const { sealer, settings, around } = repository;
    this.#repository = repository;
    this.#usage = usage;
    this.#files = files;
    this.#options = options;
    this.#index = usage.loaded.open();
    this.#blockBytes = settings.blockBytes;
    this.#directoryAt = PAYLOAD_AT + settings.blockBytes;
    this.#sealed = Buffer.alloc(this.#directoryAt + DIRECTORY_BYTES);
    this.#window = Buffer.alloc(settings.blockBytes);
    this.#opener = new BlockOpener(sealer, Buffer.alloc(settings.blockBytes));
    const { session, writer, createdMs } = options;
    this.#writer = new ChunkWriter(
      { session, writer, createdMs, chunkBytes: settings.chunkBytes },
      files.media,
      sealer,
      around.random,
      (chunk) => this.#placed.push(chunk),
    );
  }

  /**
   * Copies what is kept of a chunk.
   *
   * @throws DAMAGED: the chunk cannot be rewritten and is not among what `finish` names; others may be.
   *   OBJECT_MISSING (somebody else has removed it), REPO_FULL, REPO_IO: call `discard`.
   */
  async rewrite(number: number): Promise<void> {
    const chunk = must(this.#usage.loaded.chunks[number], 'a planned chunk');
    try {
      const contents = this.#files.contents(chunk.id.toString('hex'));
      this.#moved.set(number, new Set());
      let first = 0;
      for (const [block, place] of chunk.blocks.entries()) {
        if (this.#usage.blockKeeps(number, block) > 0) {
          this.#block(number, chunk, block, contents, first);
          await this.#storeIndex();
          await this.#options.pause();
        }
        first += place.blobCount;
      }
    } catch (error) {
      this.#failed.add(number);
      throw error;
    }
  }

  /**
   * Makes all that was copied since the last call durable, with its index entries. Returns where the
   * kept blobs of each chunk that was rewritten are.
   */
  async finish(): Promise<ReadonlyMap<number, ReadonlySet<string>>> {
    for (const contentClass of [...this.#open.keys()]) this.#send(contentClass);
    this.#writer.commitAll();
    await this.#storeIndex();
    const moved = this.#moved;
    for (const number of this.#failed) moved.delete(number);
    this.#moved = new Map();
    return moved;
  }

  /** Leaves nothing of unfinished chunks behind; finished ones are found by the next prune. */
  discard(): void {
    this.#writer.discard();
  }

  async #storeIndex(): Promise<void> {
    for (let chunk = this.#placed.shift(); chunk !== undefined; chunk = this.#placed.shift()) {
      this.bytesWritten += chunk.bytes;
      this.chunks.push(chunk);
      await storeSegment(this.#repository, [toChunkNames(chunk, this.#options.session)]);
    }
  }

  #block(
    number: number,
    chunk: IndexedChunk,
    block: number,
    contents: ChunkContents,
    first: number,
  ): void {
    const id = chunk.id.toString('hex');
    const place = must(chunk.blocks[block], 'a block of a chunk');
    const sealed = this.#sealed;
    this.#files.readBlock(id, place, sealed.subarray(0, this.#directoryAt));
    if (classOf(sealed, 0) !== chunk.contentClass) {
      throw new PenstockError('DAMAGED', `chunk ${id} is damaged: a block of another class`, {
        subject: id,
      });
    }
    if (this.#usage.blockKeeps(number, block) < place.blobCount) {
      this.#repack(number, chunk.contentClass, block, place.bytes);
      return;
    }
    this.#writeDirectory(contents, first, place.blobCount);
    const kept = this.#countKept(
      sealed,
      this.#directoryAt,
      DIRECTORY_RECORD_BYTES,
      place.blobCount,
      number,
      block,
    );
    this.#agree(number, block, kept);
    this.#writer.block({
      memory: sealed,
      headerAt: 0,
      bytes: place.bytes,
      contentClass: chunk.contentClass,
      blobCount: place.blobCount,
      directoryAt: this.#directoryAt,
    });
    this.#note(number, sealed, 0);
  }

  /** Puts a block's directory with names into the directory room. */
  #writeDirectory({ names, details }: ChunkContents, first: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const at = this.#directoryAt + i * DIRECTORY_RECORD_BYTES;
      const from = first + i;
      names.copy(this.#sealed, at, from * NAME_BYTES, (from + 1) * NAME_BYTES);
      details.copy(
        this.#sealed,
        at + NAME_BYTES,
        from * STORED_RECORD_BYTES,
        (from + 1) * STORED_RECORD_BYTES,
      );
    }
  }

  #countKept(
    names: Buffer,
    from: number,
    step: number,
    count: number,
    number: number,
    block: number,
  ): number {
    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (isKept(this.#usage, this.#index, names, from + i * step, number, block)) kept++;
    }
    return kept;
  }

  /** What was found must be what the index says: else a blob would be lost with the old chunk. */
  #agree(number: number, block: number, kept: number): void {
    const wanted = this.#usage.blockKeeps(number, block);
    if (kept === wanted) return;
    const id = this.#usage.loaded.share.chunkIds[number] ?? '';
    throw new PenstockError(
      'DAMAGED',
      `chunk ${id} is damaged: block ${block} holds ${kept} blobs that are needed where the index says ${wanted}`,
      { subject: id },
    );
  }

  /** Opens the block that was read and packs what is kept of it into the open block of the class. */
  #repack(number: number, contentClass: number, block: number, bytes: number): void {
    const id = this.#usage.loaded.share.chunkIds[number] ?? '';
    const opener = this.#opener;
    const wrong = opener.open(this.#sealed, 0, bytes);
    if (wrong !== undefined) {
      throw new PenstockError('DAMAGED', `chunk ${id} is damaged: block ${block}: ${wrong}`, {
        subject: id,
      });
    }
    const { reader, names, content } = opener;
    for (let i = 0; i < reader.count; i++) opener.name(i);
    this.#agree(number, block, this.#countKept(names, 0, NAME_BYTES, reader.count, number, block));
    for (let i = 0; i < reader.count; i++) {
      if (!isKept(this.#usage, this.#index, names, i * NAME_BYTES, number, block)) continue;
      const length = reader.lengths[i] ?? 0;
      const target = this.#room(contentClass, length);
      const from = reader.offsets[i] ?? 0;
      content.copy(target.memory, PAYLOAD_AT + target.used, from, from + length);
      const at = this.#directoryAt + target.count * DIRECTORY_RECORD_BYTES;
      names.copy(target.memory, at, i * NAME_BYTES, (i + 1) * NAME_BYTES);
      target.memory.writeUInt32LE(length, at + NAME_BYTES);
      target.memory.writeUInt32LE(reader.types[i] ?? 0, at + NAME_BYTES + 4);
      target.used += length;
      target.count++;
      target.from.add(number);
    }
  }

  #room(contentClass: number, length: number): OpenBlock {
    const open = this.#open.get(contentClass);
    if (open !== undefined) {
      const needed = open.used + length + (open.count + 1) * STORED_RECORD_BYTES;
      if (needed <= this.#blockBytes && open.count < LIMITS.blobsPerBlockMax) return open;
      this.#send(contentClass);
    }
    const memory = open?.memory ?? Buffer.alloc(this.#directoryAt + DIRECTORY_BYTES);
    const fresh: OpenBlock = { memory, used: 0, count: 0, from: new Set() };
    this.#open.set(contentClass, fresh);
    return fresh;
  }

  /** Seals the open block of a class and writes it. */
  #send(contentClass: number): void {
    const open = this.#open.get(contentClass);
    this.#open.delete(contentClass);
    if (open === undefined || open.count === 0) return;
    const { memory, count } = open;
    const payload = memory.subarray(PAYLOAD_AT, this.#directoryAt);
    const rawBytes = appendDirectory(payload, open.used, memory.subarray(this.#directoryAt), count);
    const storedBytes = this.#compress(memory, contentClass, rawBytes);
    const { sealer } = this.#repository;
    const headerAt = PAYLOAD_AT - TAG_FIXED_BYTES;
    writeTag(memory, headerAt, TAG_FIXED_BYTES, {
      part: PART.block,
      contentClass,
      compression: storedBytes < rawBytes ? COMPRESSION.zstd : COMPRESSION.none,
      encryption: sealer.encryption,
      flags: count > 1 ? TAG_FLAG.grouped : 0,
      keyGeneration: sealer.keyring.newest.number,
      rawBytes,
      storedBytes,
      blobCount: count,
    });
    sealer.sealPart(memory, headerAt, PAYLOAD_AT);
    this.#writer.block({
      memory,
      headerAt,
      bytes: TAG_FIXED_BYTES + storedBytes,
      contentClass,
      blobCount: count,
      directoryAt: this.#directoryAt,
    });
    for (const number of open.from) this.#note(number, memory, headerAt);
  }

  /** Compresses the payload in place; returns its stored length. */
  #compress(memory: Buffer, contentClass: number, rawBytes: number): number {
    if (contentClass === CONTENT_CLASS.incompressible) return rawBytes;
    const { codec } = this.#repository;
    const window = this.#window;
    const length = codec.compress(
      memory,
      PAYLOAD_AT,
      rawBytes,
      window,
      0,
      rawBytes - 1,
      REPACK_LEVEL,
    );
    if (length < 0) return rawBytes;
    window.copy(memory, PAYLOAD_AT, 0, length);
    return length;
  }

  /** The block of which the tag header was just placed holds blobs of that chunk. */
  #note(number: number, memory: Buffer, headerAt: number): void {
    this.#moved.get(number)?.add(chunkIdOf(memory, headerAt).toString('hex'));
  }
}
