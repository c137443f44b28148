/**
 * Port: one drive with one sequential medium: records and file marks.
 *
 * Contract, for every implementation (test/contract/volume.ts):
 * - *Objects* are records and marks, numbered from 0 as READ POSITION counts them. The position is
 *   the number of objects before it. One call at a time: a caller waits for each answer.
 * - Writing (`append`, `writeMarks`) goes to the position, and whatever lay behind it is gone. What was
 *   written is on the medium for certain once `synchronise` has returned, and not before.
 * - A view belongs to the implementation until the answer has come, and not after it.
 * - Errors are PenstockErrors made by `volumeError`: they name volume and position.
 *     VOLUME_FULL       the physical end: of this record nothing was written, all before it was taken
 *     VOLUME_DAMAGED    `read`: this object cannot be read; the position is behind it, go on there.
 *                       `spaceRecords` and `spaceMarks`: the position is where the damage is
 *     VOLUME_POSITION   there is no such object; the position is the end of data
 *     VOLUME_PROTECTED  the medium must not be written; nothing was
 *     VOLUME_CHANGED    the drive was reset, or had another medium put in: nothing was done, and the
 *                       position is no longer known to be what it was. Told once
 *     VOLUME_NOT_READY  there is no medium, or it is not loaded
 *     VOLUME_IO         anything else. Whether the call was carried out is not known
 *   After VOLUME_CHANGED, VOLUME_IO and a failed `synchronise` a writer asks `tell`, and writes nothing
 *   before it knows where it is and what is on the medium.
 * - Every answer but `close` may take as long as the drive takes; time-outs are the implementation's.
 */
import { type ErrorCode, type ErrorDetails, PenstockError } from '../base/errors.ts';

export interface VolumeLimits {
  readonly recordBytesMin: number;
  readonly recordBytesMax: number;
}

export interface VolumeStatus {
  /** There is a medium and it can be used. */
  readonly loaded: boolean;
  readonly writeProtected: boolean;
  /** What the medium holds in all, if that is known. */
  readonly capacityBytes?: number;
}

export interface VolumePosition {
  /** Records and marks before the position. */
  readonly object: number;
  /**
   * How many of them have left the drive's buffer: those before this one can be read again even if the
   * others are lost. Never more than `object`. Without buffer, or when nothing was written, `object`.
   */
  readonly onMedium: number;
  readonly atBeginning: boolean;
  /** Nothing follows, as far as is known: after writing, spaceEnd, or having read the end. */
  readonly atEnd: boolean;
  /** Only a little room is left. */
  readonly earlyWarning: boolean;
  /**
   * Where the next object begins, in the medium's own terms: given to `locate` it makes it faster.
   * Absent where numbers alone are as fast.
   */
  readonly hint?: number;
}

/** What ended spacing: nothing (all was spaced over), or what was met before. */
export type SpaceStop = 'done' | 'mark' | 'end' | 'beginning';

export interface Spaced {
  /** Records, or marks, that were spaced over; never negative. */
  readonly count: number;
  readonly stop: SpaceStop;
}

export type VolumeRead =
  /** `bytes` is the record's length. If that is more than the view holds, only so much was read. */
  | { readonly kind: 'record'; readonly bytes: number }
  | { readonly kind: 'mark' }
  /** Nothing follows; the position stays. */
  | { readonly kind: 'end' };

export interface Volume {
  /** For messages: the file, or the drive's address. */
  readonly name: string;
  readonly limits: VolumeLimits;

  /** Never fails for want of a medium. */
  status(): Promise<VolumeStatus>;
  /** Makes a medium that is in the drive ready; the position is the beginning. */
  load(): Promise<void>;
  /** Rewinds and takes the medium out of use; afterwards VOLUME_NOT_READY until `load`. */
  unload(): Promise<void>;

  tell(): Promise<VolumePosition>;
  rewind(): Promise<void>;
  /** To just before an object. VOLUME_POSITION when there are fewer; their number itself is allowed. */
  locate(object: number, hint?: number): Promise<void>;
  /**
   * Over `count` records, backwards if it is negative. Ends early behind a mark (backwards: before
   * it), at the end of data or the beginning.
   */
  spaceRecords(count: number): Promise<Spaced>;
  /** Behind the `count`-th mark from here (negative: before it, backwards), records included. */
  spaceMarks(count: number): Promise<Spaced>;
  /** Behind the last object. */
  spaceEnd(): Promise<void>;

  /**
   * Reads the next object; the position is then behind it, also behind a record that was longer
   * than the view.
   */
  read(into: Uint8Array): Promise<VolumeRead>;

  /**
   * Writes a record. True: it was written, and only a little room is left (early warning).
   *
   * @throws PenstockError LIMIT when its length is outside `limits`
   */
  append(record: Uint8Array): Promise<boolean>;
  /** Writes so many marks, at least one; answers as `append`. */
  writeMarks(count: number): Promise<boolean>;
  /** Returns when everything that was written is on the medium. */
  synchronise(): Promise<void>;
  /** Erases from the position on. */
  erase(): Promise<void>;

  /** Keeps everybody else from the drive from here on, where it can do that; before, writing does. */
  reserve?(): Promise<void>;

  /** Lets the drive go, as it stands; does not synchronise. May be called again. */
  close(): Promise<void>;
}

export type VolumeErrorCode = Extract<ErrorCode, `VOLUME_${string}` | 'LIMIT'>;

/** An error of a volume: `volume NAME, object N: TEXT`. */
export function volumeError(
  code: VolumeErrorCode,
  volume: string,
  object: number | undefined,
  text: string,
  details: ErrorDetails = {},
): PenstockError {
  const where = object === undefined ? `volume ${volume}` : `volume ${volume}, object ${object}`;
  return new PenstockError(code, `${where}: ${text}`, { subject: volume, ...details });
}

/** Whether something thrown is this error of a volume. */
export function isVolumeError(thrown: unknown, code: VolumeErrorCode): boolean {
  return thrown instanceof PenstockError && thrown.code === code;
}

/** A new tape is told once by whatever is called first. */
export async function againOnceChanged<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isVolumeError(error, 'VOLUME_CHANGED')) throw error;
    return await work();
  }
}

/** Asserted by implementations and fakes: the record's length, before anything is written. */
export function checkRecordBytes(volume: Volume, bytes: number, object: number): void {
  const { recordBytesMin, recordBytesMax } = volume.limits;
  if (bytes < recordBytesMin || bytes > recordBytesMax || bytes === 0) {
    const range = `${recordBytesMin} to ${recordBytesMax} bytes`;
    throw volumeError('LIMIT', volume.name, object, `a record has ${range}, not ${bytes}`);
  }
}

/** Refuses a medium that may only be read. VOLUME_PROTECTED, and what `status` throws. */
export async function refuseProtected(volume: Volume): Promise<void> {
  if ((await volume.status()).writeProtected)
    throw volumeError('VOLUME_PROTECTED', volume.name, undefined, 'it may not be written');
}
