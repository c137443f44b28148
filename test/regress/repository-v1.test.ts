/**
 * Goal: repositories of format version 1 stay readable for ever. Method: a repository that was made by
 * version 0.1.0 is opened with both of its passphrases, checked and restored; contents and metadata are
 * compared with what was backed up then. Its files must never be changed.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OBJECT_KINDS } from '../../src/format/object-store.ts';
import { scratchFolder, succeed } from '../commands.ts';

const FIXTURE = join(import.meta.dirname, '../fixtures/repository-v1');
const ENV = { PENSTOCK_PASSPHRASE: 'fixture passphrase' };
const scratch = scratchFolder();

/** A copy to work on; git keeps no empty folders. */
function copyOfFixture(): string {
  const repo = join(scratch, 'repo');
  cpSync(FIXTURE, repo, { recursive: true });
  for (const kind of [...OBJECT_KINDS, 'writing']) {
    if (kind !== 'repository') mkdirSync(join(repo, kind), { recursive: true });
  }
  return repo;
}

const hash = (file: string): string =>
  createHash('sha256').update(readFileSync(file)).digest('hex');

test('a repository of version 1 opens, is whole, and restores as it was', () => {
  const repo = copyOfFixture();
  succeed(['check', '--read-data', '--repo', repo], { env: ENV });
  succeed(['check', '--repo', repo], { env: { PENSTOCK_PASSPHRASE: 'second passphrase' } });
  const target = join(scratch, 'target');
  succeed(['restore', 'latest', '--no-owner', '--target', target, '--repo', repo], { env: ENV });
  const root = join(target, 'tmp/fx');
  assert.equal(
    hash(join(root, 'text.txt')),
    '6e4fbadc16613bf7330486b5b1c0089e66955474554dd599cc35c74eaae2fb07',
  );
  assert.equal(
    hash(join(root, 'noise.bin')),
    '7f47981f3d6173df5a982acebb6d2fb6d6b2a65d5bb6601aa374305efd2c5b68',
  );
  assert.equal(
    hash(join(root, 'sub/sparse')),
    '1fb44ee5f5018c37f853cc620d975dac25255719bdafc262fccc433ab4f9bc71',
  );
  assert.equal(readlinkSync(join(root, 'link')), 'text.txt');
  const noise = lstatSync(join(root, 'noise.bin'), { bigint: true });
  assert.equal(noise.mtimeNs, -1_876_543_211n);
  assert.equal(lstatSync(join(root, 'sub/hard')).ino, lstatSync(join(root, 'text.txt')).ino);
  const names = readdirSync(join(root, 'sub'), 'latin1').sort();
  assert.deepEqual(names, ['empty', 'hard', 'none', 'sparse', '\xffname']);
  assert.equal(lstatSync(join(root, 'sub/none')).size, 0);
});
