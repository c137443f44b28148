/**
 * The command blocks of libraries (SMC-3), and the bytes that they answer. Pure; big-endian.
 *
 *   READ ELEMENT STATUS          header of a page, one a kind        descriptor of an element
 *    0  first address    u16      0  kind                   u8        0  address               u16
 *    2  elements         u16      1  80h: labels follow     u8        2  01h full, 04h trouble u8
 *    5  bytes that follow u24     2  bytes of a descriptor  u16       4  additional code, qualifier
 *                                 5  bytes of them all      u24       9  80h: source is valid  u8
 *                                                                    10  source                u16
 *                                                                    12  label, if any: 32 bytes, 4 more
 *                                                                        then the device's identification
 *
 * Contract: lengths are bounded by what came before they are believed; a descriptor that is cut off behind
 * what is needed of it counts (tgt forgets the last 8 bytes).
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ScsiCommand } from './scsi-device.ts';
import { commandOf } from './scsi-unit.ts';

/** Kinds of elements by their numbers. */
export const ELEMENT_KINDS = ['arm', 'slot', 'door', 'drive'] as const;
export type ElementKind = (typeof ELEMENT_KINDS)[number];

export interface LibraryElement {
  readonly kind: ElementKind;
  readonly address: number;
  /** There is a tape. */
  readonly full: boolean;
  /** The element cannot be used now, with the library's numbers for why. */
  readonly trouble: string | undefined;
  /** Where its tape came from. */
  readonly source: number | undefined;
  /** The label that the library read on the tape; empty if it has none or cannot read it. */
  readonly label: string;
  /** What identifies a drive to the library, where it tells. */
  readonly device: string;
  /** The same as bytes; empty where the library does not tell, or not all of it. */
  readonly identifier: Buffer;
}

const ELEMENTS_ALL = 0xffff;

export function elementStatusCommand(kind: ElementKind, into: Buffer): ScsiCommand {
  const cdb = Buffer.alloc(12);
  cdb.writeUInt8(0xb8, 0);
  cdb.writeUInt8(0x10 | (ELEMENT_KINDS.indexOf(kind) + 1), 1);
  cdb.writeUInt16BE(ELEMENTS_ALL, 4);
  cdb.writeUInt8(kind === 'drive' ? 1 : 0, 6);
  cdb.writeUIntBE(into.length, 7, 3);
  return { name: 'READ ELEMENT STATUS', cdb, dataIn: into, timeoutMs: LIMITS.scsiPositionMs };
}

export function initializeElementsCommand(): ScsiCommand {
  return commandOf('INITIALIZE ELEMENT STATUS', 0x07, [], LIMITS.scsiPositionMs);
}

/** With the library's first arm. */
export function moveCommand(from: number, to: number): ScsiCommand {
  const cdb = Buffer.alloc(12);
  cdb.writeUInt8(0xa5, 0);
  cdb.writeUInt16BE(from, 4);
  cdb.writeUInt16BE(to, 6);
  return { name: 'MOVE MEDIUM', cdb, timeoutMs: LIMITS.scsiPositionMs };
}

const STATUS_HEADER_BYTES = 8;
const PAGE_HEADER_BYTES = 8;
const DESCRIPTOR_BYTES_MIN = 12;
const LABEL_BYTES = 32;
const LABEL_FIELD_BYTES = 36;

/** Bytes of the whole answer. */
export function elementStatusBytes(bytes: Buffer, received: number): number {
  if (received < STATUS_HEADER_BYTES) return STATUS_HEADER_BYTES;
  return STATUS_HEADER_BYTES + bytes.readUIntBE(5, 3);
}

/** @throws PenstockError DEVICE_PROTOCOL where the lengths do not fit */
export function readElementStatus(bytes: Buffer): LibraryElement[] {
  const elements: LibraryElement[] = [];
  let at = STATUS_HEADER_BYTES;
  while (at + PAGE_HEADER_BYTES <= bytes.length) {
    const kind = ELEMENT_KINDS[bytes.readUInt8(at) - 1] ?? refuse('an element of an unknown kind');
    const flags = bytes.readUInt8(at + 1);
    const descriptorBytes = bytes.readUInt16BE(at + 2);
    const allBytes = bytes.readUIntBE(at + 5, 3);
    at += PAGE_HEADER_BYTES;
    if (descriptorBytes < DESCRIPTOR_BYTES_MIN && allBytes > 0)
      refuse('elements that are too short');
    for (const end = at + allBytes; at < end; at += descriptorBytes) {
      const one = bytes.subarray(at, Math.min(at + descriptorBytes, end));
      if (elements.length >= LIMITS.libraryElementsMax) refuse('too many elements');
      elements.push(readElement(kind, one, flags));
    }
  }
  return elements;
}

function readElement(kind: ElementKind, bytes: Buffer, pageFlags: number): LibraryElement {
  const hasLabel = (pageFlags & 0x80) !== 0;
  const needed = DESCRIPTOR_BYTES_MIN + (hasLabel ? LABEL_BYTES : 0);
  if (bytes.length < needed) refuse('an element that is cut off');
  const flags = bytes.readUInt8(2);
  const [code, qualifier] = [bytes.readUInt8(4), bytes.readUInt8(5)];
  const text = (from: number, to: number): string =>
    bytes
      .toString('latin1', from, to)
      .replace(/[^ -~]/g, ' ')
      .trim();
  const labels = (hasLabel ? 1 : 0) + ((pageFlags & 0x40) !== 0 ? 1 : 0);
  const device = DESCRIPTOR_BYTES_MIN + labels * LABEL_FIELD_BYTES;
  return {
    kind,
    address: bytes.readUInt16BE(0),
    full: (flags & 0x01) !== 0,
    trouble: (flags & 0x04) === 0 ? undefined : `${hex(code)}/${hex(qualifier)}`,
    source: (bytes.readUInt8(9) & 0x80) === 0 ? undefined : bytes.readUInt16BE(10),
    label: hasLabel ? text(DESCRIPTOR_BYTES_MIN, DESCRIPTOR_BYTES_MIN + LABEL_BYTES) : '',
    device: bytes.length > device + 4 ? text(device + 4, bytes.length) : '',
    identifier: bytes.length > device + 4 ? identifierAt(bytes, device) : Buffer.alloc(0),
  };
}

function identifierAt(bytes: Buffer, at: number): Buffer {
  const end = at + 4 + bytes.readUInt8(at + 3);
  return end > bytes.length ? Buffer.alloc(0) : bytes.subarray(at + 4, end);
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}

/** How many elements of a kind there are, and where they begin. */
export interface ElementRange {
  readonly first: number;
  readonly count: number;
}

export const ASSIGNMENT_BYTES = 64;
const ASSIGNMENT_PAGE = 0x1d;
const ASSIGNMENT_PAGE_BYTES = 18;

/** MODE SENSE of the page of element addresses, without block descriptors. */
export function assignmentCommand(into: Buffer): ScsiCommand {
  const cdb = Uint8Array.of(0x1a, 0x08, ASSIGNMENT_PAGE, 0, into.length, 0);
  return { name: 'MODE SENSE', cdb, dataIn: into, timeoutMs: LIMITS.scsiCommandMs };
}

/** Undefined where the library does not tell. */
export function readAssignment(
  bytes: Buffer,
  received: number,
): Readonly<Record<ElementKind, ElementRange>> | undefined {
  const at = 4 + (received > 3 ? bytes.readUInt8(3) : 0);
  if (received < at + ASSIGNMENT_PAGE_BYTES) return undefined;
  if ((bytes.readUInt8(at) & 0x3f) !== ASSIGNMENT_PAGE) return undefined;
  const range = (index: number): ElementRange => ({
    first: bytes.readUInt16BE(at + 2 + 4 * index),
    count: bytes.readUInt16BE(at + 4 + 4 * index),
  });
  return { arm: range(0), slot: range(1), door: range(2), drive: range(3) };
}

function refuse(what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `the library tells of ${what}`);
}
