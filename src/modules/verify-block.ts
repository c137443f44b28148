/**
 * Verifies one stored block in memory: tag header and place, checksum, seal, compression, directory,
 * and every blob against the name that the chunk's footer lists (U3). Used by the stage `verify` and,
 * for small repositories, in the initiator's own thread.
 */
import { PenstockError } from '../base/errors.ts';
import type { Sealer } from '../crypto/seal.ts';
import { DIRECTORY_RECORD_BYTES, NAME_BYTES } from '../format/block.ts';
import { checkOwnTag } from '../format/chunk-scan.ts';
import { readSpecials } from '../format/special-headers.ts';
import {
  blobCountOf,
  blockNumberOf,
  type Crc,
  classOf,
  headerBytesOf,
  PART,
  partOf,
  storedBytesOf,
} from '../format/tag-header.ts';
import { BlockOpener } from './block-opener.ts';

/** Where a block should be, and what should be in it. */
export interface ExpectedBlock {
  readonly chunkId: Buffer;
  readonly number: number;
  readonly offset: number;
  readonly bytes: number;
  /** -1: not known. */
  readonly blobCount: number;
  /** 0: not known. */
  readonly contentClass: number;
}

export class BlockVerifier {
  readonly opener: BlockOpener;
  readonly #sealer: Sealer;
  readonly #crc: Crc;

  /** `target`: memory for the content of one block. The sealer's codec is keyed with the name key. */
  constructor(sealer: Sealer, target: Buffer) {
    this.#sealer = sealer;
    this.opener = new BlockOpener(sealer, target);
    this.#crc = (view, offset, length, seed) => sealer.codec.crc32c(view, offset, length, seed);
  }

  /**
   * Verifies the block at `at`, all of its bytes being there; the memory is changed. `directory` holds
   * the expected records (name | length | type) from `directoryAt` on; undefined: nothing is known of
   * the blobs, and the names are only computed. Returns what is wrong, or undefined; the names are in
   * `opener.names` then.
   */
  verify(
    memory: Buffer,
    at: number,
    block: ExpectedBlock,
    directory: Buffer | undefined,
    directoryAt: number,
  ): string | undefined {
    try {
      return this.#verify(memory, at, block, directory, directoryAt);
    } catch (error) {
      // Of a key generation that nobody holds, or with torn special headers.
      if (error instanceof PenstockError) return error.message;
      throw error;
    }
  }

  #verify(
    memory: Buffer,
    at: number,
    block: ExpectedBlock,
    directory: Buffer | undefined,
    directoryAt: number,
  ): string | undefined {
    const wrong = this.#checkHeader(memory, at, block);
    if (wrong !== undefined) return wrong;
    readSpecials(memory, at);
    const header = headerBytesOf(memory, at);
    const torn =
      this.#sealer.checkPart(memory, at, at + header) ?? this.opener.open(memory, at, block.bytes);
    if (torn !== undefined) return torn;
    const { reader, names } = this.opener;
    for (let blob = 0; blob < reader.count; blob++) {
      this.opener.name(blob);
      if (directory === undefined) continue;
      const from = directoryAt + blob * DIRECTORY_RECORD_BYTES;
      const own = blob * NAME_BYTES;
      if (directory.compare(names, own, own + NAME_BYTES, from, from + NAME_BYTES) !== 0) {
        return `blob ${blob} is not the one that the footer names`;
      }
      const length = directory.readUInt32LE(from + NAME_BYTES);
      if (
        length !== reader.lengths[blob] ||
        directory[from + NAME_BYTES + 4] !== reader.types[blob]
      ) {
        return `blob ${blob} is not of the length and type in the chunk's details`;
      }
    }
    return undefined;
  }

  #checkHeader(memory: Buffer, at: number, block: ExpectedBlock): string | undefined {
    const wrong = checkOwnTag(memory, at, block.bytes, block.chunkId, block.offset, this.#crc);
    if (wrong !== undefined) return wrong;
    if (partOf(memory, at) !== PART.block) return 'it is not a block';
    if (headerBytesOf(memory, at) + storedBytesOf(memory, at) !== block.bytes)
      return 'its length is not that of the footer';
    if (blockNumberOf(memory, at) !== block.number)
      return `it is block ${blockNumberOf(memory, at)} of its chunk`;
    if (block.blobCount >= 0 && blobCountOf(memory, at) !== block.blobCount)
      return 'its number of blobs is not that of the footer';
    if (block.contentClass !== 0 && classOf(memory, at) !== block.contentClass)
      return 'its content class is not that of its chunk';
    return undefined;
  }
}
