/**
 * Goal: blobs are cut where the content says, within their bounds, the same way for the same key, and
 * the compiled kernel is that of cut.wat. Method: contents are put together again; a kernel in
 * JavaScript, written from the text of docs/format.md, cuts the same bytes.
 */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import wabt from 'wabt';
import { LIMITS } from '../base/limits.ts';
import { seededRandom } from '../host/mod.ts';
import { CUT_WASM } from './cut.wasm.ts';
import { Cutter, GEAR_BYTES } from './cutter.ts';

const MOST = LIMITS.cutBytesMax;
const DATA_AT = 65_536;
const DATA_BYTES = 6 * 1024 * 1024;
const key = Buffer.alloc(32, 7);

interface Bounds {
  readonly least: number;
  readonly normal: number;
  readonly most: number;
  readonly strict: bigint;
  readonly lax: bigint;
}

function memoryOf(data: Buffer): { memory: WebAssembly.Memory; bytes: Buffer } {
  const pages = Math.ceil((DATA_AT + data.length) / 65_536);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const bytes = Buffer.from(memory.buffer);
  data.copy(bytes, DATA_AT);
  return { memory, bytes };
}

function cutAll(data: Buffer, cutKey: Buffer): number[] {
  const { memory } = memoryOf(data);
  const cutter = new Cutter(memory, 0, cutKey, MOST);
  const lengths: number[] = [];
  for (let at = 0; at < data.length; ) {
    const length = cutter.next(DATA_AT + at, data.length - at);
    lengths.push(length);
    at += length;
  }
  return lengths;
}

/** As docs/format.md has it, for any bounds and masks. */
function lengthSlowly(bytes: Buffer, gear: Buffer, bounds: Bounds): number {
  const { least, normal, most, strict, lax } = bounds;
  const end = Math.min(bytes.length, most);
  let length = Math.min(least, end);
  for (let hash = 0n; length < end; ) {
    const mask = length < normal ? strict : lax;
    const next = gear.readBigUInt64LE((bytes[length] ?? 0) * 8);
    hash = BigInt.asUintN(64, (hash << 1n) + next);
    length++;
    if ((hash & mask) === 0n) break;
  }
  return length;
}

/** All of it by that rule, with the repository's gear, masks and bounds. */
function cutSlowly(data: Buffer, cutKey: Buffer): number[] {
  const derive = (purpose: string, bytes: number): Buffer =>
    Buffer.from(hkdfSync('sha256', cutKey, Buffer.alloc(0), `penstock ${purpose}`, bytes));
  const gear = derive('gear', GEAR_BYTES);
  const bits = derive('masks', 512);
  const mask = (random: Buffer, count: number): bigint => {
    const places = new Set<number>();
    for (const byte of random) if (places.size < count) places.add(16 + (byte % 48));
    return [...places].reduce((sum, place) => sum | (1n << BigInt(place)), 0n);
  };
  const bounds: Bounds = {
    least: LIMITS.cutBytesMin,
    normal: LIMITS.cutBytesAverage,
    most: MOST,
    strict: mask(bits.subarray(0, 256), 21),
    lax: mask(bits.subarray(256), 17),
  };
  const lengths: number[] = [];
  for (let at = 0; at < data.length; ) {
    const length = lengthSlowly(data.subarray(at), gear, bounds);
    lengths.push(length);
    at += length;
  }
  return lengths;
}

test('the compiled kernel is that of cut.wat', async () => {
  const text = readFileSync(new URL('./cut.wat', import.meta.url), 'utf8');
  const compiler = await wabt();
  const { buffer } = compiler.parseWat('cut.wat', text, { threads: true }).toBinary({});
  assert.equal(Buffer.from(buffer).toString('base64'), CUT_WASM);
});

test('blobs cover the content and keep their bounds, whatever it is', () => {
  const random = seededRandom(1).bytes(DATA_BYTES);
  for (const data of [
    random,
    Buffer.alloc(DATA_BYTES),
    Buffer.from('a few bytes'),
    random.subarray(0, MOST + 1),
  ]) {
    const lengths = cutAll(data, key);
    assert.equal(
      lengths.reduce((sum, length) => sum + length, 0),
      data.length,
    );
    for (const [i, length] of lengths.entries()) {
      assert.ok(length <= MOST);
      assert.ok(length >= LIMITS.cutBytesMin || i === lengths.length - 1);
    }
  }
});

test('a slow kernel written from the format cuts at the same places', () => {
  const data = seededRandom(2).bytes(DATA_BYTES / 2);
  assert.deepEqual(cutAll(data, key), cutSlowly(data, key));
});

/** Of cut.wat: what each of its two hashes looks through before they go on together. */
const RUN_BYTES = 8192;

/** Which loop of the kernel finds a cut: that nothing is left untried. */
function whereCut(cut: number, length: number, { least, normal, most }: Bounds): string {
  const end = Math.min(length, most);
  if (length <= least) return 'uncut';
  if (cut === end) return 'at the end';
  const bound = cut <= normal ? Math.min(normal, end) : end;
  const start = cut <= normal ? least : normal;
  const run = Math.floor((cut - 1 - start) / RUN_BYTES);
  if (start + (run - (run % 2) + 2) * RUN_BYTES > bound) return 'one by one';
  return run % 2 === 0 ? 'first run' : 'second run';
}

/** The kernel alone, over content of its own; `length` of the bytes from `at`. */
function bareKernel(content: Buffer, gear: Buffer) {
  const { memory, bytes } = memoryOf(content);
  gear.copy(bytes, 0);
  const module = new WebAssembly.Module(Buffer.from(CUT_WASM, 'base64'));
  const cut = new WebAssembly.Instance(module, { host: { memory } }).exports.cut as (
    ...given: readonly (number | bigint)[]
  ) => number;
  return (at: number, length: number, { least, normal, most, strict, lax }: Bounds): number =>
    cut(DATA_AT + at, length, 0, least, normal, most, strict, lax);
}

test('two runs at once cut where one would, wherever the first match is', () => {
  const bytes = seededRandom(4).bytes(120_000);
  const gear = seededRandom(5).bytes(GEAR_BYTES);
  const cut = bareKernel(bytes, gear);
  const seen = new Set<string>();
  const maskBits = fc.integer({ min: 6, max: 18 });
  fc.assert(
    fc.property(
      fc.nat(bytes.length - 1),
      fc.nat(100_000),
      fc.record({ least: fc.nat(20_000), more: fc.nat(50_000), most: fc.nat(50_000) }),
      maskBits,
      maskBits,
      (at, given, { least, more, most }, strictBits, laxBits) => {
        const bounds: Bounds = {
          least,
          normal: least + more,
          most: least + more + most,
          strict: ((1n << BigInt(strictBits)) - 1n) << 40n,
          lax: ((1n << BigInt(laxBits)) - 1n) << 45n,
        };
        const length = Math.min(given, bytes.length - at);
        const expected = lengthSlowly(bytes.subarray(at, at + length), gear, bounds);
        assert.equal(cut(at, length, bounds), expected);
        seen.add(whereCut(expected, length, bounds));
      },
    ),
    { numRuns: 400, seed: 1 },
  );
  assert.deepEqual([...seen].sort(), [
    'at the end',
    'first run',
    'one by one',
    'second run',
    'uncut',
  ]);
});

test('a match shortly after the beginning of a run is found: the hash knows what lies before', () => {
  const bytes = seededRandom(6).bytes(200_000);
  const gear = seededRandom(7).bytes(GEAR_BYTES);
  const cut = bareKernel(bytes, gear);
  // The highest bits, to which all of the last 64 bytes contribute.
  const strict = 0x3fffn << 50n;
  const bounds: Bounds = { least: 0, normal: 100_000, most: 100_000, strict, lax: strict };
  let tried = 0;
  for (let from = 0; from + bounds.most < bytes.length; ) {
    const match = from + lengthSlowly(bytes.subarray(from), gear, bounds);
    for (const runs of [1, 2, 3]) {
      const after = [1, 2, 9, 15, 40, 63, 64];
      for (const at of after.map((bytesAfter) => match - runs * RUN_BYTES - bytesAfter)) {
        if (at < from) continue;
        assert.equal(cut(at, bytes.length - at, bounds), match - at);
        tried++;
      }
    }
    from = match;
  }
  assert.ok(tried > 30, `${tried} places`);
});

test('bytes that are put in front move few cuts; another key moves nearly all', () => {
  const data = seededRandom(3).bytes(DATA_BYTES);
  const endsOf = (lengths: number[], shift: number): Set<number> => {
    let at = -shift;
    return new Set(
      lengths.map((length) => {
        at += length;
        return at;
      }),
    );
  };
  const before = endsOf(cutAll(data, key), 0);
  const after = endsOf(cutAll(Buffer.concat([Buffer.from('inserted'), data]), key), 8);
  const other = endsOf(cutAll(data, Buffer.alloc(32, 8)), 0);
  const shared = (ends: Set<number>): number => [...before].filter((end) => ends.has(end)).length;
  assert.ok(shared(after) >= before.size - 3, `${shared(after)} of ${before.size}`);
  assert.ok(shared(other) <= 2, `${shared(other)} of ${before.size}`);
});
