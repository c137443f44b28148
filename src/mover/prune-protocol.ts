/**
 * How chunks are deleted beside running backups, restores and other prunes, with no lock: each side
 * writes down what it intends, then looks for what the other side has written. Whoever comes second
 * sees the first.
 *
 * Guarantee: at every moment, each blob of each published archive that was not forgotten stands in
 * an existing chunk to which an index entry leads. It rests on the store's guarantees
 * (protocol-store.ts) alone: no clock, no lease and no judgement that somebody is dead is needed
 * for it. Those serve progress: a session whose lease is alive does not lose its work to a prune,
 * and what is dead is removed at last. test/property/prune-protocol.test.ts checks both, and that
 * the rules below are needed.
 *
 * Session (a backup; a restore, and a prune while it relocates, only begin and end one)
 *  1 beginSession    put lease                    prunes wait for it; it shields the own chunks
 *  2                 list condemn                 named chunks are no target for deduplication
 *    the caller calls presentChunks and ignores index entries of chunks that are not there (a slow
 *    merge can bring such entries back; a session that believed them would withdraw for ever)
 *    the caller writes chunks, and after each its index entries, both durable
 *  3 commitSession   lease age, then touch lease  a second line of defence only: see "Clocks"
 *  4                 put pending                  counts as a reference before it is an archive
 *  5                 list deleting, read condemn  a chunk being deleted is lost to us: withdraw; a
 *                                                 marker without condemn record is over: ignore
 *  6                 list chunk                   after 5: the marker goes after the chunk, so a
 *                                                 deletion that is over shows here; own chunks too:
 *                                                 a session that slept may have been judged dead
 *  7                 publish, remove pending      fails if a prune judged us dead
 *  8 endSession      remove lease
 *
 * Prune
 *  1 surveyStore     list condemn, chunk, lease,  in this order: a chunk in the list was put after
 *                    pending, archive             its session's lease, and what a session without
 *                                                 lease has published stands in the later lists
 *    the caller walks the archives of the survey, then reads the index, and chooses: see Planning
 *  2 condemnChunks   put condemn K                no target any more; protects what it relies on
 *  3 decideCondemned list pending, lease          remove pendings of dead sessions; wait until
 *                                                 every lease older than K has ended
 *  4                 put deleting D               from now on whoever commits withdraws
 *  5                 list pending, archive,       in this order: a pending becomes an archive, K's
 *                    condemn, chunk               work ends by removing chunks before K
 *                    a chunk is rescued if a pending or an archive unknown to K names it, if
 *                    another condemn record relies on it, or if what it relies on is gone or
 *                    condemned; all are, if what a pending or unknown archive names is gone
 *  6                 put verdict V                the first verdict counts, for every prune at K
 *  7                 read V, read K               V counts only if K was there after V was: a prune
 *                                                 that slept through K's end cannot revive it
 *  8 dropIndexEntries new segment, remove old     before the chunks: no entry leads nowhere
 *  9 finishCondemned remove chunks, K, V, D       K before V and D, chunks before K
 *
 * Every step may be done again and by several prunes at once; sweepLeftovers clears what crashes
 * leave. A relocation holds a prune lease, makes the copy durable with its index entries before 2,
 * and lets the lease go after it. Restores find blobs by the index (several places a blob), prefer
 * places that are not condemned, and read the index again when a chunk has gone.
 *
 * Damaged records: sessions and restores pass over a condemn record that cannot be read, except
 * that none commits while its marker stands; a prune rescues what it named, and all chunks where it
 * cannot tell what others need. A damaged verdict ends a prune: chunks may have gone by it.
 *
 * Planning (the caller's part; safety rests on it):
 * - known = all archives of the survey; each was walked, or is gone. One that cannot be read ends
 *   the prune. What an archive needs are its files' blobs and those of its manifest.
 * - A needed blob without a place: the index was read beside a merge. Read it again, or end.
 * - For each condemned chunk the caller knows ALL its blobs (from its footer, or from index entries
 *   whose number equals its count: an index listing beside a merge may miss entries), and for each
 *   of them that a known archive needs, `relies` names a chunk with a durable entry for it which is
 *   not condemned. A chunk without such blobs relies on nothing.
 * - mayCondemn tells which chunks are worth it; the others would be rescued, or cost work.
 * - Without the key, chunk lists of archives may stand for walking only while every chunk that they
 *   name exists: relocation leaves the lists as they are.
 *
 * Why it is safe. R(A) are the chunks that A's record names. (i) A chunk of R(A) falls only to a K
 * that knows A: any other K sees A's pending or archive in its step 5, or A's session, whose step 4
 * came later than K's, sees D or misses the chunk. (ii) If K knows A, what A needs of the chunk
 * stands in `relies`; a K2 that condemns this sees K, or that the chunk has gone, or K sees K2.
 * (iii) A K2 that planned before A was published, and slept while others relocated A, finds a chunk
 * of R(A) gone and gives up. (iv) Verdicts are unique while K exists, ids are never used again: a
 * slow remover removes only what was decided.
 *
 * Clocks. Leases are judged by the store's clock. If it runs backwards or jumps by T, sessions may
 * be lost needlessly or prunes delayed by up to T; nothing else. The lease age of step 3 is the
 * session's own; it, and a prune's waiting, keep prunes off sessions' chunks even on a store whose
 * listings lag.
 */
import { assert } from '../base/assert.ts';
import {
  judgeLeases,
  type LeasePolicy,
  readLeases,
  removeStalePendings,
  type Waiting,
} from './leases.ts';
import {
  type CondemnedChunk,
  type CondemnRecord,
  inspect,
  type LeaseRecord,
  list,
  listIds,
  now,
  publish,
  put,
  type ReferenceRecord,
  read,
  readAll,
  remove,
  type Steps,
  touch,
} from './protocol-store.ts';

/**
 * Starts a session: puts its lease and returns the chunks that are no target for deduplication.
 * From now on the caller beats: runs `beat` every LIMITS.leaseBeatMs beside everything else.
 */
export function* beginSession(
  sessionId: string,
  lease: Omit<LeaseRecord, 'createdMs'>,
): Steps<{ readonly avoid: ReadonlySet<string> }> {
  const createdMs = yield* now();
  const fresh = yield* put('lease', sessionId, { ...lease, createdMs });
  assert(fresh, 'a session id is used once');
  return { avoid: yield* condemnedChunks() };
}

/** The chunks that are no target for deduplication; to be asked again after a lost commit. */
export function* condemnedChunks(): Steps<ReadonlySet<string>> {
  const condemned = new Set<string>();
  for (const { record } of yield* readAll('condemn')) {
    // A damaged one costs a withdrawal at worst; restores must not fail by it.
    if (record !== 'damaged') for (const { id } of record.chunks) condemned.add(id);
  }
  return condemned;
}

/** The chunks that exist; to be asked after beginSession, before index entries are believed. */
export function presentChunks(): Steps<ReadonlySet<string>> {
  return listIds('chunk');
}

/** Keeps the lease alive. False: it was judged dead, the session must not commit any more. */
export function beat(sessionId: string): Steps<boolean> {
  return touch(sessionId);
}

export type { LeasePolicy } from './leases.ts';

/** What is to be committed. */
export interface Commit {
  readonly sessionId: string;
  /** Fresh for every attempt. */
  readonly archiveId: string;
  /** Names all chunks in which the archive's blobs are, old and own. */
  readonly record: ReferenceRecord;
  readonly leaseExpiryMs: number;
  /** Since the last successful beat was begun, by a clock that goes on while the machine sleeps. */
  readonly leaseAgeMs: () => number;
}

/**
 * The end of a commit.
 * `lost`: nothing was published. Because of `chunks`: the blobs found in these must be stored again
 * (read the index again first), then the commit may be tried again. Because of `lease`: the session
 * is over (SESSION_LOST).
 */
export type CommitOutcome =
  | { readonly outcome: 'published' }
  | { readonly outcome: 'lost'; readonly because: 'lease' }
  | { readonly outcome: 'lost'; readonly because: 'chunks'; readonly chunks: readonly string[] };

/** Publishes an archive, whole or partial, or withdraws. Chunks and index entries are durable. */
export function* commitSession(commit: Commit): Steps<CommitOutcome> {
  const { sessionId, archiveId, record } = commit;
  if (commit.leaseAgeMs() >= commit.leaseExpiryMs) return { outcome: 'lost', because: 'lease' };
  if (!(yield* touch(sessionId))) return { outcome: 'lost', because: 'lease' };
  const fresh = yield* put('pending', archiveId, record);
  assert(fresh, 'an archive id is used for one attempt');
  const chunks = yield* findLostChunks(record.chunks);
  if (chunks.length > 0) {
    yield* remove('pending', archiveId);
    return { outcome: 'lost', because: 'chunks', chunks };
  }
  if (!(yield* publish(archiveId))) return { outcome: 'lost', because: 'lease' };
  yield* remove('pending', archiveId);
  return { outcome: 'published' };
}

/** Those of the chunks that are gone or being deleted. The order of the two listings matters. */
function* findLostChunks(chunks: readonly string[]): Steps<readonly string[]> {
  const deleting = new Set<string>();
  for (const condemnId of yield* listIds('deleting')) {
    const condemn = yield* read('condemn', condemnId);
    for (const { id } of condemn?.chunks ?? []) deleting.add(id);
  }
  const present = yield* presentChunks();
  return chunks.filter((id) => deleting.has(id) || !present.has(id));
}

/** Ends a session; what it published stays. */
export function* endSession(sessionId: string): Steps<void> {
  yield* remove('lease', sessionId);
}

/** What a prune plans with. */
export interface Survey {
  /** Condemn records that are not finished: decide these first. */
  readonly condemned: readonly string[];
  readonly chunks: ReadonlySet<string>;
  /** The known set of what is condemned after this survey. */
  readonly archives: ReadonlySet<string>;
  /** Chunks that others are about to delete: no good to rely on. */
  readonly doomed: ReadonlySet<string>;
  /** Chunks that a pending record names or another condemn record relies on. */
  readonly referenced: ReadonlySet<string>;
  /** Sessions whose lease is alive. */
  readonly sessions: ReadonlySet<string>;
}

/** Lists the store in the order that makes the result fit for planning. */
export function* surveyStore(policy: LeasePolicy): Steps<Survey> {
  const condemned = yield* readAll('condemn');
  const chunks = yield* listIds('chunk');
  const leases = yield* readLeases(policy);
  const pendings = yield* readAll('pending');
  const archives = yield* listIds('archive');
  const doomed = new Set<string>();
  const referenced = new Set<string>();
  for (const { record } of condemned) {
    if (record !== 'damaged') addCondemned(record, doomed, referenced);
  }
  for (const { record } of pendings) {
    if (record !== 'damaged') addAll(referenced, record.chunks);
  }
  const sessions = new Set<string>();
  for (const lease of leases) if (lease.state === 'alive') sessions.add(lease.id);
  return {
    condemned: condemned.map(({ id }) => id),
    chunks,
    archives,
    doomed,
    referenced,
    sessions,
  };
}

/** Whether condemning a chunk is worth it: another would be rescued, or cost a session its work. */
export function mayCondemn(survey: Survey, chunkId: string, ownerSession: string): boolean {
  return (
    survey.chunks.has(chunkId) &&
    !survey.doomed.has(chunkId) &&
    !survey.referenced.has(chunkId) &&
    !survey.sessions.has(ownerSession)
  );
}

/** Puts the condemn record: `known` are the archives of the survey that the plan was made with. */
export function* condemnChunks(condemnId: string, record: CondemnRecord): Steps<void> {
  const own = new Set(record.chunks.map(({ id }) => id));
  for (const { relies } of record.chunks) {
    assert(!relies.some((id) => own.has(id)), 'no condemned chunk relies on another of its record');
  }
  const fresh = yield* put('condemn', condemnId, record);
  assert(fresh, 'a condemn id is used once');
}

/** How far a condemn record is. */
export type Decision =
  | Waiting
  | {
      readonly state: 'decided';
      readonly remove: readonly string[];
      readonly rescued: readonly string[];
    }
  | { readonly state: 'gone' };

/**
 * Brings a condemn record to its verdict, whoever put it. `waiting`: run it again later, now or in
 * the next prune. `decided`: run dropIndexEntries, then finishCondemned. `gone`: another one did.
 */
export function* decideCondemned(condemnId: string, policy: LeasePolicy): Steps<Decision> {
  const listed = (yield* list('condemn')).find(({ id }) => id === condemnId);
  const found = listed === undefined ? 'gone' : yield* inspect('condemn', condemnId);
  if (listed === undefined || found === 'gone') return yield* clearMarkers(condemnId);
  // What a damaged record condemned is rescued, unless there is a verdict already.
  const condemn = found === 'damaged' ? NOTHING : found;
  if ((yield* read('verdict', condemnId)) === null) {
    const leases = yield* removeStalePendings(policy);
    const waiting = judgeLeases(leases, listed.stampMs, yield* now(), policy);
    if (waiting !== null) return waiting;
    yield* put('deleting', condemnId, {});
    const verdict = { remove: yield* findRemovable(condemnId, condemn) };
    yield* put('verdict', condemnId, verdict);
  }
  const verdict = yield* read('verdict', condemnId);
  // Only a record that is there after its verdict makes the verdict count; both never come back.
  const still = yield* inspect('condemn', condemnId);
  if (verdict === null || still === 'gone') return yield* clearMarkers(condemnId);
  const removed = new Set(verdict.remove);
  const rescued = condemn.chunks.map(({ id }) => id).filter((id) => !removed.has(id));
  return { state: 'decided', remove: verdict.remove, rescued };
}

const NOTHING: CondemnRecord = { chunks: [], known: [] };

/** The condemned chunks that nobody but the known archives can need. D must stand. */
function* findRemovable(condemnId: string, condemn: CondemnRecord): Steps<readonly string[]> {
  const named = yield* namedByOthers(new Set(condemn.known));
  if (named === 'damaged') return [];
  const doomed = new Set<string>();
  const reliedOn = new Set<string>();
  for (const { id, record } of yield* readAll('condemn')) {
    if (id === condemnId) continue;
    if (record === 'damaged') return [];
    addCondemned(record, doomed, reliedOn);
  }
  const present = yield* presentChunks();
  // An archive that we did not know was relocated already: its blobs may stand in any chunk.
  for (const id of named) if (!present.has(id)) return [];
  const holds = (id: string): boolean => present.has(id) && !doomed.has(id);
  const isRemovable = ({ id, relies }: CondemnedChunk): boolean =>
    !named.has(id) && !reliedOn.has(id) && relies.every(holds);
  return condemn.chunks.filter(isRemovable).map(({ id }) => id);
}

/** The chunks that pendings and unknown archives name. The order of the two listings matters. */
function* namedByOthers(known: ReadonlySet<string>): Steps<Set<string> | 'damaged'> {
  const named = new Set<string>();
  for (const { record } of yield* readAll('pending')) {
    if (record === 'damaged') return 'damaged';
    addAll(named, record.chunks);
  }
  for (const archiveId of yield* listIds('archive')) {
    if (known.has(archiveId)) continue;
    const archive = yield* inspect('archive', archiveId);
    if (archive === 'damaged') return 'damaged';
    if (archive !== 'gone') addAll(named, archive.chunks);
  }
  return named;
}

/** Removes what a verdict says, then the records; its index entries were dropped before. */
export function* finishCondemned(condemnId: string, chunks: readonly string[]): Steps<void> {
  for (const id of chunks) yield* remove('chunk', id);
  yield* remove('condemn', condemnId);
  yield* clearMarkers(condemnId);
}

/** Removes verdict and marker of a condemn record that is gone. */
function* clearMarkers(condemnId: string): Steps<{ readonly state: 'gone' }> {
  yield* remove('verdict', condemnId);
  yield* remove('deleting', condemnId);
  return { state: 'gone' };
}

/** How index segments are rewritten. */
export interface IndexEditor {
  /**
   * A segment without the entries of chunks that are gone: new bytes, null when no entry is left,
   * undefined when none was of such a chunk.
   */
  readonly edit: (
    segment: Uint8Array,
    isGone: (chunkId: string) => boolean,
  ) => Uint8Array | null | undefined;
  /** An id that was never used for a segment. */
  readonly newId: () => string;
}

/**
 * Drops the entries of the chunks of a verdict, and with them those of chunks that are gone
 * already: the chunk listing comes after the segments' and a chunk before its entries, so that what
 * is not listed was removed. A merge of segments follows the same rule: every entry whose chunk is
 * not gone stands in a durable new segment before the old one is removed.
 */
export function* dropIndexEntries(verdict: readonly string[], editor: IndexEditor): Steps<void> {
  const decided = new Set(verdict);
  const segments = yield* listIds('index');
  const present = yield* presentChunks();
  const isGone = (id: string): boolean => decided.has(id) || !present.has(id);
  for (const segmentId of segments) {
    const segment = yield* inspect('index', segmentId);
    // A damaged one leads nowhere; it stays for `check` to name and for a rebuild to replace.
    if (segment === 'gone' || segment === 'damaged') continue;
    const edited = editor.edit(segment, isGone);
    if (edited === undefined) continue;
    if (edited !== null) {
      const fresh = yield* put('index', editor.newId(), edited);
      assert(fresh, 'a segment id is used once');
    }
    yield* remove('index', segmentId);
  }
}

/** Removes what crashes leave: pending records, leases, markers without their condemn record. */
export function* sweepLeftovers(policy: LeasePolicy): Steps<void> {
  const markers = yield* listIds('deleting');
  addAll(markers, yield* listIds('verdict'));
  for (const id of markers) {
    if ((yield* inspect('condemn', id)) === 'gone') yield* clearMarkers(id);
  }
  for (const lease of yield* removeStalePendings(policy)) {
    if (lease.state === 'dead' || lease.idleMs > policy.leaseExpiryMs + policy.graceMs) {
      yield* remove('lease', lease.id);
    }
  }
}

function addAll(target: Set<string>, values: Iterable<string>): void {
  for (const value of values) target.add(value);
}

function addCondemned(record: CondemnRecord, doomed: Set<string>, reliedOn: Set<string>): void {
  for (const { id, relies } of record.chunks) {
    doomed.add(id);
    addAll(reliedOn, relies);
  }
}
