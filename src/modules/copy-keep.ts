/**
 * A listing of the target, kept in a file without a name: the tail `keep` writes it, as it comes from
 * `scan`; `KeptListing` hands it to a ScanReader.
 *
 *   u32 length | so many bytes of records (scan-stream.ts); again and again
 */
import { PenstockError } from '../base/errors.ts';
import { type Files, ioError, openFiles } from '../host/mod.ts';
import type { PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { areScanRecords, type ScanBuffer, type ScanSource } from './scan-stream.ts';

export interface KeepOptions {
  /** Open for reading and writing; whoever opened it closes it. */
  readonly file: number;
}

export default function keep({ file }: KeepOptions): PipeModule {
  const files = openFiles();
  const length = Buffer.alloc(4);
  let position = 0;
  const write = (view: Uint8Array, at: number, bytes: number): void => {
    const written = files.write(file, view, at, bytes, position);
    if (written < 0) throw ioError(written, 'write', 'the listing of the target');
    position += bytes;
  };
  return {
    process: (buffer: PipeBuffer) => {
      if (buffer.length === 0) return;
      length.writeUInt32LE(buffer.length);
      write(length, 0, 4);
      write(buffer.memory, buffer.payloadOffset, buffer.length);
    },
  };
}

export class KeptListing implements ScanSource {
  readonly #files: Files;
  readonly #file: number;
  readonly #bytesMax: number;
  #memory: Buffer = Buffer.alloc(256 * 1024);
  #position = 0;

  constructor(files: Files, file: number, bytesMax: number) {
    this.#files = files;
    this.#file = file;
    this.#bytesMax = bytesMax;
  }

  receiveBuf(): ScanBuffer | null {
    const head = this.#read(4);
    if (head === 0) return null;
    const length = this.#memory.readUInt32LE(0);
    if (head < 4 || length === 0 || length > this.#bytesMax) throw torn();
    if (length > this.#memory.length) this.#memory = Buffer.alloc(length);
    if (this.#read(length) < length) throw torn();
    if (!areScanRecords(this.#memory, 0, length)) throw torn();
    return { memory: this.#memory, payloadOffset: 0, length };
  }
  freeBuf(): void {
    // There is but one piece of memory.
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
