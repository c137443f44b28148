/**
 * Scripts make files fail as they say, and only then.
 *
 * Method: a real directory behind a script; each mode is seen through the calls' results and
 * through what is on the disk afterwards. Whole processes are run for the environment's script.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fromText } from '../../src/base/bytes.ts';
import { addFaultRules, FaultScript } from '../../src/host/fake/fault-script.ts';
import { FAULT_CALLS, type FaultyFiles, faultyFiles } from '../../src/host/fake/faulty-files.ts';
import { CWD, errnoName, FileStatus, openFiles } from '../../src/host/mod.ts';

interface Place {
  readonly files: FaultyFiles;
  readonly root: number;
  readonly path: string;
}

function placeTest(title: string, body: (place: Place) => void): void {
  test(title, () => {
    const path = mkdtempSync(join(tmpdir(), 'penstock-fault-'));
    const files = faultyFiles(openFiles());
    const root = openFiles().openDirectoryFollow(CWD, fromText(path));
    try {
      body({ files, root, path });
    } finally {
      openFiles().close(root);
      rmSync(path, { recursive: true });
    }
  });
}

const BYTES: Uint8Array = Buffer.from('0123456789');

placeTest('a rule lets some calls pass, acts, and is over', ({ files, root, path }) => {
  files.fault('write').after(2).error('ENOSPC').repeat(2);
  const fd = files.createExclusive(root, 'a', 0o600);
  const results = Array.from({ length: 6 }, (_, i) => files.write(fd, BYTES, i, 1, i));
  assert.deepEqual(results, [1, 1, -28, -28, 1, 1]);
  files.close(fd);
  assert.equal(readFileSync(join(path, 'a'), 'latin1'), '01\0\x0045');
  assert.equal(files.script.acted, 2);
  assert.equal(files.script.calls, 8);
});

placeTest('the n-th call of any kind fails, for every n', ({ files, root, path }) => {
  const steps = (): number => {
    const fd = files.createExclusive(root, 'a', 0o600);
    if (fd < 0) return fd;
    const written = files.write(fd, BYTES, 0, 10, 0);
    const synced = written < 0 ? written : files.sync(fd);
    const closed = files.close(fd);
    const failed = synced < 0 ? synced : closed;
    return failed < 0 ? failed : files.rename(root, 'a', root, 'b');
  };
  const handles = (): number => readdirSync('/proc/self/fd').length;
  const before = handles();
  const results: string[] = [];
  for (let n = 0; ; n++) {
    files.script.clear();
    files.fault('any').after(n).error('EIO');
    const result = steps();
    rmSync(join(path, 'a'), { force: true });
    rmSync(join(path, 'b'), { force: true });
    if (files.script.acted === 0) {
      assert.equal(result, 0);
      break;
    }
    results.push(errnoName(result));
  }
  assert.deepEqual(results, ['EIO', 'EIO', 'EIO', 'EIO', 'EIO']);
  assert.equal(handles(), before, 'also a failing close closes');
});

placeTest('a torn write leaves its first half, a torn read ends at the half', (place) => {
  const { files, root, path } = place;
  files.fault('write').torn();
  files.fault('read').torn();
  const fd = files.createExclusive(root, 'a', 0o600);
  assert.equal(errnoName(files.write(fd, BYTES, 0, 10, 0)), 'EIO');
  assert.equal(readFileSync(join(path, 'a'), 'latin1'), '01234');
  files.write(fd, BYTES, 0, 10, 0);
  const back = Buffer.alloc(10);
  assert.equal(files.read(fd, back, 0, 10, 0), 5);
  assert.equal(files.read(fd, back, 0, 10, 0), 10);
  files.close(fd);
});

placeTest('a late failure has happened, a lost success has not', ({ files, root, path }) => {
  files.fault('link').late().error('EIO');
  files.fault('createExclusive').named('b').late().error('ESTALE');
  files.fault('sync').lost();
  files.fault('write').lost();
  files.fault('remove').lost();
  const fd = files.createExclusive(root, 'a', 0o600);
  assert.equal(files.write(fd, BYTES, 0, 10, 0), 10);
  assert.equal(files.sync(fd), 0);
  files.close(fd);
  assert.equal(readFileSync(join(path, 'a'), 'latin1'), '');
  assert.equal(errnoName(files.link(root, 'a', root, 'l')), 'EIO');
  assert.equal(errnoName(files.createExclusive(root, 'b', 0o600)), 'ESTALE');
  assert.equal(files.remove(root, 'a'), 0);
  assert.deepEqual(readdirSync(path).sort(), ['a', 'b', 'l']);
});

placeTest('rules choose by kind and by name', ({ files, root }) => {
  files.fault('change').named('b').error('EROFS').forever();
  const status = new FileStatus();
  assert.equal(files.makeDirectory(root, 'a', 0o700), 0);
  for (let i = 0; i < 3; i++) {
    assert.equal(errnoName(files.makeDirectory(root, 'b', 0o700)), 'EROFS');
    assert.equal(errnoName(files.rename(root, 'a', root, 'ab')), 'EROFS');
    assert.equal(errnoName(files.status(root, 'b', status)), 'ENOENT');
  }
  assert.equal(files.script.acted, 6);
});

test('a script is read from text, and what is not understood is refused', () => {
  const script = new FaultScript();
  const text =
    'write:after=3:error=ENOSPC:repeat=2; sync:name=x:late; list:hold=/a/fifo; any:repeat=forever';
  addFaultRules(script, text, FAULT_CALLS);
  const acted = (call: string, names: string[]): string => {
    const fault = script.next(call, true, names);
    return fault === undefined ? '' : `${errnoName(fault.errno)} ${fault.mode}${fault.fifo}`;
  };
  assert.equal(acted('sync', ['axb']), 'EIO late');
  assert.equal(acted('sync', ['axb']), 'EIO fail');
  assert.equal(acted('list', []), 'EIO hold/a/fifo');
  for (const wrong of [
    'wirte',
    'write:after=x',
    'write:error=EWHAT',
    'write:sometimes',
    'any:name',
  ]) {
    assert.throws(() => addFaultRules(new FaultScript(), wrong, FAULT_CALLS), { code: 'USAGE' });
  }
});

/** Runs a small program that makes three directories in each of two threads, in turn. */
function runProgram(
  environment: Record<string, string>,
  path: string,
): { output: string; signal: string | null } {
  const program = fileURLToPath(new URL('./fixtures/make-directories.ts', import.meta.url));
  const env = { PATH: process.env.PATH ?? '', ...environment };
  const done = spawnSync(process.execPath, [program, path], { env, encoding: 'utf8' });
  return { output: done.stdout + done.stderr, signal: done.signal };
}

test('the environment scripts all threads of a process together, in tests only', () => {
  const fault = { PENSTOCK_FAULT: 'makeDirectory:after=4:error=ENOSPC:repeat=2' };
  const run = (environment: Record<string, string>): { output: string; signal: string | null } => {
    const path = mkdtempSync(join(tmpdir(), 'penstock-fault-'));
    try {
      return runProgram(environment, path);
    } finally {
      rmSync(path, { recursive: true });
    }
  };
  assert.equal(run({ ...fault, PENSTOCK_TEST: '1' }).output, 'main 0 0 0\nworker 0 -28 -28\n');
  assert.equal(run(fault).output, 'main 0 0 0\nworker 0 0 0\n');
  const crash = run({ PENSTOCK_TEST: '1', PENSTOCK_FAULT: 'makeDirectory:after=4:crash' });
  assert.equal(crash.output, 'main 0 0 0\n');
  assert.equal(crash.signal, 'SIGKILL');
});
