/**
 * Goal: what drives and libraries say is named rightly. Method: a table of sense data from the standards and
 * from drives' manuals.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { decodeSense, type SenseKind, senseKind, senseText } from './sense.ts';

/** Key with its flags, additional code, qualifier. */
const TABLE: readonly (readonly [number, number, number, SenseKind])[] = [
  [0x00, 0x00, 0x00, 'nothing'],
  [0x01, 0x17, 0x01, 'recovered'],
  [0x80, 0x00, 0x01, 'file-mark'],
  [0xc0, 0x00, 0x01, 'file-mark'],
  [0x40, 0x00, 0x00, 'early-warning'],
  [0x40, 0x00, 0x02, 'end-of-medium'],
  [0x41, 0x00, 0x02, 'end-of-medium'],
  [0x40, 0x00, 0x04, 'beginning-of-medium'],
  [0x00, 0x00, 0x05, 'end-of-data'],
  [0x08, 0x00, 0x05, 'end-of-data'],
  [0x48, 0x00, 0x00, 'end-of-data'],
  [0x03, 0x00, 0x05, 'end-of-data'],
  [0x20, 0x00, 0x00, 'incorrect-length'],
  [0x4d, 0x00, 0x02, 'overflow'],
  [0x02, 0x04, 0x01, 'becoming-ready'],
  [0x02, 0x04, 0x03, 'not-ready'],
  [0x02, 0x3a, 0x00, 'no-medium'],
  [0x02, 0x30, 0x03, 'not-ready'],
  [0x03, 0x11, 0x00, 'medium-error'],
  [0x03, 0x30, 0x00, 'medium-error'],
  [0x04, 0x44, 0x00, 'hardware-error'],
  [0x05, 0x20, 0x00, 'not-supported'],
  [0x05, 0x24, 0x00, 'illegal-request'],
  [0x06, 0x28, 0x00, 'medium-changed'],
  [0x06, 0x29, 0x03, 'reset'],
  [0x06, 0x2a, 0x01, 'attention'],
  [0x06, 0x3f, 0x01, 'attention'],
  [0x07, 0x27, 0x00, 'write-protected'],
  [0x0b, 0x47, 0x03, 'aborted'],
  [0x09, 0x80, 0x00, 'unknown'],
  [0x0e, 0x1d, 0x00, 'unknown'],
];

for (const [key, code, qualifier, kind] of TABLE) {
  const bytes = Buffer.alloc(18);
  [bytes[0], bytes[2], bytes[7], bytes[12], bytes[13]] = [0x70, key, 10, code, qualifier];
  const numbers = [key & 0xf, code, qualifier].map((one) => one.toString(16).padStart(2, '0'));
  test(`sense ${numbers.join('/')} is ${kind}`, () => {
    const sense = decodeSense(bytes);
    assert.equal(senseKind(sense), kind);
    assert.match(senseText(sense), new RegExp(`^[a-z].*\\(sense ${numbers.join('/')}\\)$`));
  });
}

test('what is cut off, or nothing, is no sense and no error', () => {
  const none = decodeSense(Buffer.alloc(0));
  assert.equal(senseKind(none), 'nothing');
  assert.equal(none.information, undefined);
  const short = decodeSense(Buffer.of(0xf0, 0, 0x48, 1, 2));
  assert.equal(senseKind(short), 'end-of-data');
  assert.equal(short.information, undefined);
  assert.equal(senseKind(decodeSense(Buffer.of(0x7f, 0, 3, 0))), 'nothing');
});

test('an earlier command is told apart', () => {
  const bytes = Buffer.alloc(18);
  [bytes[0], bytes[2], bytes[12]] = [0x71, 0x03, 0x0c];
  assert.equal(decodeSense(bytes).deferred, true);
  assert.match(senseText(decodeSense(bytes)), /an earlier command/);
});
