/**
 * A tape image (SIMH `.tap`, format/simh-tape.ts) as a volume (volume.ts): the drive and the tape of a
 * pool that has neither.
 *
 * Contract: an image is a file that other programs can read. Where objects begin is found while
 * spacing, and every 64th remembered; a hint (an offset in the file) is taken where the lengths around
 * it match. Behind damage that hides all that follows nothing is written. A torn tail counts as the end of data, and goes with the first record that is appended. A
 * synchronisation that failed is never followed by one that succeeds: after that the system does
 * not say any more what reached the disk.
 */
import type { ByteString } from '../base/bytes.ts';
import { toDisplay } from '../base/bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { TAP_WORD_BYTES, tapPaddedBytes, tapRecordBytes } from '../format/simh-tape.ts';
import { errnoName, FileStatus, type Files, openFiles } from '../host/mod.ts';
import { openImageFile, TapeImageCursor } from './tape-image-cursor.ts';
import {
  checkRecordBytes,
  type Spaced,
  type SpaceStop,
  type Volume,
  type VolumeErrorCode,
  type VolumeLimits,
  type VolumePosition,
  type VolumeRead,
  type VolumeStatus,
  volumeError,
} from './volume.ts';

export interface TapeImageOptions {
  /** The file, absolute or from the working directory. */
  readonly path: ByteString;
  /** Makes an empty image where there is none. */
  readonly create?: boolean;
  readonly readOnly?: boolean;
  /** How many bytes the file may have; without it the file system's end is the medium's. */
  readonly volumeBytes?: number;
  /** The warning comes when no more than this is left; by default a 64th, at most 256 MiB. */
  readonly earlyWarningBytes?: number;
  readonly files?: Files;
}

const CHECKPOINT_OBJECTS = 64;
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** @throws PenstockError VOLUME_NOT_READY when there is no such file, VOLUME_IO */
export function openTapeImage(options: TapeImageOptions): TapeImage {
  const files = options.files ?? openFiles();
  const name = toDisplay(options.path);
  const { readOnly = false, create = false } = options;
  const { fd, writeProtected } = openImageFile(files, options.path, { readOnly, create });
  if (fd < 0) {
    const errno = errnoName(fd);
    const code = errno === 'ENOENT' ? 'VOLUME_NOT_READY' : 'VOLUME_IO';
    throw volumeError(code, name, undefined, `cannot open the image: ${errno}`, { errno });
  }
  if (!readOnly && !writeProtected && files.lock(fd) < 0) {
    files.close(fd);
    const text = 'another process is writing to the image';
    throw volumeError('VOLUME_NOT_READY', name, undefined, text, { hint: 'try again later' });
  }
  return new TapeImage(files, fd, name, writeProtected, options);
}

/** An image of this size warns of its end when so much is left. */
export const earlyWarningBytesOf = (volumeBytes: number): number =>
  Math.min(LIMITS.volumeEarlyWarningBytes, Math.floor(volumeBytes / 64));

export class TapeImage implements Volume {
  readonly name: string;
  readonly limits: VolumeLimits = {
    recordBytesMin: 1,
    recordBytesMax: LIMITS.tapeImageRecordBytesMax,
  };
  readonly #files: Files;
  readonly #fd: number;
  readonly #cursor: TapeImageCursor;
  readonly #writeProtected: boolean;
  readonly #volumeBytes: number;
  readonly #earlyWarningBytes: number;
  /** A small record with its two lengths, to be written at once. */
  readonly #scratch = Buffer.allocUnsafe(LIMITS.tapeImageWriteBytes);
  readonly #words = Buffer.alloc(2 * TAP_WORD_BYTES);
  readonly #status = new FileStatus();
  /** Where every 64th object begins, as far as all objects before it were seen. */
  readonly #checkpoints: number[] = [0];
  #object = 0;
  #at = 0;
  /** The number is only what a hint said. */
  #hinted = false;
  #atEnd = false;
  /** The file ends at the position, for certain: nothing is to be cut off. */
  #cut = false;
  #loaded = true;
  #open = true;
  #syncFailed = false;
  /** Objects that were synchronised, once something was written. */
  #synced: number | undefined;
  #tornBytes = 0;
  /** The file's end, where what lies before is not understood: nothing is found behind that. */
  #restEnd = Number.POSITIVE_INFINITY;

  constructor(
    files: Files,
    fd: number,
    name: string,
    writeProtected: boolean,
    options: TapeImageOptions,
  ) {
    this.#files = files;
    this.#fd = fd;
    this.name = name;
    this.#writeProtected = writeProtected;
    this.#cursor = new TapeImageCursor(files, fd, name);
    this.#volumeBytes = options.volumeBytes ?? Number.POSITIVE_INFINITY;
    this.#earlyWarningBytes = options.earlyWarningBytes ?? earlyWarningBytesOf(this.#volumeBytes);
  }

  /** Bytes behind the last whole object that are none: found when the end of data was. */
  get tornTailBytes(): number {
    return this.#tornBytes;
  }

  async status(): Promise<VolumeStatus> {
    const capacity = Number.isFinite(this.#volumeBytes) ? { capacityBytes: this.#volumeBytes } : {};
    return { loaded: this.#loaded, writeProtected: this.#writeProtected, ...capacity };
  }

  async load(): Promise<void> {
    this.#loaded = this.#open;
    this.#ready();
    this.#go(0, 0);
  }

  async unload(): Promise<void> {
    if (this.#synced !== undefined) await this.synchronise();
    this.#ready();
    this.#go(0, 0);
    this.#loaded = false;
  }

  async tell(): Promise<VolumePosition> {
    this.#ready();
    return {
      object: this.#object,
      onMedium: Math.min(this.#object, this.#synced ?? this.#object),
      atBeginning: this.#object === 0,
      atEnd: this.#atEnd,
      earlyWarning: this.#isEarly(),
      hint: this.#at,
    };
  }

  async rewind(): Promise<void> {
    this.#ready();
    this.#go(0, 0);
  }

  async locate(object: number, hint?: number): Promise<void> {
    this.#ready();
    if (object === this.#object && !this.#hinted) return;
    const seen = (this.#checkpoints.length - 1) * CHECKPOINT_OBJECTS;
    if (hint !== undefined && object > seen && this.#cursor.isBoundary(hint)) {
      this.#go(object, hint);
      this.#hinted = true;
      return;
    }
    const nearest = Math.min(Math.floor(object / CHECKPOINT_OBJECTS), this.#checkpoints.length - 1);
    const from = nearest * CHECKPOINT_OBJECTS;
    if (this.#hinted || object < this.#object || from > this.#object)
      this.#go(from, this.#checkpoints[nearest] as number);
    while (this.#object < object) {
      if (this.#step() === 'end') {
        const text = `the data ends at object ${this.#object}`;
        throw volumeError('VOLUME_POSITION', this.name, object, text);
      }
    }
  }

  async spaceRecords(count: number): Promise<Spaced> {
    return await this.#space(count, false);
  }

  async spaceMarks(count: number): Promise<Spaced> {
    return await this.#space(count, true);
  }

  async spaceEnd(): Promise<void> {
    this.#ready();
    // A number that only a hint told must not become that of what is appended.
    if (this.#hinted) this.#go(0, 0);
    const last = this.#checkpoints.length - 1;
    if (last * CHECKPOINT_OBJECTS > this.#object)
      this.#go(last * CHECKPOINT_OBJECTS, this.#checkpoints[last] as number);
    while (this.#step() !== 'end');
  }

  async read(into: Uint8Array): Promise<VolumeRead> {
    this.#ready();
    const at = this.#object;
    const kind = this.#step();
    if (kind === 'end' || kind === 'mark') return { kind };
    const { dataAt, bytes, bad } = this.#stepped;
    if (kind === 'damaged')
      throw volumeError('VOLUME_DAMAGED', this.name, at, 'the lengths of the record do not match');
    if (bad) throw volumeError('VOLUME_DAMAGED', this.name, at, 'its writer marked it as bad');
    const length = Math.min(bytes, into.length);
    const got = this.#files.read(this.#fd, into, 0, length, dataAt);
    if (got === length) return { kind: 'record', bytes };
    const errno = got < 0 ? errnoName(got) : 'the file ends';
    throw volumeError('VOLUME_DAMAGED', this.name, at, `the record cannot be read: ${errno}`);
  }

  async append(record: Uint8Array): Promise<boolean> {
    this.#writable();
    checkRecordBytes(this, record.length, this.#object);
    const bytes = tapRecordBytes(record.length);
    this.#makeRoom(bytes);
    this.#writeRecord(record, bytes);
    this.#written(bytes, 1);
    return this.#isEarly();
  }

  async writeMarks(count: number): Promise<boolean> {
    this.#writable();
    for (let i = 0; i < count; i++) {
      this.#makeRoom(TAP_WORD_BYTES);
      this.#words.fill(0);
      this.#write(this.#words, 0, TAP_WORD_BYTES, this.#at);
      this.#written(TAP_WORD_BYTES, 1);
    }
    return this.#isEarly();
  }

  async synchronise(): Promise<void> {
    this.#ready();
    if (this.#synced === undefined && !this.#syncFailed) return;
    const result = this.#syncFailed ? -5 : this.#files.dataSync(this.#fd);
    if (result < 0) {
      this.#syncFailed = true;
      throw this.#failed(result, 'synchronise');
    }
    // What was written to a file without a name is gone when it is closed.
    if (this.#files.statusOf(this.#fd, this.#status) >= 0 && this.#status.nlink === 0) {
      this.#syncFailed = true;
      const text = 'the image was removed while it was written';
      throw volumeError('VOLUME_IO', this.name, this.#object, text);
    }
    this.#synced = this.#object;
  }

  async erase(): Promise<void> {
    this.#writable();
    this.#cut = false;
    this.#makeRoom(0);
    this.#atEnd = true;
    this.#synced ??= this.#object;
    await this.synchronise();
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#loaded = false;
    this.#files.close(this.#fd);
  }

  /** What the last step went over. */
  readonly #stepped = { dataAt: 0, bytes: 0, bad: false };

  #ready(): void {
    if (this.#loaded) return;
    throw volumeError('VOLUME_NOT_READY', this.name, undefined, 'the image is not loaded');
  }

  #writable(): void {
    this.#ready();
    if (this.#writeProtected)
      throw volumeError('VOLUME_PROTECTED', this.name, this.#object, 'the file may not be written');
  }

  #go(object: number, at: number): void {
    this.#object = object;
    this.#at = at;
    this.#atEnd = false;
    this.#cut = false;
    this.#hinted = false;
  }

  /** Over one object; at the end the position stays. */
  #step(): 'record' | 'mark' | 'end' | 'damaged' {
    const object = this.#cursor.objectAt(this.#at);
    if (object.kind === 'end') {
      this.#tornBytes = object.torn;
      this.#atEnd = true;
      return 'end';
    }
    if (object.isRest) this.#restEnd = object.next;
    this.#stepped.dataAt = object.dataAt;
    this.#stepped.bytes = object.bytes;
    this.#stepped.bad = object.bad && object.kind === 'record';
    this.#at = object.next;
    this.#object += 1;
    this.#remember();
    return object.kind;
  }

  #remember(): void {
    if (this.#object % CHECKPOINT_OBJECTS !== 0 || this.#hinted) return;
    const index = this.#object / CHECKPOINT_OBJECTS;
    if (index === this.#checkpoints.length) this.#checkpoints.push(this.#at);
  }

  async #space(count: number, marks: boolean): Promise<Spaced> {
    this.#ready();
    if (count < 0) return await this.#spaceBack(-count, marks);
    let stop: SpaceStop = 'done';
    let done = 0;
    while (done < count && stop === 'done') {
      const kind = this.#step();
      if (kind === 'end') stop = 'end';
      else if (kind === 'mark') {
        if (marks) done += 1;
        else stop = 'mark';
      } else if (!marks) done += 1;
    }
    return { count: done, stop };
  }

  async #spaceBack(count: number, marks: boolean): Promise<Spaced> {
    let done = 0;
    while (done < count) {
      if (this.#object === 0) return { count: done, stop: 'beginning' };
      const isMark = await this.#stepBack();
      if (isMark === marks) done += 1;
      else if (isMark) return { count: done, stop: 'mark' };
    }
    return { count: done, stop: 'done' };
  }

  /** Over the object before the position; whether it is a mark. */
  async #stepBack(): Promise<boolean> {
    const object = this.#object - 1;
    const before = this.#cursor.before(this.#at);
    if (before !== undefined) {
      const hinted = this.#hinted;
      this.#go(object, before.at);
      this.#hinted = hinted;
      return before.isMark;
    }
    await this.locate(object);
    const at = this.#at;
    const isMark = this.#step() === 'mark';
    this.#go(object, at);
    return isMark;
  }

  #isEarly(): boolean {
    return this.#at + this.#earlyWarningBytes >= this.#volumeBytes;
  }

  /** Cuts off what lies behind the position, and sees that there is room. */
  #makeRoom(bytes: number): void {
    if (this.#at + bytes > this.#volumeBytes)
      throw volumeError('VOLUME_FULL', this.name, this.#object, 'the image has reached its size');
    if (this.#at >= this.#restEnd) {
      const text =
        'what lies before this place is damaged: what is written here would not be found';
      throw volumeError('VOLUME_DAMAGED', this.name, this.#object, text, {
        hint: 'nothing is written to it any more: run `penstock volume verify`',
      });
    }
    this.#restEnd = Number.POSITIVE_INFINITY;
    if (this.#cut) {
      if (this.#cursor.fileBytes() === this.#at) return;
      const text = 'the file was changed by another program while it was written';
      throw volumeError('VOLUME_CHANGED', this.name, this.#object, text);
    }
    if (this.#cursor.fileBytes() > this.#at) {
      const result = this.#files.truncate(this.#fd, this.#at);
      if (result < 0) throw this.#failed(result, 'cut');
    }
    while ((this.#checkpoints.at(-1) ?? 0) > this.#at) this.#checkpoints.pop();
    this.#synced = Math.min(this.#synced ?? this.#object, this.#object);
    this.#tornBytes = 0;
    this.#cut = true;
  }

  /** In this order, so that what is torn has no second length. */
  #writeRecord(record: Uint8Array, bytes: number): void {
    const padded = tapPaddedBytes(record.length);
    const words = this.#words;
    if (bytes <= this.#scratch.length) {
      const scratch = this.#scratch;
      scratch.writeUInt32LE(record.length, 0);
      scratch.set(record, TAP_WORD_BYTES);
      if (padded > record.length) scratch[TAP_WORD_BYTES + record.length] = 0;
      scratch.writeUInt32LE(record.length, TAP_WORD_BYTES + padded);
      this.#write(scratch, 0, bytes, this.#at);
      return;
    }
    words.writeUInt32LE(record.length, 0);
    this.#write(words, 0, TAP_WORD_BYTES, this.#at);
    this.#write(record, 0, record.length, this.#at + TAP_WORD_BYTES);
    const pad = padded - record.length;
    words.fill(0);
    words.writeUInt32LE(record.length, pad);
    this.#write(words, 0, pad + TAP_WORD_BYTES, this.#at + TAP_WORD_BYTES + record.length);
  }

  #write(view: Uint8Array, offset: number, length: number, position: number): void {
    const result = this.#files.write(this.#fd, view, offset, length, position);
    if (result >= 0) return;
    // Half a record must not stay in the way of the next attempt.
    this.#cut = this.#files.truncate(this.#fd, this.#at) >= 0;
    throw this.#failed(result, 'write');
  }

  #written(bytes: number, objects: number): void {
    this.#at += bytes;
    this.#object += objects;
    this.#atEnd = true;
    this.#remember();
  }

  #failed(result: number, call: string): Error {
    const errno = errnoName(result);
    const code: VolumeErrorCode = FULL.has(errno) ? 'VOLUME_FULL' : 'VOLUME_IO';
    const isDisk = errno === 'ENOSPC' || errno === 'EDQUOT';
    const why = isDisk ? `the disk is full (${errno})` : errno;
    const hint = 'make room on the file system of the images, then run the command again';
    const text = `cannot ${call} the image: ${why}`;
    const details = { errno, ...(isDisk ? { hint } : {}) };
    return volumeError(code, this.name, this.#object, text, details);
  }
}
