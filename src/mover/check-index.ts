/**
 * The index as a check or a rebuild needs it: every segment verified to its last page, and the blobs of
 * chunks that are in no segment added in memory, so that what the index has lost can still be found.
 */
import { must } from '../base/assert.ts';
import { PenstockError } from '../base/errors.ts';
import { layoutOf, PAGE_BYTES, PAGE_HASH_BYTES, readIndexHead } from '../format/index-segment.ts';
import { type KeyedHash, openFiles } from '../host/mod.ts';
import { BlobIndex, type IndexShare, type SegmentShare } from '../index/blob-index.ts';
import { buildSegment, type ChunkNames, type IndexedChunk } from '../index/segment-builder.ts';
import { indexHash, type LoadedIndex, loadIndex } from './index-store.ts';
import type { Repository } from './repository.ts';

export interface VerifiedIndex {
  readonly share: IndexShare;
  /** Names of the segments that are whole. */
  readonly segments: readonly string[];
  readonly damaged: readonly { readonly name: string; readonly error: PenstockError }[];
  /** Chunks of whole segments, by id. */
  readonly chunks: ReadonlyMap<string, IndexedChunk>;
  /** Numbers of chunks from here on were added in memory. */
  readonly addedFrom: number;
  /** The same with the blobs of further chunks. */
  with(chunks: readonly ChunkNames[]): VerifiedIndex;
  open(): BlobIndex;
  close(): void;
}

/** Loads all segments and verifies them; chunks that are missing count as usable. */
export async function verifyIndex(repository: Repository): Promise<VerifiedIndex> {
  const hash = indexHash(repository);
  const loaded = await load(repository);
  const damaged = [...loaded.damaged];
  const whole: SegmentShare[] = [];
  for (const segment of loaded.share.segments) {
    const wrong = checkWhole(segment, hash);
    if (wrong === undefined) whole.push(segment);
    else
      damaged.push({
        name: segment.id,
        error: new PenstockError('DAMAGED', `index/${segment.id} is damaged: ${wrong}`),
      });
  }
  const inWhole = new Set<number>();
  for (const segment of whole) for (const number of segment.chunkNumbers) inWhole.add(number);
  const chunks = new Map<string, IndexedChunk>();
  for (const [i, chunk] of loaded.chunks.entries())
    if (inWhole.has(i)) chunks.set(chunk.id.toString('hex'), chunk);
  const make = (share: IndexShare, addedFrom: number): VerifiedIndex => ({
    share,
    segments: whole.map((segment) => segment.id),
    damaged,
    chunks,
    addedFrom,
    with: (added) => make(extend(share, added, hash), addedFrom),
    open: () => new BlobIndex(share, openFiles(), hash),
    close: () => loaded.close(),
  });
  return make({ ...loaded.share, segments: whole }, loaded.share.chunkIds.length);
}

/** A repository whose index folder is gone has lost its index: that is for a check to say. */
async function load(
  repository: Repository,
): Promise<Pick<LoadedIndex, 'share' | 'chunks' | 'damaged' | 'close'>> {
  try {
    return await loadIndex(repository, () => true);
  } catch (error) {
    if (!(error instanceof PenstockError) || error.code !== 'OBJECT_MISSING') throw error;
    const share: IndexShare = { segments: [], chunkIds: [], used: new SharedArrayBuffer(4) };
    return { share, chunks: [], damaged: [], close: () => undefined };
  }
}

/** What loading has not seen: pages that are read on demand, and whether it is the segment of its name. */
function checkWhole(segment: SegmentShare, hash: KeyedHash): string | undefined {
  const view = Buffer.from(segment.bytes);
  const id = view.toString('hex', 64, 80);
  if (id !== segment.id) return `it is segment ${id}`;
  if (segment.fd < 0) return undefined;
  const layout = layoutOf(segment.shape);
  const page = Buffer.alloc(PAGE_BYTES);
  const digest = Buffer.alloc(32);
  for (let number = 0; number < segment.shape.pageCount; number++) {
    const start = layout.records + number * PAGE_BYTES;
    const length = Math.min(PAGE_BYTES, layout.end - start);
    if (openFiles().read(segment.fd, page, 0, length, start) !== length)
      return `page ${number} cannot be read`;
    hash.digestInto(page, 0, length, digest, 0);
    const at = layout.pageHashes + number * PAGE_HASH_BYTES;
    if (digest.compare(view, at, at + PAGE_HASH_BYTES, 0, PAGE_HASH_BYTES) !== 0)
      return `the keyed hash of page ${number} does not match`;
  }
  return undefined;
}

/** A share with one more segment, in memory, of chunks that have no number yet or one already. */
function extend(share: IndexShare, chunks: readonly ChunkNames[], hash: KeyedHash): IndexShare {
  if (chunks.length === 0) return share;
  const built = buildSegment(Buffer.alloc(16), chunks, hash);
  const shape = readIndexHead(built, built.length, 'an index segment in memory');
  const bytes = new SharedArrayBuffer(built.length);
  built.copy(Buffer.from(bytes));
  const chunkIds = [...share.chunkIds];
  const numbers = new Map(chunkIds.map((id, i) => [id, i]));
  const chunkNumbers = new Int32Array(chunks.length);
  const firstBlocks = new Uint32Array(chunks.length);
  let block = 0;
  for (const [i, chunk] of chunks.entries()) {
    const id = chunk.id.toString('hex');
    if (!numbers.has(id)) {
      numbers.set(id, chunkIds.length);
      chunkIds.push(id);
    }
    chunkNumbers[i] = must(numbers.get(id), 'a chunk has a number');
    firstBlocks[i] = block;
    block += chunk.blocks.length;
  }
  const segment: SegmentShare = { id: '', shape, bytes, fd: -1, chunkNumbers, firstBlocks };
  return {
    // Looked up last: the stored segments come first (BlobIndex goes through them backwards).
    segments: [segment, ...share.segments],
    chunkIds,
    used: new SharedArrayBuffer(Math.ceil((chunkIds.length + 1) / 32) * 4),
  };
}
