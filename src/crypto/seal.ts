/**
 * Sealing and opening parts of chunks (blocks and the rest) and records.
 *
 * Each sealing draws 32 random bytes, the salt, which stand in the header; the key is
 * HKDF-SHA256(block key of the generation, salt, "penstock seal"), used once, with a nonce of zeros:
 * no key and nonce meet twice. Without encryption the payload stays as it is and the seal is zero;
 * blobs are then checked by their names, records by their CRC.
 */
import { PenstockError } from '../base/errors.ts';
import {
  associatedDataOfRecord,
  clearOfRecord,
  decodeRecord,
  encodeRecord,
  type Features,
  finishRecord,
  jsonOfPart,
  type RecordHead,
  saltOfRecord,
  sealedAtOfRecord,
  sealOfRecord,
} from '../format/record.ts';
import {
  ASSOCIATED_BYTES,
  ENCRYPTION,
  encryptionOf,
  keyGenerationOf,
  payloadCrcOf,
  saltOf,
  sealOf,
  setPayloadCrc,
  storedBytesOf,
  writeAssociatedData,
} from '../format/tag-header.ts';
import { type Codec, hkdfSha256, type Random } from '../host/mod.ts';
import type { Keyring } from './keyring.ts';

export class Sealer {
  readonly keyring: Keyring;
  readonly codec: Codec;
  readonly #random: Random;
  readonly #associated = Buffer.alloc(ASSOCIATED_BYTES);
  readonly #crc: Codec['crc32c'];

  constructor(keyring: Keyring, codec: Codec, random: Random) {
    this.keyring = keyring;
    this.codec = codec;
    this.#random = random;
    this.#crc = (view, offset, length, seed) => codec.crc32c(view, offset, length, seed);
  }
  /** Selector and generation for new tag headers. */
  get encryption(): number {
    return this.keyring.encrypted ? ENCRYPTION.aes256gcm : ENCRYPTION.none;
  }

  /** Seals the payload behind a tag header that writeTag has filled; sets salt, seal, payload CRC. */
  sealPart(view: Buffer, headerAt: number, payloadAt: number): void {
    const storedBytes = storedBytesOf(view, headerAt);
    if (encryptionOf(view, headerAt) === ENCRYPTION.aes256gcm) {
      const salt = saltOf(view, headerAt);
      this.#random.fill(salt);
      writeAssociatedData(view, headerAt, this.#associated);
      const key = this.#keyFor(this.keyring.blockKey(keyGenerationOf(view, headerAt)), salt);
      this.codec.seal(key, this.#associated, view, payloadAt, storedBytes, sealOf(view, headerAt));
    }
    setPayloadCrc(view, headerAt, this.codec.crc32c(view, payloadAt, storedBytes, 0));
  }

  /**
   * Opens the payload in place. Returns what is wrong, or undefined. KEY_UNKNOWN when the generation
   * is not in the keyring. A block whose encryption is weaker than the repository's is refused.
   */
  openPart(view: Buffer, headerAt: number, payloadAt: number): string | undefined {
    const storedBytes = storedBytesOf(view, headerAt);
    const encryption = encryptionOf(view, headerAt);
    if (encryption !== this.encryption)
      return `encryption ${encryption} is not that of the repository`;
    if (encryption === ENCRYPTION.none) {
      return this.checkPart(view, headerAt, payloadAt);
    }
    writeAssociatedData(view, headerAt, this.#associated);
    const key = this.#keyFor(
      this.keyring.blockKey(keyGenerationOf(view, headerAt)),
      saltOf(view, headerAt),
    );
    const opened = this.codec.open(
      key,
      this.#associated,
      view,
      payloadAt,
      storedBytes,
      sealOf(view, headerAt),
    );
    return opened ? undefined : 'the seal does not match: its bytes were changed';
  }

  /** Checks the stored payload without a key. */
  checkPart(view: Buffer, headerAt: number, payloadAt: number): string | undefined {
    const crc = this.codec.crc32c(view, payloadAt, storedBytesOf(view, headerAt), 0);
    return crc === payloadCrcOf(view, headerAt)
      ? undefined
      : 'the checksum of the payload does not match';
  }

  #keyFor(key: Buffer, salt: Uint8Array): Uint8Array {
    return hkdfSha256(key, salt, 'penstock seal', 32);
  }

  /** Makes a record of a clear and a sealed JSON part. */
  encodeRecord(kind: number, id: Buffer, clear: unknown, sealed: unknown): Buffer {
    const generation = this.keyring.newest.number;
    const features: Features = { compat: 0, readOnlyCompat: 0, incompat: 0 };
    const sealedBytes =
      sealed === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(sealed));
    const bytes = encodeRecord(
      { kind, encryption: this.encryption, features, id, keyGeneration: generation },
      Buffer.from(JSON.stringify(clear)),
      sealedBytes,
    );
    if (this.keyring.encrypted) {
      const salt = saltOfRecord(bytes);
      this.#random.fill(salt);
      const key = this.#keyFor(this.keyring.recordKey(generation), salt);
      const at = sealedAtOfRecord(bytes);
      this.codec.seal(
        key,
        associatedDataOfRecord(bytes),
        bytes,
        at,
        bytes.length - at,
        sealOfRecord(bytes),
      );
    }
    finishRecord(bytes, this.#crc);
    return bytes;
  }

  /** Opens a record of a known kind; DAMAGED, REPO_FEATURE or KEY_UNKNOWN otherwise. Changes `bytes`. */
  decodeRecord<Clear, Sealed>(
    bytes: Buffer,
    kind: number,
    subject: string,
  ): { head: RecordHead; clear: Clear; sealed: Sealed } {
    const head = decodeRecord(bytes, subject, this.#crc, false);
    const wrong = (reason: string): PenstockError =>
      new PenstockError('DAMAGED', `${subject} is damaged: ${reason}`, { subject });
    if (head.kind !== kind) throw wrong(`it is a record of kind ${head.kind}, not ${kind}`);
    if (head.encryption !== this.encryption)
      throw wrong('its encryption is not that of the repository');
    const at = sealedAtOfRecord(bytes);
    if (this.keyring.encrypted) {
      const key = this.#keyFor(this.keyring.recordKey(head.keyGeneration), saltOfRecord(bytes));
      const associated = associatedDataOfRecord(bytes);
      if (!this.codec.open(key, associated, bytes, at, bytes.length - at, sealOfRecord(bytes))) {
        throw wrong('its seal does not match');
      }
    }
    return {
      head,
      clear: jsonOfPart(clearOfRecord(bytes), wrong) as Clear,
      sealed: (bytes.length > at ? jsonOfPart(bytes.subarray(at), wrong) : undefined) as Sealed,
    };
  }
}
