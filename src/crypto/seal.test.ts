/**
 * Goal: what was sealed opens again and is readable by the definition of the format alone; whatever was
 * changed, exchanged or weakened does not open.
 */
import assert from 'node:assert/strict';
import { createDecipheriv, hkdfSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../base/errors.ts';
import { RECORD, RECORD_HEAD_BYTES } from '../format/record.ts';
import {
  ENCRYPTION,
  finishTag,
  PART,
  setPlace,
  TAG_FIXED_BYTES,
  writeTag,
} from '../format/tag-header.ts';
import { openCodec, openRandom } from '../host/mod.ts';
import { Keyring, type KeyringSecrets } from './keyring.ts';
import { Sealer } from './seal.ts';

const SECRETS: KeyringSecrets = {
  root: Buffer.alloc(32, 1),
  generations: [
    { number: 1, seed: Buffer.alloc(32, 2), createdMs: 1 },
    { number: 2, seed: Buffer.alloc(32, 3), createdMs: 2 },
  ],
};
const sealerOf = (encrypted: boolean, secrets = SECRETS): Sealer => {
  const keyring = new Keyring(secrets, encrypted);
  return new Sealer(keyring, openCodec(keyring.nameKey), openRandom());
};
const encrypted = sealerOf(true);
const clear = sealerOf(false);

function sealed(sealer: Sealer, payload: Buffer): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(TAG_FIXED_BYTES), payload]);
  writeTag(bytes, 0, TAG_FIXED_BYTES, {
    part: PART.block,
    contentClass: 1,
    compression: 0,
    encryption: sealer.encryption,
    flags: 0,
    keyGeneration: sealer.keyring.newest.number,
    rawBytes: payload.length,
    storedBytes: payload.length,
    blobCount: 1,
  });
  sealer.sealPart(bytes, 0, TAG_FIXED_BYTES);
  return bytes;
}
const opens = (sealer: Sealer, bytes: Buffer): string | undefined =>
  sealer.openPart(bytes, 0, TAG_FIXED_BYTES);

test('a part opens as it was sealed, also at another place', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.boolean(), (payload, isEncrypted) => {
      const sealer = isEncrypted ? encrypted : clear;
      const bytes = sealed(sealer, Buffer.from(payload));
      setPlace(bytes, 0, Buffer.alloc(16, 9), Buffer.alloc(16, 8), 3, 77, 5);
      finishTag(bytes, 0, (view, at, length, seed) => sealer.codec.crc32c(view, at, length, seed));
      assert.equal(sealer.checkPart(bytes, 0, TAG_FIXED_BYTES), undefined);
      assert.equal(opens(sealer, bytes), undefined);
      assert.deepEqual([...bytes.subarray(TAG_FIXED_BYTES)], [...payload]);
    }),
  );
});

test('a sealed part is AES-256-GCM by the definition of the format', () => {
  const bytes = sealed(encrypted, Buffer.from('known content'));
  const blockKey = Buffer.from(
    hkdfSync('sha256', Buffer.alloc(32, 3), Buffer.alloc(0), 'penstock blocks', 32),
  );
  const key = Buffer.from(
    hkdfSync('sha256', blockKey, bytes.subarray(80, 112), 'penstock seal', 32),
  );
  const decipher = createDecipheriv('aes-256-gcm', key, Buffer.alloc(12));
  // version, part, class, compression, encryption | identity flags | generation | raw | stored | blobs | 3 zero
  decipher.setAAD(
    Buffer.concat([
      bytes.subarray(6, 11),
      Buffer.alloc(4),
      bytes.subarray(16, 28),
      bytes.subarray(128, 132),
      Buffer.alloc(3),
    ]),
  );
  decipher.setAuthTag(bytes.subarray(112, 128));
  assert.equal(
    Buffer.concat([decipher.update(bytes.subarray(144)), decipher.final()]).toString(),
    'known content',
  );
});

test('no two sealings of the same content are alike', () => {
  const [one, other] = [sealed(encrypted, Buffer.alloc(64)), sealed(encrypted, Buffer.alloc(64))];
  for (const [from, to] of [
    [80, 112],
    [112, 128],
    [144, 208],
  ] as const)
    assert.notDeepEqual(one.subarray(from, to), other.subarray(from, to));
});

test('every single flipped bit of payload, salt, seal and identity is noticed', () => {
  const bytes = sealed(encrypted, Buffer.from('some content'));
  const authenticated = [
    6,
    7,
    8,
    9,
    10,
    16,
    20,
    24,
    128,
    ...Array.from({ length: 48 }, (_, i) => 80 + i),
  ];
  const payload = Array.from(
    { length: bytes.length - TAG_FIXED_BYTES },
    (_, i) => TAG_FIXED_BYTES + i,
  );
  for (const at of [...authenticated, ...payload]) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      // A length beyond what is there is noticed before anything is opened (tag-header.ts, block-opener.ts).
      if (changed.readUInt32LE(24) > bytes.length - TAG_FIXED_BYTES) continue;
      let outcome: string | undefined;
      try {
        outcome = opens(encrypted, changed);
      } catch (error) {
        assert.ok(error instanceof PenstockError && error.code === 'KEY_UNKNOWN');
        outcome = error.message;
      }
      assert.notEqual(outcome, undefined, `bit ${bit} of byte ${at}`);
      assert.ok(
        !changed.subarray(TAG_FIXED_BYTES).includes('some content'),
        'nothing is given out',
      );
    }
  }
});

test('what is not encrypted is no part of a repository that is, nor the other way round', () => {
  assert.match(
    opens(encrypted, sealed(clear, Buffer.from('x'))) ?? '',
    /not that of the repository/,
  );
  assert.match(
    opens(clear, sealed(encrypted, Buffer.from('x'))) ?? '',
    /not that of the repository/,
  );
  const stripped = sealed(encrypted, Buffer.from('x'));
  stripped[10] = ENCRYPTION.none;
  assert.match(opens(encrypted, stripped) ?? '', /not that of the repository/);
});

test('older generations open, unknown ones are told', () => {
  const older = sealerOf(true, { ...SECRETS, generations: SECRETS.generations.slice(0, 1) });
  const bytes = sealed(older, Buffer.from('old'));
  assert.equal(opens(encrypted, bytes), undefined);
  assert.equal(bytes.toString('latin1', TAG_FIXED_BYTES), 'old');
  assert.throws(
    () => opens(older, sealed(encrypted, Buffer.from('new'))),
    (error: PenstockError) => error.code === 'KEY_UNKNOWN',
  );
});

test('a record holds what it was given, and nothing of its sealed part is readable', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.boolean(), (open, secret, isEncrypted) => {
      const sealer = isEncrypted ? encrypted : clear;
      const bytes = sealer.encodeRecord(RECORD.map, Buffer.alloc(16, 4), open, secret);
      const read = sealer.decodeRecord(Buffer.from(bytes), RECORD.map, 'it');
      assert.equal(JSON.stringify(read.clear), JSON.stringify(open));
      assert.equal(JSON.stringify(read.sealed), JSON.stringify(secret));
      const text = JSON.stringify(secret);
      if (isEncrypted && text.length > 8) assert.ok(!bytes.includes(text));
    }),
  );
});

test('a changed or exchanged record is refused', () => {
  const bytes = encrypted.encodeRecord(RECORD.map, Buffer.alloc(16, 4), { a: 1 }, { secret: true });
  const refused = (changed: Buffer, kind: number = RECORD.map, sealer = encrypted): void =>
    assert.throws(
      () => sealer.decodeRecord(changed, kind, 'it'),
      (error: PenstockError) => ['DAMAGED', 'REPO_FEATURE'].includes(error.code),
    );
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    refused(changed);
    // Somebody without the key can make the checksums fit again; the seal does not.
    if (at >= RECORD_HEAD_BYTES || (at >= 32 && at < 48)) refused(withChecksums(changed));
  }
  refused(Buffer.from(bytes), RECORD.archive);
  refused(Buffer.from(bytes), RECORD.map, clear);
  const plain = clear.encodeRecord(RECORD.map, Buffer.alloc(16, 4), { a: 1 }, { secret: true });
  refused(plain);
});

function withChecksums(bytes: Buffer): Buffer {
  const { codec } = clear;
  bytes.writeUInt32LE(
    codec.crc32c(bytes, RECORD_HEAD_BYTES, bytes.length - RECORD_HEAD_BYTES, 0),
    100,
  );
  bytes.writeUInt32LE(codec.crc32c(bytes, 0, 124, 0), 124);
  return bytes;
}
