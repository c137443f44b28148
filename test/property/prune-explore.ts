/**
 * Small situations at the protocol's narrow places, run in every order with few preemptions: an
 * actor is suspended before any operation that others can notice, and goes on after the others.
 * What a random schedule meets once in a million runs is met here for certain.
 */
import { assert, must } from '../../src/base/assert.ts';
import type { CondemnRecord } from '../../src/mover/protocol-store.ts';
import {
  beginSession,
  commitSession,
  condemnChunks,
  decideCondemned,
  dropIndexEntries,
  endSession,
  finishCondemned,
  type LeasePolicy,
  sweepLeftovers,
} from '../../src/mover/prune-protocol.ts';
import { editor, HOLDER, POLICY, type World } from './prune-actors.ts';
import { Actor, encodeSegment, type ModelSteps, ModelStore, Random } from './prune-model.ts';
import { type Faults, settle } from './prune-schedule.ts';

export interface Situation {
  readonly name: string;
  readonly actorCount: number;
  /** Fills the store and names the actors. */
  readonly build: (world: World) => readonly { name: string; steps: ModelSteps<void> }[];
}

/** Nobody waits for leases here: the worst judgement is tried. */
const HASTY = { ...POLICY, isKnownDead: (): boolean => true };

/** Operations that nobody notices and that notice nobody: no use to stop before them. */
const PRIVATE: ReadonlySet<string> = new Set([
  'now',
  'touch',
  'list lease',
  'read lease',
  'put lease',
  'remove lease',
  'read index',
]);

function putChunk(world: World, id: string, blobs: readonly number[], session = 'old'): void {
  world.store.put('chunk', id, { session, blobs });
  const entries = blobs.map((blob) => ({ blob, chunk: id }));
  world.store.put('index', `i-${id}`, encodeSegment(entries));
}

function putArchive(world: World, id: string, chunks: string[], blobs: number[]): void {
  world.store.put('archive', id, { session: 'old', chunks, body: Uint8Array.from(blobs) });
}

/** A session that clings to its chunks: it tries `attempts` times with the same ones. */
function* cling(
  world: World,
  name: string,
  chunks: string[],
  blobs: number[],
  attempts: number,
): ModelSteps<void> {
  yield* world.mutateSession(beginSession(name, { role: 'backup', ...HOLDER }));
  for (let attempt = 0; attempt < attempts; attempt++) {
    const record = { session: name, chunks, body: Uint8Array.from(blobs) };
    const commit = {
      sessionId: name,
      archiveId: `${name}-${attempt}`,
      record,
      leaseExpiryMs: POLICY.leaseExpiryMs,
      leaseAgeMs: () => 0,
    };
    const outcome = yield* world.mutateSession(commitSession(commit));
    if (outcome.outcome === 'published') break;
  }
  yield* world.mutateSession(endSession(name));
}

function* carryOut(
  world: World,
  id: string,
  plan?: CondemnRecord,
  policy: LeasePolicy = HASTY,
): ModelSteps<void> {
  if (plan !== undefined) yield* world.mutatePrune(condemnChunks(id, plan));
  const decision = yield* world.mutatePrune(decideCondemned(id, policy));
  if (decision.state !== 'decided') return;
  yield* world.mutatePrune(dropIndexEntries(decision.remove, editor(world)));
  yield* world.mutatePrune(finishCondemned(id, decision.remove));
}

function* sweep(world: World): ModelSteps<void> {
  yield* world.mutatePrune(sweepLeftovers(HASTY));
}

export const SITUATIONS: readonly Situation[] = [
  {
    name: 'a commit beside a deletion',
    actorCount: 2,
    build: (world) => {
      putChunk(world, 'c1', [1]);
      world.store.put('condemn', 'k1', { chunks: [{ id: 'c1', relies: [] }], known: [] });
      return [
        { name: 'session', steps: cling(world, 'session', ['c1'], [1], 1) },
        { name: 'prune', steps: carryOut(world, 'k1') },
      ];
    },
  },
  {
    name: 'two prunes at one condemn record beside a commit',
    actorCount: 3,
    build: (world) => {
      putChunk(world, 'c1', [1]);
      world.store.put('condemn', 'k1', { chunks: [{ id: 'c1', relies: [] }], known: [] });
      world.store.clockMs++;
      return [
        { name: 'session', steps: cling(world, 'session', ['c1'], [1], 2) },
        { name: 'prune1', steps: carryOut(world, 'k1', undefined, POLICY) },
        { name: 'prune2', steps: carryOut(world, 'k1', undefined, POLICY) },
      ];
    },
  },
  {
    name: 'two prunes that rely on each other',
    actorCount: 2,
    build: (world) => {
      putChunk(world, 'c1', [1]);
      putChunk(world, 'c2', [1]);
      putArchive(world, 'a1', ['c1'], [1]);
      const known = ['a1'];
      return [
        {
          name: 'prune1',
          steps: carryOut(world, 'k1', { chunks: [{ id: 'c1', relies: ['c2'] }], known }),
        },
        {
          name: 'prune2',
          steps: carryOut(world, 'k2', { chunks: [{ id: 'c2', relies: ['c1'] }], known }),
        },
      ];
    },
  },
  {
    name: 'a prune with an old plan beside a relocation',
    actorCount: 2,
    build: (world) => {
      putChunk(world, 'c1', [1]);
      putChunk(world, 'c2', [1]);
      // Published after the first prune's survey, before the second one's.
      putArchive(world, 'a1', ['c1'], [1]);
      return [
        {
          name: 'old',
          steps: carryOut(world, 'k1', { chunks: [{ id: 'c2', relies: [] }], known: [] }),
        },
        {
          name: 'new',
          steps: carryOut(world, 'k2', { chunks: [{ id: 'c1', relies: ['c2'] }], known: ['a1'] }),
        },
      ];
    },
  },
  {
    name: 'a commit beside a deletion and a sweep',
    actorCount: 3,
    build: (world) => {
      putChunk(world, 'c1', [1]);
      world.store.put('condemn', 'k1', { chunks: [{ id: 'c1', relies: [] }], known: [] });
      return [
        { name: 'session', steps: cling(world, 'session', ['c1'], [1], 2) },
        { name: 'prune', steps: carryOut(world, 'k1') },
        { name: 'sweep', steps: sweep(world) },
      ];
    },
  },
];

/** How listings are: at one moment, or while others go on, who show or hide what they change. */
export type Listings = 'whole' | 'showing' | 'hiding';

interface Exploration {
  readonly situation: Situation;
  readonly faults: Faults;
  readonly listings: Listings;
  runs: number;
}

/** Runs a situation in every order with so many preemptions; returns the number of runs. */
export function explore(
  situation: Situation,
  preemptions: number,
  listings: Listings,
  faults: Faults = {},
): number {
  const exploration: Exploration = { situation, faults, listings, runs: 0 };
  descend(exploration, [], preemptions);
  return exploration.runs;
}

/** Runs actors by name, each to just before an operation or to its end, then all others. */
export function play(
  situation: Situation,
  script: readonly (readonly [actor: string, until: string])[],
  faults: Faults = {},
): void {
  const { world, actors } = start({ situation, faults, listings: 'whole', runs: 0 });
  const runTo = (actor: Actor, until: string): void => {
    while (!actor.done && actor.nextName !== until) actor.step(world.store);
  };
  for (const [name, until] of script) {
    const actor = must(
      actors.find((each) => each.name === name),
      `an actor ${name}`,
    );
    runTo(actor, until);
    assert(actor.done === (until === 'end'), `${name} comes to ${until}`);
  }
  for (const actor of actors) runTo(actor, 'end');
  settle(world, new Random(1));
}

type Segment = readonly [actor: number, steps: number];

function descend(exploration: Exploration, prefix: readonly Segment[], preemptions: number): void {
  for (let number = 0; number < exploration.situation.actorCount; number++) {
    if (number === prefix.at(-1)?.[0]) continue;
    const { world, actors } = replay(exploration, prefix);
    const actor = actors[number];
    if (actor === undefined || actor.done) continue;
    const stops: number[] = [];
    let steps = 0;
    for (; !actor.done; steps++) {
      if (steps > 0 && !PRIVATE.has(actor.nextName ?? '')) stops.push(steps);
      actor.step(world.store);
    }
    exploration.runs++;
    const whole: Segment = [number, steps];
    if (actors.every(({ done }) => done)) settle(world, new Random(1));
    else descend(exploration, [...prefix, whole], preemptions);
    if (preemptions === 0) continue;
    for (const stop of stops) descend(exploration, [...prefix, [number, stop]], preemptions - 1);
  }
}

function replay(exploration: Exploration, prefix: readonly Segment[]): Run {
  const run = start(exploration);
  for (const [number, steps] of prefix) {
    for (let step = 0; step < steps; step++) run.actors[number]?.step(run.world.store);
  }
  return run;
}

interface Run {
  readonly world: World;
  readonly actors: readonly Actor[];
}

function start({ situation, faults, listings }: Exploration): Run {
  const world: World = {
    store: new ModelStore(() => listings === 'showing'),
    mood: 'lying',
    crashed: new Set(),
    mutateSession: faults.mutateSession ?? ((steps) => steps),
    mutatePrune: faults.mutatePrune ?? ((steps) => steps),
    mistakes: {},
    counts: { published: 0, lost: 0, removed: 0, rescued: 0 },
    nextNumber: 100,
  };
  const torn = listings !== 'whole';
  const actors = situation.build(world).map(({ name, steps }) => new Actor(name, steps, torn));
  return { world, actors };
}
