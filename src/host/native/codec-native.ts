/**
 * The port `Codec` by calling the zstd and the OpenSSL that the running Node is linked with.
 *
 * Contract: that of codec.ts. Contexts are made once and freed by `close`, when the codec is
 * collected as garbage, or when the thread exits (not when it is terminated). Where a symbol is
 * missing, `create` returns nothing. Both libraries' interfaces used here are stable (OpenSSL 1.1 to
 * 3, zstd since 1.4).
 */
import { assert } from '../../base/assert.ts';
import type { Codec, KeyedHash } from '../codec.ts';
import { assertKeyAndTag, rangeOf } from '../codec-ranges.ts';
import { contentLength } from '../zstd-frame.ts';
import { shapeOfLevel } from '../zstd-level.ts';
import { freeWith } from './handles.ts';
import { crc32cOf } from './hash.ts';
import { type CFunction, declareAll, type Signatures } from './libc.ts';
import { GcmContext } from './openssl.ts';

const INT = 'int';
const SIZE = 'int64_t';
const HANDLE = 'int64_t';
const POINTER = 'void *';

/** Sizes are declared as signed, so that zstd's error codes are small negative numbers. */
const SIGNATURES = {
  ZSTD_createCCtx: [HANDLE, []],
  ZSTD_freeCCtx: [SIZE, [HANDLE]],
  ZSTD_CCtx_setParameter: [SIZE, [HANDLE, INT, INT]],
  ZSTD_compress2: [SIZE, [HANDLE, POINTER, SIZE, POINTER, SIZE]],
  ZSTD_createDCtx: [HANDLE, []],
  ZSTD_freeDCtx: [SIZE, [HANDLE]],
  ZSTD_decompressDCtx: [SIZE, [HANDLE, POINTER, SIZE, POINTER, SIZE]],
} as const satisfies Signatures;

type Functions = Readonly<Record<keyof typeof SIGNATURES, CFunction>>;

const ZSTD_COMPRESSION_LEVEL = 100;
const ZSTD_HASH_LOG = 102;
const ZSTD_MIN_MATCH = 105;
/** Since zstd 1.5.7, experimental there: not for constants of node:zlib. */
const ZSTD_BLOCK_SPLITTER_LEVEL = 1017;
const ZSTD_CONTENT_SIZE_FLAG = 200;
const ZSTD_CHECKSUM_FLAG = 201;
const ZSTD_TARGET_TOO_SMALL = -70;

let functions: Functions | undefined;

function loadFunctions(): Functions | undefined {
  functions ??= declareAll(SIGNATURES);
  return functions;
}

/** All of a codec that lies outside of JavaScript's memory. */
interface Contexts {
  readonly compressor: number;
  readonly decompressor: number;
  readonly encryptor: GcmContext;
  readonly decryptor: GcmContext;
}

function makeContexts(c: Functions): Contexts | undefined {
  const encryptor = GcmContext.create('encrypt');
  const decryptor = GcmContext.create('decrypt');
  if (encryptor === undefined || decryptor === undefined) return undefined;
  const compressor = c.ZSTD_createCCtx();
  return { encryptor, decryptor, compressor, decompressor: c.ZSTD_createDCtx() };
}

function freeContexts(
  c: Functions,
  { compressor, decompressor, encryptor, decryptor }: Contexts,
): void {
  c.ZSTD_freeCCtx(compressor);
  c.ZSTD_freeDCtx(decompressor);
  for (const { handle } of [encryptor, decryptor]) GcmContext.free(handle);
}

export class NativeCodec implements Codec {
  readonly kind = 'native';
  readonly hash: KeyedHash;
  readonly #c: Functions;
  readonly #contexts: Contexts;
  readonly #free: () => void;
  readonly #nonce: Uint8Array = new Uint8Array(12);
  #open = true;
  #level = 0;

  /** Nothing, if the running Node does not offer all of it. */
  static create(hash: KeyedHash): NativeCodec | undefined {
    const c = loadFunctions();
    const contexts = c && makeContexts(c);
    return c && contexts && new NativeCodec(hash, c, contexts);
  }

  private constructor(hash: KeyedHash, c: Functions, contexts: Contexts) {
    this.hash = hash;
    this.#c = c;
    this.#contexts = contexts;
    this.#free = freeWith(this, () => freeContexts(c, contexts));
    const { compressor } = contexts;
    assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_CONTENT_SIZE_FLAG, 1) >= 0);
    assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_CHECKSUM_FLAG, 0) >= 0);
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
    assert(this.#open, 'a closed codec is not used');
    const from = rangeOf(source, sourceOffset, sourceLength);
    const into = rangeOf(target, targetOffset, targetCapacity);
    const c = this.#c;
    if (level !== this.#level) {
      assertDone(
        c.ZSTD_CCtx_setParameter(this.#contexts.compressor, ZSTD_COMPRESSION_LEVEL, level) >= 0,
      );
      const { hashLog, minMatch, splitting } = shapeOfLevel(level);
      const { compressor } = this.#contexts;
      assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_HASH_LOG, hashLog) >= 0);
      assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_MIN_MATCH, minMatch) >= 0);
      // An older one refuses it, and does not look.
      c.ZSTD_CCtx_setParameter(compressor, ZSTD_BLOCK_SPLITTER_LEVEL, splitting);
      this.#level = level;
    }
    const length = c.ZSTD_compress2(
      this.#contexts.compressor,
      into,
      targetCapacity,
      from,
      sourceLength,
    );
    assert(length >= 0 || length === ZSTD_TARGET_TOO_SMALL, `zstd can compress (${length})`);
    return length < 0 ? -1 : length;
  }

  decompress(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    target: Uint8Array,
    targetOffset: number,
    targetCapacity: number,
  ): number {
    assert(this.#open, 'a closed codec is not used');
    const from = rangeOf(source, sourceOffset, sourceLength);
    const into = rangeOf(target, targetOffset, targetCapacity);
    const expected = contentLength(from);
    if (expected < 0 || expected > targetCapacity) return -1;
    const c = this.#c;
    // Room for exactly what the frame claims: one that lies cannot disturb what lies behind.
    const length = c.ZSTD_decompressDCtx(
      this.#contexts.decompressor,
      into,
      expected,
      from,
      sourceLength,
    );
    return length === expected ? length : -1;
  }

  seal(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): void {
    assert(this.#open, 'a closed codec is not used');
    assertKeyAndTag(key, tag);
    const range = rangeOf(view, offset, length);
    const { encryptor } = this.#contexts;
    encryptor.begin(key, this.#nonce);
    encryptor.associate(associated);
    encryptor.update(range, range);
    encryptor.tagInto(tag);
  }

  open(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): boolean {
    assert(this.#open, 'a closed codec is not used');
    assertKeyAndTag(key, tag);
    const range = rangeOf(view, offset, length);
    const { decryptor } = this.#contexts;
    decryptor.begin(key, this.#nonce);
    decryptor.associate(associated);
    decryptor.update(range, range);
    if (decryptor.matches(tag)) return true;
    range.fill(0);
    return false;
  }

  crc32c(view: Uint8Array, offset: number, length: number, seed = 0): number {
    return crc32cOf(rangeOf(view, offset, length), seed);
  }

  close(): void {
    this.#open = false;
    this.#free();
  }
}

function assertDone(done: boolean): void {
  assert(done, 'zstd takes the arguments that it is given');
}
