/**
 * Goal: the folders of a machine are where the specification puts them. Method: environments.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PenstockError } from '../base/errors.ts';
import { defaultRepoUrl, defaultStateDirectory } from './state.ts';
import { ensureStateDirectory } from './state-folder.ts';

const reader =
  (environment: Readonly<Record<string, string>>) =>
  (name: string): string | undefined =>
    environment[name];

test('the defaults lie below the home directory', () => {
  const variable = reader({ HOME: '/home/m\xfc/' });
  assert.equal(defaultStateDirectory(variable), '/home/m\xfc/.local/state/penstock');
  assert.equal(defaultRepoUrl(variable), '/home/m\xfc/.local/share/penstock/repo');
});

test('the XDG variables move them, unless they are relative or empty', () => {
  const moved = reader({ HOME: '/h', XDG_STATE_HOME: '/s/', XDG_DATA_HOME: '/d' });
  assert.equal(defaultStateDirectory(moved), '/s/penstock');
  assert.equal(defaultRepoUrl(moved), '/d/penstock/repo');
  const ignored = reader({ HOME: '/h', XDG_STATE_HOME: 's', XDG_DATA_HOME: '' });
  assert.equal(defaultStateDirectory(ignored), '/h/.local/state/penstock');
  assert.equal(defaultRepoUrl(ignored), '/h/.local/share/penstock/repo');
});

test('without HOME the system is asked', () => {
  assert.match(defaultStateDirectory(reader({})), /^\/.*\.local\/state\/penstock$/);
});

test('the state folder is made for its owner only, and may be there already', () => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-state-'));
  try {
    const state = join(folder, 'a', 'b');
    ensureStateDirectory(state);
    ensureStateDirectory(state);
    assert.equal(statSync(state).mode & 0o777, 0o700);
    writeFileSync(join(folder, 'file'), '');
    assert.throws(
      () => ensureStateDirectory(join(folder, 'file', 'state')),
      (error) =>
        error instanceof PenstockError && error.code === 'HOST_IO' && error.errno === 'ENOTDIR',
    );
    assert(!existsSync(join(folder, 'file', 'state')));
    assert.throws(() => ensureStateDirectory('/proc/penstock/state'), { errno: 'ENOENT' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
