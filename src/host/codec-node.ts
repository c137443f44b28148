/**
 * The port `Codec` by Node's own modules: for platforms and builds where the native one is not to
 * be had. Contract: that of codec.ts, but it allocates a result per call, which costs about double.
 */
import type { Codec, KeyedHash } from './codec.ts';
import { assertKeyAndTag, rangeOf } from './codec-ranges.ts';
import { crc32cOf } from './native/hash.ts';
import { contentLength } from './zstd-frame.ts';
import { shapeOfLevel } from './zstd-level.ts';

const NONCE: Uint8Array = new Uint8Array(12);
const CIPHER = 'aes-256-gcm';
const CIPHER_OPTIONS = { authTagLength: 16 } as const;

/** Loaded where this codec is used: threads with the native one do without. */
const zlib = (): typeof import('node:zlib') => process.getBuiltinModule('node:zlib');
const crypto = (): typeof import('node:crypto') => process.getBuiltinModule('node:crypto');

type Plain = Uint8Array<ArrayBuffer>;

export class NodeCodec implements Codec {
  readonly kind = 'node';
  readonly hash: KeyedHash;

  constructor(hash: KeyedHash) {
    this.hash = hash;
  }

  compress(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    target: Uint8Array,
    targetOffset: number,
    targetCapacity: number,
    level: number,
  ): number {
    const from = rangeOf(source, sourceOffset, sourceLength);
    const into = rangeOf(target, targetOffset, targetCapacity);
    const { hashLog, minMatch } = shapeOfLevel(level);
    const { constants, zstdCompressSync } = zlib();
    let frame: Uint8Array;
    try {
      frame = zstdCompressSync(from as Plain, {
        params: {
          [constants.ZSTD_c_compressionLevel]: level,
          [constants.ZSTD_c_hashLog]: hashLog,
          [constants.ZSTD_c_minMatch]: minMatch,
          [constants.ZSTD_c_contentSizeFlag]: 1,
          [constants.ZSTD_c_checksumFlag]: 0,
        },
        pledgedSrcSize: sourceLength,
        maxOutputLength: Math.max(1, targetCapacity),
      });
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return -1;
      throw thrown;
    }
    if (frame.length > into.length) return -1;
    into.set(frame);
    return frame.length;
  }

  decompress(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    target: Uint8Array,
    targetOffset: number,
    targetCapacity: number,
  ): number {
    const from = rangeOf(source, sourceOffset, sourceLength);
    const into = rangeOf(target, targetOffset, targetCapacity);
    const length = contentLength(from);
    if (length < 0 || length > targetCapacity) return -1;
    try {
      const content = zlib().zstdDecompressSync(from as Plain, {
        maxOutputLength: Math.max(1, length),
      });
      if (content.length !== length) return -1;
      into.set(content);
      return length;
    } catch {
      return -1;
    }
  }

  seal(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): void {
    assertKeyAndTag(key, tag);
    const range = rangeOf(view, offset, length);
    const cipher = crypto().createCipheriv(CIPHER, key as Plain, NONCE, CIPHER_OPTIONS);
    cipher.setAAD(associated as Plain);
    range.set(cipher.update(range as Plain));
    cipher.final();
    tag.set(cipher.getAuthTag());
  }

  open(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): boolean {
    assertKeyAndTag(key, tag);
    const range = rangeOf(view, offset, length);
    const cipher = crypto().createDecipheriv(CIPHER, key as Plain, NONCE, CIPHER_OPTIONS);
    cipher.setAAD(associated as Plain);
    cipher.setAuthTag(tag as Plain);
    const content = cipher.update(range as Plain);
    try {
      cipher.final();
    } catch {
      content.fill(0);
      range.fill(0);
      return false;
    }
    range.set(content);
    return true;
  }

  crc32c(view: Uint8Array, offset: number, length: number, seed = 0): number {
    return crc32cOf(rangeOf(view, offset, length), seed);
  }

  close(): void {}
}
