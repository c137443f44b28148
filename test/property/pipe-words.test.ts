/**
 * Goal: the example of a pipe of one's own does what it says (U12).
 * Method: run as a reader would; what it wrote, unpacked, is the input in capitals.
 */
import { deepEqual, equal, match } from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const EXAMPLE = fileURLToPath(new URL('../../examples/pipe-words.ts', import.meta.url));

test('the example packs a text in capitals', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-words-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const source = join(folder, 'words.txt');
  const target = join(folder, 'words.gz');
  // Several buffers, each line told apart; some letters of more than one byte.
  const text = Array.from({ length: 60_000 }, (_, i) => `wörd ${i}, another\n`).join('');
  writeFileSync(source, text);
  const said = execFileSync(process.execPath, [EXAMPLE, source, target], {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: folder },
  });
  // Compiled code in a folder that others may write to could be theirs.
  deepEqual(readdirSync(folder).sort(), ['words.gz', 'words.txt']);
  const packed = readFileSync(target);
  const wanted = text.replace(/[a-z]/g, (letter) => letter.toUpperCase());
  equal(gunzipSync(packed).toString(), wanted);
  match(
    said,
    new RegExp(`^${Buffer.byteLength(text)} bytes became ${packed.length} in \\d+ ms\n$`),
  );
});

test('the example names what it cannot read', () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    [EXAMPLE, '/nowhere/words', '/tmp/never'],
    {
      encoding: 'utf8',
    },
  );
  equal(status, 1);
  match(stderr, /ENOENT.*'\/nowhere\/words'/);
});
