/**
 * Goal: whatever goes wrong with a drive, the error is the right one, the position is known again before
 * anything is written, and nothing that was taken is overwritten.
 * Method: a drive by the standard behind a scripted target; each fault at each command or PDU in turn. The
 * writer does as volume.ts asks of it: after an error it asks `tell` and goes on from there.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ErrorCode, PenstockError } from '../../src/base/errors.ts';
import { openScsiVolume } from '../../src/media/scsi-volume.ts';
import type { Volume } from '../../src/media/volume.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice } from '../../src/scsi/iscsi-initiator.ts';
import { type Action, type Incoming, ScriptedTarget } from '../iscsi-target.ts';
import { fixedSense, type SenseFields } from '../scsi-tape.ts';

const COMMAND = 0x01;
const READ_POSITION = 0x34;
const ATTEMPTS = 20;

type Work = (volume: Volume, target: ScriptedTarget) => Promise<void>;

async function withDrive(work: Work, lacks: readonly number[] = []): Promise<void> {
  const target = await ScriptedTarget.start();
  for (const code of lacks) target.device.lacks.add(code);
  target.device.bufferObjects = 2;
  const device = new IscsiDevice(parseIscsiAddress(target.url()), { reconnectMs: 5000 });
  const volume = await openScsiVolume(device);
  try {
    await work(volume, target);
  } finally {
    await volume.close();
    await target.stop();
  }
  assert.deepEqual(target.violations, []);
}

const codeOf = (error: unknown): string => (error as PenstockError).code;
const record = (index: number): Buffer => Buffer.alloc(3000 + index, index + 1);

/** Where the tape stands, however often that has to be asked. */
async function told(volume: Volume): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      return (await volume.tell()).object;
    } catch (error) {
      assert(['VOLUME_IO', 'VOLUME_CHANGED'].includes(codeOf(error)), String(error));
    }
  }
  return assert.fail('the position is never told');
}

/** Writes six records, with a mark behind the third, whatever comes between. */
async function writeAll(volume: Volume): Promise<number> {
  const work = [
    ...[0, 1, 2].map((index) => () => volume.append(record(index))),
    () => volume.writeMarks(1),
    ...[4, 5].map((index) => () => volume.append(record(index))),
  ];
  let errors = 0;
  let at = 0;
  while (at < work.length) {
    try {
      await work[at]?.();
      at += 1;
    } catch (error) {
      assert(['VOLUME_IO', 'VOLUME_CHANGED'].includes(codeOf(error)), String(error));
      errors += 1;
      assert(errors < ATTEMPTS);
      const position = await told(volume);
      assert(position === 0 || position === at || position === at + 1, `${position} at ${at}`);
      // Reset to the beginning: a writer finds its place again by what it knows.
      if (position === 0 && at > 0) {
        await volume.spaceEnd();
        at = await told(volume);
      } else at = position;
    }
  }
  await volume.synchronise().catch(async () => {
    await told(volume);
    await volume.synchronise();
  });
  return errors;
}

const EXPECTED = [record(0), record(1), record(2), null, record(4), record(5)];

for (const [what, action] of [
  ['before it is looked at', 'cut'],
  ['after it was carried out', 'cut-after'],
] as const) {
  for (const lacks of [[], [READ_POSITION]]) {
    const drive = lacks.length > 0 ? 'that cannot tell its position' : 'by the standard';
    test(`the connection is lost at any PDU of writing, ${what}; a drive ${drive}`, async () => {
      let faults = 0;
      for (let wanted = 1; ; wanted++) {
        let isDone = false;
        await withDrive(async (volume, target) => {
          await volume.tell();
          let count = 0;
          target.script = () => {
            count += 1;
            isDone ||= count === wanted;
            return count === wanted ? action : undefined;
          };
          await writeAll(volume);
          target.script = () => undefined;
          assert.deepEqual(target.device.objects, EXPECTED);
          assert.equal((await volume.tell()).object, 6);
        }, lacks);
        if (!isDone) break;
        faults += 1;
      }
      assert(faults > 6, `only ${faults} faults`);
    });
  }
}

test('a lost connection is healed while reading, and told once while writing', async () => {
  await withDrive(async (volume, target) => {
    await writeAll(volume);
    await volume.rewind();
    const into = Buffer.alloc(4000);
    let count = 0;
    target.script = ({ opcode, cdb }) => {
      if (opcode !== COMMAND || cdb[0] !== 0x08) return undefined;
      count += 1;
      return count % 3 === 1 ? 'cut' : count % 3 === 2 ? 'cut-after' : undefined;
    };
    const lengths: (number | string)[] = [];
    for (;;) {
      const got = await volume.read(into).catch((error) => codeOf(error));
      if (typeof got === 'string') {
        assert.equal(got, 'VOLUME_IO');
        continue;
      }
      lengths.push(got.kind === 'record' ? got.bytes : got.kind);
      if (got.kind === 'end') break;
    }
    assert.deepEqual(lengths, [3000, 3001, 3002, 'mark', 3004, 3005, 'end']);
  });
});

test('a connection that was lost between two records is made again without a word', async () => {
  await withDrive(async (volume, target) => {
    await volume.append(record(0));
    target.cut();
    // Until the end of the connection was seen a command may still be lost with it.
    while (target.connections < 2) await volume.tell().catch(() => undefined);
    await volume.append(record(1));
    assert.deepEqual(target.device.objects, [record(0), record(1)]);
  });
});

/** The n-th command is answered by this sense data once, and not carried out. */
function once(
  wanted: number,
  answer: SenseFields,
): { script: (pdu: Incoming) => Action; met(): boolean } {
  let count = 0;
  return {
    met: () => count >= wanted,
    script: ({ opcode }) => {
      if (opcode !== COMMAND) return undefined;
      count += 1;
      return count === wanted ? { answer: { status: 2, sense: fixedSense(answer) } } : undefined;
    },
  };
}

/** Every call once, from a tape with three records. */
const CALLS: readonly ((volume: Volume) => Promise<unknown>)[] = [
  (volume) => volume.rewind(),
  (volume) => volume.read(Buffer.alloc(3000)),
  (volume) => volume.tell(),
  (volume) => volume.spaceRecords(1),
  (volume) => volume.locate(0),
  (volume) => volume.spaceMarks(1),
  (volume) => volume.spaceEnd(),
  (volume) => volume.append(record(3)),
  (volume) => volume.writeMarks(1),
  (volume) => volume.synchronise(),
];
const AFTER_CALLS = [record(0), record(1), record(2), record(3), null];

async function callAll(volume: Volume): Promise<{ failed: number; codes: string[] }> {
  const codes: string[] = [];
  let failed = -1;
  for (const [index, call] of CALLS.entries()) {
    try {
      await call(volume);
    } catch (error) {
      codes.push(codeOf(error));
      if (failed < 0) failed = index;
      return { failed, codes };
    }
  }
  return { failed, codes };
}

const CHANGES: readonly (readonly [string, SenseFields, ErrorCode | undefined])[] = [
  ['the medium may have been changed', { key: 6, code: 0x28 }, 'VOLUME_CHANGED'],
  ['the drive was reset', { key: 6, code: 0x29 }, 'VOLUME_CHANGED'],
  ['another machine changed a setting', { key: 6, code: 0x2a, qualifier: 1 }, undefined],
  ['there is no medium', { key: 2, code: 0x3a }, 'VOLUME_NOT_READY'],
  ['the hardware failed', { key: 4, code: 0x44 }, 'VOLUME_IO'],
  ['the command was aborted', { key: 0xb, code: 0x47 }, 'VOLUME_IO'],
  ['something unheard of', { key: 0xe, code: 0x99 }, 'VOLUME_IO'],
];

for (const [what, sense, code] of CHANGES) {
  test(`${what}, at any command: ${code ?? 'it is given again'}`, async () => {
    let faults = 0;
    for (let wanted = 1; ; wanted++) {
      let isDone = false;
      await withDrive(async (volume, target) => {
        target.device.objects = [0, 1, 2].map(record);
        const { script, met } = once(wanted, sense);
        target.script = script;
        const { failed, codes } = await callAll(volume);
        isDone = met();
        target.script = () => undefined;
        const { objects } = target.device;
        if (!isDone || code === undefined) {
          assert.deepEqual(codes, []);
          assert.deepEqual(objects, AFTER_CALLS);
          return;
        }
        assert.deepEqual(codes, [code], `command ${wanted}`);
        // Told once; nothing was written, and nothing is before it is known where.
        assert.deepEqual(objects, AFTER_CALLS.slice(0, Math.max(3, Math.min(failed - 4, 5))));
        const before = [...objects];
        if (code === 'VOLUME_CHANGED') {
          await assert.rejects(volume.append(record(9)), { code: 'VOLUME_IO' });
        }
        assert.deepEqual(target.device.objects, before);
        assert.equal((await volume.tell()).object, target.device.position);
      });
      if (!isDone) break;
      faults += 1;
    }
    assert(faults >= CALLS.length, `only ${faults} commands`);
  });
}

test('after a loss of power nothing is written where the tape happens to stand', async () => {
  await withDrive(async (volume, target) => {
    for (let index = 0; index < 5; index++) await volume.append(record(index));
    assert.equal((await volume.tell()).onMedium, 3);
    const { device } = target;
    device.objects.length = device.flushed;
    device.position = 0;
    target.script = once(1, { key: 6, code: 0x29 }).script;
    await assert.rejects(volume.append(record(5)), { code: 'VOLUME_CHANGED' });
    await assert.rejects(volume.append(record(5)), { code: 'VOLUME_IO' });
    assert.deepEqual(device.objects, [record(0), record(1), record(2)]);
    assert.equal((await volume.tell()).object, 0);
    await volume.spaceEnd();
    assert.equal((await volume.tell()).object, 3);
  });
});

test('a loss of power while the connection is down is not taken for a mere reconnection', async () => {
  await withDrive(async (volume, target) => {
    for (let index = 0; index < 3; index++) await volume.append(record(index));
    target.device.position = 0;
    target.cut();
    let isFirst = true;
    target.script = ({ opcode }) => {
      if (opcode !== COMMAND || !isFirst) return undefined;
      isFirst = false;
      return { answer: { status: 2, sense: fixedSense({ key: 6, code: 0x29 }) } };
    };
    const codes: string[] = [];
    for (let attempt = 0; attempt < 3; attempt++) {
      await volume.append(record(9)).catch((error) => codes.push(codeOf(error)));
    }
    assert.equal(codes.length, 3, 'nothing was written');
    assert.deepEqual(target.device.objects, [0, 1, 2].map(record));
  });
});

const ENDS: readonly (readonly [string, SenseFields, ErrorCode])[] = [
  ['the medium is full', { key: 0xd, qualifier: 2, flags: 0x40, information: 3000 }, 'VOLUME_FULL'],
  ['nothing of it fitted', { key: 0, qualifier: 2, flags: 0x40, information: 3000 }, 'VOLUME_FULL'],
  ['the medium is write-protected', { key: 7, code: 0x27 }, 'VOLUME_PROTECTED'],
  ['the medium is bad here', { key: 3, code: 0x0c }, 'VOLUME_IO'],
  ['an earlier record was bad', { key: 3, code: 0x0c, deferred: true }, 'VOLUME_IO'],
  ['the end came in the buffer', { key: 0xd, flags: 0x40, deferred: true }, 'VOLUME_FULL'],
  ['the warning came late', { key: 0, qualifier: 2, flags: 0x40, deferred: true }, 'VOLUME_FULL'],
  ['help with an earlier record', { key: 1, code: 0x18, deferred: true }, 'VOLUME_IO'],
];

for (const [what, sense, code] of ENDS) {
  test(`writing: ${what}: ${code}`, async () => {
    await withDrive(async (volume, target) => {
      await volume.append(record(1));
      target.script = once(1, sense).script;
      await assert.rejects(volume.append(record(0)), (error: PenstockError) => {
        assert.equal(error.code, code);
        assert.match(error.message, /^volume iscsi:\/\/.*, object 1: WRITE.*sense/);
        return true;
      });
      assert.equal(await told(volume), 1);
      await volume.append(record(2));
      assert.deepEqual(target.device.objects, [record(1), record(2)]);
    });
  });
}

test('a record that cannot be read is told, and what lies behind it is read', async () => {
  await withDrive(async (volume, target) => {
    await writeAll(volume);
    target.device.damaged.add(1).add(4);
    await volume.rewind();
    const seen: (number | string)[] = [];
    for (;;) {
      const got = await volume.read(Buffer.alloc(4000)).catch((error) => codeOf(error));
      if (typeof got === 'string') seen.push(got);
      else seen.push(got.kind === 'record' ? got.bytes : got.kind);
      if (typeof got !== 'string' && got.kind === 'end') break;
    }
    const lost = 'VOLUME_DAMAGED';
    assert.deepEqual(seen, [3000, lost, 3002, 'mark', lost, 3005, 'end']);
  });
});

test('a busy drive is asked again; one that is reserved for another is told', async () => {
  await withDrive(async (volume, target) => {
    let count = 0;
    target.script = ({ opcode }) => {
      count += opcode === COMMAND ? 1 : 0;
      return count <= 2 ? { answer: { status: count === 1 ? 0x08 : 0x28 } } : undefined;
    };
    await volume.append(record(0));
    assert.deepEqual(target.device.objects, [record(0)]);
    target.script = () => ({ answer: { status: 0x18 } });
    await assert.rejects(volume.append(record(1)), {
      code: 'VOLUME_IO',
      message: /reserved for another machine/,
    });
    target.script = () => ({ answer: { status: 0x77 } });
    await assert.rejects(volume.tell(), { code: 'VOLUME_IO', message: /status 0x77/ });
  });
});

test('`status` comes across a change: the next call tells it, once', async () => {
  await withDrive(async (volume, target) => {
    await volume.append(record(0));
    target.script = once(1, { key: 6, code: 0x28 }).script;
    assert.equal((await volume.status()).loaded, true);
    target.script = () => undefined;
    await assert.rejects(volume.append(record(1)), { code: 'VOLUME_CHANGED' });
    assert.deepEqual(target.device.objects, [record(0)]);
    assert.equal((await volume.tell()).object, 1);
    await volume.append(record(1));
  });
});

test('a drive that becomes ready is waited for', async () => {
  await withDrive(async (volume, target) => {
    await volume.append(record(0));
    await volume.unload();
    let count = 0;
    target.script = ({ opcode, cdb }) => {
      if (opcode !== COMMAND || cdb[0] !== 0x00) return undefined;
      count += 1;
      const sense = fixedSense({ key: 2, code: 4, qualifier: 1 });
      return count === 2 ? { answer: { status: 2, sense } } : undefined;
    };
    await volume.load();
    assert.equal(count, 3);
    assert.deepEqual(await volume.read(Buffer.alloc(3000)), { kind: 'record', bytes: 3000 });
  });
});

test('settings are made again after a reset', async () => {
  await withDrive(async (volume, target) => {
    await volume.append(record(0));
    const { device } = target;
    assert.deepEqual([device.blockBytes, device.buffered], [0, 1]);
    device.blockBytes = 512;
    target.cut();
    let isFirst = true;
    target.script = ({ opcode, connection }) => {
      if (opcode !== COMMAND || connection !== 2 || !isFirst) return undefined;
      isFirst = false;
      return { answer: { status: 2, sense: fixedSense({ key: 6, code: 0x29 }) } };
    };
    for (let done = 0; done < 1; ) {
      await told(volume);
      await volume.append(record(1)).then(
        () => (done += 1),
        () => undefined,
      );
    }
    assert.equal(device.blockBytes, 0);
    assert.deepEqual(device.objects, [record(0), record(1)]);
  });
});

test('a drive that does not say by how much a record is longer or shorter: its length is found all the same', async () => {
  const lengths = [1, 64, 65, 1000, 4096, 4097, 70_000, 3];
  for (const asked of [1, 64, 4096, 100_000]) {
    await withDrive(async (volume, target) => {
      const { device } = target;
      device.senseOf = ({ information: _, ...fields }) => fixedSense(fields);
      device.objects = lengths.map((length, index) => Buffer.alloc(length, index + 1));
      await volume.rewind();
      for (const [index, length] of lengths.entries()) {
        const into = Buffer.alloc(asked);
        assert.deepEqual(await volume.read(into), { kind: 'record', bytes: length });
        const there = Math.min(asked, length);
        assert.deepEqual(into.subarray(0, there), Buffer.alloc(there, index + 1));
        assert.equal((await volume.tell()).object, index + 1);
      }
      assert.deepEqual(await volume.read(Buffer.alloc(asked)), { kind: 'end' });
    });
  }
});
