/**
 * Goal: the key is begun for the repository that is meant, where everything for it is at hand, and never else.
 * Method: a repository with two keys; command lines and environments; what is begun is what opens its oldest key.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, mock, test } from 'node:test';
import { openKeySlot } from '../crypto/key-slot.ts';
import { openClock, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { listKeySlots } from '../mover/key-slots.ts';
import { addKey } from '../mover/keys.ts';
import { createRepository } from '../mover/repository.ts';
import { COMMAND_NAMES } from '../options/table.ts';
import { deriveAhead, KEY_COMMANDS } from './key-ahead.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock ahead-'));
after(() => rmSync(folder, { recursive: true }));
const repo = join(folder, 'repo');
const PASSPHRASE = 'pässword';
const ENVIRONMENT = { PENSTOCK_PASSPHRASE: PASSPHRASE, HOME: folder };
const AROUND = { clock: openClock(), random: openRandom() };

const { argon2 } = process.getBuiltinModule('node:crypto');
const derivations = mock.fn(argon2);
process.getBuiltinModule('node:crypto').argon2 = derivations;

const store = openDirectoryStore(repo, true);
const repository = await createRepository(store, Buffer.from(PASSPHRASE), AROUND);
await addKey(repository, Buffer.from('another one'), { label: '', madeBy: '' });
const oldest = (await listKeySlots(store)).slots[0]?.slot;

const begins = (args: string[], environment: NodeJS.ProcessEnv = {}): boolean =>
  deriveAhead(args, { ...ENVIRONMENT, ...environment });

test('what is begun is what opens the oldest key, and is derived once', async () => {
  assert(oldest !== undefined);
  derivations.mock.resetCalls();
  assert(begins(['backup', '--repo', repo, '/etc']));
  assert.notEqual(await openKeySlot(oldest, Buffer.from(PASSPHRASE)), undefined);
  assert.equal(derivations.mock.callCount(), 1);
  // It is given out once.
  assert.notEqual(await openKeySlot(oldest, Buffer.from(PASSPHRASE)), undefined);
  assert.equal(derivations.mock.callCount(), 2);
});

test('a guess that is wrong does no harm', async () => {
  assert(oldest !== undefined);
  derivations.mock.resetCalls();
  assert(begins(['ls', '--repo', repo], { PENSTOCK_PASSPHRASE: 'wrong' }));
  assert.notEqual(await openKeySlot(oldest, Buffer.from(PASSPHRASE)), undefined);
  assert(begins(['ls', '--repo', repo]));
  assert.equal(await openKeySlot(oldest, Buffer.from('wrong')), undefined);
  assert(begins(['ls', '--repo', repo]));
  const salted = { ...oldest, salt: Buffer.alloc(16).toString('base64') };
  assert.equal(await openKeySlot(salted, Buffer.from(PASSPHRASE)), undefined);
  assert.equal(derivations.mock.callCount(), 6);
});

test('the repository is found as the command line finds it', () => {
  mkdirSync(join(folder, '.local/share/penstock'), { recursive: true });
  assert(!begins(['backup', '/etc']), 'there is none at the default place');
  symlinkSync(repo, join(folder, '.local/share/penstock/repo'));
  for (const args of [
    ['backup', '/etc'],
    ['backup', '--repo', repo, '/etc'],
    [`--repo=${repo}`, '-v', 'restore', 'latest'],
    ['--repo', '/nowhere', 'check', '--repo', repo],
    ['key', 'list', '--repo', repo],
  ]) {
    assert(begins(args), args.join(' '));
  }
  assert(begins(['ls'], { PENSTOCK_REPO: repo, HOME: '/nowhere' }));
  for (const args of [
    ['backup', '--repo', '/nowhere', '/etc'],
    ['backup', '--repo', `penstock://host${repo}`, '/etc'],
    ['backup', '--repo', `\ufffd${repo}`, '/etc'],
    ['backup', '--repo'],
    ['backup', '--help', '--repo', repo],
    ['init', '--repo', repo],
    ['serve', '--repo', repo],
    [],
  ]) {
    assert(!begins(args, { HOME: '/nowhere' }), args.join(' '));
  }
});

test('the passphrase comes from the environment or an ordinary file, and from nothing that can be read once', async () => {
  assert(oldest !== undefined);
  const none = { PENSTOCK_PASSPHRASE: undefined };
  const args = ['archives', '--repo', repo];
  assert(!begins(args, none));
  assert(!begins(args, { PENSTOCK_PASSPHRASE: '' }));
  assert(!begins(args, { PENSTOCK_PASSPHRASE: 'p\ufffdw' }));
  const file = join(folder, 'secret');
  for (const end of ['', '\n', '\r\n']) {
    writeFileSync(file, `${PASSPHRASE}${end}`);
    derivations.mock.resetCalls();
    assert(begins(args, { ...none, PENSTOCK_PASSPHRASE_FILE: file }));
    await openKeySlot(oldest, Buffer.from(PASSPHRASE));
    assert.equal(derivations.mock.callCount(), 1);
  }
  const fifo = join(folder, 'fifo');
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
  for (const path of [fifo, '/dev/zero', folder, join(folder, 'missing')]) {
    assert(!begins(args, { ...none, PENSTOCK_PASSPHRASE_FILE: path }), path);
  }
  truncateSync(file, 1 << 20);
  assert(!begins(args, { ...none, PENSTOCK_PASSPHRASE_FILE: file }));
});

test('keys that are damaged, foreign or huge are passed over', () => {
  const other = join(folder, 'other');
  mkdirSync(join(other, 'keys'), { recursive: true });
  const args = ['prune', '--repo', other];
  assert(!begins(args), 'there is none');
  writeFileSync(join(other, 'keys', 'x'), 'not a key');
  assert(!begins(args));
  for (const name of readdirSync(join(repo, 'keys'))) {
    copyFileSync(join(repo, 'keys', name), join(other, 'keys', name));
  }
  assert(begins(args));
  writeFileSync(join(other, 'keys', 'y'), '');
  truncateSync(join(other, 'keys', 'y'), 1 << 30);
  assert(!begins(args), 'nothing is read whole that is so large');
});

test('the commands are those of the table', () => {
  const words = new Set(COMMAND_NAMES.map((name) => name.split(' ')[0]));
  for (const command of KEY_COMMANDS) assert(words.has(command), command);
});
