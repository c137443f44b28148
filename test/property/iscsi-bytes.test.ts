/**
 * Goal: the bytes of iSCSI and SCSI are what the standards say, whatever the values; and no bytes, however
 * wrong, do anything but say so.
 * Method: random fields, read again at the standards' offsets by this test itself; PDUs in random pieces; and
 * random bytes for every decoder.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { PenstockError } from '../../src/base/errors.ts';
import { readElementStatus } from '../../src/scsi/changer-commands.ts';
import { formatIscsiAddress, parseIscsiAddress } from '../../src/scsi/iscsi-address.ts';
import { DEFAULT_OFFER, KeyNegotiation } from '../../src/scsi/iscsi-keys.ts';
import { PduParser } from '../../src/scsi/iscsi-parser.ts';
import {
  isBefore,
  nextNumber,
  readTargetPdu,
  type TargetPdu,
  writeCommand,
  writeDataOut,
  writeLogin,
} from '../../src/scsi/iscsi-pdu.ts';
import { decodeText, encodeText } from '../../src/scsi/iscsi-text.ts';
import { decodeSense, senseKind, senseText } from '../../src/scsi/sense.ts';
import { readPosition } from '../../src/scsi/tape-commands.ts';
import { crc32c, pdu } from '../iscsi-target-login.ts';
import { descriptorSense, fixedSense } from '../scsi-tape.ts';

const RUNS = { numRuns: 300 };
const u8 = fc.nat(255);
const u32 = fc.nat(0xffff_ffff);
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

test('a command stands in its PDU where RFC 7143, 11.3 has it', () => {
  const fields = fc.record({
    task: u32,
    cmdSn: u32,
    expStatSn: u32,
    lun: fc.nat(0x3fff),
    cdb: bytes(16),
    reads: fc.boolean(),
    writes: fc.boolean(),
    expectedBytes: u32,
    immediateBytes: fc.nat(0xff_ffff),
    final: fc.boolean(),
  });
  fc.assert(
    fc.property(fields, (one) => {
      const header = Buffer.alloc(48, 0xee);
      writeCommand(header, one);
      const [f, r, w] = [one.final, one.reads, one.writes].map(Number) as [number, number, number];
      assert.deepEqual(
        [...header.subarray(0, 5)],
        [1, (f << 7) | (r << 6) | (w << 5) | 1, 0, 0, 0],
      );
      assert.equal(header.readUIntBE(5, 3), one.immediateBytes);
      const lun = one.lun < 256 ? one.lun : 0x4000 + one.lun;
      assert.equal(header.readBigUInt64BE(8), BigInt(lun) << 48n);
      const words = [16, 20, 24, 28].map((at) => header.readUInt32BE(at));
      assert.deepEqual(words, [one.task, one.expectedBytes, one.cmdSn, one.expStatSn]);
      assert.deepEqual(header.subarray(32), Buffer.from(one.cdb));
    }),
    RUNS,
  );
});

test('data and logins stand where 11.7 and 11.12 have them', () => {
  const header = Buffer.alloc(48, 0xee);
  const piece = { targetTag: 7, dataSn: 3, offset: 0x01020304, bytes: 513, final: true };
  writeDataOut(header, { task: 5, expStatSn: 6, lun: 2, ...piece });
  const data = '05800000000002010002000000000000000000050000000700000000000000060000000000000003';
  assert.equal(header.toString('hex'), `${data}0102030400000000`);
  const isid = Uint8Array.of(0x80, 1, 2, 3, 4, 5);
  const stages = { stage: 0, nextStage: 1, transit: true, continues: false, bytes: 10 };
  writeLogin(header, { task: 9, cmdSn: 1, expStatSn: 2, isid, tsih: 3, ...stages });
  const login = '4381000000' + '00000a' + '800102030405' + '0003' + '00000009' + '00000000';
  assert.equal(header.toString('hex'), `${login}0000000100000002${'00'.repeat(16)}`);
});

interface Sent {
  readonly header: Buffer;
  readonly data: Buffer;
}

function framed(list: readonly Sent[], headerDigest: boolean, dataDigest: boolean): Buffer {
  const parts: Uint8Array[] = [];
  const digest = (of: Uint8Array): Buffer => {
    const out = Buffer.alloc(4);
    out.writeUInt32LE(crc32c(of));
    return out;
  };
  for (const { header, data } of list) {
    header.writeUIntBE(data.length, 5, 3);
    parts.push(header);
    if (headerDigest) parts.push(digest(header));
    const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
    parts.push(padded);
    if (dataDigest && data.length > 0) parts.push(digest(padded));
  }
  return Buffer.concat(parts);
}

const sent: fc.Arbitrary<Sent> = fc
  .tuple(fc.constantFrom(0x20, 0x21, 0x25), u32, fc.uint8Array({ maxLength: 300 }))
  .map(([opcode, task, data]) => ({
    header: pdu(opcode, 0x80, { 16: task }),
    data: Buffer.from(data),
  }));

function collect(
  stream: Uint8Array,
  cuts: readonly number[],
  headerDigest: boolean,
  dataDigest: boolean,
): { task: number; data: Buffer }[] {
  const got: { task: number; data: Buffer }[] = [];
  let place: Uint8Array | undefined;
  const parser = new PduParser(
    {
      begin(one: TargetPdu) {
        // Data of reads goes to a place of its own.
        place =
          one.kind === 'data-in' && one.dataBytes > 0 ? Buffer.alloc(one.dataBytes) : undefined;
        return place;
      },
      take(one: TargetPdu, data: Buffer) {
        const { task } = one as { task: number };
        got.push({ task, data: Buffer.from(place ?? data) });
      },
    },
    1000,
  );
  parser.configure(headerDigest, dataDigest, 1000);
  const ends = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort((a, b) => a - b);
  let at = 0;
  for (const end of [...ends, stream.length]) {
    // As the system does: as much as there is room for, or as has come.
    while (at < end) {
      const room = parser.room();
      const piece = stream.subarray(at, Math.min(end, at + room.length));
      room.set(piece);
      parser.filled(piece.length);
      at += piece.length;
    }
  }
  return got;
}

test('PDUs come out as they went in, in whatever pieces they come', () => {
  fc.assert(
    fc.property(
      fc.array(sent, { maxLength: 6 }),
      fc.array(fc.nat(4000), { maxLength: 20 }),
      fc.boolean(),
      fc.boolean(),
      (list, cuts, headerDigest, dataDigest) => {
        const stream = framed(list, headerDigest, dataDigest);
        const expected = list.map(({ header, data }) => ({ task: header.readUInt32BE(16), data }));
        assert.deepEqual(collect(stream, cuts, headerDigest, dataDigest), expected);
      },
    ),
    RUNS,
  );
});

test('with digests no flipped bit goes through', () => {
  fc.assert(
    fc.property(fc.array(sent, { minLength: 1, maxLength: 4 }), u32, (list, where) => {
      const stream = framed(list, true, true);
      const bit = where % (stream.length * 8);
      stream[bit >> 3] = (stream[bit >> 3] as number) ^ (1 << (bit & 7));
      const got = (): unknown => collect(stream, [], true, true);
      assert.throws(got, { code: 'DEVICE_PROTOCOL' });
    }),
    RUNS,
  );
});

const onlyProtocol = (work: () => unknown): void => {
  try {
    work();
  } catch (error) {
    assert(error instanceof PenstockError, String(error));
    assert.equal(error.code, 'DEVICE_PROTOCOL');
  }
};

test('no bytes do more to a decoder than to be refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(400)), (array, cuts) => {
      const any = Buffer.from(array);
      onlyProtocol(() => collect(any, cuts, false, false));
      onlyProtocol(() => collect(any, cuts, true, true));
      onlyProtocol(() => decodeText(any));
      onlyProtocol(() => readElementStatus(any));
      if (any.length >= 48) onlyProtocol(() => readTargetPdu(any.subarray(0, 48), 100));
      const sense = decodeSense(any);
      assert.equal(typeof senseText(sense), 'string');
      const long = Buffer.concat([any, Buffer.alloc(32)]).subarray(0, 32);
      const told = readPosition('long', long, any.length);
      assert(told === undefined || Number.isSafeInteger(told.object));
    }),
    RUNS,
  );
});

test('sense data says the same in both forms', () => {
  const information = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
  const flags = fc.tuple(fc.boolean(), fc.boolean(), fc.boolean());
  fc.assert(
    fc.property(
      fc.nat(15),
      u8,
      u8,
      flags,
      fc.option(information, { nil: undefined }),
      fc.boolean(),
      (key, code, qualifier, [mark, end, length], info, deferred) => {
        const bits = (mark ? 0x80 : 0) | (end ? 0x40 : 0) | (length ? 0x20 : 0);
        const more = info === undefined ? {} : { information: info };
        const fields = { key, code, qualifier, flags: bits, deferred, ...more };
        const expected = {
          key,
          code,
          qualifier,
          fileMark: mark,
          endOfMedium: end,
          incorrectLength: length,
          deferred,
          information: info,
        };
        assert.deepEqual(decodeSense(fixedSense(fields)), expected);
        assert.deepEqual(decodeSense(descriptorSense(fields)), expected);
        const kind = senseKind(expected);
        assert.equal(kind, senseKind(decodeSense(descriptorSense(fields))));
      },
    ),
    RUNS,
  );
});

test('text is what it was, and numbers begin again', () => {
  const key = fc.stringMatching(/^[A-Z][A-Za-z0-9.]{0,20}$/);
  const value = fc.stringMatching(/^[ -~]{0,60}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(key, value)), (pairs) => {
      assert.deepEqual(decodeText(encodeText(pairs)), pairs);
    }),
    RUNS,
  );
  fc.assert(
    fc.property(u32, fc.integer({ min: 1, max: 0x7fff_ffff }), (number, step) => {
      const later = (number + step) >>> 0;
      assert.equal(isBefore(number, later), true);
      assert.equal(isBefore(later, number), false);
      assert.equal(isBefore(number, number), false);
      assert.equal(nextNumber(number), (number + 1) % 2 ** 32);
    }),
    RUNS,
  );
});

test('what was negotiated is never more than either side can', () => {
  const yes = fc.constantFrom('Yes', 'No');
  const length = fc.integer({ min: 512, max: 0xff_ffff });
  fc.assert(
    fc.property(yes, yes, length, length, length, (r2t, immediate, burst, first, segment) => {
      const keys = new KeyNegotiation(DEFAULT_OFFER, false);
      const offered = new Map(keys.offers());
      const least = (key: string, own: number): string =>
        `${Math.min(own, Number(offered.get(key)))}`;
      const maxBurst = least('MaxBurstLength', burst);
      const firstBurst = `${Math.min(Number(least('FirstBurstLength', first)), Number(maxBurst))}`;
      const answers = keys.take([
        ['HeaderDigest', 'CRC32C'],
        ['InitialR2T', r2t],
        ['ImmediateData', immediate],
        ['MaxBurstLength', maxBurst],
        ['FirstBurstLength', firstBurst],
        ['MaxRecvDataSegmentLength', String(segment)],
        ['TargetPortalGroupTag', '1'],
        ['X-com.example', 'a'],
        ['X-com.other', 'NotUnderstood'],
      ]);
      assert.deepEqual(answers, [['X-com.example', 'NotUnderstood']]);
      assert.deepEqual(keys.parameters(), {
        headerDigest: true,
        dataDigest: false,
        initialR2t: r2t === 'Yes',
        immediateData: immediate === 'Yes',
        sendBytesMax: segment,
        receiveBytesMax: DEFAULT_OFFER.receiveBytesMax,
        maxBurstBytes: Number(maxBurst),
        firstBurstBytes: Number(firstBurst),
        targetAlias: '',
      });
    }),
    RUNS,
  );
});

test('an address is read as it is written', () => {
  const address = fc.record(
    {
      host: fc.constantFrom('127.0.0.1', 'tapes.example', '::1', 'fe80::1'),
      port: fc.integer({ min: 1, max: 65_535 }),
      target: fc.constantFrom('iqn.2001-04.com.example:a.b-c', 'eui.0123456789abcdef'),
      lun: fc.nat(16_383),
      user: fc.stringMatching(/^[ -~]{1,40}$/),
    },
    { requiredKeys: ['host', 'port', 'target', 'lun'] },
  );
  fc.assert(
    fc.property(address, (one) => {
      assert.deepEqual(parseIscsiAddress(formatIscsiAddress(one)), { ...one });
    }),
    RUNS,
  );
});
