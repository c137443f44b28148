/**
 * The drives that this thread uses, and in which of a pool's drives a tape is, or goes.
 *
 * Contract: drives are opened when they are needed. Of several drives one that cannot be used (it is away,
 * broken, or somebody else's) is passed over, and told; that none can be used is one error. Without a library the
 * labels tell in which drive a tape is. With one a tape goes to a drive that nobody uses, the empty ones first.
 * Where it is to be written the drive is reserved before its tape is looked at.
 */
import { must } from '../base/assert.ts';
import { PenstockError, toPenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { LibraryElement } from '../scsi/changer-commands.ts';
import type { DriveAddress, TapeMedium } from './drive-messages.ts';
import type { DriveUsers } from './drive-users.ts';
import type { MountDesk, MountRequest } from './mount-requests.ts';
import type { SharedDrive } from './shared-drive.ts';
import type { openDrive } from './tape-medium.ts';
import { againOnceChanged, isVolumeError, type Volume } from './volume.ts';

/** What is told of drives, and asked. */
export interface DrivesAround {
  /** Asks for tapes that are not there. */
  readonly desk?: MountDesk | undefined;
  /** Opens a drive; by default the one that is at the address. */
  readonly open?: typeof openDrive;
  /** Which of them other threads use; absent: there are none. */
  readonly users?: DriveUsers | undefined;
  /** A drive cannot be used, and another one is. */
  onPassedOver?(error: PenstockError): void;
}

interface TapeRequest {
  readonly name: string;
  /** Id of the volume that it must be, where that is known. */
  readonly volume: string | undefined;
  readonly isRead: boolean;
}

/** A drive, and the address under which the pool knows it. */
interface Usable {
  readonly device: string;
  readonly drive: SharedDrive;
}

type MountWish = Pick<MountRequest, 'tapes' | 'blank'>;

export class TapeDrives {
  readonly #around: DrivesAround;
  readonly #open = new Map<string, Promise<SharedDrive>>();
  readonly #opened = new Map<string, SharedDrive>();
  /** Drives of media that have several. */
  readonly #several = new Set<string>();
  /** Drives that were found unusable. */
  readonly #failed = new Map<string, PenstockError>();

  /** Those of them of which it was not told. */
  readonly #untold: string[] = [];

  constructor(around: DrivesAround = {}) {
    this.#around = around;
  }

  /**
   * The one drive of a medium, whatever is in it.
   *
   * @throws DEVICE_*, LIBRARY_MISSING, VOLUME_NOT_READY where another thread has it
   */
  async only(medium: TapeMedium): Promise<SharedDrive> {
    return await this.#drive(medium, must(medium.drives[0], 'a drive'));
  }

  /** Volumes that may be the tape that is asked for, the likeliest first; at least one, or it throws. */
  async *candidates(medium: TapeMedium, request: TapeRequest): AsyncGenerator<Volume> {
    const { name, volume } = request;
    if (medium.drives.length === 1) yield (await this.only(medium)).volume(request);
    else if (medium.changer !== undefined) yield await this.#fromLibrary(medium, request);
    else if (volume !== undefined) {
      const drive = await this.#seek(medium, request);
      yield drive.volume({ ...request, seek: () => this.#seek(medium, request) });
    } else {
      let isAny = false;
      for await (const one of this.#usable(medium)) {
        const isFree = one.drive.users === 0 || one.drive.isUsedFor(name, volume);
        if (!isFree || !(await this.#reserves(one, request))) continue;
        isAny = true;
        yield one.drive.volume(request);
      }
      if (!isAny) throw inUse(medium);
    }
  }

  /** The only one of several drives without a library that has a tape. USAGE where others have one too. */
  async onlyLoaded(medium: TapeMedium, request: TapeRequest): Promise<Volume> {
    const usable: Usable[] = [];
    const loaded: Usable[] = [];
    for await (const one of this.#usable(medium)) {
      const isLoaded = await this.#tried(one, () => one.drive.isLoaded());
      if (isLoaded === undefined || !(await this.#reserves(one, request))) continue;
      usable.push(one);
      if (isLoaded) loaded.push(one);
    }
    if (loaded.length > 1) {
      const text = `there are tapes in several drives: ${loaded.map(({ device }) => device).join(', ')}`;
      throw new PenstockError('USAGE', text, {
        hint: 'say which drive is meant with --drive; 1 is the first one of the pool',
      });
    }
    const [chosen] = [...loaded, ...usable];
    if (chosen === undefined) throw inUse(medium);
    return chosen.drive.volume(request);
  }

  /** Has somebody bring one of the tapes, or a blank one, and waits for it; false: nobody does. */
  async askFor(medium: TapeMedium, wish: MountWish): Promise<boolean> {
    if (this.#around.desk?.isOpen !== true) return false;
    if (medium.drives.length === 1) return await (await this.only(medium)).askForTape(wish);
    const usable = await this.#allUsable(medium);
    const [first] = usable;
    if (medium.changer !== undefined && first !== undefined)
      return await first.drive.askForTape(wish);
    return await this.#ask(usable, wish.tapes, undefined, wish.blank);
  }

  /** Drives that were unusable may have become usable. */
  tryAgain(): void {
    this.#failed.clear();
    this.#untold.length = 0;
  }

  /** Closes drives of which no volume is used, so that others may have them. */
  async closeFree(): Promise<void> {
    for (const [device, drive] of [...this.#opened])
      if (drive.users === 0 && this.#several.has(device)) await this.#close(device, drive);
  }

  async close(): Promise<void> {
    for (const opening of this.#open.values()) await opening.catch(() => undefined);
    for (const [device, drive] of [...this.#opened]) await this.#close(device, drive);
  }
  async #close(device: string, drive: SharedDrive): Promise<void> {
    this.#open.delete(device);
    this.#opened.delete(device);
    await drive.close().catch(() => undefined);
    this.#around.users?.leave(device);
  }

  #drive(medium: TapeMedium, address: DriveAddress): Promise<SharedDrive> {
    const { device } = address;
    const known = this.#open.get(device);
    if (known !== undefined) return known;
    const opening = this.#openNow(medium, address);
    this.#open.set(device, opening);
    opening.catch(() => this.#open.delete(device));
    return opening;
  }
  async #openNow(medium: TapeMedium, address: DriveAddress): Promise<SharedDrive> {
    const { device } = address;
    if (this.#around.users?.take(device) === false) throw inUse(medium);
    try {
      // Most never need it.
      const open = this.#around.open ?? (await import('./tape-medium.ts')).openDrive;
      const drive = await open(medium, address, this.#around.desk);
      this.#opened.set(device, drive);
      return drive;
    } catch (error) {
      this.#around.users?.leave(device);
      throw error;
    }
  }

  /**
   * The drives of several that can be used, in their order.
   *
   * @throws DEVICE_* where all have failed, VOLUME_NOT_READY where this command has them all
   */
  async *#usable(medium: TapeMedium): AsyncGenerator<Usable> {
    let isAny = false;
    const failures: PenstockError[] = [];
    for (const address of medium.drives) {
      const { device } = address;
      this.#several.add(device);
      const known = this.#failed.get(device);
      const drive = known ?? (await this.#tryDrive(medium, address));
      if (drive instanceof PenstockError) failures.push(drive);
      if (drive === undefined || drive instanceof PenstockError) continue;
      isAny = true;
      this.#tellFailed();
      yield { device, drive };
    }
    if (isAny) return;
    throw failures.length === medium.drives.length ? allFailed(failures) : inUse(medium);
  }
  async #allUsable(medium: TapeMedium): Promise<readonly Usable[]> {
    const usable: Usable[] = [];
    for await (const one of this.#usable(medium)) usable.push(one);
    return usable;
  }

  /** Why it cannot be used; undefined: another thread has it. */
  async #tryDrive(
    medium: TapeMedium,
    address: DriveAddress,
  ): Promise<SharedDrive | PenstockError | undefined> {
    try {
      return await this.#drive(medium, address);
    } catch (error) {
      if (isVolumeError(error, 'VOLUME_NOT_READY')) return undefined;
      if (!isOfDrive(error)) throw error;
      return this.#pass(address.device, error);
    }
  }

  /** Undefined where the drive failed, which is passed over from then on. */
  async #tried<Answer>(
    { device }: Usable,
    work: () => Promise<Answer>,
  ): Promise<Answer | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!isOfDrive(error)) throw error;
      this.#pass(device, error);
      return undefined;
    }
  }

  /** Whether nobody else has the drive, nor will have it while a tape is written there. */
  async #reserves(one: Usable, { isRead }: TapeRequest): Promise<boolean> {
    if (isRead) return true;
    const isOurs = await this.#tried(one, async () => {
      await one.drive.reserve();
      return true;
    });
    return isOurs ?? false;
  }

  #pass(device: string, error: unknown): PenstockError {
    const failure = causeOf(error);
    this.#failed.set(device, failure);
    this.#untold.push(device);
    // Else it is told once there is another one, or is the error.
    const isOther = [...this.#opened.keys()].some((one) => !this.#failed.has(one));
    if (isOther) this.#tellFailed();
    return failure;
  }
  #tellFailed(): void {
    for (const device of this.#untold.splice(0)) {
      const failure = this.#failed.get(device);
      if (failure === undefined) continue;
      const { code, message, hint } = failure;
      const text = `the drive ${device} cannot be used: ${message}`;
      this.#around.onPassedOver?.(new PenstockError(code, text, { subject: device, hint }));
    }
  }

  /** Without a library: in which drive the tape is; else somebody is asked for it, where it is only read. */
  async #seek(medium: TapeMedium, request: TapeRequest): Promise<SharedDrive> {
    const { name, volume, isRead } = request;
    for (;;) {
      const own = this.#openOf(medium, (drive) => drive.hasNow(name, volume));
      if (own !== undefined) return own;
      const seen: string[] = [];
      for await (const one of this.#usable(medium)) {
        const found = await this.#tried(one, () => one.drive.look());
        if (found?.volume === volume && (await this.#reserves(one, request))) return one.drive;
        if (found?.what !== undefined) seen.push(`${found.what} in ${one.device}`);
      }
      const there = seen.join(', ');
      if (isRead && (await this.#ask(await this.#allUsable(medium), [name], there))) continue;
      const text = `${name} is in none of ${medium.drives.length} drives`;
      throw new PenstockError(
        'VOLUME_NOT_READY',
        there === '' ? text : `${text}: there is ${there}`,
        {
          subject: name,
          hint: `put ${name} into a drive, and run the command again; --mount-wait has it wait for it`,
        },
      );
    }
  }

  /** Lets go what nobody uses, or one tape that is only read; waits until a tape has come into such a drive. */
  async #ask(
    usable: readonly Usable[],
    tapes: readonly string[],
    seen?: string,
    blank = false,
  ): Promise<boolean> {
    const { desk } = this.#around;
    if (desk?.isOpen !== true) return false;
    const free = usable.filter(({ drive }) => drive.users === 0);
    const onlyRead = usable.filter(({ drive }) => !drive.isWritten).slice(0, 1);
    const offered = free.length > 0 ? free : onlyRead;
    const [first, ...others] = offered;
    if (first === undefined) return false;
    const found = seen ?? (await seenIn(offered));
    const waiting: (() => Promise<boolean>)[] = [];
    for (const { drive } of offered) waiting.push(await drive.letGo());
    const request = {
      ...{ tapes, blank, device: first.device, isLibrary: false },
      ...(others.length === 0 ? {} : { otherDevices: others.map(({ device }) => device) }),
      found: found === '' ? undefined : found,
    };
    const hasCome = await desk.waitFor(request, LIMITS.mountPollMs, async () => {
      for (const come of waiting) if (await come()) return true;
      return false;
    });
    // Also the tapes that were let go and stayed.
    for (const { drive } of offered) await drive.takeIn().catch(() => undefined);
    return hasCome;
  }

  /** The first of its open drives of which this is so. */
  #openOf(medium: TapeMedium, isMeant: (drive: SharedDrive) => boolean): SharedDrive | undefined {
    const open = medium.drives.flatMap(({ device }) => this.#opened.get(device) ?? []);
    return open.find(isMeant);
  }

  /** With a library: the tape in the drive in which it is, or in one into which it was brought. */
  async #fromLibrary(medium: TapeMedium, request: TapeRequest): Promise<Volume> {
    const { name, volume: id } = request;
    // Also where another tape is there now: it is brought again.
    const own = this.#openOf(medium, (drive) => drive.isUsedFor(name, id));
    if (own !== undefined) return own.volume(request);
    const usable = await this.#allUsable(medium);
    const { library } = must(usable[0]?.drive.place, 'the library of a drive');
    const tape = await library.find(request.name);
    const order = inOrderFor(tape, usable, await library.drives());
    for (const one of order) {
      if (!(await this.#reserves(one, request))) continue;
      const volume = await this.#tried(one, () => broughtInto(one.drive, request));
      if (volume !== undefined) return volume;
    }
    const failures = order.flatMap(({ device }) => this.#failed.get(device) ?? []);
    if (failures.length > 0) throw allFailed(failures);
    if (tape.kind !== 'drive') throw inUse(medium);
    const text = `${library.name}: the tape ${request.name} is in a drive (${tape.address}) that cannot be used now`;
    throw new PenstockError('LIBRARY_MISSING', text, {
      subject: request.name,
      hint: 'wait until who uses that drive has ended, or have the library take the tape out',
    });
  }
}

async function broughtInto(drive: SharedDrive, request: TapeRequest): Promise<Volume> {
  const volume = drive.volume(request);
  try {
    await againOnceChanged(() => volume.rewind());
    return volume;
  } catch (error) {
    await volume.close();
    throw error;
  }
}

/** The drive that has the tape; else those that nobody uses, the empty ones first, then those that only read. */
function inOrderFor(
  tape: LibraryElement,
  usable: readonly Usable[],
  elements: readonly LibraryElement[],
): readonly Usable[] {
  const elementOf = ({ drive }: Usable): number => drive.place?.drive ?? -1;
  if (tape.kind === 'drive') return usable.filter((one) => elementOf(one) === tape.address);
  const rank = (one: Usable): number => {
    const element = elements.find(({ address }) => address === elementOf(one));
    if (one.drive.isWritten) return LIMITS.poolDrivesMax + 2 + one.drive.users;
    return one.drive.users === 0 ? Number(element?.full ?? true) : 1 + one.drive.users;
  };
  return usable.toSorted((a, b) => rank(a) - rank(b));
}

async function seenIn(offered: readonly Usable[]): Promise<string> {
  const seen: string[] = [];
  for (const { device, drive } of offered) {
    const { what } = await drive.look().catch(() => ({ what: undefined }));
    if (what !== undefined) seen.push(`${what} in ${device}`);
  }
  return seen.join(', ');
}

/** Whether the drive is to blame, and not its tape. */
function isOfDrive(error: unknown): boolean {
  if (!(error instanceof PenstockError)) return false;
  const { code } = error;
  return code.startsWith('DEVICE_') || code === 'VOLUME_IO' || code === 'VOLUME_CHANGED';
}

/** What the device itself said, where that is known. */
function causeOf(error: unknown): PenstockError {
  const { code, cause } = error as PenstockError;
  const isDevice = cause instanceof PenstockError && cause.code.startsWith('DEVICE_');
  return isDevice && !code.startsWith('DEVICE_') ? cause : toPenstockError(error);
}

function inUse({ drives }: TapeMedium): PenstockError {
  const text = `all of ${drives.length} drives are in use by this command, or cannot be used`;
  return new PenstockError('VOLUME_NOT_READY', text, {
    subject: drives.map(({ device }) => device).join(' '),
    hint: 'end what else uses the drives, and run the command again',
  });
}

/** One that waiting helps with first. */
function allFailed(failures: readonly PenstockError[]): PenstockError {
  const busy = failures.find(({ code }) => code === 'DEVICE_BUSY');
  const first = busy ?? must(failures[0], 'a failure');
  if (failures.length === 1) return first;
  const all = failures.map(({ message }) => message).join('; ');
  return new PenstockError(first.code, `none of ${failures.length} drives can be used: ${all}`, {
    subject: first.subject ?? '',
    hint: first.hint,
    cause: first,
  });
}
