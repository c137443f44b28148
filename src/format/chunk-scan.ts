/**
 * Reading a chunk whatever state it is in (format/chunk.ts): from its end by trailer and footer; in a
 * range, part by part; and where a tag header is damaged, on to the next one that is valid.
 *
 * Nothing here throws for damaged bytes: what is wrong is returned in words. A tag header counts as
 * one of this chunk only if its CRC matches, it names this chunk and its own offset: content that
 * looks like a tag header (a backup of a repository) is never taken for one.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  type BlockPlace,
  decodeFooter,
  decodeTrailer,
  type FooterInfo,
  TRAILER_BYTES,
} from './chunk.ts';
import type { ChunkSource } from './chunk-media.ts';
import {
  blobCountOf,
  blockNumberOf,
  type Crc,
  checkTag,
  chunkIdOf,
  chunkOffsetOf,
  classOf,
  headerBytesOf,
  ID_BYTES,
  PART,
  partOf,
  payloadCrcOf,
  sessionIdOf,
  storedBytesOf,
  TAG_FIXED_BYTES,
} from './tag-header.ts';

const SEARCH_BYTES = 256 * 1024;
const MAGIC = Buffer.from('PTAG', 'latin1');

/** A part as its tag header tells it. */
export interface PartPlace {
  readonly offset: number;
  readonly headerBytes: number;
  readonly storedBytes: number;
  readonly part: number;
  readonly contentClass: number;
  /** Of a block: its number; of others: how many blocks stand before it. */
  readonly blockNumber: number;
  readonly blobCount: number;
  /** Session id, hex. */
  readonly session: string;
}

/** What a scan comes to, in order; together they cover the range without a gap. */
export type Scanned =
  | { readonly part: PartPlace }
  | { readonly damage: string; readonly offset: number; readonly bytes: number };

/** The end of a chunk, or what is wrong with it. */
export type ChunkEnd =
  | { readonly footer: FooterInfo; readonly footerOffset: number }
  | { readonly damage: string };

/** Why the header at `at`, of which `available` bytes are there, is not one of this chunk at `offset`. */
export function checkOwnTag(
  view: Buffer,
  at: number,
  available: number,
  chunkId: Buffer,
  offset: number,
  crc: Crc,
): string | undefined {
  const wrong = checkTag(view, at, available, crc);
  if (wrong !== undefined) return wrong;
  if (view.compare(chunkId, 0, ID_BYTES, at + 48, at + 48 + ID_BYTES) !== 0) {
    return `its tag header is one of chunk ${chunkIdOf(view, at).toString('hex')}`;
  }
  const own = chunkOffsetOf(view, at);
  return own === offset ? undefined : `its tag header belongs at ${own}`;
}

/** Reads `length` bytes at `position`; undefined when the chunk ends before. */
export function readRange(
  source: ChunkSource,
  position: number,
  length: number,
): Buffer | undefined {
  if (position < 0 || length > source.bytes - position) return undefined;
  const bytes = Buffer.alloc(length);
  return source.read(bytes, 0, length, position) === length ? bytes : undefined;
}

/** Reads trailer and footer. Throws only what the media throw. */
export function readChunkEnd(source: ChunkSource, chunkId: Buffer, crc: Crc): ChunkEnd {
  if (source.bytes === 0) return { damage: 'it is empty' };
  const trailer = readRange(source, source.bytes - TRAILER_BYTES, TRAILER_BYTES);
  const place = trailer === undefined ? undefined : decodeTrailer(trailer, source.bytes, crc);
  if (place === undefined) return { damage: 'its trailer is damaged or cut off' };
  const { footerOffset, footerBytes } = place;
  const bytes = readRange(source, footerOffset, footerBytes);
  if (bytes === undefined) return { damage: 'its footer is cut off' };
  const wrong = checkOwnTag(bytes, 0, bytes.length, chunkId, footerOffset, crc);
  if (wrong !== undefined) return { damage: `footer: ${wrong}` };
  const headerBytes = headerBytesOf(bytes, 0);
  const payloadBytes = storedBytesOf(bytes, 0);
  if (partOf(bytes, 0) !== PART.chunkFooter) return { damage: 'footer: it is another part' };
  if (headerBytes + payloadBytes !== bytes.length)
    return { damage: 'footer: its length is not that of the trailer' };
  if (crc(bytes, headerBytes, payloadBytes) !== payloadCrcOf(bytes, 0)) {
    return { damage: 'footer: the checksum of the payload does not match' };
  }
  try {
    return { footer: decodeFooter(bytes.subarray(headerBytes), footerOffset), footerOffset };
  } catch (error) {
    if (!(error instanceof PenstockError)) throw error;
    return { damage: error.message };
  }
}

/**
 * Goes through a range that begins with a tag header, part by part. The payloads are not read, but
 * where a header is damaged what follows is searched for the next one.
 */
export function* scanParts(
  source: ChunkSource,
  chunkId: Buffer,
  from: number,
  to: number,
  crc: Crc,
): Generator<Scanned> {
  const header = Buffer.alloc(LIMITS.headerRoomBytes);
  const end = Math.min(to, source.bytes);
  let at = from;
  while (at < end) {
    const got = source.read(header, 0, Math.min(header.length, end - at), at);
    const wrong = checkOwnTag(header, 0, got, chunkId, at, crc);
    if (wrong === undefined) {
      const part = toPart(header, 0, at);
      const next = at + part.headerBytes + part.storedBytes;
      if (next > end) {
        yield { damage: `a part of ${next - at} bytes is cut off`, offset: at, bytes: end - at };
        return;
      }
      yield { part };
      at = next;
      continue;
    }
    const next = findTag(source, chunkId, at + 1, end, crc) ?? end;
    yield { damage: wrong, offset: at, bytes: next - at };
    at = next;
  }
}

function toPart(view: Buffer, at: number, offset: number): PartPlace {
  return {
    offset,
    headerBytes: headerBytesOf(view, at),
    storedBytes: storedBytesOf(view, at),
    part: partOf(view, at),
    contentClass: classOf(view, at),
    blockNumber: blockNumberOf(view, at),
    blobCount: blobCountOf(view, at),
    session: sessionIdOf(view, at).toString('hex'),
  };
}

/** Offset of the next valid tag header of this chunk in a range. */
function findTag(
  source: ChunkSource,
  chunkId: Buffer,
  from: number,
  to: number,
  crc: Crc,
): number | undefined {
  const window = Buffer.alloc(SEARCH_BYTES + LIMITS.headerRoomBytes);
  for (let start = from; start < to; start += SEARCH_BYTES) {
    const got = source.read(window, 0, Math.min(window.length, to - start), start);
    if (got < TAG_FIXED_BYTES) return undefined;
    const searched = window.subarray(0, got);
    // A header that begins in the first SEARCH_BYTES lies wholly in the window.
    for (
      let at = searched.indexOf(MAGIC);
      at >= 0 && at < SEARCH_BYTES;
      at = searched.indexOf(MAGIC, at + 1)
    ) {
      if (checkOwnTag(window, at, got - at, chunkId, start + at, crc) === undefined)
        return start + at;
    }
  }
  return undefined;
}

/** What a scan of a whole chunk finds. */
export interface ScannedChunk {
  /** By number; one that was not found has no bytes and no blobs. */
  readonly blocks: readonly BlockPlace[];
  /** All that are no blocks. */
  readonly parts: readonly PartPlace[];
  /** The first part or block. */
  readonly first: PartPlace | undefined;
  readonly damage: readonly {
    readonly damage: string;
    readonly offset: number;
    readonly bytes: number;
  }[];
}

/** Goes through a chunk from its start, for want of a footer or to see all of it. */
export function scanChunk(source: ChunkSource, chunkId: Buffer, crc: Crc): ScannedChunk {
  const blocks: BlockPlace[] = [];
  const parts: PartPlace[] = [];
  let first: PartPlace | undefined;
  const damage: { damage: string; offset: number; bytes: number }[] = [];
  for (const scanned of scanParts(source, chunkId, 0, source.bytes, crc)) {
    if ('damage' in scanned) {
      damage.push(scanned);
      continue;
    }
    const { part } = scanned;
    first ??= part;
    if (part.part !== PART.block) parts.push(part);
    else if (part.blockNumber < LIMITS.blocksPerChunkMax) {
      while (blocks.length < part.blockNumber)
        blocks.push({ offset: part.offset, bytes: 0, blobCount: 0 });
      blocks[part.blockNumber] = {
        offset: part.offset,
        bytes: part.headerBytes + part.storedBytes,
        blobCount: part.blobCount,
      };
    }
  }
  return { blocks, parts, first, damage };
}
