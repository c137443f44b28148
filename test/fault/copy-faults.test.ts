/**
 * Goal: a copy whose calls fail tells each item, copies the rest, leaves nothing half written, and is whole
 * when it is run again; bad bytes never leave a copy's reader (issue 3, item 6).
 * Method: whole commands with fault scripts; records that were flipped at random.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromText } from '../../src/base/bytes.ts';
import { PenstockError } from '../../src/base/errors.ts';
import { COPY, CopyReader, CopyWriter } from '../../src/modules/copy-stream.ts';
import type { ModuleContext, PipeBuffer } from '../../src/pipe/mod.ts';
import { penstock, scratchFolder, succeed } from '../commands.ts';
import { assertSameTree, capture } from '../tree-compare.ts';
import { noise } from '../tree-make.ts';

const scratch = scratchFolder();
const source = join(scratch, 'source');
mkdirSync(join(source, 'd'), { recursive: true });
for (let i = 0; i < 8; i++) writeFileSync(join(source, 'd', `file${i}`), noise(i * 900, `${i}`));
writeFileSync(join(source, 'large'), noise(4_000_000, 'large'));

const FAULTS: readonly (readonly [fault: string, code: string, path: string])[] = [
  ['openRead:name=file3:error=ENOENT', 'SOURCE_CHANGED', 'source/d/file3'],
  ['openRead:name=large:error=EIO:repeat=forever', 'SOURCE_UNREADABLE', 'source/large'],
  ['createExclusive:name=file5:error=EIO', 'COPY_PARTIAL', 'target/d/file5'],
  ['rename:name=large:error=EIO', 'COPY_PARTIAL', 'target/large'],
];

test('an item that fails is told, and the rest is copied; the next copy brings it', () => {
  for (const [i, [fault, code, path]] of FAULTS.entries()) {
    const place = join(scratch, `place${i}`);
    mkdirSync(place);
    const target = join(place, 'target');
    const env = { PENSTOCK_TEST: '1', PENSTOCK_FAULT: fault };
    const run = penstock(['copy', source, target], { env });
    assert.equal(run.status, 3, `${fault}: ${run.stdout}`);
    const expected = path.startsWith('source') ? join(scratch, path) : join(place, path);
    assert.deepEqual(
      run.warnings.map((line) => [line.code, line.path]),
      [[code, expected]],
      fault,
    );
    const missing = path.slice('source/'.length);
    assert.ok(!existsSync(join(target, missing)));
    assert.equal(readdirSync(target, { recursive: true }).length, 9, 'all others, nothing else');
    assert.equal(succeed(['copy', source, target]).summary.filesDone, 1);
    assertSameTree(capture(fromText(target)), capture(fromText(source)));
  }
});

/** Records of each kind, as a stage sends them. */
function sampleBuffer(): PipeBuffer {
  const buffer = {
    memory: Buffer.alloc(4096 + 64),
    payloadOffset: 64,
    payloadCapacity: 4096,
    length: 0,
  } as unknown as PipeBuffer;
  const context = { allocBuf: () => buffer, sendBuf: () => undefined } as unknown as ModuleContext;
  const writer = new CopyWriter(context);
  writer.path = 'a/b';
  writer.record(COPY.remove, 'name');
  writer.begin(COPY.link, Buffer.from('link'), 5);
  writer.end(5);
  writer.record(COPY.piece, 'large', { number: 7, from: 1, to: 2 });
  return buffer;
}

test('whatever bytes arrive, what a reader hands out stays in the buffer and below the root', () => {
  const flips = fc.array(fc.tuple(fc.nat({ max: 300 }), fc.nat({ max: 255 })), { maxLength: 6 });
  fc.assert(
    fc.property(flips, (changes) => {
      const buffer = sampleBuffer();
      for (const [at, value] of changes) buffer.memory[64 + (at % buffer.length)] = value;
      const reader = new CopyReader();
      reader.open(buffer);
      try {
        while (reader.next()) {
          assert.ok(reader.dataAt + reader.dataBytes <= 64 + buffer.length);
          const parts = [...reader.path.split('/'), reader.kind === COPY.path ? '' : reader.name];
          assert.ok(parts.every((part) => part !== '..' && part !== '.' && !part.includes('\0')));
          if (reader.kind === COPY.link) assert.ok(!reader.target.split('/').includes('..'));
        }
      } catch (error) {
        assert.ok(error instanceof PenstockError && error.code === 'NET_PROTOCOL', String(error));
      }
    }),
    { seed: 7, numRuns: 500 },
  );
});
