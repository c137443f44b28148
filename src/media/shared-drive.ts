/**
 * One drive, perhaps with a library, for the volumes of a pool: each is a `Volume` of its own, as if it had a
 * drive for itself.
 *
 * Contract: that of volume.ts for each. Calls of all volumes wait for each other. What is called is brought
 * into the drive first, and stands where its last call left it; what was there before goes back to its
 * place. Without a library the first tape that is asked for is taken for the one in the drive, as long as it is
 * open; its label tells whether it is. Another one is VOLUME_NOT_READY meanwhile: somebody has to put it in.
 */
import type { PenstockError } from '../base/errors.ts';
import type { TapeLibrary } from '../scsi/library.ts';
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
  /** The tape in the drive, by its name; undefined while that is not known. */
  #tape: string | undefined;
  readonly #open = new Set<SharedVolume>();
  #current: SharedVolume | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param volume the drive, whatever is in it */
  constructor(volume: Volume, place?: DriveInLibrary) {
    this.#volume = volume;
    this.#place = place;
  }

  /** The volume of a tape; `name` is its label, or the beginning of it. */
  volume(name: string): Volume {
    const volume = new SharedVolume(this, name, this.#volume.limits);
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
    if (this.#tape !== wanted.tape) await this.#exchange(wanted.tape);
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

  async #exchange(name: string): Promise<void> {
    const volume = this.#volume;
    if (this.#place === undefined) {
      if (this.#tape === undefined) {
        this.#tape = name;
        return;
      }
      throw volumeError('VOLUME_NOT_READY', volume.name, undefined, `${name} is not in the drive`, {
        hint: `put ${name} into the drive, then run the command again`,
      });
    }
    const { library, drive } = this.#place;
    const { label, address } = await library.find(name);
    this.#tape = undefined;
    if (address !== drive) {
      if ((await volume.status()).loaded) await volume.unload();
      await library.load(label, drive);
    }
    await volume.load();
    this.#tape = name;
  }
}

const AT_BEGINNING: Place = { object: 0, wasAtEnd: false };

class SharedVolume implements Volume {
  readonly tape: string;
  readonly limits: VolumeLimits;
  /** Undefined: nobody knows. */
  place: Place | undefined = AT_BEGINNING;
  /** Since it was synchronised. */
  hasWritten = false;
  /** What it had written, or where it stood, was lost when another volume took the drive. */
  isLost = false;
  readonly #drive: SharedDrive;

  constructor(drive: SharedDrive, tape: string, limits: VolumeLimits) {
    this.#drive = drive;
    this.tape = tape;
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
