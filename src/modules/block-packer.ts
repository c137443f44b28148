/**
 * Packs blobs into blocks: the open buffers of one allocating instance, one per content class.
 *
 * A blob is named where it lies; one that the repository or this session has already is discarded
 * (M10), a new one stays in, or is copied to, the open buffer of its class. Small blobs of one
 * directory so share a block (M12). A full buffer is sent on. When the instance's share of buffers is
 * used up, the fullest open buffer is sent, so that it never waits for itself.
 */
import { assert, must } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { DIRECTORY_RECORD_BYTES, NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import type { KeyedHash } from '../host/mod.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { SessionTable } from '../index/session-table.ts';
import type { ModuleContext, PipeBuffer } from '../pipe/mod.ts';
import { BUFFER_KIND, COUNTER, WORD } from './backup-buffers.ts';

const CLASSES_MAX = 4;

export class BlockPacker {
  /** Name of the blob that was offered last. */
  readonly name: Buffer = Buffer.alloc(NAME_BYTES);
  readonly #context: ModuleContext;
  readonly #hash: KeyedHash;
  readonly #index: BlobIndex;
  readonly #session: SessionTable;
  readonly #open: (PipeBuffer | undefined)[] = new Array(CLASSES_MAX).fill(undefined);
  readonly #counts = new Uint32Array(CLASSES_MAX);
  readonly #duplicates = new Uint32Array(CLASSES_MAX);
  /** For a blob that was read into the buffer of another class. */
  #aside: Buffer | undefined;

  constructor(context: ModuleContext, hash: KeyedHash, index: BlobIndex, session: SessionTable) {
    this.#context = context;
    this.#hash = hash;
    this.#index = index;
    this.#session = session;
  }

  /** Names the blob in `view` and stores it unless it is known. `name` is set; true when it was new. */
  offer(contentClass: number, type: number, view: Buffer, at: number, length: number): boolean {
    if (!this.#isNew(contentClass, view, at, length)) return false;
    const buffer = this.room(contentClass, length);
    view.copy(buffer.memory, buffer.payloadOffset + buffer.length, at, at + length);
    this.#append(buffer, contentClass, type, length);
    return true;
  }

  /**
   * As offer, for a blob that was read straight to the end of the open buffer of `roomClass` (see
   * room) and turned out to be of `contentClass`.
   */
  offerInPlace(roomClass: number, contentClass: number, type: number, length: number): boolean {
    const buffer = must(this.#open[roomClass], 'room was asked for');
    const at = buffer.payloadOffset + buffer.length;
    if (roomClass !== contentClass) {
      // Copied first: making room for it may send the buffer in which it lies, or a flush may.
      this.#aside ??= Buffer.alloc(LIMITS.wholeFileBytesMax);
      assert(length <= this.#aside.length, 'only whole small files are read in place');
      buffer.memory.copy(this.#aside, 0, at, at + length);
      return this.offer(contentClass, type, this.#aside, 0, length);
    }
    if (!this.#isNew(contentClass, buffer.memory, at, length)) return false;
    this.#append(buffer, contentClass, type, length);
    return true;
  }

  #isNew(contentClass: number, view: Buffer, at: number, length: number): boolean {
    this.#hash.digestInto(view, at, length, this.name, 0);
    if (!this.#index.use(this.name, 0) && this.#session.add(this.name, 0)) {
      this.#context.progress(COUNTER.blobsNew, 1);
      this.#context.progress(COUNTER.bytesNew, length);
      return true;
    }
    this.#duplicates[contentClass] = (this.#duplicates[contentClass] ?? 0) + 1;
    this.#context.progress(COUNTER.blobsDuplicate, 1);
    this.#context.progress(COUNTER.bytesDuplicate, length);
    return false;
  }

  /** The open buffer of a class, with room for a blob of `length` bytes at its end. */
  room(contentClass: number, length: number): PipeBuffer {
    const open = this.#open[contentClass];
    const count = this.#counts[contentClass] ?? 0;
    if (open !== undefined) {
      const needed = open.length + length + (count + 1) * STORED_RECORD_BYTES;
      if (needed <= open.payloadCapacity && count < LIMITS.blobsPerBlockMax) return open;
      this.#send(contentClass);
    }
    const buffer = this.#context.tryAllocBuf() ?? this.#allocAfterSending();
    assert(length + STORED_RECORD_BYTES <= buffer.payloadCapacity, 'a blob fits a block');
    buffer.kind = BUFFER_KIND.block;
    buffer.length = 0;
    this.#open[contentClass] = buffer;
    this.#counts[contentClass] = 0;
    this.#duplicates[contentClass] = 0;
    return buffer;
  }
  #allocAfterSending(): PipeBuffer {
    let fullest = -1;
    for (let i = 0; i < CLASSES_MAX; i++) {
      const open = this.#open[i];
      if (open !== undefined && (fullest < 0 || open.length > (this.#open[fullest]?.length ?? 0)))
        fullest = i;
    }
    if (fullest >= 0) this.#send(fullest);
    return this.#context.allocBuf();
  }

  #append(buffer: PipeBuffer, contentClass: number, type: number, length: number): void {
    const count = this.#counts[contentClass] ?? 0;
    const at = buffer.directoryOffset + count * DIRECTORY_RECORD_BYTES;
    this.name.copy(buffer.memory, at);
    buffer.memory.writeUInt32LE(length, at + NAME_BYTES);
    buffer.memory.writeUInt32LE(type, at + NAME_BYTES + 4);
    buffer.length += length;
    this.#counts[contentClass] = count + 1;
  }

  #send(contentClass: number): void {
    const buffer = must(this.#open[contentClass], 'an open buffer');
    this.#open[contentClass] = undefined;
    buffer.setWord(WORD.contentClass, contentClass);
    buffer.setWord(WORD.blobCount, this.#counts[contentClass] ?? 0);
    buffer.setWord(WORD.duplicateBlobs, this.#duplicates[contentClass] ?? 0);
    this.#context.sendBuf(buffer);
  }

  /** Sends all open buffers. An empty one (its only blob was known) goes too: it must be freed. */
  flush(): void {
    for (let i = 0; i < CLASSES_MAX; i++) if (this.#open[i] !== undefined) this.#send(i);
  }
}
