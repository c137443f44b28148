/**
 * A drive and its medium in memory (media/volume.ts), for tests.
 *
 * Contract: a `MemoryMedium` outlives its drives, as a cartridge does. Its drive holds back the last
 * `bufferObjects` objects until it is told to synchronise: they are lost when the power fails or the
 * drive is reset, and read back like the others as long as it is not. Room is counted in bytes of
 * records, and 1 for each mark.
 */
import {
  checkRecordBytes,
  type Spaced,
  type SpaceStop,
  type Volume,
  type VolumeLimits,
  type VolumePosition,
  type VolumeRead,
  type VolumeStatus,
  volumeError,
} from '../volume.ts';

/** A record's bytes, or nothing for a mark. */
export type MemoryObject = Buffer | undefined;

export class MemoryMedium {
  objects: MemoryObject[] = [];
  /** Numbers of objects that cannot be read. */
  readonly unreadable: Set<number> = new Set();
  writeProtected = false;
  capacityBytes = Number.POSITIVE_INFINITY;
  /** The warning comes when no more than this is left. */
  earlyWarningBytes = 0;
  /** Objects of which nobody knows that they are on the medium. */
  buffered = 0;

  get usedBytes(): number {
    let sum = 0;
    for (const object of this.objects) sum += object?.length ?? 1;
    return sum;
  }

  /** What is in the drive's buffer is gone, but for the first `kept` of it. */
  loseBuffer(kept = 0): void {
    this.cut(this.objects.length - Math.max(0, this.buffered - kept));
    this.buffered = 0;
  }

  /** The last record was written by half when the power failed. */
  tear(record: Uint8Array): void {
    this.unreadable.add(this.objects.length);
    this.objects.push(Buffer.from(record.subarray(0, record.length >>> 1)));
  }

  cut(objects: number): void {
    this.objects.length = objects;
    for (const object of this.unreadable) if (object >= objects) this.unreadable.delete(object);
  }
}

export interface MemoryVolumeOptions {
  readonly name?: string;
  readonly limits?: VolumeLimits;
  /** Objects that the drive may hold back; 0 by default. */
  readonly bufferObjects?: number;
}

export class MemoryVolume implements Volume {
  readonly name: string;
  readonly limits: VolumeLimits;
  readonly medium: MemoryMedium;
  readonly #bufferObjects: number;
  #position = 0;
  #loaded = true;
  #changed = false;
  #atEnd = false;

  constructor(medium: MemoryMedium, options: MemoryVolumeOptions = {}) {
    this.medium = medium;
    this.name = options.name ?? 'memory';
    this.limits = options.limits ?? { recordBytesMin: 1, recordBytesMax: 16 << 20 };
    this.#bufferObjects = options.bufferObjects ?? 0;
  }

  /** The drive is reset: its buffer is lost, it stands at the beginning, and says so once. */
  reset(): void {
    this.medium.loseBuffer();
    this.#position = 0;
    this.#changed = true;
    this.#atEnd = false;
  }

  async status(): Promise<VolumeStatus> {
    const { capacityBytes, writeProtected } = this.medium;
    return { loaded: this.#loaded, writeProtected, capacityBytes };
  }

  async load(): Promise<void> {
    this.#loaded = true;
    this.#changed = false;
    this.#position = 0;
  }

  async unload(): Promise<void> {
    this.#ready();
    this.medium.buffered = 0;
    this.#position = 0;
    this.#loaded = false;
  }

  async tell(): Promise<VolumePosition> {
    this.#ready();
    const object = this.#position;
    return {
      object,
      onMedium: Math.min(object, this.medium.objects.length - this.medium.buffered),
      atBeginning: object === 0,
      atEnd: this.#atEnd && object === this.medium.objects.length,
      earlyWarning: this.#isEarly(),
    };
  }

  async rewind(): Promise<void> {
    this.#ready();
    this.#position = 0;
    this.#atEnd = false;
  }

  async locate(object: number): Promise<void> {
    this.#ready();
    const { length } = this.medium.objects;
    this.#position = Math.min(object, length);
    this.#atEnd = object > length;
    if (object > length)
      throw volumeError('VOLUME_POSITION', this.name, object, `the data ends at object ${length}`);
  }

  async spaceRecords(count: number): Promise<Spaced> {
    return this.#space(count, false);
  }

  async spaceMarks(count: number): Promise<Spaced> {
    return this.#space(count, true);
  }

  async spaceEnd(): Promise<void> {
    this.#ready();
    this.#position = this.medium.objects.length;
    this.#atEnd = true;
  }

  async read(into: Uint8Array): Promise<VolumeRead> {
    this.#ready();
    const { objects, unreadable } = this.medium;
    this.#atEnd = this.#position >= objects.length;
    if (this.#atEnd) return { kind: 'end' };
    const at = this.#position++;
    if (unreadable.has(at))
      throw volumeError('VOLUME_DAMAGED', this.name, at, 'the record cannot be read');
    const object = objects[at];
    if (object === undefined) return { kind: 'mark' };
    into.set(object.subarray(0, into.length));
    return { kind: 'record', bytes: object.length };
  }

  async append(record: Uint8Array): Promise<boolean> {
    this.#ready();
    checkRecordBytes(this, record.length, this.#position);
    this.#write(Buffer.from(record), record.length);
    return this.#isEarly();
  }

  async writeMarks(count: number): Promise<boolean> {
    this.#ready();
    for (let i = 0; i < count; i++) this.#write(undefined, 1);
    return this.#isEarly();
  }

  async synchronise(): Promise<void> {
    this.#ready();
    this.medium.buffered = 0;
  }

  async erase(): Promise<void> {
    this.#writable();
    this.#cut();
    this.#atEnd = true;
  }

  async close(): Promise<void> {
    this.#loaded = false;
  }

  #ready(): void {
    if (!this.#loaded)
      throw volumeError('VOLUME_NOT_READY', this.name, undefined, 'no medium is loaded');
    if (!this.#changed) return;
    this.#changed = false;
    throw volumeError('VOLUME_CHANGED', this.name, undefined, 'the drive was reset');
  }

  #writable(): void {
    this.#ready();
    if (this.medium.writeProtected)
      throw volumeError('VOLUME_PROTECTED', this.name, this.#position, 'it is write-protected');
  }

  #cut(): void {
    const lost = this.medium.objects.length - this.#position;
    this.medium.cut(this.#position);
    this.medium.buffered = Math.max(0, this.medium.buffered - lost);
  }

  #write(object: MemoryObject, bytes: number): void {
    this.#writable();
    this.#cut();
    const { medium } = this;
    if (medium.usedBytes + bytes > medium.capacityBytes)
      throw volumeError('VOLUME_FULL', this.name, this.#position, 'the medium ends here');
    medium.objects.push(object);
    medium.buffered = Math.min(medium.buffered + 1, this.#bufferObjects);
    this.#position += 1;
    this.#atEnd = true;
  }

  #isEarly(): boolean {
    const { capacityBytes, earlyWarningBytes, usedBytes } = this.medium;
    return usedBytes + earlyWarningBytes >= capacityBytes;
  }

  #space(count: number, marks: boolean): Spaced {
    this.#ready();
    const { objects } = this.medium;
    const step = count < 0 ? -1 : 1;
    let stop: SpaceStop = 'done';
    let done = 0;
    this.#atEnd = false;
    while (done < Math.abs(count) && stop === 'done') {
      const next = step > 0 ? this.#position : this.#position - 1;
      if (next < 0) stop = 'beginning';
      else if (next >= objects.length) stop = 'end';
      else {
        this.#position += step;
        const isMark = objects[next] === undefined;
        if (isMark === marks) done += 1;
        else if (isMark) stop = 'mark';
      }
    }
    if (stop === 'end') this.#atEnd = true;
    return { count: done, stop };
  }
}
