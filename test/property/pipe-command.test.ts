/**
 * Goal: the example of a pipe of external commands does what it says (U12).
 * Method: run as a reader would; what it packed, unpacked, is the folder.
 */
import { deepEqual, equal, match } from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const EXAMPLE = fileURLToPath(new URL('../../examples/pipe-command.ts', import.meta.url));
const hasZstd = spawnSync('zstd', ['--version']).status === 0;

test('the example packs a folder', { skip: hasZstd ? false : 'zstd is not installed' }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-command-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const source = join(folder, 'a source');
  const target = join(folder, 'packed');
  const unpacked = join(folder, 'unpacked');
  execFileSync('mkdir', [source, unpacked]);
  for (let i = 0; i < 50; i++)
    writeFileSync(join(source, `file ${i}`), `content ${i}\n`.repeat(i * 99));
  const said = execFileSync(process.execPath, [EXAMPLE, source, target], { encoding: 'utf8' });
  match(said, /^packed .* into /);
  execFileSync('tar', ['--zstd', '-xf', target, '-C', unpacked]);
  deepEqual(readdirSync(unpacked).sort(), readdirSync(source).sort());
  for (const name of readdirSync(source))
    equal(readFileSync(join(unpacked, name), 'utf8'), readFileSync(join(source, name), 'utf8'));
});

test('a folder that is not there is told in the words of the command', () => {
  const target = join(tmpdir(), `penstock-never-${process.pid}`);
  const { status, stderr } = spawnSync(process.execPath, [EXAMPLE, '/nowhere/folder', target], {
    encoding: 'utf8',
  });
  rmSync(target, { force: true });
  equal(status, 1);
  match(stderr, /COMMAND_FAILED/);
  match(stderr, /nowhere.folder/);
  equal(existsSync(target), false);
});
