/**
 * Goal: what labels say and do not say of their pools becomes of pools that are made again; volumes may be
 * given one after the other. Whole commands: test/system/tape-recover.test.ts, volumes-upkeep.test.ts.
 * Method: volumes as a search has found them, made by hand, and a repository in a folder.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fromText } from '../base/bytes.ts';
import { TRAILER_BYTES } from '../format/chunk.ts';
import { RECORD } from '../format/record.ts';
import { openClock, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import type { ChunkStretch } from '../media/volume-survey.ts';
import { type LabelSettings, leastBlockBytes, listPools, type Pool } from './pools.ts';
import { recoverVolumes } from './recover-volumes.ts';
import { createRepository, type Repository } from './repository.ts';
import type { FoundVolume } from './survey-volumes.ts';
import { listVolumes } from './volume-records.ts';

const STREAM = '5'.repeat(32);
const idOf = (digit: string): string => digit.repeat(32);

async function make(context: TestContext): Promise<Repository> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-recover-'));
  const store = openDirectoryStore(fromText(folder), true);
  const around = { clock: openClock(), random: openRandom() };
  const repository = await createRepository(store, Buffer.from('secret'), around);
  context.after(async () => {
    await repository.close();
    rmSync(folder, { recursive: true });
  });
  return repository;
}

function found(
  { sealer, settings }: Repository,
  sequence: number,
  stretches: readonly ChunkStretch[],
  pool: unknown,
): FoundVolume {
  const volume = idOf(`${sequence}`);
  const label = {
    ...{ volume, name: `T${sequence}`, pool: 'lto', repository: settings.id, sequence },
    ...{ blockBytes: 3_000_000, createdMs: sequence * 1000, writer: 'test', records: [] },
  };
  const sealed = pool === undefined ? undefined : { pool };
  const record = sealer.encodeRecord(RECORD.volumeLabel, Buffer.from(volume, 'hex'), label, sealed);
  return {
    ...{ label, record, stretches, sessions: 1, objects: 100, bytes: 1000, writtenMs: 5 },
    ...{ damaged: [], capacityBytes: 0 },
    place: { kind: 'tape', path: '', device: 'iscsi://nas/iqn.2026-01.test:drive/1' },
  };
}

const stretch = (chunk: string, part: number, records: number, isLast: boolean): ChunkStretch => ({
  ...{ chunk: idOf(chunk), stream: STREAM, part, records, bytes: records * 10, isLast },
  ...{ firstObject: 5 + part, endObject: 5 + part + records, writtenMs: 7 },
});

const WRITTEN: LabelSettings = {
  ...{ kind: 'tape', path: '', device: 'iscsi://elsewhere/iqn.2026-01.test:old/1' },
  ...{ changer: 'iscsi://elsewhere/iqn.2026-01.test:old/2', drive: 2, volumeBytes: 0 },
  ...{ blockBytes: 3_000_000, chunkBytes: 50_000_000, markBytes: 9_000_000 },
  ...{ syncBytes: 123_456_789, logPlace: 'medium', logEntries: 'record' },
};

test('a pool is made as its newest label says, where the volume was found', async (context) => {
  const repository = await make(context);
  const older = { ...WRITTEN, chunkBytes: 60_000_000 };
  const volumes = [found(repository, 1, [], older), found(repository, 2, [], WRITTEN)];
  const { poolsMade, problems } = await recoverVolumes(repository, volumes);
  assert.deepEqual([poolsMade, problems], [['lto'], []]);
  const { id: _, createdMs: __, ...made } = (await listPools(repository)).pools[0] as Pool;
  const { changer: ___, drive: ____, ...written } = WRITTEN;
  const device = 'iscsi://nas/iqn.2026-01.test:drive/1';
  assert.deepEqual(made, { ...written, name: 'lto', device });
});

test('labels without settings, or with some that nobody understands, are told', async (context) => {
  for (const pool of [undefined, { ...WRITTEN, logPlace: 'nowhere' }, { ...WRITTEN, drive: 'x' }]) {
    const repository = await make(context);
    const { problems } = await recoverVolumes(repository, [found(repository, 1, [], pool)]);
    assert.match(problems.join(), /the labels of pool lto do not say how it is written/);
    const made = (await listPools(repository)).pools[0];
    assert.equal(made?.blockBytes, 3_000_000);
    assert(made.blockBytes >= leastBlockBytes(repository));
    assert.deepEqual([made.volumeBytes, made.logPlace], [0, 'both']);
  }
});

test('a chunk on two volumes is whole once both were given, in whichever order', async (context) => {
  for (const order of [
    [1, 2],
    [2, 1],
  ]) {
    const repository = await make(context);
    const first = [stretch('a', 0, 4, true), stretch('b', 0, 3, false), stretch('c', 0, 1, false)];
    const volumes = new Map([
      [1, found(repository, 1, first, WRITTEN)],
      [2, found(repository, 2, [stretch('b', 3, 2, true)], WRITTEN)],
    ]);
    const made = [];
    for (const number of order) {
      const { chunks, chunksInPart, volumesAdded } = await recoverVolumes(repository, [
        volumes.get(number) as FoundVolume,
      ]);
      made.push({ chunks, chunksInPart, volumesAdded });
    }
    assert.deepEqual(made[1]?.chunksInPart, 1, 'that of which there is no end');
    const known = (await listVolumes(repository)).volumes;
    assert.deepEqual(
      known.map(({ name, state }) => `${name} ${state}`),
      ['T1 full', 'T2 appendable'],
    );
    const [one, two] = known.map(({ chunks }) => chunks.toSorted((x, y) => (x.id < y.id ? -1 : 1)));
    assert.deepEqual(
      one?.map(({ id, bytes }) => [id, bytes]),
      [
        [idOf('a'), 40 + TRAILER_BYTES],
        [idOf('b'), 50 + TRAILER_BYTES],
      ],
    );
    const [last] = two ?? [];
    assert.deepEqual([last?.id, last?.firstObject, last?.endObject], [idOf('b'), 8, 10]);
    const again = await recoverVolumes(repository, [...volumes.values()]);
    assert.deepEqual([again.volumesAdded, again.chunks], [0, 0]);
  }
});
