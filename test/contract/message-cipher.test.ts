/**
 * Each implementation of `MessageSealer` and `MessageOpener` passes their contract, and each opens what the other one
 * has sealed.
 *
 * Method: random messages in random pieces, from one memory to another and in place, shared memory too; what they
 * are sealed to is compared with node:crypto; every single bit of small messages and their tags is flipped.
 */
import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type MessageOpener,
  type MessageSealer,
  openMessageOpener,
  openMessageSealer,
} from '../../src/host/files-only.ts';
import { NodeMessageOpener, NodeMessageSealer } from '../../src/host/message-cipher-node.ts';

interface Kind {
  sealer(): MessageSealer;
  opener(): MessageOpener;
}

const KINDS: Readonly<Record<'native' | 'node', Kind>> = {
  native: { sealer: openMessageSealer, opener: openMessageOpener },
  node: { sealer: () => new NodeMessageSealer(), opener: () => new NodeMessageOpener() },
};
const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const nonce12 = fc.uint8Array({ minLength: 12, maxLength: 12 });
const cuts = fc.infiniteStream(fc.integer({ min: 0, max: 900 }));

test('the pinned Node gets the native one', () => {
  assert.equal(openMessageSealer().kind, 'native');
  assert.equal(openMessageOpener().kind, 'native');
});

for (const [name, kind] of Object.entries(KINDS)) {
  test(`${name}: what is sealed in pieces is what node:crypto makes of the whole, and is opened again`, () => {
    const sealer = kind.sealer();
    const openers = Object.values(KINDS).map(({ opener }) => opener());
    fc.assert(
      fc.property(
        key32,
        nonce12,
        fc.uint8Array({ maxLength: 3000 }),
        cuts,
        fc.nat(40),
        fc.boolean(),
        (key, nonce, message, lengths, at, shared) => {
          const room = at + message.length + 7;
          const memory = shared
            ? new Uint8Array(new SharedArrayBuffer(room))
            : new Uint8Array(room);
          memory.fill(0xee);
          memory.set(message, at);
          const tag = new Uint8Array(16);
          pieces(message.length, lengths, sealer, key, nonce, (from, length) =>
            sealer.update(memory, at + from, length, memory, at + from),
          );
          sealer.end(tag);
          const cipher = createCipheriv('aes-256-gcm', key, nonce);
          const expected = Buffer.concat([cipher.update(message), cipher.final()]);
          assert.deepEqual(Buffer.from(memory.slice(at, at + message.length)), expected);
          assert.deepEqual(Buffer.from(tag), cipher.getAuthTag());
          for (const opener of openers) {
            const opened = new Uint8Array(message.length + 2).fill(0xdd);
            pieces(message.length, lengths, opener, key, nonce, (from, length) =>
              opener.update(memory, at + from, length, opened, from + 1),
            );
            assert.equal(opener.end(tag), true);
            assert.deepEqual(opened.slice(1, -1), message);
            assert.deepEqual([opened[0], opened.at(-1)], [0xdd, 0xdd]);
          }
          assert(memory.subarray(0, at).every((byte) => byte === 0xee));
          assert(memory.subarray(at + message.length).every((byte) => byte === 0xee));
        },
      ),
    );
  });

  test(`${name}: no flipped bit, other nonce or other key passes`, () => {
    const [sealer, opener] = [kind.sealer(), kind.opener()];
    const [key, nonce] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2)];
    const sealed = Buffer.alloc(20 + 16);
    sealer.begin(key, nonce);
    sealer.update(Buffer.from('twenty bytes of text'), 0, 20, sealed, 0);
    sealer.end(sealed.subarray(20));
    const opens = (bytes: Uint8Array, withKey = key, withNonce = nonce): boolean => {
      opener.begin(withKey, withNonce);
      opener.update(bytes, 0, 20, Buffer.alloc(20), 0);
      return opener.end(bytes.subarray(20));
    };
    assert(opens(sealed));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const flipped = Buffer.from(sealed);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      assert(!opens(flipped), `bit ${bit}`);
    }
    assert(!opens(sealed, new Uint8Array(32).fill(3)));
    assert(!opens(sealed, key, new Uint8Array(12)));
    // One that was begun and left is forgotten; an empty message has a tag, too.
    opener.begin(key, nonce);
    opener.update(sealed, 0, 3, Buffer.alloc(3), 0);
    assert(opens(sealed));
    const tag = Buffer.alloc(16);
    sealer.begin(key, nonce);
    sealer.end(tag);
    opener.begin(key, nonce);
    assert(opener.end(tag));
  });

  test(`${name}: outside of a message, out of range or closed it refuses to work`, () => {
    const refuses = { name: 'AssertionError' };
    const opener = kind.opener();
    const [view, key, nonce] = [new Uint8Array(16), new Uint8Array(32), new Uint8Array(12)];
    assert.throws(() => opener.update(view, 0, 1, view, 0), refuses);
    assert.throws(() => opener.end(view), refuses);
    opener.begin(key, nonce);
    assert.throws(() => opener.update(view, 10, 7, view, 0), refuses);
    assert.throws(() => opener.update(view, 0, 7, view, 10), refuses);
    opener.close();
    opener.close();
    assert.throws(() => opener.update(view, 0, 1, view, 0), refuses);
  });
}

/** Has `update` called for all of a message, in pieces of these lengths. */
function pieces(
  total: number,
  lengths: Iterator<number>,
  cipher: MessageSealer | MessageOpener,
  key: Uint8Array,
  nonce: Uint8Array,
  update: (from: number, length: number) => void,
): void {
  cipher.begin(key, nonce);
  for (let from = 0; from < total; ) {
    const length = Math.min(lengths.next().value as number, total - from);
    update(from, length);
    from += length;
  }
}
