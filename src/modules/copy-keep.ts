/**
 * A listing of the target, kept in a file without a name: the tail `keep` writes it, as it comes from
 * `scan`; `KeptListing` hands it to a ScanReader, also while it still grows.
 *
 *   u32 length | so many bytes of records (scan-stream.ts); again and again
 *
 * The words that both share, in memory of one process: 0 how many of these pieces are written, modulo
 * 2^32; 1 whether there will be more.
 */
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Files, ioError, openFiles } from '../host/files-only.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { closeFile, openNamelessFile, reopenFile } from './nameless-file.ts';
import { areScanRecords, type ScanBuffer, type ScanSource } from './scan-stream.ts';

/** Whoever opens it closes it. Can be handed to threads. */
export interface Listing {
  /** Open for reading and writing. */
  readonly file: number;
  readonly words: Int32Array;
}
export interface KeepOptions {
  readonly listing: Listing;
}

const WORD = { written: 0, isWhole: 1 } as const;
/** How soon a wait for more notices that the pipe stops. */
const LOOK_MS = 50;

export function openListing(): Listing {
  return { file: openNamelessFile(), words: new Int32Array(new SharedArrayBuffer(8)) };
}
export function closeListing({ file }: Listing): void {
  closeFile(file);
}

export default function keep({ listing }: KeepOptions): PipeModule {
  const files = openFiles();
  const { words } = listing;
  // Of its own: whoever opened the listing may close it before all has come.
  let file = -1;
  const length = Buffer.alloc(4);
  let position = 0;
  const write = (view: Uint8Array, at: number, bytes: number): void => {
    if (position + bytes > LIMITS.copyListingBytesMax) {
      throw new PenstockError('LIMIT', 'the listing of the target is too long');
    }
    const written = files.write(file, view, at, bytes, position);
    if (written < 0) throw ioError(written, 'write', 'the listing of the target');
    position += bytes;
  };
  const tell = (word: number): void => {
    Atomics.add(words, word, 1);
    Atomics.notify(words, WORD.written);
  };
  const close = (): void => {
    if (file >= 0) closeFile(file);
    file = -1;
  };
  return {
    open: () => {
      file = reopenFile(listing.file);
    },
    process: (buffer: PipeBuffer) => {
      if (buffer.length === 0) return;
      length.writeUInt32LE(buffer.length);
      write(length, 0, 4);
      write(buffer.memory, buffer.payloadOffset, buffer.length);
      tell(WORD.written);
    },
    close: () => {
      close();
      tell(WORD.isWhole);
    },
    abort: close,
  };
}

export class KeptListing implements ScanSource {
  readonly #files: Files;
  readonly #file: number;
  readonly #words: Int32Array;
  readonly #context: Pick<ModuleContext, 'notice'>;
  readonly #bytesMax: number;
  #memory: Buffer = Buffer.alloc(256 * 1024);
  #position = 0;
  #taken = 0;

  constructor(
    files: Files,
    listing: Listing,
    context: Pick<ModuleContext, 'notice'>,
    bytesMax: number,
  ) {
    this.#files = files;
    this.#file = reopenFile(listing.file);
    this.#words = listing.words;
    this.#context = context;
    this.#bytesMax = bytesMax;
  }

  receiveBuf(): ScanBuffer | null {
    if (!this.#awaitMore()) return null;
    const head = this.#read(4);
    const length = this.#memory.readUInt32LE(0);
    if (head < 4 || length === 0 || length > this.#bytesMax) throw torn();
    if (length > this.#memory.length) this.#memory = Buffer.alloc(length);
    if (this.#read(length) < length) throw torn();
    if (!areScanRecords(this.#memory, 0, length)) throw torn();
    this.#taken = (this.#taken + 1) | 0;
    return { memory: this.#memory, payloadOffset: 0, length };
  }
  freeBuf(): void {
    // There is but one piece of memory.
  }
  close(): void {
    closeFile(this.#file);
  }

  /** Waits until there is one more piece; false when there will be none. */
  #awaitMore(): boolean {
    const words = this.#words;
    for (;;) {
      // In this order: whole is told after the last piece.
      const isWhole = Atomics.load(words, WORD.isWhole) !== 0;
      if (Atomics.load(words, WORD.written) !== this.#taken) return true;
      if (isWhole) return false;
      this.#context.notice();
      Atomics.wait(words, WORD.written, this.#taken, LOOK_MS);
    }
  }
  #read(length: number): number {
    const got = this.#files.read(this.#file, this.#memory, 0, length, this.#position);
    if (got < 0) throw ioError(got, 'read', 'the listing of the target');
    this.#position += got;
    return got;
  }
}

function torn(): PenstockError {
  return new PenstockError('NET_PROTOCOL', 'the listing of the target is cut off');
}
