/**
 * What a check finds out about the chunks of a repository: whether each is whole and agrees with index and
 * map, which blocks cannot be read, and which blobs only the chunks tell of.
 */
import { NAME_BYTES, STORED_RECORD_BYTES } from '../format/block.ts';
import { type BlockPlace, sameBlocks } from '../format/chunk.ts';
import type { ChunkMedia } from '../format/chunk-media.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import type { ChunkNames, IndexedChunk } from '../index/segment-builder.ts';
import type { CheckRequest } from './check.ts';
import { BadBlocks } from './check-blocks.ts';
import { type ArchiveFooter, type ChunkFacts, inspectChunk } from './check-chunk.ts';
import type { Damage, DamageList } from './check-damage.ts';
import { type BadBlock, type PlannedBlock, readBlocks } from './check-data.ts';
import type { VerifiedIndex } from './check-index.ts';
import { listNamed } from './check-records.ts';
import { type BlockAt, FRAME_AT } from './damage-notes.ts';
import type { DamagedBlocks } from './index-store.ts';
import type { Repository } from './repository.ts';
import type { MappedChunk, SessionMap } from './storage-map.ts';

export class ChunkChecks {
  /** Bytes of each chunk that is there. */
  readonly bytes: Map<string, number> = new Map();
  readonly sessionOf: Map<string, string> = new Map();
  /** Chunks that are in no whole index segment. */
  readonly unindexed: Map<string, ChunkNames> = new Map();
  /** The same, but what is in them cannot be told without reading them. */
  readonly unknown: Set<string> = new Set();
  /** Archives that session chunks tell of. */
  readonly footers: (ArchiveFooter & { readonly chunk: string })[] = [];
  /** Chunks that were looked at. */
  seen = 0;
  blobs = 0;
  /** Bytes of all blocks. */
  blockBytes = 0;
  readonly #repository: Repository;
  readonly #media: ChunkMedia;
  readonly #stored: VerifiedIndex;
  readonly #damages: DamageList;
  readonly #mapped = new Map<string, MappedChunk & { readonly record: string }>();
  /** Blocks that cannot be read. */
  readonly bad: BadBlocks = new BadBlocks();
  /** Blocks that earlier checks and restores have found damaged. */
  readonly #noted: DamagedBlocks;
  #notedBytes = 0;
  /** Chunks whose own parts are damaged, while the index knows their blocks. */
  readonly #frames = new Set<string>();
  /** Those of them that were read now. */
  readonly #readAgain = new Map<string, Set<number>>();

  constructor(
    repository: Repository,
    media: ChunkMedia,
    stored: VerifiedIndex,
    maps: readonly SessionMap[],
    noted: DamagedBlocks,
    damages: DamageList,
  ) {
    this.#noted = noted;
    this.#repository = repository;
    this.#media = media;
    this.#stored = stored;
    this.#damages = damages;
    for (const { name, chunks } of maps) {
      for (const chunk of chunks) this.#mapped.set(chunk.id, { ...chunk, record: name });
    }
  }

  /** Looks at every chunk; `turn` is called often. */
  async look(turn: () => Promise<void>): Promise<void> {
    for (const { name, bytes } of await listNamed(this.#repository, 'chunks', this.#damages)) {
      this.bytes.set(name, bytes);
    }
    const index = this.#stored.open();
    const numbers = new Map(this.#stored.share.chunkIds.map((id, number) => [id, number]));
    for (const id of [...this.bytes.keys()].sort()) {
      await turn();
      const facts = inspectChunk(this.#repository, this.#media, id);
      this.seen++;
      if (facts.unreadable && facts.problems[0] === 'it is missing') {
        this.bytes.delete(id);
        continue;
      }
      for (const problem of facts.problems) this.#damages.report('chunk', id, problem);
      for (const footer of facts.archives) this.footers.push({ ...footer, chunk: id });
      const indexed = this.#stored.chunks.get(id);
      const isKnown = indexed !== undefined && !facts.unreadable;
      if (isKnown && facts.problems.length > 0) this.#frames.add(id);
      this.#note(facts, indexed);
      if (indexed !== undefined) this.#compare(facts, indexed, index, numbers.get(id) ?? -1);
    }
  }

  #note(facts: ChunkFacts, indexed: IndexedChunk | undefined): void {
    const { id, header, footer } = facts;
    const mapped = this.#mapped.get(id);
    const session = header?.session ?? indexed?.session.toString('hex') ?? mapped?.session;
    if (session !== undefined) this.sessionOf.set(id, session);
    for (const block of this.#blocksOf(facts)) {
      this.blobs += block.blobCount;
      this.blockBytes += block.bytes;
      if (this.#noted.get(id)?.has(block.offset) === true) this.#notedBytes += block.bytes;
    }
    if (footer !== undefined && mapped !== undefined && !sameBlocks(footer.blocks, mapped.blocks)) {
      this.#damages.report(
        'map record',
        mapped.record,
        `its table of chunk ${id} is not that of the chunk`,
      );
    }
    if (indexed !== undefined || (footer !== undefined && footer.names.length === 0)) return;
    if (footer === undefined) this.unknown.add(id);
    else {
      this.unindexed.set(id, {
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
    if (!facts.unreadable && bytes !== indexed.bytes)
      wrong(`it has ${bytes} bytes, not ${indexed.bytes}`);
    if (header !== undefined && header.contentClass !== indexed.contentClass)
      wrong('its content class is not that of the index');
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
    return (
      this.#stored.chunks.get(facts.id)?.blocks ??
      this.#mapped.get(facts.id)?.blocks ??
      facts.blocks
    );
  }

  /** Reports blocks that cannot be read; returns what there is to say of those that nobody misses. */
  tellBad(): string[] {
    const index = this.#stored.open();
    return this.bad.tell(this.#damages, (chunk) => this.#elsewhere(chunk, index));
  }

  /** Offsets of those blocks of a chunk all of whose blobs can be read at other places. */
  #elsewhere(chunk: string, index: BlobIndex): ReadonlySet<number> {
    const offsets = new Set<number>();
    const ids = this.#stored.share.chunkIds;
    const facts = inspectChunk(this.#repository, this.#media, chunk);
    const names = facts.footer?.names;
    if (names === undefined) return offsets;
    const stands = (at: number): boolean => {
      for (let place = 0; index.find(names, at, place); place++)
        if (this.whyBad(ids[index.chunk] ?? '', index) === undefined) return true;
      return false;
    };
    let at = 0;
    for (const { offset, blobCount } of this.#blocksOf(facts)) {
      const end = Math.min(at + blobCount * NAME_BYTES, names.length);
      let isElsewhere = this.bad.has(chunk, offset);
      for (; at < end; at += NAME_BYTES) isElsewhere &&= stands(at);
      if (isElsewhere) offsets.add(offset);
    }
    return offsets;
  }

  /** What is to be noted. */
  found(): BlockAt[] {
    const frames = [...this.#frames].map((chunk) => ({ chunk, offset: FRAME_AT }));
    return [...this.bad.found(), ...frames];
  }

  /** What there is to say of chunks whose own parts are damaged. */
  tellFrames(): string[] {
    return [...this.#frames].map(
      (id) =>
        `chunk ${id}: what it holds can be read without that, and \`penstock prune\` stores it anew`,
    );
  }

  /** Whether what is noted was read now, and is whole. */
  isWholeAgain({ chunk, offset }: BlockAt): boolean {
    if (offset === FRAME_AT) return this.bytes.has(chunk) && !this.#frames.has(chunk);
    return this.#readAgain.get(chunk)?.has(offset) === true && !this.bad.has(chunk, offset);
  }

  /** Why a block cannot be read; undefined when nothing is known against it. */
  whyBad(chunk: string, found: BlobIndex): string | undefined {
    const bytes = this.bytes.get(chunk);
    if (bytes === undefined) return 'it is missing';
    if (found.blockOffset + found.blockBytes > bytes) return `it is cut off after ${bytes} bytes`;
    return this.bad.has(chunk, found.blockOffset) ? '' : undefined;
  }

  /** Reads and verifies all blocks, or those that are noted; says how many bytes, and whether some are bad. */
  async readData(
    request: CheckRequest,
    which: 'all' | 'noted',
    onProgress: (bytesRead: number) => void,
  ): Promise<{ bytes: number; isBad: boolean }> {
    const bad: BadBlock[] = [];
    let planned: ChunkFacts | undefined;
    const index = this.#stored.open();
    const result = await readBlocks(
      this.#repository,
      this.#plan(which, (facts) => (planned = facts)),
      {
        chunkIds: [...this.bytes.keys()],
        bytesTotal: which === 'all' ? this.blockBytes : this.#notedBytes,
        threads: request.threads,
        memoryBytes: request.memoryBytes,
        signal: request.signal,
        onBad: (block) => bad.push(block),
        onNames: (chunk, number, names) => {
          const facts =
            planned?.id === chunk ? planned : inspectChunk(this.#repository, this.#media, chunk);
          const reason = this.#checkNames(facts, number, names, index);
          if (reason !== undefined)
            bad.push({ chunk, number, offset: this.#blocksOf(facts)[number]?.offset ?? 0, reason });
        },
        onProgress,
      },
    );
    if (bad.length === 0) return { bytes: result.bytes, isBad: false };
    const present = new Set(
      (await listNamed(this.#repository, 'chunks', this.#damages)).map(({ name }) => name),
    );
    for (const { chunk, number, offset, reason } of bad) {
      // A prune took it meanwhile: nothing needs it any more.
      if (!present.has(chunk)) continue;
      this.bad.add({ chunk, offset }, `block ${number} at ${offset}: ${reason}`, true);
    }
    return { bytes: result.bytes, isBad: true };
  }

  *#plan(which: 'all' | 'noted', onChunk: (facts: ChunkFacts) => void): Generator<PlannedBlock> {
    for (const id of this.bytes.keys()) {
      const noted = this.#noted.get(id);
      if (which === 'noted' && noted === undefined) continue;
      const facts = inspectChunk(this.#repository, this.#media, id);
      onChunk(facts);
      const { footer, details } = facts;
      const contentClass = facts.header?.contentClass ?? 0;
      let blob = 0;
      for (const [number, block] of this.#blocksOf(facts).entries()) {
        const end = blob + block.blobCount;
        // Its tag header was not found.
        if (block.bytes === 0) continue;
        const isNoted = noted?.has(block.offset) === true;
        if (isNoted) this.#isReadAgain(id, block.offset);
        if (which === 'all' || isNoted) {
          yield {
            ...block,
            chunk: id,
            number,
            contentClass,
            names:
              details === undefined
                ? undefined
                : footer?.names.subarray(blob * NAME_BYTES, end * NAME_BYTES),
            details: details?.subarray(blob * STORED_RECORD_BYTES, end * STORED_RECORD_BYTES),
          };
        }
        blob = end;
      }
    }
  }

  #isReadAgain(chunk: string, offset: number): void {
    const offsets = this.#readAgain.get(chunk) ?? new Set();
    this.#readAgain.set(chunk, offsets.add(offset));
  }

  /** Names of a block that were computed, for want of details or of the footer. */
  #checkNames(
    facts: ChunkFacts,
    number: number,
    names: Buffer,
    index: BlobIndex,
  ): string | undefined {
    const { footer, id } = facts;
    if (footer !== undefined) {
      let before = 0;
      for (const block of footer.blocks.slice(0, number)) before += block.blobCount;
      const expected = footer.names.subarray(
        before * NAME_BYTES,
        before * NAME_BYTES + names.length,
      );
      return expected.equals(names) ? undefined : 'its blobs are not those that the footer names';
    }
    if (!this.#stored.chunks.has(id)) return undefined;
    for (let at = 0; at < names.length; at += NAME_BYTES)
      if (!index.find(names, at)) return 'a blob in it is not in the index';
    return undefined;
  }
}
