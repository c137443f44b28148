/**
 * Goal: whatever interrupts a migration, or is at work beside it, no chunk is given up where it was before it
 * is whole where it goes (M13).
 *
 * Method: whole commands on small tape images and a scripted drive; what lies where is spoiled, or others
 * are at work meanwhile; every archive is restored and compared with its source afterwards.
 */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { start } from '../commands.ts';
import { ScriptedTarget } from '../iscsi-target.ts';
import { fixedSense } from '../scsi-tape.ts';
import { readTap } from '../tap-reader.ts';
import { until } from '../until.ts';
import {
  addPool,
  assertRestores,
  flip,
  makePlace,
  makeTree,
  offsetOf,
  type Place,
  scratch,
} from '../volume-place.ts';

const WRITE = 0x0a;
let target: ScriptedTarget | undefined;
after(async () => await target?.stop());

/** A repository whose data is in its own storage, in several chunks. */
function makeRooted(name: string): { place: Place; source: string; archive: string } {
  const place = makePlace(name, '--chunk-size', '2100K');
  const source = makeTree(name, 16);
  const archive = place.run('backup', source).archive as string;
  return { place, source, archive };
}

/** Puts chunks back into the repository's own storage: a migration that died before it released them. */
function withRootCopies(place: Place, work: () => void): void {
  const [chunks, kept] = [join(place.repo, 'chunks'), join(place.repo, 'kept')];
  cpSync(chunks, kept, { recursive: true });
  work();
  rmSync(chunks, { recursive: true });
  renameSync(kept, chunks);
}

const rootChunks = ({ repo }: Place): string[] =>
  readdirSync(join(repo, 'chunks'), { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map(({ name }) => name);

test('a copy that is in the pool already is read before the source is given up', () => {
  const { place, source, archive } = makeRooted('there');
  withRootCopies(place, () => place.run('migrate', 'root', '--to', 'tapes'));
  const image = place.tap('TAP001');
  const at = readTap(image).findIndex((one) => one !== 'mark' && one.length > 100_000);
  flip(image, offsetOf(image, at) + 50_000);
  const again = place.run('migrate', 'root', '--to', 'tapes');
  assert.equal(again.chunks, 1, 'the damaged copy is made anew');
  assert(Number(again.alreadyThere) > 0);
  assertRestores(place, archive, source);
  place.run('check', '--read-data');
});

test('a drive that fails ends a migration at once, and nothing is given up', async () => {
  const { place, source, archive } = makeRooted('fails');
  target = await ScriptedTarget.start();
  const { device } = target;
  device.earlyBytes = 100_000;
  place.run('pool', 'add', 'lto', '--kind', 'tape', '--device', target.url());
  let writes = 0;
  target.script = ({ opcode, cdb }) => {
    if (opcode !== 1 || cdb[0] !== WRITE || ++writes < 8) return undefined;
    return { answer: { status: 2, sense: fixedSense({ key: 2, code: 0x3a }) } };
  };
  const before = rootChunks(place);
  const run = await start(['migrate', 'root', '--to', 'lto', '--repo', place.repo], place.options)
    .ended;
  assert.equal(run.status, 1, run.stdout);
  assert.deepEqual(run.warnings, []);
  assert.deepEqual(
    run.errors.map(({ code }) => code),
    ['VOLUME_NOT_READY'],
  );
  assert.deepEqual(rootChunks(place), before);
  assertRestores(place, archive, source);
});

test('one migration is at work at a time', async () => {
  const { place, source, archive } = makeRooted('alone');
  withRootCopies(place, () => place.run('migrate', 'root', '--to', 'tapes'));
  // Both have a chunk in both pools: each would release the copy that the other counts on.
  const args = ['migrate', 'tapes', '--to', 'root', '--repo', place.repo];
  const { child, ended } = start(args, place.options);
  await until(() => readdirSync(join(place.repo, 'leases')).length > 0);
  child.kill('SIGSTOP');
  assert.equal(place.fails('migrate', 'root', '--to', 'tapes'), 'MIGRATION_RUNS');
  child.kill('SIGCONT');
  const run = await ended;
  assert.equal(run.status, 0, run.stdout);
  assertRestores(place, archive, source);
  // One that died is in nobody's way.
  const dying = start(['migrate', 'root', '--to', 'tapes', '--repo', place.repo], place.options);
  await until(() => readdirSync(join(place.repo, 'leases')).length > 0);
  dying.child.kill('SIGKILL');
  await dying.ended;
  place.run('migrate', 'root', '--to', 'tapes');
  assertRestores(place, archive, source);
});

test('a chunk in two pools stays where one of them needs it', () => {
  const place = makePlace('two');
  const maps = join(place.repo, 'maps');
  const recordsOf = (kind: string): string[] =>
    readdirSync(maps)
      .filter((name) => name.startsWith(`${kind}-`))
      .sort();
  const [tapes] = recordsOf('pool');
  const folder = join(scratch, 'two-more');
  addPool(place.repo, 'more', folder);
  // Volumes are listed by their pools' ids.
  const isFirst = recordsOf('pool')[0] === tapes;
  const [near, far] = isFirst ? ['tapes', 'more'] : ['more', 'tapes'];
  const source = makeTree('two', 20);
  const earlier = place.run('backup', source, '--pool', near).archive as string;
  // As if the migration had died before it released anything.
  const [record] = recordsOf('volume');
  const kept = readFileSync(join(maps, record as string));
  place.run('migrate', near, '--to', far);
  for (const name of recordsOf('volume'))
    if (name.slice(0, 39) === record?.slice(0, 39)) rmSync(join(maps, name));
  writeFileSync(join(maps, record as string), kept);
  // A copy that is damaged in one place, and another in another place, are enough.
  const images = [place.tap('TAP001'), join(folder, 'MOR001.tap')];
  const spoil = (): void =>
    images.forEach((image, i) => {
      const records = readTap(image).flatMap((one, at) => (one.length > 100_000 ? [at] : []));
      flip(image, offsetOf(image, records[i] as number) + 50_000);
    });
  spoil();
  assertRestores(place, earlier, source);
  spoil();
  rmSync(join(source, 'file-0'));
  const archive = place.run('backup', source, '--full', '--pool', near).archive as string;
  place.run('forget', earlier, '--prune', '--max-unused', '0');
  const states = place.lines('volume', 'list').filter(({ type }) => type === 'volume');
  assert.deepEqual(
    states.map(({ state }) => state),
    ['appendable', 'appendable'],
  );
  rmSync(images[isFirst ? 0 : 1] as string);
  assertRestores(place, archive, source);
});
