/**
 * Goal: content that is compressed already is told from content that is not (M2), by its first bytes and
 * by statistics, and text is never taken for noise.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { REASON } from '../format/entry.ts';
import { CONTENT_CLASS } from '../format/tag-header.ts';
import { seededRandom } from '../host/mod.ts';
import { type Classified, classify } from './content-class.ts';

const noise = seededRandom(4).bytes(64 * 1024);

function classOf(bytes: Buffer, first = true, at = 0): Classified {
  const into: Classified = { contentClass: 0, reason: 0 };
  classify(bytes, at, bytes.length - at, first, into);
  return into;
}

test('noise is incompressible by its statistics, wherever it lies', () => {
  const { incompressible } = CONTENT_CLASS;
  assert.deepEqual(classOf(noise), { contentClass: incompressible, reason: REASON.statistics });
  assert.deepEqual(classOf(noise, false, 1000), {
    contentClass: incompressible,
    reason: REASON.statistics,
  });
});

test('a compressed file is known by its first bytes, and only at its beginning', () => {
  const zip = gzipSync(noise);
  assert.deepEqual(classOf(zip), {
    contentClass: CONTENT_CLASS.incompressible,
    reason: REASON.magic,
  });
  assert.equal(classOf(zip, false).reason, REASON.statistics);
});

test('text, zeros, tables of numbers and short content are compressible', () => {
  const numbers = Buffer.alloc(32_768);
  for (let i = 0; i < numbers.length; i += 4) numbers.writeUInt32LE(0x8090_0000 + i, i);
  const utf8 = Buffer.from('größer als äußere Übermaße, здравствуй мир. '.repeat(400));
  for (const bytes of [
    Buffer.from('int main(void);\n'.repeat(500)),
    Buffer.alloc(9000),
    numbers,
    utf8,
    noise.subarray(0, 100),
    Buffer.alloc(0),
  ]) {
    assert.deepEqual(classOf(bytes), {
      contentClass: CONTENT_CLASS.compressible,
      reason: REASON.none,
    });
  }
});

test('the first bytes of a compressed format before plain content do not deceive', () => {
  const stored = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), Buffer.alloc(20_000, 0xe9)]);
  assert.equal(classOf(stored).contentClass, CONTENT_CLASS.compressible);
});
