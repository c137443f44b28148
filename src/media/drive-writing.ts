/**
 * Takes the parts of chunks that threads of pipes hand in, and has them written to a volume.
 *
 * Contract: what one call brings is one record, and its memory may be exchanged for an empty buffer of the
 * writer's, so that it is not copied. The parts of a chunk may be taken in any order and are
 * written in that of their positions. A chunk's trailer is not written: a volume knows where a chunk
 * ends. That a chunk is on the medium is told once the drive has synchronised, which it does when it is
 * time to (volume-writer.ts); a commit has it synchronise, and is answered afterwards. A stream has its
 * buffers until it is ended.
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
  /** So was what follows that. */
  isOver: boolean;
  isDurable: boolean;
  /** Who hands it in, as a number; undefined: the main thread. */
  readonly sink: number | undefined;
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
  readonly #tellDurable: (sink: number) => void;
  readonly #intakes = new Map<string, Intake>();
  readonly #streams = new Map<string, OpenStream>();
  /** A synchronisation that was asked for and has not begun. */
  #synchronising: Promise<void> | undefined;
  #failure: unknown;

  constructor(writer: VolumeWriter, tellDurable: (sink: number) => void) {
    this.#writer = writer;
    this.#tellDurable = tellDurable;
  }

  /** Waits until the stream has buffers. */
  async openStream(id: string): Promise<void> {
    await this.#stream(id).opened;
  }

  /** Nothing more comes of it. */
  async endStream(id: string): Promise<void> {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#streams.delete(id);
    await stream.last;
    await stream.opened.then((one) => one.end()).catch(() => undefined);
  }

  /** Writes a part; resolves when its memory may be used again, or was exchanged (volume-writer.ts). */
  async write(
    chunk: string,
    position: number,
    bytes: Buffer,
    sink?: number,
    exchange?: (empty: Buffer) => Buffer,
  ): Promise<void> {
    this.#check();
    const intake = this.#intake(chunk, sink);
    if (position !== intake.position) {
      if (position < intake.position)
        throw new PenstockError('INTERNAL', 'a part was handed in twice');
      await new Promise<void>((turn) => intake.early.set(position, turn));
      this.#check();
    }
    try {
      if (!intake.isComplete) await this.#record(intake, bytes, exchange);
      else if (bytes.length !== TRAILER_BYTES || intake.isOver)
        throw new PenstockError('INTERNAL', 'a part behind the end of its chunk');
      else {
        intake.isOver = true;
        this.#settle(intake);
      }
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    intake.position += bytes.length;
    const next = intake.early.get(intake.position);
    intake.early.delete(intake.position);
    next?.();
  }

  async #record(
    intake: Intake,
    bytes: Buffer,
    exchange: ((empty: Buffer) => Buffer) | undefined,
  ): Promise<void> {
    if (bytes.length < TAG_FIXED_BYTES)
      throw new PenstockError('INTERNAL', 'a part without a header');
    const isLast = (flagsOf(bytes, 0) & TAG_FLAG.lastBlock) !== 0;
    const place = { chunk: intake.chunk, part: intake.part, isLast };
    const stream = this.#stream(sessionIdOf(bytes, 0).toString('hex'));
    const written = stream.last.then(async () => {
      const one = await stream.opened;
      if (exchange === undefined) await one.write(bytes, place);
      else await one.give(bytes.length, exchange, place);
    });
    stream.last = written.catch(() => undefined);
    await written;
    intake.part++;
    intake.isComplete = isLast;
  }

  /** Resolves once the chunk is on the medium. */
  async commit(chunk: string): Promise<void> {
    this.#check();
    await this.#commit(must(this.#intakes.get(chunk), 'a chunk that was written'));
  }
  async #commit(intake: Intake): Promise<void> {
    if (!intake.isOver) throw new PenstockError('INTERNAL', 'a chunk without an end was committed');
    if (intake.isDurable) return;
    await this.#synchronise();
    await intake.committed;
  }

  /** Writes a whole chunk; resolves once it is on the medium. */
  async put(chunk: string, parts: readonly Uint8Array[]): Promise<void> {
    const intake = this.#intake(chunk, undefined);
    let position = 0;
    for (const part of parts) {
      const bytes = Buffer.from(part.buffer, part.byteOffset, part.length);
      await this.write(chunk, position, bytes);
      position += part.length;
    }
    await this.#commit(intake);
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
    const intake = this.#intakes.get(chunk);
    if (intake === undefined) return;
    intake.isDurable = true;
    this.#settle(intake);
  }
  /** A chunk that is on the medium, and whose every part came, is forgotten. */
  #settle(intake: Intake): void {
    if (!intake.isDurable || !intake.isOver) return;
    this.#intakes.delete(intake.chunk);
    if (intake.sink !== undefined) this.#tellDurable(intake.sink);
    intake.tellCommitted();
  }

  /** No more streams. */
  async end(): Promise<void> {
    for (const id of [...this.#streams.keys()]) await this.endStream(id);
  }

  /** What failed once fails for all that comes: a part that waited for the one that failed would wait for ever. */
  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const { early } of this.#intakes.values()) for (const turn of early.values()) turn();
  }

  #intake(chunk: string, sink: number | undefined): Intake {
    const known = this.#intakes.get(chunk);
    if (known !== undefined) return known;
    const { promise, resolve } = Promise.withResolvers<void>();
    const intake: Intake = {
      chunk,
      position: 0,
      part: 0,
      isComplete: false,
      isOver: false,
      isDurable: false,
      sink,
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
