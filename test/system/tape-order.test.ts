/**
 * Goal: a restore reads the records of a tape in the order in which they lie there, each once, although the
 * chunks of several contents interleave; and its drive is hardly ever told to go anywhere else (L5).
 *
 * Method: whole commands on a drive in this process, which notes what it is told.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { start } from '../commands.ts';
import { ScriptedTarget } from '../iscsi-target.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise, prose } from '../tree-make.ts';
import { makePlace, scratch } from '../volume-place.ts';

const SCSI_COMMAND = 1;
const READ = 0x08;
const POSITIONING = new Set([0x01, 0x11, 0x91, 0x2b, 0x92]);
let drive: ScriptedTarget | undefined;
after(async () => await drive?.stop());

test('chunks that interleave are read forward, each record once', async () => {
  const source = join(scratch, 'mixed');
  mkdirSync(source);
  for (let i = 0; i < 24; i++) {
    const content = i % 2 === 0 ? noise(900_000, `${i}`) : prose(900_000, `${i}`);
    writeFileSync(join(source, `file-${String(i).padStart(2, '0')}`), content);
  }
  const place = makePlace('mixed');
  drive = await ScriptedTarget.start();
  const { device } = drive;
  const at: { code: number; object: number }[] = [];
  drive.script = ({ opcode, cdb }) => {
    if (opcode === SCSI_COMMAND) at.push({ code: cdb.readUInt8(0), object: device.position });
    return undefined;
  };
  const settings = ['--kind', 'tape', '--device', drive.url(), '--repo', place.repo];
  await finish('pool', 'add', 'lto', ...settings);
  const { archive } = await finish('backup', source, '--pool', 'lto', '--repo', place.repo);
  at.length = 0;
  const target = join(scratch, 'mixed-restored');
  await finish('restore', archive as string, '--target', target, '--repo', place.repo);
  assertSameTree(capture(join(target, source)), capture(source));
  const blocks = device.objects.flatMap((one, object) =>
    (one?.length ?? 0) > 100_000 ? [object] : [],
  );
  const chunks = new Set(blocks.map((object) => device.objects[object]?.toString('hex', 48, 64)));
  assert(chunks.size >= 2 && blocks.length >= 12, `${chunks.size} chunks, ${blocks.length} blocks`);
  const wasRead = at.filter(({ code }) => code === READ).map(({ object }) => object);
  assert.deepEqual(
    wasRead.filter((object) => blocks.includes(object)),
    blocks,
    'each once, and forward',
  );
  // Once it has come to the first one it goes on only past what lies between them.
  const first = at.findIndex(({ code, object }) => code === READ && object === blocks[0]);
  const positionings = at.slice(first).filter(({ code }) => POSITIONING.has(code)).length;
  const gaps = blocks.filter((object, i) => i > 0 && object !== Number(blocks[i - 1]) + 1).length;
  assert(positionings <= gaps, `${positionings} for ${gaps} gaps`);

  async function finish(...args: string[]): Promise<Readonly<Record<string, unknown>>> {
    const run = await start(args, place.options).ended;
    assert.equal(run.status, 0, run.stdout);
    return run.summary;
  }
});
