/**
 * The bytes of a data connection between two agents: preamble, token, frames. Pure functions.
 *
 *   preamble (in clear, 64 bytes)        frame header (sealed, 64 bytes)
 *    0  magic "PSTKDATA"        8         0  magic "PSTF"                         u32
 *    8  version                 u8        4  version                              u8
 *    9  zero                    u8        5  kind                                 u8
 *   10  agent                   u16       6  bytes of the header room             u16
 *   12  attempt, from 0         u32       8  sequence                             u64
 *   16  id of the half pipe     16       16  bytes of the payload                 u32
 *   32  zero                    28       20  bytes of the directory room          u32
 *   60  CRC-32C of bytes 0..59  u32      24  kind of the buffer                   u32
 *                                        28  words 0..5 of the buffer             u32 each
 *                                        52  mark                                 u64
 *                                        60  CRC-32C of bytes 0..59               u32
 *
 * Validity: a preamble or header is valid if and only if its magic, version and CRC are right, its kind is
 * known, its numbers are below 2^53, and its lengths are within the bounds that the reader gives; only a
 * data frame has lengths other than 0, and its sequence is at least 1. Nothing else is looked at before,
 * and no length is believed. After a data header its bytes follow: header room, payload, directory room.
 *
 *   kind    from      sequence                      mark
 *   data    sender    number of the buffer          lowest number that the sender still keeps
 *   beat    sender    0                             the same
 *   end     sender    buffers that the agent sent   the same
 *   taken   receiver  number that was taken over    highest number that may be sent
 *   grant   receiver  0                             the same
 *   ended   receiver  as in `end`                   the same
 */
import { createHmac } from 'node:crypto';
import { assert } from '../../base/assert.ts';
import { PenstockError } from '../../base/errors.ts';
import { crc32cOf } from '../../host/files-only.ts';

export const FRAME_BYTES = 64;
export const PREAMBLE_BYTES = 64;
export const TOKEN_BYTES = 32;
export const ID_BYTES = 16;
/** Words of a buffer that travel with it. */
export const FRAME_WORDS = 6;
/** What the accepting machine answers to a preamble. */
export const ADMITTED = 0x06;

const MAGIC = 0x46_54_53_50; // "PSTF"
const PREAMBLE_MAGIC = 'PSTKDATA';
const VERSION = 1;
const CRC_AT = 60;

export const FRAME_KIND = { data: 1, beat: 2, end: 3, taken: 4, grant: 5, ended: 6 } as const;
const KIND_MAX = 6;

/** A frame header, decoded into an object that is used again. */
export interface Frame {
  kind: number;
  headerBytes: number;
  sequence: number;
  payloadBytes: number;
  directoryBytes: number;
  bufferKind: number;
  readonly words: Uint32Array;
  mark: number;
}

export function newFrame(): Frame {
  return {
    kind: 0,
    headerBytes: 0,
    sequence: 0,
    payloadBytes: 0,
    directoryBytes: 0,
    bufferKind: 0,
    words: new Uint32Array(FRAME_WORDS),
    mark: 0,
  };
}

/** The most that a reader takes. */
export interface FrameBounds {
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly directoryBytes: number;
}

/** Writes a header at an offset. */
export function writeFrame(into: Buffer, at: number, frame: Frame): void {
  into.writeUInt32LE(MAGIC, at);
  into.writeUInt8(VERSION, at + 4);
  into.writeUInt8(frame.kind, at + 5);
  into.writeUInt16LE(frame.headerBytes, at + 6);
  writeNumber(into, at + 8, frame.sequence);
  into.writeUInt32LE(frame.payloadBytes, at + 16);
  into.writeUInt32LE(frame.directoryBytes, at + 20);
  into.writeUInt32LE(frame.bufferKind, at + 24);
  for (let i = 0; i < FRAME_WORDS; i++) {
    into.writeUInt32LE(frame.words[i] as number, at + 28 + 4 * i);
  }
  writeNumber(into, at + 52, frame.mark);
  into.writeUInt32LE(crc32cOf(into.subarray(at, at + CRC_AT), 0), at + CRC_AT);
}

/**
 * Reads the header in `bytes` into `frame`.
 *
 * @throws PenstockError NET_PROTOCOL where it is not valid
 */
export function readFrame(bytes: Buffer, frame: Frame, bounds: FrameBounds): void {
  if (
    bytes.readUInt32LE(0) !== MAGIC ||
    bytes.readUInt8(4) !== VERSION ||
    bytes.readUInt32LE(CRC_AT) !== crc32cOf(bytes.subarray(0, CRC_AT), 0)
  ) {
    refuse('what came is no frame');
  }
  frame.kind = bytes.readUInt8(5);
  frame.headerBytes = bytes.readUInt16LE(6);
  frame.sequence = readNumber(bytes, 8);
  frame.payloadBytes = bytes.readUInt32LE(16);
  frame.directoryBytes = bytes.readUInt32LE(20);
  frame.bufferKind = bytes.readUInt32LE(24);
  for (let i = 0; i < FRAME_WORDS; i++) frame.words[i] = bytes.readUInt32LE(28 + 4 * i);
  frame.mark = readNumber(bytes, 52);
  const { kind, headerBytes, payloadBytes, directoryBytes } = frame;
  if (kind < 1 || kind > KIND_MAX) refuse(`a frame is of the unknown kind ${kind}`);
  if (kind === FRAME_KIND.data) {
    if (
      frame.sequence < 1 ||
      headerBytes > bounds.headerBytes ||
      payloadBytes > bounds.payloadBytes ||
      directoryBytes > bounds.directoryBytes
    ) {
      refuse(`a frame has ${headerBytes} + ${payloadBytes} + ${directoryBytes} bytes`);
    }
  } else if (headerBytes + payloadBytes + directoryBytes > 0) {
    refuse(`a frame of kind ${kind} has bytes`);
  }
}

/** What opens a connection, in clear. */
export interface Preamble {
  /** Of the half pipe, 32 hexadecimal digits. */
  readonly id: string;
  readonly agent: number;
  readonly attempt: number;
}

export function writePreamble({ id, agent, attempt }: Preamble): Buffer {
  const bytes = Buffer.alloc(PREAMBLE_BYTES);
  bytes.write(PREAMBLE_MAGIC, 'latin1');
  bytes.writeUInt8(VERSION, 8);
  bytes.writeUInt16LE(agent, 10);
  bytes.writeUInt32LE(attempt, 12);
  assert(bytes.write(id, 16, 'hex') === ID_BYTES, 'the id of a half pipe has 16 bytes');
  bytes.writeUInt32LE(crc32cOf(bytes.subarray(0, CRC_AT), 0), CRC_AT);
  return bytes;
}

/** The preamble in these bytes, or undefined where they are none. */
export function readPreamble(bytes: Buffer): Preamble | undefined {
  if (
    bytes.length !== PREAMBLE_BYTES ||
    bytes.toString('latin1', 0, 8) !== PREAMBLE_MAGIC ||
    bytes.readUInt8(8) !== VERSION ||
    bytes.readUInt32LE(CRC_AT) !== crc32cOf(bytes.subarray(0, CRC_AT), 0)
  ) {
    return undefined;
  }
  return {
    id: bytes.toString('hex', 16, 16 + ID_BYTES),
    agent: bytes.readUInt16LE(10),
    attempt: bytes.readUInt32LE(12),
  };
}

/** The token of a connection that pipes share: good once, for this attempt alone. */
export function tokenOf(secret: Uint8Array, preamble: Preamble): Buffer {
  return createHmac('sha256', secret).update(writePreamble(preamble)).digest();
}

function writeNumber(into: Buffer, at: number, value: number): void {
  into.writeUInt32LE(value % 2 ** 32, at);
  into.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function readNumber(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
  if (!Number.isSafeInteger(value)) refuse('a frame has a number beyond 53 bits');
  return value;
}

function refuse(message: string): never {
  throw new PenstockError('NET_PROTOCOL', message);
}
