/**
 * Cutting by content (FastCDC with normalised sizes), in place in shared memory.
 *
 * The gear table and both masks are derived from the repository's cut key: unkeyed cut lengths would
 * identify known files. Blobs have LIMITS.cutBytesMin to `most` bytes, about cutBytesAverage.
 */
import { LIMITS } from '../base/limits.ts';
import { hkdfSha256 } from '../host/mod.ts';
import { CUT_WASM } from './cut.wasm.ts';

export const GEAR_BYTES = 2048;
const AVERAGE_BITS: number = Math.log2(LIMITS.cutBytesAverage);
/** How many bits stricter before the average size, and laxer after it. */
const NORMALISATION_BITS = 2;

type CutFunction = (
  at: number,
  length: number,
  gear: number,
  least: number,
  normal: number,
  most: number,
  strict: bigint,
  lax: bigint,
) => number;

export class Cutter {
  readonly #cut: CutFunction;
  readonly #gearAt: number;
  readonly #strict: bigint;
  readonly #lax: bigint;
  readonly #most: number;

  /** `memory` is that of the segment; `gearAt` is the offset of GEAR_BYTES private bytes in it. */
  constructor(memory: WebAssembly.Memory, gearAt: number, cutKey: Uint8Array, most: number) {
    const module = new WebAssembly.Module(Buffer.from(CUT_WASM, 'base64'));
    this.#cut = new WebAssembly.Instance(module, { host: { memory } }).exports.cut as CutFunction;
    this.#gearAt = gearAt;
    this.#most = most;
    const gear = derive(cutKey, 'gear', GEAR_BYTES);
    Buffer.from(memory.buffer, gearAt, GEAR_BYTES).set(gear);
    const bits = derive(cutKey, 'masks', 512);
    this.#strict = maskOf(bits.subarray(0, 256), AVERAGE_BITS + NORMALISATION_BITS);
    this.#lax = maskOf(bits.subarray(256), AVERAGE_BITS - NORMALISATION_BITS);
  }
  /** Length of the next blob of the `length` bytes at `at`, an offset in the memory. */
  next(at: number, length: number): number {
    return this.#cut(
      at,
      length,
      this.#gearAt,
      LIMITS.cutBytesMin,
      LIMITS.cutBytesAverage,
      this.#most,
      this.#strict,
      this.#lax,
    );
  }
}

function derive(key: Uint8Array, purpose: string, bytes: number): Buffer {
  return hkdfSha256(key, Buffer.alloc(0), `penstock ${purpose}`, bytes);
}

/** A mask of `count` bits at places above 16 that the random bytes choose. */
function maskOf(random: Buffer, count: number): bigint {
  let mask = 0n;
  let set = 0;
  for (const byte of random) {
    const bit = 1n << BigInt(16 + (byte % 48));
    if (set < count && (mask & bit) === 0n) {
      mask |= bit;
      set++;
    }
  }
  return mask;
}
