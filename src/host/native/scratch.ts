/**
 * Memory that is passed to C again and again, so that no call allocates.
 */
import type { ByteString } from '../../base/bytes.ts';

/** Longer than any path that the system takes; a longer name makes it grow. */
const NAME_BYTES_AT_FIRST = 4352;

/** Holds one name with its closing NUL. */
export class NameScratch {
  #bytes: Buffer = Buffer.allocUnsafeSlow(NAME_BYTES_AT_FIRST);

  /** The name for C; valid until the next `put`. */
  put(name: ByteString): Buffer {
    const length = name.length;
    if (length >= this.#bytes.length) this.#bytes = Buffer.allocUnsafeSlow(length * 2);
    this.#bytes.write(name, 0, length, 'latin1');
    this.#bytes[length] = 0;
    return this.#bytes;
  }
}
