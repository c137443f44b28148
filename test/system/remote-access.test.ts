/**
 * Goal: each machine does on a served repository what it was granted, and is told plainly what not.
 * Method: `penstock serve` in a process of its own, the commands as users start them.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Served } from '../served.ts';
import { Workplace } from './workplace.ts';

let served: Served;

before(async () => {
  served = await Served.start('remote-access', ['home', 'second', 'third', 'fourth']);
});
after(() => served.remove());

/** A machine paired with the server, for the repository of this name. */
async function machine(
  name: string,
  repository: string,
  level: 'read' | 'append' | 'full',
): Promise<Workplace> {
  const made = new Workplace(name);
  await served.pair(made.state, level, repository);
  made.repo = served.url(repository);
  return made;
}

test('a backup makes the repository where there is none, at a rate that is held', async () => {
  const other = await machine('remote-second', 'second', 'full');
  try {
    other.write('a', Buffer.from(Array.from({ length: 60_000 }, (_, i) => (i * i * 7919) >> 5)));
    other.backup('--limit-rate', '1M', '--agents', '3');
    other.must(['check', '--read-data']);
  } finally {
    other.remove();
  }
});

test('a machine that may only append backs up, and removes and replaces nothing', async () => {
  const other = await machine('remote-third', 'third', 'append');
  try {
    other.write('a.txt', 'one\n');
    const kept = other.backup();
    other.write('a.txt', 'two\n');
    other.backup('--checkpoint-interval', '1s');
    for (const args of [
      ['forget', kept],
      ['forget', '--keep-last', '1'],
      ['prune', '--max-unused', '0'],
      ['key', 'rotate'],
    ])
      assert.equal(other.fails(args, 1).code, 'REPO_READ_ONLY', args.join(' '));
    assert.equal(other.must(['cat', kept, join(other.source, 'a.txt')]).stdout, 'one\n');
    other.must(['check', '--read-data']);
    await served.pair(other.state, 'read', 'third');
    assert.equal(other.fails(['backup', other.source], 1).code, 'REPO_READ_ONLY');
    other.must(['restore', kept, '--target', join(other.directory, 'out')]);
    await served.pair(other.state, 'full', 'home');
    assert.equal(other.fails(['archives'], 1).code, 'NET_DENIED');
  } finally {
    other.remove();
  }
});

test('a machine with a quota fills a repository to it, restores, and is told what to do', async () => {
  const quotaBytes = 400_000;
  const other = new Workplace('remote-quota');
  const pair = (bytes?: number): Promise<unknown> =>
    served.pair(other.state, 'append', 'fourth', served.port, bytes);
  try {
    await pair(quotaBytes);
    other.repo = served.url('fourth');
    other.write('a', randomBytes(150_000));
    const first = other.backup();
    other.write('b', randomBytes(600_000));
    const error = other.fails(['backup', other.source], 1);
    assert.equal(error.code, 'REPO_FULL');
    assert.match(String(error.message), /fourth holds .*, and client-\d may fill it to 390.6 KiB/);
    assert.match(String(error.hint), /--quota/);
    assert.ok(bytesBelow(served.repository('fourth')) <= quotaBytes);
    other.must(['restore', first, '--target', join(other.directory, 'out')]);
    const list = other.must(['pair', 'list', '--state', served.serverState]).stdout;
    assert.match(list, /append fourth, fill each to 390.6 KiB/);
    await pair();
    other.backup();
    other.must(['check']);
  } finally {
    other.remove();
  }
});

function bytesBelow(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .reduce((sum, one) => sum + statSync(join(one.parentPath, one.name)).size, 0);
}

test('who is not paired, and what is not there, is told so', async () => {
  const other = new Workplace('remote-strange');
  try {
    other.repo = served.url('home');
    assert.equal(other.fails(['archives'], 1).code, 'NET_UNTRUSTED');
    await served.pair(other.state, 'full');
    other.repo = served.url('nowhere');
    assert.equal(other.fails(['archives'], 1).code, 'REPO_MISSING');
    other.repo = 'penstock://127.0.0.1/../x';
    assert.equal(other.fails(['archives'], 2).code, 'USAGE');
    other.repo = served.url('home', 1);
    await served.pair(other.state, 'full', '*', 1);
    assert.equal(other.fails(['archives'], 1).code, 'NET_UNREACHABLE');
  } finally {
    other.remove();
  }
});
