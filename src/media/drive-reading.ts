/**
 * Reads ranges of chunks from volumes by their write logs (L5).
 *
 * Contract: only records of the chunk that is asked for are read, each as a whole. Those that were read
 * last are kept: ranges need not end where records do, and parts of a record may be wanted again soon.
 * To whoever reads, a chunk is what it was when it was written, its trailer included. Of a chunk of which
 * there are several copies one is enough, and another helps where that is damaged.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { encodeTrailer, TRAILER_BYTES } from '../format/chunk.ts';
import { chunkOffsetOf } from '../format/tag-header.ts';
import { crcOf } from '../host/mod.ts';
import type { ReadableChunk, ReadableVolume } from './drive-messages.ts';
import { inOrderOn, nextVolume, type RangePlace } from './drive-order.ts';
import {
  assembled,
  type ChunkRun,
  type MountedVolume,
  type OpenChunk,
  offsetOf,
  planFor,
  runsOf,
} from './drive-runs.ts';
import { isVolumeError, type Volume, volumeError } from './volume.ts';
import { readContents } from './volume-index.ts';
import { inspectVolume } from './volume-label.ts';
import { addReadFigures, newReadFigures, type ReadFigures, VolumeReader } from './volume-reader.ts';

/** A record that was read, or the trailer. */
interface ChunkRecord {
  readonly offset: number;
  readonly bytes: Buffer;
}

interface HeldRecord extends ChunkRecord {
  /** All that its bytes may use. */
  readonly memory: ArrayBuffer;
}

export interface DriveReadingOptions {
  readonly heldBytesMax?: number;
  /** A copy on a volume is damaged, and another one was read instead; told once for each volume. */
  readonly onPassedOver?: (error: unknown) => void;
}

const keyOf = (chunk: string, part: number): string => `${chunk}${part}`;

export class DriveReading {
  readonly figures: ReadFigures = newReadFigures();
  readonly #open: (volume: ReadableVolume) => Promise<Volume>;
  readonly #heldBytesMax: number;
  readonly #onPassedOver: DriveReadingOptions['onPassedOver'];
  /** Volumes of which a damaged copy was passed over, and that was told. */
  readonly #passedOver = new Set<string>();
  readonly #places = new Map<string, { readable: ReadableVolume; chunk: ReadableChunk }[]>();
  /** Numbers of the volumes in the order given. */
  readonly #numbers = new Map<string, number>();
  readonly #mounted = new Map<string, Promise<MountedVolume>>();
  readonly #chunks = new Map<string, Promise<OpenChunk>>();
  /** The volume whose copy of a chunk is passed over. */
  readonly #avoided = new Map<string, string>();
  /** The ones that were read last, the newest at the end. */
  readonly #held = new Map<string, HeldRecord>();
  #heldBytes = 0;
  /** The volume from which a record was wanted last. */
  #readsFrom: string | undefined;
  /** One drive does one thing at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    volumes: readonly ReadableVolume[],
    open: (volume: ReadableVolume) => Promise<Volume>,
    options: DriveReadingOptions = {},
  ) {
    this.#open = open;
    this.#heldBytesMax = options.heldBytesMax ?? LIMITS.driveHeldBytes;
    this.#onPassedOver = options.onPassedOver;
    for (const [number, readable] of volumes.entries()) {
      this.#numbers.set(readable.volume, number);
      for (const chunk of readable.chunks) {
        const places = this.#places.get(chunk.id) ?? [];
        places.push({ readable, chunk });
        this.#places.set(chunk.id, places);
      }
    }
  }

  /**
   * Which of the ranges are to be read now, and in which order, by their places in the list: those on one
   * volume, forward. The volume that was read last comes first.
   */
  nextReads(ranges: readonly { id: string; position: number }[]): Promise<readonly number[]> {
    const turn = this.#turn.then(() => this.#nextReads(ranges));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #nextReads(ranges: readonly { id: string; position: number }[]): Promise<number[]> {
    const unreadable = new Set<string>();
    const known = new Map<string, OpenChunk>();
    for (;;) {
      const places = ranges.map(({ id, position }): RangePlace => {
        const run = known.get(id)?.runs.findLast((one) => offsetOf(known.get(id), one) <= position);
        if (run !== undefined)
          return { volume: run.on.readable.volume, object: run.object, position };
        const volume = unreadable.has(id) ? undefined : this.#placesOf(id)[0]?.readable.volume;
        return { volume, object: undefined, position };
      });
      const volume = nextVolume(places, (one) => this.#rankOf(one));
      const closed = new Set<string>();
      for (const [i, { id }] of ranges.entries())
        if (places[i]?.volume === volume && !known.has(id) && !unreadable.has(id)) closed.add(id);
      if (volume === undefined || closed.size === 0) return inOrderOn(volume, places);
      for (const id of closed) {
        try {
          known.set(id, await this.#chunk(id));
        } catch {
          unreadable.add(id);
        }
      }
    }
  }

  /** The one that was read last, then those that are open, then the others as they were given. */
  #rankOf(volume: string): number {
    if (volume === this.#readsFrom) return -1;
    const number = this.#numbers.get(volume) ?? 0;
    return this.#mounted.has(volume) ? number : this.#numbers.size + number;
  }

  /** Bytes of a chunk. OBJECT_MISSING when no volume has it. */
  bytesOf(id: string): number {
    const place = this.#places.get(id)?.[0];
    if (place !== undefined) return place.chunk.bytes;
    throw new PenstockError('OBJECT_MISSING', `chunk ${id} is on no volume`, { subject: id });
  }

  /**
   * Copies a range of a chunk into `into`; returns how many bytes there are of it.
   *
   * @throws VOLUME_DAMAGED, VOLUME_FOREIGN, VOLUME_NOT_READY, VOLUME_IO, OBJECT_MISSING
   */
  read(id: string, position: number, into: Buffer): Promise<number> {
    const turn = this.#turn.then(() => this.#read(id, position, into));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Where a copy fails there may be another. */
  async #read(id: string, position: number, into: Buffer): Promise<number> {
    const copies = this.#places.get(id)?.length ?? 0;
    const known = new Map<number, number>();
    let failure: unknown;
    const failed: { readonly volume: string; readonly error: unknown }[] = [];
    for (let attempt = 1; ; attempt++) {
      const chunk = await this.#chunk(id).catch((error: unknown) => {
        // What is left is not whole: parts of it are, perhaps.
        this.#avoided.delete(id);
        throw failure ?? error;
      });
      for (const [part, offset] of known) chunk.offsets.set(part, offset);
      try {
        const count = await this.#range(chunk, position, into);
        for (const { volume, error } of failed) this.#tellPassedOver(volume, error);
        return count;
      } catch (error) {
        failure ??= error;
        if (attempt >= copies || this.#readsFrom === undefined) throw failure;
        for (const [part, offset] of chunk.offsets) known.set(part, offset);
        failed.push({ volume: this.#readsFrom, error });
        this.#avoided.set(id, this.#readsFrom);
        this.#chunks.delete(id);
      }
    }
  }

  #tellPassedOver(volume: string, error: unknown): void {
    if (!isVolumeError(error, 'VOLUME_DAMAGED') || this.#passedOver.has(volume)) return;
    this.#passedOver.add(volume);
    this.#onPassedOver?.(error);
  }

  async #range(chunk: OpenChunk, position: number, into: Buffer): Promise<number> {
    const end = Math.min(position + into.length, chunk.bytes);
    let at = position;
    while (at < end) {
      const record = await this.#recordAt(chunk, at);
      const from = at - record.offset;
      const count = Math.min(end - at, record.bytes.length - from);
      record.bytes.copy(into, at - position, from, from + count);
      at += count;
    }
    return Math.max(0, end - position);
  }

  /** The record, or the trailer, in which a position of the chunk lies. */
  async #recordAt(chunk: OpenChunk, position: number): Promise<ChunkRecord> {
    const trailerAt = chunk.bytes - TRAILER_BYTES;
    if (position >= trailerAt) return await this.#trailer(chunk, trailerAt);
    const run = must(
      chunk.runs.findLast((one) => offsetOf(chunk, one) <= position),
      'a run that begins before a position',
    );
    // From the last part whose place is known: the sizes of what lies between must be learned.
    let part = run.part;
    for (let next = part + 1; next < run.part + run.records; next++) {
      const offset = chunk.offsets.get(next);
      if (offset === undefined || offset > position) break;
      part = next;
    }
    let damage: unknown;
    for (; part < run.part + run.records; part++) {
      try {
        const record = this.#heldPart(chunk, part) ?? (await this.#part(chunk, run, part));
        if (position < record.offset) break;
        if (position < record.offset + record.bytes.length) return record;
      } catch (error) {
        // The next one says where it is, and so whether this one is wanted at all.
        if (!isVolumeError(error, 'VOLUME_DAMAGED')) throw error;
        damage ??= error;
      }
    }
    throw damage ?? this.#mistold(chunk, run);
  }

  /** The log tells of runs that are as long as the chunk, and of other records than there are. */
  #mistold(chunk: OpenChunk, { on, object, records }: ChunkRun): PenstockError {
    const text = `chunk ${chunk.id}: its records are not the ${records} which the write log has here`;
    return volumeError('VOLUME_DAMAGED', on.readable.name, object, text, {
      hint: `run \`penstock volume log ${on.readable.name} --rebuild\``,
    });
  }

  #heldPart(chunk: OpenChunk, part: number): HeldRecord | undefined {
    const key = keyOf(chunk.id, part);
    const record = this.#held.get(key);
    if (record === undefined) return undefined;
    this.#held.delete(key);
    this.#held.set(key, record);
    return record;
  }

  /** Keeps a record, in the memory of one that gives way where that fits: fresh memory is dear. */
  #hold(chunk: string, part: number, offset: number, got: Uint8Array): HeldRecord {
    let memory: ArrayBuffer | undefined;
    for (const [key, { memory: old }] of this.#held) {
      if (this.#heldBytes + got.length <= this.#heldBytesMax) break;
      this.#held.delete(key);
      this.#heldBytes -= old.byteLength;
      const isFitting = old.byteLength >= got.length && old.byteLength <= 2 * got.length;
      if (isFitting && this.#heldBytes + old.byteLength <= this.#heldBytesMax) memory = old;
    }
    memory ??= new ArrayBuffer(got.length);
    const bytes = Buffer.from(memory, 0, got.length);
    bytes.set(got);
    const record = { offset, bytes, memory };
    this.#held.set(keyOf(chunk, part), record);
    this.#heldBytes += memory.byteLength;
    return record;
  }

  async #part(chunk: OpenChunk, run: ChunkRun, part: number): Promise<HeldRecord> {
    const { reader, volume, readable } = run.on;
    this.#readsFrom = readable.volume;
    const object = run.object + (part - run.part);
    const position = (await volume.tell()).object;
    const plan = planFor(chunk.id, run, part, object, position);
    for await (const got of reader.read(plan)) {
      if (got.kind === 'problem') throw got.error;
      const offset = chunkOffsetOf(got.bytes, 0);
      chunk.offsets.set(part, offset);
      chunk.offsets.set(part + 1, offset + got.bytes.length);
      return this.#hold(chunk.id, part, offset, got.bytes);
    }
    throw new PenstockError('INTERNAL', 'a plan of one record gave none');
  }

  /** As it was when the chunk was written: it says where the footer, the last record, is. */
  async #trailer(chunk: OpenChunk, at: number): Promise<ChunkRecord> {
    const run = must(chunk.runs.at(-1), 'a chunk has records');
    const part = run.part + run.records - 1;
    if (chunk.offsets.get(part) === undefined) await this.#recordAt(chunk, at - 1);
    const footerAt = chunk.offsets.get(part);
    if (footerAt === undefined || footerAt >= at) throw this.#mistold(chunk, run);
    const bytes = encodeTrailer(footerAt, at - footerAt, crcOf);
    return { offset: at, bytes };
  }

  #chunk(id: string): Promise<OpenChunk> {
    const known = this.#chunks.get(id);
    if (known !== undefined) return known;
    const opening = this.#openChunk(id);
    this.#chunks.set(id, opening);
    opening.catch(() => this.#chunks.delete(id));
    return opening;
  }

  /** By the log; where that does not tell all of the chunk, by headers. */
  async #openChunk(id: string): Promise<OpenChunk> {
    for (const byHeaders of [false, true]) {
      const chunk = await this.#chunkBy(id, byHeaders);
      if (chunk !== undefined) return chunk;
    }
    const names = (this.#places.get(id) ?? []).map(({ readable }) => readable.name);
    const text = `chunk ${id}: not all of its records are on volume ${names.join(', ')}`;
    throw new PenstockError('VOLUME_DAMAGED', text, {
      subject: id,
      hint: `run \`penstock volume verify ${names[0]}\``,
    });
  }

  async #chunkBy(id: string, byHeaders: boolean): Promise<OpenChunk | undefined> {
    const bytes = this.bytesOf(id);
    const runs: ChunkRun[] = [];
    let failure: unknown;
    for (const { readable, chunk } of this.#placesOf(id)) {
      try {
        const on = await this.#mount(readable);
        for await (const run of runsOf(on, chunk, byHeaders)) runs.push({ ...run, on });
      } catch (error) {
        failure ??= error;
      }
      const whole = assembled(id, bytes, runs);
      if (whole !== undefined) return whole;
    }
    // A damaged log: there are the headers.
    const isOfLog = !byHeaders && failure instanceof PenstockError && failure.code === 'DAMAGED';
    if (failure !== undefined && !isOfLog) throw failure;
    return undefined;
  }

  /** Where the chunk is, the volumes that are mounted first. */
  #placesOf(id: string): readonly { readable: ReadableVolume; chunk: ReadableChunk }[] {
    const avoided = this.#avoided.get(id);
    const places = (this.#places.get(id) ?? []).filter((one) => one.readable.volume !== avoided);
    const isMounted = ({ readable }: { readable: ReadableVolume }): number =>
      this.#mounted.has(readable.volume) ? 0 : 1;
    return places.sort((a, b) => isMounted(a) - isMounted(b));
  }

  #mount(readable: ReadableVolume): Promise<MountedVolume> {
    const known = this.#mounted.get(readable.volume);
    if (known !== undefined) return known;
    const mounting = this.#mountNow(readable);
    this.#mounted.set(readable.volume, mounting);
    mounting.catch(() => this.#mounted.delete(readable.volume));
    return mounting;
  }

  async #mountNow(readable: ReadableVolume): Promise<MountedVolume> {
    const volume = await this.#open(readable);
    try {
      const found = await inspectVolume(volume);
      if (found.kind !== 'ours' || found.label.volume !== readable.volume) {
        const is = found.kind === 'ours' ? `volume ${found.label.name}` : found.kind;
        const text = `volume ${readable.name} is wanted, and the medium ${volume.name} is ${is}`;
        throw new PenstockError('VOLUME_FOREIGN', text, { subject: readable.name });
      }
      const { sessions, openFrom, end } = await readContents(volume, readable.volume);
      const reader = new VolumeReader(volume, readable.blockBytes);
      return { volume, reader, readable, sessions, openFrom, end };
    } catch (error) {
      await volume.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#turn;
    for (const mounting of this.#mounted.values()) {
      const mounted = await mounting.catch(() => undefined);
      if (mounted === undefined) continue;
      addReadFigures(this.figures, mounted.reader.figures);
      await mounted.volume.close();
    }
    this.#mounted.clear();
    this.#chunks.clear();
    this.#held.clear();
    this.#heldBytes = 0;
  }
}
