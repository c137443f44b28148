/**
 * The command blocks of tape drives (SSC-5), and the bytes that they answer. Pure; big-endian.
 *
 * Contract: counts and lengths outside what a block can say assert; answers of whatever content are read
 * within their length, and what is missing is unknown.
 */
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import type { ScsiCommand } from './scsi-device.ts';
import { commandOf } from './scsi-unit.ts';

const U24_MAX = 2 ** 24 - 1;
/** The most of one READ or WRITE. */
export const TRANSFER_BYTES_MAX = U24_MAX;
/** The most that the short SPACE counts, either way. */
const SPACE_SHORT_MAX = 2 ** 23 - 1;

const { scsiTransferMs, scsiPositionMs, scsiLoadMs } = LIMITS;

function u24(value: number): [number, number, number] {
  assert(value >= 0 && value <= U24_MAX, 'a number of 24 bits');
  return [value >> 16, (value >> 8) & 0xff, value & 0xff];
}

/**
 * With variable blocks a view is one record; with blocks of a fixed length it is a number of them.
 *
 * @param blockBytes the length that was set by MODE SELECT; 0: variable
 */
function transfer(code: number, view: Uint8Array, blockBytes: number): Uint8Array {
  const isFixed = blockBytes > 0;
  assert(!isFixed || view.length % blockBytes === 0, 'whole blocks');
  const count = isFixed ? view.length / blockBytes : view.length;
  return Uint8Array.of(code, isFixed ? 1 : 0, ...u24(count), 0);
}

/** READ(6), without SILI: with variable blocks a longer record would be cut off without a word. */
export function readCommand(into: Uint8Array, blockBytes = 0): ScsiCommand {
  const cdb = transfer(0x08, into, blockBytes);
  return { name: 'READ', cdb, dataIn: into, timeoutMs: scsiTransferMs };
}

export function writeTapeCommand(record: Uint8Array, blockBytes = 0): ScsiCommand {
  const cdb = transfer(0x0a, record, blockBytes);
  return { name: 'WRITE', cdb, dataOut: record, timeoutMs: scsiTransferMs };
}

/** Not immediate: with 0 marks it synchronises. */
export function writeMarksCommand(count: number): ScsiCommand {
  return commandOf('WRITE FILEMARKS', 0x10, [0, ...u24(count), 0], scsiTransferMs);
}

export function rewindCommand(): ScsiCommand {
  return commandOf('REWIND', 0x01, [], scsiPositionMs);
}

export const SPACE = { blocks: 0, marks: 1, endOfData: 3 } as const;

/** SPACE(6), or SPACE(16) where the count needs it. */
export function spaceCommand(what: number, count: number): ScsiCommand {
  if (Math.abs(count) <= SPACE_SHORT_MAX) {
    return commandOf('SPACE', 0x11, [what, ...u24(count & U24_MAX), 0], scsiPositionMs);
  }
  const cdb = Buffer.alloc(16);
  cdb.writeUInt8(0x91, 0);
  cdb.writeUInt8(what, 1);
  cdb.writeBigInt64BE(BigInt(count), 4);
  return { name: 'SPACE(16)', cdb, timeoutMs: scsiPositionMs };
}

/** LOCATE(10), or LOCATE(16) where the number needs it; within the partition. */
export function locateCommand(object: number): ScsiCommand {
  assert(Number.isSafeInteger(object) && object >= 0, 'an object has a number');
  if (object < 2 ** 32) {
    const cdb = Buffer.alloc(10);
    cdb.writeUInt8(0x2b, 0);
    cdb.writeUInt32BE(object, 3);
    return { name: 'LOCATE', cdb, timeoutMs: scsiPositionMs };
  }
  const cdb = Buffer.alloc(16);
  cdb.writeUInt8(0x92, 0);
  cdb.writeBigUInt64BE(BigInt(object), 4);
  return { name: 'LOCATE(16)', cdb, timeoutMs: scsiPositionMs };
}

/** Erases from the position on: the end of data is written there. Not the whole tape, which takes hours. */
export function eraseCommand(): ScsiCommand {
  return commandOf('ERASE', 0x19, [], scsiPositionMs);
}

/** @param bits set beside that for loading */
export function loadCommand(load: boolean, bits = 0): ScsiCommand {
  const flags = (load ? 1 : 0) | bits;
  return commandOf(load ? 'LOAD' : 'UNLOAD', 0x1b, [0, 0, 0, flags, 0], scsiLoadMs);
}

/** PREVENT ALLOW MEDIUM REMOVAL: nobody takes the tape out while it is written. Ends with the session. */
export function preventRemovalCommand(prevent: boolean): ScsiCommand {
  return commandOf('PREVENT MEDIUM REMOVAL', 0x1e, [0, 0, 0, prevent ? 1 : 0, 0]);
}

/** RESERVE UNIT: others are refused (RESERVATION CONFLICT). Ends with the session. */
export function reserveCommand(): ScsiCommand {
  return commandOf('RESERVE', 0x16);
}

export interface BlockLimits {
  readonly bytesMin: number;
  readonly bytesMax: number;
}

export const BLOCK_LIMITS_BYTES = 6;

export function blockLimitsCommand(into: Buffer): ScsiCommand {
  const { cdb, timeoutMs } = commandOf('', 0x05);
  return { name: 'READ BLOCK LIMITS', cdb, dataIn: into, timeoutMs };
}

/** No longest length means that the drive has none of its own. */
export function readBlockLimits(bytes: Buffer): BlockLimits {
  const [max, min] = [bytes.readUIntBE(1, 3), bytes.readUInt16BE(4)];
  const bytesMax = max === 0 ? TRANSFER_BYTES_MAX : max;
  return { bytesMax, bytesMin: Math.min(Math.max(1, min), bytesMax) };
}

/** READ POSITION's forms. */
export const POSITION_FORM = { short: 0, long: 6 } as const;
export const POSITION_BYTES = { short: 20, long: 32 } as const;

export function positionCommand(form: keyof typeof POSITION_FORM, into: Buffer): ScsiCommand {
  const cdb = new Uint8Array(10);
  cdb[0] = 0x34;
  cdb[1] = POSITION_FORM[form];
  return { name: 'READ POSITION', cdb, dataIn: into, timeoutMs: LIMITS.scsiCommandMs };
}

export interface TapePosition {
  readonly object: number;
  /** The first object that is still in the drive's buffer; undefined where the drive does not tell. */
  readonly onMedium: number | undefined;
  readonly atBeginning: boolean;
  /** Behind the early warning. */
  readonly earlyWarning: boolean;
}

/** Undefined where the drive does not know its position, or says what cannot be. */
export function readPosition(
  form: keyof typeof POSITION_FORM,
  bytes: Buffer,
  received: number,
): TapePosition | undefined {
  if (received < POSITION_BYTES[form]) return undefined;
  const flags = bytes.readUInt8(0);
  const atBeginning = (flags & 0x80) !== 0;
  // EOP, or BPEW of drives that warn ahead.
  const earlyWarning = (flags & 0x41) !== 0;
  if ((flags & 0x04) !== 0) return undefined;
  let object: number;
  let onMedium: number | undefined;
  if (form === 'short') {
    if ((flags & 0x02) !== 0) return undefined;
    object = bytes.readUInt32BE(4);
    const isCounted = (flags & 0x20) === 0;
    onMedium = isCounted ? Math.min(object, bytes.readUInt32BE(8)) : undefined;
  } else {
    object = Number(bytes.readBigUInt64BE(8));
    if (!Number.isSafeInteger(object)) return undefined;
  }
  // A drive that cannot count answers with zeros wherever it is.
  if ((object === 0) !== atBeginning) return undefined;
  return { object, onMedium, atBeginning, earlyWarning };
}

export interface TapeMode {
  readonly writeProtected: boolean;
  readonly buffered: number;
  readonly density: number;
  readonly blockBytes: number;
}

export const MODE_BYTES = { 6: 12, 10: 16 } as const;
type ModeForm = keyof typeof MODE_BYTES;

/** The header and the block descriptor, no page. */
export function modeSenseCommand(form: ModeForm, into: Buffer): ScsiCommand {
  const bytes = MODE_BYTES[form];
  const cdb =
    form === 6
      ? Uint8Array.of(0x1a, 0, 0, 0, bytes, 0)
      : Uint8Array.of(0x5a, 0, 0, 0, 0, 0, 0, 0, bytes, 0);
  const dataIn = into.subarray(0, bytes);
  return { name: 'MODE SENSE', cdb, dataIn, timeoutMs: LIMITS.scsiCommandMs };
}

export function readMode(form: ModeForm, bytes: Buffer, received: number): TapeMode | undefined {
  const headerBytes = form === 6 ? 4 : 8;
  if (received < headerBytes) return undefined;
  const specific = bytes.readUInt8(form === 6 ? 2 : 3);
  const descriptor = form === 6 ? bytes.readUInt8(3) : bytes.readUInt16BE(6);
  const isThere = descriptor >= 8 && received >= headerBytes + 8;
  return {
    writeProtected: (specific & 0x80) !== 0,
    buffered: (specific >> 4) & 7,
    density: isThere ? bytes.readUInt8(headerBytes) : 0,
    blockBytes: isThere ? bytes.readUIntBE(headerBytes + 5, 3) : 0,
  };
}

/** Sets block length (0: variable) and buffered mode; the density stays. */
export function modeSelectCommand(form: ModeForm, mode: TapeMode): ScsiCommand {
  const bytes = MODE_BYTES[form];
  const dataOut = Buffer.alloc(bytes);
  dataOut.writeUInt8(mode.buffered << 4, form === 6 ? 2 : 3);
  dataOut.writeUInt8(8, form === 6 ? 3 : 7);
  dataOut.writeUInt8(mode.density, bytes - 8);
  dataOut.writeUIntBE(mode.blockBytes, bytes - 3, 3);
  const cdb =
    form === 6
      ? Uint8Array.of(0x15, 0x10, 0, 0, bytes, 0)
      : Uint8Array.of(0x55, 0x10, 0, 0, 0, 0, 0, 0, bytes, 0);
  return { name: 'MODE SELECT', cdb, dataOut, timeoutMs: LIMITS.scsiCommandMs };
}

export const CAPACITY_BYTES = 128;
const CAPACITY_PAGE = 0x31;
const CAPACITY_MAXIMUM = 3;
const MIB = 2 ** 20;

/** LOG SENSE of the tape's capacity. */
export function capacityCommand(into: Buffer): ScsiCommand {
  const cdb = Uint8Array.of(0x4d, 0, 0x40 | CAPACITY_PAGE, 0, 0, 0, 0, 0, CAPACITY_BYTES, 0);
  return { name: 'LOG SENSE', cdb, dataIn: into, timeoutMs: LIMITS.scsiCommandMs };
}

/** Bytes of the whole tape, if the drive tells. */
export function readCapacity(bytes: Buffer, received: number): number | undefined {
  if (received < 4 || (bytes.readUInt8(0) & 0x3f) !== CAPACITY_PAGE) return undefined;
  const end = Math.min(received, 4 + bytes.readUInt16BE(2));
  for (let at = 4; at + 8 <= end; at += 4 + bytes.readUInt8(at + 3)) {
    if (bytes.readUInt16BE(at) === CAPACITY_MAXIMUM && bytes.readUInt8(at + 3) === 4) {
      return bytes.readUInt32BE(at + 4) * MIB;
    }
  }
  return undefined;
}
