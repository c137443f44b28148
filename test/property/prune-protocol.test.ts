/**
 * Goal: no blob of an archive is ever lost by a prune, whatever runs beside it, in whatever order,
 * with crashes, suspended machines and wrong clocks; sessions that behave do not lose their work;
 * what is dead goes at last, and nothing is left behind.
 * Method: the protocol's own generators run against a store in memory (prune-model.ts): at random
 * (prune-actors.ts, prune-schedule.ts), and in every order with few preemptions at its narrow
 * places (prune-explore.ts). The invariant is checked after every operation that could break it.
 * Last, each rule is taken out in turn, and the same model must notice (prune-mutations.ts).
 *
 * PENSTOCK_TEST_DEPTH=1 (2, …) tries ten (a hundred, …) times as many runs and one (two, …)
 * preemptions more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { must } from '../../src/base/assert.ts';
import type { Mood } from './prune-actors.ts';
import { explore, play, SITUATIONS, type Situation } from './prune-explore.ts';
import { Violation } from './prune-model.ts';
import { type Finder, MUTATIONS, ownVerdict } from './prune-mutations.ts';
import { type Faults, type Role, runScenario, type Scenario, type Turn } from './prune-schedule.ts';

const DEPTH = Number(process.env.PENSTOCK_TEST_DEPTH ?? 0);
const SEED = 20_260_101;

/** Where actors are suspended by preference: before what others notice, or what notices others. */
const NARROW_PLACES: readonly string[] = [
  'put pending',
  'list deleting',
  'list chunk',
  'publish',
  'remove pending',
  'put condemn',
  'put deleting',
  'list pending',
  'list archive',
  'list condemn',
  'put verdict',
  'read verdict',
  'read condemn',
  'put index',
  'remove index',
  'remove chunk',
  'remove condemn',
  'remove verdict',
  'remove deleting',
];

const ROLE_SETS: readonly (readonly Role[])[] = [
  ['backup', 'prune'],
  ['backup', 'prune', 'prune'],
  ['backup', 'prune', 'prune', 'prune'],
  ['backup', 'merge', 'prune', 'merge'],
  ['restore', 'prune', 'prune', 'forget'],
  ['backup', 'backup', 'forget', 'prune', 'prune'],
  ['backup', 'restore', 'forget', 'backup', 'prune', 'prune', 'prune', 'merge'],
];

const actor = fc.nat({ max: 7 });
const turns: fc.Arbitrary<Turn[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('until' as const),
        actor,
        name: fc.constantFrom(...NARROW_PLACES),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('run' as const),
        actor,
        steps: fc.constantFrom(1, 1, 2, 3, 5, 8, 13, 21, 40, 80),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('clock' as const),
        byMs: fc.constantFrom(60, 120, 300, -120, 1000, -1000),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const), actor }) },
  ),
  { maxLength: 45 },
);

function scenarios(
  moods: readonly Mood[],
  roleSets: readonly (readonly Role[])[],
): fc.Arbitrary<Scenario> {
  return fc.record({
    seed: fc.nat(),
    roles: fc.constantFrom(...roleSets),
    turns,
    mood: fc.constantFrom(...moods),
    torn: fc.boolean(),
  });
}

function situationOf(name: string): Situation {
  return must(
    SITUATIONS.find((each) => each.name === name),
    `a situation: ${name}`,
  );
}

test('backups, restores, prunes, merges and crashes in any order lose nothing', () => {
  const totals = { published: 0, lost: 0, removed: 0, rescued: 0 };
  const property = fc.property(scenarios(['calm', 'rough', 'lying'], ROLE_SETS), (scenario) => {
    const { counts } = runScenario(scenario);
    for (const key of ['published', 'lost', 'removed', 'rescued'] as const)
      totals[key] += counts[key];
  });
  fc.assert(property, { numRuns: 3000 * 10 ** DEPTH });
  // The model met what it is for, often.
  for (const [what, count] of Object.entries(totals)) {
    assert.ok(count > 100, `${what} happened ${count} times`);
  }
});

for (const situation of SITUATIONS) {
  const deep = situation.actorCount === 2 ? 3 : 2;
  test(`in every order: ${situation.name}`, () => {
    assert.ok(explore(situation, deep + DEPTH, 'whole') > 1000);
    assert.ok(explore(situation, deep - 1 + DEPTH, 'showing') > 300);
    assert.ok(explore(situation, deep - 1 + DEPTH, 'hiding') > 300);
  });
}

/** The two prunes come to different verdicts; the session is seen by one of them only. */
const FIRST_VERDICT = [
  ['prune2', 'put verdict'],
  ['session', 'list deleting'],
  ['prune1', 'list index'],
  ['prune2', 'list index'],
  ['prune1', 'end'],
  ['session', 'end'],
  ['prune2', 'end'],
] as const;

test('two prunes with different verdicts: the first counts', () => {
  const situation = situationOf('two prunes at one condemn record beside a commit');
  play(situation, FIRST_VERDICT);
  assert.throws(() => play(situation, FIRST_VERDICT, { mutatePrune: ownVerdict }), Violation);
});

for (const { rule, faults, found } of MUTATIONS) {
  test(`without this rule the model finds a violation: ${rule}`, () => {
    assert.ok(finds(found, faults), 'the model must notice');
  });
}

function finds(finder: Finder, faults: Faults): boolean {
  if ('situation' in finder) {
    try {
      explore(situationOf(finder.situation), finder.preemptions, 'whole', faults);
      return false;
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      return true;
    }
  }
  const property = fc.property(scenarios([finder.mood], [finder.roles]), (scenario) => {
    runScenario(scenario, faults);
  });
  const result = fc.check(property, { seed: SEED, numRuns: 20_000, endOnFailure: true });
  if (result.errorInstance !== null && !(result.errorInstance instanceof Violation)) {
    throw result.errorInstance;
  }
  return result.failed;
}
