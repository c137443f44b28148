/**
 * The port `Codec` by calling the zstd and the OpenSSL that the running Node is linked with.
 *
 * Contract: that of codec.ts. Contexts are made once and freed by `close`, when the codec is
 * collected as garbage, or when the thread exits (not when it is terminated). Where a symbol is
 * missing, `create` returns nothing. Both libraries' interfaces used here are stable (OpenSSL 1.1 to
 * 3, zstd since 1.4).
 */
import { isMainThread } from 'node:worker_threads';
import { assert } from '../../base/assert.ts';
import type { Codec, KeyedHash } from '../codec.ts';
import { assertKeyAndTag, rangeOf } from '../codec-ranges.ts';
import { contentLength } from '../zstd-frame.ts';
import { shapeOfLevel } from '../zstd-level.ts';
import { crc32cOf } from './hash.ts';
import { type CFunction, loadProgram } from './libc.ts';

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
  EVP_aes_256_gcm: [HANDLE, []],
  EVP_CIPHER_CTX_new: [HANDLE, []],
  EVP_CIPHER_CTX_free: ['void', [HANDLE]],
  EVP_CIPHER_CTX_ctrl: [INT, [HANDLE, INT, INT, POINTER]],
  EVP_EncryptInit_ex: [INT, [HANDLE, HANDLE, HANDLE, POINTER, POINTER]],
  EVP_EncryptUpdate: [INT, [HANDLE, POINTER, POINTER, POINTER, INT]],
  EVP_EncryptFinal_ex: [INT, [HANDLE, POINTER, POINTER]],
  EVP_DecryptInit_ex: [INT, [HANDLE, HANDLE, HANDLE, POINTER, POINTER]],
  EVP_DecryptUpdate: [INT, [HANDLE, POINTER, POINTER, POINTER, INT]],
  EVP_DecryptFinal_ex: [INT, [HANDLE, POINTER, POINTER]],
} as const satisfies Record<string, readonly [string, readonly string[]]>;

type Functions = Readonly<Record<keyof typeof SIGNATURES, CFunction>>;

const ZSTD_COMPRESSION_LEVEL = 100;
const ZSTD_HASH_LOG = 102;
const ZSTD_MIN_MATCH = 105;
const ZSTD_CONTENT_SIZE_FLAG = 200;
const ZSTD_CHECKSUM_FLAG = 201;
const ZSTD_TARGET_TOO_SMALL = -70;
const CONTROL_GET_TAG = 0x10;
const CONTROL_SET_TAG = 0x11;
const NO_HANDLE = 0;

let functions: Functions | undefined;

/** What a codec has outside of JavaScript's memory. */
interface Contexts {
  readonly compressor: number;
  readonly decompressor: number;
  readonly encryptor: number;
  readonly decryptor: number;
}

/** Those of this thread that are not freed yet. */
const live = new Set<Contexts>();
const collected = new FinalizationRegistry<Contexts>(freeContexts);

function makeContexts(c: Functions): Contexts {
  // The memory is not the thread's: without this, every thread that ends would leave megabytes.
  if (!isMainThread && process.listeners('exit').indexOf(freeAll) < 0) {
    process.once('exit', freeAll);
  }
  const contexts: Contexts = {
    compressor: c.ZSTD_createCCtx(),
    decompressor: c.ZSTD_createDCtx(),
    encryptor: c.EVP_CIPHER_CTX_new(),
    decryptor: c.EVP_CIPHER_CTX_new(),
  };
  live.add(contexts);
  return contexts;
}

function freeContexts(contexts: Contexts): void {
  if (!live.delete(contexts)) return;
  const c = functions as Functions;
  c.ZSTD_freeCCtx(contexts.compressor);
  c.ZSTD_freeDCtx(contexts.decompressor);
  c.EVP_CIPHER_CTX_free(contexts.encryptor);
  c.EVP_CIPHER_CTX_free(contexts.decryptor);
}

function freeAll(): void {
  for (const contexts of live) freeContexts(contexts);
}

function loadFunctions(): Functions | undefined {
  if (functions !== undefined) return functions;
  const program = loadProgram();
  const found: Record<string, CFunction> = {};
  for (const [name, [result, parameters]] of Object.entries(SIGNATURES)) {
    if (!program.has(name)) return undefined;
    found[name] = program.declare(name, result, parameters);
  }
  functions = found as Functions;
  return functions;
}

export class NativeCodec implements Codec {
  readonly kind = 'native';
  readonly hash: KeyedHash;
  readonly #c: Functions;
  readonly #contexts: Contexts;
  readonly #nonce: Uint8Array = new Uint8Array(12);
  readonly #written: Uint8Array = new Uint8Array(8);
  readonly #last: Uint8Array = new Uint8Array(32);
  #level = 0;

  /** Nothing, if the running Node does not offer all of it. */
  static create(hash: KeyedHash): NativeCodec | undefined {
    const found = loadFunctions();
    return found === undefined ? undefined : new NativeCodec(hash, found);
  }

  private constructor(hash: KeyedHash, c: Functions) {
    this.hash = hash;
    this.#c = c;
    this.#contexts = makeContexts(c);
    collected.register(this, this.#contexts);
    const { compressor, encryptor, decryptor } = this.#contexts;
    const cipher = c.EVP_aes_256_gcm();
    assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_CONTENT_SIZE_FLAG, 1) >= 0);
    assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_CHECKSUM_FLAG, 0) >= 0);
    // The cipher is looked up here, once; later calls give key and nonce only.
    assertDone(c.EVP_EncryptInit_ex(encryptor, cipher, NO_HANDLE, null, null) === 1);
    assertDone(c.EVP_DecryptInit_ex(decryptor, cipher, NO_HANDLE, null, null) === 1);
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
    assert(live.has(this.#contexts), 'a closed codec is not used');
    const from = rangeOf(source, sourceOffset, sourceLength);
    const into = rangeOf(target, targetOffset, targetCapacity);
    const c = this.#c;
    if (level !== this.#level) {
      assertDone(
        c.ZSTD_CCtx_setParameter(this.#contexts.compressor, ZSTD_COMPRESSION_LEVEL, level) >= 0,
      );
      const { hashLog, minMatch } = shapeOfLevel(level);
      const { compressor } = this.#contexts;
      assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_HASH_LOG, hashLog) >= 0);
      assertDone(c.ZSTD_CCtx_setParameter(compressor, ZSTD_MIN_MATCH, minMatch) >= 0);
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
    assert(live.has(this.#contexts), 'a closed codec is not used');
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
    assert(live.has(this.#contexts), 'a closed codec is not used');
    assertKeyAndTag(key, tag);
    const range = rangeOf(view, offset, length);
    const c = this.#c;
    const context = this.#contexts.encryptor;
    const written = this.#written;
    assertDone(c.EVP_EncryptInit_ex(context, NO_HANDLE, NO_HANDLE, key, this.#nonce) === 1);
    if (associated.length > 0) {
      const count = associated.length;
      assertDone(c.EVP_EncryptUpdate(context, null, written, associated, count) === 1);
    }
    if (length > 0) assertDone(c.EVP_EncryptUpdate(context, range, written, range, length) === 1);
    assertDone(c.EVP_EncryptFinal_ex(context, this.#last, written) === 1);
    assertDone(c.EVP_CIPHER_CTX_ctrl(context, CONTROL_GET_TAG, 16, tag) === 1);
  }

  open(
    key: Uint8Array,
    associated: Uint8Array,
    view: Uint8Array,
    offset: number,
    length: number,
    tag: Uint8Array,
  ): boolean {
    assert(live.has(this.#contexts), 'a closed codec is not used');
    assertKeyAndTag(key, tag);
    const range = rangeOf(view, offset, length);
    const c = this.#c;
    const context = this.#contexts.decryptor;
    const written = this.#written;
    assertDone(c.EVP_DecryptInit_ex(context, NO_HANDLE, NO_HANDLE, key, this.#nonce) === 1);
    assertDone(c.EVP_CIPHER_CTX_ctrl(context, CONTROL_SET_TAG, 16, tag) === 1);
    if (associated.length > 0) {
      const count = associated.length;
      assertDone(c.EVP_DecryptUpdate(context, null, written, associated, count) === 1);
    }
    if (length > 0) assertDone(c.EVP_DecryptUpdate(context, range, written, range, length) === 1);
    if (c.EVP_DecryptFinal_ex(context, this.#last, written) === 1) return true;
    range.fill(0);
    return false;
  }

  crc32c(view: Uint8Array, offset: number, length: number, seed = 0): number {
    return crc32cOf(rangeOf(view, offset, length), seed);
  }

  close(): void {
    freeContexts(this.#contexts);
  }
}

function assertDone(done: boolean): void {
  assert(done, 'zstd and OpenSSL take the arguments that they are given');
}
