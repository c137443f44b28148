/** Errors of the system have the right names, numbers and messages. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { checked, ERRNO, errnoName, errnoNumber, errnoText, ioError } from './errno.ts';

test('errors of the system have names, numbers and texts', () => {
  assert.equal(errnoName(-2), 'ENOENT');
  assert.equal(errnoName(2), 'ENOENT');
  assert.equal(errnoName(-61), 'ENODATA');
  assert.equal(errnoName(-122), 'EDQUOT');
  assert.equal(errnoName(-117), 'EUCLEAN');
  assert.equal(errnoName(-4000), 'E4000');
  assert.equal(errnoNumber('ENOSPC'), 28);
  assert.equal(errnoNumber('EOPNOTSUPP'), errnoNumber('ENOTSUP'));
  assert.equal(errnoNumber('ENONSENSE'), undefined);
  assert.equal(errnoText(-13), 'permission denied');
  assert.equal(errnoText(-122), 'disk quota exceeded');
  assert.equal(errnoText(-4000), 'system error 4000');
});

test('the numbers that code compares with are those of the system', () => {
  for (const [name, number] of Object.entries(ERRNO)) {
    assert.equal(errnoNumber(name), number, name);
    const known = (constants.errno as Readonly<Record<string, number>>)[name];
    if (known !== undefined) assert.equal(known, number, name);
  }
});

test('an error for people names call, path and reason', () => {
  const error = ioError(-13, 'open', 'docs/a.txt');
  assert(error instanceof PenstockError);
  assert.equal(error.message, 'cannot open docs/a.txt: permission denied (EACCES)');
  assert.deepEqual([error.code, error.errno, error.subject], ['HOST_IO', 'EACCES', 'docs/a.txt']);
  const odd = ioError(-5, 'read', 'a\n\xff');
  assert.equal(odd.message, 'cannot read a\\x0a\\xff: i/o error (EIO)');
  assert.equal(odd.subject, 'a\n\xff');
});

test('a good result passes, a bad one throws', () => {
  assert.equal(checked(7, 'open', 'a'), 7);
  assert.throws(() => checked(-28, 'write', 'a'), { code: 'HOST_IO', errno: 'ENOSPC' });
});
