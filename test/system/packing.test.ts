/**
 * Goal: contents are looked at, cut, discarded and grouped as promised, and it can be read back how
 * and why (M2, M10, M12). Method: trees whose outcome is known; whole commands, and the tag headers of
 * the chunks counted in their bytes.
 */
import assert from 'node:assert/strict';
import { copyFileSync, globSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { seededRandom } from '../../src/host/fake/mod.ts';
import { type JsonLine, Workplace } from './workplace.ts';

const MIB = 1024 * 1024;
const CLASS_COMPRESSIBLE = 1;
const CLASS_INCOMPRESSIBLE = 2;
const PART_BLOCK = 1;

function workplace(context: TestContext): Workplace {
  const place = new Workplace('packing');
  context.after(() => place.remove());
  return place;
}

function noise(lengthBytes: number, seed: number): Uint8Array {
  return seededRandom(seed).bytes(lengthBytes);
}

function backUp(place: Workplace): JsonLine {
  const summary = place.json(['backup', place.source]).at(-1);
  assert(summary !== undefined);
  return summary;
}

/** Blocks in the repository by their content class: tag headers, as docs/format.md describes them. */
function countBlocks(place: Workplace): Map<number, number> {
  const counts = new Map<number, number>();
  for (const name of globSync('chunks/*/*', { cwd: place.repo })) {
    const bytes = readFileSync(join(place.repo, name));
    for (
      let at = 0;
      at < bytes.length;
      at += bytes.readUInt16LE(at + 4) + bytes.readUInt32LE(at + 24)
    ) {
      if (bytes.toString('latin1', at, at + 4) !== 'PTAG') break;
      if (bytes[at + 7] !== PART_BLOCK) continue;
      const contentClass = bytes.readUInt8(at + 8);
      counts.set(contentClass, (counts.get(contentClass) ?? 0) + 1);
    }
  }
  return counts;
}

test('level 0 stores what could be compressed as it is', (context) => {
  const place = workplace(context);
  place.write('text', 'the same words again and again; '.repeat(10_000));
  const plain = place.json(['backup', place.source, '--level', '0']).at(-1);
  assert(plain !== undefined && plain.bytesNew > 300_000);
  assert(plain.bytesStored > plain.bytesNew, `${plain.bytesStored} of ${plain.bytesNew}`);
  assert.deepEqual(countBlocks(place).get(CLASS_COMPRESSIBLE), 1, 'its class is what it was');
  const compressed = place.json(['backup', place.source, '--name', 'other', '--full']).at(-1);
  assert.equal(compressed?.bytesNew < 10_000, true, 'the same blobs');
  place.json(['restore', 'latest', '--target', join(place.directory, 'back')]);
  assert.deepEqual(
    readFileSync(join(place.directory, 'back', place.source, 'text')),
    readFileSync(join(place.source, 'text')),
  );
});

test('thousands of small files share a few blocks', (context) => {
  const place = workplace(context);
  for (let number = 0; number < 2000; number++) {
    place.write(`d${number % 20}/f${number}`, `file ${number}, ${'not a long one; '.repeat(20)}\n`);
  }
  const { bytesStored, bytes } = backUp(place);
  const blocks = countBlocks(place).get(CLASS_COMPRESSIBLE) ?? 0;
  assert(blocks >= 1 && blocks <= 20, `${blocks} blocks`);
  assert(bytesStored < bytes / 4, `${bytesStored} of ${bytes}`);
});

test('content that is known is not stored again, in one backup and in the next', (context) => {
  const place = workplace(context);
  place.write('one/large', noise(4 * MIB, 1));
  const first = backUp(place);
  assert(first.bytesStored > 4 * MIB, `${first.bytesStored}`);
  for (const copy of ['copy', 'again']) {
    copyFileSync(join(place.source, 'one/large'), join(place.source, copy));
  }
  const second = backUp(place);
  assert(second.bytesRead >= 8 * MIB, `${second.bytesRead}`);
  assert(second.bytesStored < 100_000, `${second.bytesStored}`);
  place.must(['restore', 'latest', '--target', join(place.directory, 'out')]);
  for (const name of ['one/large', 'copy', 'again']) {
    const restored = readFileSync(join(place.directory, 'out', place.source, name));
    assert(restored.equals(noise(4 * MIB, 1)), name);
  }
});

test('the same file twice in one first backup is stored once', (context) => {
  const place = workplace(context);
  place.write('a', noise(3 * MIB, 2));
  copyFileSync(join(place.source, 'a'), join(place.source, 'b'));
  const { bytesStored } = backUp(place);
  assert(bytesStored > 3 * MIB && bytesStored < 3.2 * MIB, `${bytesStored}`);
});

test('how a file was cut, and why, is read back; what does not compress is kept apart', (context) => {
  const place = workplace(context);
  place.write('empty', '');
  place.write('small', 'a few words');
  place.write('text', 'the quick brown fox\n'.repeat(200_000));
  place.write('noise', noise(3 * MIB, 3));
  place.write('holes', 'start');
  truncateSync(join(place.source, 'holes'), 200 * MIB);
  place.backup();
  const entries = place.json(['ls', 'latest', place.source]);
  const cutting = (name: string): string => {
    const entry = entries.find(({ path }) => path === join(place.source, name));
    return `${entry?.cut} because ${entry?.cutBecause}`;
  };
  assert.equal(cutting('empty'), 'none because empty');
  assert.equal(cutting('small'), 'whole because small');
  assert.equal(cutting('noise'), 'cut because statistics');
  assert.match(cutting('text'), /^cut because (?:large|statistics)$/);
  assert.match(cutting('holes'), / because holes$/);
  const blocks = countBlocks(place);
  assert((blocks.get(CLASS_COMPRESSIBLE) ?? 0) > 0);
  assert((blocks.get(CLASS_INCOMPRESSIBLE) ?? 0) > 0);
});
