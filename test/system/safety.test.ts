/**
 * Goal: whatever interrupts a backup, what was committed stays, and the next run continues (U5, M11,
 * P14); backups run beside each other; storage that is full or cannot be written harms nothing.
 *
 * Method: whole commands, killed at moments drawn from a seed; afterwards every archive is checked and
 * restored, and compared with its source.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { seededRandom } from '../../src/host/mod.ts';
import {
  IS_ROOT,
  NOBODY,
  penstock,
  scratchFolder,
  start,
  succeed,
  untilOld,
  WITH_ROOT,
} from '../commands.ts';
import { Gate } from '../gate.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, prose } from '../tree-make.ts';

const scratch = scratchFolder();
const SEED = Number(process.env.PENSTOCK_TEST_SEED ?? 1);

/** Folders of files with different content; about `megabytes` in all. */
function makeSource(name: string, megabytes: number): string {
  const root = join(scratch, name);
  for (let folder = 0; folder < megabytes; folder++) {
    const path = join(root, `folder-${folder}`);
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < 8; file++) {
      const content =
        file % 2 === 0
          ? noise(160_000, `${name} ${folder} ${file}`)
          : prose(90_000, `${folder} ${file}`);
      writeFileSync(join(path, `file-${file}`), content);
    }
  }
  return root;
}

function assertRestores(repo: string, archive: string, source: string, target: string): void {
  succeed(['restore', archive, '--target', target, '--repo', repo]);
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
}

const whole = (repo: string): { id: string; partial?: boolean }[] =>
  succeed(['archives', '--repo', repo])
    .stdout.split('\n')
    .filter((line) => line.includes('"type":"archive"'))
    .map((line) => JSON.parse(line));

describe('killed at any moment', () => {
  test('earlier archives stay, and the next run continues from what is safe', async () => {
    const earlier = makeSource('earlier', 2);
    const source = makeSource('source', 50);
    await untilOld();
    const repo = join(scratch, 'killed');
    const first = succeed(['backup', earlier, '--repo', repo]).summary.archive as string;
    const random = seededRandom(SEED);
    const isPartialThere = (): boolean => readdirSync(join(repo, 'archives')).length > 1;
    const args = ['backup', source, '--repo', repo, '--checkpoint-interval', '50ms'];
    // It comes to its folders one by one until something is safe.
    const gate = new Gate(scratch, 'openDirectory:name=folder-:repeat=forever');
    const { child, ended } = start(args, { env: gate.env });
    await gate.openUntil(isPartialThere, 20);
    child.kill('SIGKILL');
    assert.equal((await ended).signal, 'SIGKILL', 'it was killed at its first checkpoint');
    succeed(['check', '--repo', repo]);
    const { bytes, bytesRead } = succeed(['backup', source, '--dry-run', '--repo', repo]).summary;
    assert.ok(
      (bytesRead as number) < (bytes as number),
      `${bytesRead} of ${bytes} to be read again`,
    );
    for (let round = 0; round < 3; round++) {
      const delayMs = 200 + random.bytes(2).readUInt16LE(0) / 30;
      const again = start(args);
      const timer = setTimeout(() => again.child.kill('SIGKILL'), delayMs);
      await again.ended;
      clearTimeout(timer);
      const check = penstock(['check', '--repo', repo]);
      assert.equal(check.status, 0, `after ${delayMs} ms: ${check.stdout}`);
    }
    const last = succeed(['backup', source, '--repo', repo]).summary;
    succeed(['check', '--read-data', '--repo', repo]);
    assertRestores(repo, last.archive as string, source, join(scratch, 'killed-last'));
    assertRestores(repo, first, earlier, join(scratch, 'killed-first'));
    assert.ok(!whole(repo).some((one) => one.partial === true), 'partial archives are superseded');
    succeed(['prune', '--repo', repo]);
    assert.deepEqual(
      readdirSync(join(repo, 'leases')),
      [],
      'leases of dead processes are recovered',
    );
    succeed(['check', '--read-data', '--repo', repo]);
  });

  test('an interrupt ends in order: status 130, no lease, nothing half written', async () => {
    const source = makeSource('interrupted', 30);
    const repo = join(scratch, 'interrupted-repo');
    succeed(['init', '--repo', repo]);
    // From its middle on it reads nothing but what the gate lets through.
    const gate = new Gate(scratch, 'openRead:name=file-:after=100:repeat=forever');
    const { child, ended } = start(['backup', source, '--repo', repo], { env: gate.env });
    await gate.reached(ended);
    child.kill('SIGINT');
    await gate.openUntil(() => child.exitCode !== null);
    const run = await ended;
    assert.equal(run.status, 130, run.stderr);
    assert.deepEqual(readdirSync(join(repo, 'leases')), []);
    assert.deepEqual(readdirSync(join(repo, 'writing')), []);
    const again = succeed(['backup', source, '--repo', repo]).summary.archive as string;
    assertRestores(repo, again, source, join(scratch, 'interrupted-target'));
  });
});

test('two backups into one repository at once both succeed', async () => {
  const sources = [makeSource('beside-a', 12), makeSource('beside-b', 12)];
  const repo = join(scratch, 'beside');
  succeed(['init', '--repo', repo]);
  const runs = await Promise.all(
    sources.map((source) => start(['backup', source, '--repo', repo]).ended),
  );
  for (const [i, source] of sources.entries()) {
    assert.equal(runs[i]?.status, 0, runs[i]?.stderr ?? '');
    const archive = runs[i]?.summary.archive as string;
    assertRestores(repo, archive, source, join(scratch, `beside-${i}`));
  }
  succeed(['check', '--read-data', '--repo', repo]);
});

test(
  'a repository that cannot be written can be restored, and says so when it should be written',
  WITH_ROOT,
  () => {
    const source = makeSource('readonly', 2);
    const repo = join(scratch, 'readonly-repo');
    const { archive } = succeed(['backup', source, '--repo', repo]).summary;
    spawnSync('chmod', ['-R', 'a+rX', repo]);
    const target = join(scratch, 'readonly-target');
    mkdirSync(target, { mode: 0o777 });
    spawnSync('chmod', ['777', target]);
    const restored = penstock(
      ['restore', archive as string, '--target', target, '--no-owner', '--repo', repo],
      { user: NOBODY },
    );
    assert.equal(restored.status, 0, restored.stdout);
    const refused = penstock(['backup', source, '--repo', repo], { user: NOBODY });
    assert.equal(refused.status, 1);
    assert.equal(refused.errors[0]?.code, 'REPO_READ_ONLY');
  },
);

test(
  'a full disk ends the backup with REPO_FULL; what was there stays, and room lets it go on',
  WITH_ROOT,
  (context) => {
    assert.ok(IS_ROOT);
    const disk = join(scratch, 'disk');
    mkdirSync(disk);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', disk]);
    if (mounted.status !== 0) return context.skip('cannot mount a small file system');
    try {
      const repo = join(disk, 'repo');
      const small = makeSource('small', 2);
      const large = makeSource('large', 40);
      const { archive } = succeed(['backup', small, '--repo', repo]).summary;
      const full = penstock(['backup', large, '--repo', repo]);
      assert.equal(full.status, 1, full.stdout);
      assert.equal(full.errors[0]?.code, 'REPO_FULL');
      assertRestores(repo, archive as string, small, join(scratch, 'small-target'));
      assert.equal(spawnSync('mount', ['-o', 'remount,size=200m', disk]).status, 0);
      const again = succeed(['backup', large, '--repo', repo]).summary.archive as string;
      assertRestores(repo, again, large, join(scratch, 'large-target'));
      succeed(['check', '--read-data', '--repo', repo]);
    } finally {
      spawnSync('umount', [disk]);
    }
  },
);
