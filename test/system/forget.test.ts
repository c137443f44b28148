/**
 * Forget removes what the rules do not keep, or what is named, and never what is protected.
 *
 * Method: one real archive, and records of it under other ids, names and times. Whole commands are
 * run in this process on their own streams.
 */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { OutputStream } from '../../src/cli/output.ts';
import { runCommandLine } from '../../src/cli/run.ts';
import { type Archive, encodeArchive, listArchives } from '../../src/mover/archives.ts';
import { type ForgetRequest, forget } from '../../src/mover/forget.ts';
import { listForgotten } from '../../src/mover/forgotten.ts';
import { pruneNow, Scene, storedBytes } from './prune-fixture.ts';
import { Workplace } from './workplace.ts';

const DAY_MS = 86_400_000;
const NOW_MS = Date.now();

function sceneTest(title: string, body: (scene: Scene, base: Archive) => Promise<void>): void {
  test(title, async () => {
    const scene = await Scene.make();
    try {
      scene.write(['a', 'b'], 10_000);
      const base = await scene.backup();
      await body(scene, base);
    } finally {
      await scene.close();
    }
  });
}

/** Puts a record of the archive under another id: hex digits that are repeated. */
async function put(
  scene: Scene,
  base: Archive,
  id: string,
  changes: Partial<Archive>,
): Promise<void> {
  const archive = { ...base, ...changes, id: id.repeat(32 / id.length) };
  const record = encodeArchive(scene.repository, archive);
  assert.ok(await scene.repository.store.put('archives', archive.id, record));
}

function request(changes: Partial<ForgetRequest>): ForgetRequest {
  return { ids: [], rules: {}, timeZone: 'UTC', dryRun: false, ...changes };
}

async function idsOf(scene: Scene): Promise<string[]> {
  const { archives } = await listArchives(scene.repository);
  return archives.map(({ id }) => id.slice(0, 2)).sort();
}

sceneTest('rules keep by name, and what goes is noted', async (scene, base) => {
  await scene.repository.store.remove('archives', base.id);
  for (let day = 0; day < 5; day++) {
    await put(scene, base, `a${day}`, { name: 'a', startedMs: NOW_MS - day * DAY_MS });
  }
  await put(scene, base, 'b0', { name: 'b', startedMs: NOW_MS - 100 * DAY_MS });
  const dry = await forget(scene.repository, request({ rules: { keepLast: 2 }, dryRun: true }));
  assert.equal((await idsOf(scene)).length, 6);
  const { verdicts } = await forget(scene.repository, request({ rules: { keepLast: 2 } }));
  assert.deepEqual(verdicts, dry.verdicts);
  assert.deepEqual(
    verdicts.map(({ id, isKept, reasons }) => [id.slice(0, 2), isKept, ...reasons]),
    [
      ['a0', true, 'last'],
      ['a1', true, 'last'],
      ['a2', false],
      ['a3', false],
      ['a4', false],
      ['b0', true, 'last'],
    ],
  );
  assert.deepEqual(await idsOf(scene), ['a0', 'a1', 'b0']);
  const { ids } = await listForgotten(scene.repository);
  assert.deepEqual([...ids].map((id) => id.slice(0, 2)).sort(), ['a2', 'a3', 'a4']);
});

sceneTest('only archives of a name are judged', async (scene, base) => {
  for (const id of ['a1', 'a2']) await put(scene, base, id, { name: 'other' });
  const rules = { keepLast: 1 };
  const { verdicts } = await forget(scene.repository, request({ rules, name: 'other' }));
  assert.equal(verdicts.length, 2);
  assert.deepEqual((await idsOf(scene)).length, 2);
});

sceneTest('superseded partial archives go, the newest one stays as a base', async (scene, base) => {
  await put(scene, base, 'a1', { partial: true, startedMs: base.startedMs - 1000 });
  await put(scene, base, 'a2', { partial: true, startedMs: base.startedMs + 1000 });
  await put(scene, base, 'a3', { partial: true, startedMs: base.startedMs + 2000 });
  await forget(scene.repository, request({ rules: { keepLast: 5 } }));
  assert.deepEqual(await idsOf(scene), [base.id.slice(0, 2), 'a3'].sort());
});

sceneTest('protected archives stay, whatever is asked for', async (scene, base) => {
  const old = NOW_MS - 50 * DAY_MS;
  await put(scene, base, 'a1', { startedMs: old, protectedUntilMs: NOW_MS + DAY_MS });
  await put(scene, base, 'a2', { startedMs: old - 1, protectedUntilMs: NOW_MS - DAY_MS });
  await forget(scene.repository, request({ rules: { keepLast: 1 } }));
  assert.deepEqual(await idsOf(scene), [base.id.slice(0, 2), 'a1'].sort());
  const { refused } = await forget(scene.repository, request({ ids: ['a1'.repeat(16)] }));
  assert.deepEqual(refused, ['a1'.repeat(16)]);
  assert.deepEqual(await idsOf(scene), [base.id.slice(0, 2), 'a1'].sort());
});

sceneTest('archives are named by beginnings that are unique', async (scene, base) => {
  await put(scene, base, 'a1', {});
  await put(scene, base, 'a2', { startedMs: base.startedMs + 5000 });
  await assert.rejects(forget(scene.repository, request({ ids: ['a1', 'zz'] })), {
    code: 'ARCHIVE_UNKNOWN',
  });
  await assert.rejects(forget(scene.repository, request({ ids: [''] })), {
    code: 'ARCHIVE_UNKNOWN',
  });
  const both = request({ ids: ['a1'], rules: { keepLast: 1 } });
  await assert.rejects(forget(scene.repository, both), { code: 'USAGE' });
  assert.equal((await idsOf(scene)).length, 3);
  await forget(scene.repository, request({ ids: ['A1a1', 'a1a1a1', 'latest'] }));
  assert.deepEqual(await idsOf(scene), [base.id.slice(0, 2)]);
});

sceneTest('no rule judges what cannot be read, but it can be named', async (scene, base) => {
  writeFileSync(join(scene.repositoryPath, 'archives', 'a1'.repeat(16)), 'rubbish');
  const { damaged, verdicts } = await forget(scene.repository, request({ rules: { keepLast: 1 } }));
  assert.deepEqual(
    damaged.map(({ code }) => code),
    ['DAMAGED'],
  );
  assert.equal(verdicts.length, 1);
  await assert.rejects(pruneNow(scene.repository), { code: 'DAMAGED' });
  await forget(scene.repository, request({ ids: ['a1'] }));
  assert.deepEqual(readdirSync(join(scene.repositoryPath, 'archives')), [base.id]);
  await pruneNow(scene.repository);
});

sceneTest('an archive whose record was lost can be forgotten', async (scene, base) => {
  scene.write(['a'], 10_000);
  await scene.backup();
  await scene.repository.store.remove('archives', base.id);
  await assert.rejects(pruneNow(scene.repository), { code: 'OBJECT_MISSING', subject: base.id });
  await forget(scene.repository, request({ ids: [base.id] }));
  scene.wanted.delete(base.id);
  const { bytesFreed } = await pruneNow(scene.repository, { maxUnusedPercent: 0 });
  assert.ok(bytesFreed > 9_000);
  assert.deepEqual([...(await listForgotten(scene.repository)).ids], []);
  await scene.verify();
});

class Text implements OutputStream {
  text = '';
  write(data: string | Uint8Array, done?: (error?: Error | null) => void): boolean {
    this.text += Buffer.from(data as Uint8Array).toString();
    done?.();
    return true;
  }
  on(): void {}
}

async function command(...args: string[]): Promise<{ exit: number; out: string; err: string }> {
  const stdout = new Text();
  const stderr = new Text();
  const environment = { HOME: '/nowhere' };
  const exit = await runCommandLine({ args, environment, launched: false, stdout, stderr });
  return { exit, out: stdout.text, err: stderr.text };
}

sceneTest('the commands say what they did', async (scene) => {
  scene.write(['a'], 100_000);
  const second = await scene.backup();
  scene.write(['a'], 100_000);
  await scene.backup();
  const repo = ['--repo', scene.repositoryPath];
  const dry = await command('forget', '--keep-last', '1', '--dry-run', ...repo);
  assert.equal(dry.exit, 0, dry.err);
  assert.match(dry.out, /keep .*last\n(.*remove.*\n){2}/);
  assert.match(dry.err, /nothing removed: would remove 2 archives, 1 kept/);
  const named = await command('forget', second.id.slice(0, 8), '--json', ...repo);
  const lines = named.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ type, archive, kept, removed }) => ({ type, archive, kept, removed })),
    [
      { type: 'verdict', archive: second.id, kept: false, removed: undefined },
      { type: 'summary', archive: undefined, kept: 0, removed: 1 },
    ],
  );
  const before = storedBytes(scene.repositoryPath);
  const pruned = await command('forget', '--keep-last', '1', '--prune', ...repo);
  assert.equal(pruned.exit, 0, pruned.err);
  assert.match(pruned.err, /removed 1 archive, 1 kept\nfreed [\d.]+ KiB, 0 B later/);
  assert.ok(before - storedBytes(scene.repositoryPath) > 100_000);
  const { exit, err } = await command('prune', '--max-unused', '0', ...repo);
  assert.equal(exit, 0, err);
  assert.match(err, /^freed 0 B, 0 B later/m);
  const wrong = await command('forget', ...repo);
  assert.equal(wrong.exit, 2);
});

test('backup --protect keeps an archive from being forgotten', () => {
  const place = new Workplace('protect');
  try {
    place.write('file', Buffer.from('content'));
    const archive = place.backup('--protect', '30d');
    const brief = place.backup('--full', '--protect', '1ms');
    const forgotten = place.json(['forget', archive], 3);
    assert.match(JSON.stringify(forgotten), /protected/);
    place.must(['forget', brief]);
    const left = place.json(['archives']).filter(({ type }) => type === 'archive');
    assert.deepEqual(
      left.map(({ id }) => id),
      [archive],
    );
  } finally {
    place.remove();
  }
});
