/**
 * Goal: whatever is committed is read back, by the log and by headers, however streams interleave,
 * wherever media end and whatever the drive does; and the log says what is on the medium.
 *
 * Method: random streams, block sizes, marks, synchronisations and media ends from printed seeds; then a
 * drive that fails at its n-th call, for every n: once, or for good (power loss). Images are read by
 * test/tap-reader.ts, which shares no code with src.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { chunkIdOf } from '../../src/format/tag-header.ts';
import type { VolumeLabel } from '../../src/format/volume-label.ts';
import type { FaultRule } from '../../src/host/fake/mod.ts';
import { type Random, seededRandom } from '../../src/host/mod.ts';
import { faultyVolume } from '../../src/media/fake/faulty-volume.ts';
import { MemoryMedium, MemoryVolume } from '../../src/media/fake/memory-volume.ts';
import { openTapeImage } from '../../src/media/tape-image.ts';
import type { Volume } from '../../src/media/volume.ts';
import type { CommittedChunk } from '../../src/media/volume-commits.ts';
import { VolumeWriter } from '../../src/media/volume-writer.ts';
import { readTap } from '../tap-reader.ts';
import {
  assertReadBack,
  below,
  labelled,
  type MadeChunk,
  makeChunk,
  makeStream,
  volumeEntries,
  writeChunks,
} from '../volume-fixture.ts';

const BLOCK_BYTES = 4096;
const folder = mkdtempSync(join(tmpdir(), 'penstock-volumes-'));
after(() => rmSync(folder, { recursive: true }));

interface Loaded {
  volume: Volume;
  label: VolumeLabel;
}

const makeChunks = (random: Random, streams: number, chunksMax: number): MadeChunk[][] =>
  Array.from({ length: streams }, () => {
    const stream = makeStream(random);
    return Array.from({ length: 1 + below(random, chunksMax) }, () =>
      makeChunk(random, stream, below(random, 9), BLOCK_BYTES - 200),
    );
  });

async function yieldSometimes(random: Random): Promise<void> {
  if (below(random, 3) === 0) await new Promise((resolve) => setImmediate(resolve));
}

/** What a volume says of itself is what an independent reader finds in the file. */
async function assertLogIsTrue(path: string, { volume, label }: Loaded): Promise<void> {
  const objects = readTap(path);
  for (const entry of await volumeEntries(volume, label.volume, 'log')) {
    if (entry.kind === 'marks')
      for (let i = 0; i < entry.count; i++) assert.equal(objects[entry.object + i], 'mark');
    if (entry.kind !== 'run') continue;
    let bytes = 0;
    for (let i = 0; i < entry.records; i++) {
      const record: Buffer | 'mark' | undefined = objects[entry.object + i];
      assert(record instanceof Buffer);
      assert.equal(chunkIdOf(record, 0).toString('hex'), entry.chunk);
      bytes += record.length;
    }
    assert.equal(bytes, entry.bytes);
  }
}

test('random streams onto images that end anywhere', async () => {
  for (let seed = 1; seed <= 24; seed++) {
    const random = seededRandom(seed);
    const chunks = makeChunks(random, 1 + below(random, 5), 6);
    const volumes: (Loaded & { path: string })[] = [];
    const next = async (): Promise<Loaded> => {
      const path = join(folder, `${seed}-${volumes.length}.tap`);
      const volumeBytes = 40_000 + below(random, 120_000);
      const earlyWarningBytes = [0, 2000, 12_000][below(random, 3)] ?? 0;
      const image = openTapeImage({ path, create: true, volumeBytes, earlyWarningBytes });
      const loaded = { ...(await labelled(image, random, BLOCK_BYTES)), path };
      volumes.push(loaded);
      return loaded;
    };
    const committed: CommittedChunk[] = [];
    const writer = await VolumeWriter.open(await next(), {
      ...{ id: `seed ${seed}`, writer: 'test', nextVolume: next },
      onCommitted: (chunk) => void committed.push(chunk),
      bufferBytes: BLOCK_BYTES * (10 + below(random, 20)),
      markBytes: [0, 5000, 30_000][below(random, 3)] ?? 0,
      syncBytes: 1000 + below(random, 60_000),
      logPerRecord: below(random, 2) === 0,
    });
    const pause = (): Promise<void> => yieldSometimes(random);
    await Promise.all(chunks.map((list) => writeChunks(writer, list, pause)));
    const report = await writer.close();
    const all = chunks.flat();
    const name = `seed ${seed}, ${volumes.length} volumes`;
    assert.deepEqual(
      committed.map(({ chunk }) => chunk).sort(),
      all.map(({ chunk }) => chunk).sort(),
      name,
    );
    assert.equal(report.volumes.length, volumes.length);
    const count = all.reduce((sum, { records }) => sum + records.length, 0);
    assert(report.figures.records >= count, name);
    for (const one of volumes) await assertLogIsTrue(one.path, one);
    await assertReadBack(volumes, all, 'log');
    await assertReadBack(volumes, all, 'scan');
    for (const { volume } of volumes) await volume.close();
  }
});

interface Drill {
  readonly medium: MemoryMedium;
  readonly committed: MadeChunk[];
  readonly all: MadeChunk[];
  readonly label: VolumeLabel;
  readonly calls: number;
  readonly acted: number;
  readonly error: unknown;
}

/** A small session with a drive that does as the rule says. */
async function drill(
  seed: number,
  rule: (fault: (call: 'any') => FaultRule) => void,
): Promise<Drill> {
  const random = seededRandom(seed);
  const medium = new MemoryMedium();
  const drive = new MemoryVolume(medium, { bufferObjects: 5 });
  const { label } = await labelled(drive, random, BLOCK_BYTES);
  const faulty = faultyVolume(drive, {
    tear: (record) => medium.tear(record),
    reset: () => drive.reset(),
  });
  rule((call) => faulty.fault(call));
  const chunks = makeChunks(random, 3, 6);
  const byId = new Map(chunks.flat().map((one) => [one.chunk, one]));
  const committed: MadeChunk[] = [];
  let error: unknown;
  try {
    const writer = await VolumeWriter.open(
      { volume: faulty, label },
      {
        ...{ id: 'drill', writer: 'test', syncBytes: 9000, markBytes: 12_000 },
        bufferBytes: BLOCK_BYTES * 24,
        onCommitted: ({ chunk }) => void committed.push(byId.get(chunk) as MadeChunk),
      },
    );
    try {
      await Promise.all(chunks.map((list) => writeChunks(writer, list)));
    } catch (thrown) {
      error = thrown;
    }
    await writer.close();
  } catch (thrown) {
    error ??= thrown;
  }
  const { calls, acted } = faulty.script;
  return { medium, committed, all: chunks.flat(), label, calls, acted, error };
}

/** Everything committed is there, and another session goes on behind it. */
async function assertGoesOn(done: Drill, seed: number): Promise<void> {
  const { medium, committed, label } = done;
  const volume = new MemoryVolume(medium);
  await assertReadBack([{ volume, label }], committed, 'log');
  await assertReadBack([{ volume, label }], committed, 'scan');
  const random = seededRandom(seed + 1000);
  const more = makeChunks(random, 1, 2).flat();
  const writer = await VolumeWriter.open({ volume, label }, { id: 'again', writer: 'test' });
  await writeChunks(writer, more);
  await writer.close();
  await assertReadBack([{ volume, label }], [...committed, ...more], 'log');
  await assertReadBack([{ volume, label }], [...committed, ...more], 'scan');
}

test('the power fails at the n-th call, for every n: what was committed is there', async () => {
  const { calls, committed, all } = await drill(5, () => {});
  assert.equal(committed.length, all.length);
  assert(calls > 60);
  for (let n = 0; n < calls; n++) {
    const done = await drill(5, (fault) => {
      if (n % 2 === 0) fault('any').after(n).torn();
      fault('any')
        .after(n % 2 === 0 ? 0 : n)
        .forever();
    });
    assert(done.error !== undefined, `call ${n}`);
    const random = seededRandom(n);
    // Of what the drive held back, any beginning may have reached the medium.
    done.medium.loseBuffer(below(random, 6));
    await assertGoesOn(done, n);
  }
});

for (const [name, error, mode] of [
  ['fails', 'EIO', 'fail'],
  ['leaves half a record', 'EIO', 'torn'],
  ['does its work and does not say so', 'EIO', 'late'],
  ['is reset, and its buffer lost', 'ESTALE', 'fail'],
] as const) {
  test(`the drive ${name} at the n-th call, for every n: all is written`, async () => {
    const { calls } = await drill(6, () => {});
    for (let n = 0; n < calls; n++) {
      const done = await drill(6, (fault) => {
        const rule = fault('any').after(n).error(error);
        if (mode !== 'fail') rule[mode]();
      });
      assert.equal(done.acted, 1);
      // While the label is looked for nothing has been written, and the user is told.
      if (done.error !== undefined && done.medium.objects.length <= 3) continue;
      assert.equal(done.error, undefined, `call ${n}: ${(done.error as Error)?.message}`);
      assert.equal(done.committed.length, done.all.length);
      await assertReadBack(
        [{ volume: new MemoryVolume(done.medium), label: done.label }],
        done.all,
        n % 2 === 0 ? 'log' : 'scan',
      );
    }
  });
}

test('an image whose tail the power loss tore off at any byte', async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed + 500);
    const path = join(folder, `torn-${seed}.tap`);
    const loaded = await labelled(openTapeImage({ path, create: true }), random, BLOCK_BYTES);
    const chunks = makeChunks(random, 3, 6);
    const byId = new Map(chunks.flat().map((one) => [one.chunk, one]));
    const committed: MadeChunk[] = [];
    let safeBytes = statSync(path).size;
    const writer = await VolumeWriter.open(loaded, {
      ...{ id: 'torn', writer: 'test', syncBytes: 8000, bufferBytes: BLOCK_BYTES * 16 },
      onCommitted: ({ chunk }) => {
        committed.push(byId.get(chunk) as MadeChunk);
        safeBytes = statSync(path).size;
      },
    });
    let left = 20 + below(random, 60);
    const pause = async (): Promise<void> => {
      left -= 1;
      if (left === 0) await writer.abort();
      await yieldSometimes(random);
    };
    await Promise.allSettled(chunks.map((list) => writeChunks(writer, list, pause)));
    await writer.abort();
    await loaded.volume.close();
    truncateSync(path, safeBytes + below(random, statSync(path).size - safeBytes + 1));

    const volume = openTapeImage({ path });
    const again = { volume, label: loaded.label };
    await assertReadBack([again], committed, 'log');
    const more = makeChunks(random, 2, 2);
    const next = await VolumeWriter.open(again, { id: 'again', writer: 'test' });
    await Promise.all(more.map((list) => writeChunks(next, list)));
    await next.close();
    await assertLogIsTrue(path, again);
    await assertReadBack([again], [...committed, ...more.flat()], 'log');
    await assertReadBack([again], [...committed, ...more.flat()], 'scan');
    await volume.close();
  }
});

test('the medium ends before what the drive held back fits: it is written on the next one', async () => {
  let moved = 0;
  for (let n = 0; n < 12; n++) {
    const random = seededRandom(n + 900);
    const media = [new MemoryMedium(), new MemoryMedium()];
    const volumes: Loaded[] = [];
    const next = async (): Promise<Loaded> => {
      const medium = media[volumes.length] as MemoryMedium;
      const drive = new MemoryVolume(medium, { bufferObjects: 9 });
      const loaded = await labelled(drive, random, BLOCK_BYTES);
      volumes.push({ ...loaded, volume: new MemoryVolume(medium) });
      if (volumes.length > 1) return loaded;
      const faulty = faultyVolume(drive);
      faulty.fault('synchronise').after(n).error('ENOSPC').forever();
      return { ...loaded, volume: faulty };
    };
    const chunks = makeChunks(random, 4, 5).flat();
    const committed = new Set<string>();
    const writer = await VolumeWriter.open(await next(), {
      ...{ id: 'end', writer: 'test', syncBytes: 12_000, bufferBytes: BLOCK_BYTES * 64 },
      nextVolume: async () => {
        media[0]?.loseBuffer();
        return await next();
      },
      onCommitted: ({ chunk }) => void committed.add(chunk),
    });
    await Promise.all(chunks.map((chunk) => writeChunks(writer, [chunk])));
    await writer.close();
    moved += volumes.length - 1;
    assert.equal(committed.size, chunks.length);
    await assertReadBack(volumes, chunks, 'log');
    await assertReadBack(volumes, chunks, 'scan');
  }
  assert(moved > 6, `${moved} sessions went on`);
});

test('a drive that fails now and then, in any way: what is committed is there', async () => {
  let whole = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed + 7000);
    const done = await drill(seed + 7000, (fault) => {
      for (let at = below(random, 20); at < 150; at += 4 + below(random, 60)) {
        const rule = fault('any').after(at);
        const kind = below(random, 5);
        if (kind === 0) rule.error('ESTALE');
        else if (kind === 1) rule.torn();
        else if (kind === 2) rule.late();
        else rule.repeat(1 + below(random, 2));
      }
    });
    if (done.error === undefined) {
      whole += 1;
      assert.equal(done.committed.length, done.all.length, `seed ${seed}`);
    }
    if (done.medium.objects.length <= 3) continue;
    done.medium.loseBuffer(below(random, 6));
    await assertGoesOn(done, seed);
  }
  assert(whole > 10, `${whole} sessions came through`);
});
