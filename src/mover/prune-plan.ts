/**
 * What a prune is to do: which chunks nobody needs, and which are worth rewriting.
 *
 * Contract: keeps the planning rules of prune-protocol.ts. A plan changes nothing. Anything that makes
 * the needs of an archive uncertain ends the planning (a record or a manifest that cannot be read, a
 * record that is lost); anything else that is damaged only keeps its chunk from being touched, and is
 * reported.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NAME_BYTES } from '../format/block.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { IndexedChunk } from '../index/segment-builder.ts';
import { BlobReader } from '../modules/blob-reader.ts';
import { decodeArchive } from './archives.ts';
import { FRAME_AT, readDamageNotes } from './damage-notes.ts';
import { type DamagedBlocks, type LoadedIndex, loadIndex } from './index-store.ts';
import { type ProtocolStore, runProtocol } from './protocol-store.ts';
import { PruneBlocks } from './prune-block.ts';
import { type ChunkContents, type ChunkFiles, isUnreadable } from './prune-chunk.ts';
import { LiveMarker } from './prune-mark.ts';
import { type LeasePolicy, mayCondemn, type Survey, surveyStore } from './prune-protocol.ts';
import {
  type ChunkUsage,
  countUsage,
  deadShare,
  KEEPER,
  type KeeperRank,
  keeperOf,
} from './prune-usage.ts';
import { chooseVictims, type Used, type Victim } from './prune-victims.ts';
import type { Repository } from './repository.ts';

export interface PlanRequest {
  /** How much of what is stored may be unused. */
  readonly maxUnusedPercent: number;
  readonly policy: LeasePolicy;
  /** To be called often: lets others run, and throws when the work is to end. */
  pause(): Promise<void>;
  onProblem(error: PenstockError): void;
}

/** A chunk that no archive needs any more. */
export interface DeadChunk {
  readonly id: string;
  readonly bytes: number;
  /** Numbers of the chunks that keep what archives need of it. */
  readonly relies: ReadonlySet<number>;
}

export interface PrunePlan {
  readonly survey: Survey;
  readonly usage: ChunkUsage;
  readonly dead: readonly DeadChunk[];
  /** The most wasteful first, small ones last. */
  readonly victims: readonly Victim[];
  /** Chunks that no archive names and that hold no blobs the index knows, doomed ones too. */
  readonly strays: readonly string[];
  /** Of all chunks that stay or are rewritten, before anything is done. */
  readonly bytesStored: number;
  readonly bytesUnused: number;
  /** In chunks that a prune has condemned before. */
  readonly bytesDoomed: number;
  /** Whether the index tells of chunks that are gone. */
  readonly hasStaleEntries: boolean;
  /** Blocks that were noted as damaged. */
  readonly noted: DamagedBlocks;
  close(): void;
}

/** Looks at the whole repository. Somebody else's merge or prune may disturb: it is then looked at again. */
export async function makePlan(
  repository: Repository,
  store: ProtocolStore,
  files: ChunkFiles,
  request: PlanRequest,
): Promise<PrunePlan> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await new Planning(repository, store, files, request).run();
    } catch (error) {
      const again = error instanceof PenstockError && error.code === 'OBJECT_MISSING';
      if (!again || attempt === LIMITS.prunePlanAttemptsMax) throw error;
    }
  }
}

class Planning {
  readonly #repository: Repository;
  readonly #store: ProtocolStore;
  readonly #files: ChunkFiles;
  readonly #request: PlanRequest;
  /** Chunks that archives name. */
  readonly #named = new Set<string>();
  /** Chunks of which some block could not be read. */
  readonly #damaged = new Set<string>();
  /** Chunks whose own parts were found damaged now. */
  readonly #badFrames = new Set<string>();
  readonly #blocks: PruneBlocks;
  /** Blocks that hold what they keep, by their numbers among all. */
  readonly #proven = new Set<number>();
  /** Blocks that were found damaged before. */
  #noted: DamagedBlocks = new Map();
  #bytes: ReadonlyMap<string, number> = new Map();

  constructor(
    repository: Repository,
    store: ProtocolStore,
    files: ChunkFiles,
    request: PlanRequest,
  ) {
    this.#repository = repository;
    this.#store = store;
    this.#files = files;
    this.#request = request;
    this.#blocks = new PruneBlocks(repository, files);
  }

  async run(): Promise<PrunePlan> {
    const survey = await runProtocol(surveyStore(this.#request.policy), this.#store);
    this.#noted = (await readDamageNotes(this.#repository)).blocks;
    const loaded = await loadIndex(this.#repository, (id) => survey.chunks.has(id), {
      chunks: survey.doomed,
      blocks: this.#noted,
    });
    try {
      // After the index, whose entries come after their chunks.
      const listed = await this.#repository.store.list('chunks');
      this.#bytes = new Map(listed.map(({ name, bytes }) => [name, bytes]));
      for (const { error } of loaded.damaged) this.#request.onProblem(error);
      return await this.#plan(survey, loaded);
    } catch (error) {
      loaded.close();
      throw error;
    }
  }

  async #plan(survey: Survey, loaded: LoadedIndex): Promise<PrunePlan> {
    const index = loaded.open();
    const marker = await this.#mark(survey, loaded);
    const usage = await this.#count(survey, loaded, marker);
    const strays: string[] = [];
    const dead: DeadChunk[] = [];
    const indexed = new Set(loaded.share.chunkIds);
    for (const id of survey.chunks) {
      if (indexed.has(id) || this.#named.has(id) || !IS_ID.test(id)) continue;
      strays.push(id);
      await this.#request.pause();
      const found = this.#stray(survey, usage, index, id);
      if (found !== undefined) dead.push(found);
    }
    const used: Used[] = [];
    let bytesDoomed = 0;
    for (const [number, chunk] of loaded.chunks.entries()) {
      const id = chunk.id.toString('hex');
      if (survey.doomed.has(id)) bytesDoomed += chunk.bytes;
      if (!mayCondemn(survey, id, chunk.session.toString('hex'))) continue;
      await this.#request.pause();
      if (usage.kept[number] === 0) {
        const found = this.#withoutLife(usage, index, number, id);
        if (found !== undefined) dead.push(found);
      } else used.push(this.#measure(usage, index, number, id));
    }
    return {
      survey,
      usage,
      dead,
      strays,
      victims: this.#choose(used, usage, index),
      bytesStored: sum(used, (one) => one.chunk.bytes),
      bytesUnused: sum(used, (one) => one.deadBytes),
      bytesDoomed,
      hasStaleEntries: loaded.unusable.some((id) => !this.#bytes.has(id)),
      noted: this.#noted,
      close: () => loaded.close(),
    };
  }

  /** Walks all archives of the survey. */
  async #mark(survey: Survey, loaded: LoadedIndex): Promise<LiveMarker> {
    const { chunkIds } = loaded.share;
    const { pause, onProblem } = this.#request;
    const { media } = this.#files;
    const blobs = new BlobReader(loaded.open(), chunkIds, media, this.#repository.sealer);
    const bad: PenstockError[] = [];
    blobs.onBadPlace = ({ chunk, error }) => {
      if (error.code === 'OBJECT_MISSING') return;
      if (!this.#damaged.has(chunk)) bad.push(error);
      this.#damaged.add(chunk);
    };
    const marker = new LiveMarker(loaded.share, loaded.open(), blobs, pause);
    try {
      for (const id of survey.archives) if (IS_ID.test(id)) await this.#markArchive(marker, id);
    } finally {
      blobs.close();
    }
    // Other places could be read.
    for (const error of bad) onProblem(error);
    return marker;
  }

  async #markArchive(marker: LiveMarker, id: string): Promise<void> {
    try {
      const bytes = await this.#readArchive(id);
      if (bytes === undefined) return;
      const archive = decodeArchive(this.#repository, bytes, id);
      for (const chunk of archive.chunks) this.#named.add(chunk);
      await marker.archive(archive.root);
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      if (error.code !== 'DAMAGED' && error.code !== 'OBJECT_MISSING') throw error;
      throw new PenstockError(
        error.code,
        `what archive ${id.slice(0, 8)} needs cannot be told: ${error.message}`,
        {
          cause: error,
          subject: id,
          hint: `run \`penstock check\`; once what is whole of it is restored, \`penstock forget ${id.slice(0, 8)}\``,
        },
      );
    }
  }

  /** The record of an archive; undefined when it was forgotten meanwhile. */
  async #readArchive(id: string): Promise<Buffer | undefined> {
    try {
      return await this.#repository.store.read('archives', id, LIMITS.recordBytesMax);
    } catch (error) {
      if (error instanceof PenstockError && error.code === 'OBJECT_MISSING') return undefined;
      throw error;
    }
  }

  /** Counts, and makes sure that what others rely on can be read. */
  async #count(survey: Survey, loaded: LoadedIndex, marker: LiveMarker): Promise<ChunkUsage> {
    const { chunks, share } = loaded;
    const rank = (number: number): KeeperRank => {
      const id = share.chunkIds[number] ?? '';
      if (survey.doomed.has(id)) return KEEPER.doomed;
      if (this.#damaged.has(id)) return KEEPER.damaged;
      const session = chunks[number]?.session.toString('hex') ?? '';
      return mayCondemn(survey, id, session) ? KEEPER.good : KEEPER.pinned;
    };
    for (;;) {
      const usage = await countUsage(
        this.#repository,
        loaded,
        marker.live,
        rank,
        this.#request.pause,
      );
      if (!(await this.#findDamage(usage))) return usage;
    }
  }

  /** Opens the blocks that keep what is about to go elsewhere; true when more damage was found. */
  async #findDamage(usage: ChunkUsage): Promise<boolean> {
    const index = usage.loaded.open();
    let found = false;
    this.#proven.clear();
    for (const [number, blocks] of usage.reliedBlocks) {
      if (this.#damaged.has(usage.loaded.share.chunkIds[number] ?? '')) continue;
      for (const block of blocks) {
        await this.#request.pause();
        if (this.#isProven(usage, index, number, block)) continue;
        found = true;
        break;
      }
    }
    return found;
  }

  /** Whether a block holds what it keeps, by the names of its blobs; reported where it does not. */
  #isProven(usage: ChunkUsage, index: BlobIndex, number: number, block: number): boolean {
    const which = (usage.firstBlocks[number] ?? 0) + block;
    if (this.#proven.has(which)) return true;
    const id = usage.loaded.share.chunkIds[number] ?? '';
    const proof = this.#attempt(id, () => this.#blocks.prove(usage, index, number, block));
    if (proof === undefined) return false;
    this.#proven.add(which);
    return true;
  }

  /** Does something with a chunk; undefined, and reported, when it is damaged. */
  #attempt<Result>(id: string, action: () => Result): { readonly result: Result } | undefined {
    try {
      return { result: action() };
    } catch (error) {
      if (!(error instanceof PenstockError) || !isUnreadable(error)) throw error;
      // Removed by another prune: the plan is made again.
      if (error.code === 'OBJECT_MISSING') throw error;
      if (!this.#damaged.has(id)) this.#request.onProblem(error);
      this.#damaged.add(id);
      return undefined;
    }
  }

  /** A chunk that the index does not know: of a session that ended early, or a session's own. */
  #stray(survey: Survey, usage: ChunkUsage, index: BlobIndex, id: string): DeadChunk | undefined {
    const session = this.#attempt(id, () => this.#files.session(id))?.result;
    if (session === undefined || !mayCondemn(survey, id, session)) return undefined;
    const relies = this.#relyByFooter(usage, index, id);
    return relies === undefined ? undefined : this.#deadChunk(usage, id, relies);
  }

  /** A chunk of which nothing is kept. */
  #withoutLife(
    usage: ChunkUsage,
    index: BlobIndex,
    number: number,
    id: string,
  ): DeadChunk | undefined {
    const relies = this.#reliesOf(usage, index, number, id);
    return relies === undefined ? undefined : this.#deadChunk(usage, id, relies);
  }

  /** Which other chunks keep what archives need of this one; undefined: that cannot be told. */
  #reliesOf(
    usage: ChunkUsage,
    index: BlobIndex,
    number: number,
    id: string,
  ): ReadonlySet<number> | undefined {
    const relies = new Set(usage.relies.get(number));
    if (!usage.isKnown(number)) {
      const more = this.#relyByFooter(usage, index, id);
      if (more === undefined) return undefined;
      for (const keeper of more) relies.add(keeper);
    }
    relies.delete(number);
    return this.#areSound(usage, relies) ? relies : undefined;
  }

  #deadChunk(usage: ChunkUsage, id: string, relies: ReadonlySet<number>): DeadChunk | undefined {
    if (!this.#areSound(usage, relies)) return undefined;
    return { id, bytes: this.#bytes.get(id) ?? 0, relies };
  }
  /** What stands in a damaged chunk may be lost there: then another place is not given up. */
  #areSound(usage: ChunkUsage, chunks: ReadonlySet<number>): boolean {
    const ids = usage.loaded.share.chunkIds;
    return ![...chunks].some((chunk) => this.#damaged.has(ids[chunk] ?? ''));
  }

  /** Which chunks keep the live ones of the blobs that a footer names; undefined: it cannot be told. */
  #relyByFooter(usage: ChunkUsage, index: BlobIndex, id: string): Set<number> | undefined {
    const names = this.#attempt(id, () => this.#files.names(id))?.result;
    if (names === undefined) return undefined;
    const relies = new Set<number>();
    for (const pool of this.#repository.pooled?.poolsOf(id) ?? [0]) {
      for (let at = 0; at < names.length; at += NAME_BYTES) {
        const keeper = keeperOf(usage, index, names, at, pool);
        if (keeper === 'nobody') return undefined;
        if (keeper === 'dead') continue;
        if (!this.#isProven(usage, index, keeper, index.block)) return undefined;
        relies.add(keeper);
      }
    }
    return relies;
  }

  #choose(used: readonly Used[], usage: ChunkUsage, index: BlobIndex): Victim[] {
    // What lies on volumes is not rewritten: it goes when nothing of it is needed any more.
    const { pooled, settings } = this.#repository;
    const isOnVolumes = (id: string): boolean =>
      pooled?.poolsOf(id).some((one) => one > 0) ?? false;
    return chooseVictims(used, usage, {
      maxUnusedPercent: this.#request.maxUnusedPercent,
      smallBytes: settings.chunkBytes / LIMITS.smallChunkDivisor,
      isFit: ({ id }) => !this.#damaged.has(id) && !isOnVolumes(id),
      isFrameDamaged: ({ id }) => this.#hasBadFrame(id),
      reliesOf: ({ number, id }) => this.#reliesOf(usage, index, number, id),
    });
  }

  /** What a chunk tells of its blobs; undefined where its own parts are damaged: then it is rewritten. */
  #contentsOf(id: string): ChunkContents | undefined {
    if (this.#hasBadFrame(id)) return undefined;
    const found = this.#attempt(id, () => {
      try {
        return this.#files.contents(id);
      } catch (error) {
        if (!(error instanceof PenstockError) || error.code !== 'DAMAGED') throw error;
        this.#badFrames.add(id);
        return undefined;
      }
    });
    return found?.result;
  }
  #hasBadFrame(id: string): boolean {
    return this.#badFrames.has(id) || this.#noted.get(id)?.has(FRAME_AT) === true;
  }

  /** How much of a chunk is unused. */
  #measure(usage: ChunkUsage, index: BlobIndex, number: number, id: string): Used {
    const chunk = usage.loaded.chunks[number] as IndexedChunk;
    const isMixed = chunk.blocks.some((block, i) => {
      const kept = usage.blockKeeps(number, i);
      return kept > 0 && kept < block.blobCount;
    });
    let deadBytes = 0;
    let first = 0;
    const details = isMixed ? this.#contentsOf(id) : undefined;
    for (const [i, block] of chunk.blocks.entries()) {
      const kept = usage.blockKeeps(number, i);
      if (kept === 0) deadBytes += block.bytes;
      else if (kept < block.blobCount) {
        let share = 1 - kept / block.blobCount;
        if (details !== undefined && details.blocks[i]?.blobCount === block.blobCount) {
          share = deadShare(usage, index, number, i, details, first, block.blobCount);
        }
        deadBytes += Math.floor(block.bytes * share);
      }
      first += block.blobCount;
    }
    return { number, id, chunk, deadBytes };
  }
}

/** Other names are foreign files. */
const IS_ID = /^[0-9a-f]{32}$/;

function sum<Item>(items: readonly Item[], value: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += value(item);
  return total;
}
