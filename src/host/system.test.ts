/** A process is told from others, also later ones with its number, and never wrongly buried. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { openSystem } from './system.ts';

const system = openSystem();

test('the own process is alive, and known by more than its number', () => {
  const own = system.processIdentity();
  assert.equal(own.pid, process.pid);
  assert.equal(own.hostName, hostname());
  assert.match(own.bootId, /^[0-9a-f-]{36}$/);
  assert(own.startTicks > 0);
  assert.equal(system.processState(own), 'alive');
  assert.equal(system.processState(JSON.parse(JSON.stringify(own))), 'alive');
});

test('a number that was given to a later process is not the earlier one', () => {
  const own = system.processIdentity();
  assert.equal(system.processState({ ...own, startTicks: own.startTicks - 1 }), 'dead');
});

test('what cannot be seen from here is not taken for dead', () => {
  const own = system.processIdentity();
  const elsewhere = { ...own, bootId: '00000000-0000-0000-0000-000000000000' };
  assert.equal(system.processState({ ...elsewhere, hostName: 'another' }), 'unknown');
  assert.equal(system.processState({ ...elsewhere, machineId: 'another' }), 'unknown');
  assert.equal(system.processState({ ...elsewhere, machineId: '' }), 'unknown');
  assert.equal(system.processState({ ...elsewhere, namespace: 'pid:[1]' }), 'unknown');
  assert.equal(system.processState({ ...own, namespace: 'pid:[1]' }), 'unknown');
  assert.equal(system.isProcessAlive({ ...own, namespace: 'pid:[1]' }), true);
});

test('a process that ended is dead', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const pid = child.pid as number;
  const own = system.processIdentity();
  assert.equal(system.processState({ ...own, pid }), 'dead', 'with the start of another');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(system.processState({ ...own, pid }), 'dead');
  assert.equal(system.isProcessAlive({ ...own, pid }), false);
});

test('cores and memory are told', () => {
  assert(system.cores() >= 1);
  assert(system.peakMemoryBytes() > 1024 * 1024);
  assert(system.availableMemoryBytes() > 0);
});
