/**
 * Goal: who is paired is what is stored, under names that are unique, with nothing granted by
 * mistake. Method: a state folder; fingerprints made up.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  formatAddress,
  isPeerName,
  isRepositoryName,
  mayAccess,
  type Peer,
  Peers,
} from './peers.ts';
import { StateFolder } from './state-folder.ts';

const ROOT = mkdtempSync(join(tmpdir(), 'penstock-peers-'));
after(() => rmSync(ROOT, { recursive: true }));

const newPeers = (): Peers => new Peers(new StateFolder(mkdtempSync(join(ROOT, 'state-'))));

function peer(digit: string, more: Partial<Peer> = {}): Peer {
  const fingerprint = digit.repeat(64);
  const common = { name: 'laptop', fingerprint, kind: 'client', pairedMs: 5 } as const;
  return { ...common, access: [], copyPaths: ['/srv/\xff'], ...more };
}

test('what is stored is found, listed, replaced and removed', () => {
  const peers = newPeers();
  assert.deepEqual(peers.list(), []);
  peers.put(peer('a'));
  const server = peer('a', { kind: 'server', address: 'h:1', name: 'the server' });
  peers.put(server);
  assert.deepEqual(peers.find('a'.repeat(64), 'client'), peer('a'));
  assert.deepEqual(peers.list(), [peer('a'), server]);
  const access = [{ repository: 'x', level: 'full' }] as const;
  peers.put(peer('a', { access }));
  assert.deepEqual(peers.find('a'.repeat(64), 'client')?.access, access);
  assert(peers.remove('a'.repeat(64), 'client'));
  assert(!peers.remove('a'.repeat(64), 'client'));
  assert.deepEqual(peers.list(), [server]);
  for (const wrong of ['', 'A'.repeat(64), '../../etc/passwd', `${'a'.repeat(64)}/..`]) {
    assert.equal(peers.find(wrong, 'client'), undefined);
    assert(!peers.remove(wrong, 'server'));
  }
});

test('two machines of one name get two names', () => {
  const peers = newPeers();
  const names = ['a', 'b', 'c', 'a'].map((digit) => peers.put(peer(digit)).name);
  assert.deepEqual(names, ['laptop', 'laptop-2', 'laptop-3', 'laptop']);
});

test('a server that was set up anew takes the place of the one at its address', () => {
  const peers = newPeers();
  const at = (digit: string, address: string): Peer => peer(digit, { kind: 'server', address });
  peers.put(at('a', 'h:1'));
  peers.put(at('b', 'h:2'));
  peers.put(at('c', 'h:1'));
  assert.equal(peers.server('H', 1).fingerprint, 'c'.repeat(64));
  assert.equal(peers.list().length, 2);
});

test('access includes what is below it, on the repositories that it names', () => {
  const some = peer('a', { access: [{ repository: 'home', level: 'append' }] });
  const all = peer('a', { access: [{ repository: '*', level: 'read' }] });
  const asked = ['read', 'append', 'full'] as const;
  const allowed = (who: Peer, repository: string): string[] =>
    asked.filter((level) => mayAccess(who, repository, level));
  assert.deepEqual(allowed(some, 'home'), ['read', 'append']);
  assert.deepEqual(allowed(some, 'mail'), []);
  assert.deepEqual(allowed(some, '*'), []);
  assert.deepEqual(allowed(all, 'mail'), ['read']);
  assert.deepEqual(allowed(all, '*'), ['read']);
});

test('names and addresses', () => {
  for (const name of ['', ' x', 'a\nb', '\u001b[2J', 'x'.repeat(65)]) assert(!isPeerName(name));
  for (const name of ['a', 'Büro 2', 'host.example.org']) assert(isPeerName(name), name);
  for (const name of ['', '*', '.', '..', 'a/b', '-a', 'a b', 'ü']) assert(!isRepositoryName(name));
  for (const name of ['a', 'home-2', 'A.b_c']) assert(isRepositoryName(name), name);
  assert.equal(formatAddress('EXAMPLE.org', 1), 'example.org:1');
  assert.equal(formatAddress('::1', 1), '[::1]:1');
});

test('files are private, whole, and bounded', () => {
  const path = mkdtempSync(join(ROOT, 'state-'));
  const state = new StateFolder(path);
  assert(state.create('peers/x', Buffer.from('1')));
  assert(!state.create('peers/x', Buffer.from('2')));
  assert.equal(state.read('peers/x')?.toString(), '1');
  state.replace('peers/x', Buffer.from('3'));
  assert.equal(state.read('peers/x')?.toString(), '3');
  assert.equal(statSync(join(path, 'peers/x')).mode & 0o777, 0o600);
  assert.equal(statSync(join(path, 'peers')).mode & 0o777, 0o700);
  assert.deepEqual(state.list('peers'), ['x']);
  assert.equal(state.read('none'), undefined);
  assert.deepEqual(state.list('none'), []);
  state.replace('long', Buffer.alloc(64 * 1024 + 1));
  assert.throws(() => state.read('long'), { code: 'LIMIT' });
  assert.throws(() => new StateFolder('/dev/null/x').create('y', Buffer.from('1')), {
    code: 'HOST_IO',
  });
});
