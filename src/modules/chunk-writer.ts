/**
 * Writes chunks: one open chunk per content class, committed when it is full or when asked.
 *
 * A chunk: header, blocks and other parts, details and footer, trailer (format/chunk.ts). Nothing
 * counts as stored before its chunk is durable; then `placed` gets what the index needs. On media that
 * synchronise when it suits them, writing goes on meanwhile, up to a number of chunks. Memory is used
 * again from chunk to chunk: a thread that never returns to the event loop gives little back.
 */
import { LIMITS } from '../base/limits.ts';
import type { Sealer } from '../crypto/seal.ts';
import { DIRECTORY_RECORD_BYTES, NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import {
  type BlockPlace,
  type ChunkHeaderInfo,
  encodeFooter,
  encodeTrailer,
  footerBytesFor,
  TRAILER_BYTES,
} from '../format/chunk.ts';
import type { ChunkCommit, ChunkMedia, ChunkSink } from '../format/chunk-media.ts';
import {
  SPECIAL,
  type SpecialHeader,
  specialBytes,
  writeSpecials,
} from '../format/special-headers.ts';
import {
  COMPRESSION,
  ENCRYPTION,
  finishTag,
  PART,
  setPlace,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  writeTag,
} from '../format/tag-header.ts';
import type { Random } from '../host/mod.ts';
import { GrowingBytes } from './growing-bytes.ts';

export interface ChunkWriterOptions {
  /** Session id, 32 hex digits. */
  readonly session: string;
  /** A chunk is committed once it holds this many bytes. */
  readonly chunkBytes: number;
  /** And before one of its parts would have more than this, headers aside; undefined: no bound. */
  readonly partBytesMax?: number | undefined;
  /** Program and version, for the chunk headers. */
  readonly writer: string;
  readonly createdMs: number;
}

/** A durable chunk. */
export interface PlacedChunk {
  readonly id: string;
  readonly contentClass: number;
  readonly bytes: number;
  readonly blocks: readonly BlockPlace[];
  /** In memory of its own. */
  readonly names: Uint8Array<ArrayBuffer>;
}

/** A sealed block in memory: tag header and payload in one piece, its directory with names elsewhere. */
export interface SealedBlock {
  readonly memory: Buffer;
  readonly headerAt: number;
  /** Tag header and payload. */
  readonly bytes: number;
  readonly contentClass: number;
  readonly blobCount: number;
  /** Offset in `memory` of the directory with names (format/block.ts). */
  readonly directoryAt: number;
}

interface OpenChunk {
  readonly id: string;
  readonly idBytes: Buffer;
  readonly contentClass: number;
  readonly sink: ChunkSink;
  position: number;
  blobs: number;
  readonly blocks: BlockPlace[];
  readonly names: GrowingBytes;
  readonly details: GrowingBytes;
}

/** A chunk that was ended, and of which is not known that it is durable. */
interface EndedChunk {
  readonly sink: ChunkSink;
  readonly commit: ChunkCommit;
  readonly placed: PlacedChunk;
}

export class ChunkWriter {
  readonly #options: ChunkWriterOptions;
  readonly #media: ChunkMedia;
  readonly #sealer: Sealer;
  readonly #random: Random;
  readonly #placed: (chunk: PlacedChunk) => void;
  readonly #session: Buffer;
  readonly #open = new Map<number, OpenChunk>();
  /** In the order in which they were ended. */
  readonly #ended: EndedChunk[] = [];
  /** Id of the chunk in which a class goes on. */
  readonly #following = new Map<number, string>();
  /** Lists of chunks that are over. */
  readonly #spare: GrowingBytes[] = [];
  readonly #part = new GrowingBytes();
  #chunks = 0;
  #sequence = 0;

  /** `placed` is called for each chunk once it is durable. */
  constructor(
    options: ChunkWriterOptions,
    media: ChunkMedia,
    sealer: Sealer,
    random: Random,
    placed: (chunk: PlacedChunk) => void,
  ) {
    this.#options = options;
    this.#media = media;
    this.#sealer = sealer;
    this.#random = random;
    this.#placed = placed;
    this.#session = Buffer.from(options.session, 'hex');
  }
  #crc = (view: Uint8Array, offset: number, length: number, seed?: number): number =>
    this.#sealer.codec.crc32c(view, offset, length, seed);

  /** Appends a sealed block; sets its place in the tag header. Returns its stored bytes. */
  block(block: SealedBlock): number {
    this.#tellDurable(LIMITS.chunksEndedMax);
    const chunk = this.#chunkFor(block);
    const { memory, headerAt, bytes, blobCount } = block;
    setPlace(
      memory,
      headerAt,
      chunk.idBytes,
      this.#session,
      chunk.blocks.length,
      chunk.position,
      this.#sequence++,
    );
    finishTag(memory, headerAt, this.#crc);
    chunk.sink.write(memory, headerAt, bytes, chunk.position);
    chunk.blocks.push({ offset: chunk.position, bytes, blobCount });
    chunk.position += bytes;
    for (let i = 0; i < blobCount; i++) {
      const at = block.directoryAt + i * DIRECTORY_RECORD_BYTES;
      chunk.names.append(memory, at, NAME_BYTES);
      chunk.details.append(memory, at + NAME_BYTES, STORED_RECORD_BYTES);
    }
    chunk.blobs += blobCount;
    if (
      chunk.position >= this.#options.chunkBytes ||
      chunk.blocks.length >= LIMITS.blocksPerChunkMax
    )
      this.#continue(chunk);
    return bytes;
  }
  /** The open chunk of a block's class, or the next one where its blobs would be too many. */
  #chunkFor(block: SealedBlock): OpenChunk {
    const chunk = this.#chunk(block.contentClass);
    const blobs = chunk.blobs + block.blobCount;
    if (blobs <= LIMITS.blobsPerChunkMax && this.#footerFits(chunk, blobs)) return chunk;
    this.#continue(chunk);
    return this.#chunk(block.contentClass);
  }
  #footerFits({ blocks }: OpenChunk, blobs: number): boolean {
    const { partBytesMax } = this.#options;
    return partBytesMax === undefined || footerBytesFor(blocks.length + 1, blobs) <= partBytesMax;
  }
  /** Commits a chunk; its class goes on in another. */
  #continue(chunk: OpenChunk): void {
    const next = this.#random.bytes(16).toString('hex');
    this.#following.set(chunk.contentClass, next);
    this.#commit(chunk, chunk.contentClass, next);
  }

  /** Appends a sealed part that is not a block to the chunk of a class. */
  part(contentClass: number, part: number, payload: Buffer): void {
    this.#writePart(this.#chunk(contentClass), part, [payload], true, []);
  }

  /**
   * Commits all open chunks; each footer names the class of the next, the last one none and that
   * everything up to it is safe. All are durable, and told, when this returns.
   */
  commitAll(): void {
    const open = [...this.#open.values()].sort((a, b) => a.contentClass - b.contentClass);
    for (const [i, chunk] of open.entries()) {
      const next = open[i + 1];
      const restart = next === undefined ? TAG_FLAG.restartPoint : 0;
      this.#commit(chunk, next?.contentClass ?? 0, undefined, restart);
    }
    this.#tellDurable(0);
  }
  /** Tells of chunks that have become durable; waits where more than so many are not. */
  #tellDurable(endedMax: number): void {
    for (let first = this.#ended[0]; first !== undefined; first = this.#ended[0]) {
      if (!first.commit.isDone()) {
        if (this.#ended.length <= endedMax) return;
        first.commit.wait();
      }
      this.#ended.shift();
      this.#placed(first.placed);
    }
  }
  /** Leaves nothing of open chunks behind. */
  discard(): void {
    for (const chunk of this.#open.values()) chunk.sink.discard();
    this.#open.clear();
    for (const { sink } of this.#ended.splice(0)) sink.discard();
  }

  #chunk(contentClass: number): OpenChunk {
    const open = this.#open.get(contentClass);
    if (open !== undefined) return open;
    const id = this.#following.get(contentClass) ?? this.#random.bytes(16).toString('hex');
    this.#following.delete(contentClass);
    const chunk: OpenChunk = {
      id,
      idBytes: Buffer.from(id, 'hex'),
      contentClass,
      sink: this.#media.create(id, contentClass),
      position: 0,
      blobs: 0,
      blocks: [],
      names: this.#spare.pop() ?? new GrowingBytes(),
      details: this.#spare.pop() ?? new GrowingBytes(),
    };
    this.#open.set(contentClass, chunk);
    const info: ChunkHeaderInfo = {
      chunk: id,
      session: this.#options.session,
      contentClass,
      number: this.#chunks++,
      createdMs: this.#options.createdMs,
      writer: this.#options.writer,
    };
    this.#writePart(chunk, PART.chunkHeader, [Buffer.from(JSON.stringify(info))], true, [
      { type: SPECIAL.writer, value: Buffer.from(this.#options.writer) },
    ]);
    return chunk;
  }

  /** Writes a part that is not a block. */
  #writePart(
    chunk: OpenChunk,
    part: number,
    payload: readonly Buffer[],
    sealed: boolean,
    specials: readonly SpecialHeader[],
    flags = 0,
  ): number {
    const headerBytes = TAG_FIXED_BYTES + specialBytes(specials);
    this.#part.length = 0;
    this.#part.append(Buffer.alloc(headerBytes), 0, headerBytes);
    for (const piece of payload) this.#part.append(piece, 0, piece.length);
    const bytes = this.#part.bytes;
    const payloadBytes = this.#part.length - headerBytes;
    writeSpecials(bytes, 0, specials);
    writeTag(bytes, 0, headerBytes, {
      part,
      contentClass: chunk.contentClass,
      compression: COMPRESSION.none,
      encryption: sealed ? this.#sealer.encryption : ENCRYPTION.none,
      flags,
      keyGeneration: this.#sealer.keyring.newest.number,
      rawBytes: payloadBytes,
      storedBytes: payloadBytes,
      blobCount: 0,
    });
    this.#sealer.sealPart(bytes, 0, headerBytes);
    setPlace(
      bytes,
      0,
      chunk.idBytes,
      this.#session,
      chunk.blocks.length,
      chunk.position,
      this.#sequence++,
    );
    finishTag(bytes, 0, this.#crc);
    chunk.sink.write(bytes, 0, this.#part.length, chunk.position);
    chunk.position += this.#part.length;
    return this.#part.length;
  }

  /** Ends a chunk, makes it durable and tells the initiator. */
  #commit(chunk: OpenChunk, nextClass: number, nextChunk: string | undefined, restart = 0): void {
    if (nextChunk !== undefined) {
      this.#writePart(chunk, PART.options, [], false, [
        { type: SPECIAL.nextChunk, value: Buffer.from(nextChunk, 'hex') },
      ]);
    }
    const names = chunk.names.used();
    this.#writePart(chunk, PART.chunkDetails, [chunk.details.used()], true, []);
    const footerOffset = chunk.position;
    const footer = encodeFooter({ blocks: chunk.blocks, names });
    const specials = [{ type: SPECIAL.nextClass, value: Buffer.from([nextClass]) }];
    const flags = TAG_FLAG.lastBlock | restart;
    const footerBytes = this.#writePart(chunk, PART.chunkFooter, footer, false, specials, flags);
    chunk.sink.write(
      encodeTrailer(footerOffset, footerBytes, this.#crc),
      0,
      TRAILER_BYTES,
      chunk.position,
    );
    this.#end(chunk, {
      id: chunk.id,
      contentClass: chunk.contentClass,
      bytes: chunk.position + TRAILER_BYTES,
      blocks: chunk.blocks,
      names: new Uint8Array(names),
    });
    for (const list of [chunk.names, chunk.details]) {
      list.length = 0;
      this.#spare.push(list);
    }
  }
  #end({ sink, contentClass }: OpenChunk, placed: PlacedChunk): void {
    if (sink.commitLater === undefined) {
      sink.commit();
      this.#open.delete(contentClass);
      this.#placed(placed);
      return;
    }
    const commit = sink.commitLater();
    this.#open.delete(contentClass);
    this.#ended.push({ sink, commit, placed });
  }
}
