/**
 * Goal: secrets of CHAP come from variables or files, leave the environment, and stand in no message.
 * Method: an environment of the test's own, files in a folder of its own.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { PenstockError } from '../base/errors.ts';
import { takeChapSecrets } from './chap-secrets.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-chap-'));
after(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

test('without a user nobody proves anything', async () => {
  assert.equal(await takeChapSecrets({ PENSTOCK_CHAP_SECRET: 'a secret' })(undefined), undefined);
});

test('a secret comes from a variable, which is taken away', async () => {
  const environment: Record<string, string | undefined> = {
    PENSTOCK_CHAP_SECRET: 'a secret',
    OTHER: '1',
  };
  const secrets = takeChapSecrets(environment);
  assert.deepEqual(environment, { OTHER: '1' });
  assert.deepEqual(await secrets('me'), { user: 'me', secret: Buffer.from('a secret') });
});

test('secrets for both directions come from files, without the end of the line', async () => {
  const secrets = takeChapSecrets({
    PENSTOCK_CHAP_SECRET_FILE: fileWith('own', 'ours\n'),
    PENSTOCK_CHAP_TARGET_SECRET_FILE: fileWith('theirs', 'theirs'),
    PENSTOCK_CHAP_TARGET_USER: 'you',
  });
  assert.deepEqual(await secrets('me'), {
    user: 'me',
    secret: Buffer.from('ours'),
    target: { user: 'you', secret: Buffer.from('theirs') },
  });
});

test('what is missing, empty, too long or not there is told, and never shown', async () => {
  const attempts: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{}, /no secret/],
    [{ PENSTOCK_CHAP_SECRET_FILE: fileWith('empty', '\n') }, /1 to 255 bytes/],
    [{ PENSTOCK_CHAP_SECRET: 'sesame'.repeat(50) }, /1 to 255 bytes/],
    [{ PENSTOCK_CHAP_SECRET_FILE: fileWith('long', 'sesame'.repeat(2000)) }, /1 to 255 bytes/],
    [
      { PENSTOCK_CHAP_SECRET_FILE: join(folder, 'nowhere') },
      /cannot read PENSTOCK_CHAP_SECRET_FILE/,
    ],
  ];
  for (const [environment, text] of attempts) {
    await assert.rejects(takeChapSecrets(environment)('me'), (error: PenstockError) => {
      assert.equal(error.code, 'USAGE');
      assert.match(error.message, text);
      assert.doesNotMatch(`${error.message}${error.hint}`, /sesame/);
      return true;
    });
  }
});
