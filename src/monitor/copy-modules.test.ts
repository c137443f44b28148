/**
 * Goal: listings that a machine's copies have left behind hold up neither its own copies nor those of others.
 * Method: the modules of copies are asked for as other machines ask for them, one listing after the other.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { LIMITS } from '../base/limits.ts';
import type { Peer } from '../channel/net/peers.ts';
import { allowCopies } from './copy-modules.ts';
import { farModule } from './pipe-modules.ts';

const peer = (digit: string): Peer => ({
  name: `peer-${digit}`,
  fingerprint: digit.repeat(64),
  kind: 'client',
  pairedMs: 0,
  access: [],
  copyPaths: ['/'],
  modules: [],
});
const idOf = (number: number): string => number.toString(16).padStart(32, '0');

function keep(number: number, from: Peer): void {
  const { options } = farModule('copy-keep', { commands: new Map() }, from);
  options({ listing: idOf(number) }, from);
}

test('the oldest listings of a machine give way to its next ones, those of others stay', () => {
  allowCopies();
  const [busy, other] = [peer('a'), peer('b')];
  keep(0, other);
  const before = readdirSync('/proc/self/fd').length;
  const many = 3 * LIMITS.copyListingsMax;
  for (let number = 0; number < many; number++) keep(number, busy);
  const more = readdirSync('/proc/self/fd').length - before;
  assert.equal(more, LIMITS.copyListingsPeerMax, 'what gave way is closed');
  const compare = (number: number, from: Peer): unknown =>
    farModule('copy-compare', { commands: new Map() }, from).options(
      { path: '/', listing: idOf(number) },
      from,
    );
  assert.ok(compare(0, other), 'of another machine');
  assert.ok(compare(many - 1, busy), 'the newest');
  assert.throws(() => compare(0, busy), { code: 'PIPE_CONFIG' });
});
