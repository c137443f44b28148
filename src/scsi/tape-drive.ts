/**
 * A tape drive: its commands with their answers understood, and what is known of drives that lack some.
 *
 * Contract: no policy and no memory of positions; each call is one command, or the next form of it where the
 * drive does not know the first. What a drive lacks is found out once (`traits`).
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import type { ScsiDevice } from './scsi-device.ts';
import { DEVICE_TYPE, type Inquiry, type Outcome, ScsiUnit } from './scsi-unit.ts';
import {
  BLOCK_LIMITS_BYTES,
  type BlockLimits,
  blockLimitsCommand,
  CAPACITY_BYTES,
  capacityCommand,
  eraseCommand,
  loadCommand,
  locateCommand,
  MODE_BYTES,
  modeSelectCommand,
  modeSenseCommand,
  POSITION_BYTES,
  positionCommand,
  preventRemovalCommand,
  readBlockLimits,
  readCapacity,
  readCommand,
  readMode,
  readPosition,
  reserveCommand,
  rewindCommand,
  SPACE,
  spaceCommand,
  type TapeMode,
  type TapePosition,
  TRANSFER_BYTES_MAX,
  writeMarksCommand,
  writeTapeCommand,
} from './tape-commands.ts';

/** What is not to be relied on with a drive. */
export interface TapeTraits {
  /** READ POSITION tells where it is. */
  readonly tellsPosition: boolean;
  /** LOCATE is known. */
  readonly locates: boolean;
  /** SPACE over blocks passes marks without a word, and counts them. */
  readonly spacesOverMarks: boolean;
  /** A record that is shorter than asked for comes with the wrong number of bytes. */
  readonly garblesShortReads: boolean;
  /** READ BLOCK LIMITS tells limits that nobody keeps. */
  readonly ignoresLimits: boolean;
  /** LOAD UNLOAD is taken for a disk's START STOP UNIT: this bit, RETEN for tapes, must be set. */
  readonly loadBits: number;
}

const SOUND: TapeTraits = {
  tellsPosition: true,
  locates: true,
  spacesOverMarks: false,
  garblesShortReads: false,
  ignoresLimits: false,
  loadBits: 0,
};

/** Debian's tgt, tried with 1.0.85; docs/architecture.md has what it does otherwise. */
const TGT: TapeTraits = {
  tellsPosition: false,
  locates: false,
  spacesOverMarks: true,
  garblesShortReads: true,
  ignoresLimits: true,
  loadBits: 2,
};

export class TapeDrive {
  readonly unit: ScsiUnit;
  readonly inquiry: Inquiry;
  #traits: TapeTraits;

  private constructor(unit: ScsiUnit, inquiry: Inquiry) {
    this.unit = unit;
    this.inquiry = inquiry;
    const isTgt = inquiry.vendor === 'IET' && inquiry.product === 'VIRTUAL-TAPE';
    this.#traits = isTgt ? TGT : SOUND;
  }

  /** Connects and sees that it is a tape drive. @throws PenstockError DEVICE_* */
  static async open(device: ScsiDevice): Promise<TapeDrive> {
    const unit = new ScsiUnit(device);
    const inquiry = await unit.inquiry();
    if (inquiry.deviceType !== DEVICE_TYPE.tape) {
      throw new PenstockError('DEVICE_ERROR', `${device.name}: this is no tape drive`, {
        hint: 'check the logical unit in the address',
      });
    }
    return new TapeDrive(unit, inquiry);
  }

  get name(): string {
    return this.unit.device.name;
  }

  get traits(): TapeTraits {
    return this.#traits;
  }

  async blockLimits(): Promise<BlockLimits> {
    const bytes = Buffer.alloc(BLOCK_LIMITS_BYTES);
    const { received } = await this.unit.done(blockLimitsCommand(bytes));
    const isTold = received === BLOCK_LIMITS_BYTES && !this.#traits.ignoresLimits;
    return isTold ? readBlockLimits(bytes) : { bytesMin: 1, bytesMax: TRANSFER_BYTES_MAX };
  }

  async mode(): Promise<{ outcome: Outcome; mode: TapeMode | undefined; form: 6 | 10 }> {
    const bytes = Buffer.alloc(MODE_BYTES[10]);
    const outcome = await this.unit.execute(modeSenseCommand(6, bytes));
    if (outcome.kind !== 'not-supported') {
      const mode = outcome.kind === 'good' ? readMode(6, bytes, outcome.received) : undefined;
      return { outcome, mode, form: 6 };
    }
    const other = await this.unit.execute(modeSenseCommand(10, bytes));
    const mode = other.kind === 'good' ? readMode(10, bytes, other.received) : undefined;
    return { outcome: other, mode, form: 10 };
  }

  /** Variable blocks, and buffered writing: without it each record would wait for the medium. */
  async configure(): Promise<Outcome> {
    const { outcome, mode, form } = await this.mode();
    if (mode === undefined || (mode.blockBytes === 0 && mode.buffered !== 0)) return outcome;
    return await this.setMode(form, { ...mode, blockBytes: 0, buffered: 1 });
  }

  /** Block length (0: variable) and buffered mode; `form` is the one that `mode` found. */
  setMode(form: 6 | 10, mode: TapeMode): Promise<Outcome> {
    return this.unit.execute(modeSelectCommand(form, mode));
  }

  /** Undefined where the drive cannot tell. */
  async position(): Promise<{ outcome: Outcome; position: TapePosition | undefined }> {
    const bytes = Buffer.alloc(POSITION_BYTES.long);
    const short = bytes.subarray(0, POSITION_BYTES.short);
    let outcome = await this.unit.execute(positionCommand('short', short));
    if (outcome.kind === 'not-supported') this.#traits = { ...this.#traits, tellsPosition: false };
    if (outcome.kind !== 'good') return { outcome, position: undefined };
    let position = readPosition('short', short, outcome.received);
    if (position === undefined) {
      // Numbers beyond 32 bits stand only in the long form.
      outcome = await this.unit.execute(positionCommand('long', bytes));
      if (outcome.kind === 'good') position = readPosition('long', bytes, outcome.received);
    }
    return { outcome, position };
  }

  read(into: Uint8Array, blockBytes = 0): Promise<Outcome> {
    return this.unit.execute(readCommand(into, blockBytes));
  }

  write(record: Uint8Array, blockBytes = 0): Promise<Outcome> {
    return this.unit.execute(writeTapeCommand(record, blockBytes));
  }

  /** 0: only synchronises. */
  writeMarks(count: number): Promise<Outcome> {
    return this.unit.execute(writeMarksCommand(count));
  }

  rewind(): Promise<Outcome> {
    return this.unit.execute(rewindCommand());
  }

  space(what: keyof typeof SPACE, count: number): Promise<Outcome> {
    return this.unit.execute(spaceCommand(SPACE[what], count));
  }

  async locate(object: number): Promise<Outcome> {
    assert(this.#traits.locates, 'the drive knows LOCATE');
    const outcome = await this.unit.execute(locateCommand(object));
    if (outcome.kind === 'not-supported') this.#traits = { ...this.#traits, locates: false };
    return outcome;
  }

  erase(): Promise<Outcome> {
    return this.unit.execute(eraseCommand());
  }

  load(): Promise<Outcome> {
    return this.unit.execute(loadCommand(true, this.#traits.loadBits));
  }

  unload(): Promise<Outcome> {
    return this.unit.execute(loadCommand(false, this.#traits.loadBits));
  }

  /** Whether others, also a library, may take the tape out. */
  preventRemoval(prevent: boolean): Promise<Outcome> {
    return this.unit.execute(preventRemovalCommand(prevent));
  }

  /** Nobody else moves or writes the tape as long as this session lasts. */
  reserve(): Promise<Outcome> {
    return this.unit.execute(reserveCommand());
  }

  /** Bytes of the medium, where the drive tells. */
  async capacityBytes(): Promise<number | undefined> {
    const bytes = Buffer.alloc(CAPACITY_BYTES);
    const { kind, received } = await this.unit.execute(capacityCommand(bytes));
    return kind === 'good' ? readCapacity(bytes, received) : undefined;
  }
}
