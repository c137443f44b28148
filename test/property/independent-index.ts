/**
 * Reading index segments and cutting files, written from docs/format.md (8.3, 10) and sharing no code
 * with src/, like independent-reader.ts.
 */
import assert from 'node:assert/strict';
import { hkdf, keyedHash } from './independent-records.ts';

const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));

/** Where a segment says that a blob is. */
export interface IndexedPlace {
  readonly chunk: string;
  readonly block: number;
  readonly offset: number;
  readonly bytes: number;
}

export class IndependentSegment {
  readonly names: number;
  readonly #bytes: Buffer;
  readonly #bits: number;
  readonly #chunks: number;
  readonly #blocks: number;
  readonly #fanout: number;
  readonly #filter: number;
  readonly #filterBytes: number;
  readonly #records: number;

  /** Checks all hashes. */
  constructor(bytes: Buffer, name: string, indexKey: Buffer) {
    this.#bytes = bytes;
    assert.equal(bytes.toString('latin1', 0, 8), 'PSTKINDX');
    assert.equal(bytes[8], 1);
    assert.equal(bytes.readUInt32LE(24), 0);
    assert.equal(bytes.toString('hex', 64, 80), name);
    const pages = bytes.readUInt32LE(36);
    this.#bits = bytes.readUInt8(9);
    this.names = u64(bytes, 40);
    this.#filterBytes = bytes.readUInt32LE(48);
    this.#chunks = 128;
    this.#blocks = this.#chunks + 48 * bytes.readUInt32LE(28);
    this.#fanout = this.#blocks + 16 * bytes.readUInt32LE(32);
    this.#filter = this.#fanout + 4 * (2 ** this.#bits + 1);
    const hashes = this.#filter + this.#filterBytes;
    this.#records = hashes + 16 * pages;
    assert.equal(this.#records + 40 * this.names, bytes.length);
    assert.equal(pages, Math.ceil(this.names / 1024));
    const head = Buffer.from(bytes.subarray(0, this.#records));
    head.fill(0, 96, 128);
    assert.deepEqual(keyedHash(indexKey, head), bytes.subarray(96, 128));
    for (let page = 0; page < pages; page++) {
      const at = this.#records + 40_960 * page;
      const hash = keyedHash(indexKey, bytes.subarray(at, at + 40_960)).subarray(0, 16);
      assert.deepEqual(hash, bytes.subarray(hashes + 16 * page, hashes + 16 * page + 16));
    }
  }

  /** Whether the filter lets a name pass. */
  mayHave(name: Buffer): boolean {
    const lines = this.#filterBytes / 64;
    const line = this.#filter + 64 * (name.readUInt32LE(4) % lines);
    const step = BigInt(name.readUInt32LE(12) | 1) & 0xffff_ffffn;
    let probe = BigInt(name.readUInt32LE(8));
    for (let i = 0n; i < 6n; i++) {
      const bit = Number(probe % 512n);
      if (((this.#bytes[line + (bit >> 3)] ?? 0) & (1 << (bit & 7))) === 0) return false;
      probe = (probe >> 9n) ^ ((step * (i + 0x9e37_79b1n)) & 0xffff_ffffn);
    }
    return true;
  }

  /** All places of a name, by its bucket. */
  find(name: Buffer): IndexedPlace[] {
    const bucket = this.#bits === 0 ? 0 : name.readUInt32BE(0) >>> (32 - this.#bits);
    const first = this.#bytes.readUInt32LE(this.#fanout + 4 * bucket);
    const end = this.#bytes.readUInt32LE(this.#fanout + 4 * bucket + 4);
    const places: IndexedPlace[] = [];
    for (let record = first; record < end; record++) {
      const at = this.#records + 40 * record;
      if (this.#bytes.subarray(at, at + 32).equals(name)) places.push(this.#place(at));
    }
    return places;
  }

  #place(record: number): IndexedPlace {
    const chunk = this.#bytes.readUInt32LE(record + 32);
    const block = this.#bytes.readUInt32LE(record + 36);
    let first = 0;
    for (let i = 0; i < chunk; i++) first += this.#bytes.readUInt32LE(this.#chunks + 48 * i + 36);
    const at = this.#blocks + 16 * (first + block);
    return {
      chunk: this.#bytes.toString('hex', this.#chunks + 48 * chunk, this.#chunks + 48 * chunk + 16),
      block,
      offset: u64(this.#bytes, at),
      bytes: this.#bytes.readUInt32LE(at + 8),
    };
  }

  /** Names in their order. */
  *order(): Generator<Buffer> {
    for (let record = 0; record < this.names; record++) {
      const at = this.#records + 40 * record;
      yield this.#bytes.subarray(at, at + 32);
    }
  }
}

const LEAST = 131_072;
const NORMAL = 524_288;
const WORD = 0xffff_ffff_ffff_ffffn;

/** Lengths of the blobs of some bytes that are cut on their own. */
export function cutLengths(cutKey: Buffer, bytes: Buffer, blockBytes: number): number[] {
  const none = Buffer.alloc(0);
  const table = hkdf(cutKey, none, 'penstock gear', 2048);
  const gear = Array.from({ length: 256 }, (_, i) => table.readBigUInt64LE(8 * i));
  const random = hkdf(cutKey, none, 'penstock masks', 512);
  const strict = mask(random.subarray(0, 256), 21);
  const lax = mask(random.subarray(256), 17);
  const most = Math.min(1_048_576, blockBytes - 8);
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length; at += lengths.at(-1) ?? 0) {
    lengths.push(next(bytes.subarray(at), gear, strict, lax, most));
  }
  return lengths;
}

function mask(random: Buffer, count: number): bigint {
  const bits = new Set<number>();
  for (const byte of random) if (bits.size < count) bits.add(16 + (byte % 48));
  assert.equal(bits.size, count);
  return [...bits].reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
}

function next(
  bytes: Buffer,
  gear: readonly bigint[],
  strict: bigint,
  lax: bigint,
  most: number,
): number {
  if (bytes.length <= LEAST) return bytes.length;
  const end = Math.min(bytes.length, most);
  const middle = Math.min(NORMAL, end);
  let hash = 0n;
  for (let i = LEAST; i < end; ) {
    hash = ((hash << 1n) + (gear[bytes[i] ?? 0] ?? 0n)) & WORD;
    i++;
    if ((hash & (i <= middle ? strict : lax)) === 0n) return i;
  }
  return end;
}
