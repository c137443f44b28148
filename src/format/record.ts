/**
 * The envelope of the repository's small objects: repository, key, archive, map and lease records, and
 * those of a prune (condemn, deleting, verdict); and of what Penstock writes on volumes beside chunks.
 *
 *   offset size field
 *        0    8 magic "PENSTOCK"
 *        8    1 kind (RECORD)            9  1 version (1)
 *       10    1 encryption (ENCRYPTION) 11  1 zero
 *       12    4 feature words: compat   16  4 read-only compat   20 4 incompat
 *       24    4 length of the clear part (JSON, UTF-8)
 *       28    4 length of the sealed part (JSON, UTF-8)
 *       32   16 object id
 *       48    4 key generation
 *       52   32 salt of the sealing     84 16 seal
 *      100    4 CRC-32C of all that follows the header
 *      104   20 zero
 *      124    4 CRC-32C of bytes 0..123
 *      128    … clear part, sealed part
 *
 * The feature words are checked before anything else: an unknown bit in `incompat` refuses all use,
 * one in `read-only compat` refuses writing, one in `compat` nothing. Associated data of the sealing:
 * bytes 0..51 and the clear part. Valid if and only if magic, version, both CRCs and the seal match
 * and the lengths fill the object exactly.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Crc } from './tag-header.ts';

export const RECORD_HEAD_BYTES = 128;
const MAGIC = Buffer.from('PENSTOCK', 'latin1');

export const RECORD = {
  repository: 1,
  key: 2,
  archive: 3,
  map: 4,
  lease: 5,
  condemn: 6,
  deleting: 7,
  verdict: 8,
  /** Of volumes (volume-label.ts, volume-records.ts). */
  volumeLabel: 9,
  volumeSession: 10,
  volumeSessionEnd: 11,
  volumeLogPage: 12,
  volumeIndex: 13,
} as const;

/** Feature bits that this version knows. */
export const FEATURES_KNOWN = { compat: 0, readOnlyCompat: 0, incompat: 0 } as const;

export interface Features {
  readonly compat: number;
  readonly readOnlyCompat: number;
  readonly incompat: number;
}

export interface RecordHead {
  readonly kind: number;
  readonly encryption: number;
  readonly features: Features;
  readonly id: Buffer;
  readonly keyGeneration: number;
  readonly clearBytes: number;
  readonly sealedBytes: number;
}

/** Lays out an object with its clear part; the sealed part is filled in by the caller's sealing. */
export function encodeRecord(
  head: Omit<RecordHead, 'clearBytes' | 'sealedBytes'>,
  clear: Buffer,
  sealed: Buffer,
): Buffer {
  const total = RECORD_HEAD_BYTES + clear.length + sealed.length;
  if (total > LIMITS.recordBytesMax) throw new PenstockError('LIMIT', `a record of ${total} bytes`);
  const bytes = Buffer.alloc(total);
  MAGIC.copy(bytes, 0);
  bytes[8] = head.kind;
  bytes[9] = 1;
  bytes[10] = head.encryption;
  bytes.writeUInt32LE(head.features.compat, 12);
  bytes.writeUInt32LE(head.features.readOnlyCompat, 16);
  bytes.writeUInt32LE(head.features.incompat, 20);
  bytes.writeUInt32LE(clear.length, 24);
  bytes.writeUInt32LE(sealed.length, 28);
  head.id.copy(bytes, 32);
  bytes.writeUInt32LE(head.keyGeneration, 48);
  clear.copy(bytes, RECORD_HEAD_BYTES);
  sealed.copy(bytes, RECORD_HEAD_BYTES + clear.length);
  return bytes;
}

/** Both CRCs, the last step of writing. */
export function finishRecord(bytes: Buffer, crc: Crc): void {
  bytes.writeUInt32LE(crc(bytes, RECORD_HEAD_BYTES, bytes.length - RECORD_HEAD_BYTES), 100);
  bytes.writeUInt32LE(crc(bytes, 0, 124), 124);
}

/**
 * Checks and reads the head of an object named `subject` in messages. REPO_FEATURE for features that
 * are not known (`writing` counts the read-only ones too), DAMAGED otherwise.
 */
export function decodeRecord(
  bytes: Buffer,
  subject: string,
  crc: Crc,
  writing: boolean,
): RecordHead {
  const wrong = (reason: string): PenstockError =>
    new PenstockError('DAMAGED', `${subject} is damaged: ${reason}`, { subject });
  if (bytes.length < RECORD_HEAD_BYTES) throw wrong(`only ${bytes.length} bytes`);
  if (!bytes.subarray(0, 8).equals(MAGIC)) throw wrong('it is not an object of a repository');
  if (bytes.readUInt32LE(124) !== crc(bytes, 0, 124))
    throw wrong('the checksum of its head does not match');
  const features = {
    compat: bytes.readUInt32LE(12),
    readOnlyCompat: bytes.readUInt32LE(16),
    incompat: bytes.readUInt32LE(20),
  };
  checkFeatures(features, subject, writing);
  if (bytes[9] !== 1) {
    throw new PenstockError(
      'REPO_FEATURE',
      `${subject} has version ${bytes[9]} of the record format`,
    );
  }
  const clearBytes = bytes.readUInt32LE(24);
  const sealedBytes = bytes.readUInt32LE(28);
  if (RECORD_HEAD_BYTES + clearBytes + sealedBytes !== bytes.length)
    throw wrong('its length does not fit');
  if (crc(bytes, RECORD_HEAD_BYTES, bytes.length - RECORD_HEAD_BYTES) !== bytes.readUInt32LE(100)) {
    throw wrong('its checksum does not match');
  }
  return {
    kind: bytes.readUInt8(8),
    encryption: bytes.readUInt8(10),
    features,
    id: bytes.subarray(32, 48),
    keyGeneration: bytes.readUInt32LE(48),
    clearBytes,
    sealedBytes,
  };
}

/** Refuses features that are not known: REPO_FEATURE. `writing` counts the read-only ones too. */
export function checkFeatures(features: Features, subject: string, writing: boolean): void {
  const unknown = (features.incompat & ~FEATURES_KNOWN.incompat) >>> 0;
  if (unknown !== 0) {
    throw new PenstockError('REPO_FEATURE', `${subject} needs features 0x${unknown.toString(16)}`, {
      subject,
    });
  }
  const readOnly = (features.readOnlyCompat & ~FEATURES_KNOWN.readOnlyCompat) >>> 0;
  if (writing && readOnly !== 0) {
    throw new PenstockError(
      'REPO_FEATURE',
      `${subject} can only be read: writing needs features 0x${readOnly.toString(16)}`,
      { subject },
    );
  }
}

/** Where the parts lie. */
export const saltOfRecord = (bytes: Buffer): Buffer => bytes.subarray(52, 84);
export const sealOfRecord = (bytes: Buffer): Buffer => bytes.subarray(84, 100);
export const clearOfRecord = (bytes: Buffer): Buffer =>
  bytes.subarray(RECORD_HEAD_BYTES, RECORD_HEAD_BYTES + bytes.readUInt32LE(24));
export const sealedAtOfRecord = (bytes: Buffer): number =>
  RECORD_HEAD_BYTES + bytes.readUInt32LE(24);
/** The JSON of a part; what `wrong` makes is thrown where it is none. */
export function jsonOfPart(part: Buffer, wrong: (reason: string) => PenstockError): unknown {
  try {
    return JSON.parse(part.toString('utf8'));
  } catch {
    throw wrong('it does not hold JSON');
  }
}

/** Associated data: identity and clear part. */
export function associatedDataOfRecord(bytes: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, 52), clearOfRecord(bytes)]);
}
