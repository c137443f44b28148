/**
 * A library: which tape lies where, and how it comes into a drive.
 *
 * Contract: what is where is asked before each move, never remembered: people and other machines move tapes
 * too. A tape is moved only into an empty place. A drive's tape must have been unloaded there (`Volume.unload`)
 * before it is taken out. A move whose answer was lost is not repeated: what happened is seen by asking again.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  ASSIGNMENT_BYTES,
  assignmentCommand,
  ELEMENT_KINDS,
  type ElementKind,
  elementStatusBytes,
  elementStatusCommand,
  initializeElementsCommand,
  type LibraryElement,
  moveCommand,
  readAssignment,
  readElementStatus,
} from './changer-commands.ts';
import type { ScsiDevice } from './scsi-device.ts';
import { DEVICE_TYPE, type DeviceIdentity, type Outcome, ScsiUnit } from './scsi-unit.ts';

const STATUS_BYTES = 64 * 1024;
const KIND_OF_CARTRIDGE = /^[A-Z][A-Z0-9]$/;

export class TapeLibrary {
  readonly name: string;
  readonly #unit: ScsiUnit;
  #statusBytes = STATUS_BYTES;

  private constructor(unit: ScsiUnit) {
    this.#unit = unit;
    this.name = unit.device.name;
  }

  /** Connects and sees that it is a library. @throws PenstockError DEVICE_* */
  static async open(device: ScsiDevice): Promise<TapeLibrary> {
    const unit = new ScsiUnit(device);
    const { deviceType } = await unit.inquiry();
    if (deviceType !== DEVICE_TYPE.changer) {
      throw new PenstockError('DEVICE_ERROR', `${device.name}: this is no tape library`, {
        hint: 'check the logical unit in the address',
      });
    }
    await unit.settle();
    return new TapeLibrary(unit);
  }

  /** Everything: arms, slots, doors, drives, by their addresses. */
  async elements(): Promise<LibraryElement[]> {
    const ranges = await this.#ranges();
    const elements: LibraryElement[] = [];
    for (const kind of ELEMENT_KINDS) {
      // A library without doors may not know the word.
      if (ranges?.[kind].count === 0 && kind !== 'slot' && kind !== 'drive') continue;
      elements.push(...(await this.#elementsOf(kind)));
    }
    return elements.sort((a, b) => a.address - b.address);
  }

  async drives(): Promise<LibraryElement[]> {
    return await this.#elementsOf('drive');
  }

  /** The drive that is this device, where the library tells devices and this is just one of them. */
  async driveOf(identity: DeviceIdentity): Promise<LibraryElement | undefined> {
    const found = (await this.drives()).filter((one) => isDevice(one, identity));
    return found.length === 1 ? found[0] : undefined;
  }

  /** Slots for tapes, without the doors. */
  async slots(): Promise<LibraryElement[]> {
    return await this.#elementsOf('slot');
  }

  /**
   * Where the tape with this label is. Libraries add two characters for the kind of cartridge to the name of
   * a volume (a letter first: L8, M8, LW): they may be left out, where no tape has just this label.
   *
   * @throws PenstockError LIBRARY_MISSING
   */
  async find(label: string): Promise<LibraryElement> {
    const full = (await this.elements()).filter((one) => one.full);
    const named = full.filter((one) => one.label === label);
    const isOf = (one: LibraryElement): boolean =>
      one.label.startsWith(label) && KIND_OF_CARTRIDGE.test(one.label.slice(label.length));
    const found = named.length > 0 ? named : full.filter(isOf);
    if (found.length > 1) this.#fail('LIBRARY_MISSING', `several tapes have the label ${label}`);
    return found[0] ?? this.#fail('LIBRARY_MISSING', `no tape has the label ${label}`);
  }

  /**
   * Brings a tape into a drive; what is in the drive goes back first.
   *
   * @param drive the element's address
   */
  async load(label: string, drive: number): Promise<void> {
    const tape = await this.find(label);
    if (tape.address === drive) return;
    if (tape.kind === 'drive') {
      this.#fail('LIBRARY_MISSING', `the tape ${label} is in another drive (${tape.address})`);
    }
    await this.unload(drive);
    try {
      await this.#move(tape.address, drive);
    } catch (error) {
      // Another machine, or another drive of ours, was faster.
      const now = (await this.elements()).find(({ address }) => address === tape.address);
      if (now?.full === true && now.label === tape.label) throw error;
      this.#fail('LIBRARY_MISSING', `the tape ${label} was taken just now`);
    }
  }

  /** Brings a drive's tape back to where it came from, or to a free slot; without a tape nothing is done. */
  async unload(drive: number): Promise<void> {
    const elements = await this.elements();
    const from = elements.find(({ kind, address }) => kind === 'drive' && address === drive);
    if (from === undefined) this.#fail('LIBRARY_MISSING', `there is no drive ${drive}`);
    if (!from.full) return;
    const free = elements.filter(({ kind, full, trouble }) => {
      return kind === 'slot' && !full && trouble === undefined;
    });
    const slot = free.find(({ address }) => address === from.source) ?? free[0];
    if (slot === undefined) this.#fail('LIBRARY_MISSING', 'there is no free slot');
    await this.#move(drive, slot.address);
  }

  /** Has the library look at all its places; minutes in large ones. */
  async initialise(): Promise<void> {
    await this.#done(initializeElementsCommand());
  }

  async close(): Promise<void> {
    await this.#unit.device.close();
  }

  async #move(from: number, to: number): Promise<void> {
    await this.#done(moveCommand(from, to));
  }

  async #ranges(): Promise<ReturnType<typeof readAssignment>> {
    const bytes = Buffer.alloc(ASSIGNMENT_BYTES);
    const { kind, received } = await this.#settled(assignmentCommand(bytes));
    return kind === 'good' ? readAssignment(bytes, received) : undefined;
  }

  async #elementsOf(kind: ElementKind): Promise<LibraryElement[]> {
    for (;;) {
      const bytes = Buffer.alloc(this.#statusBytes);
      const { received } = await this.#done(elementStatusCommand(kind, bytes));
      const wanted = elementStatusBytes(bytes, received);
      if (wanted <= bytes.length || wanted > LIMITS.libraryStatusBytesMax) {
        return readElementStatus(bytes.subarray(0, received));
      }
      // Twice as much at least: one that wants a little more each time is not asked for ever.
      const more = Math.max(wanted, 2 * bytes.length);
      this.#statusBytes = Math.min(more, LIMITS.libraryStatusBytesMax);
    }
  }

  async #done(command: Parameters<ScsiUnit['execute']>[0]): Promise<Outcome> {
    const outcome = await this.#settled(command);
    if (outcome.kind === 'good' || outcome.kind === 'recovered') return outcome;
    throw this.#unit.error(command, outcome);
  }

  /** A library that was opened, reset or filled says so first; what is where is asked anyway. */
  async #settled(command: Parameters<ScsiUnit['execute']>[0]): Promise<Outcome> {
    for (let round = 0; ; round++) {
      const outcome = await this.#unit.execute(command);
      const isNews = outcome.kind === 'medium-changed' || outcome.kind === 'reset';
      if (!isNews || round >= LIMITS.scsiAttentionsMax) return outcome;
    }
  }

  #fail(code: 'LIBRARY_MISSING', text: string): never {
    throw new PenstockError(code, `${this.name}: ${text}`, { subject: this.name });
  }
}

/** Shorter serial numbers could be anybody's. */
const SERIAL_LENGTH_MIN = 4;
/** Vendor and product, which stand before the serial number in what identifies most drives. */
const NAMES_LENGTH = 24;

function isDevice(
  { device, identifier }: LibraryElement,
  { serial, designators }: DeviceIdentity,
): boolean {
  if (identifier.length === 0) return false;
  if (designators.some((one) => one.equals(identifier))) return true;
  if (serial.length < SERIAL_LENGTH_MIN) return false;
  return device === serial || device.slice(NAMES_LENGTH).trim() === serial;
}
