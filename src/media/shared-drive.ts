/**
 * One drive, perhaps with a library, for the volumes of a pool: each is a `Volume` of its own, as if it had a
 * drive for itself.
 *
 * Contract: that of volume.ts for each. Calls of all volumes wait for each other. What is called is brought
 * into the drive first, and stands where its last call left it; what was there before goes back to its
 * place. Without a library its label tells whether the tape in the drive is the one that is asked for, where its
 * volume is known; else it is taken for that as long as it is open. Another one is asked for where somebody is
 * there to put it in (mount-requests.ts), and nobody writes to the one that is there; else it is
 * VOLUME_NOT_READY.
 */
import type { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { TapeLibrary } from '../scsi/library.ts';
import type { MountDesk, MountRequest } from './mount-requests.ts';
import {
  isVolumeError,
  type Spaced,
  type Volume,
  type VolumeLimits,
  type VolumePosition,
  type VolumeRead,
  type VolumeStatus,
  volumeError,
} from './volume.ts';
import { heldBy, inspectVolume } from './volume-label.ts';

/** What is known of a tape before it is seen. */
export interface WantedTape {
  /** Its label, or the beginning of it. */
  readonly name: string;
  /** Id of the volume that it must be; undefined: whatever is on it. */
  readonly volume?: string | undefined;
  /** It is only read. */
  readonly isRead: boolean;
}

/** What a call needs: nothing, that the tape stands where its volume was, or that this is certain. */
type Need = 'tape' | 'position' | 'certainty';

/** Where a volume stood when another took the drive. */
interface Place {
  readonly object: number;
  readonly wasAtEnd: boolean;
}

/** The library that serves the drive, and the drive's address in it. */
export interface DriveInLibrary {
  readonly library: TapeLibrary;
  readonly drive: number;
}

export class SharedDrive {
  readonly #volume: Volume;
  readonly #place: DriveInLibrary | undefined;
  readonly #desk: MountDesk | undefined;
  /** The tape in the drive, by its name; undefined while that is not known. */
  #tape: string | undefined;
  readonly #open = new Set<SharedVolume>();
  #current: SharedVolume | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param volume the drive, whatever is in it */
  constructor(volume: Volume, place?: DriveInLibrary, desk?: MountDesk) {
    this.#volume = volume;
    this.#place = place;
    this.#desk = desk;
  }

  /** The volume of a tape. */
  volume(wanted: WantedTape): Volume {
    const volume = new SharedVolume(this, wanted, this.#volume.limits);
    this.#open.add(volume);
    return volume;
  }

  get name(): string {
    return this.#volume.name;
  }

  /** Closes drive and library; the tape stays where it is. */
  async close(): Promise<void> {
    await this.#turn.catch(() => undefined);
    await this.#volume.close();
    await this.#place?.library.close();
  }

  /**
   * Does something with the drive when its turn has come, with the right tape in it.
   *
   * @throws PenstockError VOLUME_IO where the position is to be certain, and was lost
   */
  call<Answer>(
    from: SharedVolume,
    need: Need,
    work: (volume: Volume) => Promise<Answer>,
  ): Promise<Answer> {
    const turn = this.#turn.then(async () => {
      try {
        await this.#bring(from, need);
        return await work(this.#volume);
      } catch (error) {
        // Which tape it is now, and where it stands, is to be found out.
        if (isVolumeError(error, 'VOLUME_CHANGED')) {
          this.#tape = this.#current = undefined;
          from.place = undefined;
        }
        throw error;
      }
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** The volume is not used any more. */
  async leave(from: SharedVolume): Promise<void> {
    await this.#turn;
    this.#open.delete(from);
    if (this.#current === from) this.#current = undefined;
    // That it is this tape was the word of who has gone now: the label may have told otherwise.
    const isTrusted = [...this.#open].some(({ tape }) => tape === this.#tape);
    if (this.#place === undefined && !isTrusted) this.#tape = undefined;
  }

  async #bring(wanted: SharedVolume, need: Need): Promise<void> {
    if (this.#current === wanted) return;
    await this.#leaveCurrent();
    if (this.#tape !== wanted.tape) {
      if (this.#place === undefined) await this.#exchangeByHand(wanted);
      else await this.#exchange(wanted.tape, this.#place);
    }
    if (wanted.isLost) {
      wanted.isLost = false;
      throw volumeError('VOLUME_CHANGED', wanted.name, undefined, 'where it stood was lost');
    }
    if (need !== 'tape') await this.#return(wanted, need);
    this.#current = wanted;
  }

  /** To where it stood. Behind the last object nothing may have been added meanwhile. */
  async #return(wanted: SharedVolume, need: Need): Promise<void> {
    if (wanted.place === undefined && need === 'certainty') {
      // What is worse comes first: that there is no tape, or another one.
      await this.#volume.tell();
      const text = 'where the tape stands is not known: ask `tell` first';
      throw volumeError('VOLUME_IO', wanted.name, undefined, text);
    }
    const { object, wasAtEnd } = wanted.place ?? AT_BEGINNING;
    if (!wasAtEnd) return await this.#volume.locate(object);
    await this.#volume.spaceEnd();
    const told = await this.#volume.tell();
    if (told.object === object) return;
    const text = `there are ${told.object} objects, and there were ${object}`;
    throw volumeError('VOLUME_CHANGED', wanted.name, object, text);
  }

  /** Remembers where it stands; what it has written is brought to the medium, or its owner is told later. */
  async #leaveCurrent(): Promise<void> {
    const left = this.#current;
    this.#current = undefined;
    if (left === undefined) return;
    try {
      if (left.hasWritten) await this.#volume.synchronise();
      left.hasWritten = false;
      const told = await this.#volume.tell();
      left.place = { object: told.object, wasAtEnd: told.atEnd };
    } catch (error) {
      left.place = undefined;
      left.isLost = left.hasWritten || !isVolumeError(error, 'VOLUME_NOT_READY');
      left.hasWritten = false;
      if (isVolumeError(error, 'VOLUME_CHANGED')) this.#tape = undefined;
    }
  }

  async #exchange(name: string, { library, drive }: DriveInLibrary): Promise<void> {
    const volume = this.#volume;
    const { label, address } = await library.find(name);
    this.#tape = undefined;
    if (address !== drive) {
      if ((await volume.status()).loaded) await volume.unload();
      await library.load(label, drive);
    }
    await volume.load();
    this.#tape = name;
  }

  async #exchangeByHand(wanted: SharedVolume): Promise<void> {
    const { tape, volume } = wanted;
    if (this.#tape !== undefined && !this.#mayAsk(wanted)) throw this.#isNotThere(tape, undefined);
    while (volume !== undefined) {
      const found = await this.#found();
      if (found.volume === volume) break;
      const request = { tapes: [tape], blank: false, found: found.what };
      if (!this.#mayAsk(wanted) || !(await this.#ask(request))) {
        throw this.#isNotThere(tape, found.what);
      }
    }
    this.#tape = tape;
  }

  /** A tape that somebody writes to is not taken out for one that is read. */
  #mayAsk({ isRead }: SharedVolume): boolean {
    const isWritten = [...this.#open].some((one) => !one.isRead);
    return isRead && !isWritten && this.#desk?.isOpen === true;
  }

  #isNotThere(name: string, found: string | undefined): PenstockError {
    const text = `${name} is not in the drive${found === undefined ? '' : `: there is ${found}`}`;
    return volumeError('VOLUME_NOT_READY', this.#volume.name, undefined, text, {
      hint: `put ${name} into the drive, and run the command again; --mount-wait has it wait for it`,
    });
  }

  /** What is in the drive, for people, and which volume of ours; nothing where there is no tape. */
  async #found(): Promise<{ readonly what: string | undefined; readonly volume?: string }> {
    try {
      const found = await againOnceChanged(() => inspectVolume(this.#volume));
      const what = found.kind === 'blank' ? 'a blank tape' : heldBy(found);
      return found.kind === 'ours' ? { what, volume: found.label.volume } : { what };
    } catch (error) {
      if (!isVolumeError(error, 'VOLUME_NOT_READY')) throw error;
      return { what: undefined };
    }
  }

  /**
   * Has somebody put another tape into the drive, or into the library, and waits for that.
   *
   * @returns false: nobody did
   */
  askForTape(request: Pick<MountRequest, 'tapes' | 'blank'>): Promise<boolean> {
    const turn = this.#turn.then(async () => {
      await this.#leaveCurrent();
      const library = this.#place?.library;
      if (library !== undefined) return await this.#askForLibrary(request, library);
      return await this.#ask({ ...request, found: (await this.#found()).what });
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #askForLibrary(
    request: Pick<MountRequest, 'tapes' | 'blank'>,
    library: TapeLibrary,
  ): Promise<boolean> {
    const labels = async (): Promise<string> =>
      (await library.elements()).flatMap(({ full, label }) => (full ? [label] : [])).join();
    const before = await labels();
    const full = { ...request, device: library.name, isLibrary: true, found: undefined };
    const come = this.#desk?.waitFor(full, LIMITS.libraryPollMs, async () => {
      return (await labels()) !== before;
    });
    return (await come) ?? false;
  }

  /** The tape in the drive is let go, so that it can be taken out. */
  async #ask(request: Pick<MountRequest, 'tapes' | 'blank' | 'found'>): Promise<boolean> {
    const volume = this.#volume;
    if (this.#desk?.isOpen !== true) return false;
    this.#tape = undefined;
    if ((await volume.status()).loaded) await volume.unload().catch(() => undefined);
    let wasEmpty = false;
    const full = { ...request, device: volume.name, isLibrary: false };
    const hasCome = await this.#desk.waitFor(full, LIMITS.mountPollMs, async () => {
      try {
        if (!(await volume.status()).loaded) wasEmpty = true;
        else if (wasEmpty) return true;
        // A drive that did not let go says in this way only that it has another tape.
        else await volume.tell();
        return false;
      } catch (error) {
        // The drive may be switched off meanwhile.
        return isVolumeError(error, 'VOLUME_CHANGED');
      }
    });
    if (hasCome) await volume.load();
    return hasCome;
  }
}

/** A new tape is told once by whatever is called first. */
async function againOnceChanged<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isVolumeError(error, 'VOLUME_CHANGED')) throw error;
    return await work();
  }
}

const AT_BEGINNING: Place = { object: 0, wasAtEnd: false };

class SharedVolume implements Volume {
  readonly tape: string;
  readonly volume: string | undefined;
  readonly isRead: boolean;
  readonly limits: VolumeLimits;
  /** Undefined: nobody knows. */
  place: Place | undefined = AT_BEGINNING;
  /** Since it was synchronised. */
  hasWritten = false;
  /** What it had written, or where it stood, was lost when another volume took the drive. */
  isLost = false;
  readonly #drive: SharedDrive;

  constructor(drive: SharedDrive, { name, volume, isRead }: WantedTape, limits: VolumeLimits) {
    this.#drive = drive;
    this.tape = name;
    this.volume = volume;
    this.isRead = isRead;
    this.limits = limits;
  }

  get name(): string {
    return this.tape === '' ? this.#drive.name : `${this.#drive.name} ${this.tape}`;
  }

  /** The tape may be out of reach; that is no error here. */
  async status(): Promise<VolumeStatus> {
    try {
      return await this.#drive.call(this, 'tape', (volume) => volume.status());
    } catch (error) {
      if (!NOT_THERE.has((error as PenstockError).code)) throw error;
      return { loaded: false, writeProtected: false };
    }
  }

  load(): Promise<void> {
    return this.#drive.call(this, 'tape', (volume) => volume.load());
  }
  unload(): Promise<void> {
    return this.#drive.call(this, 'tape', (volume) => volume.unload());
  }
  tell(): Promise<VolumePosition> {
    return this.#drive.call(this, 'position', (volume) => volume.tell());
  }
  rewind(): Promise<void> {
    return this.#drive.call(this, 'tape', (volume) => volume.rewind());
  }
  locate(object: number, hint?: number): Promise<void> {
    return this.#drive.call(this, 'tape', (volume) => volume.locate(object, hint));
  }
  spaceRecords(count: number): Promise<Spaced> {
    return this.#drive.call(this, 'position', (volume) => volume.spaceRecords(count));
  }
  spaceMarks(count: number): Promise<Spaced> {
    return this.#drive.call(this, 'position', (volume) => volume.spaceMarks(count));
  }
  spaceEnd(): Promise<void> {
    return this.#drive.call(this, 'tape', (volume) => volume.spaceEnd());
  }
  read(into: Uint8Array): Promise<VolumeRead> {
    return this.#drive.call(this, 'position', (volume) => volume.read(into));
  }
  append(record: Uint8Array): Promise<boolean> {
    return this.#write((volume) => volume.append(record));
  }
  writeMarks(count: number): Promise<boolean> {
    return this.#write((volume) => volume.writeMarks(count));
  }
  #write(work: (volume: Volume) => Promise<boolean>): Promise<boolean> {
    return this.#drive.call(this, 'certainty', async (volume) => {
      const warned = await work(volume);
      this.hasWritten = true;
      return warned;
    });
  }
  synchronise(): Promise<void> {
    return this.#drive.call(this, 'certainty', async (volume) => {
      await volume.synchronise();
      this.hasWritten = false;
    });
  }
  erase(): Promise<void> {
    return this.#drive.call(this, 'certainty', (volume) => volume.erase());
  }
  /** The drive stays open, and the tape in it. */
  close(): Promise<void> {
    return this.#drive.leave(this);
  }
}

const NOT_THERE: ReadonlySet<string> = new Set(['VOLUME_NOT_READY', 'LIBRARY_MISSING']);
