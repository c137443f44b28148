/**
 * Messages encrypted and decrypted by node:crypto: where the native way is not to be had. Contract: that of
 * message-cipher.ts, but each piece allocates its result.
 */
import type { CipherGCM, DecipherGCM } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { rangeOf } from './codec-ranges.ts';
import type { MessageOpener, MessageSealer } from './message-cipher.ts';

const CIPHER = 'aes-256-gcm';
const OPTIONS = { authTagLength: 16 } as const;

/** Loaded where it is used: threads that have the native way do without. */
const crypto = (): typeof import('node:crypto') => process.getBuiltinModule('node:crypto');

type Plain = Uint8Array<ArrayBuffer>;

abstract class NodeMessageCipher<Cipher extends CipherGCM | DecipherGCM> {
  readonly kind = 'node';
  #cipher: Cipher | undefined;

  protected abstract make(key: Plain, nonce: Plain): Cipher;

  begin(key: Uint8Array, nonce: Uint8Array): void {
    this.#cipher = this.make(key as Plain, nonce as Plain);
  }

  protected get cipher(): Cipher {
    assert(this.#cipher !== undefined, 'a message was begun');
    return this.#cipher;
  }

  update(
    source: Uint8Array,
    sourceOffset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
  ): void {
    const into = rangeOf(target, targetOffset, length);
    into.set(this.cipher.update(rangeOf(source, sourceOffset, length) as Plain));
  }

  close(): void {
    this.#cipher = undefined;
  }
}

export class NodeMessageSealer extends NodeMessageCipher<CipherGCM> implements MessageSealer {
  protected override make(key: Plain, nonce: Plain): CipherGCM {
    return crypto().createCipheriv(CIPHER, key, nonce, OPTIONS);
  }

  end(tag: Uint8Array): void {
    this.cipher.final();
    tag.set(this.cipher.getAuthTag());
    this.close();
  }
}

export class NodeMessageOpener extends NodeMessageCipher<DecipherGCM> implements MessageOpener {
  protected override make(key: Plain, nonce: Plain): DecipherGCM {
    return crypto().createDecipheriv(CIPHER, key, nonce, OPTIONS);
  }

  end(tag: Uint8Array): boolean {
    this.cipher.setAuthTag(Buffer.from(tag));
    try {
      this.cipher.final();
      return true;
    } catch {
      return false;
    } finally {
      this.close();
    }
  }
}
