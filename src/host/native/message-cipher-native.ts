/**
 * Messages encrypted and decrypted by the OpenSSL that the running Node is linked with. Contract: that of
 * message-cipher.ts; no call allocates what grows with the data.
 */
import { assert } from '../../base/assert.ts';
import { rangeOf } from '../codec-ranges.ts';
import type { MessageOpener, MessageSealer } from '../message-cipher.ts';
import { freeWith } from './handles.ts';
import { GcmContext } from './openssl.ts';

class NativeMessageCipher {
  readonly kind = 'native';
  protected readonly context: GcmContext;
  readonly #free: () => void;
  #open = true;
  #begun = false;

  protected constructor(context: GcmContext) {
    this.context = context;
    const { handle } = context;
    this.#free = freeWith(this, () => GcmContext.free(handle));
  }

  begin(key: Uint8Array, nonce: Uint8Array): void {
    assert(this.#open, 'what is closed is not used');
    assert(key.length === 32 && nonce.length === 12, 'a key has 32 bytes, a nonce 12');
    this.context.begin(key, nonce);
    this.#begun = true;
  }

  update(
    source: Uint8Array,
    sourceOffset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
  ): void {
    assert(this.#begun, 'a message was begun');
    const from = rangeOf(source, sourceOffset, length);
    this.context.update(from, rangeOf(target, targetOffset, length));
  }

  protected ending(tag: Uint8Array): void {
    assert(this.#begun, 'a message was begun');
    assert(tag.length === 16, 'a tag has 16 bytes');
    this.#begun = false;
  }

  close(): void {
    this.#open = false;
    this.#begun = false;
    this.#free();
  }
}

export class NativeMessageSealer extends NativeMessageCipher implements MessageSealer {
  /** Nothing, if the running Node does not offer it. */
  static create(): NativeMessageSealer | undefined {
    const context = GcmContext.create('encrypt');
    return context && new NativeMessageSealer(context);
  }

  end(tag: Uint8Array): void {
    this.ending(tag);
    this.context.tagInto(tag);
  }
}

export class NativeMessageOpener extends NativeMessageCipher implements MessageOpener {
  /** Nothing, if the running Node does not offer it. */
  static create(): NativeMessageOpener | undefined {
    const context = GcmContext.create('decrypt');
    return context && new NativeMessageOpener(context);
  }

  end(tag: Uint8Array): boolean {
    this.ending(tag);
    return this.context.matches(tag);
  }
}
