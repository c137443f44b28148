/**
 * The bytes of iSCSI PDUs (RFC 7143, 11). Pure functions; integers big-endian.
 *
 *   basic header segment, 48 bytes, of all        then
 *    0  opcode, bit 6: immediate      u8          additional segments      4 × byte 4
 *    1  flags                         u8          header digest            4, if negotiated
 *    4  additional segments, words    u8          data segment, padded to a multiple of 4
 *    5  bytes of the data segment     u24         data digest              4, if negotiated
 *    8  logical unit, or by opcode    8
 *   16  initiator's task tag          u32
 *   20  by opcode                     28
 *
 * Validity of what a target sends: the opcode is one of a target's, there are no additional segments, the
 * data segment is not longer than the bound that the reader gives, and only kinds that may have one have
 * one. Nothing is read of a data segment before that. What numbers mean is for the session to check.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

export const BHS_BYTES = 48;
export const DIGEST_BYTES = 4;
/** A tag that names no task. */
export const NO_TAG = 0xffff_ffff;
export const CDB_BYTES = 16;

const REQUEST = {
  nopOut: 0x00,
  command: 0x01,
  taskManagement: 0x02,
  login: 0x03,
  text: 0x04,
  dataOut: 0x05,
  logout: 0x06,
} as const;

const ANSWER = {
  nopIn: 0x20,
  response: 0x21,
  taskManagement: 0x22,
  login: 0x23,
  text: 0x24,
  dataIn: 0x25,
  logout: 0x26,
  readyToTransfer: 0x31,
  asynchronous: 0x32,
  reject: 0x3f,
} as const;

const IMMEDIATE = 0x40;
const FINAL = 0x80;
const CONTINUE = 0x40;

export const LOGIN_STAGE = { security: 0, operational: 1, full: 3 } as const;
export const TASK_MANAGEMENT = { abortTask: 1, logicalUnitReset: 5 } as const;
export const LOGOUT_REASON = { closeSession: 0 } as const;
/** Events of asynchronous messages. */
export const ASYNC_EVENT = {
  scsi: 0,
  logoutRequested: 1,
  connectionDropped: 2,
  sessionDropped: 3,
  negotiationRequested: 4,
} as const;

/** Bytes that follow a data segment up to a multiple of four. */
export function paddingOf(lengthBytes: number): number {
  return -lengthBytes & 3;
}

/** A logical unit's number in the 8 bytes of a header (SAM-5: peripheral or flat space addressing). */
export function writeLun(into: Buffer, at: number, lun: number): void {
  assert(lun >= 0 && lun < 0x4000, 'a logical unit has a number below 16384');
  into.fill(0, at, at + 8);
  into.writeUInt16BE(lun < 256 ? lun : 0x4000 | lun, at);
}

interface Numbers {
  readonly task: number;
  readonly expStatSn: number;
}

interface Sequenced extends Numbers {
  readonly cmdSn: number;
}

function begin(into: Buffer, opcode: number, flags: number, dataBytes: number): void {
  assert(into.length === BHS_BYTES, 'a header has 48 bytes');
  assert(dataBytes >= 0 && dataBytes < 1 << 24, 'a data segment has less than 16 MiB');
  into.fill(0);
  into[0] = opcode;
  into[1] = flags;
  into.writeUIntBE(dataBytes, 5, 3);
}

function writeNumbers(into: Buffer, { task, cmdSn, expStatSn }: Sequenced): void {
  into.writeUInt32BE(task, 16);
  into.writeUInt32BE(cmdSn, 24);
  into.writeUInt32BE(expStatSn, 28);
}

export interface CommandFields extends Sequenced {
  readonly lun: number;
  readonly cdb: Uint8Array;
  readonly reads: boolean;
  readonly writes: boolean;
  /** What the command may transfer in all. */
  readonly expectedBytes: number;
  readonly immediateBytes: number;
  /** No unsolicited data PDU follows. */
  readonly final: boolean;
}

const ATTRIBUTE_SIMPLE = 1;

export function writeCommand(into: Buffer, fields: CommandFields): void {
  assert(fields.cdb.length <= CDB_BYTES, 'a command block has at most 16 bytes');
  const flags =
    (fields.final ? FINAL : 0) |
    (fields.reads ? 0x40 : 0) |
    (fields.writes ? 0x20 : 0) |
    ATTRIBUTE_SIMPLE;
  begin(into, REQUEST.command, flags, fields.immediateBytes);
  writeLun(into, 8, fields.lun);
  writeNumbers(into, fields);
  into.writeUInt32BE(fields.expectedBytes, 20);
  into.set(fields.cdb, 32);
}

export interface DataOutFields extends Numbers {
  readonly lun: number;
  /** The target's tag of the R2T, or NO_TAG for unsolicited data. */
  readonly targetTag: number;
  readonly dataSn: number;
  readonly offset: number;
  readonly bytes: number;
  /** The last of its sequence. */
  readonly final: boolean;
}

export function writeDataOut(into: Buffer, fields: DataOutFields): void {
  begin(into, REQUEST.dataOut, fields.final ? FINAL : 0, fields.bytes);
  if (fields.targetTag !== NO_TAG) writeLun(into, 8, fields.lun);
  into.writeUInt32BE(fields.task, 16);
  into.writeUInt32BE(fields.targetTag, 20);
  into.writeUInt32BE(fields.expStatSn, 28);
  into.writeUInt32BE(fields.dataSn, 36);
  into.writeUInt32BE(fields.offset, 40);
}

export interface NopOutFields extends Sequenced {
  /** As it came, for an answer to a target's ping; absent for a ping of our own. */
  readonly lun?: Uint8Array;
  readonly targetTag: number;
  readonly bytes: number;
}

/** A ping (a task, NO_TAG) or the answer to one (NO_TAG, the target's tag); always immediate. */
export function writeNopOut(into: Buffer, fields: NopOutFields): void {
  begin(into, REQUEST.nopOut | IMMEDIATE, FINAL, fields.bytes);
  if (fields.lun !== undefined) into.set(fields.lun, 8);
  writeNumbers(into, fields);
  into.writeUInt32BE(fields.targetTag, 20);
}

export interface TaskManagementFields extends Sequenced {
  readonly function: number;
  readonly lun: number;
  /** The task to abort; NO_TAG where the function concerns none. */
  readonly referencedTask: number;
  readonly referencedCmdSn: number;
}

export function writeTaskManagement(into: Buffer, fields: TaskManagementFields): void {
  begin(into, REQUEST.taskManagement | IMMEDIATE, FINAL | fields.function, 0);
  writeLun(into, 8, fields.lun);
  writeNumbers(into, fields);
  into.writeUInt32BE(fields.referencedTask, 20);
  into.writeUInt32BE(fields.referencedCmdSn, 32);
}

export interface LoginFields extends Sequenced {
  /** The initiator's part of the session's name: 6 bytes. */
  readonly isid: Uint8Array;
  readonly tsih: number;
  readonly stage: number;
  readonly nextStage: number;
  /** Whether the stage may change with the answer. */
  readonly transit: boolean;
  readonly continues: boolean;
  readonly bytes: number;
}

export function writeLogin(into: Buffer, fields: LoginFields): void {
  assert(fields.isid.length === 6, 'an ISID has 6 bytes');
  const flags =
    (fields.transit ? FINAL : 0) |
    (fields.continues ? CONTINUE : 0) |
    (fields.stage << 2) |
    (fields.transit ? fields.nextStage : 0);
  begin(into, REQUEST.login | IMMEDIATE, flags, fields.bytes);
  into.set(fields.isid, 8);
  into.writeUInt16BE(fields.tsih, 14);
  writeNumbers(into, fields);
}

export interface TextFields extends Sequenced {
  readonly targetTag: number;
  readonly bytes: number;
}

export function writeText(into: Buffer, fields: TextFields): void {
  begin(into, REQUEST.text | IMMEDIATE, FINAL, fields.bytes);
  writeNumbers(into, fields);
  into.writeUInt32BE(fields.targetTag, 20);
}

export function writeLogout(into: Buffer, fields: Sequenced & { readonly reason: number }): void {
  begin(into, REQUEST.logout | IMMEDIATE, FINAL | fields.reason, 0);
  writeNumbers(into, fields);
}

/** How many commands the target takes; of every PDU that a target sends. */
export interface TargetNumbers {
  readonly statSn: number;
  readonly expCmdSn: number;
  readonly maxCmdSn: number;
  readonly dataBytes: number;
}

export interface Residual {
  /** Bytes that were expected and not transferred; negative: that did not fit. */
  readonly residual: number;
}

export type TargetPdu =
  | (TargetNumbers & {
      readonly kind: 'nop-in';
      readonly lun: Buffer;
      readonly task: number;
      readonly targetTag: number;
    })
  | (TargetNumbers &
      Residual & {
        readonly kind: 'response';
        readonly task: number;
        readonly response: number;
        readonly status: number;
      })
  | (TargetNumbers & {
      readonly kind: 'task-management';
      readonly task: number;
      readonly response: number;
    })
  | (TargetNumbers & {
      readonly kind: 'login';
      readonly task: number;
      readonly isid: Buffer;
      readonly tsih: number;
      readonly transit: boolean;
      readonly continues: boolean;
      readonly stage: number;
      readonly nextStage: number;
      readonly statusClass: number;
      readonly statusDetail: number;
    })
  | (TargetNumbers & {
      readonly kind: 'text';
      readonly task: number;
      readonly targetTag: number;
      readonly final: boolean;
      readonly continues: boolean;
    })
  | (TargetNumbers &
      Residual & {
        readonly kind: 'data-in';
        readonly task: number;
        readonly final: boolean;
        /** The command ends with this PDU, with `status`. */
        readonly hasStatus: boolean;
        readonly status: number;
        readonly dataSn: number;
        readonly offset: number;
      })
  | (TargetNumbers & { readonly kind: 'logout'; readonly task: number; readonly response: number })
  | (TargetNumbers & {
      readonly kind: 'ready-to-transfer';
      readonly task: number;
      readonly targetTag: number;
      readonly r2tSn: number;
      readonly offset: number;
      readonly bytes: number;
    })
  | (TargetNumbers & {
      readonly kind: 'asynchronous';
      readonly event: number;
      readonly parameters: readonly [number, number, number];
    })
  | (TargetNumbers & { readonly kind: 'reject'; readonly reason: number });

/**
 * Reads a header that came from a target.
 *
 * @param dataBytesMax of a Data-In PDU; the others have at most LIMITS.iscsiOtherBytesMax
 * @throws PenstockError DEVICE_PROTOCOL where it is not valid
 */
export function readTargetPdu(header: Buffer, dataBytesMax: number): TargetPdu {
  assert(header.length === BHS_BYTES, 'a header has 48 bytes');
  const opcode = header.readUInt8(0) & 0x3f;
  const flags = header.readUInt8(1);
  const dataBytes = header.readUIntBE(5, 3);
  if (header.readUInt8(4) !== 0) refuse('a header with additional segments');
  const bound = opcode === ANSWER.dataIn ? dataBytesMax : LIMITS.iscsiOtherBytesMax;
  if (dataBytes > bound) refuse(`${dataBytes} bytes of data, more than the ${bound} that may come`);
  const task = header.readUInt32BE(16);
  const numbers: TargetNumbers = {
    statSn: header.readUInt32BE(24),
    expCmdSn: header.readUInt32BE(28),
    maxCmdSn: header.readUInt32BE(32),
    dataBytes,
  };
  switch (opcode) {
    case ANSWER.dataIn:
      return readDataIn(header, flags, task, numbers);
    case ANSWER.response: {
      const [response, status] = [header.readUInt8(2), header.readUInt8(3)];
      return { kind: 'response', task, response, status, ...residualOf(header, flags), ...numbers };
    }
    case ANSWER.readyToTransfer: {
      if (dataBytes !== 0) refuse('data with a request for data');
      return {
        kind: 'ready-to-transfer',
        task,
        targetTag: header.readUInt32BE(20),
        r2tSn: header.readUInt32BE(36),
        offset: header.readUInt32BE(40),
        bytes: header.readUInt32BE(44),
        ...numbers,
      };
    }
    case ANSWER.login:
      return readLogin(header, flags, task, numbers);
    default:
      return readOther(header, opcode, flags, task, numbers);
  }
}

function readDataIn(
  header: Buffer,
  flags: number,
  task: number,
  numbers: TargetNumbers,
): TargetPdu {
  const hasStatus = (flags & 0x01) !== 0;
  return {
    kind: 'data-in',
    task,
    final: (flags & FINAL) !== 0,
    hasStatus,
    status: hasStatus ? header.readUInt8(3) : 0,
    dataSn: header.readUInt32BE(36),
    offset: header.readUInt32BE(40),
    ...(hasStatus ? residualOf(header, flags) : { residual: 0 }),
    ...numbers,
  };
}

function residualOf(header: Buffer, flags: number): Residual {
  const count = header.readUInt32BE(44);
  const residual = (flags & 0x02) !== 0 ? count : (flags & 0x04) !== 0 ? -count : 0;
  return { residual };
}

function readLogin(header: Buffer, flags: number, task: number, numbers: TargetNumbers): TargetPdu {
  return {
    kind: 'login',
    task,
    isid: Buffer.from(header.subarray(8, 14)),
    tsih: header.readUInt16BE(14),
    transit: (flags & FINAL) !== 0,
    continues: (flags & CONTINUE) !== 0,
    stage: (flags >> 2) & 3,
    nextStage: flags & 3,
    statusClass: header.readUInt8(36),
    statusDetail: header.readUInt8(37),
    ...numbers,
  };
}

function readOther(
  header: Buffer,
  opcode: number,
  flags: number,
  task: number,
  numbers: TargetNumbers,
): TargetPdu {
  const response = header.readUInt8(2);
  const targetTag = header.readUInt32BE(20);
  switch (opcode) {
    case ANSWER.nopIn: {
      const lun = Buffer.from(header.subarray(8, 16));
      return { kind: 'nop-in', lun, task, targetTag, ...numbers };
    }
    case ANSWER.taskManagement:
      return { kind: 'task-management', task, response, ...numbers };
    case ANSWER.text: {
      const final = (flags & FINAL) !== 0;
      const continues = (flags & CONTINUE) !== 0;
      return { kind: 'text', task, targetTag, final, continues, ...numbers };
    }
    case ANSWER.logout:
      return { kind: 'logout', task, response, ...numbers };
    case ANSWER.asynchronous:
      return {
        kind: 'asynchronous',
        event: header.readUInt8(36),
        parameters: [38, 40, 42].map((at) => header.readUInt16BE(at)) as [number, number, number],
        ...numbers,
      };
    case ANSWER.reject:
      return { kind: 'reject', reason: response, ...numbers };
    default:
      return refuse(`operation 0x${opcode.toString(16)}, which no target sends`);
  }
}

function refuse(what: string): never {
  throw new PenstockError('DEVICE_PROTOCOL', `the target sent ${what}`);
}

/** Whether `a` comes before `b`: numbers of 32 bits that begin again (RFC 1982). */
export function isBefore(a: number, b: number): boolean {
  return a !== b && (b - a) >>> 0 < 0x8000_0000;
}

/** The number after it. */
export function nextNumber(number: number): number {
  return (number + 1) >>> 0;
}
