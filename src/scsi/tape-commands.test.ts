/**
 * Goal: command blocks and answers of drives and libraries are those of SSC-5 and SMC-3, also those that tgt
 * and the scripted drive do not have. Method: bytes by hand.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  elementStatusBytes,
  elementStatusCommand,
  moveCommand,
  readAssignment,
  readElementStatus,
} from './changer-commands.ts';
import {
  locateCommand,
  modeSelectCommand,
  readBlockLimits,
  readCapacity,
  readCommand,
  readMode,
  readPosition,
  spaceCommand,
  writeMarksCommand,
  writeTapeCommand,
} from './tape-commands.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('records and blocks are counted in bytes or in blocks', () => {
  assert.equal(hex(readCommand(Buffer.alloc(0x012345)).cdb), '080001234500');
  assert.equal(hex(readCommand(Buffer.alloc(4096), 512).cdb), '080100000800');
  assert.equal(hex(writeTapeCommand(Buffer.alloc(0x012345)).cdb), '0a0001234500');
  assert.equal(hex(writeTapeCommand(Buffer.alloc(4096), 1024).cdb), '0a0100000400');
  assert.throws(() => writeTapeCommand(Buffer.alloc(4097), 512), /whole blocks/);
  assert.equal(hex(writeMarksCommand(0).cdb), '100000000000');
  assert.equal(hex(writeMarksCommand(0x010203).cdb), '100001020300');
});

test('long distances take the long commands', () => {
  assert.equal(hex(spaceCommand(0, 5).cdb), '110000000500');
  assert.equal(hex(spaceCommand(1, -1).cdb), '1101ffffff00');
  assert.equal(hex(spaceCommand(0, -0x7fffff).cdb), '110080000100');
  assert.equal(hex(spaceCommand(0, 0x800000).cdb), `9100000000000000008000000000${'0000'}`);
  assert.equal(hex(spaceCommand(1, -0x800000).cdb), `91010000ffffffffff800000${'00000000'}`);
  assert.equal(hex(locateCommand(0xfffffffe).cdb), '2b0000fffffffe000000');
  assert.equal(hex(locateCommand(2 ** 40).cdb), '9200000000000100000000000000' + '0000');
});

test('positions are believed only where they can be', () => {
  const short = Buffer.alloc(20);
  short.writeUInt8(0x40, 0);
  short.writeUInt32BE(1000, 4);
  short.writeUInt32BE(990, 8);
  const told = { object: 1000, onMedium: 990, atBeginning: false, earlyWarning: true };
  assert.deepEqual(readPosition('short', short, 20), told);
  assert.equal(readPosition('short', short, 19), undefined, 'cut off');
  short.writeUInt8(0x20, 0);
  assert.equal(readPosition('short', short, 20)?.onMedium, undefined, 'the buffer is not counted');
  for (const flags of [0x04, 0x02, 0x80]) {
    short.writeUInt8(flags, 0);
    assert.equal(readPosition('short', short, 20), undefined, `flags ${flags}`);
  }
  assert.equal(readPosition('short', Buffer.alloc(20), 20), undefined, 'zeros are no beginning');
  const long = Buffer.alloc(32);
  long.writeBigUInt64BE(2n ** 33n, 8);
  assert.equal(readPosition('long', long, 32)?.object, 2 ** 33);
  long.writeBigUInt64BE(2n ** 60n, 8);
  assert.equal(readPosition('long', long, 32), undefined);
});

test('modes of both forms are read, and set back with the density that they had', () => {
  const six = Buffer.from('0b0090' + '08' + '58000000' + '00000200', 'hex');
  const mode = { writeProtected: true, buffered: 1, density: 0x58, blockBytes: 512 };
  assert.deepEqual(readMode(6, six, 12), mode);
  const ten = Buffer.from('000e0090' + '00000008' + '58000000' + '00000200', 'hex');
  assert.deepEqual(readMode(10, ten, 16), mode);
  assert.equal(readMode(10, ten, 7), undefined);
  assert.deepEqual(readMode(6, Buffer.from('03000000', 'hex'), 4)?.blockBytes, 0);
  const variable = { ...mode, blockBytes: 0, buffered: 1 };
  const select = modeSelectCommand(6, variable);
  assert.equal(hex(select.cdb), '151000000c00');
  assert.equal(hex(select.dataOut ?? Buffer.alloc(0)), '000010085800000000000000');
  const other = modeSelectCommand(10, variable);
  assert.equal(hex(other.cdb), '55100000000000001000');
  assert.equal(hex(other.dataOut ?? Buffer.alloc(0)), '00000010000000085800000000000000');
});

test('limits and capacities are read', () => {
  const bytes = Buffer.from('00800000' + '0001', 'hex');
  assert.deepEqual(readBlockLimits(bytes), { bytesMin: 1, bytesMax: 0x800000 });
  const none = readBlockLimits(Buffer.alloc(6));
  assert.deepEqual(none, { bytesMin: 1, bytesMax: 0xffffff });
  const page = Buffer.from(
    '31000018' + '0001400400000100' + '0003400400000200' + '000440040000',
    'hex',
  );
  assert.equal(readCapacity(page, page.length), 512 * 2 ** 20);
  assert.equal(readCapacity(page, 10), undefined);
  assert.equal(readCapacity(Buffer.from('32000000', 'hex'), 4), undefined);
});

test('a library is asked and told where its tapes are', () => {
  const command = elementStatusCommand('drive', Buffer.alloc(0x010000));
  assert.equal(hex(command.cdb), 'b8140000ffff010100000000');
  assert.equal(hex(moveCommand(0x0102, 0x0304).cdb), 'a50000000102030400000000');
  const label = Buffer.alloc(36, ' ');
  label.write('ABC123L8');
  const one = Buffer.concat([Buffer.from('0100090000000000008003e8', 'hex'), label]);
  // Both labels, trouble, and what the drive is called.
  const drive = Buffer.concat([
    Buffer.from('0200040083020000000000000000'.slice(0, 24), 'hex'),
    Buffer.alloc(72, ' '),
    Buffer.from('02000008', 'hex'),
    Buffer.from('SERIAL-1'),
  ]);
  const pages = [
    Buffer.from('02800030' + '00000030', 'hex'),
    one,
    Buffer.concat([Buffer.from('04c00060' + '00000060', 'hex'), drive]),
  ];
  const body = Buffer.concat(pages);
  const head = Buffer.from('0100000200000000', 'hex');
  head.writeUIntBE(body.length, 5, 3);
  const all = Buffer.concat([head, body]);
  assert.equal(elementStatusBytes(all, all.length), all.length);
  assert.deepEqual(readElementStatus(all), [
    {
      kind: 'slot',
      address: 0x100,
      full: true,
      trouble: undefined,
      source: 0x3e8,
      label: 'ABC123L8',
      device: '',
      identifier: Buffer.alloc(0),
    },
    {
      kind: 'drive',
      address: 0x200,
      full: false,
      trouble: '83/02',
      source: undefined,
      label: '',
      device: 'SERIAL-1',
      identifier: Buffer.from('SERIAL-1'),
    },
  ]);
  const cut = all.subarray(0, all.length - 70);
  assert.throws(() => readElementStatus(cut), { code: 'DEVICE_PROTOCOL' });
});

test('the page of addresses is read, also behind a block descriptor', () => {
  const page = '1d12' + '00010001' + '03e80010' + '00000000' + '01000002' + '0000';
  const ranges = {
    arm: { first: 1, count: 1 },
    slot: { first: 1000, count: 16 },
    door: { first: 0, count: 0 },
    drive: { first: 256, count: 2 },
  };
  const plain = Buffer.from(`17000000${page}`, 'hex');
  assert.deepEqual(readAssignment(plain, plain.length), ranges);
  const behind = Buffer.from(`1f000008${'00'.repeat(8)}${page}`, 'hex');
  assert.deepEqual(readAssignment(behind, behind.length), ranges);
  assert.equal(readAssignment(plain, 10), undefined);
  assert.equal(readAssignment(Buffer.alloc(64), 64), undefined);
});
