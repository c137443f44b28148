/**
 * The labels at the beginning of a volume: two records and a mark.
 *
 *   object 0   VOL1 (ANSI X3.27), 80 bytes of ASCII, positions from 1:
 *              1–4 "VOL1" | 5–10 volume name | 11 access, blank | 25–37 "PENSTOCK" |
 *              38–51 owner: the pool, as far as its letters are those of ANSI | 80 "3"; others blank
 *   object 1   the label: a record (record.ts) of kind volumeLabel, whose id is that of the volume, with
 *              VolumeLabel as its clear part, so that it can be read without key, and believed with it.
 *              Its sealed part, which older ones lack, has the settings of the pool (LabelSealed)
 *   object 2   mark
 *
 * The label carries the repository record and the key records, so that media and passphrase are enough.
 */
import { PenstockError } from '../base/errors.ts';
import { clearOfRecord, decodeRecord, jsonOfPart, RECORD } from './record.ts';
import type { Crc } from './tag-header.ts';

export const VOL1_BYTES = 80;
/** Objects before the first session. */
export const LABEL_OBJECTS = 3;
const IMPLEMENTATION = 'PENSTOCK';

/** A stored object of the repository: its name and its bytes in base64. */
export interface LabelRecord {
  readonly name: string;
  readonly record: string;
}

export interface VolumeLabel {
  /** Id of the volume, 32 hex digits: made when it is labelled. */
  readonly volume: string;
  /** What people call it: 1 to 6 capital letters and digits. */
  readonly name: string;
  readonly pool: string;
  /** Id of the repository, 32 hex digits. */
  readonly repository: string;
  /** Number of the volume in its pool, from 1. */
  readonly sequence: number;
  /** The longest record that the pool writes. */
  readonly blockBytes: number;
  readonly createdMs: number;
  readonly writer: string;
  /** The repository record, and key records as far as they were there. */
  readonly records: readonly LabelRecord[];
}

/** The sealed part of a label. */
export interface LabelSealed {
  /** How the pool is written, and where, as whoever made it has said. */
  readonly pool: Readonly<Record<string, unknown>>;
}

export interface Vol1 {
  readonly name: string;
  readonly implementation: string;
  readonly owner: string;
}

const NAME = /^[A-Z0-9]{1,6}$/;

/** @throws PenstockError USAGE for a name that ANSI does not have */
export function checkVolumeName(name: string): void {
  if (NAME.test(name)) return;
  throw new PenstockError('USAGE', `not the name of a volume: ${name}`, {
    hint: 'use 1 to 6 capital letters and digits, as on the cartridge',
  });
}

/** @throws PenstockError USAGE for a name that ANSI does not have */
export function encodeVol1(name: string, pool: string): Buffer {
  checkVolumeName(name);
  const owner = pool.toUpperCase().replace(/[^A-Z0-9 -]/g, '-');
  const bytes = Buffer.alloc(VOL1_BYTES, ' ');
  bytes.write('VOL1', 0, 'latin1');
  bytes.write(name, 4, 'latin1');
  bytes.write(IMPLEMENTATION, 24, 'latin1');
  bytes.write(owner.slice(0, 14), 37, 'latin1');
  bytes.write('3', 79, 'latin1');
  return bytes;
}

/** Nothing when it is no VOL1 label, of whatever program. */
export function decodeVol1(bytes: Buffer): Vol1 | undefined {
  if (bytes.length < VOL1_BYTES || bytes.toString('latin1', 0, 4) !== 'VOL1') return undefined;
  const field = (from: number, to: number): string =>
    bytes
      .toString('latin1', from - 1, to)
      .replace(/[^\x20-\x7e]/g, '?')
      .trim();
  return { name: field(5, 10), implementation: field(25, 37), owner: field(38, 51) };
}

export const isOurVol1 = (vol1: Vol1): boolean => vol1.implementation === IMPLEMENTATION;

/**
 * Reads a label without a key.
 *
 * @throws PenstockError DAMAGED, REPO_FEATURE
 */
export function decodeLabel(
  bytes: Buffer,
  subject: string,
  crc: Crc,
  writing: boolean,
): VolumeLabel {
  const head = decodeRecord(bytes, subject, crc, writing);
  const wrong = (reason: string): PenstockError =>
    new PenstockError('DAMAGED', `${subject} is damaged: ${reason}`, { subject });
  if (head.kind !== RECORD.volumeLabel) throw wrong(`it is a record of kind ${head.kind}`);
  const label = jsonOfPart(clearOfRecord(bytes), wrong) as Partial<
    Record<keyof VolumeLabel, unknown>
  > | null;
  if (typeof label !== 'object' || label === null || !isLabel(label))
    throw wrong('fields are missing');
  if (label.volume !== head.id.toString('hex')) throw wrong('it is that of another volume');
  return label;
}

function isLabel(label: Partial<Record<keyof VolumeLabel, unknown>>): label is VolumeLabel {
  const isId = (value: unknown): boolean =>
    typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
  return (
    isId(label.volume) &&
    isId(label.repository) &&
    typeof label.name === 'string' &&
    NAME.test(label.name) &&
    typeof label.pool === 'string' &&
    isCount(label.sequence) &&
    isCount(label.blockBytes) &&
    isCount(label.createdMs) &&
    Array.isArray(label.records) &&
    label.records.every(
      (one: unknown) =>
        typeof (one as LabelRecord)?.name === 'string' &&
        typeof (one as LabelRecord)?.record === 'string',
    )
  );
}
