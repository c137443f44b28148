/**
 * Goal: a repository on storage that is mounted for reading only can be read by every command that
 * reads; those that write say what is wrong, and by its own code (U3, U6).
 * Method: a small file system with a repository is mounted again for reading only; every command of
 * the program is run on it.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { penstock, scratchFolder, succeed, WITH_ROOT } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { contentsOf, makeTree } from './repository-fixture.ts';

const scratch = scratchFolder();

test('storage that is mounted for reading only', WITH_ROOT, (context) => {
  const disk = join(scratch, 'disk');
  mkdirSync(disk);
  const mount = (...options: string[]): boolean =>
    spawnSync('mount', [...options, disk]).status === 0;
  if (!mount('-t', 'tmpfs', '-o', 'size=24m', 'tmpfs'))
    return context.skip('cannot mount a small file system');
  try {
    const source = join(scratch, 'source');
    const repo = join(disk, 'repo');
    makeTree(source);
    const { archive } = succeed(['backup', source, '--repo', repo]).summary;
    const before = contentsOf(repo);
    assert.ok(mount('-o', 'remount,ro'));
    const target = join(scratch, 'target');
    const reading = [
      ['archives'],
      ['ls', 'latest', '--recursive'],
      ['cat', 'latest', join(source, 'one')],
      ['find', 'one'],
      ['diff', 'latest', 'latest'],
      ['check', '--read-data'],
      ['key', 'list'],
      ['backup', source, '--dry-run'],
      ['forget', '--keep-last', '1', '--dry-run'],
      ['prune', '--dry-run'],
      ['restore', String(archive), '--target', target],
    ];
    for (const args of reading) {
      const { status, stderr } = run([...args, '--repo', repo]);
      assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    }
    assertSameTree(capture(fromText(target + source)), capture(fromText(source)));
    const writing = [
      ['backup', source],
      ['forget', 'latest'],
      ['prune'],
      ['key', 'add'],
      ['key', 'passwd'],
      ['key', 'rotate'],
    ];
    const env = { PENSTOCK_NEW_PASSPHRASE: 'another' };
    for (const args of writing) {
      const { status, errors } = penstock([...args, '--repo', repo], { env });
      assert.deepEqual([status, errors[0]?.code], [1, 'REPO_READ_ONLY'], args.join(' '));
    }
    assert.deepEqual(contentsOf(repo), before);
  } finally {
    spawnSync('umount', [disk]);
  }
});

/** Without looking at what is printed: `cat` leaves standard output to the file. */
function run(args: readonly string[]): { status: number | null; stderr: string } {
  if (args[0] !== 'cat') return penstock(args);
  try {
    return penstock(args);
  } catch (error) {
    assert.ok(error instanceof SyntaxError);
    return { status: 0, stderr: '' };
  }
}
