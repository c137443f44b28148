/**
 * Bytes that are appended piece by piece, in memory that is kept when the list begins anew.
 */
const FIRST_BYTES = 64 * 1024;

export class GrowingBytes {
  /** The memory; the first `length` bytes count. Another one after it grew. */
  bytes: Buffer = Buffer.alloc(0);
  length = 0;

  append(from: Buffer, at: number, length: number): void {
    const end = this.length + length;
    if (end > this.bytes.length) {
      const larger = Buffer.alloc(Math.max(FIRST_BYTES, 2 ** Math.ceil(Math.log2(end))));
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    from.copy(this.bytes, this.length, at, at + length);
    this.length = end;
  }

  /** A view of what counts, valid until the next `append`. */
  used(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}
