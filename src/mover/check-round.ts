/**
 * One look at everything that a repository holds (check.ts).
 */
import { PenstockError } from '../base/errors.ts';
import { NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import type { BlockPlace } from '../format/chunk.ts';
import type { ChunkMedia } from '../format/chunk-media.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { ChunkNames, IndexedChunk } from '../index/segment-builder.ts';
import { BlobReader } from '../modules/blob-reader.ts';
import { type Archive, sessionChunkOf } from './archives.ts';
import type { CheckRequest, CheckResult } from './check.ts';
import { type ArchiveFooter, type ChunkFacts, inspectChunk } from './check-chunk.ts';
import { type Damage, DamageList } from './check-damage.ts';
import { type BadBlock, type PlannedBlock, readBlocks } from './check-data.ts';
import { type VerifiedIndex, verifyIndex } from './check-index.ts';
import { type CheckedRecords, checkRecords, listNamed } from './check-records.ts';
import { type Lack, ManifestWalk } from './check-walk.ts';
import type { Repository } from './repository.ts';
import type { MappedChunk } from './storage-map.ts';

/** How long this thread works before it lets others have a turn. */
const TURN_MS = 50;
const UNINDEXED = 'run `penstock catalog rebuild` to make the index again from the chunks';

export class CheckRound {
  readonly #repository: Repository;
  readonly #request: CheckRequest;
  readonly #media: ChunkMedia;
  readonly #ownLease: string | undefined;
  readonly #damages = new DamageList();
  readonly #notes: string[] = [];
  /** Bytes of each chunk that is there. */
  readonly #chunks = new Map<string, number>();
  readonly #sessionOf = new Map<string, string>();
  /** Offsets of blocks that cannot be read, by chunk. */
  readonly #badBlocks = new Map<string, Set<number>>();
  /** Chunks that are in no whole index segment. */
  readonly #unindexed = new Map<string, ChunkNames>();
  /** The same, but what is in them cannot be told without reading them. */
  readonly #unknown = new Set<string>();
  /** Chunks that archives need, by what they hold or by their lists. */
  readonly #needed = new Set<string>();
  readonly #footers: (ArchiveFooter & { readonly chunk: string })[] = [];
  readonly #mapped = new Map<string, MappedChunk & { readonly record: string }>();
  #records: CheckedRecords | undefined;
  #stored: VerifiedIndex | undefined;
  #index: VerifiedIndex | undefined;
  #blobs = 0;
  #blockBytes = 0;
  #bytesRead = 0;
  #chunksSeen = 0;
  #entries = 0;
  #turnMs = performance.now();

  constructor(repository: Repository, request: CheckRequest, media: ChunkMedia, ownLease: string | undefined) {
    this.#repository = repository;
    this.#request = request;
    this.#media = media;
    this.#ownLease = ownLease;
  }
  get damaged(): boolean {
    return this.#damages.size > 0;
  }
  close(): void {
    this.#stored?.close();
  }

  /** Looks at everything but the data. */
  async look(): Promise<void> {
    this.#records = await checkRecords(this.#repository, this.#damages);
    for (const map of this.#records.maps) for (const chunk of map.chunks) this.#mapped.set(chunk.id, { ...chunk, record: map.name });
    // Chunks after the index: what it names was there before, unless a prune took it.
    const stored = await this.#checkIndex();
    for (const { name, bytes } of await listNamed(this.#repository, 'chunks', this.#damages)) this.#chunks.set(name, bytes);
    await this.#checkChunks(stored);
    this.#index = stored.with([...this.#unindexed.values()]);
    await this.#checkArchives(this.#index);
    this.#checkMaps(this.#records);
    this.#noteIndex(stored);
  }

  /** Reads the data if that was asked for, and says what was found. */
  async finish(): Promise<CheckResult> {
    const { archives, sessions, notes } = this.#known.records;
    if (this.#request.readData && (await this.#readData())) await this.#checkArchives(this.#known.index);
    const orphans = [...this.#chunks.keys()].filter((id) => {
      const session = this.#sessionOf.get(id) ?? '';
      return !this.#needed.has(id) && (session === this.#ownLease || !sessions.has(session));
    });
    return {
      damages: this.#damages.all(),
      notes: [...notes, ...this.#notes],
      archives: archives.length,
      chunks: this.#chunks.size,
      indexSegments: this.#known.stored.segments.length,
      blobs: this.#blobs,
      bytesRead: this.#bytesRead,
      orphans,
    };
  }
  get #known(): { records: CheckedRecords; stored: VerifiedIndex; index: VerifiedIndex } {
    const [records, stored, index] = [this.#records, this.#stored, this.#index];
    if (records === undefined || stored === undefined || index === undefined) throw new PenstockError('INTERNAL', 'a check finishes before it has looked');
    return { records, stored, index };
  }

  async #turn(): Promise<void> {
    this.#request.signal.throwIfAborted();
    if (performance.now() - this.#turnMs < TURN_MS) return;
    this.#progress('archives');
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnMs = performance.now();
    this.#request.signal.throwIfAborted();
  }
  #progress(phase: 'chunks' | 'archives' | 'data', bytesRead = 0): void {
    this.#request.onProgress({
      phase,
      chunks: this.#chunksSeen,
      chunksTotal: this.#chunks.size,
      entries: this.#entries,
      bytesRead,
      bytesTotal: this.#request.readData ? this.#blockBytes : 0,
    });
  }

  async #checkIndex(): Promise<VerifiedIndex> {
    const listed = new Set((await listNamed(this.#repository, 'index', this.#damages)).map(({ name }) => name));
    const stored = await verifyIndex(this.#repository);
    this.#stored = stored;
    for (const { name, error } of stored.damaged) if (listed.has(name)) this.#damages.report('index segment', name, error.message);
    return stored;
  }

  /** Chunks ------------------------------------------------------------------------------------- */

  async #checkChunks(stored: VerifiedIndex): Promise<void> {
    const index = stored.open();
    const numbers = new Map(stored.share.chunkIds.map((id, number) => [id, number]));
    for (const id of [...this.#chunks.keys()].sort()) {
      await this.#turn();
      const facts = inspectChunk(this.#repository, this.#media, id);
      this.#chunksSeen++;
      if (facts.unreadable && facts.problems[0] === 'it is missing') {
        this.#chunks.delete(id);
        continue;
      }
      for (const problem of facts.problems) this.#damages.report('chunk', id, problem);
      for (const footer of facts.archives) this.#footers.push({ ...footer, chunk: id });
      const indexed = stored.chunks.get(id);
      this.#note(facts, indexed);
      if (indexed !== undefined) this.#compare(facts, indexed, index, numbers.get(id) ?? -1);
    }
    this.#progress('chunks');
  }

  #note(facts: ChunkFacts, indexed: IndexedChunk | undefined): void {
    const { id, header, footer } = facts;
    const mapped = this.#mapped.get(id);
    const session = header?.session ?? indexed?.session.toString('hex') ?? mapped?.session;
    if (session !== undefined) this.#sessionOf.set(id, session);
    for (const block of this.#blocksOf(facts)) {
      this.#blobs += block.blobCount;
      this.#blockBytes += block.bytes;
    }
    if (footer !== undefined && mapped !== undefined && !sameBlocks(footer.blocks, mapped.blocks)) {
      this.#damages.report('map record', mapped.record, `its table of chunk ${id} is not that of the chunk`);
    }
    if (indexed !== undefined || (footer !== undefined && footer.names.length === 0)) return;
    if (footer === undefined) this.#unknown.add(id);
    else {
      this.#unindexed.set(id, {
        id: Buffer.from(id, 'hex'),
        session: Buffer.from(session ?? '0'.repeat(32), 'hex'),
        contentClass: header?.contentClass ?? 0,
        bytes: facts.bytes,
        blocks: footer.blocks,
        names: footer.names,
      });
    }
  }

  /** Whether the index tells of a chunk what its footer tells. */
  #compare(facts: ChunkFacts, indexed: IndexedChunk, index: BlobIndex, number: number): void {
    const { id, footer, bytes, header } = facts;
    const wrong = (reason: string): Damage => this.#damages.report('chunk', id, reason);
    if (!facts.unreadable && bytes !== indexed.bytes) wrong(`it has ${bytes} bytes, not ${indexed.bytes}`);
    if (header !== undefined && header.contentClass !== indexed.contentClass) wrong('its content class is not that of the index');
    if (footer === undefined) return;
    if (!sameBlocks(footer.blocks, indexed.blocks)) {
      wrong('the blocks in its footer are not those of the index');
      return;
    }
    for (let at = 0; at < footer.names.length; at += NAME_BYTES) {
      let place = 0;
      while (index.find(footer.names, at, place) && index.chunk !== number) place++;
      if (index.find(footer.names, at, place)) continue;
      wrong('a blob in its footer is not in the index');
      return;
    }
  }

  /** Blocks by the footer; for want of one by the index, by the map, or as far as they were found. */
  #blocksOf(facts: ChunkFacts): readonly BlockPlace[] {
    if (facts.footer !== undefined) return facts.footer.blocks;
    return this.#stored?.chunks.get(facts.id)?.blocks ?? this.#mapped.get(facts.id)?.blocks ?? facts.blocks;
  }

  /** Archives ----------------------------------------------------------------------------------- */

  async #checkArchives(index: VerifiedIndex): Promise<void> {
    const { archives } = this.#known.records;
    const lookup = index.open();
    const { chunkIds } = index.share;
    const blobs = new BlobReader(index.open(), chunkIds, this.#media, this.#repository.sealer);
    blobs.onBadPlace = (chunk, offset, error) => {
      if (!this.#chunks.has(chunk)) return;
      this.#damages.report('chunk', chunk, error.message);
      this.#markBad(chunk, offset);
    };
    this.#entries = 0;
    const walk = new ManifestWalk(lookup, blobs, {
      isGood: (found) => this.#whyBad(chunkIds[found.chunk] ?? '', found) === undefined,
      onBlob: (chunk) => this.#needed.add(chunkIds[chunk] ?? ''),
      onEntries: (count) => {
        this.#entries += count;
      },
      turn: () => this.#turn(),
    });
    for (const archive of archives) {
      for (const lack of await walk.walk(archive.root)) this.#attribute(archive, lack, lookup, chunkIds);
      for (const chunk of archive.chunks) this.#needed.add(chunk);
      const own = sessionChunkOf(archive);
      if (own !== undefined && !this.#chunks.has(own)) {
        this.#damages.report('chunk', own, `it is missing: it repeats the record of archive ${archive.id}`).concern(archive.id);
      }
    }
    blobs.close();
    this.#reportUnindexed(archives);
    this.#progress('archives');
  }

  #markBad(chunk: string, offset: number): void {
    const bad = this.#badBlocks.get(chunk) ?? new Set();
    bad.add(offset);
    this.#badBlocks.set(chunk, bad);
  }

  /** Why a block cannot be read; undefined when nothing is known against it. */
  #whyBad(chunk: string, found: BlobIndex): string | undefined {
    const bytes = this.#chunks.get(chunk);
    if (bytes === undefined) return 'it is missing';
    if (found.blockOffset + found.blockBytes > bytes) return `it is cut off after ${bytes} bytes`;
    return this.#badBlocks.get(chunk)?.has(found.blockOffset) === true ? '' : undefined;
  }

  /** Says which object is to blame for what an archive lacks. */
  #attribute(archive: Archive, lack: Lack, index: BlobIndex, chunkIds: readonly string[]): void {
    const { name, path, message } = lack;
    if (name === undefined) {
      this.#damages.report('archive', archive.id, message).concern(archive.id, path);
      return;
    }
    let blamed = false;
    for (let place = 0; index.find(name, 0, place); place++) {
      const chunk = chunkIds[index.chunk] ?? '';
      const reason = this.#whyBad(chunk, index);
      if (reason === undefined) continue;
      blamed = true;
      this.#damages.report('chunk', chunk, reason).concern(archive.id, path);
    }
    if (blamed) return;
    // The index does not tell where it was: it was in one of the archive's chunks that nobody can read.
    const stored = this.#known.stored.chunks;
    for (const chunk of archive.chunks) {
      const missing = !this.#chunks.has(chunk) && !stored.has(chunk) && chunk !== sessionChunkOf(archive);
      if (missing) this.#damages.report('chunk', chunk, 'it is missing').concern(archive.id, path);
      else if (this.#unknown.has(chunk)) this.#damages.report('chunk', chunk, 'it is in no index segment').concern(archive.id, path);
      else continue;
      blamed = true;
    }
    if (!blamed) this.#damages.report('archive', archive.id, `something that it needs is in no chunk: ${message}`).concern(archive.id, path);
  }

  /** Blobs that archives need and only chunks tell of: the index has lost them. */
  #reportUnindexed(archives: readonly Archive[]): void {
    const lost = [...this.#unindexed.keys()].filter((id) => this.#needed.has(id));
    if (lost.length === 0) return;
    const { damaged } = this.#known.stored;
    const blamed = damaged.map(({ name, error }) => this.#damages.report('index segment', name, error.message));
    if (blamed.length === 0) {
      blamed.push(this.#damages.report('index segment', 'missing', `chunks that archives need are in no index segment: ${lost.length}, first ${lost[0]}; ${UNINDEXED}`));
    }
    const concerned = archives.filter((archive) => archive.chunks.some((chunk) => this.#unindexed.has(chunk)));
    for (const damage of blamed) for (const archive of concerned) damage.concern(archive.id);
  }

  /** Maps --------------------------------------------------------------------------------------- */

  #checkMaps(records: CheckedRecords): void {
    const present = new Set(records.archives.map(({ id }) => id));
    const gone = (id: string): boolean => !present.has(id) && !records.forgotten.has(id) && !this.#damages.has('archive', id);
    const told = new Set<string>();
    const named = new Set(records.archives.flatMap(({ chunks }) => chunks));
    for (const { archive, chunks } of records.maps) {
      // Chunks that hold no blobs are deleted only when no archive names them.
      const lost = chunks.filter(({ id, blocks }) => blocks.length === 0 && named.has(id) && !this.#chunks.has(id));
      for (const { id } of lost) this.#damages.report('chunk', id, 'it is missing');
      if (archive === undefined) continue;
      told.add(archive.id);
      if (archive.partial || records.forgottenUnsure || !gone(archive.id)) continue;
      const message = 'its record is missing (`penstock catalog rebuild` makes it again)';
      this.#damages.report('archive', archive.id, message).concern(archive.id);
    }
    for (const footer of this.#footers) {
      if (footer.partial || told.has(footer.id) || !gone(footer.id) || records.sessions.has(footer.session)) continue;
      this.#notes.push(`chunk ${footer.chunk} tells of archive ${footer.id}, which was not committed or has lost its record`);
    }
    const unmapped = records.archives.filter(({ id }) => !told.has(id));
    if (unmapped.length > 0) this.#notes.push(`archives without a map record (\`penstock catalog rebuild\` makes it): ${unmapped.length}`);
  }

  #noteIndex(stored: VerifiedIndex): void {
    const gone = [...stored.chunks.keys()].filter((id) => !this.#chunks.has(id) && !this.#damages.has('chunk', id));
    for (const id of gone) this.#notes.push(`chunk ${id} is gone and still in the index; nothing that it held is missed`);
  }

  /** Data ---------------------------------------------------------------------------------------- */

  /** Reads all blocks; returns whether some are bad. */
  async #readData(): Promise<boolean> {
    const bad: BadBlock[] = [];
    let planned: ChunkFacts | undefined;
    const index = this.#known.stored.open();
    const result = await readBlocks(this.#repository, this.#plan((facts) => (planned = facts)), {
      chunkIds: [...this.#chunks.keys()],
      bytesTotal: this.#blockBytes,
      threads: this.#request.threads,
      memoryBytes: this.#request.memoryBytes,
      signal: this.#request.signal,
      onBad: (block) => bad.push(block),
      onNames: (chunk, number, names) => {
        const facts = planned?.id === chunk ? planned : inspectChunk(this.#repository, this.#media, chunk);
        const reason = this.#checkNames(facts, number, names, index);
        if (reason !== undefined) bad.push({ chunk, number, offset: this.#blocksOf(facts)[number]?.offset ?? 0, reason });
      },
      onProgress: (bytesRead) => this.#progress('data', bytesRead),
    });
    this.#bytesRead = result.bytes;
    if (bad.length === 0) return false;
    const present = new Set((await listNamed(this.#repository, 'chunks', this.#damages)).map(({ name }) => name));
    for (const { chunk, number, offset, reason } of bad) {
      // A prune took it meanwhile: nothing needs it any more.
      if (!present.has(chunk)) continue;
      this.#damages.report('chunk', chunk, `block ${number} at ${offset}: ${reason}`);
      this.#markBad(chunk, offset);
    }
    return true;
  }

  *#plan(onChunk: (facts: ChunkFacts) => void): Generator<PlannedBlock> {
    for (const id of this.#chunks.keys()) {
      const facts = inspectChunk(this.#repository, this.#media, id);
      onChunk(facts);
      const { footer, details } = facts;
      const contentClass = facts.header?.contentClass ?? 0;
      let blob = 0;
      for (const [number, block] of this.#blocksOf(facts).entries()) {
        const end = blob + block.blobCount;
        // Its tag header was not found.
        if (block.bytes === 0) continue;
        yield {
          ...block,
          chunk: id,
          number,
          contentClass,
          names: details === undefined ? undefined : footer?.names.subarray(blob * NAME_BYTES, end * NAME_BYTES),
          details: details?.subarray(blob * STORED_RECORD_BYTES, end * STORED_RECORD_BYTES),
        };
        blob = end;
      }
    }
  }

  /** Names of a block that were computed, for want of details or of the footer. */
  #checkNames(facts: ChunkFacts, number: number, names: Buffer, index: BlobIndex): string | undefined {
    const { footer, id } = facts;
    if (footer !== undefined) {
      let before = 0;
      for (const block of footer.blocks.slice(0, number)) before += block.blobCount;
      const expected = footer.names.subarray(before * NAME_BYTES, before * NAME_BYTES + names.length);
      return expected.equals(names) ? undefined : 'its blobs are not those that the footer names';
    }
    if (!this.#known.stored.chunks.has(id)) return undefined;
    for (let at = 0; at < names.length; at += NAME_BYTES) if (!index.find(names, at)) return 'a blob in it is not in the index';
    return undefined;
  }
}

function sameBlocks(a: readonly BlockPlace[], b: readonly BlockPlace[]): boolean {
  return (
    a.length === b.length &&
    a.every((block, i) => block.offset === b[i]?.offset && block.bytes === b[i]?.bytes && block.blobCount === b[i]?.blobCount)
  );
}
