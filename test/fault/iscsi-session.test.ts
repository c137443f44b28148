/**
 * Goal: whatever a target does to a session, each command ends with its answer or an error that is true, in
 * time, and the next one finds a fresh session.
 * Method: a scripted target on loopback; it notes what the initiator does against the rules.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { ErrorCode, PenstockError } from '../../src/base/errors.ts';
import { parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { IscsiDevice, type IscsiOptions } from '../../src/scsi/iscsi-initiator.ts';
import type { ScsiCommand } from '../../src/scsi/scsi-device.ts';
import {
  type Action,
  type Incoming,
  pdu,
  ScriptedTarget,
  type TargetOptions,
} from '../iscsi-target.ts';

const COMMAND = 0x01;
const WAIT_STEPS = 1000;

const ready: ScsiCommand = { name: 'TEST UNIT READY', cdb: new Uint8Array(6), timeoutMs: 30_000 };
const write = (record: Buffer, timeoutMs = 30_000): ScsiCommand => {
  const cdb = Buffer.alloc(6, 0);
  cdb[0] = 0x0a;
  cdb.writeUIntBE(record.length, 2, 3);
  return { name: 'WRITE', cdb, dataOut: record, timeoutMs };
};
const read = (into: Buffer): ScsiCommand => {
  const cdb = Buffer.alloc(6, 0);
  cdb[0] = 0x08;
  cdb.writeUIntBE(into.length, 2, 3);
  return { name: 'READ', cdb, dataIn: into, timeoutMs: 30_000 };
};

type Work = (device: IscsiDevice, target: ScriptedTarget) => Promise<void>;

async function withTarget(
  options: TargetOptions,
  own: IscsiOptions,
  work: Work,
): Promise<ScriptedTarget> {
  const target = await ScriptedTarget.start(options);
  target.device.blockBytes = 0;
  const device = new IscsiDevice(parseIscsiAddress(target.url()), { reconnectMs: 5000, ...own });
  try {
    await work(device, target);
  } finally {
    await device.close();
    await target.stop();
  }
  assert.deepEqual(target.violations, []);
  return target;
}

async function fails(code: ErrorCode, text: RegExp, attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error: PenstockError) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < WAIT_STEPS && !condition(); i++) await pause(10);
  assert(condition(), 'it came about in time');
}

const onCommand =
  (code: number, action: Action) =>
  ({ opcode, cdb }: Incoming): Action =>
    opcode === COMMAND && cdb.readUInt8(0) === code ? action : undefined;

const NEGOTIATIONS: readonly Record<string, string>[] = [
  {},
  { InitialR2T: 'No' },
  { ImmediateData: 'No' },
  { InitialR2T: 'No', ImmediateData: 'No' },
  { HeaderDigest: 'CRC32C', DataDigest: 'CRC32C' },
  { FirstBurstLength: '512', MaxBurstLength: '1024', MaxRecvDataSegmentLength: '512' },
  { InitialR2T: 'No', FirstBurstLength: '1000', MaxRecvDataSegmentLength: '513' },
  { MaxBurstLength: '1048576', MaxRecvDataSegmentLength: '1048576', InitialR2T: 'No' },
];

test('data of all lengths goes both ways, however it was negotiated', async () => {
  for (const keys of NEGOTIATIONS) {
    await withTarget({ keys }, { offer: { receiveBytesMax: 4096 } }, async (device) => {
      const lengths = [1, 2, 3, 4, 511, 512, 513, 1000, 1025, 8192, 70_001, 300_000];
      for (const [index, length] of lengths.entries()) {
        const record = Buffer.alloc(length, index + 1);
        assert.equal((await device.execute(write(record))).status, 0, `${length}`);
      }
      await device.execute({ ...ready, name: 'REWIND', cdb: Uint8Array.of(1, 0, 0, 0, 0, 0) });
      for (const [index, length] of lengths.entries()) {
        const into = Buffer.alloc(length);
        const { status, received } = await device.execute(read(into));
        assert.deepEqual([status, received], [0, length]);
        assert.deepEqual(into, Buffer.alloc(length, index + 1));
      }
    });
  }
});

test('the connection is cut at each PDU of a long write: told as lost, and made again', async () => {
  let cuts = 0;
  for (let wanted = 1; ; wanted++) {
    let isCut = false;
    await withTarget({}, {}, async (device, target) => {
      await device.execute(ready);
      let count = 0;
      target.script = () => {
        count += 1;
        isCut ||= count === wanted;
        return count === wanted ? 'cut' : undefined;
      };
      const attempt = device.execute(write(Buffer.alloc(300_000, 7)));
      if (!(await attempt.then(() => true).catch(() => false))) {
        await fails('DEVICE_LOST', /WRITE/, attempt);
      }
      target.script = () => undefined;
      assert.equal((await device.execute(ready)).status, 0);
      assert.equal(device.generation, isCut ? 2 : 1);
    });
    if (!isCut) break;
    cuts += 1;
  }
  assert(cuts > 30, `only ${cuts} places to cut`);
});

test('a wrong digest of what comes ends the session; data is not given out as good', async () => {
  const keys = { HeaderDigest: 'CRC32C', DataDigest: 'CRC32C' };
  for (const flip of ['header', 'data'] as const) {
    await withTarget({ keys }, {}, async (device, target) => {
      target.device.objects = [Buffer.alloc(100, 1)];
      await device.execute(ready);
      target.script = onCommand(0x08, { flip });
      await fails('DEVICE_PROTOCOL', /wrong digest/, device.execute(read(Buffer.alloc(100))));
      target.script = () => undefined;
      assert.equal((await device.execute(ready)).status, 0);
      assert.equal(target.connections, 2);
    });
  }
});

test('a connection that ends within data leaves the rest of its memory alone, for good', async () => {
  await withTarget({}, {}, async (device, target) => {
    await device.execute(ready);
    target.device.objects = [Buffer.alloc(1000, 2)];
    target.script = ({ opcode, cdb, task }) => {
      if (opcode !== COMMAND || cdb[0] !== 0x08) return undefined;
      const header = pdu(0x25, 0x81, { 16: task, 20: 0xffffffff, 28: 2, 32: 17 });
      header.writeUIntBE(1000, 5, 3);
      return { raw: Buffer.concat([header, Buffer.alloc(400, 1)]) };
    };
    const into = Buffer.alloc(1000, 0xee);
    const lost = device.execute(read(into));
    const told = fails('DEVICE_LOST', /READ/, lost);
    await until(() => into[399] === 1);
    target.cut();
    await told;
    target.script = () => undefined;
    const other = Buffer.alloc(1000);
    assert.equal((await device.execute(read(other))).received, 1000);
    assert.deepEqual(other, Buffer.alloc(1000, 2));
    assert.deepEqual(into, Buffer.concat([Buffer.alloc(400, 1), Buffer.alloc(600, 0xee)]));
  });
});

test('a command that takes too long is taken back; the session goes on', async () => {
  const times = { tickMs: 5 };
  await withTarget({}, { times }, async (device, target) => {
    await device.execute(ready);
    target.script = onCommand(0x0a, 'stall');
    const late = device.execute(write(Buffer.alloc(100), 50));
    await fails('DEVICE_TIMEOUT', /WRITE: not done/, late);
    const abort = target.seen.find(({ opcode }) => opcode === 0x02);
    const stalled = target.seen.findLast(({ opcode }) => opcode === COMMAND);
    assert.equal(abort?.header.readUInt8(1), 0x81);
    assert.equal(abort?.header.readUInt32BE(20), stalled?.task);
    assert.equal((await device.execute(ready)).status, 0);
    assert.equal(target.connections, 1);
  });
});

test('where even that is not answered the session ends', async () => {
  const times = { tickMs: 5, endMs: 30 };
  await withTarget({}, { times }, async (device, target) => {
    await device.execute(ready);
    target.script = ({ opcode, cdb }) =>
      opcode === 0x02 || (opcode === COMMAND && cdb[0] === 0x0a) ? 'stall' : undefined;
    await fails('DEVICE_TIMEOUT', /WRITE/, device.execute(write(Buffer.alloc(100), 30)));
    assert.equal((await device.execute(ready)).status, 0);
    assert.equal(target.connections, 2);
  });
});

test('a slow tape is waited for as long as its target answers pings', async () => {
  const times = { tickMs: 5, pingMs: 20, silenceMs: 30_000 };
  await withTarget({}, { times }, async (device, target) => {
    await device.execute(ready);
    const pings = (): number => target.seen.filter(({ opcode }) => opcode === 0x00).length;
    let held: Incoming | undefined;
    target.script = (incoming) => {
      if (!onCommand(0x00, 'stall')(incoming)) return undefined;
      held = incoming;
      return 'stall';
    };
    const answer = device.execute(ready);
    await until(() => pings() >= 3);
    target.say((connection) => {
      const { statSn } = connection;
      connection.statSn += 1;
      const header = pdu(0x21, 0x80, { 16: held?.task ?? 0, 24: statSn });
      header.writeUInt32BE(connection.expCmdSn, 28);
      header.writeUInt32BE(connection.maxCmdSn, 32);
      return header;
    });
    assert.equal((await answer).status, 0);
    assert.equal(target.connections, 1);
  });
});

test('a target that falls silent is given up long before the tape would be', async () => {
  // Long enough for a target that does answer, also where the machine is busy.
  const times = { tickMs: 5, pingMs: 20, silenceMs: 1500 };
  await withTarget({}, { times }, async (device, target) => {
    await device.execute(ready);
    target.script = () => 'stall';
    await fails('DEVICE_LOST', /nothing was heard/, device.execute(ready));
    assert(
      target.seen.some(({ opcode }) => opcode === 0x00),
      'it was asked for a sign of life',
    );
    target.script = () => undefined;
    assert.equal((await device.execute(ready)).status, 0);
  });
});

test('pings of the target are answered with what they brought', async () => {
  await withTarget({}, {}, async (device, target) => {
    await device.execute(ready);
    target.say((connection) => {
      const header = pdu(0x20, 0x80, { 16: 0xffffffff, 20: 77, 24: connection.statSn });
      header.writeUInt32BE(connection.expCmdSn, 28);
      header.writeUInt32BE(connection.maxCmdSn, 32);
      header[15] = 3;
      header.writeUIntBE(5, 5, 3);
      return Buffer.concat([header, Buffer.from('hello\0\0\0')]);
    });
    const answer = (): Incoming | undefined => target.seen.find(({ opcode }) => opcode === 0x00);
    await until(() => answer() !== undefined);
    assert.equal(answer()?.task, 0xffffffff);
    assert.equal(answer()?.header.readUInt32BE(20), 77);
    assert.equal(answer()?.header[15], 3);
    assert.equal(answer()?.data.toString(), 'hello');
    assert.equal((await device.execute(ready)).status, 0);
    await device.ping();
    assert.equal(target.connections, 1);
  });
});

const event = (target: ScriptedTarget, code: number): void =>
  target.say((connection) => {
    const header = pdu(0x32, 0x80, { 16: 0xffffffff, 24: connection.statSn });
    header.writeUInt32BE(connection.expCmdSn, 28);
    header.writeUInt32BE(connection.maxCmdSn, 32);
    header[36] = code;
    connection.statSn += 1;
    return header;
  });

test('a target that asks for the end of the session gets it, and a new one', async () => {
  await withTarget({}, { times: { tickMs: 5 } }, async (device, target) => {
    await device.execute(ready);
    event(target, 1);
    await until(() => target.seen.some(({ opcode }) => opcode === 0x06));
    assert.equal((await device.execute(ready)).status, 0);
    assert.equal(target.connections, 2);
  });
});

test('a target that drops the session says so; what it has to say of the device is no end', async () => {
  await withTarget({}, {}, async (device, target) => {
    await device.execute(ready);
    event(target, 0);
    event(target, 255);
    assert.equal((await device.execute(ready)).status, 0);
    assert.equal(target.connections, 1);
    target.script = () => 'stall';
    const running = device.execute(ready);
    const commands = () => target.seen.filter(({ opcode }) => opcode === COMMAND).length;
    await until(() => commands() === 3);
    event(target, 3);
    await fails('DEVICE_LOST', /drops the session/, running);
    target.script = () => undefined;
    assert.equal((await device.execute(ready)).status, 0);
  });
});

test('a rejected command is the end of the session, a rejected ping is not', async () => {
  await withTarget({}, {}, async (device, target) => {
    await device.execute(ready);
    target.script = ({ opcode }) => (opcode === 0 ? { reject: 5 } : undefined);
    await fails('DEVICE_ERROR', /rejects a request \(reason 5\)/, device.ping());
    assert.equal((await device.execute(ready)).status, 0);
    assert.equal(target.connections, 1);
    target.script = onCommand(0x00, { reject: 4 });
    await fails('DEVICE_PROTOCOL', /rejects TEST UNIT READY \(reason 4\)/, device.execute(ready));
    target.script = () => undefined;
    assert.equal((await device.execute(ready)).status, 0);
  });
});

test('commands wait until the target has room for them', async () => {
  const target = await withTarget({ window: 1 }, {}, async (device) => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => device.execute(ready)));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [0]);
  });
  assert.equal(target.seen.filter(({ opcode }) => opcode === COMMAND).length, 20);
});

test('a target that never has room is told as such', async () => {
  await withTarget({ window: 0 }, { times: { tickMs: 5 } }, async (device) => {
    await fails('DEVICE_TIMEOUT', /no room/, device.execute({ ...ready, timeoutMs: 50 }));
  });
});

test('a reset of the device is asked for, and its refusal told', async () => {
  await withTarget({}, {}, async (device, target) => {
    await device.reset();
    const [reset] = target.seen.filter(({ opcode }) => opcode === 0x02);
    assert.equal(reset?.header.readUInt8(1), 0x85);
    // Its numbers are not those of the target any more.
    target.hasSaid = true;
    target.script = ({ opcode, task, header }) => {
      if (opcode !== 0x02) return undefined;
      const raw = pdu(0x22, 0x80, { 16: task, 24: header.readUInt32BE(28) });
      raw.writeUInt32BE(header.readUInt32BE(24), 28);
      raw.writeUInt32BE(header.readUInt32BE(24), 32);
      raw[2] = 5;
      return { raw };
    };
    await fails('DEVICE_ERROR', /did not reset the device \(5\)/, device.reset());
  });
});

/** PDUs that no target may send in answer to a read of 100 bytes. */
const LIES: readonly [string, RegExp, (task: number, statSn: number) => Buffer[]][] = [
  ['more data than asked for', /more than the 100/, (task) => [dataIn(task, 0, 0, 104)]],
  ['data behind the end', /out of order/, (task) => [dataIn(task, 0, 50, 60)]],
  ['data twice', /out of order/, (task) => [dataIn(task, 0, 0, 50), dataIn(task, 1, 0, 50)]],
  ['data with a gap in numbers', /out of order/, (task) => [dataIn(task, 1, 0, 50)]],
  ['data for nobody', /does not run/, () => [dataIn(999, 0, 0, 50)]],
  ['a long PDU', /bytes of data/, (task) => [head(dataIn(task, 0, 0, 0), 0xffffff)]],
  ['a long other PDU', /bytes of data/, (task) => [head(pdu(0x21, 0x80, { 16: task }), 0x20000)]],
  ['additional segments', /additional/, (task) => [more(dataIn(task, 0, 0, 0))]],
  ['an unknown operation', /operation 0x2f/, () => [pdu(0x2f, 0x80, {})]],
  ['a request for data of a read', /asked for bytes/, (task) => [r2t(task, 0, 0, 10)]],
  ['a status that was skipped', /instead of/, (task, sn) => [status(task, sn + 1)]],
  ['less data than it says', /sent 0 bytes and said 100/, (task, sn) => [status(task, sn)]],
  ['an answer to nothing', /does not run/, (_, sn) => [status(12_345, sn)]],
  ['an answer to no request', /not made/, (_, sn) => [pdu(0x22, 0x80, { 16: 12_345, 24: sn })]],
];

function dataIn(task: number, sn: number, offset: number, bytes: number): Buffer {
  const header = pdu(0x25, 0, { 16: task, 20: 0xffffffff, 36: sn, 40: offset });
  header.writeUIntBE(bytes, 5, 3);
  return Buffer.concat([header, Buffer.alloc((bytes + 3) & ~3)]);
}
function r2t(task: number, sn: number, offset: number, bytes: number): Buffer {
  return pdu(0x31, 0x80, { 16: task, 20: 1, 36: sn, 40: offset, 44: bytes });
}
function status(task: number, statSn: number): Buffer {
  return pdu(0x21, 0x80, { 16: task, 24: statSn });
}
function head(header: Buffer, bytes: number): Buffer {
  header.writeUIntBE(bytes, 5, 3);
  return header;
}
function more(header: Buffer): Buffer {
  header[4] = 1;
  return header;
}

for (const [what, text, lie] of LIES) {
  test(`a target that sends ${what} is not believed`, async () => {
    await withTarget({}, {}, async (device, target) => {
      await device.execute(ready);
      target.script = (incoming) => {
        const statSn = incoming.header.readUInt32BE(28);
        const raw = Buffer.concat(lie(incoming.task, statSn));
        return incoming.opcode === COMMAND && incoming.cdb[0] === 0x08 ? { raw } : undefined;
      };
      const into = Buffer.alloc(100, 0xee);
      await fails('DEVICE_PROTOCOL', text, device.execute(read(into)));
      target.script = () => undefined;
      assert.equal((await device.execute(ready)).status, 0);
    });
  });
}

/** The same in answer to a write of 20,000 bytes, of which 8192 went with the command. */
const GREED: readonly [string, (task: number) => Buffer][] = [
  ['bytes that it has', (task) => r2t(task, 0, 0, 8192)],
  ['bytes behind the end', (task) => r2t(task, 0, 8192, 20_000)],
  ['bytes with a gap', (task) => r2t(task, 0, 9000, 100)],
  ['nothing', (task) => r2t(task, 0, 8192, 0)],
  ['more than a burst', (task) => r2t(task, 0, 8192, 0x7fffffff)],
  ['a later part first', (task) => r2t(task, 1, 8192, 100)],
];

for (const [what, lie] of GREED) {
  test(`a target that asks for ${what} gets nothing`, async () => {
    await withTarget({}, {}, async (device, target) => {
      await device.execute(ready);
      target.script = ({ opcode, task }) => (opcode === COMMAND ? { raw: lie(task) } : undefined);
      const attempt = device.execute(write(Buffer.alloc(20_000)));
      await fails('DEVICE_PROTOCOL', /asked for/, attempt);
      assert(!target.seen.some(({ opcode }) => opcode === 0x05), 'no data was sent');
      target.script = () => undefined;
      assert.equal((await device.execute(ready)).status, 0);
    });
  });
}

test('a target that has gone for good is told after the limit', async () => {
  const target = await ScriptedTarget.start();
  const device = new IscsiDevice(parseIscsiAddress(target.url()), { reconnectMs: 150 });
  await device.execute(ready);
  await target.stop();
  // That it has gone may be noticed only now.
  await device.execute(ready).catch(() => undefined);
  await fails('DEVICE_UNREACHABLE', /ECONNREFUSED/, device.execute(ready));
  await device.close();
});
