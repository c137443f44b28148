/**
 * Goal: addresses of machines are read as people write them. Method: known forms, and wrong ones.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localAddressesOf, parseAddress } from './address.ts';

test('addresses with and without a port', () => {
  for (const [text, host, port] of [
    ['example.org', 'example.org', 7420],
    ['example.org:1', 'example.org', 1],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['[::1]:99', '::1', 99],
    ['[::1]', '::1', 7420],
    ['2001:db8::1', '2001:db8::1', 7420],
    ['::', '::', 7420],
  ] as const) {
    assert.deepEqual(parseAddress(text, 7420), { host, port }, text);
  }
  for (const wrong of ['', ':1', 'a:b', 'a:65536', 'a:1:', '[a]:1', 'a/b', 'u@h', 'a b', '[::1']) {
    assert.throws(() => parseAddress(wrong, 7420), { code: 'USAGE' }, wrong);
  }
});

test('addresses of this machine are no names', () => {
  assert.deepEqual(localAddressesOf(['127.0.0.2', '::1']), ['127.0.0.2', '::1']);
  for (const wrong of ['localhost', '127.0.0.1:1', '[::1]', '']) {
    assert.throws(() => localAddressesOf(['127.0.0.1', wrong]), { code: 'USAGE' }, wrong);
  }
});
