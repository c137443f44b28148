/**
 * Chunks as they are, between a chunk store and volumes (M13): the records of a chunk, one behind the other,
 * are the chunk but for its trailer, so a copy is the same bytes and needs no key.
 *
 * Contract: every header and checksum is looked at on the way. A chunk that is not whole is not
 * copied: its taker has then begun a chunk that must never be committed.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { encodeTrailer, TRAILER_BYTES } from '../format/chunk.ts';
import type { ChunkSource } from '../format/chunk-media.ts';
import {
  checkTag,
  chunkIdOf,
  chunkOffsetOf,
  flagsOf,
  headerBytesOf,
  payloadCrcOf,
  storedBytesOf,
  TAG_FLAG,
} from '../format/tag-header.ts';
import { crcOf } from '../host/mod.ts';

/** Where a part of a stored chunk lies. */
export interface ChunkPart {
  readonly offset: number;
  readonly bytes: number;
  readonly isLast: boolean;
}

/**
 * The parts of a chunk in order, found header by header; without the trailer.
 *
 * @throws PenstockError DAMAGED where the next one cannot be found, or the last one does not end it
 */
export function* partsOfChunk(id: string, source: ChunkSource): Generator<ChunkPart> {
  const head = Buffer.alloc(LIMITS.headerRoomBytes);
  let offset = 0;
  for (;;) {
    const got = source.read(head, 0, head.length, offset);
    const why = checkTag(head, 0, got, crcOf);
    if (why !== undefined) throw damaged(id, offset, why);
    if (!isPlace(head, id, offset)) throw damaged(id, offset, 'a part of another chunk');
    const isLast = (flagsOf(head, 0) & TAG_FLAG.lastBlock) !== 0;
    const end = offset + headerBytesOf(head, 0) + storedBytesOf(head, 0);
    const rest = source.bytes - end;
    if (rest < 0 || (isLast && rest !== TRAILER_BYTES && rest !== 0))
      throw damaged(id, offset, 'the chunk does not end where it says');
    yield { offset, bytes: end - offset, isLast };
    if (isLast) return;
    offset = end;
  }
}

/** Where a copy goes; one call at a time. */
export interface ChunkTaker {
  write(bytes: Uint8Array, position: number): Promise<void> | void;
}

/**
 * Copies a chunk as it is, part by part, each looked at on the way; what is copied is not committed yet.
 *
 * @param view memory for one part: as long as the longest that is taken
 * @returns the CRC of its parts, for comparing the copy
 * @throws PenstockError DAMAGED, LIMIT for a part that is longer than `view`
 */
export async function copyChunk(
  id: string,
  source: ChunkSource,
  taker: ChunkTaker,
  view: Buffer,
): Promise<number> {
  let sum = 0;
  let end = 0;
  let footerAt = 0;
  for (const record of recordsOf(id, source, view)) {
    await taker.write(record.bytes, record.offset);
    sum = crcOf(record.bytes, 0, record.bytes.length, sum);
    footerAt = record.offset;
    end = record.offset + record.bytes.length;
  }
  await taker.write(encodeTrailer(footerAt, end - footerAt, crcOf), end);
  return sum;
}

/** The CRC of a chunk's parts, as copyChunk gives it. @throws PenstockError DAMAGED, LIMIT */
export function sumChunk(id: string, source: ChunkSource, view: Buffer): number {
  let sum = 0;
  for (const { bytes } of recordsOf(id, source, view)) sum = crcOf(bytes, 0, bytes.length, sum);
  return sum;
}

interface StoredRecord {
  readonly offset: number;
  /** In the view: valid until the next one is asked for. */
  readonly bytes: Buffer;
}

/** The parts of a chunk, each with a right checksum. */
function* recordsOf(id: string, source: ChunkSource, view: Buffer): Generator<StoredRecord> {
  for (const { offset, bytes } of partsOfChunk(id, source)) {
    if (bytes > view.length) {
      const text = `a part of chunk ${id} has ${bytes} bytes, where ${view.length} can be taken`;
      throw new PenstockError('LIMIT', text, { subject: id });
    }
    const got = source.read(view, 0, bytes, offset);
    const record = view.subarray(0, bytes);
    if (got < bytes || !hasItsChecksum(record)) throw damaged(id, offset, 'its checksum is wrong');
    yield { offset, bytes: record };
  }
}

const isPlace = (head: Buffer, id: string, offset: number): boolean =>
  chunkIdOf(head, 0).toString('hex') === id && chunkOffsetOf(head, 0) === offset;

function hasItsChecksum(record: Buffer): boolean {
  return (
    crcOf(record, headerBytesOf(record, 0), storedBytesOf(record, 0)) === payloadCrcOf(record, 0)
  );
}

function damaged(id: string, offset: number, why: string): PenstockError {
  return new PenstockError('DAMAGED', `chunk ${id} is damaged at offset ${offset}: ${why}`, {
    subject: id,
  });
}
