/**
 * Looks at one chunk without reading its blocks: trailer, footer, header, details and all other parts,
 * so that together with the blocks every byte is covered. Where the footer is damaged the chunk is gone
 * through from its start.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { STORED_RECORD_BYTES } from '../format/block.ts';
import type { BlockPlace, ChunkHeaderInfo, FooterInfo } from '../format/chunk.ts';
import type { ChunkMedia, ChunkSource } from '../format/chunk-media.ts';
import {
  type PartPlace,
  readChunkEnd,
  readRange,
  scanChunk,
  scanParts,
} from '../format/chunk-scan.ts';
import { type Crc, PART } from '../format/tag-header.ts';
import type { SealedPart } from './archives.ts';
import type { Repository } from './repository.ts';

/** What the footer of an archive says, in the chunk of its session (backup.ts). */
export interface ArchiveFooter {
  readonly id: string;
  readonly session: string;
  readonly partial: boolean;
  readonly sealed: SealedPart;
}

export interface ChunkFacts {
  readonly id: string;
  /** Length of the file; 0 when it could not be opened. */
  readonly bytes: number;
  /** It could not be opened or read at all. */
  readonly unreadable: boolean;
  /** Why it could not. */
  readonly error?: PenstockError;
  readonly problems: readonly string[];
  /** From the chunk header, where that is whole. */
  readonly header: ChunkHeaderInfo | undefined;
  /** By the tag header of its first part that is whole. */
  readonly session: string | undefined;
  readonly contentClass: number | undefined;
  readonly footer: FooterInfo | undefined;
  /** Blocks by the footer, or those that were found without it. */
  readonly blocks: readonly BlockPlace[];
  /** Length and type of each blob, in the order of the footer. */
  readonly details: Buffer | undefined;
  readonly archives: readonly ArchiveFooter[];
}

/** Looks at a chunk. Throws only for what has nothing to do with its bytes. */
export function inspectChunk(repository: Repository, media: ChunkMedia, id: string): ChunkFacts {
  let source: ChunkSource | undefined;
  try {
    source = media.open(id);
    return new Inspection(repository, source, id).run();
  } catch (error) {
    if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
    const problems = [error.code === 'OBJECT_MISSING' ? 'it is missing' : error.message];
    const nothing = {
      header: undefined,
      session: undefined,
      contentClass: undefined,
      footer: undefined,
      blocks: [],
      details: undefined,
      archives: [],
    };
    return { id, bytes: source?.bytes ?? 0, unreadable: true, error, problems, ...nothing };
  } finally {
    source?.close();
  }
}

class Inspection {
  readonly #repository: Repository;
  readonly #source: ChunkSource;
  readonly #id: string;
  readonly #idBytes: Buffer;
  readonly #crc: Crc;
  readonly #problems: string[] = [];
  readonly #archives: ArchiveFooter[] = [];
  #header: ChunkHeaderInfo | undefined;
  #first: PartPlace | undefined;
  #details: Buffer | undefined;

  constructor(repository: Repository, source: ChunkSource, id: string) {
    this.#repository = repository;
    this.#source = source;
    this.#id = id;
    this.#idBytes = Buffer.from(id, 'hex');
    this.#crc = (view, offset, length, seed) => repository.codec.crc32c(view, offset, length, seed);
  }

  run(): ChunkFacts {
    const end = readChunkEnd(this.#source, this.#idBytes, this.#crc);
    let blocks: readonly BlockPlace[];
    if ('damage' in end) {
      this.#problems.push(end.damage);
      blocks = this.#withoutFooter();
    } else {
      blocks = end.footer.blocks;
      this.#gaps(blocks, end.footerOffset);
      this.#checkWhole(end.footer);
    }
    return {
      id: this.#id,
      bytes: this.#source.bytes,
      unreadable: false,
      problems: this.#problems,
      header: this.#header,
      session: this.#first?.session,
      contentClass: this.#first?.contentClass,
      footer: 'damage' in end ? undefined : end.footer,
      blocks,
      details: this.#details,
      archives: this.#archives,
    };
  }

  #withoutFooter(): readonly BlockPlace[] {
    const { blocks, parts, first, damage } = scanChunk(this.#source, this.#idBytes, this.#crc);
    this.#first = first;
    for (const part of parts) if (part.part !== PART.chunkFooter) this.#part(part);
    // What is wrong at the end is the trailer, which was reported.
    for (const one of damage)
      if (one.offset + one.bytes < this.#source.bytes)
        this.#problems.push(`at ${one.offset}: ${one.damage}`);
    return blocks;
  }

  /** All parts between the blocks: with them every byte up to the footer is seen. */
  #gaps(blocks: readonly BlockPlace[], footerOffset: number): void {
    let at = 0;
    for (const { offset, bytes } of [...blocks, { offset: footerOffset, bytes: 0 }]) {
      if (offset > at) {
        for (const scanned of scanParts(this.#source, this.#idBytes, at, offset, this.#crc)) {
          if ('part' in scanned) this.#part(scanned.part);
          else this.#problems.push(`at ${scanned.offset}: ${scanned.damage}`);
        }
      }
      at = offset + bytes;
    }
  }

  #checkWhole(footer: FooterInfo): void {
    if (this.#header === undefined) this.#problems.push('its header is not there or damaged');
    else if (this.#header.chunk !== this.#id)
      this.#problems.push(`its header is that of chunk ${this.#header.chunk}`);
    const blobs = footer.names.length / 32;
    if (this.#details?.length === blobs * STORED_RECORD_BYTES) return;
    this.#problems.push('its details are not there or damaged');
    this.#details = undefined;
  }

  #part(place: PartPlace): void {
    this.#first ??= place;
    const wrong = (reason: string): number =>
      this.#problems.push(`part at ${place.offset}: ${reason}`);
    if (place.part === PART.block) {
      wrong('a block that the footer does not list');
      return;
    }
    const bytes = readRange(this.#source, place.offset, place.headerBytes + place.storedBytes);
    if (bytes === undefined) {
      wrong('it is cut off');
      return;
    }
    const failed = this.#open(bytes, place);
    if (failed !== undefined) {
      wrong(failed);
      return;
    }
    const payload = bytes.subarray(place.headerBytes);
    if (place.part === PART.chunkDetails) this.#details = payload;
    else if (JSON_PARTS.has(place.part)) this.#json(place, payload, wrong);
  }

  /** Checksum and seal of a part. */
  #open(bytes: Buffer, place: PartPlace): string | undefined {
    const { sealer } = this.#repository;
    try {
      const torn = sealer.checkPart(bytes, 0, place.headerBytes);
      if (torn !== undefined || !SEALED_PARTS.has(place.part)) return torn;
      return sealer.openPart(bytes, 0, place.headerBytes);
    } catch (error) {
      if (error instanceof PenstockError && !isOutOfReach(error)) return error.message;
      throw error;
    }
  }

  #json(place: PartPlace, payload: Buffer, wrong: (reason: string) => void): void {
    let value: unknown;
    try {
      value = JSON.parse(payload.toString('utf8'));
    } catch {
      wrong('it does not hold JSON');
      return;
    }
    if (typeof value !== 'object' || value === null) wrong('it does not hold an object');
    else if (place.part === PART.chunkHeader) this.#header = value as ChunkHeaderInfo;
    else if (place.part === PART.archiveFooter) this.#archives.push(value as ArchiveFooter);
  }
}

const JSON_PARTS: ReadonlySet<number> = new Set([
  PART.chunkHeader,
  PART.sessionHeader,
  PART.sessionFooter,
  PART.archiveHeader,
  PART.archiveFooter,
]);
const SEALED_PARTS: ReadonlySet<number> = new Set([...JSON_PARTS, PART.chunkDetails]);
