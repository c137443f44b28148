/**
 * Pools of images for tests: a repository with one, and stores over it, as several processes have them.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '../src/base/bytes.ts';
import { LIMITS } from '../src/base/limits.ts';
import { TRAILER_BYTES } from '../src/format/chunk.ts';
import type { ObjectKind } from '../src/format/object-store.ts';
import { openClock, openRandom } from '../src/host/mod.ts';
import { openDirectoryStore } from '../src/media/directory-store.ts';
import { PooledStore } from '../src/mover/pooled-store.ts';
import { addPool, leastBlockBytes, type Pool } from '../src/mover/pools.ts';
import { createRepository, type Repository } from '../src/mover/repository.ts';
import { listVolumes } from '../src/mover/volume-records.ts';
import { type MadeChunk, makeChunk, makeStream } from './volume-fixture.ts';

export const MIB = 2 ** 20;
export const around = { clock: openClock(), random: openRandom() };

export interface Place {
  readonly repository: Repository;
  readonly pool: Pool;
  /** One more process: what it knows is of now. */
  process(drives?: number): Promise<PooledStore>;
  volumes(): Promise<{ name: string; volume: string; state: string; chunks: string[] }[]>;
}

/** A repository with a pool of small images, which has no volume yet. */
export async function withPool(work: (place: Place) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock pooled '));
  const store = openDirectoryStore(fromText(join(folder, 'repository')), true);
  const repository = await createRepository(store, undefined, around);
  const open: PooledStore[] = [];
  try {
    const blockBytes = leastBlockBytes(repository);
    const volumeBytes = LIMITS.volumeBytesMin + 8 * blockBytes;
    const pool = await addPool(repository, {
      ...{
        name: 'tapes',
        kind: 'tape-image',
        path: fromText(join(folder, 'some', 'tapes')),
        volumeBytes,
      },
      ...{ blockBytes, chunkBytes: 64 * MIB, markBytes: 0, logPlace: 'both', logEntries: 'run' },
    });
    await work({
      repository,
      pool,
      process: async (drives = 1) => {
        const own = Object.create(repository, { store: { value: watched(repository) } });
        const ours = { ...pool, drives };
        const store = await PooledStore.open(own as Repository, [ours], ours);
        open.push(store);
        return store;
      },
      volumes: async () => {
        const { volumes } = await listVolumes(repository);
        return volumes.map(({ name, volume, state, chunks }) => ({
          ...{ name, volume, state, chunks: chunks.map(({ id }) => id) },
        }));
      },
    });
  } finally {
    for (const one of open) await one.close().catch(() => undefined);
    await repository.close();
    rmSync(folder, { recursive: true });
  }
}

let meanwhile: { kind: ObjectKind; work: () => Promise<void> } | undefined;

/** Has something done before the next listing of the kind, once. */
export function beforeListing(kind: ObjectKind, work: () => Promise<void>): void {
  meanwhile = { kind, work };
}

/** The repository's storage, which stays open when a process ends. */
function watched({ store }: Repository): Repository['store'] {
  const list = async (kind: ObjectKind) => {
    const due = meanwhile?.kind === kind ? meanwhile : undefined;
    if (due !== undefined) meanwhile = undefined;
    await due?.work();
    return await store.list(kind);
  };
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'list') return list;
      if (name === 'close') return async () => undefined;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

export const someChunk = (): MadeChunk =>
  makeChunk(around.random, makeStream(around.random), 3, 100_000);

/** A session that writes a chunk. */
export async function write(store: PooledStore, { chunk, records }: MadeChunk): Promise<void> {
  await store.begin({ id: makeStream(around.random), writer: 'test' });
  const target = store.createOnVolume(chunk);
  let position = 0;
  for (const record of [...records, Buffer.alloc(TRAILER_BYTES)]) {
    await target.write(record, position);
    position += record.length;
  }
  await target.end();
  await store.end();
}
