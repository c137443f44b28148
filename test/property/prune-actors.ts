/**
 * The actors of the prune model: sessions, prunes, restores and somebody who forgets archives. They
 * drive the protocol as the product does; what they choose freely is drawn at random.
 */
import type { ProcessIdentity } from '../../src/host/mod.ts';
import { type CondemnedChunk, listIds, put, read, remove } from '../../src/mover/protocol-store.ts';
import {
  beginSession,
  type Commit,
  commitSession,
  condemnChunks,
  condemnedChunks,
  decideCondemned,
  dropIndexEntries,
  endSession,
  finishCondemned,
  type IndexEditor,
  type LeasePolicy,
  mayCondemn,
  presentChunks,
  type Survey,
  surveyStore,
  sweepLeftovers,
} from '../../src/mover/prune-protocol.ts';
import {
  decodeSegment,
  encodeSegment,
  type IndexEntry,
  type ModelChunk,
  type ModelSteps,
  type ModelStore,
  type Mutation,
  type Random,
  Violation,
} from './prune-model.ts';

export const BLOB_COUNT = 4;
export const POLICY: LeasePolicy = { leaseExpiryMs: 100, graceMs: 150, stampSlackMs: 0 };

/**
 * calm: clocks run true, leases are beaten in time, nobody crashes: no session may lose its work.
 * rough: clocks jump, actors crash. lying: besides, prunes take most of the living for dead.
 */
export type Mood = 'calm' | 'rough' | 'lying';

/** What the actors do wrong besides the protocol (negative tests). */
export interface Mistakes {
  /** A condemned chunk relies on nothing. */
  readonly forgetsRelies?: boolean;
  /** A relocated chunk has no index entry. */
  readonly copiesWithoutIndex?: boolean;
  /** The entries of rescued chunks are dropped too. */
  readonly dropsRescued?: boolean;
  /** A session takes index entries for good whose chunk is gone. */
  readonly trustsEntries?: boolean;
}

export interface World {
  readonly store: ModelStore;
  readonly mood: Mood;
  /** Leases of actors that crashed. */
  readonly crashed: Set<string>;
  readonly mutateSession: Mutation;
  readonly mutatePrune: Mutation;
  readonly mistakes: Mistakes;
  readonly counts: { published: number; lost: number; removed: number; rescued: number };
  nextNumber: number;
}

function fresh(world: World, prefix: string): string {
  return `${prefix}${world.nextNumber++}`;
}

type Places = Map<number, string[]>;

/** Reads the index as everybody does: list, then read; a segment that went is read as nothing. */
function* readIndex(): ModelSteps<Places> {
  const places: Places = new Map();
  for (const id of yield* listIds('index')) {
    const segment = yield* read('index', id);
    for (const { blob, chunk } of segment === null ? [] : decodeSegment(segment)) {
      const known = places.get(blob);
      if (known === undefined) places.set(blob, [chunk]);
      else known.push(chunk);
    }
  }
  return places;
}

function* putChunk(
  world: World,
  session: string,
  blobs: number[],
  hasIndex = true,
): ModelSteps<string> {
  const id = fresh(world, 'c');
  yield { op: 'putChunk', id, chunk: { session, blobs } };
  if (hasIndex) {
    const entries = blobs.map((blob) => ({ blob, chunk: id }));
    yield* put('index', fresh(world, 'i'), encodeSegment(entries));
  }
  return id;
}

function* readChunk(id: string): ModelSteps<ModelChunk | null> {
  return (yield { op: 'readChunk', id }) as ModelChunk | null;
}

export const HOLDER: ProcessIdentity = {
  hostName: 'host',
  machineId: '1',
  bootId: '1',
  namespace: 'pid:[1]',
  pid: 1,
  startTicks: 1,
};

/** One backup: some blobs of a parent, some others; a partial archive, then the whole one. */
export function* backup(world: World, random: Random, name: string): ModelSteps<void> {
  const begin = beginSession(name, { role: 'backup', ...HOLDER });
  const { avoid } = yield* world.mutateSession(begin);
  const needed = yield* chooseBlobs(random);
  let known = yield* usablePlaces(world, avoid);
  const places = new Map<number, string>();
  const partial = random.chance(0.4) ? 1 : 0;
  let attempts = 0;
  for (let commits = 0; commits <= partial; ) {
    const part = commits < partial ? needed.slice(0, 2) : needed;
    yield* storeBlobs(world, random, name, part, known, places);
    const outcome = yield* world.mutateSession(
      commitSession(describe(world, random, name, part, places)),
    );
    if (outcome.outcome === 'published') {
      world.counts.published++;
      commits++;
      continue;
    }
    world.counts.lost++;
    if (world.mood === 'calm')
      throw new Violation(`${name} lost its work: ${JSON.stringify(outcome)}`);
    if (outcome.because === 'lease' || ++attempts === 3) break;
    for (const [blob, chunk] of places) if (outcome.chunks.includes(chunk)) places.delete(blob);
    known = yield* usablePlaces(world, yield* condemnedChunks());
  }
  yield* world.mutateSession(endSession(name));
}

function describe(
  world: World,
  random: Random,
  name: string,
  part: readonly number[],
  places: ReadonlyMap<number, string>,
): Commit {
  const chunks = [...new Set(part.map((blob) => places.get(blob) ?? ''))];
  return {
    sessionId: name,
    archiveId: fresh(world, 'a'),
    record: { session: name, chunks, body: Uint8Array.from(part) },
    leaseExpiryMs: POLICY.leaseExpiryMs,
    // A clock that stood still while the machine slept, or one that did not.
    leaseAgeMs: () => (world.mood !== 'calm' && random.chance(0.1) ? POLICY.leaseExpiryMs : 0),
  };
}

function* chooseBlobs(random: Random): ModelSteps<number[]> {
  const needed = new Set<number>();
  const archives = [...(yield* listIds('archive'))];
  if (archives.length > 0 && random.chance(0.6)) {
    const parent = yield* read('archive', random.pick(archives));
    for (const blob of parent?.body ?? []) needed.add(blob);
  }
  for (let more = random.below(3) + 1; more > 0; more--) needed.add(random.below(BLOB_COUNT));
  return [...needed];
}

function* usablePlaces(world: World, avoid: ReadonlySet<string>): ModelSteps<Places> {
  const present = yield* presentChunks();
  const places = yield* readIndex();
  const exists = (id: string): boolean => present.has(id) || world.mistakes.trustsEntries === true;
  for (const [blob, chunks] of places) {
    places.set(
      blob,
      chunks.filter((id) => !avoid.has(id) && exists(id)),
    );
  }
  return places;
}

function* storeBlobs(
  world: World,
  random: Random,
  name: string,
  part: readonly number[],
  known: Places,
  places: Map<number, string>,
): ModelSteps<void> {
  const missing: number[] = [];
  for (const blob of part) {
    if (places.has(blob)) continue;
    const found = known.get(blob) ?? [];
    if (found.length > 0) places.set(blob, random.pick(found));
    else missing.push(blob);
  }
  while (missing.length > 0) {
    const blobs = missing.splice(0, random.below(2) + 1);
    const id = yield* putChunk(world, name, blobs);
    for (const blob of blobs) places.set(blob, id);
  }
}

/** Restores one archive: each blob must be found, unless the archive is forgotten meanwhile. */
export function* restore(random: Random, name: string): ModelSteps<void> {
  const { avoid } = yield* beginSession(name, { role: 'restore', ...HOLDER });
  const archives = [...(yield* listIds('archive'))];
  const archiveId = archives.length === 0 ? '' : random.pick(archives);
  const archive = yield* read('archive', archiveId);
  for (const blob of archive?.body ?? []) {
    let tries = 0;
    while (!(yield* readBlob(blob, avoid))) {
      if (++tries < 8) continue;
      if ((yield* read('archive', archiveId)) === null) break;
      throw new Violation(`${name} cannot find blob ${blob} of ${archiveId}`);
    }
  }
  yield* endSession(name);
}

function* readBlob(blob: number, avoid: ReadonlySet<string>): ModelSteps<boolean> {
  const places = (yield* readIndex()).get(blob) ?? [];
  const preferred = [...places].sort((a, b) => Number(avoid.has(a)) - Number(avoid.has(b)));
  for (const id of preferred) if ((yield* readChunk(id)) !== null) return true;
  return false;
}

/** Forgets some archives, at random. */
export function* forget(random: Random): ModelSteps<void> {
  for (let rounds = 0; rounds < 3; rounds++) {
    const archives = [...(yield* listIds('archive'))];
    if (archives.length > 0) yield* remove('archive', random.pick(archives));
    yield { op: 'pause' };
  }
}

/** Merges index segments, as sessions do at their end. */
export function* merge(world: World, random: Random): ModelSteps<void> {
  for (let rounds = 0; rounds < 2; rounds++) {
    const chosen = [...(yield* listIds('index'))].filter(() => random.chance(0.6));
    const entries: IndexEntry[] = [];
    const merged: string[] = [];
    for (const id of chosen) {
      const segment = yield* read('index', id);
      if (segment === null) continue;
      merged.push(id);
      entries.push(...decodeSegment(segment));
    }
    if (merged.length < 2) continue;
    yield* put('index', fresh(world, 'i'), encodeSegment(entries));
    for (const id of merged) yield* remove('index', id);
  }
}

/** Prunes `rounds` times; `thorough`: everything that can go goes (for the end of a run). */
export function* prune(
  world: World,
  random: Random,
  name: string,
  rounds: number,
  thorough: boolean,
): ModelSteps<void> {
  const isKnownDead = (id: string): boolean =>
    world.crashed.has(id) || (world.mood === 'lying' && !thorough && random.chance(0.8));
  const policy: LeasePolicy = { ...POLICY, isKnownDead };
  for (let round = 0; round < rounds; round++) {
    const survey = yield* world.mutatePrune(surveyStore(policy));
    for (const condemnId of survey.condemned) yield* carryOut(world, policy, condemnId);
    if (!thorough && random.chance(0.3)) yield* world.mutatePrune(sweepLeftovers(policy));
    // What was decided just now makes the survey stale only in ways that the protocol must bear.
    const again = thorough || random.chance(0.5);
    const fit = again ? yield* world.mutatePrune(surveyStore(policy)) : survey;
    const session = `${name}.${round}`;
    yield* beginSession(session, { role: 'prune', ...HOLDER });
    const planned = yield* plan(world, random, fit, session, thorough);
    if (planned !== null && planned.length > 0) {
      const condemnId = fresh(world, 'k');
      const record = { chunks: planned, known: [...fit.archives] };
      yield* world.mutatePrune(condemnChunks(condemnId, record));
      yield* endSession(session);
      yield* carryOut(world, policy, condemnId);
    } else yield* endSession(session);
    if (thorough) yield* world.mutatePrune(dropIndexEntries([], editor(world)));
    if (thorough) yield* world.mutatePrune(sweepLeftovers(policy));
  }
}

export function editor(world: World): IndexEditor {
  return {
    newId: () => fresh(world, 'i'),
    edit: (segment, isGone) => {
      const entries = decodeSegment(segment);
      const rest = entries.filter(({ chunk }) => !isGone(chunk));
      if (rest.length === entries.length) return undefined;
      return rest.length === 0 ? null : encodeSegment(rest);
    },
  };
}

/** Decides and finishes a condemn record; leaves it to a later prune when others are in the way. */
function* carryOut(world: World, policy: LeasePolicy, condemnId: string): ModelSteps<void> {
  for (let polls = 0; polls < 4; polls++) {
    const decision = yield* world.mutatePrune(decideCondemned(condemnId, policy));
    if (decision.state === 'gone') return;
    if (decision.state === 'waiting') {
      yield { op: 'pause' };
      continue;
    }
    world.counts.removed += decision.remove.length;
    world.counts.rescued += decision.rescued.length;
    const dropped = world.mistakes.dropsRescued
      ? [...decision.remove, ...decision.rescued]
      : decision.remove;
    yield* world.mutatePrune(dropIndexEntries(dropped, editor(world)));
    yield* world.mutatePrune(finishCondemned(condemnId, decision.remove));
    return;
  }
}

/** Chooses what goes, and copies what is still needed of it; null when the index read has holes. */
function* plan(
  world: World,
  random: Random,
  survey: Survey,
  session: string,
  thorough: boolean,
): ModelSteps<CondemnedChunk[] | null> {
  const live = new Set<number>();
  for (const id of survey.archives) {
    for (const blob of (yield* read('archive', id))?.body ?? []) live.add(blob);
  }
  const places = yield* readIndex();
  for (const blob of live) if (!places.has(blob)) return null;
  const planned: CondemnedChunk[] = [];
  const leaving = new Set<string>();
  const staying = new Set<string>();
  for (const id of survey.chunks) {
    if (staying.has(id) || !(thorough || random.chance(0.7))) continue;
    const chunk = yield* readChunk(id);
    if (chunk === null || !mayCondemn(survey, id, chunk.session)) continue;
    const relies = new Set<string>();
    const homeless: number[] = [];
    for (const blob of chunk.blobs.filter((each) => live.has(each))) {
      const others = (places.get(blob) ?? []).filter(
        (other) => other !== id && !leaving.has(other) && isUsable(survey, other),
      );
      if (others.length > 0) relies.add(random.pick(others));
      else homeless.push(blob);
    }
    if (homeless.length > 0) {
      const worthIt = thorough ? homeless.length < chunk.blobs.length : random.chance(0.4);
      if (!worthIt) continue;
      relies.add(yield* putChunk(world, session, homeless, !world.mistakes.copiesWithoutIndex));
    }
    for (const other of relies) staying.add(other);
    leaving.add(id);
    planned.push({ id, relies: world.mistakes.forgetsRelies ? [] : [...relies] });
  }
  return planned;
}

function isUsable(survey: Survey, chunk: string): boolean {
  return survey.chunks.has(chunk) && !survey.doomed.has(chunk);
}
