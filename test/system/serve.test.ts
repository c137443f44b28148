/**
 * Goal: `penstock serve` and `penstock pair` tell what is wrong before anything is done (U4).
 * Method: command lines that are wrong, ports that are taken, log lines as objects.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { penstock, scratchFolder, start } from '../commands.ts';

const SCRATCH = scratchFolder();

test('what is wrong on the command line is told, and nothing is made', () => {
  const state = join(SCRATCH, 'unused');
  for (const args of [
    ['serve', '--repo', '/srv/home'],
    ['serve', '--repo', 'home=relative'],
    ['serve', '--repo', 'a=/x', '--repo', 'a=/y'],
    ['serve', '--repo', '../x=/y'],
    ['serve', '--listen', 'example.org:1'],
    ['serve', '--log', 'xml'],
    ['pair', 'token', '--repo', 'a/b'],
    ['pair', 'token', '--copy-path', 'relative'],
    ['pair', 'http://x', '--token', 'x'],
  ]) {
    const run = penstock([...args, '--state', state]);
    assert.deepEqual([run.status, run.errors[0]?.code], [2, 'USAGE'], args.join(' '));
  }
  const token = penstock(['pair', '127.0.0.1:1', '--token', 'rubbish', '--state', state]);
  assert.deepEqual([token.status, token.errors[0]?.code], [1, 'PAIRING_REFUSED']);
  assert(!existsSync(state));
});

test('a port that is taken, then log lines as objects and status 0 at the end', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as AddressInfo;
  const args = ['serve', '--state', join(SCRATCH, 'state'), '--log', 'json', '--drain', '0s'];
  const taken = penstock([...args, '--listen', `127.0.0.1:${port}`]);
  assert.deepEqual([taken.status, taken.errors[0]?.code], [1, 'HOST_IO']);
  other.close();
  const daemon = start([...args, '--listen', '127.0.0.1:0', '--listen', '127.0.0.2:0']);
  daemon.child.stdout?.once('data', () => daemon.child.kill('SIGINT'));
  const run = await daemon.ended;
  assert.equal(run.status, 0, run.stderr);
  assert.deepEqual(
    run.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).host ?? JSON.parse(line).type),
    ['127.0.0.1', '127.0.0.2', 'summary'],
  );
  const logged = run.stderr.split('\n').filter((line) => line.startsWith('{'));
  assert.deepEqual(
    logged.map((line) => (JSON.parse(line) as { message: string }).message),
    ['started', 'stopping', 'stopped'],
  );
});

test('systemd finds nothing wrong with the unit', (context) => {
  const unit = fileURLToPath(new URL('../../systemd/penstock.service', import.meta.url));
  const run = spawnSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8' });
  if (run.error !== undefined) return context.skip('systemd is not installed');
  // It may have its say about other units of this machine.
  const said = run.stderr.split('\n').filter((line) => line.includes('penstock'));
  assert.deepEqual(said, []);
  return undefined;
});
