/**
 * One drive, perhaps with a library, for the volumes of a pool: each is a `Volume` of its own, as if it had a
 * drive for itself.
 *
 * Contract: that of volume.ts for each. Calls of all volumes wait for each other. What is called is brought
 * into the drive first, and stands where its last call left it; what was there before goes back to its
 * place. Without a library its label tells whether the tape in the drive is the one that is asked for, where its
 * volume is known; else it is taken for that as long as it is open. Another one is asked for where somebody is
 * there to put it in (mount-requests.ts), and nobody writes to the one that is there; else it is
 * VOLUME_NOT_READY. Where the drive is one of several (tape-drives.ts) those are looked through instead.
 */
import type { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { TapeLibrary } from '../scsi/library.ts';
import type { MountDesk, MountRequest } from './mount-requests.ts';
import {
  AT_BEGINNING,
  type Need,
  NotInDrive,
  SharedVolume,
  type VolumeDrive,
  type WantedTape,
} from './shared-volume.ts';
import { againOnceChanged, isVolumeError, type Volume, volumeError } from './volume.ts';
import { heldBy, inspectVolume } from './volume-label.ts';

/** The library that serves the drive, and the drive's address in it. */
export interface DriveInLibrary {
  readonly library: TapeLibrary;
  readonly drive: number;
}

/** What is in a drive, for people, and which volume of ours; nothing where there is no tape. */
export interface FoundTape {
  readonly what: string | undefined;
  readonly volume?: string;
}

export class SharedDrive implements VolumeDrive {
  readonly #volume: Volume;
  readonly #place: DriveInLibrary | undefined;
  readonly #desk: MountDesk | undefined;
  /** The tape in the drive, by its name; undefined while that is not known. */
  #tape: string | undefined;
  readonly #open = new Set<SharedVolume>();
  #current: SharedVolume | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  /** What was found in it, as long as nobody has used it since. */
  #seen: FoundTape | undefined;

  /** @param volume the drive, whatever is in it */
  constructor(volume: Volume, place?: DriveInLibrary, desk?: MountDesk) {
    this.#volume = volume;
    this.#place = place;
    this.#desk = desk;
  }

  /** The volume of a tape. */
  volume(wanted: WantedTape): SharedVolume {
    const volume = new SharedVolume(this, wanted, this.#volume.limits);
    this.#open.add(volume);
    return volume;
  }
  adopt(volume: SharedVolume): void {
    this.#open.add(volume);
  }

  get name(): string {
    return this.#volume.name;
  }
  get place(): DriveInLibrary | undefined {
    return this.#place;
  }

  /** How many volumes have it. */
  get users(): number {
    return this.#open.size;
  }
  /** One of them is written. */
  get isWritten(): boolean {
    return [...this.#open].some((one) => !one.isRead);
  }
  /** This tape is in it, for one of them. */
  hasNow(name: string, volume: string | undefined): boolean {
    return this.#tape === name && this.isUsedFor(name, volume);
  }
  /** One of them is this tape, wherever it is now. */
  isUsedFor(name: string, volume: string | undefined): boolean {
    return [...this.#open].some(
      (one) =>
        one.tape === name &&
        (one.volume === undefined || volume === undefined || one.volume === volume),
    );
  }

  /** Keeps everybody else from it. @throws PenstockError VOLUME_IO for one that others keep */
  reserve(): Promise<void> {
    return this.#inTurn(async () => {
      try {
        await againOnceChanged(async () => await this.#volume.reserve?.());
      } catch (error) {
        if (!isVolumeError(error, 'VOLUME_NOT_READY')) throw error;
      }
    });
  }

  /** What is in it. */
  look(): Promise<FoundTape> {
    return this.#inTurn(async () => {
      // What is written now is not moved for that.
      const known = [...this.#open].find(
        ({ tape, volume, isRead }) => tape === this.#tape && (volume !== undefined || !isRead),
      );
      if (known !== undefined) {
        const { tape: what, volume } = known;
        return volume === undefined ? { what } : { what, volume };
      }
      await this.#leaveCurrent();
      this.#tape = undefined;
      this.#seen ??= await this.#found();
      return this.#seen;
    });
  }

  /** Whether there is a tape, whatever it is. */
  isLoaded(): Promise<boolean> {
    return this.#inTurn(async () => (await this.#volume.status()).loaded);
  }

  /** Lets its tape go, so that it can be taken out; the answer tells when another one has come. */
  async letGo(): Promise<() => Promise<boolean>> {
    let hasCome = async (): Promise<boolean> => false;
    await this.#inTurn(async () => {
      await this.#leaveCurrent();
      hasCome = await this.#emptied();
    });
    return () => this.#inTurn(hasCome);
  }

  /** Takes in the tape that is there, if there is one: it was let go, or has come. */
  takeIn(): Promise<void> {
    return this.#inTurn(async () => {
      this.#seen = undefined;
      await this.#volume.load();
    });
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
    return this.#inTurn(async () => {
      this.#seen = undefined;
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
  }
  #inTurn<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    const turn = this.#turn.then(work);
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
    if (this.#tape !== undefined && wanted.isElsewhere) throw new NotInDrive();
    if (this.#tape !== undefined && !this.#mayAsk(wanted)) throw this.#isNotThere(tape, undefined);
    while (volume !== undefined) {
      const found = await this.#found();
      if (found.volume === volume) break;
      if (wanted.isElsewhere) throw new NotInDrive();
      const request = { tapes: [tape], blank: false, found: found.what };
      if (!this.#mayAsk(wanted) || !(await this.#ask(request))) {
        throw this.#isNotThere(tape, found.what);
      }
    }
    this.#tape = tape;
  }

  /** A tape that somebody writes to is not taken out for one that is read. */
  #mayAsk({ isRead }: SharedVolume): boolean {
    return isRead && !this.isWritten && this.#desk?.isOpen === true;
  }

  #isNotThere(name: string, found: string | undefined): PenstockError {
    const text = `${name} is not in the drive${found === undefined ? '' : `: there is ${found}`}`;
    return volumeError('VOLUME_NOT_READY', this.#volume.name, undefined, text, {
      hint: `put ${name} into the drive, and run the command again; --mount-wait has it wait for it`,
    });
  }

  async #found(): Promise<FoundTape> {
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
    return this.#inTurn(async () => {
      await this.#leaveCurrent();
      const library = this.#place?.library;
      if (library !== undefined) return await this.#askForLibrary(request, library);
      return await this.#ask({ ...request, found: (await this.#found()).what });
    });
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
    const full = { ...request, device: volume.name, isLibrary: false };
    const isThere = await this.#emptied();
    const hasCome = await this.#desk.waitFor(full, LIMITS.mountPollMs, isThere);
    if (hasCome) await volume.load();
    return hasCome;
  }

  /** Unloads its tape; the answer says whether another one has come. */
  async #emptied(): Promise<() => Promise<boolean>> {
    const volume = this.#volume;
    this.#tape = this.#seen = undefined;
    if ((await volume.status()).loaded) await volume.unload().catch(() => undefined);
    // Seen before anybody is asked: the next tape may come at once.
    let wasEmpty = !(await volume.status()).loaded;
    return async () => {
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
    };
  }
}
