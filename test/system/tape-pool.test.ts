/**
 * Goal: archives go to tapes in a drive behind iSCSI, from one tape to the next, and come back; with CHAP,
 * and with a library that brings the tapes.
 * Method: whole commands against Debian's tgt on loopback; what is restored is compared with its source.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { type JsonLine, penstock, succeed, untilOld } from '../commands.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';
import { noise } from '../tree-make.ts';
import { assertRestores, scratch } from '../volume-commands.ts';
import { linesOf, makeTree } from '../volume-place.ts';

const skip = tgtMissing();
const FILE_BYTES = 200_000;
let server: TgtServer;

before(async () => {
  if (skip === undefined) server = await TgtServer.start();
});
after(async () => await server?.stop());

test('archives go to the tape in a drive, and come back', { skip }, async () => {
  const source = makeTree('one', 20, FILE_BYTES);
  await untilOld();
  const tid = await server.addTarget();
  await server.addDrive(tid, 1, await server.makeTape('ONE001', 64));
  const repo = join(scratch, 'one-repo');
  succeed(['init', '--repo', repo]);
  const device = server.url(tid, 1);
  succeed(['pool', 'add', 'lto', '--kind', 'tape', '--device', device, '--repo', repo]);
  const first = succeed(['backup', source, '--pool', 'lto', '--repo', repo]).summary;
  assert(Number(first.bytesRead) > 3_000_000);
  writeFileSync(join(source, 'another'), noise(300_000, 'another'));
  await untilOld();
  const second = succeed(['backup', source, '--pool', 'lto', '--repo', repo]).summary;
  assert.equal(second.bytesRead, 300_000, 'only what is new is read');
  assertRestores(repo, second.archive as string, source);
  succeed(['check', '--read-data', '--repo', repo]);
  // The commands for volumes, on a tape.
  const { name } = linesOf(succeed(['volume', 'list', '--repo', repo]).stdout)[0] as JsonLine;
  const verified = succeed(['volume', 'verify', name as string, '--repo', repo]).summary;
  assert.equal(verified.sessions, 2);
  const rebuilt = succeed(['volume', 'log', name as string, '--rebuild', '--repo', repo]);
  assert.deepEqual(
    linesOf(rebuilt.stdout).flatMap(({ type, was }) => (type === 'rebuilt' ? [was] : [])),
    ['right', 'right'],
  );
  const label = ['volume', 'label', name as string, '--pool', 'lto', '--force', '--repo', repo];
  assert.equal(penstock(label).errors[0]?.code, 'VOLUME_USED');
  succeed(['volume', 'log', name as string, '--clear', '--repo', repo]);
  assertRestores(repo, second.archive as string, source);
});

test('a library brings the tapes: a session goes on from one to the next', { skip }, async () => {
  const source = makeTree('many', 60, FILE_BYTES);
  await untilOld();
  const tid = await server.addTarget();
  for (const label of ['AAA001L8', 'AAA002L8', 'AAA003L8', 'CLN001L8']) {
    await server.makeTape(label, 6);
  }
  await server.addEmptyDrive(tid, 1);
  await server.addEmptyDrive(tid, 2);
  await server.addChanger(tid, 3, ['AAA003L8', 'CLN001L8', 'AAA001L8', 'AAA002L8'], [1, 2]);
  const repo = join(scratch, 'many-repo');
  succeed(['init', '--repo', repo]);
  const add = ['pool', 'add', 'lto', '--kind', 'tape', '--chunk-size', '3M', '--repo', repo];
  const drive = ['--device', server.url(tid, 2), '--changer', server.url(tid, 3)];
  succeed([...add, ...drive, '--drive', '2']);
  const first = succeed(['backup', source, '--pool', 'lto', '--repo', repo]).summary;
  const listed = succeed(['volume', 'list', '--repo', repo]).stdout.split('\n');
  const names = listed
    .filter((line) => line.includes('"sequence"'))
    .map((line) => JSON.parse(line) as { name: string; state: string })
    .map(({ name, state }) => `${name} ${state}`);
  assert(names.length >= 2, `only ${names.join(', ')}`);
  const last = names.length - 1;
  const expected = ['AAA001', 'AAA002', 'AAA003'].slice(0, names.length);
  assert.deepEqual(
    names,
    expected.map((name, index) => `${name} ${index === last ? 'appendable' : 'full'}`),
  );
  assertRestores(repo, first.archive as string, source);
});

test('a drive that is not there, or does not let us in, is told as such', { skip }, async () => {
  const source = makeTree('none', 2, FILE_BYTES);
  const tid = await server.addTarget();
  await server.addDrive(tid, 1, await server.makeTape('NON001', 16));
  await server.addAccount(tid, { user: 'me', secret: 'a-secret-of-ours' });
  const repo = join(scratch, 'none-repo');
  succeed(['init', '--repo', repo]);
  const add = (name: string, device: string): void => {
    succeed(['pool', 'add', name, '--kind', 'tape', '--device', device, '--repo', repo]);
  };
  add('open', server.url(tid, 1));
  add('known', server.url(tid, 1, 'me'));
  const attempt = (pool: string) => penstock(['backup', source, '--pool', pool, '--repo', repo]);
  const refused = attempt('open');
  assert.equal(refused.status, 1);
  assert.match(JSON.stringify(refused.errors), /DEVICE_REFUSED/);
  const silent = attempt('known');
  assert.equal(silent.status, 2);
  assert.match(JSON.stringify(silent.errors), /PENSTOCK_CHAP_SECRET_FILE/);
  const secret = join(scratch, 'secret');
  writeFileSync(secret, 'a-secret-of-ours\n', { mode: 0o600 });
  const env = { PENSTOCK_CHAP_SECRET_FILE: secret };
  const run = penstock(['backup', source, '--pool', 'known', '--repo', repo], { env });
  assert.equal(run.status, 0, JSON.stringify(run.errors));
  const wrong = penstock([
    'pool',
    'add',
    'bad',
    '--kind',
    'tape',
    '--device',
    'nas',
    '--repo',
    repo,
  ]);
  assert.equal(wrong.status, 2);
  assert.match(JSON.stringify(wrong.errors), /iscsi:\/\//);
});

test('of two pools of one drive, what moves waits in a file while tapes change', {
  skip,
}, async () => {
  const source = makeTree('moved', 30, FILE_BYTES);
  const tid = await server.addTarget();
  for (const label of ['MOV001L8', 'MOV002L8']) await server.makeTape(label, 32);
  await server.addEmptyDrive(tid, 1);
  await server.addChanger(tid, 2, ['MOV001L8', 'MOV002L8'], [1]);
  const repo = join(scratch, 'moved-repo');
  succeed(['init', '--repo', repo]);
  const drive = ['--kind', 'tape', '--chunk-size', '3M', '--device', server.url(tid, 1)];
  const library = ['--changer', server.url(tid, 2)];
  for (const pool of ['near', 'far'])
    succeed(['pool', 'add', pool, ...drive, ...library, '--repo', repo]);
  succeed(['pool', 'add', 'bare', ...drive, '--repo', repo]);
  const { archive } = succeed(['backup', source, '--pool', 'near', '--repo', repo]).summary;
  const bare = penstock(['migrate', 'near', '--to', 'bare', '--repo', repo]);
  assert.equal(bare.errors[0]?.code, 'DRIVE_SHARED');
  const moved = succeed(['migrate', 'near', '--to', 'far', '--repo', repo]).summary;
  assert(Number(moved.chunks) > 1);
  // The manifest's are in the repository itself and come from there.
  assert(Number(moved.staged) > 0 && Number(moved.staged) < Number(moved.chunks));
  const states = linesOf(succeed(['volume', 'list', '--repo', repo]).stdout)
    .filter(({ type }) => type === 'volume')
    .map(({ name, state }) => `${name} ${state}`);
  assert.deepEqual(states.sort(), ['MOV001 expired', 'MOV002 appendable']);
  assertRestores(repo, archive as string, source);
});
