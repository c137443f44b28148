/**
 * Counts what is used of each chunk, and chooses for every live blob the one place that is kept.
 *
 * Contract: each live blob that has a place outside the doomed chunks has exactly one kept place, also
 * outside them, in each pool where it is: archives of one pool do not come to rely on another. Its other
 * places count as dead, and their chunks rely on the one that keeps it. Reads the index twice, in
 * order; holds some numbers a block and a bit a blob.
 */
import { must } from '../base/assert.ts';
import { NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import { openFiles } from '../host/mod.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import { type BlobPlace, type PlaceGroup, PlaceWalk } from '../index/record-cursor.ts';
import { indexHash, type LoadedIndex } from './index-store.ts';
import { RecordBits } from './prune-mark.ts';
import type { Repository } from './repository.ts';

/** How good a chunk is as the one that keeps a blob; the least is chosen. */
export const KEEPER = {
  /** It stays anyway. */
  pinned: 0,
  good: 1,
  /** Blocks of it were found damaged. */
  damaged: 2,
  /** Somebody is about to delete it. */
  doomed: 3,
} as const;
export type KeeperRank = (typeof KEEPER)[keyof typeof KEEPER];

export class ChunkUsage {
  readonly loaded: LoadedIndex;
  readonly live: RecordBits;
  /** The kept places. */
  readonly keep: RecordBits;
  /** Of each chunk, a number for the pools in which it is; and these by that, 0: the root pool. */
  readonly pools: Uint16Array;
  readonly poolSets: readonly (readonly number[])[];
  /** Number of the first block of each chunk among all blocks. */
  readonly firstBlocks: Uint32Array;
  /** Blobs that each chunk keeps; and each block. */
  readonly kept: Uint32Array;
  readonly blockKept: Uint32Array;
  /** Places of blobs that the index tells of, for each chunk. */
  readonly places: Uint32Array;
  /** Which chunks keep what others have too: chunk → chunks. */
  readonly relies: Map<number, Set<number>> = new Map();
  /** Blocks that keep blobs which have other places too, by chunk. */
  readonly reliedBlocks: Map<number, Set<number>> = new Map();

  constructor(
    loaded: LoadedIndex,
    live: RecordBits,
    poolsOf: (chunkId: string) => readonly number[],
  ) {
    const { chunks } = loaded;
    const sets = new Map<string, number>();
    const poolSets: (readonly number[])[] = [];
    this.pools = Uint16Array.from(loaded.share.chunkIds, (id) => {
      const pools = poolsOf(id);
      const key = pools.join();
      const known = sets.get(key) ?? poolSets.push(pools) - 1;
      sets.set(key, known);
      return known;
    });
    this.poolSets = poolSets;
    this.loaded = loaded;
    this.live = live;
    this.keep = new RecordBits(loaded.share);
    this.firstBlocks = new Uint32Array(chunks.length + 1);
    for (const [i, chunk] of chunks.entries()) {
      this.firstBlocks[i + 1] = (this.firstBlocks[i] ?? 0) + chunk.blocks.length;
    }
    this.kept = new Uint32Array(chunks.length);
    this.places = new Uint32Array(chunks.length);
    this.blockKept = new Uint32Array(this.firstBlocks[chunks.length] ?? 0);
  }

  poolsOf(chunk: number): readonly number[] {
    return this.poolSets[this.pools[chunk] ?? 0] ?? [];
  }

  blockKeeps(chunk: number, block: number): number {
    return this.blockKept[(this.firstBlocks[chunk] ?? 0) + block] ?? 0;
  }

  /** Whether all blobs that the chunk keeps lie in blocks that it has. */
  isSound(chunk: number): boolean {
    let kept = 0;
    const { blocks } = must(this.loaded.chunks[chunk], 'a chunk');
    for (let block = 0; block < blocks.length; block++) kept += this.blockKeeps(chunk, block);
    return kept === this.kept[chunk];
  }

  /** Whether the index tells of as many blobs as the chunk has: then it tells of all. */
  isKnown(chunk: number): boolean {
    let blobs = 0;
    for (const block of must(this.loaded.chunks[chunk], 'a chunk').blocks) blobs += block.blobCount;
    return this.places[chunk] === blobs;
  }

  /** Notes that chunk `of` has a live blob which chunk `keeper` keeps. */
  rely(of: number, keeper: number): void {
    if (of === keeper) return;
    add(this.relies, of, keeper);
  }
}

/** Counts. `rank` says of each chunk how good it is to keep blobs. */
export async function countUsage(
  repository: Repository,
  loaded: LoadedIndex,
  live: RecordBits,
  rank: (chunk: number) => KeeperRank,
  pause: () => Promise<void>,
): Promise<ChunkUsage> {
  const { pooled } = repository;
  const usage = new ChunkUsage(loaded, live, (id) => pooled?.poolsOf(id) ?? ROOT_ONLY);
  const hash = indexHash(repository);
  const ranks = Uint8Array.from(loaded.chunks, (_, chunk) => rank(chunk));
  // If every place were kept: what is left of a chunk then says which one is best to keep.
  const most = new Uint32Array(loaded.chunks.length);
  const first = new PlaceWalk(loaded.share, openFiles(), hash);
  for (let group = first.next(), n = 0; group !== undefined; group = first.next()) {
    if ((++n & 0xfff) === 0) await pause();
    const isLive = groupIsLive(group, live);
    for (let i = 0; i < group.count; i++) {
      const { chunk, isRepeat } = must(group.places[i], 'a place');
      if (isRepeat) continue;
      usage.places[chunk] = (usage.places[chunk] ?? 0) + 1;
      if (isLive) most[chunk] = (most[chunk] ?? 0) + 1;
    }
  }
  const { lastBlocks } = loaded.share;
  const rankOf = ({ chunk, block }: BlobPlace): number => {
    const isBad = lastBlocks?.get(chunk)?.has(block) === true;
    return Math.max(ranks[chunk] ?? 0, isBad ? KEEPER.damaged : 0);
  };
  const better = (a: BlobPlace, b: BlobPlace): boolean => {
    const ranked = rankOf(a) - rankOf(b);
    if (ranked !== 0) return ranked < 0;
    const share = (chunk: number): number => (most[chunk] ?? 0) / (usage.places[chunk] ?? 1);
    const shared = share(a.chunk) - share(b.chunk);
    if (shared !== 0) return shared > 0;
    const more = (most[a.chunk] ?? 0) - (most[b.chunk] ?? 0);
    return more === 0 ? a.chunk < b.chunk : more > 0;
  };
  const second = new PlaceWalk(loaded.share, openFiles(), hash);
  for (let group = second.next(), n = 0; group !== undefined; group = second.next()) {
    if ((++n & 0xfff) === 0) await pause();
    if (groupIsLive(group, live)) keepInPools(usage, group, ranks, better);
  }
  return usage;
}

const ROOT_ONLY: readonly number[] = [0];

function groupIsLive(group: PlaceGroup, live: RecordBits): boolean {
  for (let i = 0; i < group.count; i++) {
    const place = group.places[i];
    if (place !== undefined && live.has(place.segment, place.record)) return true;
  }
  return false;
}

/** Keeps one place in each pool that has some. */
function keepInPools(
  usage: ChunkUsage,
  group: PlaceGroup,
  ranks: Uint8Array,
  better: (a: BlobPlace, b: BlobPlace) => boolean,
): void {
  for (let i = 0; i < group.count; i++) {
    for (const pool of poolsAt(usage, group, i)) {
      let isFirst = true;
      for (let j = 0; j < i && isFirst; j++) isFirst = !poolsAt(usage, group, j).includes(pool);
      if (isFirst) keepOne(usage, group, pool, ranks, better);
    }
  }
}

const poolsAt = (usage: ChunkUsage, group: PlaceGroup, i: number): readonly number[] =>
  usage.poolsOf(must(group.places[i], 'a place').chunk);

function keepOne(
  usage: ChunkUsage,
  group: PlaceGroup,
  pool: number,
  ranks: Uint8Array,
  better: (a: BlobPlace, b: BlobPlace) => boolean,
): void {
  const isInPool = ({ chunk }: BlobPlace): boolean => usage.poolsOf(chunk).includes(pool);
  let best: BlobPlace | undefined;
  for (let i = 0; i < group.count; i++) {
    const place = must(group.places[i], 'a place');
    if (!isInPool(place)) continue;
    if (best === undefined || (!place.isRepeat && better(place, best))) best = place;
  }
  if (best === undefined) return;
  // Whoever condemned its only place has to look after it, or did not know the archive.
  if (ranks[best.chunk] === KEEPER.doomed) return;
  const { chunk, block } = best;
  // It may have been kept for another of its pools.
  if (!usage.keep.has(best.segment, best.record)) {
    usage.keep.set(best.segment, best.record);
    usage.kept[chunk] = (usage.kept[chunk] ?? 0) + 1;
    const at = (usage.firstBlocks[chunk] ?? 0) + block;
    usage.blockKept[at] = (usage.blockKept[at] ?? 0) + 1;
  }
  let hasOthers = false;
  for (let i = 0; i < group.count; i++) {
    const place = must(group.places[i], 'a place');
    if (place.isRepeat || place === best || !isInPool(place)) continue;
    usage.rely(place.chunk, chunk);
    // Whoever condemned the other one has looked at this one.
    if (ranks[place.chunk] !== KEEPER.doomed) hasOthers = true;
  }
  if (hasOthers) add(usage.reliedBlocks, chunk, block);
}

function add(sets: Map<number, Set<number>>, key: number, value: number): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}

/**
 * Which chunk of a pool keeps a blob. `dead`: no archive needs it. `nobody`: it is needed, and all its places that
 * the index knows are about to be deleted by others.
 */
export function keeperOf(
  usage: ChunkUsage,
  index: BlobIndex,
  names: Buffer,
  at: number,
  pool: number,
): number | 'dead' | 'nobody' {
  let isLive = false;
  for (let place = 0; index.find(names, at, place); place++) {
    if (!usage.poolsOf(index.chunk).includes(pool)) continue;
    if (usage.keep.has(index.segment, index.record)) return index.chunk;
    isLive ||= usage.live.has(index.segment, index.record);
  }
  return isLive ? 'nobody' : 'dead';
}

/** Whether this very place of a blob is the one that is kept. */
export function isKept(
  usage: ChunkUsage,
  index: BlobIndex,
  names: Buffer,
  at: number,
  chunk: number,
  block: number,
): boolean {
  for (let place = 0; index.find(names, at, place); place++) {
    if (index.chunk !== chunk || index.block !== block) continue;
    if (usage.keep.has(index.segment, index.record)) return true;
  }
  return false;
}

/** How much of a block's content is of blobs that are not kept. */
export function deadShare(
  usage: ChunkUsage,
  index: BlobIndex,
  chunk: number,
  block: number,
  contents: { readonly names: Buffer; readonly details: Buffer },
  first: number,
  count: number,
): number {
  let all = 0;
  let dead = 0;
  for (let i = first; i < first + count; i++) {
    const length = contents.details.readUInt32LE(i * STORED_RECORD_BYTES);
    all += length;
    if (!isKept(usage, index, contents.names, i * NAME_BYTES, chunk, block)) dead += length;
  }
  return all === 0 ? 0 : dead / all;
}
