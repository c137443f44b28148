/**
 * What a migration moves: chunks by the names that were given, and where each of them is.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import type { PooledStore } from './pooled-store.ts';
import type { Pool } from './pools.ts';
import { ROOT_POOL } from './storage-map.ts';
import { drivesOf } from './volume-medium.ts';

/** A chunk that is to go, and where it is. */
export interface Moving {
  readonly id: string;
  readonly bytes: number;
  readonly fromRoot: boolean;
  /** Volumes that have it and are to be rid of it. */
  readonly fromVolumes: readonly string[];
  /** A copy is in the target pool, whether it is whole or not. */
  readonly isThere: boolean;
  /** It is read with the drive that is to write it. */
  readonly sharesDrive: boolean;
}

/**
 * What is to go, in the order in which it lies on its volumes.
 *
 * @throws USAGE for a name that nothing has, DRIVE_SHARED where somebody would have to change tapes
 */
export async function chooseMoving(
  pooled: PooledStore,
  what: readonly string[],
): Promise<readonly Moving[]> {
  const root = await pooled.rootChunks();
  const sizes = new Map((await pooled.list('chunks')).map(({ name, bytes }) => [name, bytes]));
  const wanted = new Wanted(pooled, root);
  for (const name of what) wanted.add(name, [...sizes.keys()]);
  const { target } = pooled;
  const places = placesOf(pooled);
  const poolOf = new Map(pooled.volumes.map(({ volume, pool }) => [volume, pool]));
  const devices = new Set(target === undefined ? [] : devicesOf(target));
  const onDevice = new Set(
    pooled.pools
      .filter((one) => devicesOf(one).some((device) => devices.has(device)))
      .map(({ id }) => id),
  );
  const moving: Moving[] = [];
  for (const [id, { fromRoot, volumes }] of wanted.chunks) {
    const fromVolumes = [...volumes].filter((volume) => poolOf.get(volume) !== target?.id);
    if (fromVolumes.length === 0 && (target === undefined || !fromRoot)) continue;
    const on = places.get(id) ?? [];
    const isThere =
      target === undefined ? root.has(id) : on.some((volume) => poolOf.get(volume) === target.id);
    const sharesDrive =
      !root.has(id) && on.some((volume) => onDevice.has(poolOf.get(volume) ?? ''));
    const bytes = must(sizes.get(id), 'a chunk that is listed');
    moving.push({ id, bytes, fromRoot, fromVolumes, isThere, sharesDrive });
  }
  if (moving.some(({ sharesDrive, isThere }) => sharesDrive && !isThere)) checkLibrary(pooled);
  return moving;
}

const devicesOf = (pool: Pool): readonly string[] => drivesOf(pool).map(({ device }) => device);

/** Without a library there is one tape in the only drive, and nobody to change it. */
function checkLibrary({ target }: PooledStore): void {
  if (target?.changer !== undefined || (target !== undefined && drivesOf(target).length > 1))
    return;
  const text = `what is to go to pool ${target?.name} is read with the drive that would write it`;
  throw new PenstockError('DRIVE_SHARED', text, { subject: target?.name ?? '' });
}

/** On which volumes each chunk is. */
function placesOf({ volumes }: PooledStore): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>();
  for (const { volume, chunks } of volumes) {
    for (const { id } of chunks) {
      const known = places.get(id);
      if (known === undefined) places.set(id, [volume]);
      else known.push(volume);
    }
  }
  return places;
}

class Wanted {
  readonly chunks = new Map<string, { fromRoot: boolean; readonly volumes: Set<string> }>();
  readonly #pooled: PooledStore;
  readonly #root: ReadonlySet<string>;

  constructor(pooled: PooledStore, root: ReadonlySet<string>) {
    this.#pooled = pooled;
    this.#root = root;
  }

  /** All that a name stands for. */
  add(name: string, known: readonly string[]): void {
    const { pools, volumes } = this.#pooled;
    if (name === ROOT_POOL) {
      for (const id of this.#root) this.#want(id, undefined);
      return;
    }
    const pool = pools.find((one) => one.name === name);
    const isStart = ID_START.test(name);
    const named = volumes.filter(
      (one) =>
        one.pool === pool?.id || one.name === name || (isStart && one.volume.startsWith(name)),
    );
    for (const { volume, chunks } of named) {
      const inOrder = chunks.toSorted((a, b) => a.firstObject - b.firstObject);
      for (const { id } of inOrder) this.#want(id, volume);
    }
    const ids = isStart ? new Set(known.filter((id) => id.startsWith(name))) : NONE;
    if (named.length === 0 && pool === undefined && ids.size === 0) {
      throw new PenstockError('USAGE', `there is no pool, volume or chunk ${name}`, {
        hint: 'see `penstock pool list` and `penstock volume list`',
      });
    }
    for (const id of ids) if (this.#root.has(id)) this.#want(id, undefined);
    if (ids.size === 0) return;
    for (const { volume, chunks } of volumes)
      for (const { id } of chunks) if (ids.has(id)) this.#want(id, volume);
  }

  #want(id: string, volume: string | undefined): void {
    const one = this.chunks.get(id) ?? { fromRoot: false, volumes: new Set<string>() };
    if (volume === undefined) one.fromRoot = true;
    else one.volumes.add(volume);
    this.chunks.set(id, one);
  }
}

const ID_START = /^[0-9a-f]{4,32}$/;
const NONE: ReadonlySet<string> = new Set();
