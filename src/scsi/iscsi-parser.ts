/**
 * Cuts a stream of bytes into PDUs, however it comes in pieces.
 *
 * Contract: who has the bytes lays them into `room` and says so by `filled`, in turns. No byte of a data
 * segment is read before the header was checked (digest, then bounds); data goes straight to the place that
 * the sink names, or to memory of the parser that the next PDU uses again. After an error neither must be
 * called again. Digests are CRC-32C, stored little-endian.
 */
import { assert } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { crc32cOf } from '../host/mod.ts';
import { BHS_BYTES, DIGEST_BYTES, paddingOf, readTargetPdu, type TargetPdu } from './iscsi-pdu.ts';

export interface PduSink {
  /**
   * A header has come; returns where its data goes, exactly `dataBytes` long, or undefined to have it given
   * to `take`. Throws to end the connection.
   */
  begin(pdu: TargetPdu): Uint8Array | undefined;
  /** The whole PDU is there. `data` is good only during the call. */
  take(pdu: TargetPdu, data: Buffer): void;
}

const NO_DATA = Buffer.alloc(0);

export class PduParser {
  readonly #sink: PduSink;
  readonly #header = Buffer.alloc(BHS_BYTES + DIGEST_BYTES);
  readonly #tail = Buffer.alloc(3 + DIGEST_BYTES);
  #scratch: Buffer = NO_DATA;
  #headerDigest = false;
  #dataDigest = false;
  #dataBytesMax: number;
  #pdu: TargetPdu | undefined;
  #data: Uint8Array = NO_DATA;
  #isOwnMemory = false;
  #filled = 0;
  #tailBytes = 0;
  #tailFilled = 0;

  constructor(sink: PduSink, dataBytesMax: number) {
    this.#sink = sink;
    this.#dataBytesMax = dataBytesMax;
  }

  /** From the next PDU on; to be called between two. */
  configure(headerDigest: boolean, dataDigest: boolean, dataBytesMax: number): void {
    this.#headerDigest = headerDigest;
    this.#dataDigest = dataDigest;
    this.#dataBytesMax = dataBytesMax;
  }

  /** Whether a PDU has begun and is not whole. */
  get isInside(): boolean {
    return this.#pdu !== undefined || this.#filled > 0;
  }

  /** Where the next bytes belong; never empty, and good until the next call of `filled`. */
  room(): Uint8Array {
    if (this.#pdu === undefined) return this.#header.subarray(this.#filled, this.#headerBytes);
    if (this.#filled < this.#data.length) return this.#data.subarray(this.#filled);
    return this.#tail.subarray(this.#tailFilled, this.#tailBytes);
  }

  /** So many bytes, at least one, were laid at the beginning of the `room`. */
  filled(bytes: number): void {
    assert(bytes > 0 && bytes <= this.room().length, 'bytes were laid where there is room');
    if (this.#pdu === undefined) {
      this.#filled += bytes;
      if (this.#filled === this.#headerBytes) this.#begin();
    } else if (this.#filled < this.#data.length) {
      this.#filled += bytes;
      if (this.#filled === this.#data.length && this.#tailBytes === 0) this.#finish();
    } else {
      this.#tailFilled += bytes;
      if (this.#tailFilled < this.#tailBytes) return;
      this.#checkData();
      this.#finish();
    }
  }

  get #headerBytes(): number {
    return BHS_BYTES + (this.#headerDigest ? DIGEST_BYTES : 0);
  }

  #begin(): void {
    const header = this.#header.subarray(0, BHS_BYTES);
    if (this.#headerDigest && this.#header.readUInt32LE(BHS_BYTES) !== crc32cOf(header, 0)) {
      throw new PenstockError('DEVICE_PROTOCOL', 'a header from the target has a wrong digest');
    }
    const pdu = readTargetPdu(header, this.#dataBytesMax);
    const place = this.#sink.begin(pdu);
    assert(place === undefined || place.length === pdu.dataBytes, 'data has its place');
    this.#pdu = pdu;
    this.#isOwnMemory = place === undefined;
    this.#data = place ?? this.#memoryFor(pdu.dataBytes);
    this.#filled = 0;
    this.#tailFilled = 0;
    const digestBytes = this.#dataDigest && pdu.dataBytes > 0 ? DIGEST_BYTES : 0;
    this.#tailBytes = paddingOf(pdu.dataBytes) + digestBytes;
    if (pdu.dataBytes === 0) this.#finish();
  }

  #memoryFor(bytes: number): Buffer {
    if (bytes === 0) return NO_DATA;
    if (this.#scratch.length < bytes) {
      assert(bytes <= LIMITS.iscsiReceiveBytesMax, 'data is bounded');
      this.#scratch = Buffer.allocUnsafe(Math.max(bytes, LIMITS.iscsiOtherBytesMax));
    }
    return this.#scratch.subarray(0, bytes);
  }

  #checkData(): void {
    if (!this.#dataDigest) return;
    const padding = this.#tailBytes - DIGEST_BYTES;
    const digest = crc32cOf(this.#tail.subarray(0, padding), crc32cOf(this.#data, 0));
    if (digest !== this.#tail.readUInt32LE(padding)) {
      throw new PenstockError('DEVICE_PROTOCOL', 'data from the target has a wrong digest');
    }
  }

  #finish(): void {
    const pdu = this.#pdu as TargetPdu;
    const data = this.#isOwnMemory ? (this.#data as Buffer) : NO_DATA;
    this.#pdu = undefined;
    this.#data = NO_DATA;
    this.#filled = 0;
    this.#sink.take(pdu, data);
  }
}
