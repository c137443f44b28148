/**
 * Goal: no tape is taken for another because its label begins alike.
 * Method: a library whose answers are made by hand.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TapeLibrary } from './library.ts';
import { type ScsiCommand, type ScsiDevice, STATUS } from './scsi-device.ts';

const INQUIRY = 0x12;
const ELEMENTS = 0xb8;
const SLOT = 2;

/** A library with tapes in its slots. */
function libraryWith(
  labels: readonly string[],
  onStatus: (into: Buffer) => void = () => undefined,
): Promise<TapeLibrary> {
  const answer = ({ cdb, dataIn }: ScsiCommand): number => {
    if (dataIn === undefined) return 0;
    const into = Buffer.from(dataIn.buffer, dataIn.byteOffset, dataIn.length);
    if (cdb[0] === INQUIRY) {
      into.fill(' ', 0, 36).writeUInt8(8, 0);
      return 36;
    }
    if (cdb[0] !== ELEMENTS) return 0;
    const kind = (cdb[1] ?? 0) & 0xf;
    const tapes = kind === SLOT ? labels : [];
    const bytes = tapes.length * 48;
    into.fill(0, 0, 16 + bytes);
    into.writeUIntBE(8 + bytes, 5, 3);
    into.set([kind, 0x80, 0, 48], 8);
    into.writeUIntBE(bytes, 13, 3);
    for (const [index, label] of tapes.entries()) {
      const at = 16 + index * 48;
      into.writeUInt16BE(1000 + index, at);
      into.writeUInt8(1, at + 2);
      into.write(label.padEnd(32), at + 12, 'latin1');
    }
    onStatus(into);
    return 16 + bytes;
  };
  const device: ScsiDevice = {
    name: 'library',
    generation: 1,
    connect: async () => undefined,
    execute: async (command) => {
      const received = answer(command);
      const residual = (command.dataIn?.length ?? 0) - received;
      return { status: STATUS.good, sense: undefined, received, residual };
    },
    close: async () => undefined,
  };
  return TapeLibrary.open(device);
}

const addressOf = async (labels: readonly string[], wanted: string): Promise<number> =>
  (await (await libraryWith(labels)).find(wanted)).address;

test('a tape is found by its whole label, or without the kind of its cartridge', async () => {
  assert.equal(await addressOf(['VOL101', 'VOL102L8', 'CLN001CU'], 'VOL102'), 1001);
  assert.equal(await addressOf(['VOL1', 'VOL101', 'VOL1L8'], 'VOL1'), 1000);
  assert.equal(await addressOf(['VOL101', 'VOL1L8'], 'VOL1'), 1001);
});

test('a tape whose name is the beginning of another is not that other', async () => {
  for (const labels of [['VOL101'], ['VOL1L'], ['VOL1L88'], ['', '  '], []])
    await assert.rejects(addressOf(labels, 'VOL1'), { code: 'LIBRARY_MISSING' });
});

test('of two tapes with one label none is taken', async () => {
  for (const labels of [
    ['VOL101L8', 'VOL101L8'],
    ['VOL101L8', 'VOL101M8'],
    ['VOL101', 'VOL101'],
  ])
    await assert.rejects(addressOf(labels, 'VOL101'), { message: /several tapes/ });
});

test('a library that always wants a little more room for its answer is not asked for ever', async () => {
  let asked = 0;
  const library = await libraryWith(['VOL101'], (into) => {
    asked += 1;
    assert(asked < 100);
    into.writeUIntBE(into.length - 7, 5, 3);
  });
  assert.equal((await library.slots())[0]?.label, 'VOL101');
});
