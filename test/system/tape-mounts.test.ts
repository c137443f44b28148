/**
 * Goal: a tape that is not in its drive is asked for, and what comes is looked at before anything is done: the
 * backup goes on, on the next tape, a restore with the one that it needs; nothing foreign is overwritten.
 * Method: whole commands against Debian's tgt on loopback; the test changes the tapes when it is asked to.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { fromText } from '../../src/base/bytes.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { penstock, type Run, start, succeed, untilOld } from '../commands.ts';
import { attended } from '../tape-attendant.ts';
import { TgtServer, tgtMissing } from '../tgt.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';
import { scratch } from '../volume-commands.ts';

const skip = tgtMissing();
let server: TgtServer;
let source = '';

before(async () => {
  if (skip !== undefined) return;
  server = await TgtServer.start();
  source = join(scratch, 'source');
  mkdirSync(source);
  for (let i = 0; i < 50; i++) writeFileSync(join(source, `file-${i}`), noise(200_000, `file${i}`));
  await untilOld();
});
after(async () => await server?.stop());

const said = ({ stdout, stderr }: Run): string => `${stdout}${stderr}`;

/** A drive with a tape, and a repository with a pool of that drive. */
async function makePool(name: string, tape: string): Promise<{ tid: number; repo: string }> {
  const tid = await server.addTarget();
  await server.addDrive(tid, 1, tape);
  const repo = join(scratch, `${name}-repo`);
  succeed(['init', '--no-encryption', '--repo', repo]);
  const drive = ['--device', server.url(tid, 1), '--chunk-size', '3M'];
  succeed(['pool', 'add', 'lto', '--kind', 'tape', ...drive, '--repo', repo]);
  return { tid, repo };
}

function assertRestored(target: string): void {
  assertSameTree(capture(fromText(join(target, source))), capture(fromText(source)));
  rmSync(target, { recursive: true });
}

test('a backup goes on with the tape that it is given, a restore with the ones that it asks for', {
  skip,
}, async () => {
  const tapes = new Map<string, string>();
  for (const name of ['FIRST', 'FOREIGN', 'SECOND'])
    tapes.set(name, await server.makeTape(name, 6));
  const other = await server.addTarget();
  await server.addDrive(other, 1, tapes.get('FOREIGN') as string);
  const foreign = await openScsiVolume(new IscsiDevice(parseIscsiAddress(server.url(other, 1))));
  await foreign.append(Buffer.alloc(5000, 7));
  await foreign.synchronise();
  await foreign.close();
  const untouched = readFileSync(tapes.get('FOREIGN') as string);

  const { tid, repo } = await makePool('goes-on', tapes.get('FIRST') as string);
  const wait = ['--mount-wait', '2m', '--repo', repo];
  const backup = await attended(['backup', source, '--pool', 'lto', ...wait], async (_, number) => {
    const next = number === 1 ? 'FIRST' : number === 2 ? 'FOREIGN' : 'SECOND';
    await server.changeTape(tid, 1, tapes.get(next) as string);
  });
  assert.equal(backup.status, 0, said(backup));
  const asked = backup.asked.map(({ blank, found }) => [blank, found]);
  assert.deepEqual(asked, [
    [true, 'volume LTO001 of pool lto'],
    [true, 'volume LTO001 of pool lto'],
    [true, 'a record of 5000 bytes without a label'],
  ]);
  assert.deepEqual(readFileSync(tapes.get('FOREIGN') as string), untouched);

  const volumes = new Map([
    ['LTO001', 'FIRST'],
    ['LTO002', 'SECOND'],
  ]);
  const target = join(scratch, 'goes-on-restored');
  const restore = await attended(
    ['restore', 'latest', '--target', target, ...wait],
    async (one) => {
      const [wanted] = one.tapes;
      // The wrong one first, which is looked at and not taken.
      if (restoreAnswers++ === 0) await server.changeTape(tid, 1, tapes.get('FOREIGN') as string);
      else await server.changeTape(tid, 1, tapes.get(volumes.get(wanted ?? '') ?? '') as string);
    },
  );
  assert.equal(restore.status, 0, said(restore));
  assertRestored(target);
  assert.deepEqual(restore.asked[0]?.tapes, ['LTO001']);
  assert.equal(restore.asked[0]?.found, 'volume LTO002 of pool lto');
  assert.match(restore.asked[1]?.found ?? '', /a record of 5000 bytes/);
  assert(restore.asked.some(({ tapes: wanted }) => wanted[0] === 'LTO002'));
});
let restoreAnswers = 0;

test('where nobody is there, or nobody comes in time, it ends; and works when it is run again', {
  skip,
}, async () => {
  const first = await server.makeTape('ALONE1', 6);
  const second = await server.makeTape('ALONE2', 24);
  const { tid, repo } = await makePool('alone', first);
  const backup = ['backup', source, '--pool', 'lto', '--repo', repo];
  const alone = penstock(backup);
  assert.equal(alone.errors[0]?.code, 'POOL_EXHAUSTED', alone.stdout);
  assert.match(alone.errors[0]?.hint as string, /--mount-wait/);
  const late = await attended([...backup, '--mount-wait', '1s'], () => undefined);
  assert.equal(late.status, 1);
  assert.match(said(late), /POOL_EXHAUSTED/);
  assert.equal(late.asked.length, 1);
  assert.equal(late.asked[0]?.found, 'volume LTO001 of pool lto');
  await server.changeTape(tid, 1, second);
  succeed(backup);
});

test('a library without a tape that can be written is given one', { skip }, async () => {
  const tid = await server.addTarget();
  for (const label of ['LIB001L8', 'LIB002L8']) await server.makeTape(label, 6);
  await server.addEmptyDrive(tid, 1);
  await server.addChanger(tid, 2, ['LIB001L8', '', ''], [1]);
  const repo = join(scratch, 'library-repo');
  succeed(['init', '--no-encryption', '--repo', repo]);
  const place = ['--device', server.url(tid, 1), '--changer', server.url(tid, 2)];
  succeed(['pool', 'add', 'lto', '--kind', 'tape', ...place, '--chunk-size', '3M', '--repo', repo]);
  const wait = ['--mount-wait', '2m', '--repo', repo];
  const backup = await attended(['backup', source, '--pool', 'lto', ...wait], async () => {
    await server.putIntoSlot(tid, 2, 1, 'LIB002L8');
  });
  assert.equal(backup.status, 0, said(backup));
  assert.deepEqual(backup.asked, [{ tapes: [], blank: true, found: undefined }]);
  const target = join(scratch, 'library-restored');
  succeed(['restore', 'latest', '--target', target, '--repo', repo]);
  assertRestored(target);
});

test('Ctrl-C ends the waiting', { skip }, async () => {
  const { repo } = await makePool('interrupted', await server.makeTape('BREAK1', 6));
  const backup = ['backup', source, '--pool', 'lto', '--mount-wait', '1h', '--repo', repo];
  const { child, ended } = start(backup);
  const interrupt = (text: string): void => {
    if (/"type":"mount"|put a blank/.test(text)) child.kill('SIGINT');
  };
  child.stdout?.on('data', interrupt);
  child.stderr?.on('data', interrupt);
  assert.equal((await ended).status, 130);
});
