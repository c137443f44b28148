/**
 * AES-256-GCM of the OpenSSL that the running Node is linked with (EVP, the same in OpenSSL 1.1 to 3).
 *
 * Contract: a context belongs to one thread and does one message at a time. What is given to a call is there until it
 * returns. Handles are numbers; whoever makes one frees it.
 */
import { assert } from '../../base/assert.ts';
import { type CFunction, declareAll, type Signatures } from './libc.ts';

const INT = 'int';
const HANDLE = 'int64_t';
const POINTER = 'void *';

const SIGNATURES = {
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
} as const satisfies Signatures;

const CONTROL_GET_TAG = 0x10;
const CONTROL_SET_TAG = 0x11;
const NO_HANDLE = 0;
const TAG_BYTES = 16;

type Functions = Readonly<Record<keyof typeof SIGNATURES, CFunction>>;

let functions: Functions | undefined;

/** Undefined where the running Node does not offer all of it. */
function load(): Functions | undefined {
  functions ??= declareAll(SIGNATURES);
  return functions;
}

/** The two ways of a context, by calls of the same shape. */
interface Way {
  readonly init: CFunction;
  readonly update: CFunction;
  readonly final: CFunction;
}

/** A context that encrypts or decrypts one message after the other, each in as many pieces as its owner likes. */
export class GcmContext {
  readonly handle: number;
  readonly #way: Way;
  readonly #control: CFunction;
  readonly #written: Uint8Array = new Uint8Array(8);
  readonly #last: Uint8Array = new Uint8Array(32);

  private constructor(c: Functions, encrypts: boolean) {
    this.#way = encrypts
      ? { init: c.EVP_EncryptInit_ex, update: c.EVP_EncryptUpdate, final: c.EVP_EncryptFinal_ex }
      : { init: c.EVP_DecryptInit_ex, update: c.EVP_DecryptUpdate, final: c.EVP_DecryptFinal_ex };
    this.#control = c.EVP_CIPHER_CTX_ctrl;
    this.handle = c.EVP_CIPHER_CTX_new();
    // The cipher is looked up here, once; later calls give key and nonce only.
    const cipher = c.EVP_aes_256_gcm();
    assertDone(this.#way.init(this.handle, cipher, NO_HANDLE, null, null));
  }

  static create(way: 'encrypt' | 'decrypt'): GcmContext | undefined {
    const c = load();
    return c === undefined ? undefined : new GcmContext(c, way === 'encrypt');
  }

  /** Frees a context's handle: it is not used any more. */
  static free(handle: number): void {
    functions?.EVP_CIPHER_CTX_free(handle);
  }

  begin(key: Uint8Array, nonce: Uint8Array): void {
    assertDone(this.#way.init(this.handle, NO_HANDLE, NO_HANDLE, key, nonce));
  }

  associate(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    assertDone(this.#way.update(this.handle, null, this.#written, bytes, bytes.length));
  }

  /** `target` may be `source` itself. */
  update(source: Uint8Array, target: Uint8Array): void {
    if (source.length === 0) return;
    assert(target.length >= source.length, 'a target has room for its source');
    assertDone(this.#way.update(this.handle, target, this.#written, source, source.length));
  }

  /** Ends a message that is encrypted. */
  tagInto(tag: Uint8Array): void {
    assertDone(this.#way.final(this.handle, this.#last, this.#written));
    assertDone(this.#control(this.handle, CONTROL_GET_TAG, TAG_BYTES, tag));
  }

  /** Ends a message that is decrypted: whether it is what was encrypted. */
  matches(tag: Uint8Array): boolean {
    assertDone(this.#control(this.handle, CONTROL_SET_TAG, TAG_BYTES, tag));
    return this.#way.final(this.handle, this.#last, this.#written) === 1;
  }
}

export function assertDone(result: number): void {
  assert(result === 1, 'OpenSSL takes the arguments that it is given');
}
