/**
 * Rewrites chunks without what is dead: blocks that live wholly are copied as they are sealed, with
 * their new place in the tag header; of mixed ones the kept blobs are packed into new blocks, sealed
 * with the newest key.
 *
 * Contract: once `finish` returns, every kept blob of the chunks that it names stands in a durable chunk
 * with a durable index entry. Every block is checked: a copied one by its checksum and by what the
 * index says of it, an opened one by its seal and by the names of its blobs. Where the details or the
 * footer of a chunk are damaged all its blocks are opened, and say themselves what they hold. A chunk that
 * fails is left out of what `finish` names, and stays. The caller holds a lease.
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
import type { BlockPlace } from '../format/chunk.ts';
import {
  COMPRESSION,
  CONTENT_CLASS,
  chunkIdOf,
  PART,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  writeTag,
} from '../format/tag-header.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { IndexedChunk } from '../index/segment-builder.ts';
import { ChunkWriter, type PlacedChunk } from '../modules/chunk-writer.ts';
import { storeSegment, toChunkNames } from './index-store.ts';
import { agree, type FoundNames, PruneBlocks } from './prune-block.ts';
import { type ChunkContents, type ChunkFiles, isUnreadable } from './prune-chunk.ts';
import { type ChunkUsage, isKept } from './prune-usage.ts';
import type { Repository } from './repository.ts';
import type { ChunkTable } from './storage-map.ts';

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
  readonly #blocks: PruneBlocks;
  readonly #blockBytes: number;
  readonly #directoryAt: number;
  /** For the compressed form. */
  readonly #window: Buffer;
  readonly #open = new Map<number, OpenBlock>();
  readonly #placed: PlacedChunk[] = [];
  /** Every chunk that was placed so far. */
  readonly chunks: ChunkTable[] = [];
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
    this.#blocks = new PruneBlocks(repository, files);
    this.#directoryAt = this.#blocks.directoryAt;
    this.#window = Buffer.alloc(settings.blockBytes);
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
   * Copies what is kept of a chunk. Returns what is wrong with it, if anything is: it is then not among
   * what `finish` names.
   *
   * @throws REPO_FULL, REPO_IO and whatever else writing throws: call `discard`, condemn nothing more
   */
  async rewrite(number: number): Promise<PenstockError | undefined> {
    const chunk = must(this.#usage.loaded.chunks[number], 'a planned chunk');
    const found = attemptReading(() => this.#contents(number, chunk));
    if (found instanceof PenstockError && !this.#isToldByBlocks(number, found))
      return this.#fail(number, found);
    const contents = found instanceof PenstockError ? undefined : found;
    this.#moved.set(number, new Set());
    let first = 0;
    for (const [block, place] of chunk.blocks.entries()) {
      const kept = this.#usage.blockKeeps(number, block);
      if (kept > 0) {
        const isWhole = kept === place.blobCount;
        const wrong = attemptReading(() => {
          this.#blocks.read(chunk, place);
          if (isWhole && contents !== undefined)
            this.#writeDirectory(number, block, contents, first, place.blobCount);
          else this.#openBlock(number, block, place.bytes);
          if (isWhole && contents === undefined) this.#sealedAgain(chunk, place);
        });
        // What was copied before stays as a copy: the next prune sees to it.
        if (wrong instanceof PenstockError) return this.#fail(number, wrong);
        if (isWhole) this.#copy(number, chunk.contentClass, place);
        else this.#repack(number, chunk.contentClass, block);
        await this.#storeIndex();
        await this.#options.pause();
      }
      first += place.blobCount;
    }
    return undefined;
  }
  #fail(number: number, error: PenstockError): PenstockError {
    this.#failed.add(number);
    return error;
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
      const { id, contentClass, bytes, blocks } = chunk;
      this.chunks.push({ id, contentClass, bytes, blocks });
      await storeSegment(this.#repository, [toChunkNames(chunk, this.#options.session)]);
    }
  }

  /** What a chunk holds, which must be what the index says. */
  #contents(number: number, chunk: IndexedChunk): ChunkContents {
    const id = chunk.id.toString('hex');
    const contents = this.#files.contents(id);
    const isSame =
      contents.blocks.length === chunk.blocks.length &&
      contents.blocks.every((block, i) => block.blobCount === chunk.blocks[i]?.blobCount);
    if (isSame && this.#usage.isSound(number)) return contents;
    throw damaged(id, 'its footer is not what the index says');
  }

  /** Whether the blocks of a chunk that is damaged elsewhere can stand for what it tells of them. */
  #isToldByBlocks(number: number, { code }: PenstockError): boolean {
    return code === 'DAMAGED' && this.#usage.isSound(number);
  }

  /** Has the block that was opened in memory as it is sealed, with its directory as it was found. */
  #sealedAgain(chunk: IndexedChunk, place: BlockPlace): void {
    const { names, reader } = this.#blocks.opener;
    const { sealed } = this.#blocks;
    for (let i = 0; i < reader.count; i++) {
      const at = this.#directoryAt + i * DIRECTORY_RECORD_BYTES;
      names.copy(sealed, at, i * NAME_BYTES, (i + 1) * NAME_BYTES);
      sealed.fill(0, at + NAME_BYTES, at + DIRECTORY_RECORD_BYTES);
      sealed.writeUInt32LE(reader.lengths[i] ?? 0, at + NAME_BYTES);
      sealed.writeUInt8(reader.types[i] ?? 0, at + NAME_BYTES + 4);
    }
    this.#blocks.read(chunk, place);
  }

  /** Puts the directory with names of the block that was read into the directory room. */
  #writeDirectory(
    number: number,
    block: number,
    { names, details }: ChunkContents,
    first: number,
    count: number,
  ): void {
    const { sealed } = this.#blocks;
    for (let i = 0; i < count; i++) {
      const at = this.#directoryAt + i * DIRECTORY_RECORD_BYTES;
      const name = (first + i) * NAME_BYTES;
      names.copy(sealed, at, name, name + NAME_BYTES);
      const detail = (first + i) * STORED_RECORD_BYTES;
      details.copy(sealed, at + NAME_BYTES, detail, detail + STORED_RECORD_BYTES);
    }
    this.#agree({
      ...{ number, block, names: sealed, from: this.#directoryAt },
      ...{ step: DIRECTORY_RECORD_BYTES, count },
    });
  }

  /** Opens the block that was read, and names its blobs. */
  #openBlock(number: number, block: number, bytes: number): void {
    this.#blocks.open(this.#usage.loaded.share.chunkIds[number] ?? '', block, bytes);
    const { names, reader } = this.#blocks.opener;
    this.#agree({ number, block, names, from: 0, step: NAME_BYTES, count: reader.count });
  }

  #agree(found: FoundNames): void {
    agree(this.#usage, this.#index, found);
  }

  /** Writes the block that was read as it is sealed. */
  #copy(number: number, contentClass: number, { bytes, blobCount }: BlockPlace): void {
    const memory = this.#blocks.sealed;
    const directoryAt = this.#directoryAt;
    this.#writer.block({ memory, headerAt: 0, bytes, contentClass, blobCount, directoryAt });
    this.#note(number, memory, 0);
  }

  /** Packs what is kept of the block that was opened into the open block of the class. */
  #repack(number: number, contentClass: number, block: number): void {
    const { reader, names, content } = this.#blocks.opener;
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

/** Does what only reads; what is wrong with that which is read is a result. */
function attemptReading<Result>(action: () => Result): Result | PenstockError {
  try {
    return action();
  } catch (error) {
    if (error instanceof PenstockError && isUnreadable(error)) return error;
    throw error;
  }
}

function damaged(id: string, reason: string): PenstockError {
  return new PenstockError('DAMAGED', `chunk ${id} is damaged: ${reason}`, { subject: id });
}
