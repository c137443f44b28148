/**
 * The tag header (M5): the fixed header, in clear, in front of each block and of each other part of
 * a chunk. Written and read in place, on any memory, without allocation.
 *
 *   offset size field
 *        0    4 magic "PTAG"
 *        4    2 headerBytes: fixed part + special headers, a multiple of 8, <= 4096
 *        6    1 version (1)
 *        7    1 kind (KIND_OF_PART)
 *        8    1 content class (CONTENT_CLASS)
 *        9    1 compression selector (COMPRESSION)
 *       10    1 encryption selector (ENCRYPTION)
 *       11    1 zero
 *       12    4 flags (TAG_FLAG)
 *       16    4 key generation
 *       20    4 rawBytes: length of the payload before compression
 *       24    4 storedBytes: length of the payload that follows the header
 *       28    4 block number in the chunk
 *       32    8 sequence number in the session
 *       40    8 offset of this header in its chunk
 *       48   16 chunk id
 *       64   16 session id
 *       80   32 salt of the sealing
 *      112   16 seal: the authentication tag of AES-256-GCM
 *      128    4 number of blobs in the block
 *      132    4 CRC-32C of the stored payload
 *      136    4 zero
 *      140    4 CRC-32C of bytes 0..139 and 144..headerBytes-1
 *      144    … special headers (special-headers.ts)
 *
 * Valid if and only if: magic and version match, 144 <= headerBytes <= 4096 and a multiple of 8, the
 * header's CRC matches; only then is any length in it believed. Bytes 6–10, 12 (the identity flags),
 * 16–27 and 128–131 are the associated data of the sealing: identity, not place, so that a block can
 * be moved verbatim. Integers are little-endian.
 */
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';

export const TAG_MAGIC = 0x47415450; // "PTAG"
export const TAG_FIXED_BYTES = 144;
export const TAG_VERSION = 1;
export const ASSOCIATED_BYTES = 28;
export const ID_BYTES = 16;

/** What follows a tag header (M7). */
export const PART = {
  block: 1,
  chunkHeader: 2,
  chunkFooter: 3,
  chunkDetails: 4,
  sessionHeader: 5,
  sessionFooter: 6,
  archiveHeader: 7,
  archiveFooter: 8,
  options: 9,
} as const;

/** Classes of content; one open chunk each (M2). */
export const CONTENT_CLASS = { compressible: 1, incompressible: 2, manifest: 3 } as const;
export const COMPRESSION = { none: 0, zstd: 1 } as const;
export const ENCRYPTION = { none: 0, aes256gcm: 1 } as const;

export const TAG_FLAG = {
  /** The last part of its chunk: its footer. */
  lastBlock: 1,
  /** Several small blobs are grouped in this block (M12). Identity. */
  grouped: 2,
  /** Everything of the session up to this part is safe: a restart may begin after it (M11). */
  restartPoint: 4,
  /** Duplicates of blobs were discarded while this block was filled (M10). */
  duplicatesDropped: 8,
  /** An options part follows. */
  optionsFollow: 16,
} as const;
const IDENTITY_FLAGS = TAG_FLAG.grouped;

type Bytes = Buffer;

export type Crc = (view: Uint8Array, offset: number, length: number, seed?: number) => number;

/** The fields that are known when a part is sealed. */
export interface TagIdentity {
  readonly part: number;
  readonly contentClass: number;
  readonly compression: number;
  readonly encryption: number;
  readonly flags: number;
  readonly keyGeneration: number;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly blobCount: number;
}

/** Writes a whole fixed header of `headerBytes` at `at`; special headers must be there already. */
export function writeTag(view: Bytes, at: number, headerBytes: number, tag: TagIdentity): void {
  assert(
    headerBytes % 8 === 0 && headerBytes >= TAG_FIXED_BYTES,
    'header length is a multiple of 8',
  );
  assert(headerBytes <= LIMITS.headerRoomBytes, 'header fits its room');
  view.fill(0, at, at + TAG_FIXED_BYTES);
  view.writeUInt32LE(TAG_MAGIC, at);
  view.writeUInt16LE(headerBytes, at + 4);
  view[at + 6] = TAG_VERSION;
  view[at + 7] = tag.part;
  view[at + 8] = tag.contentClass;
  view[at + 9] = tag.compression;
  view[at + 10] = tag.encryption;
  view.writeUInt32LE(tag.flags, at + 12);
  view.writeUInt32LE(tag.keyGeneration, at + 16);
  view.writeUInt32LE(tag.rawBytes, at + 20);
  view.writeUInt32LE(tag.storedBytes, at + 24);
  view.writeUInt32LE(tag.blobCount, at + 128);
}

/** Place of a block: set by whoever stores it. Call finishTag afterwards. */
export function setPlace(
  view: Bytes,
  at: number,
  chunkId: Uint8Array,
  sessionId: Uint8Array,
  blockNumber: number,
  offset: number,
  sequence: number,
): void {
  view.set(chunkId, at + 48);
  view.set(sessionId, at + 64);
  view.writeUInt32LE(blockNumber, at + 28);
  writeU64(view, at + 32, sequence);
  writeU64(view, at + 40, offset);
}

/** Computes the header's CRC, the last step of writing. */
export function finishTag(view: Bytes, at: number, crc: Crc): void {
  view.writeUInt32LE(headerCrc(view, at, headerBytesOf(view, at), crc), at + 140);
}

function headerCrc(view: Bytes, at: number, headerBytes: number, crc: Crc): number {
  const fixed = crc(view, at, 140, 0);
  if (headerBytes === TAG_FIXED_BYTES) return fixed;
  return crc(view, at + TAG_FIXED_BYTES, headerBytes - TAG_FIXED_BYTES, fixed);
}

/**
 * Checks the header at `at`, of which `available` bytes are there. Returns undefined when it is
 * valid, else the reason in words. Never reads beyond `available`.
 */
export function checkTag(view: Bytes, at: number, available: number, crc: Crc): string | undefined {
  if (available < TAG_FIXED_BYTES) return `only ${available} bytes where a tag header should be`;
  if (view.readUInt32LE(at) !== TAG_MAGIC) return 'no tag header here (wrong magic)';
  const headerBytes = headerBytesOf(view, at);
  if (
    headerBytes < TAG_FIXED_BYTES ||
    headerBytes > LIMITS.headerRoomBytes ||
    headerBytes % 8 !== 0
  ) {
    return `impossible tag header length ${headerBytes}`;
  }
  if (headerBytes > available) return 'tag header is cut off';
  if (headerCrc(view, at, headerBytes, crc) !== view.readUInt32LE(at + 140)) {
    return 'tag header checksum does not match';
  }
  if (view[at + 6] !== TAG_VERSION) return `tag header version ${view[at + 6]} is unknown`;
  return undefined;
}

export const headerBytesOf = (view: Bytes, at: number): number => view.readUInt16LE(at + 4);
export const partOf = (view: Bytes, at: number): number => view.readUInt8(at + 7);
export const classOf = (view: Bytes, at: number): number => view.readUInt8(at + 8);
export const compressionOf = (view: Bytes, at: number): number => view.readUInt8(at + 9);
export const encryptionOf = (view: Bytes, at: number): number => view.readUInt8(at + 10);
export const flagsOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 12);
export const keyGenerationOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 16);
export const rawBytesOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 20);
export const storedBytesOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 24);
export const blockNumberOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 28);
export const sequenceOf = (view: Bytes, at: number): number => readU64(view, at + 32);
export const chunkOffsetOf = (view: Bytes, at: number): number => readU64(view, at + 40);
export const blobCountOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 128);
export const payloadCrcOf = (view: Bytes, at: number): number => view.readUInt32LE(at + 132);
export const chunkIdOf = (view: Bytes, at: number): Buffer => view.subarray(at + 48, at + 64);
export const sessionIdOf = (view: Bytes, at: number): Buffer => view.subarray(at + 64, at + 80);
export const saltOf = (view: Bytes, at: number): Buffer => view.subarray(at + 80, at + 112);
export const sealOf = (view: Bytes, at: number): Buffer => view.subarray(at + 112, at + 128);

export function setPayloadCrc(view: Bytes, at: number, crc: number): void {
  view.writeUInt32LE(crc, at + 132);
}

/** Sets flags that are not part of the identity after sealing (last block, restart point). */
export function addPlaceFlags(view: Bytes, at: number, flags: number): void {
  assert((flags & IDENTITY_FLAGS) === 0, 'identity flags are fixed by the sealing');
  view.writeUInt32LE((view.readUInt32LE(at + 12) | flags) >>> 0, at + 12);
}

/** Writes the associated data of the header at `at` into `target` (ASSOCIATED_BYTES long). */
export function writeAssociatedData(view: Bytes, at: number, target: Buffer): void {
  target.fill(0);
  view.copy(target, 0, at + 6, at + 11);
  target.writeUInt32LE(view.readUInt32LE(at + 12) & IDENTITY_FLAGS, 5);
  target.writeUInt32LE(keyGenerationOf(view, at), 9);
  target.writeUInt32LE(rawBytesOf(view, at), 13);
  target.writeUInt32LE(storedBytesOf(view, at), 17);
  target.writeUInt32LE(blobCountOf(view, at), 21);
}

/** Unsigned 64-bit number up to 2^53. */
export function writeU64(view: Bytes, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'u64 field holds a safe integer');
  view.writeUInt32LE(value % 0x1_0000_0000, at);
  view.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

export function readU64(view: Bytes, at: number): number {
  return view.readUInt32LE(at + 4) * 0x1_0000_0000 + view.readUInt32LE(at);
}
