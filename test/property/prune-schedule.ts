/**
 * Runs of the prune model: a seeded repository, actors, a schedule of bursts, clock jumps and
 * crashes; at the end everybody who is left finishes, and a last prune must leave nothing behind.
 */

import type { ReferenceRecord } from '../../src/mover/protocol-store.ts';
import {
  backup,
  forget,
  type Mood,
  merge,
  POLICY,
  prune,
  restore,
  type World,
} from './prune-actors.ts';
import {
  Actor,
  decodeSegment,
  type ModelSteps,
  ModelStore,
  Random,
  Violation,
} from './prune-model.ts';

/** One entry of a schedule. */
export type Turn =
  | { readonly kind: 'run'; readonly actor: number; readonly steps: number }
  /** Runs to just before the next operation of that name. */
  | { readonly kind: 'until'; readonly actor: number; readonly name: string }
  | { readonly kind: 'clock'; readonly byMs: number }
  | { readonly kind: 'crash'; readonly actor: number };

export type Role = 'backup' | 'prune' | 'restore' | 'forget' | 'merge';

export interface Scenario {
  readonly seed: number;
  readonly roles: readonly Role[];
  readonly turns: readonly Turn[];
  readonly mood: Mood;
  /** Whether listings show a store that changes under them. */
  readonly torn: boolean;
}

export type Faults = Partial<Pick<World, 'mutateSession' | 'mutatePrune' | 'mistakes'>>;

const STEPS_MAX = 20_000;
const UNTIL_STEPS_MAX = 200;
const unchanged: World['mutateSession'] = (steps) => steps;

/** Runs a scenario to its end and returns what happened; throws a Violation. */
export function runScenario(scenario: Scenario, faults: Faults = {}): World {
  const coins = new Random(scenario.seed);
  const store = new ModelStore(() => coins.chance(0.5));
  const world: World = {
    store,
    mood: scenario.mood,
    crashed: new Set(),
    mutateSession: faults.mutateSession ?? unchanged,
    mutatePrune: faults.mutatePrune ?? unchanged,
    mistakes: faults.mistakes ?? {},
    counts: { published: 0, lost: 0, removed: 0, rescued: 0 },
    nextNumber: 0,
  };
  seedRepository(world, new Random(scenario.seed + 1));
  const actors = scenario.roles.map((role, number) => {
    const random = new Random(scenario.seed * 31 + number + 2);
    const name = `${role}${number}`;
    return new Actor(name, stepsOf(world, role, random, name), scenario.torn);
  });
  for (const turn of scenario.turns) take(world, actors, turn);
  finishAll(world, actors);
  settle(world, new Random(scenario.seed + 99));
  return world;
}

function stepsOf(world: World, role: Role, random: Random, name: string): ModelSteps<void> {
  if (role === 'backup') return backup(world, random, name);
  if (role === 'prune') return prune(world, random, name, 2, false);
  if (role === 'merge') return merge(world, random);
  return role === 'restore' ? restore(random, name) : forget(random);
}

/** Some archives that share blobs, some blobs twice, some forgotten. */
function seedRepository(world: World, random: Random): void {
  const sessions = random.below(3) + 1;
  for (let number = 0; number < sessions; number++) {
    run(world, new Actor(`seed${number}`, backup(world, random, `seed${number}`), false));
    if (random.chance(0.6)) run(world, new Actor('forget', forgetOne(world, random), false));
  }
}

function* forgetOne(world: World, random: Random): ModelSteps<void> {
  const archives = [...world.store.of('archive').keys()];
  if (archives.length > 0) yield { op: 'remove', kind: 'archive', id: random.pick(archives) };
}

function run(world: World, actor: Actor): void {
  for (let steps = 0; !actor.done; steps++) {
    if (steps > STEPS_MAX) throw new Violation(`${actor.name} does not end`);
    actor.step(world.store);
  }
}

function take(world: World, actors: readonly Actor[], turn: Turn): void {
  if (turn.kind === 'clock') {
    moveClock(world, turn.byMs);
    return;
  }
  const actor = actors[turn.actor % actors.length];
  if (actor === undefined || actor.done) return;
  if (turn.kind === 'crash') {
    if (world.mood !== 'calm') crash(world, actor);
    return;
  }
  const stepsMax = turn.kind === 'run' ? turn.steps : UNTIL_STEPS_MAX;
  for (let step = 0; step < stepsMax && !actor.done; step++) {
    if (step > 0 && turn.kind === 'until' && actor.nextName === turn.name) return;
    actor.step(world.store);
  }
}

/** In a calm world time goes forward, and every lease that is there is beaten meanwhile. */
function moveClock(world: World, byMs: number): void {
  world.store.clockMs += world.mood === 'calm' ? Math.abs(byMs) : byMs;
  if (world.mood !== 'calm') return;
  for (const id of world.store.of('lease').keys()) world.store.execute({ op: 'touch', id });
}

function crash(world: World, actor: Actor): void {
  actor.crash();
  for (const id of world.store.of('lease').keys()) {
    if (id === actor.name || id.startsWith(`${actor.name}.`)) world.crashed.add(id);
  }
}

function finishAll(world: World, actors: readonly Actor[]): void {
  for (let steps = 0; actors.some((actor) => !actor.done); steps++) {
    if (steps > STEPS_MAX) throw new Violation('the actors do not end');
    for (const actor of actors) if (!actor.done) actor.step(world.store);
  }
}

/** Nobody is left: time passes, prunes run, and only what is needed may remain. */
export function settle(world: World, random: Random): void {
  for (let round = 0; round < 3; round++) {
    world.store.clockMs += 4 * (POLICY.leaseExpiryMs + POLICY.graceMs);
    run(world, new Actor(`last${round}`, prune(world, random, `last${round}`, 2, true), false));
  }
  const { store } = world;
  for (const kind of ['condemn', 'deleting', 'verdict', 'pending', 'lease'] as const) {
    const left = [...store.of(kind).keys()];
    if (left.length > 0) throw new Violation(`left behind: ${kind} ${left.join(' ')}`);
  }
  const live = new Set<number>();
  for (const { record } of store.of('archive').values()) {
    for (const blob of (record as ReferenceRecord).body ?? []) live.add(blob);
  }
  const seen = new Set<number>();
  for (const id of store.of('chunk').keys()) {
    for (const blob of store.chunk(id)?.blobs ?? []) {
      if (!live.has(blob) || seen.has(blob)) throw new Violation(`dead blob ${blob} kept in ${id}`);
      seen.add(blob);
    }
  }
  for (const { record } of store.of('index').values()) {
    for (const { chunk } of decodeSegment(record as Uint8Array)) {
      if (store.chunk(chunk) === null)
        throw new Violation(`an entry leads to ${chunk}, which is gone`);
    }
  }
}
