/**
 * Situation: a check, or a rebuild, runs beside backups, forgets and prunes, and after ones that were
 * killed.
 * Goal: what others are about to do is never called damage; what a kill leaves is never damage; a
 * rebuild beside others spoils nothing.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Workplace } from './workplace.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/penstock.js', import.meta.url));
const places: Workplace[] = [];
after(() => {
  for (const place of places) place.remove();
});

function makePlace(name: string): Workplace {
  const place = new Workplace(name);
  places.push(place);
  for (let i = 0; i < 60; i++)
    place.write(`d${i % 7}/f${i}`, randomBytes(20_000).toString('base64'));
  return place;
}

function start(
  place: Workplace,
  args: readonly string[],
): { child: ChildProcess; ended: Promise<{ status: number | null; text: string }> } {
  const environment = {
    PATH: process.env.PATH,
    HOME: place.directory,
    PENSTOCK_REPO: place.repo,
    PENSTOCK_STATE: place.state,
    PENSTOCK_PASSPHRASE: 'correct horse',
  };
  const child = spawn(process.execPath, [LAUNCHER, ...args], {
    env: environment,
    cwd: place.directory,
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (data: Buffer) => (text += data.toString()));
  const ended = new Promise<{ status: number | null; text: string }>((resolve) =>
    child.on('close', (status) => resolve({ status, text })),
  );
  return { child, ended };
}

test('a check beside backups, forgets and prunes finds no damage', async () => {
  const place = makePlace('beside');
  place.backup();
  let busy = true;
  const checks: string[] = [];
  const checking = (async (): Promise<void> => {
    while (busy || checks.length < 2) {
      const { status, text } = await start(place, ['check', '--read-data']).ended;
      checks.push(text);
      assert.equal(status, 0, text);
    }
  })();
  try {
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 20; i++)
        place.write(`d${i % 7}/f${i + round}`, randomBytes(20_000).toString('base64'));
      const first = start(place, ['backup', place.source, '--name', 'one']);
      const second = start(place, ['backup', join(place.source, 'd1'), '--name', 'two']);
      for (const { ended } of [first, second]) {
        const { status, text } = await ended;
        assert.equal(status, 0, text);
      }
      const forget = await start(place, ['forget', '--keep-last', '1', '--prune', '--grace', '0s'])
        .ended;
      assert.equal(forget.status, 0, forget.text);
    }
  } finally {
    busy = false;
    await checking;
  }
});

test('a rebuild beside backups and prunes spoils nothing', async () => {
  const place = makePlace('rebuild-beside');
  place.backup();
  let busy = true;
  const rebuilding = (async (): Promise<void> => {
    while (busy) {
      const { status, text } = await start(place, ['catalog', 'rebuild']).ended;
      assert.equal(status, 0, text);
    }
  })();
  try {
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 20; i++)
        place.write(`d${i % 7}/f${i + round}`, randomBytes(20_000).toString('base64'));
      const backup = await start(place, ['backup', place.source, '--name', 'one']).ended;
      assert.equal(backup.status, 0, backup.text);
      const forget = await start(place, ['forget', '--keep-last', '1', '--prune', '--grace', '0s'])
        .ended;
      assert.equal(forget.status, 0, forget.text);
    }
  } finally {
    busy = false;
    await rebuilding;
  }
  const names = place
    .json(['archives'])
    .filter(({ type }) => type === 'archive')
    .map(({ name }) => name);
  assert.equal(
    names.filter((name) => name === 'one').length,
    1,
    'what was forgotten stays forgotten',
  );
  place.must(['check', '--read-data']);
});

test('a backup that is killed at any moment leaves no damage', async () => {
  const place = makePlace('killed');
  place.backup();
  for (const [round, afterMs] of [120, 170, 220, 260, 300, 340, 380, 430].entries()) {
    for (let i = 0; i < 40; i++)
      place.write(`d${i % 7}/new${round}-${i}`, randomBytes(30_000).toString('base64'));
    const { child, ended } = start(place, ['backup', place.source]);
    const timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
    const { status } = await ended;
    clearTimeout(timer);
    const run = place.run(['check', '--read-data']);
    assert.equal(
      run.status,
      0,
      `killed after ${afterMs} ms (${status}): ${run.stdout}${run.stderr}`,
    );
  }
  place.backup();
  place.must(['forget', '--keep-last', '1', '--prune', '--grace', '0s']);
  place.must(['check', '--read-data']);
  place.must(['catalog', 'rebuild']);
  place.must(['check', '--read-data']);
});
