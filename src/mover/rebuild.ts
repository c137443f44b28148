/**
 * Makes again what a repository has lost of its index, its map and its archive records (M8).
 *
 * Where the data is stands in three places: index segments, map records, and the chunks themselves. Each
 * is made from what the others still tell:
 * - the blobs of a chunk: by its footer; else by reading the blocks that the index, the map, or a search
 *   through the chunk tells of
 * - map records: by the chunks, or by the index where their footers are damaged
 * - archive records: by the map, or by the chunk of their session; their chunks are found by walking the
 *   manifest. Archives that were forgotten do not come back.
 * Only what is missing or damaged is made. Everything new is durable before anything damaged goes, and
 * it is safe beside backups and prunes: a reader's lease keeps chunks, archives are committed as ever.
 */
import type { PenstockError } from '../base/errors.ts';
import { NAME_BYTES } from '../format/block.ts';
import type { BlockPlace } from '../format/chunk.ts';
import { type ChunkMedia, openChunkMedia } from '../format/chunk-media.ts';
import type { ChunkNames, IndexedChunk } from '../index/segment-builder.ts';
import { listArchiveHeads } from './archives.ts';
import { type ArchiveFooter, type ChunkFacts, inspectChunk } from './check-chunk.ts';
import { readBlocks } from './check-data.ts';
import { type VerifiedIndex, verifyIndex } from './check-index.ts';
import { sessionsAtWork } from './check-records.ts';
import { listForgotten } from './forgotten.ts';
import { mergeIndex, storeSegment } from './index-store.ts';
import { rebuildArchives } from './rebuild-archives.ts';
import { rebuildMaps } from './rebuild-maps.ts';
import { RebuildVolumes } from './rebuild-volumes.ts';
import type { Repository } from './repository.ts';
import { openSession, type Session } from './session.ts';
import { listSessionMaps, type MapList } from './storage-map.ts';

export interface RebuildRequest {
  readonly threads: number;
  readonly signal: AbortSignal;
  onProgress(progress: {
    readonly chunks: number;
    readonly chunksTotal: number;
    readonly bytesRead: number;
  }): void;
}

export interface RebuildResult {
  /** Chunks that are in the index again. */
  readonly chunksIndexed: number;
  /** Damaged index segments that were replaced. */
  readonly segmentsReplaced: number;
  /** Sessions whose map was made again. */
  readonly mapsMade: number;
  /** Ids of archives whose record was made again. */
  readonly archivesMade: readonly string[];
  /** Volumes that are not where they should be; what is known of their chunks stays as it is. */
  readonly volumesAway: readonly string[];
  /** What could not be made again, or not wholly. */
  readonly problems: readonly string[];
}

/** What was found out about a chunk that is there. */
export interface KnownChunk {
  readonly id: string;
  readonly session: string;
  readonly contentClass: number;
  readonly bytes: number;
  readonly blocks: readonly BlockPlace[];
  /** The blocks are those of its own footer. */
  readonly hasFooter: boolean;
}

/** What the steps of a rebuild share. */
export interface Rebuilding {
  readonly repository: Repository;
  readonly session: Session;
  readonly media: ChunkMedia;
  readonly signal: AbortSignal;
  readonly chunks: Map<string, KnownChunk>;
  readonly footers: readonly (ArchiveFooter & { readonly chunk: string })[];
  readonly maps: MapList;
  /** Sessions that are at work. */
  readonly atWork: ReadonlySet<string>;
  readonly problems: string[];
}

/** What the index or the map says of a chunk. */
interface ToldChunk {
  readonly session: string;
  readonly table: Pick<IndexedChunk, 'contentClass' | 'bytes' | 'blocks'>;
}

/** Names that are gathered before they are stored as one segment. */
const SEGMENT_NAME_BYTES = 32 * 1024 * 1024;
const TURN_MS = 50;

/** Makes again what is missing or damaged. INTERRUPTED, REPO_READ_ONLY, REPO_FULL, REPO_IO. */
export async function rebuild(
  repository: Repository,
  request: RebuildRequest,
): Promise<RebuildResult> {
  await repository.store.prepare();
  const session = await openSession(repository, 'restore');
  try {
    const media = await openChunkMedia(repository.store.chunkMedia);
    try {
      return await new Rebuild(repository, request, session, media).run();
    } finally {
      media.close();
    }
  } finally {
    await session.end().catch(() => undefined);
  }
}

class Rebuild {
  readonly #repository: Repository;
  readonly #request: RebuildRequest;
  readonly #session: Session;
  readonly #media: ChunkMedia;
  readonly #problems: string[] = [];
  readonly #chunks = new Map<string, KnownChunk>();
  readonly #footers: (ArchiveFooter & { readonly chunk: string })[] = [];
  /** Not yet in the index; stored when they are many. */
  #unindexed: ChunkNames[] = [];
  #unindexedBytes = 0;
  #chunksIndexed = 0;
  #volumesAway: readonly string[] = [];
  /** Not in the index, and without a footer: their blocks must be read. */
  readonly #toRead: KnownChunk[] = [];
  #turnMs = performance.now();

  constructor(
    repository: Repository,
    request: RebuildRequest,
    session: Session,
    media: ChunkMedia,
  ) {
    this.#repository = repository;
    this.#request = request;
    this.#session = session;
    this.#media = media;
  }

  async run(): Promise<RebuildResult> {
    const repository = this.#repository;
    const atWork = await sessionsAtWork(repository);
    const maps = await listSessionMaps(repository);
    const segmentsReplaced = await this.#index(maps);
    const rebuilding: Rebuilding = {
      repository,
      session: this.#session,
      media: this.#media,
      signal: this.#request.signal,
      chunks: this.#chunks,
      footers: this.#footers,
      maps,
      atWork,
      problems: this.#problems,
    };
    const archivesMade = await rebuildArchives(rebuilding);
    const { archives } = await listArchiveHeads(repository);
    const mapsMade = await rebuildMaps(rebuilding, archives);
    await this.#dropNotes();
    return {
      chunksIndexed: this.#chunksIndexed,
      segmentsReplaced,
      mapsMade,
      archivesMade,
      volumesAway: this.#volumesAway,
      problems: this.#problems,
    };
  }

  /** Notes of forgotten archives that cannot be read: nobody can make them again. */
  async #dropNotes(): Promise<void> {
    const { damaged } = await listForgotten(this.#repository);
    for (const { name, error } of damaged) {
      if (error.code !== 'DAMAGED') continue;
      await this.#repository.store.remove('maps', name);
      this.#problems.push(`the note ${name} of forgotten archives was damaged and is dropped`);
    }
  }

  /** Index: returns how many damaged segments were replaced. */
  async #index(maps: MapList): Promise<number> {
    const index = await verifyIndex(this.#repository);
    const tables = new Map<string, ToldChunk>();
    for (const map of maps.sessions)
      for (const chunk of map.chunks)
        tables.set(chunk.id, { session: chunk.session, table: chunk });
    for (const [id, chunk] of index.chunks)
      tables.set(id, { session: chunk.session.toString('hex'), table: chunk });
    const volumes = await RebuildVolumes.open(this.#repository, this.#media);
    try {
      const listed = await this.#repository.store.list('chunks');
      const chunks = listed.map(({ name }) => name);
      await this.#lookAt(chunks, volumes, index, tables);
      await this.#lookAt(volumes.askForVolumes(), volumes, index, tables);
      this.#problems.push(...volumes.problems());
      this.#volumesAway = volumes.away();
    } finally {
      volumes.close();
      index.close();
    }
    await this.#readUnknown();
    await this.#flush();
    return this.#dropDamaged(index.damaged);
  }

  async #lookAt(
    chunks: readonly string[],
    volumes: RebuildVolumes,
    index: VerifiedIndex,
    tables: ReadonlyMap<string, ToldChunk>,
  ): Promise<void> {
    for (const [done, name] of chunks.entries()) {
      await this.#turn();
      this.#request.onProgress({ chunks: done, chunksTotal: chunks.length, bytesRead: 0 });
      const problem = await this.#look(name, volumes, index, tables.get(name));
      if (problem !== undefined) this.#problems.push(problem);
    }
  }

  /** Looks at a chunk; what is wrong with all of it is returned. */
  async #look(
    name: string,
    volumes: RebuildVolumes,
    index: VerifiedIndex,
    told: ToldChunk | undefined,
  ): Promise<string | undefined> {
    const facts = volumes.isAway(name)
      ? undefined
      : inspectChunk(this.#repository, this.#media, name);
    if (facts === undefined || volumes.tellsAway(facts)) {
      const known = index.chunks.get(name);
      volumes.passed(name, known !== undefined);
      if (known === undefined) return undefined;
      // What the index says of it must do.
      const { contentClass, bytes, blocks } = known;
      const session = known.session.toString('hex');
      this.#chunks.set(name, {
        ...{ id: name, session, contentClass, bytes, blocks },
        hasFooter: false,
      });
      return undefined;
    }
    if (facts.unreadable) {
      if (facts.problems[0] === 'it is missing') return undefined;
      return `chunk ${name} cannot be read: ${facts.problems.join('; ')}`;
    }
    for (const footer of facts.archives) this.#footers.push({ ...footer, chunk: name });
    await this.#chunk(facts, index.chunks.has(name), told);
    return await volumes.copyManifest(facts);
  }

  async #turn(): Promise<void> {
    this.#request.signal.throwIfAborted();
    if (performance.now() - this.#turnMs < TURN_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnMs = performance.now();
  }

  async #chunk(facts: ChunkFacts, indexed: boolean, told: ToldChunk | undefined): Promise<void> {
    const { id, footer, header, bytes } = facts;
    const known: KnownChunk = {
      id,
      session: header?.session ?? told?.session ?? facts.session ?? '0'.repeat(32),
      contentClass: header?.contentClass ?? told?.table.contentClass ?? facts.contentClass ?? 0,
      bytes: footer === undefined && told !== undefined ? told.table.bytes : bytes,
      blocks: footer?.blocks ?? told?.table.blocks ?? facts.blocks,
      hasFooter: footer !== undefined,
    };
    this.#chunks.set(id, known);
    if (footer === undefined)
      this.#problems.push(`chunk ${id} is damaged and stays so: ${facts.problems.join('; ')}`);
    if (indexed) return;
    if (footer !== undefined) await this.#add(known, footer.names);
    else this.#toRead.push(known);
  }

  /** Takes a chunk with the names of its blobs into the index. */
  async #add(chunk: KnownChunk, names: Buffer): Promise<void> {
    if (names.length === 0) return;
    this.#unindexed.push({
      id: Buffer.from(chunk.id, 'hex'),
      session: Buffer.from(chunk.session, 'hex'),
      contentClass: chunk.contentClass,
      bytes: chunk.bytes,
      blocks: chunk.blocks,
      names: Buffer.from(names),
    });
    this.#unindexedBytes += names.length;
    if (this.#unindexedBytes >= SEGMENT_NAME_BYTES) await this.#flush();
  }
  async #flush(): Promise<void> {
    if (this.#unindexed.length === 0) return;
    await storeSegment(this.#repository, this.#unindexed);
    this.#chunksIndexed += this.#unindexed.length;
    this.#unindexed = [];
    this.#unindexedBytes = 0;
  }

  /** Reads the blocks of chunks that tell of their blobs in no other way. */
  async #readUnknown(): Promise<void> {
    if (this.#toRead.length === 0) return;
    const names = new Map<string, Buffer>();
    let bytesTotal = 0;
    for (const chunk of this.#toRead) for (const block of chunk.blocks) bytesTotal += block.bytes;
    await readBlocks(this.#repository, plannedOf(this.#toRead), {
      chunkIds: this.#toRead.map(({ id }) => id),
      bytesTotal,
      threads: this.#request.threads,
      signal: this.#request.signal,
      onBad: ({ chunk, number, offset, reason }) => {
        this.#problems.push(`block ${number} at ${offset} of chunk ${chunk} is lost: ${reason}`);
      },
      onNames: (chunk, number, found) => names.set(`${chunk} ${number}`, found),
      onProgress: (bytesRead) =>
        this.#request.onProgress({
          chunks: this.#chunks.size,
          chunksTotal: this.#chunks.size,
          bytesRead,
        }),
    });
    for (const chunk of this.#toRead) {
      const found = chunk.blocks.map(
        (_, number) => names.get(`${chunk.id} ${number}`) ?? Buffer.alloc(0),
      );
      // A block that is lost keeps its place, so that the others keep their numbers.
      const blocks = chunk.blocks.map((block, number) => ({
        ...block,
        blobCount: (found[number]?.length ?? 0) / NAME_BYTES,
      }));
      await this.#add({ ...chunk, blocks }, Buffer.concat(found));
    }
  }

  async #dropDamaged(
    damaged: readonly { readonly name: string; readonly error: PenstockError }[],
  ): Promise<number> {
    let replaced = 0;
    for (const { name, error } of damaged) {
      // Somebody else's file is nothing to be removed.
      if (!/^[0-9a-f]{32}$/.test(name)) continue;
      if (error.code === 'DAMAGED') {
        await this.#repository.store.remove('index', name);
        replaced++;
      } else this.#problems.push(`index segment ${name} was left as it is: ${error.message}`);
    }
    if (this.#chunksIndexed > 0 || replaced > 0) await mergeIndex(this.#repository);
    return replaced;
  }
}

function* plannedOf(
  chunks: readonly KnownChunk[],
): Generator<Parameters<typeof readBlocks>[1] extends Iterable<infer Block> ? Block : never> {
  for (const chunk of chunks) {
    for (const [number, block] of chunk.blocks.entries()) {
      if (block.bytes === 0) continue;
      yield {
        chunk: chunk.id,
        number,
        offset: block.offset,
        bytes: block.bytes,
        // What a search found is not believed more than the block itself.
        blobCount: -1,
        contentClass: 0,
        names: undefined,
        details: undefined,
      };
    }
  }
}
