/**
 * Takes the parts of chunks that threads of pipes hand in, and has them written to a volume.
 *
 * Contract: what one call brings is one record. The parts of a chunk may be taken in any order and are
 * written in that of their positions. A chunk's trailer is not written: a volume knows where a chunk
 * ends. A commit is answered once the chunk is on the medium.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { flagsOf, sessionIdOf, TAG_FIXED_BYTES, TAG_FLAG } from '../format/tag-header.ts';
import type { CommittedChunk } from './volume-commits.ts';
import type { VolumeStream, VolumeWriter } from './volume-writer.ts';

interface Intake {
  readonly chunk: string;
  /** Where the next part begins, and its number. */
  position: number;
  part: number;
  /** Its last record was handed in. */
  isComplete: boolean;
  /** Parts that came before their turn, by position. */
  readonly early: Map<number, () => void>;
  readonly committed: Promise<void>;
  readonly tellCommitted: () => void;
}

/** A stream, and the last of its calls: they are made one after the other. */
interface OpenStream {
  readonly opened: Promise<VolumeStream>;
  last: Promise<void>;
}

export class DriveWriting {
  readonly #writer: VolumeWriter;
  readonly #intakes = new Map<string, Intake>();
  readonly #streams = new Map<string, OpenStream>();
  /** A synchronisation that was asked for and has not begun. */
  #synchronising: Promise<void> | undefined;
  #failure: unknown;

  constructor(writer: VolumeWriter) {
    this.#writer = writer;
  }

  /** Writes a part; resolves when its memory may be used again. */
  async write(chunk: string, position: number, bytes: Buffer): Promise<void> {
    const intake = this.#intake(chunk);
    if (position !== intake.position) {
      if (position < intake.position)
        throw new PenstockError('INTERNAL', 'a part was handed in twice');
      await new Promise<void>((turn) => intake.early.set(position, turn));
      if (this.#failure !== undefined) throw this.#failure;
    }
    try {
      if (!intake.isComplete) await this.#record(intake, bytes);
      else if (bytes.length !== TRAILER_BYTES)
        throw new PenstockError('INTERNAL', 'a part behind the end of its chunk');
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    intake.position += bytes.length;
    const next = intake.early.get(intake.position);
    intake.early.delete(intake.position);
    next?.();
  }

  async #record(intake: Intake, bytes: Buffer): Promise<void> {
    if (bytes.length < TAG_FIXED_BYTES)
      throw new PenstockError('INTERNAL', 'a part without a header');
    const isLast = (flagsOf(bytes, 0) & TAG_FLAG.lastBlock) !== 0;
    const place = { chunk: intake.chunk, part: intake.part, isLast };
    const stream = this.#stream(sessionIdOf(bytes, 0).toString('hex'));
    const written = stream.last.then(async () => await (await stream.opened).write(bytes, place));
    stream.last = written.catch(() => undefined);
    await written;
    intake.part++;
    intake.isComplete = isLast;
  }

  /** Resolves once the chunk is on the medium. */
  async commit(chunk: string): Promise<void> {
    const intake = must(this.#intakes.get(chunk), 'a chunk that was written');
    if (!intake.isComplete)
      throw new PenstockError('INTERNAL', 'a chunk without an end was committed');
    await this.#synchronise();
    await intake.committed;
    this.#intakes.delete(chunk);
  }

  /** Those that wait at the same time share one. */
  #synchronise(): Promise<void> {
    this.#synchronising ??= Promise.resolve().then(() => {
      this.#synchronising = undefined;
      return this.#writer.synchronise();
    });
    return this.#synchronising;
  }

  /** A chunk that is given up: what was written of it stays on the medium and counts for nothing. */
  discard(chunk: string): void {
    const intake = this.#intakes.get(chunk);
    this.#intakes.delete(chunk);
    for (const turn of intake?.early.values() ?? []) turn();
  }

  /** The writer's news. */
  committed({ chunk }: CommittedChunk): void {
    this.#intakes.get(chunk)?.tellCommitted();
  }

  /** No more streams. */
  async end(): Promise<void> {
    for (const { opened, last } of this.#streams.values()) {
      await last;
      await opened.then((stream) => stream.end()).catch(() => undefined);
    }
    this.#streams.clear();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const { early } of this.#intakes.values()) for (const turn of early.values()) turn();
  }

  #intake(chunk: string): Intake {
    const known = this.#intakes.get(chunk);
    if (known !== undefined) return known;
    const { promise, resolve } = Promise.withResolvers<void>();
    const intake: Intake = {
      chunk,
      position: 0,
      part: 0,
      isComplete: false,
      early: new Map(),
      committed: promise,
      tellCommitted: resolve,
    };
    this.#intakes.set(chunk, intake);
    return intake;
  }

  #stream(id: string): OpenStream {
    const known = this.#streams.get(id);
    if (known !== undefined) return known;
    const opened = this.#writer.openStream(id);
    const stream: OpenStream = {
      opened,
      last: opened.then(
        () => undefined,
        () => undefined,
      ),
    };
    this.#streams.set(id, stream);
    return stream;
  }
}
