/**
 * Goal: blobs are cut where the content says, within their bounds, the same way for the same key, and
 * the compiled kernel is that of cut.wat. Method: contents are put together again; a kernel in
 * JavaScript, written from the text of docs/format.md, cuts the same bytes.
 */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import wabt from 'wabt';
import { LIMITS } from '../base/limits.ts';
import { seededRandom } from '../host/mod.ts';
import { CUT_WASM } from './cut.wasm.ts';
import { Cutter, GEAR_BYTES } from './cutter.ts';

const MOST = LIMITS.cutBytesMax;
const DATA_AT = 65_536;
const DATA_BYTES = 6 * 1024 * 1024;
const key = Buffer.alloc(32, 7);

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

/** The same rule, slowly. */
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
  const strict = mask(bits.subarray(0, 256), 21);
  const lax = mask(bits.subarray(256), 17);
  const lengths: number[] = [];
  for (let at = 0; at < data.length; ) {
    const end = Math.min(data.length - at, MOST);
    let length = Math.min(LIMITS.cutBytesMin, end);
    for (let hash = 0n; length < end; ) {
      const isStrict = length < LIMITS.cutBytesAverage;
      const next = gear.readBigUInt64LE((data[at + length] ?? 0) * 8);
      hash = BigInt.asUintN(64, (hash << 1n) + next);
      length++;
      if ((hash & (isStrict ? strict : lax)) === 0n) break;
    }
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
