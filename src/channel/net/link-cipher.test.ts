/**
 * Goal: what a data connection is encrypted with is what docs/format.md says, in both directions and beyond the life of a
 * key, so that another program could be at its other end.
 * Method: the same made here of node:crypto's parts.
 */
import { deepEqual, equal, notDeepEqual } from 'node:assert/strict';
import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { sealed } from '../../../test/agent-pair.ts';
import { writePreamble } from './frame.ts';
import { closeLinkCipher, openLinkCipher } from './link-cipher.ts';

const KEY_BYTES = 50;
const preamble = { id: '0123456789abcdef'.repeat(2), agent: 3, attempt: 70_000 };
const secret = randomBytes(32);
const nonce = randomBytes(32);

/** Messages with their tags, as the specification has them. */
function specified(ofInitiator: boolean, messages: readonly Buffer[]): Buffer[] {
  const info = Buffer.concat([Buffer.from('penstock data connection 1'), writePreamble(preamble)]);
  const keys = Buffer.from(hkdfSync('sha256', secret, nonce, info, 64));
  let key = ofInitiator ? keys.subarray(0, 32) : keys.subarray(32);
  let under = 0;
  return messages.map((message, number) => {
    if (under >= KEY_BYTES) {
      key = Buffer.from(hkdfSync('sha256', key, '', 'penstock next key', 32));
      under = 0;
    }
    under += message.length;
    const counter = Buffer.alloc(12);
    counter.writeBigUInt64LE(BigInt(number), 4);
    const cipher = createCipheriv('aes-256-gcm', key, counter);
    return Buffer.concat([cipher.update(message), cipher.final(), cipher.getAuthTag()]);
  });
}

test('messages are those that the format specifies, both ways and over several keys', () => {
  const near = openLinkCipher('connecting', secret, preamble, nonce, KEY_BYTES);
  const far = openLinkCipher('accepting', secret, preamble, nonce, KEY_BYTES);
  const messages = [0, 20, 40, 0, 7, 60, 1, 49, 1, 1, 200].map((length) => randomBytes(length));
  for (const [sender, receiver, isInitiator] of [
    [near, far, true],
    [far, near, false],
  ] as const) {
    const sent = messages.map((message, i) =>
      i === 0 ? sender.sealer.proof() : sealed(sender, message),
    );
    deepEqual(sent, specified(isInitiator, messages));
    for (const [i, bytes] of sent.entries()) {
      const { length } = messages[i] as Buffer;
      const opened = Buffer.alloc(length);
      // Every third is of no interest to the receiver: the others come all the same.
      if (i % 3 === 2) {
        receiver.opener.skip(length);
        continue;
      }
      receiver.opener.begin();
      receiver.opener.update(bytes, 0, length, opened, 0);
      equal(receiver.opener.end(bytes.subarray(length)), true, `message ${i}`);
      deepEqual(opened, messages[i]);
    }
  }
  for (const cipher of [near, far]) closeLinkCipher(cipher);
});

test('no two connections, and no two directions, have a key in common', () => {
  const proofs = [
    openLinkCipher('connecting', secret, preamble, nonce),
    openLinkCipher('accepting', secret, preamble, nonce),
    openLinkCipher('connecting', secret, { ...preamble, attempt: 70_001 }, nonce),
    openLinkCipher('connecting', secret, { ...preamble, agent: 4 }, nonce),
    openLinkCipher('connecting', secret, preamble, randomBytes(32)),
    openLinkCipher('connecting', randomBytes(32), preamble, nonce),
  ].map(({ sealer }) => sealer.proof().toString('hex'));
  equal(new Set(proofs).size, proofs.length);
  const cipher = openLinkCipher('connecting', secret, preamble, nonce);
  const message = Buffer.from('the same twice');
  notDeepEqual(sealed(cipher, message), sealed(cipher, message));
});
