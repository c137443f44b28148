/**
 * What a data connection is encrypted with. Specified in docs/format.md, section 13.1.
 *
 *   keys        HKDF-SHA256 of the secret of the half pipe, with the accepting side's nonce and the preamble: one for
 *               each direction
 *   message n   AES-256-GCM, its nonce four zero bytes and n (u64); 0 is the proof, which is empty
 *
 * Contract: the secret has come over the control channel, so whoever has it is the paired machine; no two
 * connections have the same keys, since a preamble's attempt and the other side's nonce are used once. A key is
 * replaced after LIMITS.linkKeyBytes. What was opened is not to be believed before `end` has said so.
 */
import { LIMITS } from '../../base/limits.ts';
import {
  hkdfSha256,
  type MessageOpener,
  type MessageSealer,
  openMessageOpener,
  openMessageSealer,
} from '../../host/files-only.ts';
import { type Preamble, writePreamble } from './frame.ts';

/** Of the accepting side, new for each connection. */
export const NONCE_BYTES = 32;
export const TAG_BYTES = 16;

const KEY_BYTES = 32;
const NO_SALT: Uint8Array = new Uint8Array(0);
const CONNECTION = 'penstock data connection 1';
const NEXT_KEY = 'penstock next key';

/** One direction, as one of its ends has it: the key, and the number of the next message. */
class End<Cipher extends MessageSealer | MessageOpener> {
  protected readonly cipher: Cipher;
  readonly #nonce: Buffer = Buffer.alloc(12);
  readonly #keyBytes: number;
  #key: Buffer;
  #messages = 0;
  #underKey = 0;

  constructor(cipher: Cipher, key: Buffer, keyBytes: number) {
    this.cipher = cipher;
    this.#key = key;
    this.#keyBytes = keyBytes;
  }

  /** Begins the next message. */
  begin(): void {
    this.#next();
    this.cipher.begin(this.#key, this.#nonce);
  }

  /** The next bytes of the message. */
  update(
    source: Uint8Array,
    sourceOffset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
  ): void {
    this.#underKey += length;
    this.cipher.update(source, sourceOffset, length, target, targetOffset);
  }

  /** Instead of `begin` to `end`: a message of so many bytes that nobody needs. */
  skip(bytes: number): void {
    this.#next();
    this.#underKey += bytes;
  }

  close(): void {
    this.cipher.close();
  }

  #next(): void {
    if (this.#underKey >= this.#keyBytes) {
      this.#key = hkdfSha256(this.#key, NO_SALT, NEXT_KEY, KEY_BYTES);
      this.#underKey = 0;
    }
    this.#nonce.writeUInt32LE(this.#messages % 2 ** 32, 4);
    this.#nonce.writeUInt32LE(Math.floor(this.#messages / 2 ** 32), 8);
    this.#messages++;
  }
}

/** What is sent: messages, one after the other, each in pieces. */
export class LinkSealer extends End<MessageSealer> {
  /** Puts the tag of the message there. */
  end(target: Buffer, at: number): void {
    this.cipher.end(target.subarray(at, at + TAG_BYTES));
  }

  /** What shows that this side has the secret: the tag of an empty message. */
  proof(): Buffer {
    const tag = Buffer.alloc(TAG_BYTES);
    this.begin();
    this.end(tag, 0);
    return tag;
  }
}

/** What comes: messages, one after the other, each in pieces. */
export class LinkOpener extends End<MessageOpener> {
  /** Whether this is the tag of the message that came. */
  end(tag: Uint8Array): boolean {
    return this.cipher.end(tag);
  }

  isProof(tag: Uint8Array): boolean {
    this.begin();
    return this.end(tag);
  }
}

/** Both directions of a connection, as one of its sides has them. */
export interface LinkCipher {
  readonly sealer: LinkSealer;
  readonly opener: LinkOpener;
}

/**
 * @param secret of the half pipe, 32 bytes
 * @param nonce of the accepting side
 * @param keyBytes a test gives less than LIMITS.linkKeyBytes
 */
export function openLinkCipher(
  side: 'connecting' | 'accepting',
  secret: Uint8Array,
  preamble: Preamble,
  nonce: Uint8Array,
  keyBytes: number = LIMITS.linkKeyBytes,
): LinkCipher {
  const about = Buffer.concat([Buffer.from(CONNECTION), writePreamble(preamble)]);
  const keys = hkdfSha256(secret, nonce, about, 2 * KEY_BYTES);
  const [first, second] = [keys.subarray(0, KEY_BYTES), keys.subarray(KEY_BYTES)];
  const [own, other] = side === 'connecting' ? [first, second] : [second, first];
  return {
    sealer: new LinkSealer(openMessageSealer(), own, keyBytes),
    opener: new LinkOpener(openMessageOpener(), other, keyBytes),
  };
}

export function closeLinkCipher({ sealer, opener }: LinkCipher): void {
  sealer.close();
  opener.close();
}
