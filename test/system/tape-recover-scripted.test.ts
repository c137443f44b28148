/**
 * Goal: a repository comes back from the tape in a drive by the standard, which tells its position and the end
 * of its medium (tgt does neither); a restore then reads it from there.
 * Method: whole commands against the scripted target, which counts what an initiator does against the rules.
 */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { type Run, start, untilOld } from '../commands.ts';
import { ScriptedTarget } from '../iscsi-target.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { scratch } from '../volume-commands.ts';

/** The target runs in this process: nothing may wait for a command. */
async function run(...args: readonly string[]): Promise<Run> {
  const ended = await start(args).ended;
  assert.equal(ended.status, 0, `${ended.stdout}${ended.stderr}`);
  return ended;
}

test('a tape is taken in, and a backup goes on, on it', async () => {
  const source = join(scratch, 'source');
  mkdirSync(source);
  for (let i = 0; i < 8; i++) writeFileSync(join(source, `file-${i}`), noise(200_000, `file${i}`));
  await untilOld();
  const target = await ScriptedTarget.start();
  target.device.objects = [];
  try {
    const repo = join(scratch, 'repo');
    await run('init', '--repo', repo);
    const drive = ['--kind', 'tape', '--device', target.url()];
    await run('pool', 'add', 'lto', ...drive, '--log-place', 'beside', '--repo', repo);
    const { summary } = await run('backup', source, '--pool', 'lto', '--repo', repo);
    rmSync(repo, { recursive: true });

    const made = await run('catalog', 'rebuild', '--volumes', target.url(), '--repo', repo);
    assert.deepEqual([made.summary.archivesMade, made.summary.problems], [[summary.archive], []]);
    const restored = join(scratch, 'restored');
    await run('restore', summary.archive as string, '--target', restored, '--repo', repo);
    assertSameTree(capture(fromText(join(restored, source))), capture(fromText(source)));
    const next = await run('backup', source, '--pool', 'lto', '--repo', repo);
    assert.equal(next.summary.bytesRead, 0);
    assert.deepEqual(target.violations, []);
  } finally {
    await target.stop();
  }
});
