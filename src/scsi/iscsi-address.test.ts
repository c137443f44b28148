/**
 * Goal: addresses of drives are read, and what is wrong with one is said, without what may be secret.
 * Method: a list of each.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { PenstockError } from '../base/errors.ts';
import { parseIscsiAddress } from './iscsi-address.ts';

const TARGET = 'iqn.2001-04.com.example:drive-1';

test('addresses are read', () => {
  const right = { host: 'nas', port: 3260, target: TARGET, lun: 1 };
  assert.deepEqual(parseIscsiAddress(`iscsi://nas/${TARGET}/1`), right);
  assert.deepEqual(parseIscsiAddress(`iscsi://nas/${TARGET.toUpperCase()}/1`), right);
  assert.deepEqual(parseIscsiAddress(`iscsi://me@nas:860/${TARGET}/0`), {
    ...right,
    port: 860,
    lun: 0,
    user: 'me',
  });
  assert.deepEqual(parseIscsiAddress(`iscsi://a%40b@[::1]:1/naa.0123456789abcdef/16383`), {
    host: '::1',
    port: 1,
    target: 'naa.0123456789abcdef',
    lun: 16_383,
    user: 'a@b',
  });
});

const WRONG: readonly (readonly [string, RegExp])[] = [
  [`http://nas/${TARGET}/1`, /begin with iscsi/],
  [`iscsi://nas/${TARGET}`, /other parts/],
  [`iscsi://nas/${TARGET}/1/2`, /other parts/],
  [`iscsi:///${TARGET}/1`, /host/],
  [`iscsi://[nas]/${TARGET}/1`, /host/],
  [`iscsi://na s/${TARGET}/1`, /host/],
  [`iscsi://nas:0/${TARGET}/1`, /port is 0/],
  [`iscsi://nas:65536/${TARGET}/1`, /port is 65536/],
  [`iscsi://nas:x/${TARGET}/1`, /port is x/],
  ['iscsi://nas/drive-1/1', /target is no name/],
  [`iscsi://nas/${TARGET}${'a'.repeat(223)}/1`, /target is no name/],
  [`iscsi://nas/${TARGET}/`, /logical unit is missing/],
  [`iscsi://nas/${TARGET}/16384`, /logical unit is 16384/],
  [`iscsi://nas/${TARGET}/-1`, /logical unit is -1/],
  [`iscsi://%zz@nas/${TARGET}/1`, /user is no name/],
];

for (const [text, why] of WRONG) {
  test(`not an address: ${text.slice(0, 60)}`, () => {
    assert.throws(() => parseIscsiAddress(text), { code: 'USAGE', message: why });
  });
}

test('a secret in an address is refused, and not shown', () => {
  const attempt = (): unknown => parseIscsiAddress(`iscsi://me:open-sesame@nas/${TARGET}/1`);
  assert.throws(attempt, (error: PenstockError) => {
    assert.equal(error.code, 'USAGE');
    assert.doesNotMatch(`${error.message} ${error.hint}`, /sesame/);
    assert.match(error.hint, /PENSTOCK_CHAP_SECRET_FILE/);
    return true;
  });
});
