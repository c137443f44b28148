/**
 * One look at everything that a repository holds (check.ts).
 */
import { must } from '../base/assert.ts';
import type { ByteString } from '../base/bytes.ts';
import { PenstockError } from '../base/errors.ts';
import type { ChunkMedia } from '../format/chunk-media.ts';
import type { BlobIndex } from '../index/blob-index.ts';
import { BlobReader } from '../modules/blob-reader.ts';
import { listArchiveHeads, readArchiveHead } from './archives.ts';
import type { CheckRequest, CheckResult } from './check.ts';
import { ChunkChecks } from './check-chunks.ts';
import { type Damage, DamageList } from './check-damage.ts';
import { type VerifiedIndex, verifyIndex } from './check-index.ts';
import { type CheckedRecords, checkRecords, listNamed } from './check-records.ts';
import { ManifestWalk } from './check-walk.ts';
import { dropDamageNotes, noteDamage, readDamageNotes } from './damage-notes.ts';
import type { Repository } from './repository.ts';

/** How long this thread works before it lets others have a turn. */
const TURN_MS = 50;
const UNINDEXED = 'run `penstock catalog rebuild` to make the index again from the chunks';

export class CheckRound {
  readonly #repository: Repository;
  readonly #request: CheckRequest;
  readonly #media: ChunkMedia;
  readonly #damages = new DamageList();
  readonly #notes: string[] = [];
  readonly #badSegments: Damage[] = [];
  /** What is to blame for blobs of which the index does not tell. */
  #lost: readonly Damage[] | undefined;
  /** Chunks that hold what archives need. */
  readonly #needed = new Set<string>();
  #records: CheckedRecords | undefined;
  #stored: VerifiedIndex | undefined;
  #index: VerifiedIndex | undefined;
  #chunks: ChunkChecks | undefined;
  #bytesRead = 0;
  #entries = 0;
  #turnMs = performance.now();

  readonly #mayWrite: boolean;

  /** @param mayWrite what is found damaged may be noted */
  constructor(repository: Repository, request: CheckRequest, media: ChunkMedia, mayWrite: boolean) {
    this.#repository = repository;
    this.#request = request;
    this.#media = media;
    this.#mayWrite = mayWrite;
  }
  get damaged(): boolean {
    return this.#damages.size > 0;
  }
  close(): void {
    this.#stored?.close();
  }

  /** Looks at everything but the data. */
  async look(): Promise<void> {
    const records = await checkRecords(this.#repository, this.#damages);
    // Chunks after the index: what it names was there before, unless a prune took it.
    const stored = await this.#checkIndex();
    const { blocks: noted } = await readDamageNotes(this.#repository);
    const chunks = new ChunkChecks(
      this.#repository,
      this.#media,
      stored,
      records.maps,
      noted,
      this.#damages,
    );
    this.#records = records;
    this.#chunks = chunks;
    await chunks.look(() => this.#turn('chunks'));
    // What was found damaged before may have been put right.
    if (!this.#request.readData && noted.size > 0)
      await chunks.readData(this.#request, 'noted', () => undefined);
    this.#index = stored.with([...chunks.unindexed.values()]);
    await this.#checkArchives(this.#index);
    chunks.tellBad();
    this.#checkMaps(records, chunks);
    this.#noteIndex(stored, chunks);
  }

  /** Reads the data if that was asked for, and says what was found. */
  async finish(): Promise<CheckResult> {
    const { records, stored, index, chunks } = this.#known;
    if (this.#request.readData) {
      const read = await chunks.readData(this.#request, 'all', (bytes) =>
        this.#progress('data', bytes),
      );
      this.#bytesRead = read.bytes;
      if (read.isBad) {
        chunks.tellBad();
        await this.#checkArchives(index);
      }
    }
    const superseded = chunks.tellBad();
    await this.#noteBlocks(chunks);
    return {
      damages: this.#damages.all(),
      notes: [...records.notes, ...superseded, ...chunks.tellFrames(), ...this.#notes],
      archives: records.archives.length,
      chunks: chunks.bytes.size,
      indexSegments: stored.segments.length,
      blobs: chunks.blobs,
      bytesRead: this.#bytesRead,
      orphans: await this.#orphans(),
    };
  }
  /** So that the next backups store anew what they find of it, and restores take it last. */
  async #noteBlocks(chunks: ChunkChecks): Promise<void> {
    if (!this.#mayWrite) return;
    const found = chunks.found();
    try {
      await noteDamage(this.#repository, found);
      await dropDamageNotes(this.#repository, (block) => chunks.isWholeAgain(block));
    } catch (error) {
      if (!(error instanceof PenstockError)) throw error;
      this.#notes.push(`damaged blocks could not be noted for the next backup: ${error.message}`);
    }
  }
  /** Chunks that nobody needs and nobody is about to need. */
  async #orphans(): Promise<string[]> {
    const { records, chunks } = this.#known;
    const unneeded = [...chunks.bytes.keys()].filter((id) => {
      const session = chunks.sessionOf.get(id) ?? '';
      return !this.#needed.has(id) && !records.named.has(id) && !records.sessions.has(session);
    });
    if (unneeded.length === 0) return unneeded;
    // A session that has ended since the records were read has committed them.
    const left = new Set(unneeded);
    const named = (ids: readonly string[]): void => {
      for (const id of ids) left.delete(id);
    };
    await listArchiveHeads(this.#repository, named).catch(() => undefined);
    return [...left];
  }
  get #known(): {
    records: CheckedRecords;
    stored: VerifiedIndex;
    index: VerifiedIndex;
    chunks: ChunkChecks;
  } {
    return {
      records: must(this.#records, 'the records were read'),
      stored: must(this.#stored, 'the index was loaded'),
      index: must(this.#index, 'the index was completed'),
      chunks: must(this.#chunks, 'the chunks were looked at'),
    };
  }

  async #turn(phase: 'chunks' | 'archives'): Promise<void> {
    this.#request.signal.throwIfAborted();
    if (performance.now() - this.#turnMs < TURN_MS) return;
    this.#progress(phase);
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnMs = performance.now();
    this.#request.signal.throwIfAborted();
  }
  #progress(phase: 'chunks' | 'archives' | 'data', bytesRead = 0): void {
    this.#request.onProgress({
      phase,
      chunks: this.#chunks?.seen ?? 0,
      chunksTotal: this.#chunks?.bytes.size ?? 0,
      entries: this.#entries,
      bytesRead,
      bytesTotal: this.#request.readData ? (this.#chunks?.blockBytes ?? 0) : 0,
    });
  }

  async #checkIndex(): Promise<VerifiedIndex> {
    const listed = new Set(
      (await listNamed(this.#repository, 'index', this.#damages)).map(({ name }) => name),
    );
    const stored = await verifyIndex(this.#repository);
    this.#stored = stored;
    for (const { name, error } of stored.damaged) {
      if (!listed.has(name)) continue;
      this.#badSegments.push(this.#damages.report('index segment', name, error.message));
    }
    return stored;
  }

  /** Archives ----------------------------------------------------------------------------------- */

  async #checkArchives(index: VerifiedIndex): Promise<void> {
    const { chunks } = this.#known;
    const { archives } = this.#known.records;
    const lookup = index.open();
    const { chunkIds } = index.share;
    const blobs = new BlobReader(index.open(), chunkIds, this.#media, this.#repository.sealer);
    blobs.onBadPlace = ({ chunk, offset, error, isBlock }) => {
      if (!chunks.bytes.has(chunk)) return;
      chunks.bad.add({ chunk, offset }, error.message, isBlock);
    };
    this.#entries = 0;
    const walk = new ManifestWalk<Damage>(lookup, blobs, {
      isGood: (found) => chunks.whyBad(chunkIds[found.chunk] ?? '', found) === undefined,
      onBlob: (chunk) => this.#needed.add(chunkIds[chunk] ?? ''),
      blame: (name, path) => this.#blame(name, path, lookup, chunkIds),
      onEntries: (count) => {
        this.#entries += count;
      },
      turn: () => this.#turn('archives'),
    });
    for (const archive of archives) {
      const { blames, wrong } = await walk.walk(archive.root);
      let isLosing = false;
      for (const damage of blames) {
        if (this.#lost?.includes(damage) === true) isLosing = true;
        else damage.concern(archive.id);
      }
      if (isLosing) await this.#concernOwn(archive.id, this.#lost ?? []);
      for (const { path, message } of wrong) {
        this.#damages.report('archive', archive.id, message).addPath(path).concern(archive.id);
      }
      const own = archive.sessionChunk;
      if (own !== undefined && !chunks.bytes.has(own)) {
        this.#damages
          .report('chunk', own, `it is missing: it repeats the record of archive ${archive.id}`)
          .concern(archive.id);
      }
    }
    blobs.close();
    await this.#reportUnindexed(chunks);
    this.#progress('archives');
  }

  /** The objects that are to blame for a blob that cannot be read. */
  #blame(name: Buffer, path: ByteString, index: BlobIndex, chunkIds: readonly string[]): Damage[] {
    const { chunks } = this.#known;
    const blamed: Damage[] = [];
    for (let place = 0; index.find(name, 0, place); place++) {
      const chunk = chunkIds[index.chunk] ?? '';
      const reason = chunks.whyBad(chunk, index);
      if (reason !== undefined) blamed.push(this.#damages.report('chunk', chunk, reason));
    }
    if (blamed.length === 0) {
      this.#lost ??= this.#lostChunks();
      blamed.push(...this.#lost);
    }
    for (const damage of blamed) damage.addPath(path);
    return blamed;
  }
  /** Where blobs may have been of which the index does not tell: in chunks that nobody can read. */
  #lostChunks(): Damage[] {
    const { chunks, stored, records } = this.#known;
    const own = new Set(records.archives.map(({ sessionChunk }) => sessionChunk));
    const lost = [...records.named].filter(
      (id) => !chunks.bytes.has(id) && !stored.chunks.has(id) && !own.has(id),
    );
    const damages = [
      ...lost.map((id) => this.#damages.report('chunk', id, 'it is missing')),
      ...[...chunks.unknown].map((id) =>
        this.#damages.report('chunk', id, 'it is in no index segment'),
      ),
    ];
    if (damages.length > 0) return damages;
    return [this.#damages.report('blobs', 'missing', 'blobs that archives need are in no chunk')];
  }

  /** Blobs that archives need and only chunks tell of: the index has lost them. */
  async #reportUnindexed({ unindexed }: ChunkChecks): Promise<void> {
    const lost = new Set([...unindexed.keys()].filter((id) => this.#needed.has(id)));
    const [first] = lost;
    if (first === undefined) return;
    const message = `chunks that archives need are in no index segment: ${lost.size}, first ${first}`;
    const blamed =
      this.#badSegments.length > 0
        ? this.#badSegments
        : [this.#damages.report('index segment', 'missing', `${message}; ${UNINDEXED}`)];
    for (const { id } of this.#known.records.archives) {
      const chunks = await this.#chunksOf(id);
      if (chunks.some((chunk) => lost.has(chunk))) for (const damage of blamed) damage.concern(id);
    }
  }

  /** Damage of chunks concerns an archive if they are its own; other damage does in any case. */
  async #concernOwn(archive: string, damages: readonly Damage[]): Promise<void> {
    const own = new Set(await this.#chunksOf(archive));
    for (const damage of damages)
      if (damage.what !== 'chunk' || own.has(damage.id)) damage.concern(archive);
  }
  /** The list of an archive's chunks, read again: all of them together are long. */
  async #chunksOf(archive: string): Promise<readonly string[]> {
    let list: readonly string[] = [];
    const take = (chunks: readonly string[]): void => {
      list = chunks;
    };
    await readArchiveHead(this.#repository, archive, take).catch(() => undefined);
    return list;
  }

  /** Maps --------------------------------------------------------------------------------------- */

  #checkMaps(records: CheckedRecords, { bytes, footers }: ChunkChecks): void {
    const present = new Set(records.archives.map(({ id }) => id));
    const gone = (id: string): boolean =>
      !present.has(id) && !records.forgotten.has(id) && !this.#damages.has('archive', id);
    const told = new Set<string>();
    for (const { archive, chunks } of records.maps) {
      // Chunks that hold no blobs are deleted only when no archive names them.
      const lost = chunks.filter(
        ({ id, blocks }) => blocks.length === 0 && records.named.has(id) && !bytes.has(id),
      );
      for (const { id } of lost) this.#damages.report('chunk', id, 'it is missing');
      if (archive === undefined) continue;
      told.add(archive.id);
      if (archive.partial || records.forgottenUnsure || !gone(archive.id)) continue;
      const message = 'its record is missing (`penstock catalog rebuild` makes it again)';
      this.#damages.report('archive', archive.id, message).concern(archive.id);
    }
    for (const footer of footers) {
      if (
        footer.partial ||
        told.has(footer.id) ||
        !gone(footer.id) ||
        records.sessions.has(footer.session)
      )
        continue;
      this.#notes.push(
        `chunk ${footer.chunk} tells of archive ${footer.id}, which was not committed or has lost its record`,
      );
    }
    const unmapped = records.archives.filter(({ id }) => !told.has(id));
    if (unmapped.length > 0)
      this.#notes.push(
        `archives without a map record (\`penstock catalog rebuild\` makes it): ${unmapped.length}`,
      );
  }

  #noteIndex(stored: VerifiedIndex, { bytes }: ChunkChecks): void {
    const gone = [...stored.chunks.keys()].filter(
      (id) => !bytes.has(id) && !this.#damages.has('chunk', id),
    );
    for (const id of gone)
      this.#notes.push(
        `chunk ${id} is gone and still in the index; nothing that it held is missed`,
      );
  }
}
