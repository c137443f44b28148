/**
 * A tape, as a `Volume` of its own, in a drive that others share (shared-drive.ts).
 *
 * Contract: that of volume.ts. Every call has its tape in the drive, where its last call left it. Where it is
 * told so it goes to another drive when its tape is not in this one any more.
 */
import type { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  type Spaced,
  type Volume,
  type VolumeLimits,
  type VolumePosition,
  type VolumeRead,
  type VolumeStatus,
  volumeError,
} from './volume.ts';

/** What is known of a tape before it is seen. */
export interface WantedTape {
  /** Its label, or the beginning of it. */
  readonly name: string;
  /** Id of the volume that it must be; undefined: whatever is on it. */
  readonly volume?: string | undefined;
  /** It is only read. */
  readonly isRead: boolean;
  /** Says in which drive it is now, where there are several. @throws VOLUME_NOT_READY */
  readonly seek?: () => Promise<VolumeDrive>;
}

/** What a call needs: nothing, that the tape stands where its volume was, or that this is certain. */
export type Need = 'tape' | 'position' | 'certainty';

/** Where a volume stood when another took the drive. */
export interface Place {
  readonly object: number;
  readonly wasAtEnd: boolean;
}

/** A drive for volumes that share it. */
export interface VolumeDrive {
  readonly name: string;
  /** With the volume's tape in it. @throws NotInDrive */
  call<Answer>(
    from: SharedVolume,
    need: Need,
    work: (volume: Volume) => Promise<Answer>,
  ): Promise<Answer>;
  adopt(volume: SharedVolume): void;
  leave(volume: SharedVolume): Promise<void>;
}

/** Told to the volume: its tape may be in another drive. */
export class NotInDrive extends Error {}

export const AT_BEGINNING: Place = { object: 0, wasAtEnd: false };

export class SharedVolume implements Volume {
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
  #drive: VolumeDrive;
  readonly #seek: WantedTape['seek'];

  constructor(
    drive: VolumeDrive,
    { name, volume, isRead, seek }: WantedTape,
    limits: VolumeLimits,
  ) {
    this.#drive = drive;
    this.#seek = seek;
    this.tape = name;
    this.volume = volume;
    this.isRead = isRead;
    this.limits = limits;
  }

  get name(): string {
    return this.tape === '' ? this.#drive.name : `${this.#drive.name} ${this.tape}`;
  }

  /** Its tape may have gone to another drive. */
  get isElsewhere(): boolean {
    return this.#seek !== undefined;
  }

  async #call<Answer>(need: Need, work: (volume: Volume) => Promise<Answer>): Promise<Answer> {
    for (let moves = 0; ; moves++) {
      try {
        return await this.#drive.call(this, need, work);
      } catch (error) {
        if (!(error instanceof NotInDrive) || this.#seek === undefined) throw error;
        if (moves === LIMITS.poolDrivesMax) {
          const text = `${this.tape} does not stay in any drive`;
          throw volumeError('VOLUME_NOT_READY', this.name, undefined, text);
        }
      }
      const drive = await this.#seek();
      await this.#drive.leave(this);
      drive.adopt(this);
      this.#drive = drive;
    }
  }

  /** The tape may be out of reach; that is no error here. */
  async status(): Promise<VolumeStatus> {
    try {
      return await this.#call('tape', (volume) => volume.status());
    } catch (error) {
      if (!NOT_THERE.has((error as PenstockError).code)) throw error;
      return { loaded: false, writeProtected: false };
    }
  }

  load(): Promise<void> {
    return this.#call('tape', (volume) => volume.load());
  }
  unload(): Promise<void> {
    return this.#call('tape', (volume) => volume.unload());
  }
  tell(): Promise<VolumePosition> {
    return this.#call('position', (volume) => volume.tell());
  }
  rewind(): Promise<void> {
    return this.#call('tape', (volume) => volume.rewind());
  }
  locate(object: number, hint?: number): Promise<void> {
    return this.#call('tape', (volume) => volume.locate(object, hint));
  }
  spaceRecords(count: number): Promise<Spaced> {
    return this.#call('position', (volume) => volume.spaceRecords(count));
  }
  spaceMarks(count: number): Promise<Spaced> {
    return this.#call('position', (volume) => volume.spaceMarks(count));
  }
  spaceEnd(): Promise<void> {
    return this.#call('tape', (volume) => volume.spaceEnd());
  }
  read(into: Uint8Array): Promise<VolumeRead> {
    return this.#call('position', (volume) => volume.read(into));
  }
  append(record: Uint8Array): Promise<boolean> {
    return this.#write((volume) => volume.append(record));
  }
  writeMarks(count: number): Promise<boolean> {
    return this.#write((volume) => volume.writeMarks(count));
  }
  #write(work: (volume: Volume) => Promise<boolean>): Promise<boolean> {
    return this.#call('certainty', async (volume) => {
      const warned = await work(volume);
      this.hasWritten = true;
      return warned;
    });
  }
  synchronise(): Promise<void> {
    return this.#call('certainty', async (volume) => {
      await volume.synchronise();
      this.hasWritten = false;
    });
  }
  erase(): Promise<void> {
    return this.#call('certainty', (volume) => volume.erase());
  }
  /** The drive stays open, and the tape in it. */
  close(): Promise<void> {
    return this.#drive.leave(this);
  }
}

const NOT_THERE: ReadonlySet<string> = new Set(['VOLUME_NOT_READY', 'LIBRARY_MISSING']);
