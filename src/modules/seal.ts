/**
 * Stage `seal`: compress, encrypt and checksum, as plain procedures one after the other in one thread
 * (P7). The result is written back into the buffer that was received (P5), behind its tag header.
 *
 * Content that was found to be compressed already is not compressed again; neither is what does not
 * shrink. What was done stands in the tag header (M1).
 */

import { must } from '../base/assert.ts';
import { fromKeyringRecord, type KeyringRecord } from '../crypto/keyring.ts';
import { Sealer } from '../crypto/seal.ts';
import { appendDirectory } from '../format/block.ts';
import {
  SPECIAL,
  type SpecialHeader,
  specialBytes,
  writeSpecials,
} from '../format/special-headers.ts';
import {
  COMPRESSION,
  CONTENT_CLASS,
  PART,
  TAG_FIXED_BYTES,
  TAG_FLAG,
  writeTag,
} from '../format/tag-header.ts';
import { openCodec, openRandom } from '../host/mod.ts';
import type { ModuleContext, PipeBuffer, PipeModule } from '../pipe/mod.ts';
import { WORD } from './backup-buffers.ts';

export interface SealOptions {
  readonly keyring: KeyringRecord;
  /** zstd level; 0: nothing is compressed. */
  readonly level: number;
  /** Where in the instance's window the memory of sealWindowBytes (window-bytes.ts) begins. */
  readonly windowAt: number;
}

export default function seal(options: SealOptions): PipeModule {
  let sealing: Sealing | undefined;
  return {
    open: (context) => {
      sealing = new Sealing(options, context);
    },
    process: (buffer) => must(sealing, 'sealing was opened').process(buffer),
    abort: () => undefined,
  };
}

class Sealing {
  readonly #context: ModuleContext;
  readonly #sealer: Sealer;
  readonly #generation: number;
  readonly #level: number;
  readonly #windowAt: number;

  constructor(options: SealOptions, context: ModuleContext) {
    const keyring = fromKeyringRecord(options.keyring);
    this.#context = context;
    this.#sealer = new Sealer(keyring, openCodec(keyring.nameKey), openRandom());
    this.#generation = keyring.newest.number;
    this.#level = options.level;
    this.#windowAt = options.windowAt;
  }

  process(buffer: PipeBuffer): PipeBuffer | null {
    const blobCount = buffer.word(WORD.blobCount);
    if (blobCount === 0) {
      this.#context.freeBuf(buffer);
      return null;
    }
    const contentClass = buffer.word(WORD.contentClass);
    const rawBytes = appendDirectory(
      buffer.payload(),
      buffer.length,
      buffer.directory(),
      blobCount,
    );
    const storedBytes = this.#compress(buffer, contentClass, rawBytes);
    const specials = specialsOf(buffer);
    const headerBytes = TAG_FIXED_BYTES + specialBytes(specials);
    const headerAt = buffer.payloadOffset - headerBytes;
    writeSpecials(buffer.memory, headerAt, specials);
    const duplicates = buffer.word(WORD.duplicateBlobs);
    writeTag(buffer.memory, headerAt, headerBytes, {
      part: PART.block,
      contentClass,
      compression: storedBytes < rawBytes ? COMPRESSION.zstd : COMPRESSION.none,
      encryption: this.#sealer.encryption,
      flags:
        (blobCount > 1 ? TAG_FLAG.grouped : 0) | (duplicates > 0 ? TAG_FLAG.duplicatesDropped : 0),
      keyGeneration: this.#generation,
      rawBytes,
      storedBytes,
      blobCount,
    });
    this.#sealer.sealPart(buffer.memory, headerAt, buffer.payloadOffset);
    buffer.length = storedBytes;
    buffer.setWord(WORD.headerBytes, headerBytes);
    return buffer;
  }

  /** Returns the stored length; the payload is compressed only if that is less than `rawBytes`. */
  #compress(buffer: PipeBuffer, contentClass: number, rawBytes: number): number {
    if (this.#level === 0 || contentClass === CONTENT_CLASS.incompressible) return rawBytes;
    const { window } = this.#context;
    const { codec } = this.#sealer;
    const at = this.#windowAt;
    const length = codec.compress(
      buffer.memory,
      buffer.payloadOffset,
      rawBytes,
      window,
      at,
      rawBytes - 1,
      this.#level,
    );
    if (length < 0) return rawBytes;
    window.copy(buffer.memory, buffer.payloadOffset, at, at + length);
    return length;
  }
}

function specialsOf(buffer: PipeBuffer): SpecialHeader[] {
  const blobs = buffer.word(WORD.duplicateBlobs);
  if (blobs === 0) return [];
  const value = Buffer.alloc(4);
  value.writeUInt32LE(blobs, 0);
  return [{ type: SPECIAL.duplicates, value }];
}
