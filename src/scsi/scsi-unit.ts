/**
 * Commands of every kind of device, and what is done about answers that say "not now".
 *
 * Contract: BUSY and TASK SET FULL are tried again for LIMITS.scsiBusyMs; a reservation of another machine is
 * DEVICE_BUSY. A unit attention that says nothing about medium or reset is told by no command: the command,
 * which was not carried out, is given again. All else is an `Outcome` for who knows the command.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type ScsiCommand, type ScsiDevice, STATUS } from './scsi-device.ts';
import { decodeSense, type Sense, type SenseKind, senseKind, senseText } from './sense.ts';

/** `good`, or what the sense data says. */
export interface Outcome {
  readonly kind: 'good' | SenseKind;
  readonly sense: Sense | undefined;
  readonly received: number;
  readonly residual: number;
}

export interface Inquiry {
  /** 1: tape, 8: library. */
  readonly deviceType: number;
  readonly vendor: string;
  readonly product: string;
  readonly revision: string;
}

/** What tells one device from another. */
export interface DeviceIdentity {
  /** Empty where it does not tell. */
  readonly serial: string;
  /** Identifiers of the unit, as bytes. */
  readonly designators: readonly Buffer[];
}

export const DEVICE_TYPE = { tape: 1, changer: 8 } as const;

const INQUIRY_BYTES = 96;
const PAGE_BYTES = 252;
const PAGE = { serial: 0x80, designators: 0x83 } as const;
const EMPTY = Buffer.alloc(0);
const NO_SENSE = decodeSense(Buffer.alloc(0));

export class ScsiUnit {
  readonly device: ScsiDevice;

  constructor(device: ScsiDevice) {
    this.device = device;
  }

  /** @throws PenstockError DEVICE_* where the device gave no answer, or is busy or reserved for too long */
  async execute(command: ScsiCommand): Promise<Outcome> {
    let attentions = 0;
    let waitedMs = 0;
    for (;;) {
      const { status, sense, received, residual } = await this.device.execute(command);
      switch (status) {
        case STATUS.good:
        case STATUS.conditionMet:
          return { kind: 'good', sense, received, residual };
        case STATUS.checkCondition: {
          const kind = senseKind(sense ?? NO_SENSE);
          if (kind === 'attention' && attentions < LIMITS.scsiAttentionsMax) {
            attentions += 1;
            break;
          }
          return { kind, sense: sense ?? NO_SENSE, received, residual };
        }
        case STATUS.busy:
        case STATUS.taskSetFull:
          if (waitedMs >= LIMITS.scsiBusyMs) this.#fail('DEVICE_BUSY', command, 'it stays busy');
          await pause(LIMITS.scsiBusyRetryMs);
          waitedMs += LIMITS.scsiBusyRetryMs;
          break;
        case STATUS.reservationConflict:
          this.#fail('DEVICE_BUSY', command, 'it is reserved for another machine or program');
          break;
        case STATUS.taskAborted:
          this.#fail('DEVICE_LOST', command, 'another machine had the command aborted');
          break;
        default:
          this.#fail('DEVICE_ERROR', command, `status 0x${status.toString(16)}`);
      }
    }
  }

  /** As `execute`, where everything but success is an error. */
  async done(command: ScsiCommand): Promise<Outcome> {
    const outcome = await this.execute(command);
    if (outcome.kind !== 'good' && outcome.kind !== 'recovered') throw this.error(command, outcome);
    return outcome;
  }

  error(command: { readonly name: string }, { sense }: Outcome): PenstockError {
    const text = senseText(sense ?? NO_SENSE);
    const { name } = this.device;
    return new PenstockError('DEVICE_ERROR', `${name}: ${command.name}: ${text}`, {
      subject: name,
    });
  }

  testUnitReady(): Promise<Outcome> {
    return this.execute(commandOf('TEST UNIT READY', 0x00));
  }

  /** Reads away what happened before; returns what is the matter, and whether reset or change was told. */
  async settle(): Promise<{ outcome: Outcome; changed: boolean; reset: boolean }> {
    let [changed, reset] = [false, false];
    for (let round = 0; ; round++) {
      const outcome = await this.testUnitReady();
      if (outcome.kind === 'medium-changed') changed = true;
      else if (outcome.kind === 'reset') reset = true;
      else return { outcome, changed, reset };
      if (round >= LIMITS.scsiAttentionsMax) return { outcome, changed, reset };
    }
  }

  async inquiry(): Promise<Inquiry> {
    const bytes = Buffer.alloc(INQUIRY_BYTES);
    const cdb = Uint8Array.of(0x12, 0, 0, 0, INQUIRY_BYTES, 0);
    const command = { name: 'INQUIRY', cdb, dataIn: bytes, timeoutMs: LIMITS.scsiCommandMs };
    const { received } = await this.done(command);
    if (received < 36) this.#fail('DEVICE_PROTOCOL', command, 'an answer that is too short');
    return {
      deviceType: bytes.readUInt8(0) & 0x1f,
      vendor: printable(bytes.subarray(8, 16)),
      product: printable(bytes.subarray(16, 32)),
      revision: printable(bytes.subarray(32, 36)),
    };
  }

  /** As far as the device tells it. */
  async identity(): Promise<DeviceIdentity> {
    const serial = printable(await this.#page(PAGE.serial));
    return { serial, designators: designatorsOf(await this.#page(PAGE.designators)) };
  }

  /** A page of vital product data, without its head; empty where there is none. */
  async #page(code: number): Promise<Buffer> {
    const bytes = Buffer.alloc(PAGE_BYTES);
    const cdb = Uint8Array.of(0x12, 1, code, 0, PAGE_BYTES, 0);
    const command = { name: 'INQUIRY', cdb, dataIn: bytes, timeoutMs: LIMITS.scsiCommandMs };
    const { kind, received } = await this.execute(command);
    const isPage = kind === 'good' && received >= 4 && bytes.readUInt8(1) === code;
    return isPage ? bytes.subarray(4, Math.min(received, 4 + bytes.readUInt16BE(2))) : EMPTY;
  }

  #fail(
    code: 'DEVICE_BUSY' | 'DEVICE_LOST' | 'DEVICE_ERROR' | 'DEVICE_PROTOCOL',
    command: ScsiCommand,
    why: string,
  ): never {
    const { name } = this.device;
    throw new PenstockError(code, `${name}: ${command.name}: ${why}`, { subject: name });
  }
}

/** Those that identify the unit itself, not its port or target; what is cut off is not taken. */
export function designatorsOf(page: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at + 4 <= page.length; ) {
    const end = at + 4 + page.readUInt8(at + 3);
    const isOfUnit = ((page.readUInt8(at + 1) >> 4) & 3) === 0;
    if (end <= page.length && end > at + 4 && isOfUnit) found.push(page.subarray(at + 4, end));
    at = end;
  }
  return found;
}

function printable(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replace(/[^ -~]/g, ' ')
    .trim();
}

/** A command of six bytes without data. */
export function commandOf(
  name: string,
  code: number,
  more: readonly number[] = [],
  timeoutMs: number = LIMITS.scsiCommandMs,
): ScsiCommand {
  const cdb = new Uint8Array(Math.max(6, 1 + more.length));
  cdb[0] = code;
  cdb.set(more, 1);
  return { name, cdb, timeoutMs };
}
