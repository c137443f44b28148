/**
 * Goal: a pool of tapes has several drives: the archives of one command go to several tapes at the same time, two
 * commands each take a drive of their own, a tape is found in whichever drive it is, and a drive that is away or
 * somebody else's is passed over with a warning, while another one works (L3).
 *
 * Method: whole commands on drives by the standard in this process, which note what is done against the rules;
 * what is restored is compared with its source. tape-drives-library.test.ts has tgt, and a library.
 */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { type JsonLine, type Run, start, untilOld } from '../commands.ts';
import { type Action, type Incoming, ScriptedTarget } from '../iscsi-target.ts';
import { attended } from '../tape-attendant.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { scratch } from '../volume-commands.ts';

const WRITE = 0x0a;
const LOAD = 0x1b;
const BUSY = 0x08;
const env = { PENSTOCK_PASSPHRASE: undefined };
const targets: ScriptedTarget[] = [];
const [left, right] = [join(scratch, 'left'), join(scratch, 'right')];

before(async () => {
  for (const root of [left, right]) {
    mkdirSync(root);
    for (let i = 0; i < 6; i++) writeFileSync(join(root, `file-${i}`), noise(300_000, root + i));
  }
  await untilOld();
});
after(async () => {
  for (const target of targets) await target.stop();
});

async function drives(count: number): Promise<ScriptedTarget[]> {
  const made: ScriptedTarget[] = [];
  for (let i = 0; i < count; i++) {
    made.push(await ScriptedTarget.start());
    targets.push(...made.slice(-1));
  }
  return made;
}

/** Runs a command to its end; the drives are in this process, so nothing may wait for it. */
async function finish(args: readonly string[], status = 0): Promise<Run> {
  const run = await start(args, { env }).ended;
  assert.equal(run.status, status, `${args.join(' ')}\n${run.stdout}${run.stderr}`);
  return run;
}

interface Place {
  readonly repo: readonly string[];
  readonly backup: readonly string[];
  run(...args: string[]): Promise<Run>;
}

/** A repository with a pool of these drives. */
async function makePlace(name: string, devices: readonly string[]): Promise<Place> {
  const repo = ['--repo', join(scratch, `${name}-repo`)];
  await finish(['init', '--no-encryption', ...repo]);
  const addresses = devices.flatMap((device) => ['--device', device]);
  await finish(['pool', 'add', 'lto', '--kind', 'tape', ...addresses, ...repo]);
  const backup = ['backup', '--pool', 'lto', ...repo];
  return { repo, backup, run: (...args) => finish([...args, ...repo]) };
}

async function assertRestores(place: Place, archive: unknown, source: string): Promise<Run> {
  const target = join(scratch, 'restored');
  rmSync(target, { recursive: true, force: true });
  const run = await place.run('restore', archive as string, '--target', target);
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
  return run;
}

/** The streams whose records lie on a tape. */
function streamsOn({ device }: ScriptedTarget): Set<string> {
  const records = device.objects.filter((one) => one?.toString('latin1', 0, 4) === 'PTAG');
  return new Set(records.map((one) => (one as Buffer).toString('hex', 64, 80)));
}

const volumesOf = (run: Run): JsonLine[] =>
  run.stdout
    .split('\n')
    .filter((line) => line.includes('"type":"volume"'))
    .map((line) => JSON.parse(line) as JsonLine);

function swapTapes(one: ScriptedTarget, other: ScriptedTarget): void {
  [one.device.objects, other.device.objects] = [other.device.objects, one.device.objects];
}

/** Answers that the drive is busy to whoever writes, until it is opened; tells when that was first seen. */
function closeGate(target: ScriptedTarget): { readonly met: Promise<void>; open(): void } {
  const { promise: met, resolve } = Promise.withResolvers<void>();
  target.script = ({ opcode, cdb }: Incoming): Action => {
    if (opcode !== 1 || cdb.readUInt8(0) !== WRITE) return undefined;
    resolve();
    return { answer: { status: BUSY } };
  };
  const open = (): void => {
    target.script = () => undefined;
  };
  return { met, open };
}

test('two archives of one command go to two tapes, each wholly to one; both come back, also from swapped drives', async () => {
  const [one, two] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const place = await makePlace('both', [one.url(), two.url()]);
  const { summary } = await finish([...place.backup, '--each', left, right]);
  const done = summary.drives as { volumes: { volume: string }[] }[];
  assert.equal(done.length, 2);
  assert.deepEqual([streamsOn(one).size, streamsOn(two).size], [1, 1]);
  assert.equal(streamsOn(one).union(streamsOn(two)).size, 2);
  const archives = (summary.archives as { archive: string }[]).map(({ archive }) => archive);
  for (const [i, source] of [left, right].entries())
    await assertRestores(place, archives[i], source);
  swapTapes(one, two);
  for (const [i, source] of [left, right].entries()) {
    const { warnings } = await assertRestores(place, archives[i], source);
    assert.deepEqual(warnings, []);
  }
  await place.run('check', '--read-data');
  for (const { name } of volumesOf(await place.run('volume', 'list')))
    await place.run('volume', 'verify', name as string);
  assert.deepEqual([...one.violations, ...two.violations], []);
});

test('one archive goes on, on the tape that has room, in whichever drive that is', async () => {
  const [one, two] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const place = await makePlace('room', [one.url(), two.url()]);
  await finish([...place.backup, left]);
  assert.deepEqual([one.device.objects.length > 0, two.device.objects.length], [true, 0]);
  swapTapes(one, two);
  const before = two.device.objects.length;
  const { summary } = await finish([...place.backup, right]);
  assert.deepEqual([one.device.objects.length, two.device.objects.length > before], [0, true]);
  await assertRestores(place, summary.archive, right);
  assert.equal(volumesOf(await place.run('volume', 'list')).length, 1);
});

test('two commands at once take a drive each', async () => {
  const [one, two] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const place = await makePlace('commands', [one.url(), two.url()]);
  // The first is held up while it writes, until the second has ended.
  const gate = closeGate(one);
  const first = start([...place.backup, left], { env });
  await gate.met;
  const second = await finish([...place.backup, right]);
  assert.equal(second.warnings[0]?.code, 'DEVICE_BUSY');
  assert.match(String(second.warnings[0]?.message), /cannot be used: .*another one is taken/);
  gate.open();
  const ended = await first.ended;
  assert.equal(ended.status, 0, ended.stdout);
  assert.deepEqual([streamsOn(one).size, streamsOn(two).size], [1, 1]);
  await assertRestores(place, ended.summary.archive, left);
  await assertRestores(place, second.summary.archive, right);
  assert.deepEqual([...one.violations, ...two.violations], []);
});

test('a drive that is away is passed over with a warning; where none is left, one error says so', async () => {
  const [here, taken] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const away = `iscsi://127.0.0.1:${await unusedPort()}/iqn.2001-04.com.example:away/0`;
  const place = await makePlace('away', [away, here.url()]);
  const { summary, warnings } = await finish([...place.backup, left]);
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['DEVICE_UNREACHABLE'],
  );
  assert.match(
    String(warnings[0]?.message),
    /example:away\/0 cannot be used: .*another one is taken/,
  );
  await assertRestores(place, summary.archive, left);
  // One is away, and of the other somebody else has need.
  const none = await makePlace('none', [away, taken.url()]);
  const other = await openScsiVolume(new IscsiDevice(parseIscsiAddress(taken.url())));
  await other.append(Buffer.alloc(5000, 7));
  const failed = await finish([...none.backup, left], 1);
  assert.deepEqual(failed.warnings, []);
  assert.equal(failed.errors[0]?.code, 'DEVICE_BUSY');
  assert.match(String(failed.errors[0]?.message), /none of 2 drives can be used: .*away.*reserved/);
  await other.synchronise();
  await other.close();
  assert.equal(taken.device.objects.length, 1);
});

async function unusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('a tape is asked for by all drives into which it may be put, and taken from any', async () => {
  const [one, two] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const place = await makePlace('asked', [one.url(), two.url()]);
  const { summary } = await finish([...place.backup, left]);
  const wanted = one.device.objects;
  const foreign = [Buffer.alloc(5000, 7)];
  [one.device.objects, two.device.objects] = [[...foreign], []];
  one.device.loaded = true;
  const target = join(scratch, 'asked-restored');
  const words = ['restore', summary.archive as string, '--target', target, '--mount-wait', '5m'];
  const run = await attended([...words, ...place.repo], () => {
    two.device.objects = wanted;
    two.device.loaded = true;
  });
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`);
  assert.deepEqual(run.asked[0]?.tapes, ['LTO001']);
  const request = JSON.parse(
    run.stdout.split('\n').find((line) => line.includes('"type":"mount"')) ?? '{}',
  ) as JsonLine;
  assert.deepEqual([request.device, request.otherDevices], [one.url(), [two.url()]]);
  assert.match(String(request.found), /a record of 5000 bytes.* in .*, a blank tape in /);
  assertSameTree(capture(fromText(join(target, left))), capture(fromText(left)));
  assert.deepEqual(one.device.objects, foreign);
  // Both drives had let their tapes go.
  for (const { seen } of [one, two])
    assert(seen.some(({ opcode, cdb }) => opcode === 1 && cdb.readUInt8(0) === LOAD));
});

test('a label says which drive is meant where several have a tape; an erased volume is looked for', async () => {
  const [one, two] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const place = await makePlace('label', [one.url(), two.url()]);
  const label = ['volume', 'label', '--pool', 'lto', ...place.repo];
  const unclear = await finish([...label, 'AAA001'], 2);
  assert.match(String(unclear.errors[0]?.hint), /--drive/);
  await finish([...label, 'AAA001', '--drive', '2']);
  assert.deepEqual([one.device.objects.length, two.device.objects.length], [0, 3]);
  await finish([...label, 'AAA002', '--drive', '3'], 2);
  two.device.loaded = false;
  await finish([...label, 'AAA002']);
  two.device.loaded = true;
  swapTapes(one, two);
  await place.run('volume', 'erase', 'AAA002');
  assert.deepEqual([one.device.objects.length, two.device.objects.length], [3, 0]);
  assert.deepEqual(
    volumesOf(await place.run('volume', 'list')).map(({ name }) => name),
    ['AAA001'],
  );
});

test('a repository is made again from tapes in several drives, and so is its pool', async () => {
  const [one, two] = (await drives(2)) as [ScriptedTarget, ScriptedTarget];
  const place = await makePlace('again', [one.url(), two.url()]);
  const { summary } = await finish([...place.backup, '--each', left, right]);
  const archives = (summary.archives as { archive: string }[]).map(({ archive }) => archive);
  rmSync(place.repo[1] as string, { recursive: true });
  const volumes = [one, two].flatMap((drive) => ['--volumes', drive.url()]);
  const made = await place.run('catalog', 'rebuild', ...volumes);
  assert.deepEqual(made.summary.problems, []);
  assert.deepEqual((made.summary.archivesMade as string[]).toSorted(), archives.toSorted());
  const pools = await place.run('pool', 'list');
  const pool = JSON.parse(pools.stdout.split('\n')[0] ?? '') as JsonLine;
  assert.deepEqual([pool.device, pool.otherDrives], [one.url(), [{ device: two.url() }]]);
  await assertRestores(place, archives[1], right);
});
