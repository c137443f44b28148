/**
 * Reads single blocks for a prune, and proves by their names that the blobs which are needed stand in them.
 *
 * Contract: `read` looks at a block as it is sealed (checksums, class, lengths); `open` opens it and names
 * every blob in it by its own bytes; `prove` does both and compares with the index. Whatever does not agree
 * is DAMAGED: a place that others are given up for is never taken on trust. No allocation per block.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { DIRECTORY_RECORD_BYTES, NAME_BYTES } from '../format/block.ts';
import type { BlockPlace } from '../format/chunk.ts';
import { classOf } from '../format/tag-header.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { IndexedChunk } from '../index/segment-builder.ts';
import { BlockOpener } from '../modules/block-opener.ts';
import type { ChunkFiles } from './prune-chunk.ts';
import { type ChunkUsage, isKept } from './prune-usage.ts';
import type { Repository } from './repository.ts';

const DIRECTORY_BYTES = LIMITS.blobsPerBlockMax * DIRECTORY_RECORD_BYTES;

export class PruneBlocks {
  /** The block that was read, as it is sealed; from `directoryAt` on there is room for its directory. */
  readonly sealed: Buffer;
  readonly directoryAt: number;
  /** The block that was opened, with the names of its blobs. */
  readonly opener: BlockOpener;
  readonly #files: ChunkFiles;

  constructor({ sealer, settings }: Repository, files: ChunkFiles) {
    this.#files = files;
    this.directoryAt = LIMITS.headerRoomBytes + settings.blockBytes;
    this.sealed = Buffer.alloc(this.directoryAt + DIRECTORY_BYTES);
    this.opener = new BlockOpener(sealer, Buffer.alloc(settings.blockBytes));
  }

  /** Reads a block to the beginning of `sealed`, and checks what can be checked without opening it. */
  read(chunk: IndexedChunk, place: BlockPlace): void {
    const id = chunk.id.toString('hex');
    this.#files.readBlock(id, place, this.sealed.subarray(0, this.directoryAt));
    if (classOf(this.sealed, 0) !== chunk.contentClass)
      throw damaged(id, 'a block of another class');
  }

  /** Opens the block that was read, in place, and names its blobs. */
  open(id: string, block: number, bytes: number): void {
    const wrong = this.opener.open(this.sealed, 0, bytes);
    if (wrong !== undefined) throw damaged(id, `block ${block}: ${wrong}`);
    for (let i = 0; i < this.opener.reader.count; i++) this.opener.name(i);
  }

  /** Makes sure that a block holds what it keeps for archives, by the names of its blobs. */
  prove(usage: ChunkUsage, index: BlobIndex, number: number, block: number): void {
    const chunk = must(usage.loaded.chunks[number], 'a chunk of the index');
    const place = must(chunk.blocks[block], 'a block of the index');
    this.read(chunk, place);
    this.open(chunk.id.toString('hex'), block, place.bytes);
    const { names, reader } = this.opener;
    agree(usage, index, { number, block, names, from: 0, step: NAME_BYTES, count: reader.count });
  }
}

/** Names of the blobs of a block, `step` bytes apart. */
export interface FoundNames {
  readonly number: number;
  readonly block: number;
  readonly names: Buffer;
  readonly from: number;
  readonly step: number;
  readonly count: number;
}

/** What was found must be what the index says: else a blob would be lost with its other places. */
export function agree(usage: ChunkUsage, index: BlobIndex, found: FoundNames): void {
  const { number, block, names, from, step, count } = found;
  let kept = 0;
  for (let i = 0; i < count; i++) {
    if (isKept(usage, index, names, from + i * step, number, block)) kept++;
  }
  const wanted = usage.blockKeeps(number, block);
  if (kept === wanted) return;
  const id = usage.loaded.share.chunkIds[number] ?? '';
  throw damaged(id, `block ${block} has ${kept} needed blobs where the index says ${wanted}`);
}

function damaged(id: string, reason: string): PenstockError {
  return new PenstockError('DAMAGED', `chunk ${id} is damaged: ${reason}`, { subject: id });
}
