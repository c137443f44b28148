/**
 * Each implementation of `KeyMaterial` passes its contract, and both derive the same keys.
 *
 * Method: the test cases of RFC 5869, random secrets beside node:crypto; random bytes into parts of memory, shared too,
 * nothing around them changes, and none stays as it was over several times.
 */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type KeyMaterial, nodeKeyMaterial, openKeyMaterial } from '../../src/host/key-material.ts';

const KINDS: Readonly<Record<KeyMaterial['kind'], () => KeyMaterial>> = {
  native: openKeyMaterial,
  node: nodeKeyMaterial,
};

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
/** Secret, salt, info and key of the cases with SHA-256. */
const CASES: readonly (readonly [Buffer, Buffer, Buffer, string])[] = [
  [
    Buffer.alloc(22, 0x0b),
    hex('000102030405060708090a0b0c'),
    hex('f0f1f2f3f4f5f6f7f8f9'),
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  ],
  [
    Buffer.from(Array.from({ length: 80 }, (_, i) => i)),
    Buffer.from(Array.from({ length: 80 }, (_, i) => 0x60 + i)),
    Buffer.from(Array.from({ length: 80 }, (_, i) => 0xb0 + i)),
    'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
  ],
  [
    Buffer.alloc(22, 0x0b),
    Buffer.alloc(0),
    Buffer.alloc(0),
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  ],
];

test('the pinned Node gets the native one', () => {
  assert.equal(openKeyMaterial().kind, 'native');
});

for (const [name, open] of Object.entries(KINDS)) {
  test(`${name}: the test cases of RFC 5869`, () => {
    for (const [secret, salt, info, expected] of CASES) {
      const key = Buffer.alloc(expected.length / 2);
      open().hkdf(secret, salt, info, key);
      assert.equal(key.toString('hex'), expected);
    }
  });

  test(`${name}: derives what node:crypto derives`, () => {
    const bytes = fc.uint8Array({ maxLength: 100 });
    const some = fc.uint8Array({ minLength: 1, maxLength: 100 });
    fc.assert(
      fc.property(
        some,
        bytes,
        bytes,
        fc.integer({ min: 1, max: 3000 }),
        (secret, salt, info, n) => {
          const key = Buffer.alloc(n);
          open().hkdf(secret, salt, info, key);
          assert(key.equals(Buffer.from(hkdfSync('sha256', secret, salt, info, n))));
        },
      ),
    );
  });

  test(`${name}: random bytes fill what they are to fill, and nothing else`, () => {
    for (const memory of [new ArrayBuffer(300), new SharedArrayBuffer(300)]) {
      const view = new Uint8Array(memory, 50, 200);
      const changed = new Set<number>();
      for (let round = 0; round < 20; round++) {
        const before = Uint8Array.from(view);
        open().fill(view);
        for (const [i, byte] of view.entries()) if (byte !== before[i]) changed.add(i);
      }
      assert.equal(changed.size, 200);
      const around = [...new Uint8Array(memory, 0, 50), ...new Uint8Array(memory, 250)];
      assert(around.every((byte) => byte === 0));
    }
    open().fill(new Uint8Array(0));
  });
}
