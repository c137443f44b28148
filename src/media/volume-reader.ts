/**
 * Carries out a plan (volume-plan.ts) on a volume: what was wanted comes out, record by record.
 *
 * Contract: each record is looked at before it is handed out: it must be the part of the chunk that the
 * log said; if a hint has led to the wrong place, the record is looked for by its number. What cannot
 * be read is handed out as a problem, and the rest goes on. The memory of a record is used again for
 * the next one.
 */
import { type PenstockError, toPenstockError } from '../base/errors.ts';
import {
  blockNumberOf,
  checkTag,
  chunkIdOf,
  headerBytesOf,
  PART,
  partOf,
  payloadCrcOf,
  storedBytesOf,
} from '../format/tag-header.ts';
import { crcOf } from '../host/mod.ts';
import { isVolumeError, type Volume, volumeError } from './volume.ts';
import type { VolumePlan, VolumeSegment } from './volume-plan.ts';
import { partOfBlock } from './volume-scan.ts';

export interface ReadRecord {
  readonly kind: 'record';
  readonly chunk: string;
  readonly stream: string;
  readonly part: number;
  readonly object: number;
  /** Valid until the next one is asked for. */
  readonly bytes: Buffer;
}

export interface ReadProblem {
  readonly kind: 'problem';
  readonly chunk: string;
  readonly stream: string;
  readonly part: number;
  readonly error: PenstockError;
}

export interface ReadFigures {
  recordsRead: number;
  bytesRead: number;
  /** Of other chunks: a hint had led to them, or headers were read where the log did not tell. */
  recordsOfOthers: number;
  /** Records that were passed over. */
  recordsSkipped: number;
  positionings: number;
}

type ReadSegment = Extract<VolumeSegment, { kind: 'read' }>;
const NO_CHUNK = '0'.repeat(32);

export const newReadFigures = (): ReadFigures => ({
  ...{ recordsRead: 0, bytesRead: 0, recordsOfOthers: 0 },
  ...{ recordsSkipped: 0, positionings: 0 },
});

/** Adds what was read by one reader to the figures of all. */
export function addReadFigures(sum: ReadFigures, more: ReadFigures): void {
  sum.recordsRead += more.recordsRead;
  sum.bytesRead += more.bytesRead;
  sum.recordsOfOthers += more.recordsOfOthers;
  sum.recordsSkipped += more.recordsSkipped;
  sum.positionings += more.positionings;
}

export class VolumeReader {
  readonly figures: ReadFigures = newReadFigures();
  readonly #volume: Volume;
  readonly #view: Buffer;
  /** Bytes in it. */
  #taken = 0;

  /** @param recordBytes the longest record: what the label says */
  constructor(volume: Volume, recordBytes: number) {
    this.#volume = volume;
    this.#view = Buffer.alloc(Math.min(recordBytes, volume.limits.recordBytesMax));
  }

  /** @throws PenstockError VOLUME_IO, VOLUME_CHANGED, VOLUME_NOT_READY */
  async *read(plan: VolumePlan): AsyncGenerator<ReadRecord | ReadProblem> {
    this.figures.recordsSkipped += plan.skipped;
    let reached = true;
    for (const segment of plan.segments) {
      if (segment.kind !== 'read') reached = (await this.#position(segment)) && reached;
      else {
        if (!reached || !(await this.#isAt(segment.object))) await this.#find(segment.object);
        reached = true;
        for (let i = 0; i < segment.records; i++) yield await this.#one(segment, i);
      }
    }
  }

  async #position(segment: VolumeSegment): Promise<boolean> {
    this.figures.positionings += 1;
    try {
      if (segment.kind === 'locate') await this.#volume.locate(segment.object, segment.hint);
      else if (segment.kind === 'space') await this.#volume.spaceRecords(segment.records);
      return true;
    } catch (thrown) {
      if (isOfRecord(thrown)) return false;
      throw thrown;
    }
  }

  async #isAt(object: number): Promise<boolean> {
    return (await this.#volume.tell()).object === object;
  }

  /** By its number alone; where that does not exist the reading will say so. */
  async #find(object: number): Promise<void> {
    this.figures.positionings += 1;
    try {
      await this.#volume.locate(object);
    } catch (thrown) {
      if (!isOfRecord(thrown)) throw thrown;
    }
  }

  async #one(segment: ReadSegment, index: number): Promise<ReadRecord | ReadProblem> {
    const { chunk, stream } = segment;
    const part = segment.part + index;
    const object = segment.object + index;
    try {
      let why = await this.#take(segment, part);
      if (why !== undefined) {
        // A hint may have led elsewhere.
        await this.#volume.rewind();
        await this.#find(object);
        why = await this.#take(segment, part);
      }
      if (why !== undefined) throw volumeError('VOLUME_DAMAGED', this.#volume.name, object, why);
      const bytes = this.#view.subarray(0, this.#taken);
      this.figures.recordsRead += 1;
      this.figures.bytesRead += bytes.length;
      return { kind: 'record', chunk, stream, part, object, bytes };
    } catch (thrown) {
      if (!isOfRecord(thrown)) throw thrown;
      if (!(await this.#isAt(object + 1))) await this.#find(object + 1);
      return { kind: 'problem', chunk, stream, part, error: toPenstockError(thrown) };
    }
  }

  /** Reads the next record; what is wrong with it, if it is not the one that is wanted. */
  async #take(segment: ReadSegment, part: number): Promise<string | undefined> {
    const got = await this.#volume.read(this.#view);
    if (got.kind === 'end') return 'the data ends here';
    if (got.kind === 'mark') return 'a file mark, where the write log has a record';
    if (got.bytes > this.#view.length) return `a record of ${got.bytes} bytes`;
    this.#taken = got.bytes;
    if (segment.chunk === NO_CHUNK) return undefined;
    const bytes = this.#view.subarray(0, got.bytes);
    const wrong = checkTag(bytes, 0, bytes.length, crcOf);
    if (wrong !== undefined) return wrong;
    const isBlock = partOf(bytes, 0) === PART.block;
    const isPart = !isBlock || partOfBlock(blockNumberOf(bytes, 0)) === part;
    const isOfChunk = chunkIdOf(bytes, 0).toString('hex') === segment.chunk;
    if (!isOfChunk) this.figures.recordsOfOthers += 1;
    if (!isPart || !isOfChunk)
      return `not part ${part} of chunk ${segment.chunk}, which the write log has here`;
    return contentProblem(bytes);
  }
}

/** What is wrong with what follows the header of a record; the header itself is right. */
export function contentProblem(bytes: Buffer): string | undefined {
  const at = headerBytesOf(bytes, 0);
  const end = at + storedBytesOf(bytes, 0);
  if (end > bytes.length) return 'the record is too short for what its header says';
  const matches = crcOf(bytes, at, end - at) === payloadCrcOf(bytes, 0);
  return matches ? undefined : 'the checksum of the record does not match';
}

/** Whether an error concerns one record; all others end the reading. */
function isOfRecord(thrown: unknown): boolean {
  return isVolumeError(thrown, 'VOLUME_DAMAGED') || isVolumeError(thrown, 'VOLUME_POSITION');
}
