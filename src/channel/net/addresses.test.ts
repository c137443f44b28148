/**
 * Goal: addresses are counted as what one attacker has, within bounds. Method: known forms.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attempts, addressKey, CountedAddresses } from './addresses.ts';

test('an IPv6 network counts as one address, a mapped IPv4 address as itself', () => {
  for (const [address, key] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:DB8:1:2::9', '2001:db8:1:2'],
    ['2001:0db8:0001:2::', '2001:db8:1:2'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['', ''],
  ] as const) {
    assert.equal(addressKey(address), key, address);
  }
});

test('connections are counted up to a maximum, and down again', () => {
  const counted = new CountedAddresses(2);
  assert.deepEqual(
    ['a', 'a', 'a', 'b'].map((address) => counted.add(address)),
    [true, true, false, true],
  );
  counted.remove('a');
  assert(counted.add('a'));
  counted.remove('never there');
  assert(!counted.add('a'));
});

test('attempts are counted within a window, and so are addresses', () => {
  let nowMs = 0;
  const attempts = new Attempts(2, 2, 1000, () => nowMs);
  const tried = ['a', 'a', 'a', 'b', 'c'].map((address) => attempts.allow(address));
  assert.deepEqual(tried, [true, true, false, true, false]);
  nowMs = 999;
  assert(!attempts.allow('a'));
  nowMs = 1000;
  assert(attempts.allow('a') && attempts.allow('c'));
});
