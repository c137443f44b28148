/**
 * Reads of chunks what a prune needs: whose they are, which blobs of which lengths they hold, single
 * sealed blocks, and the archives whose footers stand in them.
 *
 * Contract: what is damaged is a PenstockError DAMAGED that names the chunk; OBJECT_MISSING when it is
 * gone. Names come from the footer, which has no seal: whoever acts on them compares them with the
 * index, or with the blobs.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import type { BlockPlace } from '../format/chunk.ts';
import { type ChunkMedia, type ChunkSource, openChunkMedia } from '../format/chunk-media.ts';
import { type PartPlace, readChunkEnd, readRange, scanParts } from '../format/chunk-scan.ts';
import {
  blobCountOf,
  type Crc,
  checkTag,
  headerBytesOf,
  PART,
  partOf,
  storedBytesOf,
} from '../format/tag-header.ts';
import type { Repository } from './repository.ts';

/** What stands in a chunk, block by block. */
export interface ChunkContents {
  readonly blocks: readonly BlockPlace[];
  /** Names of all blobs, 32 bytes each. */
  readonly names: Buffer;
  /** Length and type of each, as in a block's directory (format/block.ts). */
  readonly details: Buffer;
}

/** What an archive footer says of its archive. */
export interface ArchiveNote {
  readonly id: string;
  readonly partial: boolean;
}

export class ChunkFiles {
  readonly #repository: Repository;
  readonly #media: ChunkMedia;
  readonly crc: Crc;
  #openId = '';
  #open: ChunkSource | undefined;

  constructor(repository: Repository, media: ChunkMedia) {
    this.#repository = repository;
    this.#media = media;
    this.crc = (view, offset, length, seed) => repository.codec.crc32c(view, offset, length, seed);
  }
  static async open(repository: Repository): Promise<ChunkFiles> {
    const { chunkMedia } = repository.store;
    return new ChunkFiles(repository, await openChunkMedia(chunkMedia));
  }
  get media(): ChunkMedia {
    return this.#media;
  }
  close(): void {
    this.#open?.close();
    this.#media.close();
  }

  /** The session that wrote the chunk. */
  session(id: string): string {
    const source = this.#source(id);
    for (const found of scanParts(source, Buffer.from(id, 'hex'), 0, source.bytes, this.crc)) {
      if ('part' in found) return found.part.session;
      throw damaged(id, found.damage);
    }
    throw damaged(id, 'it is empty');
  }

  /** Names of the blobs of a chunk; none for a session's own chunk. */
  names(id: string): Buffer {
    return this.#end(id).names;
  }

  /** All blobs of a chunk with their lengths. */
  contents(id: string): ChunkContents {
    const { blocks, names, footerOffset } = this.#end(id);
    const last = blocks.at(-1);
    const from = last === undefined ? 0 : last.offset + last.bytes;
    const part = this.#parts(id, from, footerOffset).find((one) => one.part === PART.chunkDetails);
    if (part === undefined) throw damaged(id, 'its details are not there');
    const details = this.#openPart(id, part);
    if (details.length !== (names.length / NAME_BYTES) * STORED_RECORD_BYTES) {
      throw damaged(id, 'its details do not fit its footer');
    }
    return { blocks, names, details };
  }

  /** The archives whose footers stand in a chunk without blobs. */
  archives(id: string): ArchiveNote[] {
    const { blocks, footerOffset } = this.#end(id);
    if (blocks.length > 0) return [];
    const notes: ArchiveNote[] = [];
    for (const part of this.#parts(id, 0, footerOffset)) {
      if (part.part !== PART.archiveFooter) continue;
      const note = JSON.parse(this.#openPart(id, part).toString('utf8')) as ArchiveNote;
      notes.push({ id: note.id, partial: note.partial });
    }
    return notes;
  }

  /** Reads a sealed block to the beginning of `target` and checks it as far as that needs no key. */
  readBlock(id: string, place: BlockPlace, target: Buffer): void {
    const wrong = (reason: string): PenstockError =>
      damaged(id, `the block at ${place.offset}: ${reason}`);
    if (place.bytes > target.length) throw wrong(`${place.bytes} bytes are too many`);
    const got = this.#source(id).read(target, 0, place.bytes, place.offset);
    if (got !== place.bytes) throw wrong('it is cut off');
    const bad = checkTag(target, 0, got, this.crc);
    if (bad !== undefined) throw wrong(bad);
    const header = headerBytesOf(target, 0);
    if (partOf(target, 0) !== PART.block) throw wrong('it is not a block');
    if (header + storedBytesOf(target, 0) !== got) throw wrong('its length does not fit');
    if (blobCountOf(target, 0) !== place.blobCount) throw wrong('its number of blobs does not fit');
    const torn = this.#repository.sealer.checkPart(target, 0, header);
    if (torn !== undefined) throw wrong(torn);
  }

  #end(id: string): { blocks: readonly BlockPlace[]; names: Buffer; footerOffset: number } {
    const end = readChunkEnd(this.#source(id), Buffer.from(id, 'hex'), this.crc);
    if ('damage' in end) throw damaged(id, end.damage);
    return { ...end.footer, footerOffset: end.footerOffset };
  }

  #parts(id: string, from: number, to: number): PartPlace[] {
    const parts: PartPlace[] = [];
    for (const found of scanParts(this.#source(id), Buffer.from(id, 'hex'), from, to, this.crc)) {
      if ('damage' in found) throw damaged(id, found.damage);
      parts.push(found.part);
    }
    return parts;
  }

  #openPart(id: string, part: PartPlace): Buffer {
    const length = part.headerBytes + part.storedBytes;
    const bytes = must(readRange(this.#source(id), part.offset, length), 'a part that was scanned');
    const wrong = this.#repository.sealer.openPart(bytes, 0, part.headerBytes);
    if (wrong !== undefined) throw damaged(id, wrong);
    return bytes.subarray(part.headerBytes);
  }

  /** One chunk is kept open: they are read one after the other. */
  #source(id: string): ChunkSource {
    if (this.#open !== undefined && this.#openId === id) return this.#open;
    this.#open?.close();
    this.#open = undefined;
    this.#open = this.#media.open(id);
    this.#openId = id;
    return this.#open;
  }
}

function damaged(id: string, reason: string): PenstockError {
  return new PenstockError('DAMAGED', `chunk ${id} is damaged: ${reason}`, { subject: id });
}

/** Whether an error says that a chunk is damaged, gone, or on storage that fails. */
export function isUnreadable({ code }: PenstockError): boolean {
  return code === 'DAMAGED' || code === 'OBJECT_MISSING' || code === 'REPO_IO';
}
