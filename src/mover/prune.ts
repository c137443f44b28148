/**
 * The flow of a prune: gives back the space of what no archive needs, beside running backups.
 *
 * Order: condemn records of earlier prunes are brought to their end; what crashes have left is cleared
 * away; the archives' manifests are walked (prune-mark.ts), what is used is counted (prune-usage.ts)
 * and a plan made (prune-plan.ts). Chunks that nobody needs go first, since a full disk has no room
 * for anything else; then chunks are rewritten (prune-rewrite.ts), some at a time, each lot durable
 * before the old ones are condemned. What sessions at work may need waits for the next prune. Safe
 * against being killed at any moment: prune-protocol.ts says why.
 */
import { isOutOfReach, PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { dropDamageNotes } from './damage-notes.ts';
import { dropForgotten, listForgotten } from './forgotten.ts';
import { mergeIndex } from './index-store.ts';
import { readLeases } from './leases.ts';
import { readingStore } from './protocol-adapter.ts';
import { type ProtocolStore, runProtocol } from './protocol-store.ts';
import { type ArchiveNote, ChunkFiles } from './prune-chunk.ts';
import { type CondemnedEntry, Condemning, toCondemned } from './prune-condemning.ts';
import { CondemnSettler } from './prune-delete.ts';
import { makePlan, type PlanRequest, type PrunePlan } from './prune-plan.ts';
import { condemnChunks, type LeasePolicy, sweepLeftovers } from './prune-protocol.ts';
import { Rewriter } from './prune-rewrite.ts';
import type { Victim } from './prune-victims.ts';
import type { Repository } from './repository.ts';
import { leasePolicy, openSession, type Session } from './session.ts';
import {
  isSessionMap,
  readMapRecords,
  readSessionMap,
  storeMapRecords,
  tidyMapRecords,
} from './storage-map.ts';

export interface PruneRequest {
  /** How long condemned chunks stay in any case; undefined: only where somebody may need them. */
  readonly graceMs?: number | undefined;
  /** Chunks are rewritten while more than this of what is stored is unused. */
  readonly maxUnusedPercent: number;
  readonly dryRun: boolean;
  /** Program and version, for the headers of new chunks. */
  readonly writer: string;
  readonly signal: AbortSignal;
  /** Damage that does not end the prune, but keeps it from touching something. */
  onProblem(error: PenstockError): void;
  /** Rewriting goes on; bytes of old chunks. */
  onProgress(bytesDone: number, bytesTotal: number): void;
}

export interface PruneResult {
  readonly chunksDeleted: number;
  readonly chunksRewritten: number;
  /** Condemned, and waiting for others to end. */
  readonly chunksCondemned: number;
  /** By how much less is stored now; a dry run: would be. */
  readonly bytesFreed: number;
  readonly bytesCondemned: number;
  /** In chunks, those included that wait. */
  readonly bytesStored: number;
  /** Of these, what no archive needs. */
  readonly bytesUnused: number;
}

/**
 * Gives space back. May be called again at any time, whatever happened.
 *
 * @throws DAMAGED, OBJECT_MISSING when it cannot be told what archives need; INTERRUPTED, REPO_FULL,
 *   REPO_IO, REPO_READ_ONLY
 */
export async function prune(repository: Repository, request: PruneRequest): Promise<PruneResult> {
  const files = await ChunkFiles.open(repository);
  try {
    if (request.dryRun) return await new Prune(repository, request, files, undefined).foresee();
    const session = await openSession(repository, 'prune');
    try {
      return await new Prune(repository, request, files, session).run();
    } finally {
      await session.end().catch(() => undefined);
    }
  } finally {
    files.close();
  }
}

const YIELD_MS = 10;

class Prune {
  readonly #repository: Repository;
  readonly #request: PruneRequest;
  readonly #files: ChunkFiles;
  readonly #session: Session | undefined;
  readonly #store: ProtocolStore;
  readonly #policy: LeasePolicy;
  readonly #settler: CondemnSettler;
  readonly #removed = new Set<string>();
  readonly #rewritten = new Set<string>();
  /** Condemned chunks that wait, with their bytes. */
  readonly #waiting = new Map<string, number>();
  /** Chunks that the map told of at the beginning. */
  readonly #mapped = new Set<string>();
  #turnMs = 0;

  constructor(
    repository: Repository,
    request: PruneRequest,
    files: ChunkFiles,
    session: Session | undefined,
  ) {
    this.#repository = repository;
    this.#request = request;
    this.#files = files;
    this.#session = session;
    this.#store = session?.store ?? readingStore(repository);
    this.#policy = leasePolicy(request.graceMs);
    const leastAgeMs = request.graceMs ?? 0;
    this.#settler = new CondemnSettler(repository, this.#store, this.#policy, leastAgeMs);
  }

  async run(): Promise<PruneResult> {
    const before = await this.#bytesStored();
    const { archives, damaged } = await this.#readMap();
    for (const error of damaged) this.#request.onProblem(error);
    const recorded = await this.#repository.store.list('archives');
    const names = new Set(recorded.map(({ name }) => name));
    await this.#refuseLostArchives(names, archives, () => this.#toldByMap());
    for (const { id } of await this.#store.list('condemn')) await this.#settle(id);
    await runProtocol(sweepLeftovers(this.#policy), this.#store);
    const noted = await listForgotten(this.#repository);
    const plan = await this.#plan();
    let unused = plan.bytesUnused;
    try {
      if (plan.hasStaleEntries) await this.#settler.dropStaleEntries();
      unused -= await this.#carryOut(plan);
      await this.#tidy(plan, noted.ids);
    } finally {
      plan.close();
    }
    await mergeIndex(this.#repository);
    await this.#sweepWriting();
    return await this.#result(before, plan, unused);
  }

  /** What run would do, as far as that can be known. */
  async foresee(): Promise<PruneResult> {
    const { damaged } = await this.#readMap();
    for (const error of damaged) this.#request.onProblem(error);
    const plan = await this.#plan();
    try {
      const freed = sum(plan.dead, (one) => one.bytes) + sum(plan.victims, (one) => one.deadBytes);
      const stored = await this.#bytesStored();
      return {
        chunksDeleted: plan.dead.length,
        chunksRewritten: plan.victims.length,
        chunksCondemned: plan.survey.doomed.size,
        bytesFreed: freed,
        bytesCondemned: plan.bytesDoomed,
        bytesStored: stored - freed,
        bytesUnused: plan.bytesUnused - sum(plan.victims, (one) => one.deadBytes),
      };
    } finally {
      plan.close();
    }
  }

  async #plan(): Promise<PrunePlan> {
    const { maxUnusedPercent, onProblem } = this.#request;
    const request: PlanRequest = {
      maxUnusedPercent,
      policy: this.#policy,
      pause: () => this.#pause(),
      onProblem: (error) => onProblem(error),
    };
    // Read first: what the map tells of was published before, and its record must be there.
    const told = await this.#toldByMap();
    const plan = await makePlan(this.#repository, this.#store, this.#files, request);
    // Of a repository without archives its chunks are asked, too.
    const asked = plan.survey.archives.size === 0 ? plan.strays : [];
    const tellChunks = (): ArchiveNote[] => [...asked].flatMap((id) => this.#footersOf(id) ?? []);
    try {
      const tell = async (): Promise<ArchiveNote[]> => [
        ...(await this.#toldByMap()),
        ...tellChunks(),
      ];
      await this.#refuseLostArchives(plan.survey.archives, [...told, ...tellChunks()], tell);
      return plan;
    } catch (error) {
      plan.close();
      throw error;
    }
  }

  /** The archives that the map tells of; notes the chunks. */
  async #readMap(): Promise<{ archives: ArchiveNote[]; damaged: PenstockError[] }> {
    const read = async (repository: Repository, name: string): Promise<ArchiveNote[]> => {
      await this.#pause();
      const { archive, chunks } = await readSessionMap(repository, name);
      for (const { id } of chunks) this.#mapped.add(id);
      return archive === undefined ? [] : [{ id: archive.id, partial: archive.partial }];
    };
    const { records, damaged } = await readMapRecords(this.#repository, isSessionMap, read);
    const errors = damaged.map(({ error }) => error);
    const other = errors.find(({ code }) => code !== 'DAMAGED');
    if (other !== undefined) throw other;
    return { archives: [...records.values()].flat(), damaged: errors };
  }

  async #toldByMap(): Promise<ArchiveNote[]> {
    return (await this.#readMap()).archives;
  }

  /**
   * Ends the prune where archive records were lost: what they need would be taken for dead, while
   * `catalog rebuild` can still make them again.
   *
   * @param told by `tell`, which is asked again, before the records were listed
   */
  async #refuseLostArchives(
    recorded: ReadonlySet<string>,
    told: readonly ArchiveNote[],
    tell: () => Promise<readonly ArchiveNote[]>,
  ): Promise<void> {
    const lost = told.filter(({ id, partial }) => !partial && !recorded.has(id));
    if (lost.length === 0) return;
    // A note comes before its archive goes: read after the archives, none is missed.
    const forgotten = await listForgotten(this.#repository);
    const unnoted = lost.filter(({ id }) => !forgotten.ids.has(id));
    if (unnoted.length === 0) return;
    // Another prune drops a note once neither the map nor a chunk tells of its archive any more.
    const still = new Set((await tell()).map(({ id }) => id));
    const first = unnoted.find(({ id }) => still.has(id));
    if (first === undefined) return;
    // It may stand in a note that cannot be read.
    const unread = forgotten.damaged[0]?.error;
    if (unread !== undefined) {
      const hint = `\`penstock forget ${first.id}\` notes it again, if it was forgotten`;
      throw new PenstockError(unread.code, unread.message, { cause: unread, hint });
    }
    throw new PenstockError('OBJECT_MISSING', `the record of archive ${first.id} is lost`, {
      subject: first.id,
      hint: `run \`penstock catalog rebuild\`, which makes it again, or \`penstock forget ${first.id}\``,
    });
  }

  /** The archives whose footers stand in a chunk; undefined: it cannot be told. */
  #footersOf(id: string): readonly ArchiveNote[] | undefined {
    try {
      return this.#files.archives(id);
    } catch (error) {
      if (!(error instanceof PenstockError) || isOutOfReach(error)) throw error;
      if (error.code === 'OBJECT_MISSING') return [];
      if (error.code === 'DAMAGED') return undefined;
      throw error;
    }
  }

  /** Deletes and rewrites. Returns by how much less is unused. */
  async #carryOut(plan: PrunePlan): Promise<number> {
    const condemning = new Condemning(plan);
    await this.#condemn(plan, condemning.takeReady());
    if (plan.victims.length === 0) return 0;
    const session = this.#session;
    if (session === undefined) return 0;
    const rewriter = new Rewriter(this.#repository, plan.usage, this.#files, {
      session: session.id,
      writer: this.#request.writer,
      createdMs: this.#repository.around.clock.nowMs(),
      pause: () => this.#pause(),
    });
    let reused = 0;
    let done = 0;
    const total = sum(plan.victims, (one) => one.bytes);
    try {
      for (const lot of lotsOf(plan.victims)) {
        for (const victim of lot) {
          const wrong = await rewriter.rewrite(victim.chunk);
          // One that is gone was removed by another prune: its blobs are elsewhere.
          if (wrong !== undefined && wrong.code !== 'OBJECT_MISSING')
            this.#request.onProblem(wrong);
          done += victim.bytes;
          this.#request.onProgress(done, total);
        }
        const moved = await rewriter.finish();
        for (const victim of lot) {
          const to = moved.get(victim.chunk);
          condemning.rewritten(victim, to);
          if (to === undefined) continue;
          this.#rewritten.add(victim.id);
          reused += victim.deadBytes;
        }
        await this.#condemn(plan, condemning.takeReady());
      }
    } catch (error) {
      rewriter.discard();
      await this.#map(rewriter, session).catch(() => undefined);
      throw error;
    }
    await this.#map(rewriter, session);
    return reused;
  }
  async #map({ chunks }: Rewriter, session: Session): Promise<void> {
    if (chunks.length === 0) return;
    await storeMapRecords(this.#repository, chunks, undefined, session.id);
  }

  async #condemn(plan: PrunePlan, chunks: readonly CondemnedEntry[]): Promise<void> {
    if (chunks.length === 0) return;
    await this.#pause();
    const id = this.#repository.around.random.bytes(16).toString('hex');
    const record = { chunks: chunks.map(toCondemned), known: [...plan.survey.archives] };
    await runProtocol(condemnChunks(id, record), this.#store);
    if ((await this.#settle(id)) === 'done') return;
    for (const chunk of chunks) this.#waiting.set(chunk.id, chunk.bytes);
  }

  async #settle(id: string): Promise<'waiting' | 'done'> {
    const { state, removed } = await this.#settler.settle(id);
    for (const chunk of removed) this.#removed.add(chunk);
    return state;
  }

  /** The map and the notes of forgotten archives, after chunks have gone. */
  async #tidy(plan: PrunePlan, noted: ReadonlySet<string>): Promise<void> {
    const { ids } = await listForgotten(this.#repository);
    const present = new Set<string>();
    for (const { id } of await this.#store.list('chunk')) present.add(id);
    // What came into the map later may be of chunks that came later, too.
    const isThere = (id: string): boolean => present.has(id) || !this.#mapped.has(id);
    await tidyMapRecords(this.#repository, isThere, ids);
    // Only what was noted before the chunks were listed.
    await dropDamageNotes(
      this.#repository,
      ({ chunk }) => plan.noted.has(chunk) && !present.has(chunk),
    );
    if (noted.size === 0) return;
    const { archives, damaged } = await this.#readMap();
    if (damaged.length > 0) return;
    // Noted before the survey: their chunks are gone, or among the strays.
    const gone = new Set([...noted].filter((id) => !plan.survey.archives.has(id)));
    for (const { id } of archives) gone.delete(id);
    for (const stray of plan.strays) {
      if (!present.has(stray)) continue;
      const footers = this.#footersOf(stray);
      if (footers === undefined) return;
      for (const { id } of footers) gone.delete(id);
    }
    if (gone.size > 0) await dropForgotten(this.#repository, gone);
  }

  /** Files of writers that died; one of a session at work is younger than its lease. */
  async #sweepWriting(): Promise<void> {
    const leases = await runProtocol(readLeases(this.#policy), this.#store);
    const nowMs = await this.#store.now();
    let ageMs: number = LIMITS.leaseExpiryMs;
    for (const { state, createdMs } of leases) {
      if (state === 'alive') ageMs = Math.max(ageMs, nowMs - createdMs + this.#policy.stampSlackMs);
    }
    await this.#repository.store.sweep(ageMs);
  }

  async #bytesStored(): Promise<number> {
    return sum(await this.#repository.store.list('chunks'), (chunk) => chunk.bytes);
  }

  async #result(before: number, plan: PrunePlan, unused: number): Promise<PruneResult> {
    const stored = await this.#bytesStored();
    const bytesCondemned = sum([...this.#waiting.values()], (bytes) => bytes) + plan.bytesDoomed;
    return {
      chunksDeleted: this.#removed.size,
      chunksRewritten: this.#rewritten.size,
      chunksCondemned: this.#waiting.size + plan.survey.doomed.size,
      bytesFreed: before - stored,
      bytesCondemned,
      bytesStored: stored,
      bytesUnused: unused + bytesCondemned,
    };
  }

  /** Lets beats and signals in; ends the prune when it is asked to end. */
  async #pause(): Promise<void> {
    this.#request.signal.throwIfAborted();
    const nowMs = this.#repository.around.clock.monotonicMs();
    if (nowMs - this.#turnMs < YIELD_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnMs = this.#repository.around.clock.monotonicMs();
    this.#request.signal.throwIfAborted();
    if (this.#session?.alive === false) {
      throw new PenstockError('SESSION_LOST', 'the lease of this prune ran out');
    }
  }
}

/** Victims in lots of some size, so that space is given back now and then. */
function lotsOf(victims: readonly Victim[]): Victim[][] {
  const lots: Victim[][] = [];
  let bytes = Infinity;
  for (const victim of victims) {
    if (bytes >= LIMITS.pruneBatchBytes) {
      lots.push([]);
      bytes = 0;
    }
    lots.at(-1)?.push(victim);
    bytes += victim.bytes;
  }
  return lots;
}

function sum<Item>(items: readonly Item[], value: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += value(item);
  return total;
}
