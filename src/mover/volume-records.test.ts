/**
 * Goal: what several processes store of one volume at the same time is never lost and never comes back.
 * Method: the join of records is commutative, associative and idempotent; random changes by several at
 * once to a real store, each step of which another may come between.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromText } from '../base/bytes.ts';
import type { ObjectStore } from '../format/object-store.ts';
import { openClock, openRandom } from '../host/mod.ts';
import { openDirectoryStore } from '../media/directory-store.ts';
import { createRepository, type Repository } from './repository.ts';
import {
  addVolume,
  changeVolume,
  dropVolume,
  isVolumeRecord,
  joinRecords,
  type KnownVolume,
  listVolumes,
  settled,
  VOLUME_STATES,
  type VolumeChange,
  type VolumeChunk,
  type VolumeRecord,
} from './volume-records.ts';

const VOLUME = '0'.repeat(32);
const chunkOf = (number: number, firstObject: number): VolumeChunk => ({
  ...{ id: String(number), bytes: 10, committedMs: 1, stream: 's' },
  ...{ firstObject, endObject: firstObject + 1 },
});
const EMPTY: KnownVolume = {
  ...{ volume: VOLUME, pool: 'p', name: 'T1', sequence: 1, state: 'appendable' },
  ...{ labelledMs: 1, writtenMs: 1, sessions: 0, objects: 0, bytes: 0, chunks: [] },
};

const anyRecord: fc.Arbitrary<VolumeRecord> = fc
  .record({
    state: fc.constantFrom(...VOLUME_STATES),
    ...{ revision: fc.nat(3), sessions: fc.nat(2), objects: fc.nat(9), bytes: fc.nat(9) },
    chunks: fc.uniqueArray(fc.nat(4)),
    released: fc.uniqueArray(fc.nat(4)),
  })
  .map(({ chunks, released, ...rest }) => ({
    ...{ ...EMPTY, ...rest },
    chunks: chunks.map((number) => chunkOf(number, number + 2)),
    released: released.map((number) => ({ id: String(number), firstObject: number + 2 })),
  }));

const told = (record: VolumeRecord): unknown => ({
  ...record,
  chunks: record.chunks.map(({ id }) => id).sort(),
  released: (record.released ?? []).map(({ id }) => id).sort(),
});

test('records are joined in any order, and more than once', () => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 5 }), (records) => {
      const all = told(joinRecords(records));
      assert.deepEqual(told(joinRecords(records.toReversed())), all);
      assert.deepEqual(told(joinRecords([...records, ...records])), all);
      const [first, ...others] = records as [VolumeRecord, ...VolumeRecord[]];
      if (others.length > 0) assert.deepEqual(told(joinRecords([joinRecords(others), first])), all);
    }),
  );
});

test('a volume is expired once all that was on it was released, and only then', () => {
  const record = (change: Partial<VolumeRecord>): VolumeRecord => ({
    ...EMPTY,
    ...{ revision: 1, ...change },
  });
  const released = [{ id: '1', firstObject: 3 }];
  const states = [
    record({}),
    record({ released }),
    record({ released, chunks: [chunkOf(1, 3)] }),
    record({ released, chunks: [chunkOf(1, 4)] }),
    record({ released, state: 'missing' }),
    record({ state: 'expired' }),
    record({ state: 'expired', chunks: [chunkOf(1, 3)] }),
  ].map((one) => settled(joinRecords([one])).state);
  const expected = ['appendable', 'expired', 'expired', 'appendable', 'missing', 'expired'];
  assert.deepEqual(states, [...expected, 'appendable']);
});

/** A repository of its own, whose storage others may use between any two of its calls. */
async function withRepository(work: (repository: Repository) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock volumes '));
  const around = { clock: openClock(), random: openRandom() };
  const store = openDirectoryStore(fromText(folder), true);
  const repository = await createRepository(store, undefined, around);
  try {
    await work(repository);
  } finally {
    await repository.close();
    rmSync(folder, { recursive: true });
  }
}

/** The repository with a storage that yields to others before and after each call. */
function yielding(repository: Repository, s: fc.Scheduler): Repository {
  const { store } = repository;
  const turn = <T>(label: string, result: () => Promise<T>): Promise<T> =>
    s.schedule(Promise.resolve(), label).then(result);
  const own: Partial<ObjectStore> = {
    list: (kind) => turn('list', () => store.list(kind)),
    read: (kind, name, max) => turn('read', () => store.read(kind, name, max)),
    put: (kind, name, bytes) => turn('put', () => store.put(kind, name, bytes)),
    remove: (kind, name) => turn('remove', () => store.remove(kind, name)),
  };
  return Object.create(repository, { store: { value: own } }) as Repository;
}

test('of many who change one volume at once none undoes what another did', async () => {
  await withRepository(async (repository) => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.integer({ min: 2, max: 4 }), async (s, writers) => {
        const first = Array.from({ length: writers }, (_, number) => chunkOf(number, number));
        await addVolume(repository, { ...EMPTY, chunks: first });
        const release =
          (number: number): VolumeChange =>
          (known) => ({
            ...known,
            released: [...(known.released ?? []), { id: String(number), firstObject: number }],
          });
        const add =
          (number: number): VolumeChange =>
          (known) => ({ ...known, chunks: [...known.chunks, chunkOf(number, number)] });
        const works = first.map(async (_, number) => {
          const own = yielding(repository, s);
          assert(await changeVolume(own, VOLUME, add(100 + number)));
          assert(await changeVolume(own, VOLUME, release(number)));
          assert(await changeVolume(own, VOLUME, add(200 + number)));
        });
        await s.waitFor(Promise.all(works));
        const { volumes } = await listVolumes(repository);
        const ids = volumes[0]?.chunks.map(({ id }) => Number(id)).sort((a, b) => a - b);
        const numbers = first.map((_, number) => number);
        assert.deepEqual(ids, [...numbers.map((n) => 100 + n), ...numbers.map((n) => 200 + n)]);
        await dropVolume(repository, VOLUME);
      }),
      { numRuns: 60 },
    );
  });
});

test('what a reader lists while others write is never less than what was there when it began', async () => {
  await withRepository(async (repository) => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (s) => {
        await addVolume(repository, { ...EMPTY, chunks: [chunkOf(0, 0)] });
        const writer = async (): Promise<void> => {
          const own = yielding(repository, s);
          for (const number of [1, 2, 3]) {
            await changeVolume(own, VOLUME, (known) => ({
              ...known,
              chunks: [...known.chunks, chunkOf(number, number)],
            }));
          }
        };
        const reader = async (): Promise<void> => {
          for (let i = 0; i < 3; i++) {
            const { volumes } = await listVolumes(yielding(repository, s));
            assert(volumes[0]?.chunks.some(({ id }) => id === '0'));
          }
        };
        await s.waitFor(Promise.all([writer(), reader()]));
        await dropVolume(repository, VOLUME);
      }),
      { numRuns: 60 },
    );
  });
});

test('a record that is replaced while a directory is read does not hide its volume', async () => {
  await withRepository(async (repository) => {
    await addVolume(repository, EMPTY);
    const { store } = repository;
    let listings = 0;
    const list: ObjectStore['list'] = async (kind) => {
      const names = await store.list(kind);
      // Read in two halves, between which another program changes what is known.
      if (listings++ > 0) return names;
      await changeVolume(repository, VOLUME, (known) => ({ ...known, chunks: [chunkOf(1, 1)] }));
      return names.filter(({ name }) => !isVolumeRecord(name));
    };
    const read: ObjectStore['read'] = (kind, name, max) => store.read(kind, name, max);
    const torn: Partial<ObjectStore> = { list, read };
    const reader = Object.create(repository, { store: { value: torn } }) as Repository;
    const { volumes } = await listVolumes(reader);
    assert.deepEqual(volumes[0]?.chunks, [chunkOf(1, 1)]);
  });
});

test('a volume that somebody has forgotten does not come back', async () => {
  await withRepository(async (repository) => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (s) => {
        await addVolume(repository, EMPTY);
        const change = changeVolume(yielding(repository, s), VOLUME, (known) => known);
        const drop = dropVolume(yielding(repository, s), VOLUME);
        await s.waitFor(Promise.all([change, drop]));
        const left = (await repository.store.list('maps')).filter(({ name }) =>
          isVolumeRecord(name),
        );
        assert.deepEqual(left, []);
      }),
      { numRuns: 60 },
    );
  });
});
