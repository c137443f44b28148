/**
 * Goal: the envelope of small objects keeps what it is given, notices every flipped bit and cut, and
 * refuses features that it does not know before anything else.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import { openCodec } from '../host/mod.ts';
import {
  associatedDataOfRecord,
  clearOfRecord,
  decodeRecord,
  encodeRecord,
  finishRecord,
  RECORD,
  RECORD_HEAD_BYTES,
  type RecordHead,
  sealedAtOfRecord,
} from './record.ts';
import type { Crc } from './tag-header.ts';

const codec = openCodec(Buffer.alloc(32));
const crc: Crc = (view, offset, length, seed) => codec.crc32c(view, offset, length, seed);
const NO_FEATURES = { compat: 0, readOnlyCompat: 0, incompat: 0 };
const HEAD = {
  kind: RECORD.map,
  encryption: 1,
  features: NO_FEATURES,
  id: Buffer.alloc(16, 7),
  keyGeneration: 2,
};

function make(clear: string, sealed: string, head: Partial<RecordHead> = {}): Buffer {
  const bytes = encodeRecord({ ...HEAD, ...head }, Buffer.from(clear), Buffer.from(sealed));
  finishRecord(bytes, crc);
  return bytes;
}
const codeOf = (action: () => unknown): string => {
  try {
    action();
    return 'fine';
  } catch (error) {
    assert.ok(error instanceof PenstockError, String(error));
    return error.code;
  }
};

test('a record has the bytes of the table', () => {
  const bytes = make('{}', '[1]');
  const head = [
    '50454e53544f434b',
    '04',
    '01',
    '01',
    '00',
    '00'.repeat(12),
    '02000000',
    '03000000',
    '07'.repeat(16),
    '02000000',
  ].join('');
  assert.equal(bytes.toString('hex', 0, 52), head);
  assert.equal(bytes.toString('latin1', RECORD_HEAD_BYTES), '{}[1]');
  assert.equal(bytes.readUInt32LE(100), crc(bytes, 128, 5));
  assert.equal(bytes.readUInt32LE(124), crc(bytes, 0, 124));
  assert.equal(associatedDataOfRecord(bytes).toString('hex'), `${head}7b7d`);
});

test('what was written is read again', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.nat(), (clear, sealed, keyGeneration) => {
      const bytes = make(clear, sealed, { keyGeneration });
      const head = decodeRecord(bytes, 'it', crc, true);
      assert.equal(head.kind, RECORD.map);
      assert.equal(head.keyGeneration, keyGeneration);
      assert.equal(head.id.toString('hex'), '07'.repeat(16));
      assert.equal(clearOfRecord(bytes).toString('utf8'), Buffer.from(clear).toString('utf8'));
      assert.equal(
        bytes.toString('utf8', sealedAtOfRecord(bytes)),
        Buffer.from(sealed).toString('utf8'),
      );
    }),
  );
});

test('every single flipped bit and every cut is noticed', () => {
  const bytes = make('{"clear":1}', 'sealed bytes');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(
      codeOf(() => decodeRecord(changed, 'it', crc, false)),
      'DAMAGED',
      `bit ${bit}`,
    );
  }
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(
      codeOf(() => decodeRecord(bytes.subarray(0, length), 'it', crc, false)),
      'DAMAGED',
      `${length} bytes`,
    );
  }
  assert.equal(
    codeOf(() => decodeRecord(Buffer.concat([bytes, Buffer.alloc(1)]), 'it', crc, false)),
    'DAMAGED',
  );
});

test('noise is never a record', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (noise) => {
      const bytes = Buffer.from(noise);
      if (bytes.length >= 8) bytes.write('PENSTOCK', 0, 'latin1');
      assert.equal(
        codeOf(() => decodeRecord(bytes, 'it', crc, false)),
        'DAMAGED',
      );
    }),
  );
});

test('unknown features are refused as far as they say', () => {
  const withFeatures = (features: Partial<typeof NO_FEATURES>): Buffer =>
    make('{}', '', { features: { ...NO_FEATURES, ...features } });
  const decode = (bytes: Buffer, writing: boolean): string =>
    codeOf(() => decodeRecord(bytes, 'it', crc, writing));
  assert.equal(decode(withFeatures({ compat: 0x80000001 }), true), 'fine');
  assert.equal(decode(withFeatures({ readOnlyCompat: 1 }), false), 'fine');
  assert.equal(decode(withFeatures({ readOnlyCompat: 0x80000000 }), true), 'REPO_FEATURE');
  assert.equal(decode(withFeatures({ incompat: 0x80000000 }), false), 'REPO_FEATURE');
  // A later version of the envelope is no damage; its feature words come first all the same.
  const later = withFeatures({});
  later[9] = 2;
  finishRecord(later, crc);
  assert.equal(decode(later, false), 'REPO_FEATURE');
});
