/**
 * The index of a repository as a whole: loading its segments for all threads, adding one for new
 * chunks, merging, and dropping chunks that are gone.
 */
import { must } from '../base/assert.ts';
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  INDEX_HEAD_BYTES,
  layoutOf,
  PAGE_BYTES,
  PAGE_HASH_BYTES,
  readIndexHead,
  type SegmentShape,
} from '../format/index-segment.ts';
import { type KeyedHash, openFiles, openKeyedHash } from '../host/mod.ts';
import { BlobIndex, type IndexShare, LAST_RESORT, type SegmentShare } from '../index/blob-index.ts';
import {
  buildSegment,
  type ChunkNames,
  type IndexedChunk,
  mergeSegments,
  readTables,
  segmentHash,
} from '../index/segment-builder.ts';
import type { PlacedChunk } from '../modules/chunk-writer.ts';
import type { Repository } from './repository.ts';

/** Longest index segment that is loaded, merged or rewritten as one piece. */
export const SEGMENT_BYTES_MAX: number = 2 ** 31;

export interface LoadedIndex {
  readonly share: IndexShare;
  /** Chunks by global number. */
  readonly chunks: readonly IndexedChunk[];
  /** Ids of chunks that the segments tell of and that must not be used. */
  readonly unusable: readonly string[];
  /** Segments that cannot be used, and why. */
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
  /** Looks blobs up in this thread. */
  open(): BlobIndex;
  close(): void;
}

export function indexHash(repository: Repository): KeyedHash {
  return openKeyedHash(repository.keyring.indexKey);
}

/** A listing beside merges may miss segments; it is repeated until it has nothing new, at most so often. */
const LISTINGS_MAX = 32;

/** Offsets of damaged blocks, by the ids of their chunks. */
export type DamagedBlocks = ReadonlyMap<string, ReadonlySet<number>>;

/** Places that come after all others of a blob. */
export interface LastResort {
  /** Ids of chunks. */
  readonly chunks?: ReadonlySet<string>;
  readonly blocks?: DamagedBlocks;
}

/**
 * Loads all segments. Chunks for which `usable` is false get no number: their blobs count as unknown.
 * Damaged segments are left out and named.
 */
export async function loadIndex(
  repository: Repository,
  usable: (chunkId: string) => boolean,
  lastResort: LastResort = {},
): Promise<LoadedIndex> {
  const loading = new IndexLoading(repository, usable);
  try {
    // A merge may have replaced what was listed, by a segment that the listing did not show.
    for (let round = 0; (await loading.loadListed()) && round < LISTINGS_MAX; round++);
  } catch (error) {
    loading.close();
    throw error;
  }
  return loading.finish(lastResort);
}

class IndexLoading {
  readonly #repository: Repository;
  readonly #usable: (chunkId: string) => boolean;
  readonly #hash: KeyedHash;
  readonly #seen = new Set<string>();
  readonly #segments: SegmentShare[] = [];
  readonly #damaged: { name: string; error: PenstockError }[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #chunks: IndexedChunk[] = [];
  readonly #unusable: string[] = [];
  #memory = 0;

  constructor(repository: Repository, usable: (chunkId: string) => boolean) {
    this.#repository = repository;
    this.#usable = usable;
    this.#hash = indexHash(repository);
  }

  /** Loads what the store lists and was not seen yet; false when there was nothing. */
  async loadListed(): Promise<boolean> {
    const listed = await this.#repository.store.list('index');
    const fresh = listed.filter(({ name }) => !this.#seen.has(name));
    for (const { name, bytes } of fresh.sort((a, b) => a.bytes - b.bytes)) {
      this.#seen.add(name);
      try {
        await this.#load(name, bytes);
      } catch (error) {
        if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
        // A segment that vanished was merged into another one: the next listing shows it.
        if (error.code !== 'OBJECT_MISSING') this.#damaged.push({ name, error });
      }
    }
    return fresh.length > 0;
  }

  async #load(name: string, bytes: number): Promise<void> {
    const inMemory = this.#memory + bytes <= LIMITS.indexMemoryBytes;
    const segment = await loadSegment(this.#repository, name, inMemory, this.#hash);
    if (inMemory) this.#memory += bytes;
    const tables = readTables(Buffer.from(segment.bytes), segment.shape);
    for (const [i, chunk] of tables.entries()) {
      const id = chunk.id.toString('hex');
      let number = this.#numbers.get(id);
      if (number === undefined) {
        number = this.#usable(id) ? this.#chunks.length : -1;
        this.#numbers.set(id, number);
        if (number >= 0) this.#chunks.push(chunk);
        else this.#unusable.push(id);
      }
      segment.chunkNumbers[i] = number;
    }
    this.#segments.push(segment);
  }

  finish(lastResort: LastResort): LoadedIndex {
    const chunks = this.#chunks;
    const chunkIds = chunks.map((chunk) => chunk.id.toString('hex'));
    const lastBlocks = damagedNumbers(chunks, lastResort.blocks ?? new Map());
    const share: IndexShare = {
      segments: this.#segments,
      chunkIds,
      used: new SharedArrayBuffer(Math.ceil((chunks.length + 1) / 32) * 4),
      lastResort: flagsOf(chunkIds, lastResort.chunks ?? new Set(), lastBlocks),
      lastBlocks,
    };
    return {
      share,
      chunks,
      unusable: this.#unusable,
      damaged: this.#damaged,
      open: () => new BlobIndex(share, openFiles(), this.#hash),
      close: () => this.close(),
    };
  }

  close(): void {
    for (const segment of this.#segments) if (segment.fd >= 0) openFiles().close(segment.fd);
  }
}

function flagsOf(
  chunkIds: readonly string[],
  chosen: ReadonlySet<string>,
  blocks: ReadonlyMap<number, unknown>,
): SharedArrayBuffer | undefined {
  if (blocks.size === 0 && !chunkIds.some((id) => chosen.has(id))) return undefined;
  const flags = new Uint8Array(new SharedArrayBuffer(chunkIds.length));
  for (const [i, id] of chunkIds.entries()) {
    if (chosen.has(id)) flags[i] = LAST_RESORT.chunk;
    else if (blocks.has(i)) flags[i] = LAST_RESORT.blocks;
  }
  return flags.buffer;
}

/** Numbers of damaged blocks, by the numbers of their chunks. */
function damagedNumbers(
  chunks: readonly IndexedChunk[],
  damaged: DamagedBlocks,
): ReadonlyMap<number, ReadonlySet<number>> {
  const numbers = new Map<number, Set<number>>();
  if (damaged.size === 0) return numbers;
  for (const [chunk, { id, blocks }] of chunks.entries()) {
    const offsets = damaged.get(id.toString('hex'));
    if (offsets === undefined) continue;
    const bad = blocks.flatMap(({ offset }, block) => (offsets.has(offset) ? [block] : []));
    if (bad.length > 0) numbers.set(chunk, new Set(bad));
  }
  return numbers;
}

async function loadSegment(
  repository: Repository,
  name: string,
  inMemory: boolean,
  hash: KeyedHash,
): Promise<SegmentShare> {
  const subject = `index/${name}`;
  const files = openFiles();
  const whole = inMemory
    ? await repository.store.read('index', name, SEGMENT_BYTES_MAX)
    : undefined;
  const fd = inMemory ? -1 : await repository.store.openFile('index', name);
  try {
    const head = whole ?? Buffer.alloc(INDEX_HEAD_BYTES);
    if (whole === undefined) files.read(fd, head, 0, INDEX_HEAD_BYTES, 0);
    const size = whole?.length ?? (await sizeOf(repository, name));
    const shape = readIndexHead(head, size, subject);
    const layout = layoutOf(shape);
    const bytes = new SharedArrayBuffer(whole?.length ?? layout.records);
    const view = Buffer.from(bytes);
    if (whole !== undefined) whole.copy(view);
    else files.read(fd, view, 0, layout.records, 0);
    checkSegment(view, shape, subject, hash, whole !== undefined);
    const firstBlocks = new Uint32Array(shape.chunkCount);
    let block = 0;
    for (const [i, chunk] of readTables(view, shape).entries()) {
      firstBlocks[i] = block;
      block += chunk.blocks.length;
    }
    return {
      id: name,
      shape,
      bytes,
      fd,
      chunkNumbers: new Int32Array(shape.chunkCount),
      firstBlocks,
    };
  } catch (error) {
    if (fd >= 0) files.close(fd);
    throw error;
  }
}

async function sizeOf(repository: Repository, name: string): Promise<number> {
  return must(
    (await repository.store.list('index')).find((one) => one.name === name),
    'the segment is listed',
  ).bytes;
}

/** The shape of a segment that is in memory as a whole. DAMAGED, REPO_FEATURE. */
export function checkWholeSegment(bytes: Buffer, subject: string, hash: KeyedHash): SegmentShape {
  const shape = readIndexHead(bytes, bytes.length, subject);
  checkSegment(bytes, shape, subject, hash, true);
  return shape;
}

/** Checks the keyed hash of a segment's head, and with `records` those of all its pages. */
function checkSegment(
  view: Buffer,
  shape: SegmentShape,
  subject: string,
  hash: KeyedHash,
  records: boolean,
): void {
  const layout = layoutOf(shape);
  const wrong = (what: string): PenstockError =>
    new PenstockError(
      'DAMAGED',
      `${subject} is damaged: the keyed hash of ${what} does not match`,
      {
        subject,
        hint: 'run `penstock catalog rebuild` to make the index again from the chunks',
      },
    );
  if (!segmentHash(view, layout, hash).equals(view.subarray(96, 128))) throw wrong('its head');
  if (!records) return;
  const digest = Buffer.alloc(32);
  for (let page = 0; page < shape.pageCount; page++) {
    const start = layout.records + page * PAGE_BYTES;
    hash.digestInto(view, start, Math.min(PAGE_BYTES, layout.end - start), digest, 0);
    const at = layout.pageHashes + page * PAGE_HASH_BYTES;
    if (digest.compare(view, at, at + PAGE_HASH_BYTES, 0, PAGE_HASH_BYTES) !== 0)
      throw wrong(`page ${page}`);
  }
}

export function toChunkNames(chunk: PlacedChunk, session: string): ChunkNames {
  return {
    id: Buffer.from(chunk.id, 'hex'),
    session: Buffer.from(session, 'hex'),
    contentClass: chunk.contentClass,
    bytes: chunk.bytes,
    blocks: chunk.blocks,
    names: Buffer.from(chunk.names.buffer, chunk.names.byteOffset, chunk.names.byteLength),
  };
}

/** Stores one segment of some chunks; they count as indexed once this returns. */
export async function storeSegment(
  repository: Repository,
  chunks: readonly ChunkNames[],
): Promise<void> {
  const id = repository.around.random.bytes(16);
  await put(repository, id, buildSegment(id, chunks, indexHash(repository)));
}

async function put(repository: Repository, id: Buffer, bytes: Buffer): Promise<void> {
  const name = id.toString('hex');
  if (!(await repository.store.put('index', name, bytes))) {
    throw new PenstockError('INTERNAL', `an index segment of the name ${name} is there already`);
  }
}

/**
 * Merges small segments once there are many, so that their number stays about logarithmic. The
 * merged one is durable before the others go; a crash between leaves both, which is harmless.
 */
export async function mergeIndex(repository: Repository): Promise<number> {
  if (repository.store.appendOnly === true) return 0;
  const listed = (await repository.store.list('index'))
    .filter(({ bytes }) => bytes < LIMITS.indexMergeBytes / 2)
    .sort((a, b) => a.bytes - b.bytes);
  if (listed.length <= LIMITS.indexSegmentsMergeAbove) return 0;
  const chosen: string[] = [];
  let total = 0;
  for (const { name, bytes } of listed) {
    // Segments that are larger than all before them together wait for their peers.
    if (chosen.length >= LIMITS.indexSegmentsMergeAbove / 2 && bytes > 2 * total) break;
    if (total + bytes > LIMITS.indexMergeBytes) break;
    chosen.push(name);
    total += bytes;
  }
  if (chosen.length < 2) return 0;
  await rewriteSegments(repository, chosen, new Set());
  return chosen.length;
}

/** Replaces segments by one without the dropped chunks (hex ids). Damaged ones stay as they are. */
export async function rewriteSegments(
  repository: Repository,
  names: readonly string[],
  dropped: ReadonlySet<string>,
): Promise<void> {
  const hash = indexHash(repository);
  const sources: { name: string; shape: SegmentShape; bytes: Buffer }[] = [];
  for (const name of names) {
    try {
      const bytes = await repository.store.read('index', name, SEGMENT_BYTES_MAX);
      sources.push({ name, shape: checkWholeSegment(bytes, `index/${name}`, hash), bytes });
    } catch (error) {
      if (!(error instanceof PenstockError) || !['OBJECT_MISSING', 'DAMAGED'].includes(error.code))
        throw error;
    }
  }
  if (sources.length === 0) return;
  const id = repository.around.random.bytes(16);
  const merged = mergeSegments(id, sources, dropped, hash);
  if (readIndexHead(merged, merged.length, 'the merged segment').chunkCount > 0)
    await put(repository, id, merged);
  for (const { name } of sources) await repository.store.remove('index', name);
}
